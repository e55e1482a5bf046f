"""What trees are grown on: feature rows with their base, targets and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.features.frame import Rows

__all__ = ["Sample", "row_weights", "taken", "with_base", "young_features"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_YEARLESS = 0.2  # weight of a row that does not know the year before, where others do
_YOUNG = 1 / 3  # share of rows that know the year before, below which it is no feature of days yet
_PARTLY = 0.9  # known this much less often than at the newest cutoff, a feature hangs on the date
_MOST_WEIGHT = 50.0  # times the median size: one giant series must not teach all the others


@dataclass(frozen=True)
class Sample:
    """What trees are grown on.

    Attributes
    ----------
    x : float32 ``[R, F]``, the base last. y : ``[R]`` what the base leaves over. weight : ``[R]``, mean 1.
    categories : positions of features that are codes without order. signs : -1, 0 or 1 per feature, see `constraints`.
    """

    x: Float32Array
    y: FloatArray
    weight: FloatArray
    categories: list[int]
    signs: list[int]


def row_weights(rows: Rows, n_periods: int, half_life: float, hidden: Sequence[str] = ()) -> FloatArray:
    """Big series and recent targets count more, and rows that know the year before: ``[R]``, mean 1.

    What the base leaves over where the year before is unknown (the whole of Christmas) is not what it leaves over where
    it is known, and in the end it is known for most.

    Parameters
    ----------
    n_periods : of the panel. half_life : age of a target, in periods, at which it counts half. hidden : features that
        nothing is learned from.
    """
    age = n_periods - 1 - (rows.cutoff + rows.step)
    size = np.minimum(rows.scale, _MOST_WEIGHT * np.median(rows.scale))
    weight = size * 0.5 ** (age / half_life)
    if "aligned" in rows.names and "aligned" not in hidden:
        knows_year = np.isfinite(rows.x[:, rows.names.index("aligned")])
        weight *= np.where(knows_year | ~knows_year.any(), 1.0, _YEARLESS)
    normalised: FloatArray = weight / weight.mean()
    return normalised


def taken(rows: Rows, chosen: BoolArray | npt.NDArray[np.int64]) -> Rows:
    """Some of the rows, ``chosen`` bool ``[R]`` or their positions."""
    per_row = ("x", "series", "step", "cutoff", "reference", "unit", "scale", "target")
    return replace(rows, **{name: getattr(rows, name)[chosen] for name in per_row})


def young_features(rows: Rows, frequency: Frequency) -> tuple[str, ...]:
    """Features that only the newest dates know, a year after a daily history began; none in an older one.

    Whether such a value is known tells a tree no more than the date, so what those few dates had of their own, the days
    after Christmas say, would be learned and carried to all that come, where it is known of every row.
    """
    if "aligned" not in rows.names or not frequency.is_daily:
        return ()
    known = np.isfinite(rows.x)
    share, newest = known.mean(axis=0), known[rows.cutoff == rows.cutoff.max()].mean(axis=0)
    if share[rows.names.index("aligned")] > _YOUNG:
        return ()
    return tuple(name for name, is_new in zip(rows.names, share < _PARTLY * newest, strict=True) if is_new)


def with_base(rows: Rows, base: FloatArray, hidden: Sequence[str] = ()) -> Float32Array:
    """Features and the base as the last one, float32 ``[R, F]``; of the hidden ones nothing is known."""
    x = np.concatenate([rows.x, base[:, None].astype(np.float32)], axis=1)
    x[:, [rows.names.index(name) for name in hidden]] = np.nan
    return x
