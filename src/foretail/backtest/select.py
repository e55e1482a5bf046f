"""Chooses on inner windows: weights of the ensemble by greedy selection, then the model with the lowest WAPE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["blend", "ensemble_weights", "pooled_wape"]

FloatArray = npt.NDArray[np.float64]

_PICKS = 10  # weights are multiples of a tenth
_NEAR_BEST = 1.25  # a member more than this much worse than the best one is never mixed in


def pooled_wape(actuals: Sequence[FloatArray], forecasts: Sequence[FloatArray]) -> float:
    """WAPE over several windows together; closed cells are NaN in the actuals or 0 in both."""
    error = total = 0.0
    for y, y_hat in zip(actuals, forecasts, strict=True):
        scored = np.isfinite(y)
        error += float(np.abs(y - y_hat)[scored].sum())
        total += float(np.abs(y[scored]).sum())
    return error / total if total > 0 else float("nan")


def ensemble_weights(actuals: Sequence[FloatArray], forecasts: Mapping[str, Sequence[FloatArray]]) -> dict[str, float]:
    """Weights (sum 1) that lower the pooled WAPE, shrunk half-way to the plain mean of all that are near the best.

    Greedy selection with replacement: the member that helps the running mean most is picked, ten times. Few windows
    make the optimum noisy and hide what happens once a year, hence the shrinkage. Source: Caruana et al. (2004).

    Parameters
    ----------
    actuals : per window ``[N, h]``. forecasts : per model and window ``[N, h]``.
    """
    alone = {name: pooled_wape(actuals, parts) for name, parts in forecasts.items()}
    alone = {name: value for name, value in alone.items() if np.isfinite(value)}
    if not alone:
        return {}
    best = min(alone.values())
    pool = sorted(name for name, value in alone.items() if value <= _NEAR_BEST * best)
    picks: list[str] = []
    running = [np.zeros_like(y) for y in actuals]
    for _ in range(_PICKS):
        n = len(picks)

        def error(name: str, n: int = n, running: list[FloatArray] = running) -> float:
            mixed = [(total * n + part) / (n + 1) for total, part in zip(running, forecasts[name], strict=True)]
            return pooled_wape(actuals, mixed)

        chosen = min(pool, key=lambda name: (error(name), name))
        running = [(total * n + part) / (n + 1) for total, part in zip(running, forecasts[chosen], strict=True)]
        picks.append(chosen)
    return {name: 0.5 * picks.count(name) / _PICKS + 0.5 / len(pool) for name in pool}


def blend(parts: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """Weighted mean of forecasts of one window."""
    total = sum(weights.values())
    return np.asarray(sum(weight * parts[name] for name, weight in weights.items()) / total)
