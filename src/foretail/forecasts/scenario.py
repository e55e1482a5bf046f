"""A scenario as a planner writes it, laid on the horizon of a panel: which series, which dates, which new values.

Each row names series by their keys (an empty key means all of them), dates (one, a range, or the whole horizon when
empty) and new values of columns that are known in advance; an empty cell leaves the column as it is. A number may also
be a change in percent of what is known: ``-10%``. Where rows overlap the later one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem, nearest
from foretail.core.spec import DatasetSpec
from foretail.forecasts.known_values import Overridable, Unreadable
from foretail.panel.panel import Panel
from foretail.panel.rows import as_dates

__all__ = ["FIRST_DATE", "LAST_DATE", "Told", "lay_scenario"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FIRST_DATE, LAST_DATE = "from", "to"
_PERCENT = re.compile(r"\s*([+-]\d+(?:\.\d+)?)\s*%\s*")
_TRUTH = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_CELLS_AT_ONCE = 20_000_000
_SHOWN = 3


@dataclass(frozen=True)
class Told:
    """A scenario on M series and H steps.

    Attributes
    ----------
    ahead : per covariate that it names, float32 ``[M, H]``: the new values, and what is known where it says nothing.
    touched : bool ``[M, H]`` it says something of that series and step, if only what is known already.
    notes : what a reader should know, one sentence each.
    """

    ahead: Mapping[str, Float32Array]
    touched: BoolArray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Column:
    """New values of one covariate: ``[R]`` absolute, and factors of what is known; NaN where the row says nothing."""

    absolute: FloatArray
    factor: FloatArray

    @property
    def given(self) -> BoolArray:
        found: BoolArray = np.isfinite(self.absolute) | np.isfinite(self.factor)
        return found


def lay_scenario(
    frame: pl.DataFrame,
    panel: Panel,
    series: pl.DataFrame,
    known: Mapping[str, Float32Array],
    values: Mapping[str, Overridable],
    where: str = "--scenario",
) -> Told:
    """Read a scenario.

    Parameters
    ----------
    frame : its R rows: any of the key columns, the time column or ``from`` and ``to``, and columns known in advance.
    panel : gives the spec, the cutoff and the horizon. series : the M series, with their key columns.
    known : per known covariate float32 ``[M, H]``, as it is told. values : what may be said of each.
    where : the file, for messages.

    Raises
    ------
    DataError : columns that are none of these, series that do not exist, dates that are not forecast, values that
        cannot be read, a row that changes nothing; all of them at once.
    """
    spec = panel.spec
    problems = [*_wrong_columns(frame, panel, values, where)]
    if problems:
        raise DataError(problems)
    columns: dict[str, _Column] = {}
    silent = np.ones(frame.height, dtype=np.bool_)
    for name in (name for name in spec.known if name in frame.columns):
        told = _without_blanks(frame[name])
        silent &= told.is_null().to_numpy()
        columns[name], unreadable = _read_column(told, values[name], where)
        problems += unreadable
    row, place = _matches(frame, spec, series)
    problems += [*_unmatched(frame, spec, series, row, where), *_saying_nothing(silent, columns, where)]
    first, end, notes, wrong_dates = _steps(frame, panel, where)
    problems += wrong_dates
    if problems:
        raise DataError(problems)
    return _laid(columns, known, row, place, first, end, notes, where)


# columns


def _wrong_columns(
    frame: pl.DataFrame, panel: Panel, values: Mapping[str, Overridable], where: str
) -> Iterator[Problem]:
    spec = panel.spec
    if not spec.known:
        what = "the version knows no column in advance, so there is nothing that a scenario could change"
        yield Problem(what, where, "train again and name price, promotion or opening: --known price,promo")
        return
    dates = (spec.time, FIRST_DATE, LAST_DATE)
    past, known = {item.name for item in spec.past}, {*values, *spec.keys, *dates}
    for name in frame.columns:
        if name in known:
            continue
        why = "is known only afterwards" if name in past else "never changes" if name in spec.static else "is unknown"
        yield Problem(f"the column {name!r} {why} and cannot be part of a scenario", where, nearest(name, known))
    if not any(name in frame.columns for name in values):
        yield Problem("the scenario changes no column", where, f"add one of those known in advance: {_list(values)}")
    if spec.time in frame.columns and (FIRST_DATE in frame.columns or LAST_DATE in frame.columns):
        yield Problem(
            f"the scenario has both {spec.time!r} and {FIRST_DATE!r} or {LAST_DATE!r}",
            where,
            f"one date per row in {spec.time!r}, or a range in {FIRST_DATE!r} and {LAST_DATE!r}",
        )


# values


def _read_column(column: pl.Series, known: Overridable, where: str) -> tuple[_Column, list[Problem]]:
    """Each distinct value is read once."""
    kinds = pl.DataFrame({"value": column.drop_nulls().unique().sort()}).with_row_index("kind")
    read: list[tuple[float, float]] = []
    problems: list[Problem] = []
    for value in kinds["value"].to_list():
        try:
            read.append(_read(value, known))
        except Unreadable as error:
            read.append((np.nan, np.nan))
            lines = _lines((column == value).fill_null(False).to_numpy())
            problems.append(Problem(f"{known.name} {error.what}", f"{where}, {lines}", error.fix))
    found = pl.DataFrame({"value": column}).join(kinds, on="value", how="left", maintain_order="left")["kind"]
    kind = found.cast(pl.Int64).fill_null(len(read)).to_numpy()
    table = np.array([*read, (np.nan, np.nan)])[kind]
    return _Column(table[:, 0], table[:, 1]), problems[:_SHOWN]


def _read(value: Any, known: Overridable) -> tuple[float, float]:
    """A new value, or the factor of a change in percent; the other one is NaN."""
    if known.datatype == "BYTES":
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        return float(known.read(text)), np.nan
    if isinstance(value, str):
        percent = _PERCENT.fullmatch(value)
        if percent:
            return np.nan, 1.0 + float(percent[1]) / 100.0
        value = _number(value)
    return float(known.read(float(value) if isinstance(value, bool) else value)), np.nan


def _number(text: str) -> float | str:
    word = text.strip().lower()
    if word in _TRUTH:
        return _TRUTH[word]
    try:
        return float(word)
    except ValueError:
        return text


def _without_blanks(column: pl.Series) -> pl.Series:
    """A cell that holds nothing is no value, however a file says so."""
    if column.dtype.is_float():
        return column.fill_nan(None)
    if column.dtype == pl.String:
        return column.str.strip_chars().replace({"": None})
    return column


def _saying_nothing(silent: BoolArray, columns: Mapping[str, _Column], where: str) -> list[Problem]:
    if not silent.any():
        return []
    what = f"{int(silent.sum())} rows of the scenario change nothing"
    return [Problem(what, f"{where}, {_lines(silent)}", f"give a value of {_list(columns)}, or remove the rows")]


# series


def _matches(frame: pl.DataFrame, spec: DatasetSpec, series: pl.DataFrame) -> tuple[IntArray, IntArray]:
    """Pairs of a row of the scenario and a series that it means, by row, ``[P]`` each."""
    given = [key for key in spec.keys if key in frame.columns]
    texts = frame.select(pl.int_range(pl.len()).alias("row"), *(_key_text(frame[key]) for key in given))
    every = series.select(pl.int_range(pl.len()).alias("place"), *(_key_text(series[key]) for key in given))
    pairs = [_matches_by(part, every, given) for part in _by_pattern(texts, given)]
    found = pl.concat(pairs).sort("row", maintain_order=True)
    return found["row"].to_numpy(), found["place"].to_numpy()


def _by_pattern(texts: pl.DataFrame, given: Sequence[str]) -> list[pl.DataFrame]:
    """The rows, those that leave the same keys empty together."""
    if not given:
        return [texts]
    empty = [f"no {key}" for key in given]
    told = texts.with_columns(pl.col(key).is_null().alias(name) for key, name in zip(given, empty, strict=True))
    return [part.drop(empty) for part in told.partition_by(empty, maintain_order=True)]


def _matches_by(part: pl.DataFrame, every: pl.DataFrame, given: Sequence[str]) -> pl.DataFrame:
    named = [key for key in given if part[key].null_count() == 0]
    if not named:
        return part.select("row").join(every.select("place"), how="cross")
    return part.select("row", *named).join(every.select("place", *named), on=named).select("row", "place")


def _key_text(values: pl.Series) -> pl.Series:
    """Keys as text, whatever type a file gave them; an empty text is an empty cell."""
    if values.dtype.is_float():
        whole = values.drop_nulls()
        values = values.cast(pl.Int64) if bool((whole == whole.round(0)).all()) else values
    return values.cast(pl.String).str.strip_chars().replace({"": None})


def _unmatched(
    frame: pl.DataFrame, spec: DatasetSpec, series: pl.DataFrame, row: IntArray, where: str
) -> list[Problem]:
    lost = np.ones(frame.height, dtype=np.bool_)
    lost[row] = False
    if not lost.any():
        return []
    given = [key for key in spec.keys if key in frame.columns]
    shown = frame.filter(pl.Series(lost)).select(given).unique(maintain_order=True).head(_SHOWN)
    named = "; ".join(", ".join(f"{key} {value}" for key, value in item.items()) for item in shown.to_dicts())
    first = ", ".join(series[UNIQUE_ID].head(_SHOWN))
    what = f"{int(lost.sum())} rows of the scenario are for series that are not forecast"
    return [Problem(what, f"{where}, {_lines(lost)}: {named}", f"keys of the table, such as {first}; empty means all")]


# dates


def _steps(frame: pl.DataFrame, panel: Panel, where: str) -> tuple[IntArray, IntArray, tuple[str, ...], list[Problem]]:
    """First step of each row, from 0, and the one after its last, ``[R]``; what to note; what is wrong."""
    ahead = panel.future_dates(panel.spec.horizon).astype("datetime64[D]")
    cutoff, last = np.datetime64(panel.cutoff, "D"), ahead[-1]
    time = panel.spec.time
    begin = _days(frame, time if time in frame.columns else FIRST_DATE, ahead[0])
    finish = _days(frame, time if time in frame.columns else LAST_DATE, last)
    fix = f"dates from {ahead[0]} to {last} ({panel.frequency}); the cutoff is {panel.cutoff}"
    first, end = np.searchsorted(ahead, begin), np.searchsorted(ahead, finish, side="right")
    begins_late = (begin > last) & (begin <= finish)
    is_empty = (first >= end) & (begin > cutoff) & (begin <= finish) & ~begins_late
    wrong = (
        ("are for dates that are past", begin <= cutoff),
        ("are for dates beyond the horizon", begins_late),
        ("end before they begin", finish < begin),
        (f"hold no date of a {panel.frequency.noun}", is_empty),
    )
    problems = [
        Problem(f"{int(bad.sum())} rows of the scenario {what}", f"{where}, {_lines(bad)}", fix)
        for what, bad in wrong
        if bad.any()
    ]
    beyond = int((finish > last).sum())
    note = f"{beyond} rows of the scenario reach beyond the horizon, which ends on {last}; the rest of them is left out"
    return first.astype(np.int64), end.astype(np.int64), (note,) if beyond else (), problems


def _days(frame: pl.DataFrame, column: str, otherwise: np.datetime64) -> npt.NDArray[np.datetime64]:
    """Dates of a column, ``[R]``; where it says none, another."""
    if column not in frame.columns or frame[column].null_count() == frame.height:
        return np.full(frame.height, otherwise)
    told = as_dates(frame, column)
    found: npt.NDArray[np.datetime64] = told.fill_null(otherwise.astype(object)).to_numpy().astype("datetime64[D]")
    return found


# the horizon


def _laid(
    columns: Mapping[str, _Column],
    known: Mapping[str, Float32Array],
    row: IntArray,
    place: IntArray,
    first: IntArray,
    end: IntArray,
    notes: tuple[str, ...],
    where: str,
) -> Told:
    ahead = {name: known[name].copy() for name in columns}
    touched = np.zeros_like(next(iter(known.values())), dtype=np.bool_)
    lost = dict.fromkeys(columns, False)
    for chosen in _chunks((end - first)[row]):
        pair, step = _cells(first[row[chosen]], end[row[chosen]])
        at, line = place[chosen][pair], row[chosen][pair]
        touched[at, step] = True
        for name, column in columns.items():
            lost[name] |= _set(ahead[name], known[name], column, at, step, line)
    if any(lost.values()):
        raise DataError([_without_base(name, where) for name, is_lost in lost.items() if is_lost])
    return Told(ahead, touched, notes)


def _without_base(name: str, where: str) -> Problem:
    what = f"{name} is not known for some of the dates, so it cannot change by a share of itself"
    return Problem(what, where, f"give {name} itself, or the dates with --table and --future")


def _set(
    values: Float32Array, known: Float32Array, column: _Column, at: IntArray, step: IntArray, line: IntArray
) -> bool:
    """New values of cells, in the order of the lines; whether one is a share of what is not known."""
    given = column.given[line]
    at, step, line = at[given], step[given], line[given]
    absolute, factor = column.absolute[line], column.factor[line]
    before = known[at, step]
    # NumPy assigns repeated indices in order, so the last line counts
    values[at, step] = np.where(np.isfinite(factor), before * factor, absolute).astype(np.float32)
    return bool((np.isfinite(factor) & np.isnan(before)).any())


def _chunks(lengths: IntArray) -> Iterator[slice]:
    """Runs of pairs with about as many cells as are laid at once, each pair whole."""
    if not len(lengths):
        return
    group = np.cumsum(lengths) // _CELLS_AT_ONCE
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(lengths)]
    for begin, finish in pairwise(edges):
        yield slice(begin, finish)


def _cells(first: IntArray, end: IntArray) -> tuple[IntArray, IntArray]:
    """Every step of every pair: the pair and the step, both ``[cells]``."""
    length = end - first
    pair = np.repeat(np.arange(len(length)), length)
    begin = np.cumsum(length) - length
    return pair, np.arange(len(pair)) - begin[pair] + first[pair]


def _lines(rows: BoolArray) -> str:
    """Lines of a file with a header, the first ones."""
    found = np.flatnonzero(rows) + 2
    more = ", …" if len(found) > _SHOWN else ""
    return f"line{'s' if len(found) > 1 else ''} {', '.join(map(str, found[:_SHOWN].tolist()))}{more}"


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(names)
