"""Chooses on inner windows: how an ensemble is weighted, and whether it or one family alone is used.

Richer ways to weight (per segment, per part of the horizon, per series) must beat one set of weights on windows left
out of their fit; an ensemble is given up for a single family only when that is clearly better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.backtest.evidence import compare, error_groups
from foretail.backtest.metrics import pooled_wape
from foretail.models.mixture import Mixture

__all__ = ["NEAR_BEST", "Selection", "blend", "select"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_PICKS = 10  # weights are multiples of a tenth before they are shrunk
NEAR_BEST = 1.25  # a member more than this much worse than the best one is never mixed in
_SHRINK = 0.5  # weight of the plain mean of those near the best: few windows hide what happens once a year
_BORROWED_CELLS = 500  # a segment with as many scored cells counts as much as all series together
_POWER = 2.0  # weights of a series fall with this power of its error
_BORROWED_PERIODS = 30  # a series' own errors count as much as its segment's when it has this many
_RICHER = 0.99  # share of the plain ensemble's error that a richer one may have at most
_ALONE = 0.02  # share of the ensemble's error that a single family must save to be used alone, beyond noise
_MOST_CELLS = 300_000  # more do not move a weight
_MOSTLY = 0.5  # part of the prior from which on no single family may be named
_N_PARTS = 3  # of the horizon
_FEWEST_STEPS = 6  # with fewer, a horizon has no parts


def blend(parts: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """Weighted mean of forecasts of one window."""
    total = sum(weights.values())
    return np.asarray(sum(weight * parts[name] for name, weight in weights.items()) / total)


@dataclass(frozen=True)
class Selection:
    """What the inner windows say.

    Attributes
    ----------
    mixture : the ensemble; None when nothing can be compared. way : how it is weighted: ``flat``, ``segment``,
        ``steps`` or ``series``.
    errors : WAPE of each way on windows left out of its fit. wape : that of the way taken.
    alone : the family that is clearly better than the ensemble; None where there is none.
    """

    mixture: Mixture | None
    way: str = "flat"
    errors: Mapping[str, float] | None = None
    wape: float = float("nan")
    alone: str | None = None


@dataclass(frozen=True)
class _Cells:
    """Scored cells of several windows: ``[C]`` each, forecasts ``[M, C]``."""

    y: FloatArray
    forecasts: FloatArray
    window: IntArray
    period: IntArray
    series: IntArray
    part: IntArray
    group: IntArray

    def of(self, inside: npt.NDArray[np.bool_]) -> _Cells:
        return _Cells(
            self.y[inside],
            self.forecasts[:, inside],
            *(getattr(self, name)[inside] for name in ("window", "period", "series", "part", "group")),
        )


def select(
    actuals: Sequence[FloatArray],
    forecasts: Mapping[str, Sequence[FloatArray]],
    *,
    origins: Sequence[int],
    h: int,
    unique_ids: Sequence[str],
    segments: IntArray,
    prior: Mapping[str, float] | None = None,
    prior_share: float = 0.0,
    near: float = NEAR_BEST,
) -> Selection:
    """The ensemble of the models near the best one.

    Parameters
    ----------
    actuals : per window ``[N, h]``; NaN is not scored. forecasts : per model and window ``[N, h]``.
    origins : per window, the column of its first step. h : steps wanted. unique_ids : N names.
    segments : ``[N]`` code of each series' segment.
    prior : part of a model in an ensemble of which nothing has been measured; none when empty.
    prior_share : of the prior in the weights, for want of windows in which models knew what they know now.
    near : times the error of the best one that a member may make.
    """
    alone = {name: pooled_wape(actuals, parts) for name, parts in forecasts.items()}
    alone = {name: value for name, value in alone.items() if np.isfinite(value)}
    if not alone:
        return Selection(None)
    bound = near * min(alone.values())
    believed = {name: part for name, part in (prior or {}).items() if part > 0 and name in alone}
    drawn = prior_share if believed else 0.0
    pool = sorted(name for name, value in alone.items() if value <= bound or (drawn > 0 and name in believed))
    parts = _parts(actuals, h)
    cells = _cells(actuals, [forecasts[name] for name in pool], origins, parts)
    ways = _ways(segments, len(parts), len(unique_ids)) if len(pool) > 1 else {"flat": _flat}
    errors = {name: _left_out(cells, way) for name, way in ways.items()}
    total = np.abs(cells.y).sum()
    wapes = {name: float(error.sum() / total) for name, error in errors.items()}
    best = min(wapes, key=lambda name: (wapes[name], name))
    chosen = best if wapes[best] < _RICHER * wapes["flat"] else "flat"
    weights, groups = ways[chosen](cells)
    if drawn:
        parts_before = np.array([believed.get(name, 0.0) for name in pool])
        weights = (1 - drawn) * weights + drawn * parts_before / parts_before.sum()
    first_steps = parts if weights.shape[1] > 1 else np.ones(1, dtype=np.int64)
    group_of = {} if len(weights) == 1 else dict(zip(unique_ids, groups.tolist(), strict=True))
    mixture = Mixture(tuple(pool), weights, first_steps, group_of).without_idle()
    lone = min(pool, key=lambda name: (alone[name], name))
    is_clear = _is_clearly_better(cells, np.abs(cells.forecasts[pool.index(lone)] - cells.y), errors[chosen])
    is_lone = len(pool) == 1 or (is_clear and drawn < _MOSTLY)
    return Selection(mixture, chosen, wapes, wapes[chosen], lone if is_lone else None)


def _is_clearly_better(cells: _Cells, own: FloatArray, other: FloatArray) -> bool:
    """Whether errors per cell are smaller than others by more than noise."""
    n_groups = int(cells.group.max()) + 1

    def sums(errors: FloatArray) -> list[FloatArray]:
        inside = [cells.window == window for window in np.unique(cells.window)]
        return [
            np.bincount(cells.group[part], weights=errors[part], minlength=n_groups).astype(np.float64)
            for part in inside
        ]

    found = compare(sums(own), sums(other))
    return found.gain > _ALONE and found.is_real(1)


_Way = Callable[[_Cells], tuple[FloatArray, IntArray]]  # weights [G, S, M] and the group of each series [N]


def _flat(cells: _Cells) -> tuple[FloatArray, IntArray]:
    return _weights(cells)[None, None, :], np.zeros(0, dtype=np.int64)


def _ways(segments: IntArray, n_parts: int, n_series: int) -> dict[str, _Way]:
    """Ways to weight that this panel can carry."""

    def by_segment(cells: _Cells) -> tuple[FloatArray, IntArray]:
        common = _weights(cells)
        rows = [_shrunk(cells.of(segments[cells.series] == code), common) for code in range(int(segments.max()) + 1)]
        return np.stack(rows)[:, None, :], segments

    def by_steps(cells: _Cells) -> tuple[FloatArray, IntArray]:
        common = _weights(cells)
        rows = [_shrunk(cells.of(cells.part == part), common) for part in range(n_parts)]
        return np.stack(rows)[None, :, :], np.zeros(n_series, dtype=np.int64)

    def by_series(cells: _Cells) -> tuple[FloatArray, IntArray]:
        weights = (_weights(cells) + _series_weights(cells, segments, n_series)) / 2
        return weights[:, None, :], np.arange(n_series)

    ways: dict[str, _Way] = {"flat": _flat}
    if len(np.unique(segments)) > 1:
        ways["segment"] = by_segment
    if n_parts > 1:
        ways["steps"] = by_steps
    return ways | {"series": by_series}


def _left_out(cells: _Cells, way: _Way) -> FloatArray:
    """``[C]`` absolute errors of a way to weight, each window's fitted on the periods outside it (on all if none)."""
    errors = np.zeros(len(cells.y))
    for window in np.unique(cells.window):
        inside = cells.window == window
        outside = (cells.period < cells.period[inside].min()) | (cells.period > cells.period[inside].max())
        weights, groups = way(cells.of(outside) if outside.any() else cells)
        errors[inside] = np.abs(_mixed(cells.of(inside), weights, groups) - cells.y[inside])
    return errors


