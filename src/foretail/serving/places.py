"""Where an instance stands in the forecasts of a version: row and step, or what is wrong with its keys and dates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from foretail.core.frequency import Frequency
from foretail.panel.panel import Panel
from foretail.serving.asks import Ask
from foretail.serving.errors import RequestProblem

__all__ = ["Places", "datatype_of"]

_SHOWN = 40
_DATES = 4096  # pairs remembered: requests ask for the same few dates over and over
_PYTHON: Mapping[str, type] = {"INT64": int, "FP64": float, "BOOL": bool, "BYTES": str}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def datatype_of(dtype: pl.DataType) -> str:
    """The tensor type of a column: ``INT64``, ``FP64``, ``BOOL`` or ``BYTES``."""
    if dtype.is_integer():
        return "INT64"
    return "BOOL" if dtype == pl.Boolean else "FP64" if dtype.is_numeric() else "BYTES"


class Places:
    """Looks instances up.

    Parameters
    ----------
    panel : N series that end at the cutoff. h : steps that are answered.

    Attributes
    ----------
    keys : key column -> its tensor type. dates : the h dates.
    """

    def __init__(self, panel: Panel, h: int):
        columns = [panel.series[name] for name in panel.spec.keys]
        self.keys = {column.name: datatype_of(column.dtype) for column in columns}
        self.dates: list[dt.date] = [item.item() for item in panel.future_dates(h)]
        self.cutoff = panel.cutoff
        self._frequency = panel.frequency
        self._end, self._h = panel.end, h
        self._types = tuple(_PYTHON[kind] for kind in self.keys.values())
        plain = [_plain(column, kind) for column, kind in zip(columns, self.keys.values(), strict=True)]
        rows = zip(*plain, strict=True) if plain else [()]
        self._row = {key: row for row, key in enumerate(rows)}
        self._known = [set(column) for column in plain]
        self._step = {date: position for position, date in enumerate(self.dates)}

    def find(self, ask: Ask) -> tuple[int, int] | None:
        """Row and place of the first step, from 0; None where something is wrong, which `why` tells."""
        try:
            row, first = self._row.get(ask.keys), self._step.get(ask.target_date)
        except TypeError:  # a key that is a list or the like
            return None
        if row is None or first is None or tuple(map(type, ask.keys)) != self._types:
            return None
        horizon = ask.horizon
        return (row, first) if type(horizon) is int and 1 <= horizon <= self._h - first else None

    def row_of(self, ask: Ask) -> int | None:
        """Row of the series; None where it is unknown."""
        try:
            row = self._row.get(ask.keys)
        except TypeError:
            return None
        return row if row is not None and tuple(map(type, ask.keys)) == self._types else None

    def steps_between(self, cutoff: dt.date, date: dt.date) -> int | None:
        """Steps from one date to another; None where the latter labels no period."""
        return _steps_between(cutoff, date, self._frequency)

    def date_after(self, cutoff: dt.date, steps: int) -> dt.date:
        """The date so many steps after another."""
        return _date_after(cutoff, steps, self._frequency)

    def why(self, ask: Ask, i: int) -> Iterator[RequestProblem]:
        """Everything that is wrong with the keys, the date and the horizon of the i-th instance."""
        yield from self.why_keys(ask, i)
        yield from self._why_date(ask, i)

    def why_keys(self, ask: Ask, i: int) -> Iterator[RequestProblem]:
        """What is wrong with the keys."""
        names, keys = list(self.keys), ask.keys
        if not isinstance(keys, tuple) or len(keys) != len(names):
            what = f"the keys are {_short(keys)}, not a value of each of {', '.join(names) or 'no column'}"
            yield RequestProblem(400, what, "keys", f"give {', '.join(names) or 'no key'}", i)
            return
        is_right = True
        for name, value, wanted in zip(names, keys, self._types, strict=True):
            if type(value) is not wanted:
                is_right = False
                words = _WORDS[wanted]
                yield RequestProblem(400, f"{name} is {_short(value)}, not {words}", name, f"give {words}", i)
        if is_right and keys not in self._row:
            yield self._unknown(keys, i)

    def _unknown(self, keys: Sequence[Any], i: int) -> RequestProblem:
        pairs = list(zip(self.keys, keys, strict=True))
        strange = [
            f"{name} {_short(value)}"
            for (name, value), known in zip(pairs, self._known, strict=True)
            if value not in known
        ]
        where = ", ".join(f"{name} = {_short(value)}" for name, value in pairs)
        why = f"no series has {' or '.join(strange)}" if strange else "each key is known, but not together"
        fix = f"{why}; ask for one of its {len(self._row)} series, or train a version with the history of this one"
        return RequestProblem(404, "the version knows no such series", where, fix, i)

    def _why_date(self, ask: Ask, i: int) -> Iterator[RequestProblem]:
        date, horizon = ask.target_date, ask.horizon
        if type(date) is not dt.date:
            yield RequestProblem(400, f"target_date is {_short(date)}, not a date", "target_date", "give a date", i)
            return
        if type(horizon) is not int or horizon < 1:
            fix = f"a whole number from 1 to {self._h}"
            yield RequestProblem(400, f"horizon is {_short(horizon)}", "horizon", fix, i)
            return
        first, last = self.dates[0], self.dates[-1]
        span = f"the version answers {self._h} dates, {first} to {last}"
        if off_grid := _off_grid(date, self._frequency):
            yield RequestProblem(422, off_grid, f"target_date = {date}", span, i)
        elif not first <= date <= last:
            side = f"is not after the cutoff {self.cutoff}" if date < first else f"lies beyond the horizon, {last}"
            fix = f"{span}; ask for one of them, or a version trained on {'less' if date < first else 'newer sales'}"
            yield RequestProblem(422, f"the date {side}", f"target_date = {date}", fix, i)
        elif horizon > self._h - self._step[date]:
            left = self._h - self._step[date]
            what = f"{horizon} steps from {date} reach beyond the horizon, {last}"
            yield RequestProblem(422, what, f"horizon = {_short(horizon)}", f"at most {left} from this date; {span}", i)


@lru_cache(maxsize=_DATES)
def _steps_between(cutoff: dt.date, date: dt.date, frequency: Frequency) -> int | None:
    if _off_grid(date, frequency):
        return None
    before, after = frequency.to_index(np.array([cutoff, date], dtype="datetime64[D]")).tolist()
    return int(after - before)


@lru_cache(maxsize=_DATES)
def _date_after(cutoff: dt.date, steps: int, frequency: Frequency) -> dt.date:
    return frequency.shift(cutoff, steps)


def _off_grid(date: dt.date, frequency: Frequency) -> str:
    """What is wrong with a date that labels no period; "" for one that does."""
    day = np.array(np.datetime64(date, "D"))
    if bool(frequency.is_on_grid(day)):
        return ""
    label = frequency.to_date(frequency.to_index(day)).item()
    return f"{date} labels no {frequency.noun} of {frequency.code}; the {frequency.noun} that it lies in is {label}"


def _plain(column: pl.Series, kind: str) -> list[Any]:
    """Keys as requests hold them; what is neither number, text nor truth (dates) is asked for by its text."""
    return (column if kind != "BYTES" else column.cast(pl.String)).to_list()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
