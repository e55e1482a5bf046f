"""What would have been sold: the demand of periods in which the goods ran out or the shop was shut.

Sales of a period are taken as level x effect of its weekday x flag cell x effect of the day on all series. The level is
that of the weeks on both sides of the period, all inside the panel: of a panel that ends at a cutoff, estimates rest on
what was known then, and models learn from them (`as_demanded`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from foretail.features.calendar import calendar_of
from foretail.features.cells import cell_ids, plan_cells
from foretail.features.cube import Cube
from foretail.features.space import Space
from foretail.panel.panel import Panel, Withheld

__all__ = ["Demand", "as_demanded", "demand_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_REACH = {"D": (14, 45, 182), "W": (4, 13, 26), "M": (2, 6, 12)}  # periods on either side that tell the level
_ENOUGH = 5  # observations that a level rests on at least, if the reach allows
_SHRINK = 3.0  # observations that the cell of all series counts for in that of one
_DAY_SHRINK = 5.0  # series that "as always" counts for in the effect of a day on all series
_ROWS = 256  # series worked on at once
_NOTHING = 1e-9
_SWEEPS = 2  # of level and cells in turn
_FAR = 8.0  # standard deviations, beyond which the tail of a normal distribution is not looked at


@dataclass(frozen=True)
class Demand:
    """Demand of every period.

    Attributes
    ----------
    expected : ``[N, T]`` mean demand by level, cell and day; NaN where nothing is known of the cell.
    demand_hat : ``[N, T]`` what was sold where it was all of the demand; else its estimate, never below what was sold.
        NaN where nothing was told of the period, or nothing is known of its cell (a weekday that never was open).
    """

    expected: FloatArray
    demand_hat: FloatArray


def as_demanded(panel: Panel) -> Panel:
    """The panel as a model shall see it: what would have been sold in place of what is withheld.

    Periods of whose demand nothing is known stay without a value, as shut ones do, and all of a series that always ran
    out.
    `Panel.withheld` is kept, so that scores can leave the estimates out. The same panel where nothing is withheld, or
    where it was done before.

    Notes
    -----
    Left as holes, periods in which the goods ran out because many asked for them would make the demand look lower than
    it was: ``python -m benchmarks.demand`` measures both.
    """
    out = panel.is_withheld & ~panel.closed[:, : panel.n_periods]
    if not (out & ~panel.observed).any():
        return panel
    return replace(panel, y=np.where(out, demand_of(panel).demand_hat, panel.y))


def demand_of(panel: Panel) -> Demand:
    """Estimate the demand of withheld and closed periods from all others.

    Where the goods ran out, the demand is above what was sold: its mean is that of a lognormal distribution cut there,
    as wide as the series is noisy. Where the share of the period is told in which they could be bought, it is what was
    sold and, for the rest of the period, the mean of what is usual then and of the pace until then, the latter
    weighing as much as the share.
    """
    shut = panel.closed[:, : panel.n_periods]
    sold = np.where(panel.is_withheld, np.nan, panel.y)
    expected, width = _expected(panel, np.where(shut, np.nan, sold))
    hat = np.where(shut & ~(sold > 0), expected, sold)
    told = panel.withheld
    if told is not None:
        row, column = told.row, told.period - panel.start
        inside = (column >= 0) & (column < panel.n_periods)
        told, row, column = told.where(inside), row[inside], column[inside]
        hat[row, column] = _unserved(told, expected[row, column], width[row, column])
    return Demand(expected, hat)


def _unserved(told: Withheld, mean: FloatArray, width: FloatArray) -> FloatArray:
    """Demand of the entries, whose mean and coefficient of variation are those of all such periods."""
    sold = np.maximum(np.nan_to_num(told.sold), 0.0)
    rest = 1.0 - told.available
    paced = sold + rest * (sold + rest * mean)
    found: FloatArray = np.where(np.isfinite(rest), np.maximum(paced, sold), _above(mean, width, sold))
    return found


def _expected(panel: Panel, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean demand and its coefficient of variation, ``[N, T]`` each."""
    calendar = calendar_of(panel.frequency, panel.start, panel.closed.shape[1], panel.spec.country)
    cube = Cube.of(replace(panel, y=y), Space("log"))
    plan = plan_cells(panel, cube.z, calendar.phase)
    ids = cell_ids(panel, calendar.phase, plan)[:, : panel.n_periods]
    level = np.repeat(cube.scale[:, None], panel.n_periods, axis=1)
    for _ in range(_SWEEPS):
        ratio = _cell_ratio(y, level, ids, plan.n_cells, cube.scale)
        level = _level(y, ratio, panel.frequency.code[0], cube.scale)
    mean = level * ratio
    mean *= _day_effect(y, mean, cube.scale)
    mean[~np.isfinite(y).any(1)] = np.nan  # of a series that always ran out nothing is known
    if panel.spec.non_negative:
        mean = np.maximum(mean, 0.0)
    both = np.isfinite(y) & np.isfinite(mean)
    spread = np.where(both, (y - mean) ** 2, 0.0).sum(1) / np.maximum(np.where(both, mean, 0.0).sum(1), 1e-12)
    return mean, np.sqrt(spread[:, None] / np.maximum(mean, 1e-12))


