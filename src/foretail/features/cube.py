"""The panel in model space, and prefix sums, so that the mean of a window is one subtraction for all series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.features.space import Space, series_scale
from foretail.panel.panel import Panel

__all__ = ["Cube", "Sums", "group_codes", "mean_of"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class Sums:
    """Prefix sums of a matrix with holes.

    Parameters
    ----------
    values : ``[N, T]``, NaN = hole.
    """

    def __init__(self, values: npt.NDArray[np.floating]):
        finite = np.isfinite(values)
        n, length = values.shape
        self.total = np.zeros((n, length + 1))
        self.count = np.zeros((n, length + 1), dtype=np.int32)
        np.cumsum(np.where(finite, values, 0.0), axis=1, out=self.total[:, 1:])
        np.cumsum(finite, axis=1, out=self.count[:, 1:])

    def mean(self, first: IntArray | int, end: IntArray | int, known: int) -> FloatArray:
        """Mean over columns ``first`` to ``end`` (exclusive), nothing at or after column ``known``.

        Parameters
        ----------
        first, end : scalars, or arrays ``[H]``.

        Returns
        -------
        ``[N]`` or ``[N, H]``; NaN where the window holds no value.
        """
        low = np.clip(first, 0, known)
        high = np.clip(end, 0, known)
        total = self.total[:, high] - self.total[:, low]
        count = self.count[:, high] - self.count[:, low]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def n(self, first: int, end: int, known: int) -> IntArray:
        """Values in the window, ``[N]``."""
        low, high = max(min(first, known), 0), max(min(end, known), 0)
        return (self.count[:, high] - self.count[:, low]).astype(np.int64)


@dataclass(frozen=True)
class Cube:
    """A panel in model space.

    Attributes
    ----------
    panel, space : what it was made of.
    scale : ``[N]`` size of each series, the unit of the offset inside the log.
    z : float64 ``[N, T]``, NaN where nothing was observed or the shop was shut.
    """

    panel: Panel
    space: Space
    scale: FloatArray
    z: FloatArray

    @classmethod
    def of(cls, panel: Panel, space: Space) -> Cube:
        """Transform a panel; closed days are holes."""
        scale = series_scale(np.where(panel.closed[:, : panel.n_periods], np.nan, panel.y))
        z = space.forward(panel.y, scale)
        return cls(panel, space, scale, np.where(panel.closed[:, : panel.n_periods], np.nan, z))

    @property
    def unit(self) -> FloatArray:
        """``[N]`` what a difference in model space is measured in: 1 for logs, the size of the series for levels."""
        return np.ones(len(self.scale)) if self.space.is_log else self.scale


def mean_of(values: npt.NDArray[np.floating]) -> FloatArray:
    """Mean of each row ``[N]``; NaN where it holds no value."""
    count = np.isfinite(values).sum(1)
    return np.where(count > 0, np.nansum(values, 1) / np.maximum(count, 1), np.nan)


def group_codes(panel: Panel, column: str) -> IntArray:
    """Group of each series by a key or static column: codes 0, 1, … in the order of the values."""
    values = panel.series[column].cast(str).fill_null("")
    return values.rank("dense").to_numpy().astype(np.int64) - 1
