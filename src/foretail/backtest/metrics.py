"""Accuracy and calibration of forecasts. Lower is better except skill; what cannot be computed is NaN, never 0.

Arrays are ``[N, H]`` (series x steps) unless said otherwise; cells with a NaN actual are not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.backtest.result import Scores
from foretail.panel.panel import Panel

__all__ = [
    "Evaluation",
    "bias",
    "coverage",
    "interval_score",
    "mase",
    "pinball",
    "pooled_wape",
    "rmsse",
    "scales",
    "score",
    "wape",
    "wql",
]

FloatArray = npt.NDArray[np.float64]

_MIN_PAIRS = 8


def wape(y: FloatArray, y_hat: FloatArray) -> float:
    """Weighted absolute percentage error: sum |y - y_hat| / sum |y|; NaN when nothing was sold."""
    scored = np.isfinite(y)
    return _ratio(np.abs(y - y_hat)[scored].sum(), np.abs(y[scored]).sum())


def pooled_wape(actuals: Sequence[FloatArray], forecasts: Sequence[FloatArray]) -> float:
    """WAPE over several windows together; closed cells are NaN in the actuals or 0 in both."""
    error = total = 0.0
    for y, y_hat in zip(actuals, forecasts, strict=True):
        scored = np.isfinite(y)
        error += float(np.abs(y - y_hat)[scored].sum())
        total += float(np.abs(y[scored]).sum())
    return error / total if total > 0 else float("nan")


def bias(y: FloatArray, y_hat: FloatArray) -> float:
    """Sum (y_hat - y) / sum |y|: positive when forecasts are too high; NaN when nothing was sold."""
    scored = np.isfinite(y)
    return _ratio((y_hat - y)[scored].sum(), np.abs(y[scored]).sum())


def scales(panel: Panel) -> tuple[FloatArray, FloatArray]:
    """Mean absolute and mean squared seasonal difference of each series up to the end of the panel, ``[N]`` each.

    Both values of a pair must be observed. Fewer than 8 seasonal pairs: differences of neighbours; fewer again: the
    median of the other series; 1 when there is none. A scale of 0 counts as missing.

    Source: Hyndman and Koehler (2006) for MASE, the M5 competition (2020) for RMSSE.
    """
    absolute, squared = _differences(panel.y, panel.frequency.season_length)
    near_absolute, near_squared = _differences(panel.y, 1)
    return _filled(absolute, near_absolute), _filled(squared, near_squared)


def mase(y: FloatArray, y_hat: FloatArray, scale: FloatArray) -> float:
    """Mean over series of mean |y - y_hat| / scale (see `scales`)."""
    return _nanmean(_row_mean(np.abs(y - y_hat)) / scale)


def rmsse(y: FloatArray, y_hat: FloatArray, scale: FloatArray) -> float:
    """Mean over series of sqrt(mean (y - y_hat)^2 / squared scale) (see `scales`)."""
    return _nanmean(np.sqrt(_row_mean((y - y_hat) ** 2) / scale))


def pinball(y: FloatArray, quantile: FloatArray, level: float) -> FloatArray:
    """Pinball loss of each cell: level * (y - q) above, (1 - level) * (q - y) below."""
    return np.maximum(level * (y - quantile), (level - 1) * (y - quantile))


def wql(y: FloatArray, quantiles: FloatArray, levels: Sequence[float]) -> float:
    """Weighted quantile loss: mean over levels of 2 * sum pinball / sum |y|.

    Parameters
    ----------
    quantiles : ``[N, H, Q]``. levels : the Q levels.
    """
    scored = np.isfinite(y)
    total = np.abs(y[scored]).sum()
    losses = [2 * pinball(y, quantiles[..., i], level)[scored].sum() for i, level in enumerate(levels)]
    return _ratio(float(np.mean(losses)), total)


def coverage(y: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """Share (0-1) of actuals inside [low, high]."""
    scored = np.isfinite(y)
    inside = (y >= low) & (y <= high)
    return float(inside[scored].mean()) if scored.any() else float("nan")


def interval_score(y: FloatArray, low: FloatArray, high: FloatArray, share: float) -> float:
    """Mean of width + 2 / (1 - share) x what lies outside [low, high], over mean |y|; NaN when nothing was sold.

    Parameters
    ----------
    share : the part of the actuals that the interval claims to hold (0-1).

    Source: Gneiting and Raftery (2007), *Strictly proper scoring rules*.
    """
    scored = np.isfinite(y)
    outside = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return _ratio((high - low + 2 / (1 - share) * outside)[scored].sum(), np.abs(y[scored]).sum())


@dataclass(frozen=True)
class Evaluation:
    """One window seen by one model, ready to be scored.

    Attributes
    ----------
    y, y_hat : ``[N, H]``. closed : bool ``[N, H]``, cells known to be 0: forecast as 0, left out of coverage.
    scale, squared_scale : ``[N]`` of `scales` at the cutoff. quantiles : ``[N, H, Q]`` or None, with their levels.
    """

    y: FloatArray
    y_hat: FloatArray
    closed: npt.NDArray[np.bool_]
    scale: FloatArray
    squared_scale: FloatArray
    quantiles: FloatArray | None = None
    levels: tuple[float, ...] = ()


def score(evaluations: Sequence[Evaluation], naive: Sequence[Evaluation] | None = None) -> Scores:
    """Scores over several windows together (MASE and RMSSE: mean over series of all windows).

    Parameters
    ----------
    naive : seasonal naive on the same windows, for skill = 1 - WAPE / WAPE of seasonal naive; None leaves skill NaN.
    """
    y = np.concatenate([item.y.ravel() for item in evaluations])
    y_hat = np.concatenate([np.where(item.closed, 0.0, item.y_hat).ravel() for item in evaluations])
    found = wape(y, y_hat)
    reference = float("nan")
    if naive is not None:
        reference = wape(y, np.concatenate([np.where(item.closed, 0.0, item.y_hat).ravel() for item in naive]))
    return Scores(
        wape=found,
        bias=bias(y, y_hat),
        mase=_mean_of([_masked(item, mase, item.scale) for item in evaluations]),
        rmsse=_mean_of([_masked(item, rmsse, item.squared_scale) for item in evaluations]),
        skill=1 - _ratio(found, reference),
        **_interval_scores(evaluations),
    )


def _masked(item: Evaluation, metric: Callable[..., float], scale: FloatArray) -> float:
    return metric(item.y, np.where(item.closed, 0.0, item.y_hat), scale)


def _interval_scores(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    levels = evaluations[0].levels
    if any(item.quantiles is None for item in evaluations):
        return dict.fromkeys(("wql", "coverage_80", "coverage_95", "interval_score"), float("nan"))
    y = np.concatenate([np.where(item.closed, np.nan, item.y).ravel() for item in evaluations])
    quantiles = np.concatenate([item.quantiles.reshape(-1, len(levels)) for item in evaluations])  # type: ignore[union-attr]
    every = np.concatenate([item.y.ravel() for item in evaluations])
    closed = np.concatenate([item.closed.ravel() for item in evaluations])

    def of_interval(metric: Callable[..., float], low: float, high: float, *more: float) -> float:
        if low not in levels or high not in levels:
            return float("nan")
        return metric(y, quantiles[:, levels.index(low)], quantiles[:, levels.index(high)], *more)

    return {
        "wql": wql(every, np.where(closed[:, None], 0.0, quantiles), levels),
        "coverage_80": of_interval(coverage, 0.1, 0.9),
        "coverage_95": of_interval(coverage, 0.025, 0.975),
        "interval_score": of_interval(interval_score, 0.025, 0.975, 0.95),
    }


def _differences(y: FloatArray, lag: int) -> tuple[FloatArray, FloatArray]:
    if y.shape[1] <= lag:
        return np.full(len(y), np.nan), np.full(len(y), np.nan)
    difference = y[:, lag:] - y[:, :-lag]
    enough = np.isfinite(difference).sum(1) >= _MIN_PAIRS
    absolute = np.where(enough, _row_mean(np.abs(difference)), np.nan)
    squared = np.where(enough, _row_mean(difference**2), np.nan)
    return absolute, squared


def _filled(seasonal: FloatArray, near: FloatArray) -> FloatArray:
    value = np.where(seasonal > 0, seasonal, near)
    positive = value[value > 0]
    fill = float(np.median(positive)) if len(positive) else 1.0
    return np.where(value > 0, value, fill)


def _row_mean(values: FloatArray) -> FloatArray:
    finite = np.isfinite(values)
    count = finite.sum(1)
    return np.where(count > 0, np.where(finite, values, 0.0).sum(1) / np.maximum(count, 1), np.nan)


def _nanmean(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _mean_of(values: Sequence[float]) -> float:
    return _nanmean(np.array(values))


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom > 0 else float("nan")
