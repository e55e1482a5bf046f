"""Rows of the feature store and how their values are computed: as of a date, in one vectorised pass over all rows.

A row is a series, a date T and a time at which it is told: what was sold at T and before, as it was known then. Sales
are reached through `Moments.lag` alone, which counts back from T + 1 step and refuses a lag below 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.features.calendar import calendar_of, holiday_days
from foretail.features.feature import Window
from foretail.panel.panel import Covariate, Panel, Revisions

__all__ = [
    "Moments",
    "Told",
    "days_to_holiday",
    "is_holiday",
    "is_month_end",
    "known_sum",
    "mean",
    "month",
    "newest",
    "past_text",
    "past_value",
    "quarter",
    "static_value",
    "std",
    "versus_mean",
    "week_of_month",
    "week_of_year",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_NO = ("", "0", "0.0", "false", "f", "no", "n", "none")  # texts that say that there is no holiday
_NEVER = np.int64(2**40)


class Told:
    """What each restated cell was said to be, at any time.

    Parameters
    ----------
    revisions : versions of the restated cells. start : of the panel. n_series, n_periods : its size.
    """

    def __init__(self, revisions: Revisions, start: int, n_series: int, n_periods: int):
        column = revisions.period - start
        inside = np.flatnonzero((column >= 0) & (column < n_periods))
        cell = revisions.row * n_periods + column
        # stable: of versions written in one period the later one counts
        order = inside[np.lexsort((revisions.known_at[inside], cell[inside]))]
        self.cell, first, which = np.unique(cell[order], return_index=True, return_inverse=True)
        self.known_at, self.y = revisions.known_at[order], revisions.y[order]
        self._low = int(self.known_at.min(initial=0))
        self._span = int(self.known_at.max(initial=0)) - self._low + 2
        self._rank = which * self._span + (self.known_at - self._low + 1)
        self._first = np.append(first, len(order))
        # most cells were never restated: which one each is, -1 for those
        self._which = np.full(n_series * n_periods, -1, dtype=np.int32)
        self._which[self.cell] = np.arange(len(self.cell))

    def at(self, cell: IntArray, time: IntArray, y: FloatArray) -> FloatArray:
        """Values of cells as told at a time; cells that were never restated keep ``y``.

        Parameters
        ----------
        cell : row * T + column. time : period index. y : what the panel holds. All ``[R]``.
        """
        which = self._which[cell]
        restated = np.flatnonzero(which >= 0)
        which = which[restated].astype(np.int64)
        late = np.clip(time[restated] - self._low + 1, 0, self._span - 1)
        entry = np.searchsorted(self._rank, which * self._span + late, side="right") - 1
        known = entry >= self._first[which]
        told = y.copy()
        told[restated] = np.where(known, self.y[np.maximum(entry, 0)] if len(self.y) else np.nan, np.nan)
        return told

    @cached_property
    def first_known(self) -> IntArray:
        """Per restated cell the time at which it first had a value."""
        when = np.where(np.isfinite(self.y), self.known_at, _NEVER)
        return np.minimum.reduceat(when, self._first[:-1]) if len(self.cell) else np.zeros(0, dtype=np.int64)

    @cached_property
    def changes(self) -> tuple[IntArray, IntArray]:
        """Cells and times of versions that say something else than the version before."""
        before = np.append(np.nan, self.y[:-1])
        before[self._first[:-1]] = np.nan
        same = (before == self.y) | (np.isnan(before) & np.isnan(self.y))
        cell = np.repeat(self.cell, np.diff(self._first))
        return cell[~same], self.known_at[~same]


@dataclass(frozen=True)
class Moments:
    """Rows to compute.

    Attributes
    ----------
    panel : the sales. row, column : ``[R]`` series and column of the as-of date T. time : ``[R]`` period index at which
        the row is told, T itself or a later restatement.
    told : versions of restated cells; None where the panel holds what was known.
    reach : periods from T + 1 on that are searched for a holiday.
    """

    panel: Panel
    row: IntArray
    column: IntArray
    time: IntArray
    told: Told | None
    reach: int

    def lag(self, k: int) -> FloatArray:
        """``[R]`` sales ``k`` periods before T + 1 step (1 = at T), as told at the row's time; NaN = not known."""
        column = self.column - Window(k).lag + 1
        cell = self.row * self.panel.n_periods + np.maximum(column, 0)
        y = np.where(column >= 0, self.panel.y.ravel()[cell], np.nan)
        return y if self.told is None else np.where(column >= 0, self.told.at(cell, self.time, y), np.nan)

    @cached_property
    def means(self) -> dict[Window, FloatArray]:
        """Means that were asked for already: spreads and ratios need them again."""
        return {}

    @cached_property
    def _days(self) -> IntArray:
        """``[T + 1]`` day number of the last day of the period after each column (the first one included)."""
        panel = self.panel
        return calendar_of(panel.frequency, panel.start, panel.n_periods + 1, None).days

    @property
    def next_day(self) -> IntArray:
        """``[R]`` day number of the last day of period T + 1."""
        return self._days[self.column + 1]

    @property
    def next_dates(self) -> npt.NDArray[np.datetime64]:
        """``[R]`` last day of period T + 1."""
        return self.next_day.astype("datetime64[D]")

    def of_next(self, name: str) -> FloatArray:
        """``[R]`` a calendar feature of T + 1, as `calendar_of` defines it."""
        panel = self.panel
        calendar = calendar_of(panel.frequency, panel.start, panel.n_periods + 1, None)
        values: FloatArray = calendar.values[calendar.names.index(name)][self.column + 1].astype(np.float64)
        return values

    def known_next(self, name: str) -> FloatArray:
        """``[R]`` a known covariate at T + 1; NaN where it is not given."""
        values = self.panel.covariate(name).values
        column = self.column + 1
        inside = column < values.shape[1]
        return np.where(inside, values[self.row, np.where(inside, column, 0)], np.nan).astype(np.float64)


