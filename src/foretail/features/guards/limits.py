"""What is normal for each feature: declared with it, changed by a mapping or a TOML file without unknown names."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.features.feature import Declaration, Feature

__all__ = ["EVERY", "GuardLimits", "limits_of", "read_limits"]

EVERY = "*"  # in overrides: all features
_OF_A_DATE = ("ahead", "static")


@dataclass(frozen=True)
class GuardLimits:
    """Limits of one feature.

    Attributes
    ----------
    null_share : largest share of rows (0-1) without a value.
    low, high : smallest and largest value; None for none.
    drift : largest population stability index against the first split; None: the feature may move (calendar, static).
    constant : the feature may hold one value only.
    """

    null_share: float = 0.25
    low: float | None = None
    high: float | None = None
    drift: float | None = 0.25
    constant: bool = False


Overrides = Mapping[str, Mapping[str, Any]]


def limits_of(declaration: Declaration, overrides: Overrides | None = None) -> dict[str, GuardLimits]:
    """Limits of every declared feature, by its name.

    Null share, range and drift are declared with the feature. What is declared to be of a date (the calendar, what is
    known ahead) or never to change, or to look at no past values, moves with the dates of a split and may be the same
    in all of it: no drift is measured there, and one value is no finding; nor for truth values.

    Parameters
    ----------
    declaration : of the features.
    overrides : fields of `GuardLimits` by feature; those of ``"*"`` are for all and come first.

    Raises
    ------
    UsageError : an unknown feature or field, or a value of the wrong type.
    """
    limits = {item.name: _declared(item) for item in _features(declaration)}
    overrides = overrides or {}
    problems = [problem for name, values in overrides.items() for problem in _wrong(name, values, limits)]
    if problems:
        raise UsageError("\n".join(map(str, problems)))
    for name in sorted(overrides, key=lambda name: name != EVERY):
        values = {key: _read(key, value) for key, value in overrides[name].items()}
        for each in limits if name == EVERY else (name,):
            limits[each] = replace(limits[each], **values)
    return limits


def read_limits(path: Path) -> dict[str, dict[str, Any]]:
    """Overrides from a TOML file: a table per feature, ``[temperature]`` then ``low = -60``; ``["*"]`` for all.

    ``drift = false`` means that the feature may move.

    Raises
    ------
    DataError : the file cannot be read, is not TOML, or holds something beside tables.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(Problem(f"the limits cannot be read: {error}", str(path), "give a TOML file")) from error
    loose = [key for key, value in values.items() if not isinstance(value, dict)]
    if loose:
        raise DataError(
            Problem(
                f"{loose[0]!r} belongs to no feature", str(path), f"write it under [FEATURE], or [{EVERY!r}] for all"
            )
        )
    return values


def _features(declaration: Declaration) -> Sequence[Feature]:
    return [item for view in declaration.views for item in (*view.request, *view.features)]


def _declared(feature: Feature) -> GuardLimits:
    given = feature.limits
    is_of_date = feature.kind in _OF_A_DATE or feature.window is None
    may_be_constant = is_of_date or feature.dtype == "Bool"
    return GuardLimits(
        given.null_share, given.low, given.high, None if is_of_date else given.drift, constant=may_be_constant
    )


def _wrong(name: str, values: Mapping[str, Any], known: Mapping[str, GuardLimits]) -> list[Problem]:
    where = f"the limits of {name!r}"
    if name != EVERY and name not in known:
        return [Problem(f"there is no feature {name!r}", "the limits", nearest(name, known))]
    names = {item.name for item in fields(GuardLimits)}
    problems = [Problem(f"there is no limit {key!r}", where, nearest(key, names)) for key in values if key not in names]
    for key in names & set(values):
        if not _fits(key, values[key]):
            fix = "true or false" if key == "constant" else "a number"
            problems.append(Problem(f"{key} = {values[key]!r} is no limit", where, fix))
    return problems


def _fits(key: str, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "constant":
        return isinstance(value, bool)
    if key == "null_share":
        return is_number and 0 <= value <= 1
    return is_number or value is None or value is False


def _read(key: str, value: Any) -> Any:
    return None if value is False and key != "constant" else value
