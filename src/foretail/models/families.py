"""The table of families: a name, where its class lives, and how to install it; classes are imported when asked for."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from foretail.core.errors import MissingExtraError, UsageError, nearest
from foretail.models.contract import Forecaster

__all__ = ["FAMILIES", "Family", "family_class", "make", "parse"]


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes
    ----------
    path : ``module:Class``.
    about : one line that says what it does.
    params : keyword arguments that make this row of the class.
    extra : extra of foretail that installs it; "" for the core.
    prior : its part in an ensemble of which nothing has been measured, against the others' parts.
    """

    path: str
    about: str
    params: tuple[tuple[str, object], ...] = ()
    extra: str = ""
    prior: float = 0.0


FAMILIES: dict[str, Family] = {
    "seasonal_naive": Family("foretail.models.naive:SeasonalNaive", "the last season again"),
    "historic_average": Family("foretail.models.naive:HistoricAverage", "the mean of the history"),
    "drift": Family("foretail.models.naive:Drift", "the line from the first to the last value"),
    "zero": Family("foretail.models.naive:Zero", "no sales"),
    "theta": Family("foretail.models.statistical:Theta", "optimised Theta per series (statsforecast)"),
    "auto_theta": Family("foretail.models.statistical:AutoTheta", "the best of four Theta models per series"),
    "auto_ets": Family("foretail.models.statistical:AutoETS", "exponential smoothing per series, chosen by AICc"),
    "mstl": Family("foretail.models.statistical:MSTL", "week and year by STL, the rest smoothed"),
    "seasonal_window_average": Family(
        "foretail.models.statistical:SeasonalWindowAverage", "the mean of the last seasons"
    ),
    "croston_sba": Family("foretail.models.intermittent:CrostonSBA", "demand over interval, corrected; rare sales"),
    "tsb": Family("foretail.models.intermittent:TSB", "demand times probability, fading; rare sales"),
    "adida": Family("foretail.models.intermittent:ADIDA", "demand in longer blocks, smoothed; rare sales"),
    "profile": Family("foretail.models.profile:Profile", "level x season shape shrunk across series", prior=1.0),
    "ensemble": Family("foretail.models.ensemble:Ensemble", "weighted mean of other families"),
    "prophet": Family("foretail.models.prophet:Prophet", "Prophet per series, the whole panel fitted at once"),
    "boosting": Family("foretail.models.boosting:Boosting", "LightGBM across series, direct multi-horizon", prior=2.0),
    "xgboost": Family("foretail.models.xgboost:XGBoost", "XGBoost on boosting's rows and base", extra="xgboost"),
    "ensemble-c": Family(
        "foretail.models.ensemble_c:EnsembleC", "XGBoost, LightGBM and Prophet, weighted by error", extra="xgboost"
    ),
    "neural": Family(
        "foretail.models.neural:Neural", "MLP [256, 128, 64] across series, quantiles", extra="neural", prior=2.0
    ),
}


_UNIONS = (Union, UnionType)
_NAME = re.compile(r"(?P<family>[a-z0-9_-]+)(?:\[(?P<params>[^\[\]]*)\])?")


def parse(name: str) -> tuple[str, dict[str, object]]:
    """A family and its parameters from a name such as ``boosting`` or ``prophet[engine=stan,growth=flat]``.

    Values are read as JSON where they are JSON (``true``, ``0.1``) and as text otherwise.

    Raises
    ------
    UsageError : not of that form, an unknown family, or a parameter given twice.
    """
    match = _NAME.fullmatch(name.strip())
    items = [item.partition("=") for item in (match["params"] or "").split(",") if item.strip()] if match else []
    if match is None or any(not key.strip() or not value.strip() for key, _, value in items):
        raise UsageError(
            f"{name!r} does not name a family.\n  where: --models\n  fix:   family or family[parameter=value,...]"
        )
    if match["family"] not in FAMILIES:
        raise UsageError(
            f"unknown model family {match['family']!r}.\n  where: --models\n"
            f"  fix:   {nearest(match['family'], FAMILIES)}"
        )
    named = {key.strip(): _value(value.strip()) for key, _, value in items}
    if len(named) < len(items):
        raise UsageError(
            f"a parameter of {match['family']} is given twice.\n  where: --models {name}\n  fix:   give it once"
        )
    return match["family"], named


def family_class(name: str) -> type[Forecaster]:
    """The class of a family; ``name`` may carry parameters, see `parse`.

    Raises
    ------
    UsageError : an unknown name.
    MissingExtraError : its package is not installed.
    """
    family = FAMILIES[parse(name)[0]]
    module, _, attribute = family.path.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("foretail"):
            raise
        raise MissingExtraError(str(error.name), family.extra or "all") from error
    assert isinstance(found, type) and issubclass(found, Forecaster)  # noqa: S101  (a wrong table row is a bug, not input)
    return found


def make(name: str, **params: object) -> Forecaster:
    """A new, unfitted forecaster of that family; parameters in the name come before ``params``.

    Raises
    ------
    UsageError : an unknown family, or a parameter in the name that the family does not have or whose value is of
        another kind than the family takes.
    MissingExtraError : its package is not installed.
    """
    family, named = parse(name)
    made = family_class(family)
    _check_named(name, family, made, named)
    return made(**{**dict(FAMILIES[family].params), **params, **named})


def _check_named(name: str, family: str, made: type[Forecaster], named: Mapping[str, object]) -> None:
    """See that a family has the parameters of a name, and that their values are of the right kind."""
    known = {key: item for key, item in inspect.signature(made.__init__).parameters.items() if key != "self"}
    kinds = get_type_hints(made.__init__) if named else {}
    for key, value in named.items():
        if key not in known:
            raise UsageError(
                f"{family} has no parameter {key!r}.\n  where: --models {name}\n  fix:   {nearest(key, known)}"
            )
        if not _is_a(value, kinds.get(key, Any)):
            default = known[key].default
            example = default if isinstance(default, str) else json.dumps(default, default=str)
            raise UsageError(
                f"{family} cannot take {value!r} as {key}.\n  where: --models {name}"
                f"\n  fix:   a value like its default, {key}={example}, or leave it out"
            )


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value read from a name is of a kind that an annotation allows; a whole number is a number too."""
    parts = get_args(kind) if get_origin(kind) in _UNIONS else (kind,)
    if len(parts) > 1:
        return any(_is_a(value, part) for part in parts)
    if kind is Any:
        return True
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else get_origin(kind) or kind)


def _value(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_not_json)
    except ValueError:
        return text


def _not_json(constant: str) -> NoReturn:
    """NaN and infinities are no JSON, though Python reads them."""
    raise ValueError(constant)
