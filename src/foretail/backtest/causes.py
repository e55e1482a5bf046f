"""Why a day lies outside its interval, as far as the data tell: a table of rules, each with what it must see.

Evidence is what the series did, what its like did on the same day, and what was known of the day in advance. The first
rule of `RULES` that holds gives the cause; a day that lies barely outside and shows nothing else is put down to chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.features.calendar import holiday_days
from foretail.features.groups import CALENDAR, PROMOTION, covariate_groups
from foretail.panel.panel import Covariate, Panel

__all__ = ["CAUSES", "CHANCE", "RULES", "Rule", "Watched", "rules_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

CHANCE = "chance"
CAUSES = ("data error", "closed", "stockout", "holiday", "promotion", "unknown", CHANCE)

_SIGMAS = 3.92  # standard deviations that a normal 95 % interval spans
_BARELY = 0.25  # widths outside, below which a day without other evidence is chance
_CLEAR = 3.0  # the same in Poisson deviations, where sales are whole numbers and an interval between them says little
_LEAST_OTHERS = 3  # series of a group, besides the one in question, that say something
_TOGETHER = 1.0  # mean deviation of the others, in standard deviations, from which they move together
_FEW_TOGETHER = 2.5  # the same times the root of their number, for a few of them
_AGREE = 0.5  # share of the others that must go the same way
_STEADY = -0.5  # mean deviation above which the others did not fall
_EMPTY = 0.05  # share of what was expected, below which a whole group sold next to nothing
_LOW = 0.4  # share of what was expected that an empty shelf sells at most
_SHELF = 0.1  # widths below the interval from which low sales count as an empty shelf
_LACKING = 2.0  # Poisson deviations that are missing at least on an empty shelf
_SELDOM = 0.05  # share of open periods without sales, above which one more is nothing new
_RARE = 0.1  # share of periods below which a flag of the calendar is a holiday, not a season
_NEAR = 2  # periods around a holiday in which a common move is its doing
_ROW = 3  # days in a row far above what was expected that make a promotion
_REPEATS = 0.02  # share of days that equal the one before, above which an equal value says nothing
_FACTORS = ((10.0, 5.0, 20.0), (100.0, 40.0, 250.0))  # a factor, and the ratios to the forecast it may show as
_HUNDREDTH = (1 / 125.0, 1 / 80.0)  # the same downwards; a tenth cannot be told from an empty shelf
_MUCH = 1000.0  # expected amount from which a hundredth can be told from a rest on the shelf
_ENOUGH = 20.0  # expected amount from which a value is not the one before by chance


@dataclass(frozen=True)
class Rule:
    """One row of the table: the cause, one of `CAUSES`, and the sentence that says what was seen."""

    cause: str
    why: str


RULES = (
    Rule("data error", "negative, where the series never was"),
    Rule("data error", "about ten times what was expected, while its like sold as usual"),
    Rule("data error", "about a hundred times what was expected, while its like sold as usual"),
    Rule("data error", "about a hundredth of what was expected, while its like sold as usual"),
    Rule("data error", "the value of the period before again, with most of its group"),
    Rule("data error", "the value of the period before again, which this series hardly ever repeats"),
    Rule("closed", "sold on a day that the data call closed"),
    Rule("closed", "its whole group sold next to nothing though the data say open"),
    Rule("closed", "nothing sold though the data say open"),
    Rule("holiday", "a holiday"),
    Rule("holiday", "near a holiday, and its like moved the same way"),
    Rule("stockout", "nothing sold while its like sold as usual"),
    Rule("stockout", "little sold while its like sold as usual"),
    Rule("promotion", "its like rose on the same day and no promotion was announced"),
    Rule("promotion", "far above what was expected for days in a row and no promotion was announced"),
    Rule("unknown", "sold where nothing was expected any more"),
    Rule("unknown", "a promotion that was announced did not do what such promotions usually do"),
    Rule("unknown", "nothing in the data explains it"),
    Rule(CHANCE, "barely outside: one day in twenty is, when nothing is wrong"),
)


@dataclass(frozen=True)
class Watched:
    """Forecasts with their 95 % interval beside what was then sold: one window.

    Attributes
    ----------
    first : column of the panel that holds step 1.
    y, y_hat, low, high : ``[N, h]`` in the unit of the target; NaN where a cell is not scored.
    """

    first: int
    y: FloatArray
    y_hat: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def h(self) -> int:
        return int(self.y.shape[1])

    @cached_property
    def outside(self) -> BoolArray:
        """bool ``[N, h]``."""
        beyond: BoolArray = (self.y < self.low) | (self.y > self.high)
        return beyond

    @cached_property
    def widths(self) -> FloatArray:
        """``[N, h]`` distance to the nearer bound in widths of the interval; infinite where that has none."""
        beyond = np.maximum(np.maximum(self.low - self.y, self.y - self.high), 0.0)
        wide = self.high - self.low
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(beyond > 0, beyond / wide, np.where(np.isfinite(beyond), 0.0, np.nan))


def rules_of(panel: Panel, seen: Watched) -> IntArray:
    """The rule behind every cell outside its interval.

    Parameters
    ----------
    panel : N series that hold the window's columns, and what was known of them.

    Returns
    -------
    int64 ``[N, h]``: place in `RULES`; -1 inside the interval.
    """
    told = _Evidence(panel, seen)
    conditions = [*told.data_errors(), *told.closings(), *told.holidays(), *told.shelves(), *told.promotions()]
    conditions += [told.is_over, told.is_promoted & told.is_far, told.is_far]
    found = np.select(conditions, range(len(conditions)), len(RULES) - 1)
    return np.where(seen.outside, found, -1).astype(np.int64)


class _Evidence:
    """What the rules look at; every array is ``[N, h]``."""

    def __init__(self, panel: Panel, seen: Watched):
        self.panel, self.seen = panel, seen
        self.columns = slice(seen.first, seen.first + seen.h)
        self.closed = panel.closed[:, self.columns]
        self.above = seen.y > seen.high
        self.below = seen.y < seen.low
        self.is_whole = (np.nan_to_num(panel.y) % 1 == 0).all(axis=1, keepdims=True)
        surprise = np.abs(seen.y - seen.y_hat) >= _CLEAR * np.sqrt(np.maximum(seen.y_hat, 0.0) + 1)
        self.is_far = (seen.widths >= _BARELY) & (surprise | ~self.is_whole)
        self.is_over = (seen.high <= 0) & ~self.closed & (seen.y > 0)
        wide = np.where(self.closed | ~(seen.high > seen.low), np.nan, seen.high - seen.low)
        self.z = np.clip((seen.y - seen.y_hat) * _SIGMAS / wide, -6.0, 6.0)
        self.groups = list(_groupings(panel))
        self.ratio = seen.y / np.where(seen.y_hat > 0, seen.y_hat, np.nan)

    @cached_property
    def like(self) -> list[tuple[FloatArray, ...]]:
        """Per grouping: how many others there are, their mean deviation, shares of them well above and well below."""
        known = np.isfinite(self.z)
        up, down = self.z > 0.5 * _TOGETHER, self.z < -0.5 * _TOGETHER
        parts = (np.where(known, self.z, 0.0), up, down)
        return [(_counts(known, codes) - known, *_of_others(parts, known, codes)) for codes in self.groups]

    @cached_property
    def rose(self) -> BoolArray:
        """Some group of the series rose with it."""
        return self._moved(1.0)

    @cached_property
    def fell(self) -> BoolArray:
        """Some group of the series fell with it."""
        return self._moved(-1.0)

    def _moved(self, sign: float) -> BoolArray:
        moved = np.zeros(self.z.shape, dtype=np.bool_)
        for n, mean, up, down in self.like:
            needed = np.maximum(_TOGETHER, _FEW_TOGETHER / np.sqrt(np.maximum(n, 1)))
            moved |= (sign * mean >= needed) & ((up if sign > 0 else down) >= _AGREE)
        return moved

    @cached_property
    def is_alone(self) -> BoolArray:
        """No group fell with it; said only where there are others."""
        means = np.stack([mean for _, mean, _, _ in self.like])
        lowest = np.where(np.isfinite(means), means, np.inf).min(axis=0)
        alone: BoolArray = np.isfinite(means).any(axis=0) & (lowest > _STEADY)
        return alone

    def data_errors(self) -> list[BoolArray]:
        """Negative, a power of ten, or the period before again."""
        before = self.panel.y[:, : self.seen.first]
        negative = (self.seen.y < 0) & ~(before < 0).any(axis=1, keepdims=True)
        low, high = _HUNDREDTH
        part = self.below & self.is_alone & (low <= self.ratio) & (self.ratio <= high) & (self.seen.y_hat >= _MUCH)
        return [negative, *(self._is_times(*item) for item in _FACTORS), part, *self._copies()]

    def _is_times(self, factor: float, low: float, high: float) -> BoolArray:
        """Far above its like, and usual once it is divided by the factor; whole numbers then end in zeros."""
        seen = self.seen
        usual = (seen.low <= seen.y / factor) & (seen.y / factor <= seen.high)
        is_round = ~self.is_whole | (np.nan_to_num(seen.y) % factor == 0)
        between = (low <= self.ratio) & (self.ratio <= high)
        times: BoolArray = self.above & ~self.rose & between & usual & is_round
        return times

    def _copies(self) -> list[BoolArray]:
        """Equal to the period before: with most of a key's series, or where it hardly ever happens."""
        y = self.panel.y[:, : self.seen.first + self.seen.h]
        equal = np.zeros(y.shape, dtype=np.bool_)
        equal[:, 1:] = (y[:, 1:] == y[:, :-1]) & (y[:, 1:] != 0)
        past = equal[:, : self.seen.first]
        usual = past.sum(1) / np.maximum(self.panel.observed[:, : self.seen.first].sum(1), 1)
        now = equal[:, self.columns]
        known = np.isfinite(self.seen.y) & ~self.closed & (self.seen.y_hat > 1)
        together = np.zeros(now.shape, dtype=np.bool_)
        for codes in self.groups:
            share, often = _of_others((now & known, np.broadcast_to(usual[:, None], now.shape)), known, codes)
            together |= (share >= _AGREE) & (share > 3 * often)
        return [now & together, now & (usual < _REPEATS)[:, None] & (self.seen.y_hat >= _ENOUGH)]

    def closings(self) -> list[BoolArray]:
        """Open though closed, closed though open: all of a group, or one series of a table with one key."""
        seen, nearly = self.seen, np.zeros(self.z.shape, dtype=np.bool_)
        known = np.isfinite(self.z)
        for codes in self.groups:
            sold, expected = _sums((np.where(known, seen.y, 0.0), np.where(known, seen.y_hat, 0.0)), codes)
            many = _counts(known, codes) > _LEAST_OTHERS
            nearly |= many & (expected > 0) & (sold <= _EMPTY * expected)
        is_one = len(self.panel.spec.keys) < 2
        return [self.closed & (seen.y > 0), self.below & nearly, self.below & (seen.y == 0) & is_one]

    def holidays(self) -> list[BoolArray]:
        """The day itself, and days around it on which the others moved the same way."""
        on = _holidays(self.panel)
        near = on.copy()
        for lag in range(1, _NEAR + 1 if self.panel.frequency.is_daily else 2):
            near[:, lag:] |= on[:, :-lag]
            near[:, :-lag] |= on[:, lag:]
        same = (self.above & self.rose) | (self.below & self.fell)
        alone = self.below & self.is_alone
        on_day = np.broadcast_to(on[:, self.columns], same.shape)
        return [on_day & ~alone & (self.is_far | same), near[:, self.columns] & same]

    def shelves(self) -> list[BoolArray]:
        """Nothing, or little, while the others sold as usual."""
        missing = self.seen.y_hat - self.seen.y
        clear = ~self.is_whole | (missing >= _LACKING * np.sqrt(np.maximum(self.seen.y_hat, 0.0)))
        low = self.below & self.is_alone & (self.seen.y >= 0) & clear
        before = self.panel.y[:, : self.seen.first]
        is_open = np.isfinite(before) & ~self.panel.closed[:, : self.seen.first]
        empty = (is_open & (before == 0)).sum(1) / np.maximum(is_open.sum(1), 1)
        none = low & (self.seen.y == 0) & (empty < _SELDOM)[:, None]
        return [none, low & (self.seen.y > 0) & (self.ratio <= _LOW) & (self.seen.widths >= _SHELF)]

    @cached_property
    def is_promoted(self) -> BoolArray:
        """A promotion column of the series holds another value than usual."""
        groups = covariate_groups(self.panel)
        flags = [item for item in self.panel.known if groups[item.name] == PROMOTION]
        on = np.zeros(self.z.shape, dtype=np.bool_)
        for item in flags:
            on |= _unusual(item)[:, self.columns]
        return on

    def promotions(self) -> list[BoolArray]:
        """A rise of the group, or of the series for days in a row, that nothing announced."""
        rise = self.above & ~self.is_promoted
        high = (self.z > 1.96) & ~self.is_promoted & (self.ratio < _FACTORS[0][1])
        return [rise & self.rose, rise & (_run(high) >= _ROW)]


