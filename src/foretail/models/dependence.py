"""How errors go together: along the path of a series and across series, as a few pooled numbers of a Gaussian copula.

The error of each held-back cell becomes a normal score under its calibrated quantiles. A score is taken as a sum of
what all series share, what the series of a group share (a store, a department), and what is a series' own; each of
these has a part that lasts the whole path, two that fade, two that come back with the seasons, and the step's alone.
Products of scores, pooled by lag over windows, series and pairs of series, say how large each part is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from foretail.core.errors import UsageError
from foretail.models.marginals import Scores

__all__ = ["PREFIX", "Dependence"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PREFIX = "dependence_"  # of its arrays among those of a bundle's calibration
EVERY, OWN = "", "own"  # the factor of all series, and what is a series' own
_FADES = (0.85, 0.5)  # what is left of a part that fades slowly, and of one that fades fast, after one step
_PATH, _SEASON, _SWING, _STEP = 0, 3, 4, 5  # places of the other parts
_FEWEST = 30  # scores below which nothing is said
_MOST_SWEEPS, _STILL = 3000, 1e-7
_BELIEVED = 0.02  # of the variance lasts the path in every factor, believed as much as one draw of it
_STUDENT = 0.66  # (z^2 + 1) / 4 at the 90 % quantile: what n draws of a normal law leave open of it, over n
_MOST_OF_ALL = 0.98  # share of a score that may be explained: a little noise keeps every law a law


@dataclass(frozen=True)
class Dependence:
    """The correlation of normal scores.

    Attributes
    ----------
    factors : names of F factors: "" of all series, the columns of series that are shared, ``own`` last.
    shares : ``[F, 6]`` of the variance, all together 1: lasting the path, fading slowly, fading fast, of the season,
        turning round from one season to the next, of the step alone.
    season : steps after which the season's part comes back.
    """

    factors: tuple[str, ...]
    shares: FloatArray
    season: int

    @classmethod
    def fit(
        cls,
        windows: Sequence[Scores],
        groups: Mapping[str, IntArray],
        season: int,
        weights: Sequence[float] | None = None,
        widths: Sequence[FloatArray] | None = None,
    ) -> Self | None:
        """Pooled over windows of errors that the model had not seen.

        A few windows show what all series share no more often than that: its share grows by what they may have missed,
        as a normal quantile grows to that of a Student law.

        Parameters
        ----------
        windows : scores ``[N, h]`` each, of the same N series; what is NaN is left out.
        groups : codes ``[N]`` of the series by shared column. season : steps.
        weights : of the windows; equal when None.
        widths : ``[N]`` by window, of the intervals of the series: what is wide makes the error of a total, so that
            series count by the square root of it; equal when None.

        Returns
        -------
        None where there are too few scores to say anything.
        """
        if sum(int(np.isfinite(scores.mean).sum()) for scores in windows) < _FEWEST:
            return None
        weight = np.ones(len(windows)) if weights is None else np.array(weights)
        n_windows = float(weight.sum() ** 2 / (weight**2).sum())
        useful = _useful(groups)
        names = (EVERY, *useful) if len(windows[0].mean) > 1 else ()
        codes = [np.zeros(len(windows[0].mean), dtype=np.int64), *useful.values()][: len(names)]
        sizes = [np.ones(len(scores.mean)) for scores in windows] if widths is None else [_sizes(w) for w in widths]
        table = _solved(_Products.of(windows, codes, weight, sizes), codes, season)
        for i, code in enumerate(codes):
            n = n_windows * len(np.unique(code))
            table[i] *= (1 + _STUDENT / n) ** 2
            table[i, _PATH] += _BELIEVED / (n + 1)
        total = table.sum()
        table *= min(1.0, _MOST_OF_ALL / total) if total > 0 else 1.0
        table[-1, _STEP] += 1.0 - table.sum()
        return cls((*names, OWN), table, season)

    @classmethod
    def independent(cls) -> Self:
        """Nothing goes with anything."""
        return cls((OWN,), np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]), 1)

    def tied(self, strength: float) -> Self:
        """The same with what is a series' own tied more closely along its path, or less.

        Parameters
        ----------
        strength : 0 changes nothing, 1 lets all that is own last the path, -1 nothing of it.
        """
        shares = self.shares.copy()
        own = shares[-1].sum()
        shares[-1] *= 1 - abs(strength)
        shares[-1, _PATH if strength > 0 else _STEP] += own * abs(strength)
        return replace(self, shares=shares)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of series whose values are shared."""
        return tuple(name for name in self.factors if name not in (EVERY, OWN))

    def covariance(self, factor: str, h: int) -> FloatArray:
        """``[h, h]`` between the steps of a path, of one factor; all zeros for one that it does not have."""
        if factor not in self.factors:
            return np.zeros((h, h))
        i = self.factors.index(factor)
        lag = np.abs(np.subtract.outer(np.arange(h), np.arange(h)))
        return np.asarray(_basis(lag, self.season) @ self.shares[i])

    def correlation(self, h: int) -> FloatArray:
        """``[h, h]`` between the steps of one series, of all factors together."""
        return np.asarray(sum(self.covariance(name, h) for name in self.factors))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As named arrays with the prefix, for a bundle."""
        found = {
            "factors": np.array(self.factors),
            "shares": self.shares,
            "season": np.array(self.season),
        }
        return {f"{PREFIX}{name}": values for name, values in found.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Read what ``to_arrays`` gave, among other arrays.

        Raises
        ------
        UsageError : there is none of it: a version made before, or one whose backtest left no errors.
        """
        if f"{PREFIX}shares" not in arrays:
            raise UsageError(
                "this version holds no errors of its backtest to draw joint samples from.\n"
                "  where: the intervals of the version\n"
                "  fix:   train again (foretail run or train), then ask the new version"
            )
        factors = tuple(str(name) for name in arrays[f"{PREFIX}factors"])
        return cls(factors, arrays[f"{PREFIX}shares"], int(arrays[f"{PREFIX}season"]))


