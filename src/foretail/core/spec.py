"""The dataset spec: what a table of sales means. Two datasets differ in their spec, never in code."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.core.frequency import Frequency

__all__ = ["DatasetSpec", "Event", "PastCovariate"]

DuplicatePolicy = Literal["error", "sum", "last"]
GapPolicy = Literal["auto", "zero", "missing"]
NegativePolicy = Literal["keep", "clip"]

_Item = TypeVar("_Item")
_LISTS = ("keys", "static", "known", "hierarchy")
_OPTIONAL = ("open", "recorded", "country", "stockout")
_AVAILABLE = ":available"
_KINDS: dict[str, tuple[type, str]] = {
    **{key: (str, f'{key} = "column"') for key in ("time", "target", "open", "recorded", "stockout")},
    **{key: (str, f'{key} = "text"') for key in ("name", "unit")},
    "freq": (str, 'freq = "W-FRI"'),
    "country": (str, 'country = "DE"'),
    "horizon": (int, "horizon = 28"),
    "non_negative": (bool, "non_negative = true"),
}


@dataclass(frozen=True)
class PastCovariate:
    """A covariate known only after the fact.

    Attributes
    ----------
    name : its column.
    delay : periods between the period it describes and its publication; 0 means known at the close of that period.
    """

    name: str
    delay: int = 0


@dataclass(frozen=True)
class Event:
    """A named event of the user's own, with every date it has (past and future)."""

    name: str
    dates: tuple[dt.date, ...]


