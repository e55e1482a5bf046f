"""Everything a forecast made at a cutoff may know, computed once for all series: the source of every feature.

An `AsOf` is made from a panel that ends at the cutoff, so that nothing later can be reached; windows are counted back
from that end, so that one which sees its own target cannot be written.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foretail.features.calendar import Calendar, calendar_of
from foretail.features.cells import cell_effects, cell_ids, flag_factors
from foretail.features.cube import Cube, Sums, group_codes, mean_of
from foretail.features.flags import FlagEffects
from foretail.features.plan import Plan, plan_features
from foretail.features.profile import seasonal_profile
from foretail.features.space import Space
from foretail.features.spans import spans_of
from foretail.features.yearly import aligned_year_ago, year_lag
from foretail.panel.panel import Covariate, Panel

__all__ = ["AsOf", "Plan", "plan_features", "reaching"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# a residual beyond this (in logs: a factor of 4.5; in levels: ten times the size of the series) is cut: one wild
# day, or a single stray sale, would move every mean it falls into
_LOG_BOUND, _LEVEL_BOUND = 1.5, 10.0


class AsOf:
    """The state of the world at the end of a panel.

    Parameters
    ----------
    panel : ends at the cutoff T; known covariates reach h periods further where there are any.
    plan : decisions of `plan_features`.
    h : steps ahead.

    Attributes
    ----------
    known : columns that are known (T + 1). steps : ``[H]`` 1..h. target : ``[H]`` column of each step.
    windows, cell_windows, year_reach : see `Spans`.
    """

    def __init__(self, panel: Panel, plan: Plan, h: int):
        self.panel = _coded(reaching(panel, h), plan)
        self.plan = plan
        self.h = h
        self.known = panel.n_periods
        self.steps = np.arange(1, h + 1)
        self.target = self.known - 1 + self.steps
        self.cube = Cube.of(self.panel, Space(plan.space))
        spans = spans_of(panel.frequency)
        self.windows, self.cell_windows, self.year_reach = spans.recent, spans.cells, spans.year_reach

    @cached_property
    def calendar(self) -> Calendar:
        """Calendar of the history and of the steps."""
        width = self.known + self.h
        return calendar_of(self.panel.frequency, self.panel.start, width, self.panel.spec.country)

    @cached_property
    def unit(self) -> FloatArray:
        """``[N]`` what a difference in model space is measured in."""
        return self.cube.unit

    # the short season and the flags

    @cached_property
    def _cell_ids(self) -> IntArray:
        return cell_ids(self.panel, self.calendar.phase, self.plan.cells)

    @cached_property
    def _cell_effects(self) -> tuple[list[FloatArray], list[IntArray]]:
        ids = self._cell_ids[:, : self.known]
        return cell_effects(self.cube.z, ids, self.plan.cells.n_cells, self.cell_windows, self.unit)

    @property
    def cell(self) -> IntArray:
        """``[N, H]`` weekday x flag cell of each target."""
        return self._cell_ids[:, self.target]

    def cell_effect(self, window: int) -> FloatArray:
        """``[N, H]`` the effect of each target's cell over the last ``window`` periods, in model space."""
        return np.take_along_axis(self._cell_effects[0][self.cell_windows.index(window)], self.cell, 1)

    def cell_count(self, window: int) -> FloatArray:
        """``[N, H]`` observations behind `cell_effect`."""
        count = np.take_along_axis(self._cell_effects[1][self.cell_windows.index(window)], self.cell, 1)
        return count.astype(np.float64)

    @cached_property
    def reference(self) -> FloatArray:
        """``[N, H]`` what every other value is compared with: the cell's effect over the longest window."""
        return self.cell_effect(self.cell_windows[0])

    def weekless(self, window: int) -> FloatArray:
        """``[N, H]`` `cell_effect` averaged over the short season, the flags as they are at each target."""
        effects = self._cell_effects[0][self.cell_windows.index(window)]
        n_flags = self.plan.cells.n_flag_cells
        means = effects.reshape(len(effects), self.plan.cells.n_phases, n_flags).mean(axis=1)
        return np.take_along_axis(means, self.cell % n_flags, 1)

    @cached_property
    def residual(self) -> FloatArray:
        """``[N, T]`` history minus its cells' long effects, in units, extremes cut."""
        fitted = np.take_along_axis(self._cell_effects[0][0], self._cell_ids[:, : self.known], 1)
        residual = (self.cube.z - fitted) / self.unit[:, None]
        bound = _LOG_BOUND if self.cube.space.is_log else _LEVEL_BOUND
        return np.clip(residual, -bound, bound)

    @cached_property
    def residual_sums(self) -> Sums:
        """Prefix sums of `residual`."""
        return Sums(self.residual)

    def recent(self, window: int) -> FloatArray:
        """``[N]`` mean residual of the last ``window`` periods; longer windows stand in where nothing was observed."""
        value = self._last(self.residual_sums, window)
        for longer in self.windows:
            if longer > window and np.isnan(value).any():
                value = np.where(np.isnan(value), self._last(self.residual_sums, longer), value)
        return np.nan_to_num(value)

    def _last(self, sums: Sums, window: int) -> FloatArray:
        return sums.mean(self.known - window, self.known, self.known)

    @cached_property
    def _flag_effects(self) -> dict[str, FlagEffects]:
        return {}

    def flag_effects(self, name: str) -> FlagEffects:
        """What a flag added on the dates that are known, against those around them."""
        if name not in self._flag_effects:
            groups = [self.group(column) for column in self.plan.groups]
            values = self.panel.covariate(name).values[:, : self.known]
            self._flag_effects[name] = FlagEffects.of(self.residual, values, groups, self.cell_windows[-1] // 2)
        return self._flag_effects[name]

    @cached_property
    def residual_std(self) -> FloatArray:
        """``[N]`` standard deviation of the residual over half a year."""
        last = self.residual[:, max(0, self.known - self.windows[-2]) :]
        squares, mean = mean_of(last**2), mean_of(last)
        return np.sqrt(np.maximum(squares - mean**2, 0.0))

    def cycle(self, period: int, n: int) -> FloatArray:
        """``[N, H]`` mean residual at the last n places of a cycle that are known; NaN where none was observed."""
        last = self.target - period * -(-self.steps // period)
        values = np.stack(
            [self.residual_sums.mean(last - period * k, last - period * k + 1, self.known) for k in range(n)]
        )
        count = np.isfinite(values).sum(0)
        return np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)

    # the season of years before

    def year_ago(self, sums: Sums, reach: int, years: int = 1) -> FloatArray:
        """``[rows, H]`` mean of ± reach periods around the same season, ``years`` further back than needed."""
        frequency = self.panel.frequency
        centre = self.target - year_lag(frequency, self.steps) - (years - 1) * frequency.year_length
        return sums.mean(centre - reach, centre + reach + 1, self.known)

    def year_ago_level(self, sums: Sums, window: int) -> FloatArray:
        """``[rows]`` mean of the window that ended a year before the cutoff."""
        end = self.known - self.panel.frequency.year_length
        return sums.mean(end - window, end, self.known)

    def growth(self, sums: Sums, window: int) -> FloatArray:
        """``[rows]`` this window against the same a year before."""
        change: FloatArray = self._last(sums, window) - self.year_ago_level(sums, window)
        return change

    def aligned(self, sums: Sums) -> FloatArray:
        """``[rows, H]`` the holiday-aligned year-ago period."""
        days, holidays = self.calendar.days, self.calendar.holidays
        return aligned_year_ago(sums, self.panel.frequency, days, self.known, self.steps, holidays=holidays)

    @cached_property
    def profile(self) -> FloatArray:
        """``[N, H]`` seasonal profile forecast against the reference, in units; NaN for days, or without a year."""
        if self.panel.frequency.is_daily:
            return np.full((self.panel.n_series, self.h), np.nan)
        return (self._profile_level - self.reference) / self.unit[:, None]

    @property
    def _profile_level(self) -> FloatArray:
        """``[N, H]`` seasonal profile forecast in model space, under the flags of each target."""
        return self.cube.space.forward(self._profile_sales * self._flag_factors[:, self.target], self.cube.scale)

    @cached_property
    def _profile_sales(self) -> FloatArray:
        """``[N, H]`` seasonal profile forecast under the usual flags; it rests on the history alone."""
        y = np.where(self.panel.closed[:, : self.known], np.nan, self.panel.y) / self._flag_factors[:, : self.known]
        groups, frequency = self.group(self.plan.profile_group), self.panel.frequency
        return seasonal_profile(y, groups, frequency, self.calendar.days, self.steps, self.plan.profile_options)

    @cached_property
    def _flag_factors(self) -> FloatArray:
        """``[N, T + H]`` what the flags of each period multiply sales by."""
        effects, is_log = self._cell_effects[0][0], self.cube.space.is_log
        return flag_factors(effects, self._cell_ids, self.known, is_log=is_log)

    # groups of series

    @cached_property
    def _groups(self) -> dict[str, IntArray]:
        return {}

    def group(self, name: str) -> IntArray:
        """``[N]`` codes of a key or static column ("" = all series together)."""
        if name not in self._groups:
            n = self.panel.n_series
            self._groups[name] = group_codes(self.panel, name) if name else np.zeros(n, dtype=np.int64)
        return self._groups[name]

    @cached_property
    def _group_sums(self) -> dict[str, Sums]:
        return {}

    def group_sums(self, name: str) -> Sums:
        """Prefix sums of the mean residual of each group, ``[groups, T]``."""
        if name not in self._group_sums:
            self._group_sums[name] = Sums(_group_means(self.residual, self.group(name)))
        return self._group_sums[name]

    # some series under another future

    def only(self, rows: IntArray, ahead: Sequence[Covariate] = (), closed: BoolArray | None = None) -> AsOf:
        """The state of some series, for which something else is known of the future.

        What rests on the history (levels of groups, effects over all series, shapes of the year) is that of the whole
        panel, so every feature is bit for bit what it would be had the whole panel been made with the other future.

        Parameters
        ----------
        rows : ``[n]`` of the panel. ahead : known covariates with other values, float32 ``[n, H]`` after the cutoff.
        closed : bool ``[n, H]``; as it was when None.
        """
        return _Part(self, rows, ahead, closed)


class _Part(AsOf):
    """Some series of a whole: the history is theirs by reference, only what hangs on the future is computed."""

    def __init__(self, whole: AsOf, rows: IntArray, ahead: Sequence[Covariate], closed: BoolArray | None):
        self._whole, self._rows = whole, rows
        self.panel = _with_future(replace(whole.panel, revisions=None).select(rows), ahead, closed)
        self.plan, self.h, self.known, self.steps, self.target = (
            whole.plan,
            whole.h,
            whole.known,
            whole.steps,
            whole.target,
        )
        self.cube = replace(whole.cube, panel=self.panel, scale=whole.cube.scale[rows], z=whole.cube.z[rows])
        self.windows, self.cell_windows, self.year_reach = whole.windows, whole.cell_windows, whole.year_reach

    @cached_property
    def calendar(self) -> Calendar:
        return self._whole.calendar

    @cached_property
    def _cell_effects(self) -> tuple[list[FloatArray], list[IntArray]]:
        effects, counts = self._whole._cell_effects
        return [item[self._rows] for item in effects], [item[self._rows] for item in counts]

    @cached_property
    def residual(self) -> FloatArray:
        return self._whole.residual[self._rows]

    def flag_effects(self, name: str) -> FlagEffects:
        return self._whole.flag_effects(name).only(self._rows)

    @cached_property
    def _profile_sales(self) -> FloatArray:
        return self._whole._profile_sales[self._rows]

    def group(self, name: str) -> IntArray:
        return self._whole.group(name)[self._rows]

    def group_sums(self, name: str) -> Sums:
        return self._whole.group_sums(name)


def _with_future(panel: Panel, ahead: Sequence[Covariate], closed: BoolArray | None) -> Panel:
    """A panel with other values after its end; texts are told in the panel's own codes."""
    t, codes = panel.n_periods, {item.name: item.categories for item in panel.known}
    other = {item.name: _recoded(item, codes[item.name]) for item in ahead}
    known = tuple(
        replace(
            item, values=np.concatenate([item.values[:, :t], _recoded(other[item.name], item.categories).values], 1)
        )
        if item.name in other
        else item
        for item in panel.known
    )
    shut = panel.closed if closed is None else np.concatenate([panel.closed[:, :t], closed], 1)
    return replace(panel, known=known, closed=shut)


def reaching(panel: Panel, h: int) -> Panel:
    """What was published at the panel's end, with exactly h future columns.

    What is not known of the future is missing, and nobody is known to be shut. Sales stay as the panel tells them: it
    may hold corrections that were written after its last period.
    """
    panel = replace(panel.as_of(panel.n_periods, h), y=panel.y)
    missing = h - panel.n_future
    if missing <= 0:
        return panel
    closed = np.pad(panel.closed, ((0, 0), (0, missing)))
    known = tuple(
        replace(item, values=np.pad(item.values, ((0, 0), (0, missing)), constant_values=np.nan))
        for item in panel.known
    )
    return replace(panel, closed=closed, known=known)


def _coded(panel: Panel, plan: Plan) -> Panel:
    """Text covariates in the codes of the plan; texts that it never saw are missing."""
    wanted = plan.categories
    if all(wanted.get(item.name, item.categories) == item.categories for item in (*panel.known, *panel.past)):
        return panel
    known = tuple(_recoded(item, wanted.get(item.name, item.categories)) for item in panel.known)
    past = tuple(_recoded(item, wanted.get(item.name, item.categories)) for item in panel.past)
    return replace(panel, known=known, past=past)


def _recoded(item: Covariate, categories: tuple[str, ...]) -> Covariate:
    if item.categories == categories:
        return item
    position = {text: float(code) for code, text in enumerate(categories)}
    codes = np.array([*(position.get(text, np.nan) for text in item.categories), np.nan], dtype=np.float32)
    old = np.where(np.isfinite(item.values), item.values, len(item.categories)).astype(np.int64)
    return replace(item, values=codes[old], categories=categories)


def _group_means(values: FloatArray, codes: IntArray) -> FloatArray:
    """Mean over the series of each group, ``[groups, T]``; NaN where none was observed."""
    order = np.argsort(codes, kind="stable")
    edges = np.searchsorted(codes[order], np.arange(int(codes.max()) + 2))
    finite = np.isfinite(values)
    told = np.where(finite, values, 0.0)
    total, count = np.empty((len(edges) - 1, values.shape[1])), np.empty((len(edges) - 1, values.shape[1]))
    for group, (first, end) in enumerate(itertools.pairwise(edges.tolist())):
        members = order[first:end]
        told[members].sum(axis=0, out=total[group])
        count[group] = finite[members].sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
