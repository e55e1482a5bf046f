"""The space in which models work: logs for dense sales (effects multiply), levels for sparse ones (many zeros)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Space", "series_scale"]

FloatArray = npt.NDArray[np.float64]

_OFFSET = 0.01  # share of a series' scale added before the log, so that a zero is a low value and not an infinite one


@dataclass(frozen=True)
class Space:
    """Forward and inverse transform of sales.

    Attributes
    ----------
    name : ``log``: z = ln(max(y, 0) + offset); ``level``: z = y.
    """

    name: str

    @property
    def is_log(self) -> bool:
        return self.name == "log"

    def forward(self, y: FloatArray, scale: FloatArray) -> FloatArray:
        """Sales to model space.

        Parameters
        ----------
        y : ``[N, ...]`` sales. scale : ``[N]`` positive, the size of each series (see `series_scale`).
        """
        if not self.is_log:
            return y
        offset = (_OFFSET * scale).reshape(-1, *([1] * (y.ndim - 1)))
        result: FloatArray = np.log(np.maximum(y, 0.0) + offset)
        return result

    def inverse(self, z: FloatArray, scale: FloatArray) -> FloatArray:
        """Model space back to sales; ``scale`` broadcasts against ``z`` on its first axis."""
        if not self.is_log:
            return z
        offset = (_OFFSET * scale).reshape(-1, *([1] * (z.ndim - 1)))
        result: FloatArray = np.maximum(np.exp(np.minimum(z, 700.0)) - offset, 0.0)
        return result


def series_scale(y: FloatArray) -> FloatArray:
    """Mean absolute value of each series, positive whatever the data.

    Parameters
    ----------
    y : ``[N, T]``, NaN = not observed.

    Returns
    -------
    ``[N]``; a series without any sales gets the median of the others, or 1.
    """
    observed = np.isfinite(y)
    total = np.where(observed, np.abs(y), 0.0).sum(1)
    mean = total / np.maximum(observed.sum(1), 1)
    positive = mean > 0
    fill = float(np.median(mean[positive])) if positive.any() else 1.0
    return np.where(positive, mean, fill)