@dataclass(frozen=True)
class DatasetSpec:
    """Meaning of the columns of a table of sales.

    Attributes
    ----------
    keys : columns that name a series, e.g. ``("store_id", "dept_id")``; empty for a single series.
    time, target : the date column and the value to forecast.
    freq : ``D``, ``W-FRI``, ``MS``, … (see `Frequency`).
    horizon : steps to forecast.
    name : how the dataset is called in the registry and the report.
    unit : unit of the target, e.g. ``EUR`` or ``pieces``; shown, never used.
    static : columns that do not change within a series.
    known : covariates known in advance for the dates to forecast (promotion, price, opening).
    past : covariates known only after the fact.
    open : the known covariate that is 0 on days a shop is shut; None means it is looked for in the history.
    recorded : the column that says when a row was written; later rows restate earlier ones (``duplicates="last"``).
    stockout : the column that is 1 where the goods ran out, told afterwards; with ``:available`` behind its name, the
        column that holds the share of the period (0 to 1) in which they could be bought. Sales of such a period are
        less than the demand: no model learns from them and no score counts them.
    duplicates : two rows per key and date: ``error``, ``sum`` them, or the ``last`` restated one wins.
    gaps : a date without a row inside a series: ``zero`` sales, ``missing`` (nobody knows), or ``auto``.
    negatives : negative values: ``keep`` or ``clip`` to 0.
    non_negative : whether a forecast below 0 makes no sense.
    hierarchy : levels for totals, columns among keys and static joined by "/".
    country : ISO 3166 code whose public holidays are features, e.g. ``DE`` or ``DE-BY``; None or ``none`` for none.
    events : events of the user's own.
    """

    keys: tuple[str, ...]
    time: str
    target: str
    freq: str
    horizon: int
    name: str = "sales"
    unit: str = ""
    static: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    past: tuple[PastCovariate, ...] = ()
    open: str | None = None
    recorded: str | None = None
    stockout: str | None = None
    duplicates: DuplicatePolicy = "error"
    gaps: GapPolicy = "auto"
    negatives: NegativePolicy = "keep"
    non_negative: bool = True
    hierarchy: tuple[str, ...] = ()
    country: str | None = None
    events: tuple[Event, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "freq", Frequency(self.freq).code)
        if self.country is not None and self.country.strip().lower() == "none":
            object.__setattr__(self, "country", None)
        _check_choice("duplicates", self.duplicates, get_args(DuplicatePolicy))
        _check_choice("gaps", self.gaps, get_args(GapPolicy))
        _check_choice("negatives", self.negatives, get_args(NegativePolicy))
        if self.horizon < 1:
            raise UsageError(f"the horizon must be at least 1.\n  where: {self.horizon}\n  fix:   --horizon 28")
        roles = [*self.keys, self.time, self.target, *self.static, *self.known, *(past.name for past in self.past)]
        twice = sorted({name for name in roles if roles.count(name) > 1})
        if twice:
            raise UsageError(
                f"a column can have one role only.\n  where: {', '.join(twice)}"
                "\n  fix:   name it once among --keys, --time, --target, --static, --known, --past"
            )
        if self.stockout_column in {*self.keys, self.time, self.target, *self.static, *self.known}:
            raise UsageError(
                "a stockout is known only after the fact.\n"
                f"  where: stockout = {self.stockout!r}, a column that has another role"
                "\n  fix:   a column of its own, or one of --past"
            )

    @property
    def frequency(self) -> Frequency:
        return Frequency(self.freq)

    @property
    def stockout_column(self) -> str | None:
        """The column that tells of stockouts, without what stands behind its name."""
        return None if self.stockout is None else self.stockout.removesuffix(_AVAILABLE)

    @property
    def tells_available(self) -> bool:
        """`stockout_column` holds the share of the period in which the goods could be bought, not a flag."""
        return self.stockout is not None and self.stockout.endswith(_AVAILABLE)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the table that the spec uses, in reading order."""
        past = tuple(item.name for item in self.past)
        extra = tuple(name for name in (self.recorded, self.stockout_column) if name and name not in past)
        return (
            *self.keys,
            self.time,
            self.target,
            *self.static,
            *self.known,
            *past,
            *extra,
        )

    def but(self, **changes: Any) -> DatasetSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON or TOML can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the spec") -> DatasetSpec:
        """Read a spec from plain values.

        Raises
        ------
        DataError : unknown or missing keys, or values of the wrong type.
        """
        known = {item.name for item in fields(cls)}
        problems = [
            Problem(f"unknown key {key!r} in the spec", where, nearest(key, known))
            for key in values
            if key not in known
        ]
        needed = ("time", "target", "freq", "horizon")
        problems += [
            Problem(f"the spec has no {key!r}", where, f"add {key} = …; `foretail init TABLE` writes a full spec")
            for key in needed
            if key not in values
        ]
        problems += _wrong_types(values, where)
        if problems:
            raise DataError(problems)
        read = dict(values)
        for key in _LISTS:
            read[key] = tuple(read.get(key, ()))
        read["past"] = _read_items("past", _past_from, read.get("past", ()), where)
        read["events"] = _read_items("events", _event_from, read.get("events", ()), where)
        return cls(**read)

    @classmethod
    def from_toml(cls, path: Path) -> DatasetSpec:
        """Read a spec file.

        Raises
        ------
        DataError : not TOML, unknown or missing keys.
        """
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DataError(
                Problem(f"not a TOML file: {error}", str(path), "`foretail init TABLE` writes one")
            ) from error
        except OSError as error:
            raise DataError(Problem(f"cannot read the spec: {error}", str(path), "check the path")) from error
        return cls.from_dict(values, where=str(path))

    def to_toml(self) -> str:
        """The spec as a TOML document, defaults included so that a reader sees every choice."""
        lines = []
        for key, value in self.to_dict().items():
            if value is None:
                lines.append(f"# {key} =")
            elif key == "events":
                continue
            else:
                lines.append(f"{key} = {_toml_value(value)}")
        for event in self.events:
            dates = ", ".join(date.isoformat() for date in event.dates)
            lines += ["", "[[events]]", f"name = {_toml_value(event.name)}", f"dates = [{dates}]"]
        return "\n".join(lines) + "\n"


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name} = {value!r} is not a policy.\n  where: the spec\n  fix:   {nearest(value, choices)}")


def _wrong_types(values: Mapping[str, Any], where: str) -> list[Problem]:
    """Values that are not what their key holds; a single name where a list is needed would be read letter by letter."""
    problems = []
    for key, value in values.items():
        wanted, example = _KINDS.get(key, (None, ""))
        if key in _LISTS:
            is_right = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
            example = f'{key} = ["a", "b"]'
        elif wanted is None or (value is None and key in _OPTIONAL):
            continue
        else:
            is_right = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
        if not is_right:
            problems.append(Problem(f"{key} = {value!r} cannot be read", where, f"for example {example}"))
    return problems


def _read_items(key: str, read: Callable[[Any], _Item], items: Any, where: str) -> tuple[_Item, ...]:
    examples = {"past": 'past = ["customers", "cpi:4"]', "events": 'name = "fair", dates = [2024-05-01]'}
    try:
        return tuple(read(item) for item in items)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(Problem(f"{key} cannot be read: {error}", where, f"for example {examples[key]}")) from error


def _past_from(item: Any) -> PastCovariate:
    if isinstance(item, PastCovariate):
        return item
    if isinstance(item, str):
        name, _, delay = item.partition(":")
        return PastCovariate(name, int(delay or 0))
    return PastCovariate(**cast(dict[str, Any], item))


def _event_from(item: Any) -> Event:
    if isinstance(item, Event):
        return item
    dates = tuple(dt.date.fromisoformat(date) if isinstance(date, str) else date for date in item["dates"])
    return Event(item["name"], dates)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # JSON escapes what TOML wants escaped, but for one control character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml_value(item)}" for key, item in value.items()) + " }"
    return "[" + ", ".join(_toml_value(item) for item in value) + "]"
