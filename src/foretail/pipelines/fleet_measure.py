"""What the walk-forward of a fleet says: errors, scores and intervals of every series, without a loop over series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.backtest.metrics import scales
from foretail.backtest.per_series import SeriesErrors, covered, errors_of, pooled
from foretail.backtest.result import NAIVE, Leaderboard, LeaderboardRow, Scores, Window
from foretail.models.intervals import Conformal, HeldBack, Size
from foretail.panel.panel import Panel
from foretail.pipelines.fleet_walk import Walk, window_sizes

__all__ = ["Board", "Ground", "calibrate", "coverages", "ground_of", "leaderboard_of", "quantiles_of"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_MOST_SERIES = 4_000  # whose errors the intervals rest on: more do not move a quantile by a hundredth of itself
_BOUNDS = (0.025, 0.1, 0.9, 0.975)


@dataclass(frozen=True)
class Ground:
    """The truth of the windows, which every recipe is measured against.

    Attributes
    ----------
    ends : columns seen in each window. y : ``[N, W, h]``, NaN where nothing was observed. closed : bool ``[N, W, h]``.
    sizes : of every series at each window's cutoff and, last, at the end. scale : ``[N]`` for MASE, at the end.
    """

    ends: tuple[int, ...]
    y: FloatArray
    closed: BoolArray
    sizes: list[Size]
    scale: FloatArray

    def scored(self, walk: Walk) -> BoolArray:
        """Cells ``[N, W, h]`` with a truth that a recipe answered itself."""
        scored: BoolArray = np.isfinite(self.y) & np.isfinite(walk.y_hat[:, :-1])
        return scored

    def errors(self, walk: Walk, scored: BoolArray) -> SeriesErrors:
        """Errors of a recipe on some cells; closed periods are forecast as 0."""
        return errors_of(self.y, np.where(self.closed, 0.0, walk.y_hat[:, :-1]), scored)


@dataclass(frozen=True)
class Board:
    """Whole-fleet scores of one recipe: over all windows, and by window."""

    scores: Scores
    windows: dict[str, Scores]


def ground_of(panel: Panel, ends: tuple[int, ...]) -> Ground:
    """The truth of the windows of a panel."""
    h = panel.spec.horizon
    shape = (panel.n_series, 0, h)
    y = [panel.y[:, end : end + h] for end in ends]
    closed = [panel.closed[:, end : end + h] for end in ends]
    return Ground(
        ends,
        np.stack(y, axis=1) if ends else np.empty(shape),
        np.stack(closed, axis=1) if ends else np.empty(shape, dtype=np.bool_),
        window_sizes(panel, ends),
        scales(panel)[0],
    )


def calibrate(ground: Ground, walk: Walk, levels: Sequence[float], *, without: int | None = None) -> Conformal | None:
    """Intervals of a recipe from its errors in the windows; None where it answered none of them.

    Parameters
    ----------
    without : a window that is left out, to be measured on.
    """
    answered = np.flatnonzero(ground.scored(walk).any((1, 2)))
    rows = answered[np.linspace(0, len(answered) - 1, min(len(answered), _MOST_SERIES)).astype(np.int64)]
    held = [_held(ground, walk, i, rows) for i in range(len(ground.ends)) if i != without]
    if not len(rows) or not held:
        return None
    return Conformal.fit(held, levels, walk.y_hat.shape[2])


def coverages(ground: Ground, walk: Walk, pooled: Conformal | None = None) -> tuple[FloatArray, FloatArray]:
    """Share ``[N]`` of open periods inside the 80 % and 95 % intervals, each window's laid out from the others.

    Parameters
    ----------
    pooled : intervals from many more series, which are measured as they are.
    """
    n_windows = len(ground.ends)
    bounds = np.full((*walk.y_hat[:, :-1].shape, len(_BOUNDS)), np.nan)
    for i in range(n_windows):
        is_usable = pooled is not None and set(_BOUNDS) <= set(pooled.levels)
        found = pooled if is_usable else calibrate(ground, walk, _BOUNDS, without=i)
        if found is not None:
            places = [found.levels.index(bound) for bound in _BOUNDS]
            bounds[:, i] = _laid(found, walk, i, ground.sizes[i])[..., places]
    scored = ground.scored(walk) & ~ground.closed & np.isfinite(bounds[..., 0])
    return (
        covered(ground.y, bounds[..., 1], bounds[..., 2], scored),
        covered(ground.y, bounds[..., 0], bounds[..., 3], scored),
    )


def quantiles_of(found: Conformal, ground: Ground, walk: Walk, *, non_negative: bool) -> FloatArray:
    """Quantiles ``[N, h, Q]`` around the forecast from the end of the panel."""
    return _laid(found, walk, -1, ground.sizes[-1], non_negative=non_negative)


def leaderboard_of(
    panel: Panel,
    ground: Ground,
    walks: Mapping[str, Walk],
    seconds: Mapping[str, float],
    chosen: str,
    pooled: Mapping[str, Conformal],
) -> tuple[Leaderboard, dict[str, tuple[FloatArray, FloatArray]]]:
    """The whole fleet's leaderboard, and each recipe's coverages by series.

    Parameters
    ----------
    walks : by the name on the board; seasonal naive among them, which is scored on the cells of ``chosen``.
    pooled : intervals by the same names that are measured as they are.
    """
    scored = ground.scored(walks[chosen])
    inside = {name: coverages(ground, walk, pooled.get(name)) for name, walk in walks.items()}
    boards = {name: _board(panel, ground, walk, scored, inside[name], walks[NAIVE]) for name, walk in walks.items()}
    rows = [
        LeaderboardRow(
            name,
            board.scores,
            float("nan"),
            board.windows,
            seconds.get(name, 0.0),
            _counted(walks[name]),
            name == chosen,
        )
        for name, board in sorted(boards.items(), key=lambda item: np.nan_to_num(item[1].scores.wape, nan=np.inf))
    ]
    windows = tuple(Window(end, ground.y.shape[2], "outer", _cutoff(panel, end)) for end in ground.ends)
    return Leaderboard(tuple(rows), windows), inside


def _held(ground: Ground, walk: Walk, window: int, rows: IntArray) -> HeldBack:
    size = ground.sizes[window]
    return HeldBack(
        y=ground.y[rows, window],
        y_hat=walk.y_hat[rows, window],
        closed=ground.closed[rows, window],
        size=Size(size.level[rows], size.noise[rows]),  # without names: these few stand for all
        width=None if walk.width is None else walk.width[rows, window],
    )


def _laid(found: Conformal, walk: Walk, window: int, size: Size, *, non_negative: bool = True) -> FloatArray:
    width = None if walk.width is None else walk.width[:, window]
    return found.quantiles(walk.y_hat[:, window], size, width, non_negative=non_negative)


def _board(
    panel: Panel, ground: Ground, walk: Walk, scored: BoolArray, inside: tuple[FloatArray, FloatArray], naive: Walk
) -> Board:
    whole = _scores(ground, walk, naive, scored, inside)
    windows = {}
    for i, end in enumerate(ground.ends):
        only = np.zeros_like(scored)
        only[:, i] = scored[:, i]
        none = np.full(len(scored), np.nan)
        windows[_cutoff(panel, end)] = _scores(ground, walk, naive, only, (none, none))
    return Board(whole, windows)


def _scores(
    ground: Ground, walk: Walk, naive: Walk, scored: BoolArray, inside: tuple[FloatArray, FloatArray]
) -> Scores:
    errors, theirs = ground.errors(walk, scored), ground.errors(naive, scored)
    total = float(errors.actual.sum())
    wape = _share(errors.absolute, total)
    told = errors.n > 0
    mase = (errors.absolute[told] / errors.n[told] / ground.scale[told]).mean() if told.any() else float("nan")
    open_cells = (scored & ~ground.closed).sum((1, 2)).astype(np.float64)
    coverage = [pooled(values, open_cells) for values in inside]
    return Scores(
        wape=wape,
        bias=_share(errors.signed, total),
        mase=float(mase),
        rmsse=float("nan"),
        wql=float("nan"),
        coverage_80=coverage[0],
        coverage_95=coverage[1],
        skill=1 - _share(errors.absolute, float(theirs.absolute.sum())),
    )


def _share(values: FloatArray, total: float) -> float:
    return float(values.sum() / total) if total > 0 else float("nan")


def _counted(walk: Walk) -> dict[str, int]:
    counts: dict[str, int] = {}
    for why in (*walk.reasons.values(), *walk.failed.values()):
        counts[why] = counts.get(why, 0) + 1
    return counts


def _cutoff(panel: Panel, end: int) -> str:
    return str(panel.dates(end - 1, 1)[0])
