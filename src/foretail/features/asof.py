"""Everything a forecast made at a cutoff may know, computed once for all series: the source of every feature.

An `AsOf` is made from a panel that ends at the cutoff, so that nothing later can be reached; windows are counted back
from that end, so that one which sees its own target cannot be written.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.features.calendar import Calendar, calendar_of
from foretail.features.cells import CellPlan, cell_effects, cell_ids, plan_cells
from foretail.features.cube import Cube, Sums, group_codes
from foretail.features.profile import best_grouping, seasonal_profile
from foretail.features.space import Space
from foretail.features.yearly import aligned_year_ago, year_lag
from foretail.panel.panel import Panel

__all__ = ["AsOf", "Plan", "plan_features"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_WINDOWS = {"D": (7, 14, 28, 56, 91, 182, 364), "W": (1, 2, 4, 8, 13, 26, 52), "M": (1, 2, 3, 6, 12)}
_CELL_WINDOWS = {"D": (364, 182, 84, 28), "W": (52, 26, 13), "M": (24, 12)}
_YEAR_REACH = {"D": (0, 3, 7, 14), "W": (0, 1, 2), "M": (0, 1)}
_MAX_GROUPS = 200


@dataclass(frozen=True)
class Plan:
    """What was decided about a panel before its features are computed; part of the model.

    Attributes
    ----------
    space : ``log`` or ``level``. cells : weekday x flag cells. groups : key and static columns used for group levels.
    profile_group : the column whose groups share the shape of a year; "" for all series.
    codes : per text key or static column, its values in code order (unseen values are missing).
    flags : known covariates with few values, for which distances to changes are features.
    has_years : whether the history is long enough for features of the year before.
    """

    space: str
    cells: CellPlan
    groups: tuple[str, ...] = ()
    profile_group: str = ""
    codes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    has_years: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """Read what ``to_dict`` wrote, from JSON."""
        cells = values["cells"]
        plan = CellPlan(tuple(cells["flags"]), tuple(tuple(item) for item in cells["values"]), cells["n_phases"])
        codes = {name: tuple(items) for name, items in values["codes"].items()}
        groups, flags = tuple(values["groups"]), tuple(values["flags"])
        return cls(values["space"], plan, groups, values["profile_group"], codes, flags, values["has_years"])


def plan_features(panel: Panel, space: Space) -> Plan:
    """Decide cells, groups and codes from the history of a panel."""
    cube = Cube.of(panel, space)
    calendar = calendar_of(panel.frequency, panel.start, panel.closed.shape[1], panel.spec.country)
    columns = [*panel.spec.keys, *panel.spec.static]
    sizes = {name: panel.series[name].n_unique() for name in columns}
    groups = tuple(name for name in columns if 2 <= sizes[name] <= min(_MAX_GROUPS, panel.n_series // 2))
    year = panel.frequency.year_length
    candidates = {"": np.zeros(panel.n_series, dtype=np.int64)} | {name: group_codes(panel, name) for name in groups}
    profile_group = best_grouping(panel.y[:, -year:], candidates) if panel.n_periods >= year else ""
    codes = {
        name: tuple(sorted(panel.series[name].drop_nulls().cast(str).unique().to_list()))
        for name in columns
        if not panel.series[name].dtype.is_float() and sizes[name] > 1
    }
    flags = tuple(item.name for item in panel.known if _is_flag(item.values[:, : panel.n_periods]))
    cells = plan_cells(panel, cube.z, calendar.phase)
    return Plan(space.name, cells, groups, profile_group, codes, flags, panel.n_periods >= year // 2)


def _is_flag(values: npt.NDArray[np.float32]) -> bool:
    levels = np.unique(values[np.isfinite(values)])
    return 2 <= len(levels) <= 6


class AsOf:
    """The state of the world at the end of a panel.

    Parameters
    ----------
    panel : ends at the cutoff T; known covariates reach h periods further where there are any.
    plan : decisions of `plan_features`.
    h : steps ahead.
    """

    def __init__(self, panel: Panel, plan: Plan, h: int):
        self.panel = _reaching(panel, h)
        self.plan = plan
        self.h = h
        self.known = panel.n_periods
        self.steps = np.arange(1, h + 1)
        self.target = self.known - 1 + self.steps
        self.cube = Cube.of(panel, Space(plan.space))
        letter = panel.spec.freq[0]
        self.windows = _WINDOWS[letter]
        self.cell_windows = _CELL_WINDOWS[letter]
        self.year_reach = _YEAR_REACH[letter]

    @cached_property
    def calendar(self) -> Calendar:
        width = self.known + self.h
        return calendar_of(self.panel.frequency, self.panel.start, width, self.panel.spec.country)

    @cached_property
    def unit(self) -> FloatArray:
        """``[N]`` what a difference in model space is measured in: 1 for logs, the size of the series for levels."""
        return np.ones(self.panel.n_series) if self.cube.space.is_log else self.cube.scale

    # the short season and the flags

    @cached_property
    def _cells(self) -> tuple[list[FloatArray], list[IntArray], IntArray]:
        ids = cell_ids(self.panel, self.calendar.phase, self.plan.cells)
        windows = self.cell_windows
        effects, counts = cell_effects(self.cube.z, ids[:, : self.known], self.plan.cells.n_cells, windows)
        return effects, counts, ids

    def cell_effect(self, window: int) -> FloatArray:
        """``[N, H]`` the effect of each target's cell over the last ``window`` periods, in model space."""
        effects, _, ids = self._cells
        return np.take_along_axis(effects[self.cell_windows.index(window)], ids[:, self.target], 1)

    def cell_count(self, window: int) -> FloatArray:
        """``[N, H]`` observations behind `cell_effect`."""
        _, counts, ids = self._cells
        return np.take_along_axis(counts[self.cell_windows.index(window)], ids[:, self.target], 1).astype(float)

    @cached_property
    def reference(self) -> FloatArray:
        """``[N, H]`` what every other value is compared with: the cell's effect over the longest window."""
        return self.cell_effect(self.cell_windows[0])

    @cached_property
    def residual(self) -> FloatArray:
        """``[N, T]`` history minus its cells' long effects, in units, extremes cut."""
        effects, _, ids = self._cells
        fitted = np.take_along_axis(effects[0], ids[:, : self.known], 1)
        residual = (self.cube.z - fitted) / self.unit[:, None]
        bound = 1.5 if self.cube.space.is_log else 10.0
        return np.clip(residual, -bound, bound)

    @cached_property
    def residual_sums(self) -> Sums:
        return Sums(self.residual)

    def recent(self, window: int) -> FloatArray:
        """``[N]`` mean residual of the last ``window`` periods; longer windows stand in where nothing was observed."""
        value = self.residual_sums.mean(self.known - window, self.known, self.known)
        for longer in self.windows:
            if longer > window and np.isnan(value).any():
                value = np.where(np.isnan(value), self.residual_sums.mean(self.known - longer, self.known, self.known), value)
        return np.nan_to_num(value)

    @cached_property
    def residual_std(self) -> FloatArray:
        """``[N]`` standard deviation of the residual over half a year."""
        window = self.windows[-2]
        squares = Sums(self.residual**2).mean(self.known - window, self.known, self.known)
        mean = self.residual_sums.mean(self.known - window, self.known, self.known)
        return np.sqrt(np.maximum(squares - mean**2, 0.0))

    # the season of years before

    def year_ago(self, sums: Sums, reach: int, years: int = 1) -> FloatArray:
        """``[rows, H]`` mean of ± reach periods around the same season, ``years`` further back than needed."""
        centre = self.target - year_lag(self.panel.frequency, self.steps) - (years - 1) * self.panel.frequency.year_length
        return sums.mean(centre - reach, centre + reach + 1, self.known)

    def year_ago_level(self, sums: Sums, window: int) -> FloatArray:
        """``[rows]`` mean of the window that ended a year before the cutoff."""
        end = self.known - self.panel.frequency.year_length
        return sums.mean(end - window, end, self.known)

    def growth(self, sums: Sums, window: int) -> FloatArray:
        """``[rows]`` this window against the same a year before."""
        return sums.mean(self.known - window, self.known, self.known) - self.year_ago_level(sums, window)

    @cached_property
    def aligned(self) -> FloatArray:
        """``[N, H]`` residual of the holiday-aligned year-ago period."""
        return aligned_year_ago(self.residual_sums, self.panel.frequency, self.calendar.days, self.known, self.steps)

    @cached_property
    def profile(self) -> FloatArray:
        """``[N, H]`` seasonal profile forecast against the reference, in units; NaN without a year of history."""
        frequency = self.panel.frequency
        if frequency.is_daily:
            return np.full((self.panel.n_series, self.h), np.nan)
        name = self.plan.profile_group
        groups = self.group(name) if name else np.zeros(self.panel.n_series, dtype=np.int64)
        y = np.where(self.panel.closed[:, : self.known], np.nan, self.panel.y)
        found = seasonal_profile(y, groups, frequency, self.calendar.days, self.steps)
        z = self.cube.space.forward(found, self.cube.scale)
        return (z - self.reference) / self.unit[:, None]

    # groups of series

    def group(self, name: str) -> IntArray:
        """``[N]`` codes of a key or static column ("" = all series together)."""
        if not name:
            return np.zeros(self.panel.n_series, dtype=np.int64)
        return group_codes(self.panel, name)

    @cached_property
    def _group_sums(self) -> dict[str, Sums]:
        return {}

    def group_sums(self, name: str) -> Sums:
        """Prefix sums of the mean residual of each group, ``[groups, T]``."""
        if name not in self._group_sums:
            self._group_sums[name] = Sums(_group_means(self.residual, self.group(name)))
        return self._group_sums[name]


def _reaching(panel: Panel, h: int) -> Panel:
    """The panel with exactly h future columns; what is not known of them is missing, and nobody is known to be shut."""
    width = panel.n_periods + h
    if panel.n_future >= h:
        return panel.as_of(panel.n_periods, h)
    missing = width - panel.closed.shape[1]
    closed = np.pad(panel.closed, ((0, 0), (0, missing)))
    known = tuple(
        replace(item, values=np.pad(item.values, ((0, 0), (0, missing)), constant_values=np.nan)) for item in panel.known
    )
    return replace(panel, closed=closed, known=known)


def _group_means(values: FloatArray, codes: IntArray) -> FloatArray:
    """Mean over the series of each group, ``[groups, T]``; NaN where none was observed."""
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], np.arange(int(codes.max()) + 1))
    finite = np.isfinite(values)
    total = np.add.reduceat(np.where(finite, values, 0.0)[order], first, axis=0)
    count = np.add.reduceat(finite[order].astype(float), first, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