@dataclass(frozen=True)
class _Products:
    """Correlations of scores by lag: products of what values tell of them, over what they could tell.

    Attributes
    ----------
    own : ``[H]`` of one series with itself. own_pairs : ``[H]`` how many.
    between : ``[F, H]`` of two series that share a factor. pairs : ``[F, H]``.
    """

    own: FloatArray
    own_pairs: FloatArray
    between: FloatArray
    pairs: FloatArray

    @classmethod
    def of(
        cls,
        windows: Sequence[Scores],
        codes: Sequence[IntArray],
        weight: FloatArray,
        sizes: Sequence[FloatArray],
    ) -> Self:
        """Pooled over windows, series and pairs of series; ``sizes`` ``[N]`` by window say how much a series counts."""
        h = max(scores.mean.shape[1] for scores in windows)
        sums = np.zeros((len(codes) + 1, 3, h))
        square = told = 0.0
        for scores, w, size in zip(windows, weight, sizes, strict=True):
            seen, size = np.isfinite(scores.mean), size[:, None]
            mean, part = np.where(seen, scores.mean, 0.0) * size, np.where(seen, scores.told, 0.0) * size
            values = [mean, part, seen.astype(np.float64)]
            square, told = square + w * float((mean**2).sum()), told + w * float((part * size).sum())
            alone = [value.T @ value for value in values]
            sums[-1] += [w * _by_lag(item, h) for item in alone]
            for i, code in enumerate(codes):
                grouped = [_grouped(value, code) for value in values]
                sums[i] += [w * _by_lag(g.T @ g - item, h) for g, item in zip(grouped, alone, strict=True)]
        # what intervals that are too narrow or too wide as a whole do to every product
        scale = max(square / max(told, 1e-12), 1e-12)
        products = sums[:, 0] / np.maximum(sums[:, 1], 1e-12) / scale
        return cls(products[-1], sums[-1, 2], products[:-1], sums[:-1, 2])


def _sizes(width: FloatArray) -> FloatArray:
    """``[N]`` how much each series counts, from the widths of their intervals."""
    known = np.where(np.isfinite(width) & (width > 0), width, 0.0)
    mean = float(known.mean())
    return np.sqrt(known / mean) if mean > 0 else np.ones(len(width))


