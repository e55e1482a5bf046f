"""Whether one model is better than another on the same windows, or only looks so: paired errors of groups of series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "compare", "error_groups", "group_sums"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_GROUPS = 64  # enough for a standard error, few enough to be kept with every trial
_FEWEST = 16  # series below which each is cut into quarters of the horizon, to have groups at all
_QUARTERS = 4
_RISK = 0.05  # of calling anything better where all are alike
_CLEAR = 2.0  # standard errors that a clear difference exceeds


@dataclass(frozen=True)
class Comparison:
    """One model against another.

    Attributes
    ----------
    gain : share of the other's WAPE that it saves, negative where it is worse.
    noise : standard error of the gain; infinite where there is too little to tell.
    better : per window, whether it has the smaller error.
    """

    gain: float
    noise: float
    better: tuple[bool, ...]

    def is_real(self, n_tried: int) -> bool:
        """Whether the gain is more than noise, when this is the best of so many that were tried.

        Where all are alike, the chance that any of them is called better is 5 % at most (Bonferroni: each is tested at
        5 % / n, one-sided, errors taken as normal); and most windows have to agree, because what a window has of its
        own is common to all series and not in the noise.
        """
        needed = NormalDist().inv_cdf(1 - _RISK / max(n_tried, 1))
        return self.gain > needed * self.noise and 2 * sum(self.better) > len(self.better)

    def is_clearly_worse(self, least: float) -> bool:
        """Whether it loses at least that share, by more than noise."""
        return self.gain < -max(least, _CLEAR * self.noise)


def error_groups(n_series: int, h: int) -> IntArray:
    """Group of every cell ``[N, H]``: up to 64 groups of whole series, or quarters of the horizon of a few."""
    row, step = np.arange(n_series)[:, None], np.arange(h)[None, :]
    if n_series >= _FEWEST:
        return np.broadcast_to(row % _GROUPS, (n_series, h)).astype(np.int64)
    return np.asarray(row * _QUARTERS + step * _QUARTERS // h, dtype=np.int64)


def group_sums(values: FloatArray, groups: IntArray) -> FloatArray:
    """Sum of values ``[N, H]`` per group, NaN left out."""
    held = np.isfinite(values)
    n_groups = int(groups.max(initial=0)) + 1
    return np.bincount(groups[held], weights=values[held], minlength=n_groups).astype(np.float64)


def compare(errors: Sequence[FloatArray], others: Sequence[FloatArray]) -> Comparison:
    """Compare absolute errors, per window the sums of the same groups.

    The noise is that of a ratio of sums over groups: sqrt(G / (G - 1) sum r²) / sum(other), with the residual
    r = other - own - gain x other of each group over all windows. Source: Cochran (1977), *Sampling Techniques*, 6.4.

    Parameters
    ----------
    errors, others : per window ``[G]``, of the model and of the one it is compared with.
    """
    own, other = np.sum(errors, axis=0), np.sum(others, axis=0)
    better = tuple(bool(a.sum() < b.sum()) for a, b in zip(errors, others, strict=True))
    total = float(other.sum())
    if total <= 0:  # nothing left to gain
        return Comparison(0.0, math.inf, better)
    gain = 1 - float(own.sum()) / total
    residual = (other - own - gain * other)[(own > 0) | (other > 0)]
    n = len(residual)
    noise = math.sqrt(n / (n - 1) * float(np.square(residual).sum())) / total if n > 1 else math.inf
    return Comparison(gain, noise, better)
