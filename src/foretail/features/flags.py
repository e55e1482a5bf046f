"""What a flag of few dates added on past ones: a holiday, a fair; read off the history, shared between like series.

A flag that is on for a handful of days a year is too rare for cells of its own and for splits of trees. Its effect is
the difference of its days from the days around them, by series, drawn to that of the groups which tell series apart
and to that of all series, each as far as its noise says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from foretail.features.cube import Sums

__all__ = ["FlagEffects"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_DATES = 0.25  # dates that no effect at all counts for: what one date brought may have been its own luck
_LEAST_NOISE = 1e-9


@dataclass(frozen=True)
class FlagEffects:
    """Effects of a flag.

    Attributes
    ----------
    usual : its most frequent value, which has no effect. levels : ``[L]`` the others.
    effects : ``[N, L]`` in the units of the residual; NaN where a value was never seen.
    """

    usual: float
    levels: FloatArray
    effects: FloatArray

    @classmethod
    def of(cls, residual: FloatArray, values: Float32Array, groups: Sequence[IntArray], reach: int) -> Self:
        """Read off a history.

        Parameters
        ----------
        residual : ``[N, T]`` what the weekday leaves over, NaN = hole. values : ``[N, T]`` of the flag.
        groups : codes ``[N]`` of columns that may tell series apart. reach : periods on either side to compare with.
        """
        seen = _counted(values)
        if not seen:
            return cls(0.0, np.empty(0), np.empty((len(residual), 0)))
        usual = max(seen, key=lambda value: (seen[value], -value))
        levels = np.array(sorted(value for value in seen if value != usual), dtype=np.float32)
        effects = np.full((len(residual), len(levels)), np.nan)
        told = [(position, values == level) for position, level in enumerate(levels)]
        told = [(position, is_on) for position, is_on in told if np.isfinite(residual[is_on]).any()]
        if told:
            quiet = Sums(np.where(values == usual, residual, np.nan))
            for position, is_on in told:
                effects[:, position] = _shared(_contrasts(residual, is_on, quiet, reach), groups)
        return cls(float(usual), levels.astype(np.float64), effects)

    def only(self, rows: IntArray) -> FlagEffects:
        """The effects of some series."""
        return FlagEffects(self.usual, self.levels, self.effects[rows])

    def at(self, values: Float32Array) -> FloatArray:
        """``[N, H]`` the effect of each value; 0 for the usual one, NaN for one that is not known or was never seen."""
        found = np.where(values == np.float32(self.usual), 0.0, np.nan)
        for i, level in enumerate(self.levels):
            found = np.where(values == np.float32(level), self.effects[:, i : i + 1], found)
        return found


def _counted(values: Float32Array) -> dict[float, int]:
    """How often each value occurs; a flag has few, so one pass for each is quicker than sorting all cells."""
    left, found = values[np.isfinite(values)], {}
    while len(left):
        is_first = left == left[0]
        found[float(left[0])] = int(is_first.sum())
        left = left[~is_first]
    return found


def _contrasts(residual: FloatArray, is_on: npt.NDArray[np.bool_], quiet: Sums, reach: int) -> FloatArray:
    """``[N, C]`` the residual of each date with the flag less that of the quiet ones around it."""
    columns = np.flatnonzero(is_on.any(axis=0))
    around = quiet.mean(columns - reach, columns + reach + 1, residual.shape[1])
    return np.where(is_on[:, columns], residual[:, columns] - around, np.nan)


def _shared(contrast: FloatArray, groups: Sequence[IntArray]) -> FloatArray:
    """``[N]`` mean contrasts drawn to those of groups and of all series."""
    told = np.isfinite(contrast)
    n = told.sum(axis=1).astype(np.float64)
    total = np.where(told, contrast, 0.0).sum(axis=1)
    if not n.sum():
        return np.full(len(contrast), np.nan)
    n_dates = float(told.any(axis=0).sum())
    estimate = np.full(len(contrast), total.sum() / n.sum() * n_dates / (n_dates + _DATES))
    noise = _noise(contrast, told, n, total)
    left = [*groups, np.arange(len(contrast))]
    while left:
        parts = [_deviation(codes, n, total - n * estimate, noise) for codes in left]
        best = int(np.argmax([spread for _, spread in parts]))
        estimate = estimate + parts[best][0]
        left.pop(best)
    return estimate


def _noise(contrast: FloatArray, told: npt.NDArray[np.bool_], n: FloatArray, total: FloatArray) -> float:
    """Variance of a contrast around the mean of its series; around that of all where no series has two."""
    mean = total / np.maximum(n, 1.0)
    squares = np.where(told, (contrast - mean[:, None]) ** 2, 0.0).sum()
    freedom = n.sum() - (n > 0).sum()
    if freedom <= 0:
        return max(float(np.var(contrast[told])), _LEAST_NOISE)
    return max(float(squares / freedom), _LEAST_NOISE)


def _deviation(codes: IntArray, n: FloatArray, total: FloatArray, noise: float) -> tuple[FloatArray, float]:
    """``[N]`` what the groups of a column deviate by, drawn to 0, and the variance between them beyond noise."""
    count, sums = np.bincount(codes, n), np.bincount(codes, total)
    mean = sums / np.maximum(count, 1.0)
    spread = max(0.0, float((count * mean**2 - noise * (count > 0)).sum() / count.sum()))
    drawn = mean * count * spread / (count * spread + noise)
    return drawn[codes], spread
