"""What a network sees of feature rows: standardised numbers, marks of what is missing, codes of categories.

Every statistic comes from the training rows; what was never seen in them is zero (numbers) or unknown (codes).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from foretail.features.frame import Rows

__all__ = ["Inputs"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MAX_ROWS = 100_000  # more rows move no mean or spread that matters
_TAIL = (
    0.001  # share of values on each side that a mean and a spread leave out: one wild value must not shrink the rest
)
_ROWS = 8192  # standardised at once
_BOUND = 5.0  # standardised values are cut here
_LEAST_MISSING = 0.001  # share of rows below which a missing value is not worth a mark of its own


@dataclass(frozen=True)
class Inputs:
    """From feature rows to what the network takes.

    Attributes
    ----------
    numbers : names of the D numeric features, the base forecast last.
    low, high : ``[D]`` bounds within which values count. mean, spread : ``[D]`` of the bounded training rows.
    marked : names of the M numeric features whose absence has a mark of its own.
    categories : names of the K categorical features. sizes : ``[K]`` codes seen in training (0 to size - 1).
    """

    numbers: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    marked: tuple[str, ...]
    categories: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, rows: Rows, base: FloatArray) -> Self:
        """Measure the training rows, at least one; features that never vary are left out.

        Parameters
        ----------
        base : ``[R]`` the base forecast of each row, a feature too.
        """
        keep = slice(None, None, -(-len(rows) // _MAX_ROWS))
        names = [feature.name for feature in rows.features if not feature.is_category] + ["base"]
        x = np.where(np.isfinite(found := _numbers(rows, base, names, keep)), found, np.nan).astype(np.float64)
        low, high = _bounds(x)
        x = np.clip(x, low, high)
        missing = np.isnan(x)
        seen = np.maximum((~missing).sum(0), 1)
        mean = np.where(missing, 0.0, x).sum(0) / seen
        spread = np.sqrt(np.where(missing, 0.0, (x - mean) ** 2).sum(0) / seen)
        share = missing.mean(0)
        is_marked = (share > _LEAST_MISSING) & (share < 1 - _LEAST_MISSING)
        varies = (spread > 1e-6 * np.maximum(np.abs(mean), 1e-12)) | is_marked
        spread = np.where(spread > 0, spread, 1.0)
        used = np.flatnonzero(varies).tolist()
        categories = [feature.name for feature in rows.features if feature.is_category]
        return cls(
            numbers=tuple(names[i] for i in used),
            low=tuple(float(low[i]) for i in used),
            high=tuple(float(high[i]) for i in used),
            mean=tuple(float(mean[i]) for i in used),
            spread=tuple(float(spread[i]) for i in used),
            marked=tuple(names[i] for i in used if is_marked[i]),
            categories=tuple(categories),
            sizes=tuple(_size(rows.x[:, rows.names.index(name)]) for name in categories),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Features behind the inputs: numbers, then categories."""
        return (*self.numbers, *self.categories)

    @property
    def width(self) -> int:
        """Columns of the numeric input: D numbers and M marks."""
        return len(self.numbers) + len(self.marked)

    def numeric(self, rows: Rows, base: FloatArray) -> Float32Array:
        """Standardised numbers and marks, ``[R, D + M]``; a missing number is at its mean, 0."""
        x = _numbers(rows, base, self.numbers)
        missing = ~np.isfinite(x)
        marks = missing[:, [self.numbers.index(name) for name in self.marked]]
        # float64, some rows at a time: what float32 holds of a feature may vary by less than it resolves
        low, high, mean, spread = self._measured
        for start in range(0, len(x), _ROWS):
            some = slice(start, start + _ROWS)
            z = (np.minimum(np.maximum(x[some].astype(np.float64), low), high) - mean) / spread
            x[some] = np.minimum(np.maximum(z, -_BOUND), _BOUND)
        x[missing] = 0.0
        return np.concatenate([x, marks.astype(np.float32)], axis=1)

    @cached_property
    def _measured(self) -> FloatArray:
        return np.array([self.low, self.high, self.mean, self.spread])

    def codes(self, rows: Rows) -> IntArray:
        """Codes from 1 on, ``[R, K]``; 0 = missing, or never seen in training."""
        index = [rows.names.index(name) for name in self.categories]
        x = rows.x[:, index]
        known = np.isfinite(x) & (x >= 0) & (x < np.array(self.sizes, dtype=np.float32))
        return np.where(known, np.where(known, x, 0.0).astype(np.int64) + 1, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what ``to_dict`` wrote, from JSON."""
        return cls(**{name: tuple(items) for name, items in values.items()})


def _numbers(
    rows: Rows, base: FloatArray, names: tuple[str, ...] | list[str], keep: slice = slice(None)
) -> Float32Array:
    """Columns of the rows by name, ``base`` among them, as a new float32 array."""
    position = {name: column for column, name in enumerate(rows.names)}
    with np.errstate(over="ignore"):
        forecast = base[keep].astype(np.float32)
    columns = [forecast if name == "base" else rows.x[keep, position[name]] for name in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(forecast), 0), dtype=np.float32)


def _bounds(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``[D]`` bounds that leave out a small tail on each side of a quantity; a column of few values keeps all.

    NaN sorts to the end, so the finite part of a sorted column is its beginning.
    """
    ordered = np.sort(x, axis=0)
    last = np.maximum(np.isfinite(ordered).sum(0) - 1, 0)
    column = np.arange(x.shape[1])
    low = ordered[np.floor(_TAIL * last).astype(np.int64), column]
    high = ordered[np.ceil((1 - _TAIL) * last).astype(np.int64), column]
    flat = low == high
    return (
        np.nan_to_num(np.where(flat, ordered[0], low)),
        np.nan_to_num(np.where(flat, ordered[last, column], high)),
    )


def _size(codes: Float32Array) -> int:
    """Codes of a category: one more than the largest seen."""
    return int(np.nanmax(codes)) + 1 if np.isfinite(codes).any() else 0
