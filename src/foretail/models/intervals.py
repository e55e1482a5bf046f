"""Split-conformal intervals: quantiles of scaled errors on held-back windows, per step and per group of series.

Each held-back error is divided by a scale known at its cutoff; quantiles of these scores, with the finite-sample rank,
are laid around new forecasts. Source: Vovk et al. (2005); Romano, Patterson and Candes (2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from foretail.panel.panel import Panel

__all__ = ["Conformal", "HeldBack", "Size", "error_half_life"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_SCALES = ("noise", "forecast", "both")
_OWN = "own"  # with the width of the model's own interval, where it has one
_MIN_SCORES = 200  # a cell of (steps, group) with fewer borrows from wider ones: the 2.5 % tail then rests on 5 scores
_N_GROUPS = 5  # groups of series by size; more split the scores too thinly on the tables tried
_SERIES_PER_GROUP = 40
_LEAST_HALF_LIFE = 14  # days: the errors of a single week say too little of those to come
_LEARNING = 0.25  # errors shrink with this power of the history learned from: windows see less of it than the last fit
_SHIFT = 0.5  # share of a bias that is carried over: that of few windows is half chance
_SERIES_PRIOR = 20  # held-back periods that the errors of a series must outnumber to be believed
_SERIES_POWER = 0.5  # half of what a series differs in, in logs: the rest was chance or passes
_MOST_ERROR = 0.99  # quantile beyond which an error says no more of its series
_MIDDLE, _TAIL = 0.2, 0.4  # levels as near to the median as this are the middle, as far from it a tail
_N_STEP_CELLS = 6  # errors grow smoothly with the step: a few cells and a line between them say it all
_WINDOW = {
    "D": 56,
    "W": 26,
    "M": 12,
}  # how big and noisy a series is: eight weeks, half a year, a year
_LEAST_NOISE = 0.01  # share of the level; a constant series may change after all


@dataclass(frozen=True)
class Size:
    """How big and how noisy each series is at a cutoff.

    Attributes
    ----------
    level : ``[N]`` mean absolute sales on open periods of the recent past, positive.
    noise : ``[N]`` mean absolute change from the same weekday (daily) or the period before, positive.
    names : ``[N]`` unique ids; empty where no series is known by name.
    """

    level: FloatArray
    noise: FloatArray
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """Measured at the end of a panel."""
        window = _WINDOW[panel.spec.freq[0]]
        lag = 7 if panel.frequency.is_daily else 1
        y = np.where(panel.closed[:, : panel.n_periods], np.nan, panel.y)
        level = _mean_of_last(np.abs(y), window)
        change = np.abs(y[:, lag:] - y[:, :-lag]) if y.shape[1] > lag else np.full((len(y), 1), np.nan)
        noise = _mean_of_last(change, window)
        level = _positive(level)
        noise = np.where(np.isfinite(noise), noise, 0.5 * level)
        return cls(level, np.maximum(noise, _LEAST_NOISE * level), tuple(panel.unique_ids))

    def take(self, rows: IntArray) -> Self:
        """Those of some series."""
        names = tuple(self.names[row] for row in rows.tolist()) if self.names else ()
        return type(self)(self.level[rows], self.noise[rows], names)

    def scale(self, y_hat: FloatArray, kind: str, width: FloatArray | None = None) -> FloatArray:
        """``[N, H]`` the scale of the error.

        Parameters
        ----------
        kind : of the series (``noise``), of the ``forecast``, the geometric mean of ``both``, or that of the forecast
            and the model's ``own`` width.
        width : ``[N, H]`` of the model's own interval; where it gave none because every series was answered by a
            fallback, the noise stands in.
        """
        if kind == _OWN and width is not None:
            own = np.maximum(np.nan_to_num(width) / 2, _LEAST_NOISE * self.level[:, None])
            return np.sqrt(own * self.scale(y_hat, "forecast"))
        size = np.abs(y_hat) + 0.1 * self.level[:, None]
        noise = np.broadcast_to(self.noise[:, None], y_hat.shape)
        return noise if kind in {"noise", _OWN} else size if kind == "forecast" else np.sqrt(size * noise)


@dataclass(frozen=True)
class HeldBack:
    """Forecasts of a window whose actuals the model never saw.

    Attributes
    ----------
    y, y_hat : ``[N, h]``; NaN actuals are left out. closed : bool ``[N, h]``, left out. size : at the window's cutoff.
    age : periods from the window's cutoff to the one the intervals are for. history : share (0-1] of the history now
        known that the model had learned from. weight : of its errors against those of other windows of the same age.
    width : ``[N, h]`` of the model's own interval; None where it has none.
    """

    y: FloatArray
    y_hat: FloatArray
    closed: BoolArray
    size: Size
    age: float = 0.0
    history: float = 1.0
    weight: float = 1.0
    width: FloatArray | None = None


@dataclass(frozen=True)
class Conformal:
    """Quantiles of the scores.

    Attributes
    ----------
    levels : Q quantile levels, ascending. kind : which scale the errors were divided by.
    edges : level bounds of the scale groups, ascending. step_edges : first step of each step cell, ascending from 1.
    scores : ``[step cells, groups, Q]``. h : steps that were calibrated; later ones are taken as the last.
    by_series : by unique id, what the scale of a series is multiplied by; those that are not in it have 1.
    """

    levels: tuple[float, ...]
    kind: str
    edges: FloatArray
    step_edges: IntArray
    scores: FloatArray
    h: int
    by_series: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(cls, windows: Sequence[HeldBack], levels: Sequence[float], h: int, half_life: float | None = None) -> Self:
        """Calibrate on held-back windows.

        Where every window holds the width of the model's own interval, the scale rests on it; otherwise the one with
        the smallest pinball loss is taken.

        Parameters
        ----------
        windows : at least one, of the same series. Where none of them holds an observed open period there is nothing to
            measure, and the quantiles are the forecast itself. Where they know their series by name, the errors of each
            say how far its own interval is from that of others of its size.
        levels : quantile levels, ascending. h : steps to calibrate.
        half_life : age in periods at which an error counts half, see `error_half_life`; h when None.
        """
        levels = tuple(levels)
        edges = _group_edges(windows)
        step_edges = np.unique(np.linspace(1, h + 1, min(_N_STEP_CELLS, h) + 1)[:-1].astype(np.int64))
        kinds = (_OWN,) if all(window.width is not None for window in windows) else _SCALES
        tables = {kind: _calibrate(windows, kind, levels, edges, step_edges, half_life or h) for kind in kinds}
        kind = min(kinds, key=lambda name: tables[name].loss)
        names, factor = windows[0].size.names, tables[kind].factor
        by_series = dict(zip(names, factor.tolist(), strict=True)) if names else {}
        return cls(levels, kind, edges, step_edges, tables[kind].scores, h, by_series)

    def quantiles(
        self, y_hat: FloatArray, size: Size, width: FloatArray | None = None, *, non_negative: bool
    ) -> FloatArray:
        """Quantiles around a forecast, ``[N, H, Q]``, ascending, not below 0 when the unit is not.

        Parameters
        ----------
        width : ``[N, H]`` of the model's own interval, where the calibrated windows had one.
        """
        group = np.searchsorted(self.edges, size.level, side="right")
        cell = self._step_weights(y_hat.shape[1])
        # scores are interpolated between the middles of the step cells, so that intervals grow without jumps
        table = np.einsum("hc,cgq->ghq", cell, self.scores)
        scale = size.scale(y_hat, self.kind, width)
        if self.by_series and size.names:
            scale = scale * np.array([self.by_series.get(name, 1.0) for name in size.names])[:, None]
        with np.errstate(over="ignore"):
            result = y_hat[..., None] + scale[..., None] * table[group]
        result = np.sort(result, axis=-1)
        return np.maximum(result, 0.0) if non_negative else result

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As named arrays, for a bundle."""
        return {
            "levels": np.array(self.levels),
            "kind": np.array(self.kind),
            "edges": self.edges,
            "step_edges": self.step_edges,
            "scores": self.scores,
            "h": np.array(self.h),
            "series": np.array(list(self.by_series), dtype=np.str_),
            "series_factors": np.array(list(self.by_series.values()), dtype=np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read what ``to_arrays`` gave."""
        levels = tuple(float(level) for level in arrays["levels"])
        edges, step_edges, scores = (arrays[name] for name in ("edges", "step_edges", "scores"))
        names, factors = (arrays[name].tolist() if name in arrays else [] for name in ("series", "series_factors"))
        by_series = dict(zip(names, factors, strict=True))
        return cls(levels, str(arrays["kind"]), edges, step_edges, scores, int(arrays["h"]), by_series)

    def _step_weights(self, h: int) -> FloatArray:
        """``[h, step cells]`` share of each cell's scores in each step: all of one in its middle, mixed between."""
        middle = self.step_edges + np.diff(np.append(self.step_edges, self.h + 1)) / 2 - 0.5
        step = np.arange(1, h + 1)
        return np.stack([np.interp(step, middle, unit) for unit in np.eye(len(middle))], axis=1)


def conformal_quantiles(scores: FloatArray, levels: Sequence[float], weight: FloatArray | None = None) -> FloatArray:
    """Quantiles with the finite-sample rank: above the median the ceil((n + 1) level)-th smallest, below it mirrored.

    Parameters
    ----------
    scores : ascending, at least one. levels : between 0 and 1; beyond the first or last score, that score.
    weight : of each score; equal when None. The forecast to come counts as one more of mean weight. Source: Tibshirani
        et al. (2019).
    """
    n = len(scores)
    count = np.round(np.arange(1.0, n + 1) if weight is None else np.cumsum(weight) * (n / weight.sum()), 9)
    position = [round((n + 1) * level, 9) for level in levels]  # 0.55 x 100 is 55, not 55.00000000000001
    above, below = np.searchsorted(count, position), np.searchsorted(count, position, side="right") - 1
    index = np.where(np.array(levels) >= 0.5, above, below)
    found: FloatArray = scores[np.clip(index, 0, n - 1)]
    return found


def error_half_life(panel: Panel, h: int) -> float:
    """Age in periods at which a held-back error counts half: a horizon, and two weeks of days at least."""
    return max(h, _LEAST_HALF_LIFE) if panel.frequency.is_daily else h


@dataclass(frozen=True)
class _Calibrated:
    """``scores`` as in `Conformal`, ``factor`` ``[N]`` of each series, and their pinball loss on the same windows."""

    scores: FloatArray
    factor: FloatArray
    loss: float


def _calibrate(
    windows: Sequence[HeldBack],
    kind: str,
    levels: tuple[float, ...],
    edges: FloatArray,
    step_edges: IntArray,
    half_life: float,
) -> _Calibrated:
    scales = [window.size.scale(window.y_hat, kind, window.width) for window in windows]
    factors, factor = _series_factors(windows, scales)
    parts = [
        _scores(window, scale * own[:, None], kind, edges, step_edges, half_life)
        for window, scale, own in zip(windows, scales, factors, strict=True)
    ]
    score, scale, group, cell, weight = (np.concatenate(items) for items in zip(*parts, strict=True))
    key = (cell * (len(edges) + 1) + group).astype(np.int16)  # small ones are sorted in one pass
    order = np.argsort(key, kind="stable")
    bounds = np.searchsorted(key[order], np.arange(len(step_edges) * (len(edges) + 1) + 1))
    table = np.zeros((len(step_edges), len(edges) + 1, len(levels)))
    loss = 0.0
    for place, (i, j) in enumerate(np.ndindex(table.shape[:2])):
        inside = _ascending(score, order[bounds[place] : bounds[place + 1]])
        chosen = inside if len(inside) >= _MIN_SCORES else _of_others(score, cell, i)
        if len(chosen):
            table[i, j] = _laid_around(score[chosen], weight[chosen], levels)
        loss += _pinball(score[inside], table[i, j], np.array(levels), scale[inside])
    return _Calibrated(table, factor, loss)


def _laid_around(scores: FloatArray, weight: FloatArray, levels: Sequence[float]) -> FloatArray:
    """``[Q]`` quantiles of ascending scores, less that part of a bias that may be chance, which is half of it.

    The middle gives up half of the median error. A tail gives up half of the bias where that makes the interval wider,
    else nothing: the bias may stay or go. Between them it is mixed. The bias of a tail is the smaller of median and
    mean where both have one sign: a bias moves both, whereas errors around the mean of rare sales have a median far
    below 0 and errors around their median a mean above it, by their law.
    """
    *found, median = conformal_quantiles(scores, [*levels, 0.5], weight).tolist()
    mean = float(np.average(scores, weights=weight))
    bias = min(median, mean, key=abs) if median * mean > 0 else 0.0
    level = np.array(levels)
    tail = np.where(level < 0.5, max(bias, 0.0), min(bias, 0.0))
    share = np.clip((np.abs(level - 0.5) - _MIDDLE) / (_TAIL - _MIDDLE), 0.0, 1.0)
    laid: FloatArray = np.array(found) - (1 - _SHIFT) * (share * tail + (1 - share) * median)
    return laid


def _of_others(score: FloatArray, cell: IntArray, i: int) -> IntArray:
    """The scores of all groups in a cell of steps, of the cells around it too where those are few, ascending."""
    near = cell == i
    for reach in range(1, int(cell.max(initial=0)) + i + 2):
        if near.sum() >= _MIN_SCORES:
            break
        near = np.abs(cell - i) <= reach
    chosen = np.flatnonzero(near) if near.sum() >= _MIN_SCORES else np.arange(len(score))
    return _ascending(score, chosen)


def _ascending(score: FloatArray, chosen: IntArray) -> IntArray:
    return chosen[np.argsort(score[chosen], kind="stable")]


def _pinball(score: FloatArray, quantiles: FloatArray, levels: FloatArray, scale: FloatArray) -> float:
    """The loss of all levels together, in the unit of the scale; scores ascending."""
    weight, moment = (np.concatenate([[0.0], np.cumsum(item)]) for item in (scale, scale * score))
    below = np.searchsorted(score, quantiles)
    under = quantiles * weight[below] - moment[below]
    over = moment[-1] - moment[below] - quantiles * (weight[-1] - weight[below])
    return float((levels * over + (1 - levels) * under).sum())


def _series_factors(windows: Sequence[HeldBack], scales: Sequence[FloatArray]) -> tuple[list[FloatArray], FloatArray]:
    """What the scale of each series is multiplied by ``[N]``: in each of the windows, and after them.

    Two series of the same size may be hard and easy to forecast. In a window it is told by those alone that share no
    period with it, as what comes after them is another time too.
    """
    n = len(windows[0].y)
    if not windows[0].size.names:
        return [np.ones(n) for _ in windows], np.ones(n)
    errors = [_absolute_scores(window, scale) for window, scale in zip(windows, scales, strict=True)]
    every = np.concatenate([item[np.isfinite(item)] for item in errors])
    most = np.quantile(every, _MOST_ERROR) if len(every) else 0.0
    weight = np.array([window.weight for window in windows])[:, None]
    total = weight * np.stack([np.nansum(np.minimum(item, most), axis=1) for item in errors])
    count = weight * np.stack([np.isfinite(item).sum(axis=1) for item in errors])
    mean = float(total.sum() / max(count.sum(), 1e-12))

    def factor(chosen: BoolArray) -> FloatArray:
        seen = chosen @ count
        if mean <= 0 or not seen.any():
            return np.ones(n)
        found: FloatArray = ((chosen @ total / mean + _SERIES_PRIOR) / (seen + _SERIES_PRIOR)) ** _SERIES_POWER
        return np.where(seen > 0, found / found[seen > 0].mean(), 1.0)

    first = np.array([-window.age for window in windows])
    after = first + [window.y.shape[1] for window in windows]
    apart = (first[:, None] >= after) | (first >= after[:, None])
    return [factor(others) for others in apart], factor(np.ones(len(windows), dtype=np.bool_))


def _absolute_scores(window: HeldBack, scale: FloatArray) -> FloatArray:
    """``[N, h]``; NaN where a period does not count."""
    used = _used(window, scale)
    found: FloatArray = np.abs(np.where(used, window.y - window.y_hat, np.nan)) / np.where(used, scale, 1.0)
    return found


def _used(window: HeldBack, scale: FloatArray) -> BoolArray:
    used: BoolArray = np.isfinite(window.y) & ~window.closed & np.isfinite(window.y_hat) & (scale > 0)
    return used


def _scores(
    window: HeldBack, scale: FloatArray, kind: str, edges: FloatArray, step_edges: IntArray, half_life: float
) -> tuple[FloatArray, FloatArray, IntArray, IntArray, FloatArray]:
    """Score, scale, scale group, step cell and weight of every observed open period of a window."""
    used = _used(window, scale)
    row, column = np.nonzero(used)
    group = np.searchsorted(edges, window.size.level[row], side="right")
    cell = np.searchsorted(step_edges, column + 1, side="right") - 1
    learning = 0.0 if kind == _OWN else _LEARNING  # a model's own width falls by itself as it learns
    score = (window.y - window.y_hat)[used] / scale[used] * window.history**learning
    weight = np.full(len(score), window.weight * 0.5 ** (window.age / half_life))
    return score, scale[used], group, cell, weight


def _group_edges(windows: Sequence[HeldBack]) -> FloatArray:
    level = np.concatenate([window.size.level for window in windows])
    n_groups = int(np.clip(len(level) // _SERIES_PER_GROUP, 1, _N_GROUPS))
    return np.unique(np.quantile(level, np.linspace(0, 1, n_groups + 1)[1:-1])) if n_groups > 1 else np.empty(0)


def _mean_of_last(values: FloatArray, window: int) -> FloatArray:
    """Mean of the last ``window`` columns; of all of them where those hold nothing; NaN where there is nothing."""
    result = np.full(len(values), np.nan)
    for part in (values, values[:, -window:]):
        count = np.isfinite(part).sum(1)
        result = np.where(count > 0, np.nansum(part, 1) / np.maximum(count, 1), result)
    return result


def _positive(level: FloatArray) -> FloatArray:
    positive = level[level > 0]
    fill = float(np.median(positive)) if len(positive) else 1.0
    return np.where(level > 0, level, fill)