def _groupings(panel: Panel) -> Iterator[IntArray]:
    """Codes ``[N]`` of every way to put series together: by each key, by each static column, and all of them."""
    columns = [*(panel.spec.keys if len(panel.spec.keys) > 1 else ()), *panel.spec.static]
    for name in columns:
        codes = panel.series[name].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
        if 1 < codes.max(initial=0) + 1 < panel.series[UNIQUE_ID].len():
            yield codes
    yield np.zeros(panel.n_series, dtype=np.int64)


def _sums(parts: tuple[npt.NDArray[np.generic], ...], codes: IntArray) -> list[FloatArray]:
    """Sum of each part over the group of every cell, ``[N, h]``."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return [np.add.reduceat(part[order].astype(np.float64), starts, axis=0)[codes] for part in parts]


def _counts(known: BoolArray, codes: IntArray) -> FloatArray:
    return _sums((known,), codes)[0]


def _of_others(parts: tuple[npt.NDArray[np.generic], ...], known: BoolArray, codes: IntArray) -> tuple[FloatArray, ...]:
    """Mean of each part over the other known cells of the group, ``[N, h]``; NaN where these are fewer than three."""
    n = _counts(known, codes) - known
    own = [np.where(known, part, 0.0).astype(np.float64) for part in parts]
    sums = _sums(tuple(own), codes)
    enough = n >= _LEAST_OTHERS
    return tuple(
        np.where(enough, (total - mine) / np.maximum(n, 1), np.nan) for total, mine in zip(sums, own, strict=True)
    )


def _holidays(panel: Panel) -> BoolArray:
    """bool ``[N or 1, T + H]``: public holidays, events of the user's own, rare flags of the calendar."""
    n = panel.closed.shape[1]
    days = panel.dates(0, n)
    index = panel.start + np.arange(n)
    special = [np.array(event.dates, dtype="datetime64[D]") for event in panel.spec.events]
    if panel.spec.country:
        special.append(holiday_days(days.astype(np.int64), panel.spec.country).astype("datetime64[D]"))
    on = np.zeros((1, n), dtype=np.bool_)
    for dates in special:
        on |= np.isin(index, panel.frequency.to_index(dates))[None, :]
    groups = covariate_groups(panel)
    for item in panel.known:
        if groups[item.name] == CALENDAR and item.name != panel.spec.open:
            flag = _unusual(item)
            if flag.shape[1] == n and flag.mean() < _RARE:
                on = on | flag
    return on


def _unusual(item: Covariate) -> BoolArray:
    """Where a covariate is told and holds another value than its most frequent one, ``[N, T + H]``."""
    told = np.isfinite(item.values)
    values, counts = np.unique(item.values[told], return_counts=True)
    if not len(values):
        return np.zeros(item.values.shape, dtype=np.bool_)
    unusual: BoolArray = told & (item.values != values[counts.argmax()])
    return unusual


def _run(on: BoolArray) -> IntArray:
    """Length of the run of true cells that each cell lies in, ``[N, h]``."""
    column = np.arange(on.shape[1])
    start = np.maximum.accumulate(np.where(on, -1, column), axis=1)
    end = np.minimum.accumulate(np.where(on, on.shape[1], column)[:, ::-1], axis=1)[:, ::-1]
    return np.where(on, end - start - 1, 0).astype(np.int64)