def _cell_ratio(y: FloatArray, level: FloatArray, ids: IntArray, n_cells: int, scale: FloatArray) -> FloatArray:
    """What a period's cell sells against the level, ``[N, T]``: the series' own, drawn to that of all series."""
    n = len(y)
    used = np.isfinite(y) & np.isfinite(level)
    flat = (np.arange(n)[:, None] * n_cells + ids)[used]
    units = np.repeat(scale[:, None], y.shape[1], axis=1)[used]
    sold = np.bincount(flat, y[used] / units, n * n_cells).reshape(n, n_cells)
    base = np.bincount(flat, level[used] / units, n * n_cells).reshape(n, n_cells)
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = np.where(base.sum(0) > 0, sold.sum(0) / base.sum(0), np.nan)
    own = (sold + _SHRINK * pooled) / (base + _SHRINK)
    return np.take_along_axis(own, ids, 1)


def _level(y: FloatArray, ratio: FloatArray, code: str, scale: FloatArray) -> FloatArray:
    """Sales without cells around each period, ``[N, T]``: the narrowest reach that holds enough observations."""
    level = np.empty_like(ratio)
    for first in range(0, len(y), _ROWS):
        rows = slice(first, first + _ROWS)
        level[rows] = _level_of(y[rows], ratio[rows], _REACH[code], scale[rows])
    return level


def _level_of(y: FloatArray, ratio: FloatArray, reaches: tuple[int, ...], scale: FloatArray) -> FloatArray:
    """`_level` of some rows."""
    used = np.isfinite(y) & np.isfinite(ratio)
    sold, base = _sums(np.where(used, y, 0.0)), _sums(np.where(used, ratio, 0.0))
    count = _sums(used.astype(np.float64))
    level = np.full(y.shape, np.nan)
    for reach in reaches:
        lacking = np.isnan(level)
        if not lacking.any():
            return level
        against = _around(base, reach)
        told = lacking & (_around(count, reach) >= _ENOUGH) & (against > _NOTHING)
        level[told] = (_around(sold, reach) / np.maximum(against, _NOTHING))[told]
    every = np.where(base[:, -1] > _NOTHING, sold[:, -1] / np.maximum(base[:, -1], _NOTHING), scale)
    return np.where(np.isnan(level), every[:, None], level)


def _sums(values: FloatArray) -> FloatArray:
    """Sums of the columns before each, ``[n, T + 1]``."""
    total = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=total[:, 1:])
    return total


def _around(total: FloatArray, reach: int) -> FloatArray:
    """Sums over the columns up to ``reach`` away from each, ``[n, T]``."""
    length = total.shape[1] - 1
    padded = np.pad(total, ((0, 0), (reach, reach)), mode="edge")
    around: FloatArray = padded[:, 2 * reach + 1 :][:, :length] - padded[:, :length]
    return around


def _day_effect(y: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """What moved all series on a day, ``[1, T]``, drawn to 1."""
    used = np.isfinite(y) & np.isfinite(mean)
    sold = np.where(used, y / scale[:, None], 0.0).sum(0)
    usual = np.where(used, mean / scale[:, None], 0.0).sum(0)
    effect: FloatArray = (np.maximum(sold, 0.0) + _DAY_SHRINK) / (np.maximum(usual, 0.0) + _DAY_SHRINK)
    return effect[None, :]


def _above(mean: FloatArray, width: FloatArray, least: FloatArray) -> FloatArray:
    """Mean of a lognormal distribution above ``least``; ``mean`` and coefficient of variation are those of the whole.

    E[D | D > s] = m P(Z > b - sigma) / P(Z > b), with b = (ln s - ln m) / sigma + sigma / 2.
    """
    sigma = np.sqrt(np.log1p(np.minimum(width, 1e3) ** 2))
    some = (least > 0) & (mean > 0) & (sigma > 1e-6)
    safe = np.where(some, sigma, 1.0)
    b = np.where(some, np.log(np.where(some, least, 1.0) / np.where(some, mean, 1.0)) / safe + safe / 2, -_FAR)
    above: FloatArray = mean * np.where(some, np.exp(_log_tail(b - safe) - _log_tail(b)), 1.0)
    return np.maximum(above, least)


def _log_tail(z: FloatArray) -> FloatArray:
    """ln P(Z > z) of a standard normal, between -8 and 8."""
    grid, values = _tail_table()
    found: FloatArray = np.interp(z, grid, values)
    return found


@cache
def _tail_table() -> tuple[FloatArray, FloatArray]:
    grid = np.linspace(-_FAR, _FAR, 1601)
    normal = NormalDist()
    return grid, np.log(np.array([normal.cdf(-z) for z in grid.tolist()]))
