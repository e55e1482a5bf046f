"""What the columns of a table mean, guessed from names, types and values; every guess is said, none is silent."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import polars as pl

from foretail.core.errors import DataError, Problem, nearest
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.sources.calendar import guess_frequency
from foretail.sources.country import guess_country
from foretail.sources.parsing import as_days, looks_like_dates, parse_dates

__all__ = ["DEFAULT_HORIZONS", "check_columns", "guess_spec", "named_columns", "said"]

# steps to forecast when nobody says: a lead time in the trade, not a property of any table
DEFAULT_HORIZONS = {"day": 28, "week": 8, "month": 6}

_TIME_NAMES = ("date", "ds", "day", "week", "month", "time", "timestamp", "datetime", "period", "datum", "yearweek")
_TARGET_NAMES = (
    "y", "target", "sales", "weekly_sales", "daily_sales", "unit_sales", "units_sold", "sales_qty", "units", "quantity",
    "qty", "demand", "revenue", "turnover", "volume", "orders", "amount", "value", "count",
)  # fmt: skip
_TARGET_WORDS = ("sales", "sold", "quantity", "qty", "demand", "units", "revenue", "turnover", "volume", "orders")
_KEY_WORDS = (
    "id", "store", "shop", "outlet", "branch", "site", "location", "warehouse", "dept", "department", "product", "item",
    "sku", "article", "material", "code", "ean", "upc", "series", "family", "category", "cat", "brand", "channel",
    "region", "state", "city", "country", "customer", "key",
)  # fmt: skip
_LISTS = ("keys", "static", "known", "past", "hierarchy")
_LABEL_WORDS = ("name", "description", "title", "label")
_MAX_KEYS = 4
_SHARED_DATES = 0.05  # below this share of dates with several rows, the rows are repetitions of one series
_MAX_KEY_CANDIDATES = 8


@dataclass
class _Draft:
    """The guess so far: the values of the spec, what is said about them, the columns that have a role."""

    frame: pl.DataFrame
    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def taken(self) -> set[str]:
        return set(named_columns(self.values))

    def set(self, key: str, value: Any, note: str) -> None:
        self.values[key] = value
        self.notes.append(note)


def guess_spec(
    frame: pl.DataFrame, given: Mapping[str, Any], cutoff: dt.date | None = None
) -> tuple[DatasetSpec, tuple[str, ...]]:
    """Complete a spec: what is given stays, the rest is guessed.

    Parameters
    ----------
    frame : a table as read; dates may still be text.
    given : fields of `DatasetSpec` that the user has said; None and ``()`` mean not said.
    cutoff : keys, frequency, static columns and country are guessed from the rows up to this date; None for all rows.

    Returns
    -------
    The spec, and one sentence per guess and per column left aside.

    Raises
    ------
    DataError : given columns that do not exist (all of them), no column of dates, no target that stands out, dates
        that follow no frequency.
    """
    draft = _Draft(frame, said(given))
    check_columns(frame, named_columns(draft.values), "the options")
    if "time" not in draft.values:
        _guess_time(draft)
    time = draft.values["time"]
    draft.frame = parse_dates(frame, time)
    draft.frame = _up_to(draft.frame.with_columns(as_days(draft.frame[time])), time, cutoff)
    if "target" not in draft.values:
        _guess_target(draft)
    if "keys" not in draft.values:
        _guess_keys(draft)
    if "freq" not in draft.values:
        freq = guess_frequency(draft.frame, time, draft.values["keys"])
        draft.set("freq", freq, f"frequency {freq}, from the dates of column {time!r}")
    _guess_horizon(draft)
    if "static" not in draft.values and draft.values["keys"]:
        _guess_static(draft)
    if "country" not in draft.values:
        _guess_country(draft)
    _note_ignored(draft)
    return DatasetSpec.from_dict(draft.values), tuple(draft.notes)


def _up_to(frame: pl.DataFrame, time: str, cutoff: dt.date | None) -> pl.DataFrame:
    """The rows up to the cutoff; all of them where none is that old, which is told when the panel is built."""
    known = frame if cutoff is None else frame.filter(pl.col(time) <= cutoff)
    return known if known.height else frame


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were really given: not None, not empty; lists and single names as tuples."""
    known = {item.name for item in fields(DatasetSpec)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise DataError(Problem(f"unknown key {unknown[0]!r} in the spec", "the options", nearest(unknown[0], known)))
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    single = {key: (value,) for key, value in values.items() if key in _LISTS and isinstance(value, str)}
    values.update(single)
    return {key: value for key, value in values.items() if value not in (None, ())}


def check_columns(frame: pl.DataFrame, names: Iterable[str], where: str) -> None:
    """Refuse names that are no columns, all at once.

    Raises
    ------
    DataError : one problem per missing column, with the nearest name.
    """
    missing = [name for name in dict.fromkeys(names) if name not in frame.columns]
    if missing:
        raise DataError([Problem(f"no column {name!r}", where, nearest(name, frame.columns)) for name in missing])


def named_columns(values: Mapping[str, Any]) -> list[str]:
    """Every column that the values give a role."""
    single = [values[key] for key in ("time", "target", "open", "recorded") if values.get(key)]
    many = [name for key in ("keys", "static", "known") for name in values.get(key, ())]
    past = [_past_name(item) for item in values.get("past", ())]
    stockout = values.get("stockout")
    short = [stockout.removesuffix(":available")] if isinstance(stockout, str) else []
    return [*single, *many, *past, *short]


def _past_name(item: Any) -> str:
    if isinstance(item, PastCovariate):
        return item.name
    return str(item["name"]) if isinstance(item, Mapping) else str(item).partition(":")[0]


def _words(name: str) -> list[str]:
    """The words of a column name: ``StoreID`` and ``store_id`` are store, id."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _plain(name: str) -> str:
    return "_".join(_words(name))


def _guess_time(draft: _Draft) -> None:
    found = [name for name in draft.frame.columns if name not in draft.taken and _may_be_time(draft.frame[name])]
    named = [name for name in found if set(_words(name)) & set(_TIME_NAMES)]
    if not found:
        # named like dates but unreadable: reading it shows the bad lines
        text = draft.frame.select(pl.col(pl.String)).columns
        named = [name for name in text if name not in draft.taken and _plain(name) in _TIME_NAMES]
    chosen = next(iter([*named, *found]), None)
    if chosen is None:
        raise DataError(
            Problem("no column of dates was found", f"columns {_list(draft.frame.columns)}", "name it with --time")
        )
    others = [name for name in found if name != chosen]
    more = f" (also dates: {_list(others)}; --time chooses)" if others else ""
    draft.set("time", chosen, f"time is column {chosen!r}: it holds dates{more}")


def _may_be_time(values: pl.Series) -> bool:
    if values.dtype.is_integer():
        return bool(set(_words(values.name)) & set(_TIME_NAMES)) and looks_like_dates(values)
    return looks_like_dates(values)


def _guess_target(draft: _Draft) -> None:
    free = [name for name in draft.frame.columns if name not in draft.taken and _may_be_target(draft.frame[name])]
    exact = [name for wanted in _TARGET_NAMES for name in free if _plain(name) == wanted]
    worded = [name for word in _TARGET_WORDS for name in free if word in _words(name)]
    others = [name for name in free if not _is_key_name(name)]
    chosen = next(iter([*exact, *worded, *(others if len(others) == 1 else ())]), None)
    if chosen is None:
        raise DataError(Problem("no target stands out", f"numeric columns {_list(free)}", "name it with --target"))
    why = "by its name" if chosen in (*exact, *worded) else "the only number that is no key"
    draft.set("target", chosen, f"target is column {chosen!r}, {why}")


def _may_be_target(values: pl.Series) -> bool:
    """Numbers, or text that is mostly numbers: what is wrong with it is shown when it is read."""
    if values.dtype != pl.String:
        return values.dtype.is_numeric()
    first = values.drop_nulls().head(200)
    if first.is_empty():
        return _plain(values.name) in _TARGET_NAMES
    return first.cast(pl.Float64, strict=False).null_count() < len(first) / 2


def _is_key_name(name: str) -> bool:
    return bool(set(_words(name)) & set(_KEY_WORDS))


def _guess_keys(draft: _Draft) -> None:
    time = draft.values["time"]
    frame = draft.frame.filter(pl.col(time).is_not_null())
    rows_per_day = frame.group_by(time).len()["len"]
    candidates = _key_candidates(draft, int(rows_per_day.max() or 0))  # type: ignore[arg-type]
    if not candidates or float((rows_per_day > 1).mean() or 0) < _SHARED_DATES:  # type: ignore[arg-type]
        more = "" if rows_per_day.eq(1).all() else "; some rows share a date"
        draft.set("keys", (), f"no keys: the table is one series{more}")
        return
    chosen, is_unique = _smallest_key(frame, _without_labels(frame, candidates, time), time)
    ordered = tuple(name for name in frame.columns if name in chosen)
    why = "with the date they tell every row apart" if is_unique else "by their names; some rows share keys and date"
    draft.set("keys", ordered, f"keys are {_list(ordered)}: {why}")


def _key_candidates(draft: _Draft, rows_per_day: int) -> list[str]:
    """Columns that may be part of a key: those whose names say so, else text and whole numbers with few values.

    A measure (customers, price in cents) has many more values than there are rows on a day; a receipt number has one
    per row. Columns that are not named like a key never help those that are: they could hide two rows per key and date.
    """
    free = {
        name: draft.frame[name].n_unique()
        for name, dtype in draft.frame.schema.items()
        if name not in draft.taken and (dtype.is_integer() or dtype == pl.String)
    }
    named = [name for name, n in free.items() if _is_key_name(name) and 1 < n <= 0.9 * len(draft.frame)]
    few = [name for name, n in free.items() if 1 < n <= 5 * rows_per_day]
    by_type = sorted(few, key=lambda name: draft.frame.schema[name] != pl.String)
    return (named or by_type)[:_MAX_KEY_CANDIDATES]


def _without_labels(frame: pl.DataFrame, candidates: list[str], time: str) -> list[str]:
    """Candidates without names and descriptions, if those tell nothing apart that the others do not."""
    codes = [name for name in candidates if not set(_words(name)) & set(_LABEL_WORDS)]
    if codes and _n_groups(frame, [*codes, time]) == _n_groups(frame, [*candidates, time]):
        return codes
    return candidates


def _smallest_key(frame: pl.DataFrame, candidates: list[str], time: str) -> tuple[tuple[str, ...], bool]:
    """The smallest combination that tells as many rows apart as all candidates do, and whether it tells all apart."""
    best = _n_groups(frame, [*candidates, time])
    busiest = frame[time].mode().sort().item(0)
    busy = frame.filter(pl.col(time) == busiest)
    best_busy = _n_groups(busy, candidates)
    for size in range(1, min(_MAX_KEYS, len(candidates)) + 1):
        for names in itertools.combinations(candidates, size):
            # one busy day rules most combinations out before the whole table is looked at
            if _n_groups(busy, list(names)) == best_busy and _n_groups(frame, [*names, time]) == best:
                return names, best == len(frame)
    return tuple(candidates), best == len(frame)


def _n_groups(frame: pl.DataFrame, names: list[str]) -> int:
    return int(frame.select(pl.struct(names).n_unique()).item())


def _guess_horizon(draft: _Draft) -> None:
    if "horizon" in draft.values:
        return
    values = {key: draft.values[key] for key in ("time", "target", "freq")}
    noun = DatasetSpec.from_dict({**values, "horizon": 1}).frequency.noun
    steps = DEFAULT_HORIZONS[noun]
    draft.set("horizon", steps, f"horizon {steps} {noun}s, the default (--horizon changes it)")


def _guess_static(draft: _Draft) -> None:
    keys = list(draft.values["keys"])
    free = [name for name in draft.frame.columns if name not in draft.taken and _may_be_static(draft.frame[name])]
    if not free:
        return
    counts = draft.frame.group_by(keys).agg(pl.col(name).drop_nulls().n_unique() for name in free)
    n_series = len(counts)
    static = [name for name in free if counts[name].max() == 1 and not _is_label(draft.frame[name], n_series)]
    if static and n_series > 1:
        draft.set("static", tuple(static), f"static: {_list(static)} do not change within a series")


def _guess_country(draft: _Draft) -> None:
    roles = {key: draft.values[key] for key in ("keys", "time", "target", "freq")}
    guess = guess_country(draft.frame, **roles)
    if guess is None:
        return
    noun = DatasetSpec.from_dict({**roles, "horizon": 1}).frequency.noun
    seen = f"sales are unusual on {guess.n_seen} of {guess.n_holidays} {noun}s with its public holidays"
    draft.set("country", guess.code, f"country {guess.code}: {seen} (--country says another, or none)")


def _may_be_static(values: pl.Series) -> bool:
    has_type = values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean)
    return has_type and values.drop_nulls().n_unique() > 1


def _is_label(values: pl.Series, n_series: int) -> bool:
    """Text that is another name of the series says nothing that the keys do not say."""
    return values.dtype == pl.String and values.n_unique() >= n_series


def _note_ignored(draft: _Draft) -> None:
    left = [name for name in draft.frame.columns if name not in draft.taken]
    if left:
        draft.notes.append(
            f"not used: {_list(left)} (--known for what is known in advance, --past for what is known afterwards, "
            "--static for what does not change)"
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
