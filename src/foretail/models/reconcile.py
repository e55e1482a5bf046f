"""Reconciliation: forecasts of series and of groups of them that disagree become forecasts of the series that agree.

Only the series are answered; what groups get is their sum, so that sums agree whatever the method. With the errors'
covariance W (diagonal, or diagonal and a factor) and C y = groups - sums of their series, the forecasts nearest to all
base forecasts are y - W C' (C W C')^-1 C y. Source: Wickramasuriya, Athanasopoulos and Hyndman (2019); the shrinkage
is that of Schäfer and Strimmer (2005). Everything is done by sums over groups: no matrix of series by series is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from foretail.panel.hierarchy import Hierarchy

__all__ = ["BOTTOM_UP", "METHODS", "Covariance", "reconcile"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

BOTTOM_UP, TOP_DOWN, WLS, SHRINK = "bottom_up", "top_down", "wls", "shrink"
METHODS = (BOTTOM_UP, TOP_DOWN, WLS, SHRINK)

_TINY = 1e-8  # of the mean variance: what a group that never erred is trusted
_TOLERANCE = 1e-10  # of the disagreement, at which the solver stops
_ROUNDS = 4  # of finding series that would be negative and holding them at 0
_MOST_STEPS = 500


@dataclass(frozen=True)
class Covariance:
    """Of the errors of the U groups and then the N series: ``diag(diagonal) + factor @ factor.T``.

    Attributes
    ----------
    diagonal : ``[U + N]``, not negative. factor : ``[U + N, K]``, or None.
    """

    diagonal: FloatArray
    factor: FloatArray | None = None

    @classmethod
    def structural(cls, hierarchy: Hierarchy, n_series: int) -> Self:
        """By the number of series in a group: for want of errors."""
        return cls(np.concatenate([hierarchy.sizes, np.ones(n_series)]).astype(np.float64))

    @classmethod
    def of_variances(cls, errors: FloatArray) -> Self:
        """Mean squared errors; rows without any error take the median of the others.

        Parameters
        ----------
        errors : ``[U + N, K]``; NaN where nothing was observed.
        """
        n = np.isfinite(errors).sum(1)
        mean = np.where(n > 0, np.nansum(errors**2, axis=1) / np.maximum(n, 1), np.nan)
        return cls(_known(mean))

    @classmethod
    def shrunk(cls, errors: FloatArray) -> Self:
        """The sample covariance, drawn towards its diagonal as far as its correlations are chance.

        Parameters
        ----------
        errors : ``[U + N, K]``; NaN counts as the row's mean error.
        """
        n = np.isfinite(errors).sum(1, keepdims=True)
        mean = np.nansum(errors, axis=1, keepdims=True) / np.maximum(n, 1)
        centred = np.where(np.isfinite(errors), errors - mean, 0.0)
        k = errors.shape[1]
        share = shrinkage(centred)
        variance = (centred**2).sum(1) / max(k - 1, 1)
        unknown = n[:, 0] == 0
        diagonal = np.where(unknown, _known(np.where(unknown, np.nan, variance)), share * variance)
        return cls(diagonal, centred * np.sqrt((1.0 - share) / max(k - 1, 1)))

    def placed(self, position: IntArray) -> Covariance:
        """Rows by their place in another hierarchy; those of place -1 have the median variance and no company."""
        found = np.where(position >= 0, self.diagonal[position], np.nan)
        own = self.diagonal if self.factor is None else self.diagonal + (self.factor**2).sum(1)
        diagonal = np.where(np.isfinite(found), found, np.median(own))
        if self.factor is None:
            return Covariance(diagonal)
        return Covariance(diagonal, np.where((position >= 0)[:, None], self.factor[position], 0.0))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As named arrays, for a bundle."""
        found: dict[str, npt.NDArray[Any]] = {"diagonal": self.diagonal}
        return found if self.factor is None else {**found, "factor": self.factor.astype(np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read what ``to_arrays`` gave."""
        factor = arrays["factor"].astype(np.float64) if "factor" in arrays else None
        return cls(arrays["diagonal"], factor)


def shrinkage(centred: FloatArray) -> float:
    """How far the sample correlations are drawn to 0, from 0 to 1.

    Parameters
    ----------
    centred : ``[M, K]`` errors less their mean.

    Source: Schäfer and Strimmer (2005): the sum of the variances of the off-diagonal correlations over that of their
    squares, here by products of the K columns instead of the M rows.
    """
    k = centred.shape[1]
    if k < 3:
        return 1.0
    spread = np.sqrt((centred**2).mean(1, keepdims=True))
    z = np.where(spread > 0, centred / np.where(spread > 0, spread, 1.0), 0.0)
    square = z**2
    products = float(((square.sum(0)) ** 2).sum() - (square**2).sum())  # of two different rows, squared
    between = z.T @ z
    means = float((between**2).sum() - (square.sum(1) ** 2).sum()) / k**2
    if means <= 0:
        return 1.0
    variance = (products - k * means) / (k * (k - 1))
    return float(np.clip(variance / means, 0.0, 1.0))


def reconcile(
    hierarchy: Hierarchy,
    groups: FloatArray,
    series: FloatArray,
    method: str,
    covariance: Covariance | None = None,
    *,
    fixed: BoolArray | None = None,
    non_negative: bool = True,
) -> FloatArray:
    """Forecasts of the series that heed those of the groups.

    Parameters
    ----------
    groups : base forecasts ``[U, H]``. series : base forecasts ``[N, H]``.
    method : one of `METHODS`. Top-down shares the total by the forecasts of the series.
    covariance : of the errors, for ``wls`` and ``shrink``.
    fixed : bool ``[N, H]``, cells that are known and stay (a closed day). non_negative : nothing below 0.

    Returns
    -------
    ``[N, H]``; their sums over groups are the forecasts of the groups.
    """
    held = np.zeros(series.shape, dtype=np.bool_) if fixed is None else fixed
    if method == TOP_DOWN:
        result = _top_down(groups[0], series, held)
    elif method in (WLS, SHRINK):
        if covariance is None:
            covariance = Covariance.structural(hierarchy, len(series))
        result = _nearest(hierarchy, groups, series, covariance, held, non_negative)
    else:
        result = series.copy()
    return np.maximum(result, 0.0) if non_negative else result


def _top_down(total: FloatArray, series: FloatArray, held: BoolArray) -> FloatArray:
    """The total less what is held, shared out as the series share theirs; they stay where they come to nothing."""
    free = np.where(held, 0.0, series)
    sums = free.sum(0)
    left = total - np.where(held, series, 0.0).sum(0)
    factor = np.where((sums > 0) & (left >= 0), left / np.where(sums > 0, sums, 1.0), 1.0)
    return np.where(held, series, series * factor)


def _nearest(
    hierarchy: Hierarchy,
    groups: FloatArray,
    series: FloatArray,
    covariance: Covariance,
    held: BoolArray,
    non_negative: bool,
) -> FloatArray:
    """The coherent forecasts nearest to all; what would be negative is held at 0 and the rest asked again."""
    base = np.maximum(series, 0.0) if non_negative else series
    result = base
    for _ in range(_ROUNDS):
        result = _projected(hierarchy, groups, base, covariance, held)
        below = (result < 0) & ~held
        if not non_negative or not below.any():
            break
        held = held | below
        base = np.where(below, 0.0, base)
    return result


def _projected(
    hierarchy: Hierarchy, groups: FloatArray, series: FloatArray, covariance: Covariance, held: BoolArray
) -> FloatArray:
    u = len(groups)
    free = (~held).astype(np.float64)
    least = _TINY * float(covariance.diagonal.mean()) or 1.0
    of_groups = np.maximum(covariance.diagonal[:u], least)[:, None]
    of_series = covariance.diagonal[u:, None] * free
    factor = covariance.factor

    def moved(multiplier: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What a multiplier ``[U, H]`` of the disagreement adds to the groups and takes from the series."""
        down = hierarchy.shared(multiplier)
        up, less = of_groups * multiplier, of_series * down
        if factor is not None:
            together = factor[:u].T @ multiplier - factor[u:].T @ (free * down)
            up += factor[:u] @ together
            less -= free * (factor[u:] @ together)
        return up, less

    def applied(multiplier: FloatArray) -> FloatArray:
        up, less = moved(multiplier)
        return up + hierarchy.sums(less)

    diagonal = of_groups + hierarchy.sums(of_series)
    if factor is not None:
        diagonal = diagonal + (factor[:u] ** 2).sum(1)[:, None]
    disagreement = groups - hierarchy.sums(series)
    return series + moved(_solved(applied, disagreement, diagonal))[1]


def _solved(applied: Callable[[FloatArray], FloatArray], wanted: FloatArray, diagonal: FloatArray) -> FloatArray:
    """Conjugate gradients on every column at once, each with its own step; scaled by the diagonal."""
    x = np.zeros_like(wanted)
    rest = wanted.copy()
    scaled = rest / diagonal
    direction = scaled.copy()
    weight = (rest * scaled).sum(0)
    goal = _TOLERANCE**2 * weight
    for _ in range(_MOST_STEPS):
        is_open = weight > goal
        if not is_open.any():
            break
        image = applied(direction)
        bend = (direction * image).sum(0)
        step = np.where(is_open & (bend > 0), weight / np.where(bend > 0, bend, 1.0), 0.0)
        x += step * direction
        rest -= step * image
        scaled = rest / diagonal
        before, weight = weight, (rest * scaled).sum(0)
        direction = scaled + np.where(before > 0, weight / np.where(before > 0, before, 1.0), 0.0) * direction
    return x


def _known(variance: FloatArray) -> FloatArray:
    """Rows that are not known take the median of the others; 1 where none is."""
    told = variance[np.isfinite(variance)]
    return np.where(np.isfinite(variance), variance, float(np.median(told)) if len(told) else 1.0)
