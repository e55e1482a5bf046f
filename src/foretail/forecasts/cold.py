"""Series without any history are answered by the series most like them, and say so with a wider interval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.panel.panel import Panel

__all__ = ["like_series"]

FloatArray = npt.NDArray[np.float64]

LEAST_SPREAD = 0.25  # share of the level: a judgement; no handful of like series tells a new one better than that
BLOCK = 4_000_000  # cells of a similarity matrix held at once


def like_series(panel: Panel, values: FloatArray, levels: Sequence[float], cold: pl.DataFrame) -> FloatArray:
    """Forecast series that were never observed as the mean of those that share most of their attributes.

    Attributes are the key parts and the static columns. The interval of each like series is kept and what separates
    the like series from one another is added to it, as variances add: an offset d of a quantile from the point
    forecast becomes d moved outwards by ``sqrt(d² + (z s)²) - |d|``, z the normal quantile of its level and s the
    standard deviation between the like series (at least a quarter of their mean).

    Parameters
    ----------
    panel : N series with history.
    values : ``[N, H, 1 + Q]`` point forecast and quantiles.
    levels : the Q levels.
    cold : C rows: ``unique_id``, key and static columns.

    Returns
    -------
    ``[C, H, 1 + Q]``.
    """
    if not cold.height or not panel.n_series:
        return np.empty((cold.height, *values.shape[1:]))
    attributes = [column for column in panel.series.columns if column != UNIQUE_ID and column in cold.columns]
    codes = _codes(panel.series, cold, attributes)
    unique, inverse = np.unique(codes[panel.n_series :], axis=0, return_inverse=True)
    profiles = _profiles(codes[: panel.n_series], unique, values, np.asarray(levels))
    return profiles[inverse.reshape(-1)]


def _codes(series: pl.DataFrame, cold: pl.DataFrame, attributes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Integer codes ``[N + C, A]`` of the attributes, equal where the texts are; -1 and -2 are equal to nothing."""
    codes = np.zeros((series.height + cold.height, len(attributes)), dtype=np.int64)
    for position, name in enumerate(attributes):
        text = pl.concat([series[name].cast(pl.String), cold[name].cast(pl.String)])
        codes[:, position] = text.rank("dense").fill_null(0).to_numpy()
        unknown = text.is_null().to_numpy()
        old, new = codes[: series.height, position], codes[series.height :, position]
        old[unknown[: series.height]] = -1
        new[~np.isin(new, old) | unknown[series.height :]] = -2  # one code for all that is new: fewer kinds to answer
    return codes


def _profiles(
    codes: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], values: FloatArray, levels: FloatArray
) -> FloatArray:
    n, n_steps, n_values = values.shape
    flat = values.reshape(n, -1)
    square = values[:, :, 0] ** 2
    result = np.empty((len(wanted), n_steps, n_values))
    size = max(1, BLOCK // n)
    for first in range(0, len(wanted), size):
        block = slice(first, first + size)
        weight = _likeness(wanted[block], codes)
        mean = (weight @ flat).reshape(-1, n_steps, n_values)
        variance = np.maximum(weight @ square - mean[:, :, 0] ** 2, 0.0)
        result[block] = _widened(mean, np.sqrt(variance), levels)
    return result


def _likeness(wanted: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> FloatArray:
    """Weights ``[C, N]`` that sum to 1: equal over the series that share most attributes."""
    shared = np.zeros((len(wanted), len(codes)), dtype=np.int16)
    for position in range(codes.shape[1]):
        shared += wanted[:, position, None] == codes[None, :, position]
    best = (shared == shared.max(axis=1, keepdims=True)).astype(np.float64)
    weight: FloatArray = best / best.sum(axis=1, keepdims=True)
    return weight


def _widened(mean: FloatArray, spread: FloatArray, levels: FloatArray) -> FloatArray:
    point = mean[:, :, :1]
    spread = np.maximum(spread, LEAST_SPREAD * np.abs(mean[:, :, 0]))[:, :, None]
    z = np.array([NormalDist().inv_cdf(level) for level in levels])
    offset = mean[:, :, 1:] - point
    outwards = np.sign(z) * (np.hypot(offset, z * spread) - np.abs(offset))
    return np.concatenate([point, point + offset + outwards], axis=2)
