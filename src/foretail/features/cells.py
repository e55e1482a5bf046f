"""Effects of weekday x flag cells per series, long windows shrinking short ones: the short season and promotions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.features.cube import mean_of
from foretail.panel.panel import Panel

__all__ = ["CellPlan", "cell_effects", "cell_ids", "flag_factors", "plan_cells"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MAX_LEVELS = 4  # a covariate with more values is no flag
_MAX_FLAG_CELLS = 8  # more would leave too few observations in each
_MIN_SHARE = 0.01  # share of the residual variance that a flag must explain to split cells
_BOUND = 10.0  # units: a spike of one series must not move a weekday of all; logs never reach it
_SHRINK = 3.0  # observations that the parent counts for
_MOST_FACTOR = 10.0  # times the sales: no flag is believed to do more


@dataclass(frozen=True)
class CellPlan:
    """Which known covariates split the weekday cells.

    Attributes
    ----------
    flags : names of known covariates with few values, most telling first.
    values : the values of each flag; the first one also takes whatever is none of them.
    n_phases : positions of the short season (7 for daily data, else 1).
    """

    flags: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    n_phases: int

    @property
    def n_flag_cells(self) -> int:
        """Cells at one position of the short season; 1 without flags."""
        return self.n_cells // self.n_phases

    @property
    def n_cells(self) -> int:
        n = self.n_phases
        for levels in self.values:
            n *= len(levels)
        return n


def plan_cells(panel: Panel, z: FloatArray, phase: IntArray) -> CellPlan:
    """Choose the flags that explain most of what the weekday leaves over.

    Parameters
    ----------
    panel : whose known covariates are tried (at most four distinct values each).
    z : ``[N, T]`` sales in model space, NaN = hole. phase : ``[T + H]``.
    """
    n_phases = int(phase.max()) + 1
    telling = sorted(_telling(panel, z - _phase_means(z, phase[: z.shape[1]], n_phases)))
    flags: list[str] = []
    values: list[tuple[float, ...]] = []
    size = 1
    for share, name, levels in telling:
        if -share >= _MIN_SHARE and size * len(levels) <= _MAX_FLAG_CELLS:
            flags.append(name)
            values.append(levels)
            size *= len(levels)
    return CellPlan(tuple(flags), tuple(values), n_phases)


def _telling(panel: Panel, residual: FloatArray) -> list[tuple[float, str, tuple[float, ...]]]:
    """(minus the share of the variance explained, name, values) of each known covariate with few values."""
    observed = np.isfinite(residual)
    variance = float(np.var(residual[observed])) if observed.any() else 0.0
    found = []
    for item in panel.known:
        seen = item.values[:, : residual.shape[1]]
        used = np.isfinite(seen) & observed
        levels = tuple(float(level) for level in np.unique(seen[used]))
        if variance > 0 and 2 <= len(levels) <= _MAX_LEVELS:
            parts = [residual[used & (seen == level)] for level in levels]
            between = sum(float(len(part)) * float(part.mean()) ** 2 for part in parts)
            found.append((-between / (variance * float(used.sum())), item.name, levels))
    return found


def cell_ids(panel: Panel, phase: IntArray, plan: CellPlan) -> IntArray:
    """Cell of every series and column, future included: int ``[N, T + H]``."""
    width = panel.closed.shape[1]
    ids = np.broadcast_to(phase[:width], (panel.n_series, width)).astype(np.int64)
    for name, levels in zip(plan.flags, plan.values, strict=True):
        seen = panel.covariate(name).values[:, :width]
        code = np.zeros(seen.shape, dtype=np.int64)
        for position, level in enumerate(levels[1:], start=1):
            code[seen == level] = position
        ids = ids * len(levels) + code
    return ids


def cell_effects(
    z: FloatArray, ids: IntArray, n_cells: int, windows: tuple[int, ...], unit: FloatArray, shrink: float = _SHRINK
) -> tuple[list[FloatArray], list[IntArray]]:
    """Mean of z per series and cell over windows that end at the last column, each shrunk to the longer one before it.

    The longest window is shrunk to the series' mean plus the cell's effect over all series, in units of each.

    Parameters
    ----------
    z : ``[N, T]``. ids : ``[N, T]``. windows : columns, longest first.
    unit : ``[N]`` what a difference of each series is measured in, so that a big series says no more than a small one.
    shrink : observations that the parent counts for.

    Returns
    -------
    effects : per window ``[N, n_cells]``; NaN only for a series without any value.
    counts : per window, the observations behind each.
    """
    parent = _first_parent(z[:, -windows[0] :], ids[:, -windows[0] :], n_cells, mean_of(z), unit)
    effects, counts = [], []
    for window in windows:
        total, count = _cell_sums(z[:, -window:], ids[:, -window:], n_cells)
        parent = (total + shrink * parent) / (count + shrink)
        effects.append(parent)
        counts.append(count)
    return effects, counts


def flag_factors(effects: FloatArray, ids: IntArray, known: int, *, is_log: bool) -> FloatArray:
    """What the flags of each period multiply the sales of a series by, against the mean of its history.

    Parameters
    ----------
    effects : ``[N, n_cells]`` in model space. ids : ``[N, T + H]``. known : columns of the history. is_log : the space.

    Returns
    -------
    ``[N, T + H]``, a tenth to ten; 1 where nothing is known, and everywhere with a single cell.
    """
    if effects.shape[1] == 1:
        return np.broadcast_to(1.0, ids.shape)
    told = np.take_along_axis(effects, ids, 1)
    mean = told[:, :known].mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.exp(told - mean) if is_log else np.where(mean > 0, told / mean, 1.0)
    result: FloatArray = np.clip(np.nan_to_num(factors, nan=1.0), 1 / _MOST_FACTOR, _MOST_FACTOR)
    return result


def _first_parent(z: FloatArray, ids: IntArray, n_cells: int, before: FloatArray, unit: FloatArray) -> FloatArray:
    """``[N, n_cells]`` mean of the series plus the effect of the cell over all series."""
    mean = mean_of(z)
    mean = np.where(np.isfinite(mean), mean, before)  # silent for the whole window: what it was before
    centred = np.clip((z - mean[:, None]) / unit[:, None], -_BOUND, _BOUND)
    total, count = _cell_sums(centred, ids, n_cells)
    whole = total.sum(0) / np.maximum(count.sum(0), 1)
    parent: FloatArray = mean[:, None] + unit[:, None] * whole[None, :]
    return parent


def _cell_sums(z: FloatArray, ids: IntArray, n_cells: int) -> tuple[FloatArray, IntArray]:
    n, finite = z.shape[0], np.isfinite(z)
    flat = (np.arange(n)[:, None] * n_cells + ids).ravel()
    total = np.bincount(flat, weights=np.where(finite, z, 0.0).ravel(), minlength=n * n_cells)
    count = np.bincount(flat, weights=finite.ravel(), minlength=n * n_cells)
    return total.reshape(n, n_cells).astype(np.float64, copy=False), count.reshape(n, n_cells).astype(np.int64)


def _phase_means(z: FloatArray, phase: IntArray, n_phases: int) -> FloatArray:
    ids = np.broadcast_to(phase, z.shape)
    total, count = _cell_sums(z, ids, n_phases)
    means = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    return np.take_along_axis(means, ids, 1)