def _mixed(cells: _Cells, weights: FloatArray, groups: IntArray) -> FloatArray:
    group = groups[cells.series] if len(weights) > 1 else np.zeros(len(cells.y), dtype=np.int64)
    part = np.minimum(cells.part, weights.shape[1] - 1)
    return np.asarray((weights[group, part].T * cells.forecasts).sum(0))


def _weights(cells: _Cells) -> FloatArray:
    """``[M]`` weights that lower the absolute error, shrunk to the plain mean.

    Greedy selection with replacement: the member that helps the running mean most is picked, ten times. Source:
    Caruana et al. (2004).
    """
    y, parts = cells.y, cells.forecasts
    if len(y) > _MOST_CELLS:
        stride = -(-len(y) // _MOST_CELLS)
        y, parts = y[::stride], parts[:, ::stride]
    picks = np.zeros(len(parts))
    running = np.zeros(len(y))
    for n in range(_PICKS):
        error = [np.abs((running * n + part) / (n + 1) - y).sum() for part in parts]
        best = int(np.argmin(error))
        running = (running * n + parts[best]) / (n + 1)
        picks[best] += 1
    weights: FloatArray = (1 - _SHRINK) * picks / _PICKS + _SHRINK / len(parts)
    return weights


def _shrunk(cells: _Cells, common: FloatArray) -> FloatArray:
    """Weights of a part of the cells, drawn to those of all the fewer they are."""
    share = len(cells.y) / (len(cells.y) + _BORROWED_CELLS)
    return share * _weights(cells) + (1 - share) * common if len(cells.y) else common


def _series_weights(cells: _Cells, segments: IntArray, n_series: int) -> FloatArray:
    """``[N, M]`` weights that fall with each series' own error, drawn to that of its segment."""
    error = np.abs(cells.forecasts - cells.y)
    n_segments = int(segments.max()) + 1
    segment = segments[cells.series]
    own = np.stack([np.bincount(cells.series, weights=item, minlength=n_series) for item in error])
    count = np.bincount(cells.series, minlength=n_series)
    total = np.stack([np.bincount(segment, weights=item, minlength=n_segments) for item in error])
    # members' errors relative to their mean, so that a segment's big series do not speak for the small ones
    own_mean = own / np.maximum(count, 1)
    level = np.maximum(own_mean.mean(0), 1e-300)
    relative = total / np.maximum(total.mean(0), 1e-300)
    drawn = (own + _BORROWED_PERIODS * level * relative[:, segments]) / (count + _BORROWED_PERIODS)
    drawn = np.maximum(drawn, 1e-9 * np.maximum(drawn.max(0), 1e-300))
    strength = (drawn.min(0) / drawn) ** _POWER
    return np.asarray((strength / strength.sum(0)).T)


def _parts(actuals: Sequence[FloatArray], h: int) -> IntArray:
    """First step of each part of the horizon; one part where windows do not reach all steps."""
    if h < _FEWEST_STEPS or min(y.shape[1] for y in actuals) < h:
        return np.ones(1, dtype=np.int64)
    return np.asarray(np.linspace(1, h + 1, _N_PARTS + 1)[:-1].astype(np.int64))


def _cells(
    actuals: Sequence[FloatArray],
    forecasts: Sequence[Sequence[FloatArray]],
    origins: Sequence[int],
    parts: IntArray,
) -> _Cells:
    found = []
    group = error_groups(len(actuals[0]), max(y.shape[1] for y in actuals))
    for window, y in enumerate(actuals):
        row, column = np.nonzero(np.isfinite(y))
        values = np.stack([np.nan_to_num(member[window][row, column]) for member in forecasts])
        part = np.searchsorted(parts, column + 1, side="right") - 1
        where = (np.full(len(row), window), origins[window] + column, row, part, group[row, column])
        found.append(_Cells(y[row, column], values, *where))
    return _Cells(
        np.concatenate([item.y for item in found]),
        np.concatenate([item.forecasts for item in found], axis=1),
        *(
            np.concatenate([getattr(item, name) for item in found])
            for name in ("window", "period", "series", "part", "group")
        ),
    )