# sales


def newest(moments: Moments, window: Window) -> FloatArray:
    """The newest value of the window."""
    return moments.lag(window.lag)


def mean(moments: Moments, window: Window) -> FloatArray:
    """Mean of the known values of the window; NaN where fewer than it asks for are known."""
    if window not in moments.means:
        total, count = _total(moments, window)
        moments.means[window] = np.where(count >= window.n_least, total / np.maximum(count, 1), np.nan)
    return moments.means[window]


def std(moments: Moments, window: Window) -> FloatArray:
    """Standard deviation (n - 1) of the known values of the window; NaN where fewer than it asks for are known."""
    centre, squares, count = mean(moments, window), np.zeros(len(moments.row)), np.zeros(len(moments.row))
    for k in range(window.lag, window.last + 1):
        distance = moments.lag(k) - centre
        known = np.isfinite(distance)
        squares += np.where(known, distance * distance, 0.0)
        count += known
    return np.where(count >= max(window.n_least, 2), np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


def versus_mean(moments: Moments, window: Window) -> FloatArray:
    """The newest value of the window against its mean; NaN where the mean is 0."""
    centre = mean(moments, window)
    return newest(moments, window) / np.where(centre != 0, centre, np.nan)


def _total(moments: Moments, window: Window) -> tuple[FloatArray, FloatArray]:
    """Sum and number of the known values, added in one fixed order whatever rows are computed with it."""
    total, count = np.zeros(len(moments.row)), np.zeros(len(moments.row))
    for k in range(window.lag, window.last + 1):
        y = moments.lag(k)
        known = np.isfinite(y)
        total += np.where(known, y, 0.0)
        count += known
    return total, count


# the calendar of T + 1


def week_of_year(moments: Moments) -> FloatArray:
    """1 to 53: the seven days from 1 January on are week 1."""
    return moments.of_next("week_of_year")


def month(moments: Moments) -> FloatArray:
    """1 to 12."""
    return moments.of_next("month")


def quarter(moments: Moments) -> FloatArray:
    """1 to 4."""
    return (moments.of_next("month") + 2) // 3


def week_of_month(moments: Moments) -> FloatArray:
    """1 to 5: the first seven days of a month are week 1."""
    return (moments.of_next("day_of_month") + 6) // 7


def is_month_end(moments: Moments) -> FloatArray:
    """1 where the period holds the last day of a month."""
    length = 7 if moments.panel.frequency.is_weekly else 1
    day = moments.next_day
    before, after = ((day + shift).astype("datetime64[D]").astype("datetime64[M]") for shift in (1 - length, 1))
    ends: BoolArray = before != after
    return ends.astype(np.float64)


# holidays


def is_holiday(moments: Moments, name: str | None) -> FloatArray:
    """1 where T + 1 holds a holiday, from a known covariate or (None) the public holidays of the spec's country."""
    flag = _holidays(moments, name)
    return _gathered(flag, moments.row, moments.column + 1)


def days_to_holiday(moments: Moments, name: str | None) -> FloatArray:
    """Days from T + 1 to the next holiday, 0 on one; at most those within reach; NaN where that is not known."""
    flag, panel = _holidays(moments, name), moments.panel
    ahead = np.zeros(len(moments.row), dtype=np.int64)
    open_ended, unknown = np.ones(len(moments.row), dtype=np.bool_), np.zeros(len(moments.row), dtype=np.bool_)
    for k in range(moments.reach):
        value = _gathered(flag, moments.row, moments.column + 1 + k)
        unknown |= open_ended & np.isnan(value)
        open_ended &= value == 0
        ahead += open_ended
    first = panel.start + moments.column + 1
    days = panel.frequency.to_date(first + ahead).astype(np.int64) - panel.frequency.to_date(first).astype(np.int64)
    return np.where(unknown, np.nan, days.astype(np.float64))


def _holidays(moments: Moments, name: str | None) -> FloatArray:
    """Whether each period holds a holiday: ``[N, T + H]``, or ``[1, T + reach]`` for a country; NaN = not known."""
    panel = moments.panel
    if name is not None:
        item = panel.covariate(name)
        texts = enumerate(item.categories)
        off = [code for code, text in texts if text.strip().lower() in _NO] if item.categories else [0]
        told: FloatArray = np.where(np.isnan(item.values), np.nan, ~np.isin(item.values, off))
        return told.astype(np.float64)
    n = panel.n_periods + moments.reach + 1
    days = calendar_of(panel.frequency, panel.start, n, None).days
    held = panel.frequency.to_index(holiday_days(days, str(panel.spec.country)).astype("datetime64[D]"))
    return np.isin(panel.start + np.arange(n), held).astype(np.float64)[None, :]


def _gathered(flag: FloatArray, row: IntArray, column: IntArray) -> FloatArray:
    inside = column < flag.shape[1]
    values = flag[row if len(flag) > 1 else np.zeros_like(row), np.where(inside, column, 0)]
    return np.where(inside, values, np.nan)


# covariates


def past_value(moments: Moments, name: str) -> FloatArray:
    """A past covariate as last published at T: the newest value that is not younger than its delay."""
    item = moments.panel.covariate(name)
    if item.categories:
        raise DataError(
            Problem(f"the past covariate {name!r} is text", "the feature store", "declare(spec, panel) declares it so")
        )
    return _as_written(_published(moments, item))


def past_text(moments: Moments, name: str) -> npt.NDArray[np.object_]:
    """A past covariate that is text, as last published at T; None = not known."""
    item = moments.panel.covariate(name)
    codes = _published(moments, item)
    texts = np.array([*item.categories, None], dtype=object)
    return texts[np.where(np.isfinite(codes), codes, len(item.categories)).astype(np.int64)]


def _published(moments: Moments, item: Covariate) -> npt.NDArray[np.float32]:
    column = moments.column - item.delay
    values = item.values[moments.row, np.maximum(column, 0)]
    return np.where(column >= 0, values, np.float32("nan"))


def _as_written(values: npt.NDArray[np.float32]) -> FloatArray:
    """float64 of what was written: 12.3 is kept as the float32 nearest to it, and is 12.3 again."""
    distinct, which = np.unique(values, return_inverse=True)
    return distinct.astype(str).astype(np.float64)[which]


def static_value(moments: Moments, name: str) -> pl.Series:
    """A static column of the row's series."""
    return moments.panel.series[name].gather(moments.row)


def known_sum(moments: Moments, names: tuple[str, ...]) -> FloatArray:
    """Sum of known covariates at T + 1; NaN where none of them is given."""
    values = [_as_written(moments.known_next(name).astype(np.float32)) for name in names]
    total, count = np.zeros(len(moments.row)), np.zeros(len(moments.row))
    for value in values:
        total += np.where(np.isfinite(value), value, 0.0)
        count += np.isfinite(value)
    return np.where(count > 0, total, np.nan)
