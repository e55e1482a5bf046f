"""Between a value and its normal score, through calibrated quantiles: straight lines in the normal score, each way.

Beyond the outermost quantiles the line of the nearest two goes on, so that tails are those of a normal law with the
local spread. A value that many share (0 of a rarely sold item) has a range of scores, and tells less of its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["FURTHEST", "Marginals", "Scores", "normal_scores"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FURTHEST = 4.0  # normal scores beyond are taken as this one: one draw in 16,000, and lines are not trusted further
_NEAR = 0.02  # share of the outermost interval to each side of a value that is taken for it
_NARROW = 1e-3  # probability below which what lies between two scores is taken as even
_NORMAL = NormalDist()


class Marginals:
    """The laws of R cells, by their quantiles.

    Parameters
    ----------
    quantiles : ``[R, Q]``, ascending along the last axis. levels : the Q levels, ascending, at least two.
    non_negative : whether a cell whose lowest quantile is not below 0 never falls below 0.
    """

    def __init__(self, quantiles: npt.NDArray[np.floating], levels: Sequence[float], *, non_negative: bool = True):
        q = np.asarray(quantiles, dtype=np.float64)
        self._knots = knots(levels)
        slope = np.diff(q, axis=-1) / np.diff(self._knots)
        self._first = (q[..., 0] - slope[..., 0] * self._knots[0]).astype(np.float32)
        self._slope = slope[..., 0].astype(np.float32)
        self._bends = np.diff(slope, axis=-1).astype(np.float32)
        self._floor: Float32Array | None = None
        if non_negative:
            self._floor = np.where(q[..., 0] >= 0, 0.0, -np.inf).astype(np.float32)

    def values(self, scores: Float32Array) -> Float32Array:
        """The values at normal scores; overwrites ``scores``.

        Parameters
        ----------
        scores : float32 ``[R, S]``, S of each cell.

        Returns
        -------
        float32 ``[R, S]``, ascending in the score.
        """
        np.clip(scores, -FURTHEST, FURTHEST, out=scores)
        found = self._first[..., None] + self._slope[..., None] * scores
        beyond = np.empty_like(scores)
        for i, knot in enumerate(self._knots[1:-1]):
            np.subtract(scores, np.float32(knot), out=beyond)
            np.maximum(beyond, 0.0, out=beyond)
            beyond *= self._bends[..., i, None]
            found += beyond
        if self._floor is not None:
            np.maximum(found, self._floor[..., None], out=found)
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True)
class Scores:
    """Normal scores of values.

    Attributes
    ----------
    mean : the expected score of each value; NaN without a value.
    told : 0-1, how much of the score's variance the value tells: 1 of a value of its own, less of one that many share
        (0 of a rarely sold item). Products of means are smaller than those of scores by the product of what is told.
    """

    mean: FloatArray
    told: FloatArray


def normal_scores(
    y: FloatArray, quantiles: FloatArray, levels: Sequence[float], *, unit: float = 0.0, non_negative: bool = True
) -> Scores:
    """The normal score of each value under its quantiles.

    A value stands for what is near it: half a unit to each side, and at least a small part of the interval, since
    quantiles of what is sold in pieces miss the pieces by a little.

    Parameters
    ----------
    y : any shape; what is not finite has no score. quantiles : the same and ``[..., Q]``, ascending.
    levels : the Q levels, at least two. unit : in which ``y`` is counted; 0 for what is measured.
    non_negative : whether nothing lies below 0.
    """
    mean, told = np.full(y.shape, np.nan), np.zeros(y.shape)
    used = np.isfinite(y) & np.isfinite(quantiles).all(-1)
    low, high = _around(y[used], quantiles[used], knots(levels), unit, non_negative)
    mean[used], told[used] = _between(low, high)
    return Scores(mean, told)


def knots(levels: Sequence[float]) -> FloatArray:
    """The normal scores of quantile levels."""
    return np.array([_NORMAL.inv_cdf(level) for level in levels])


def _around(
    y: FloatArray, q: FloatArray, z: FloatArray, unit: float, non_negative: bool
) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest score ``[C]`` of what values ``[C]`` stand for, under quantiles ``[C, Q]``."""
    near = np.maximum(unit / 2, _NEAR * (q[:, -1] - q[:, 0]))
    below, upto = y - near, y + near
    low = _on_the_line(below, q, z, (q < below[:, None]).sum(1))
    high = _on_the_line(upto, q, z, (q <= upto[:, None]).sum(1))
    return np.where(non_negative & (below <= 0), -FURTHEST, low), high


def _on_the_line(y: FloatArray, q: FloatArray, z: FloatArray, before: IntArray) -> FloatArray:
    """The score on the line to the right of the quantiles ``before`` each value; beyond flat ends, the furthest."""
    left = np.clip(before - 1, 0, len(z) - 2)
    row = np.arange(len(y))
    start, rise = q[row, left], q[row, left + 1] - q[row, left]
    on_line = z[left] + (y - start) / np.where(rise > 0, rise, 1.0) * (z[left + 1] - z[left])
    beyond = np.where(before == 0, -FURTHEST, np.where(before == len(z), FURTHEST, z[left]))
    return np.clip(np.where(rise > 0, on_line, beyond), -FURTHEST, FURTHEST)


def _between(low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of a normal score between two bounds, and 1 less its variance there."""
    low, high = np.minimum(low, high), np.maximum(low, high)
    share = _normal_cdf(high) - _normal_cdf(low)
    is_wide = share > _NARROW
    divisor = np.where(is_wide, share, 1.0)
    density_low, density_high = _density(low), _density(high)
    mean = (density_low - density_high) / divisor
    variance = 1 + (low * density_low - high * density_high) / divisor - mean**2
    mean = np.clip(np.where(is_wide, mean, (low + high) / 2), low, high)
    return mean, 1 - np.clip(np.where(is_wide, variance, 0.0), 0.0, 1.0)


def _density(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


_REACH = np.linspace(-FURTHEST, FURTHEST, 1601)
_CDF = np.array([_NORMAL.cdf(float(z)) for z in _REACH])


def _normal_cdf(z: FloatArray) -> FloatArray:
    """From a table."""
    return np.asarray(np.interp(z, _REACH, _CDF))