def _useful(groups: Mapping[str, IntArray]) -> dict[str, IntArray]:
    """Groups that hold several series and are not all of them, no two of them the same."""
    kept: dict[str, IntArray] = {}
    for name, codes in groups.items():
        code = np.unique(codes, return_inverse=True)[1].astype(np.int64)
        n_groups = int(code.max(initial=-1)) + 1
        is_new = all(
            len(np.unique(np.stack([code, other]), axis=1).T) > max(n_groups, int(other.max()) + 1)
            for other in kept.values()
            if int(other.max()) + 1 == n_groups
        )
        if 1 < n_groups <= len(code) // 2 and is_new:
            kept[name] = code
    return kept


def _grouped(values: FloatArray, codes: IntArray) -> FloatArray:
    """``[G, h]`` sums over the series of each group."""
    found = np.zeros((int(codes.max(initial=0)) + 1, values.shape[1]))
    np.add.at(found, codes, values)
    return found


def _by_lag(products: FloatArray, h: int) -> FloatArray:
    """``[h]`` sums along the diagonals."""
    n = len(products)
    return np.array([np.trace(products, k) if k < n else 0.0 for k in range(h)])


def _solved(found: _Products, codes: Sequence[IntArray], season: int) -> FloatArray:
    """``[F + 1, 6]`` sizes of the parts, none below 0, whose sums are nearest to all curves at once.

    Two series of one group may share other groups too; how often tells the factors apart. A curve counts by the size of
    its groups: what is small between two series is large in a total over many.
    """
    h = len(found.own)
    basis = _basis(np.arange(h), season)
    basis[:, [_SEASON, _SWING]] *= season < h - 1  # else a horizon does not show it
    between = np.array([[_pairs(np.stack([a, b])) / max(_pairs(a[None]), 1.0) for b in codes] for a in codes])
    rows, curves = [], []
    for i, curve in enumerate([*found.between, found.own]):
        is_own = i == len(codes)
        share = np.ones(len(codes) + 1) if is_own else np.append(between[i], 0.0)
        size = 1.0 if is_own else len(codes[i]) / len(np.unique(codes[i]))
        pairs = found.own_pairs if is_own else found.pairs[i]
        weight = size * np.sqrt(pairs / max(float(pairs.max(initial=0.0)), 1.0))
        weight[0] *= not is_own  # a score with itself says nothing
        rows.append((weight[:, None, None] * share[:, None] * basis[:, None, :]).reshape(h, -1))
        curves.append(weight * curve)
    return _non_negative(np.concatenate(rows), np.concatenate(curves)).reshape(len(codes) + 1, -1)


def _non_negative(rows: FloatArray, values: FloatArray) -> FloatArray:
    """Least squares with no coefficient below 0, by coordinate descent on the normal equations."""
    gram, target = rows.T @ rows, rows.T @ values
    diagonal = np.where(np.diag(gram) > 0, np.diag(gram), 1.0)
    found = np.zeros(len(target))
    gradient = -target
    for _ in range(_MOST_SWEEPS):
        moved = 0.0
        for j in np.flatnonzero(np.diag(gram) > 0):
            change = max(-gradient[j] / diagonal[j], -found[j])
            found[j] += change
            gradient += change * gram[j]
            moved = max(moved, abs(change))
        if moved < _STILL:
            break
    return found


def _pairs(codes: IntArray) -> float:
    """Ordered pairs of different series that have all codes ``[K, N]`` in common."""
    count = np.unique(codes, axis=1, return_counts=True)[1].astype(np.float64)
    return float((count * (count - 1)).sum())


def _basis(lag: npt.NDArray[np.int64], season: int) -> FloatArray:
    """``[..., 6]`` what a part of size 1 adds at each lag."""
    is_season = (lag % season == 0) & (season > 1)
    fading = [fade**lag for fade in _FADES]
    swing = np.cos(np.pi * lag / season)  # what a promotion every other week leaves of a model that is not told
    return np.stack([np.ones(lag.shape), *fading, is_season, swing, lag == 0], axis=-1).astype(np.float64)
