"""From quantile heads at a few levels to the default levels: sorted, filled in between, not below what sales can be."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.models.contract import Forecast
from foretail.panel.panel import Panel

__all__ = ["ALL_HEADS", "INTERVAL_HEADS", "filled_levels", "with_quantiles"]

FloatArray = npt.NDArray[np.float64]

# every head costs a quarter of the point forecast or more: these carry the 80 % and 95 % intervals and the middle
ALL_HEADS: tuple[float, ...] = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
INTERVAL_HEADS: tuple[float, ...] = (0.1, 0.9)  # enough to say how wide intervals are, which is then calibrated


def filled_levels(heads: FloatArray, levels: Sequence[float]) -> FloatArray:
    """Sorted heads, and the default levels between them on straight lines over normal scores.

    Parameters
    ----------
    heads : ``[R, K]`` in model space. levels : the K levels, ascending; lines go on beyond the first and the last.

    Returns
    -------
    ``[R, Q]`` at `DEFAULT_QUANTILES`, ascending.
    """
    heads = np.sort(heads, axis=1)
    have, want = (np.array([NormalDist().inv_cdf(level) for level in part]) for part in (levels, DEFAULT_QUANTILES))
    right = np.clip(np.searchsorted(have, want), 1, len(have) - 1)
    share = (want - have[right - 1]) / (have[right] - have[right - 1])
    return np.sort(heads[:, right - 1] * (1 - share) + heads[:, right] * share, axis=1)


def with_quantiles(forecast: Forecast, quantiles: FloatArray, panel: Panel) -> Forecast:
    """A forecast with its quantiles; series that a fallback answered get the others' spread around their own forecast.

    Parameters
    ----------
    forecast : of N series over H steps. quantiles : ``[N, H, Q]`` at `DEFAULT_QUANTILES`; not used where there is a
        reason. panel : the history, for the size of each series.

    Returns
    -------
    The forecast as it was where every series was answered by a fallback: nobody's spread is known then.
    """
    good = np.ones(len(quantiles), dtype=np.bool_)
    good[sorted(forecast.reasons)] = False
    good &= np.isfinite(quantiles).all(axis=(1, 2))
    if not good.any():
        return forecast
    size = _size(panel)
    if not good.all():
        spread = (quantiles[good] - forecast.y_hat[good, :, None]) / np.maximum(size[good], _least(size))[:, None, None]
        borrowed = np.median(spread, axis=0) * size[~good, None, None] + forecast.y_hat[~good, :, None]
        quantiles = quantiles.copy()
        quantiles[~good] = np.sort(borrowed, axis=2)
    if panel.spec.non_negative:
        quantiles = np.maximum(quantiles, 0.0)
    return Forecast(forecast.y_hat, DEFAULT_QUANTILES, quantiles, forecast.reasons)


def _size(panel: Panel) -> FloatArray:
    """``[N]`` mean absolute sales; 0 for a series that never sold."""
    observed = panel.observed
    total: FloatArray = np.where(observed, np.abs(panel.y), 0.0).sum(1) / np.maximum(observed.sum(1), 1)
    return total


def _least(size: FloatArray) -> float:
    positive = size[size > 0]
    return float(positive.min()) if len(positive) else 1.0
