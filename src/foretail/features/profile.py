"""The shape of a year, estimated on groups of series and shrunk to each: group mean plus a low-rank part of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.features.cube import Sums
from foretail.features.yearly import aligned_year_ago

__all__ = ["ProfileOptions", "best_grouping", "seasonal_profile", "year_shapes"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ProfileOptions:
    """How a profile is estimated.

    Attributes
    ----------
    rank : components of the series' own part of the shape.
    shrink : weight (0-1) of the series' own part against the group's shape.
    half_life : periods after which an observation counts half for the level.
    recent : weight (0-1) of the last year against the year before.
    """

    rank: int = 12
    shrink: float = 0.6
    half_life: float = 10.0
    recent: float = 0.6


def seasonal_profile(
    y: FloatArray,
    groups: IntArray,
    frequency: Frequency,
    days: IntArray,
    steps: IntArray,
    options: ProfileOptions = ProfileOptions(),
) -> FloatArray:
    """Level times shape, forecast for each step.

    Parameters
    ----------
    y : ``[N, T]`` sales up to the cutoff, NaN = not observed; negative values count as 0. groups : ``[N]`` codes.
    days : ``[T + H]`` day numbers of the periods. steps : ``[H]``.

    Returns
    -------
    ``[N, H]``; NaN for every series when less than a year is known, and for series without any sales in the last year.
    """
    n, length = y.shape
    year = frequency.year_length
    sales = np.where(np.isfinite(y), np.maximum(y, 0.0), np.nan)
    n_years = min(2, length // year)
    if n_years == 0:
        return np.full((n, len(steps)), np.nan)
    shapes = [
        year_shapes(sales[:, length - year * (back + 1) : length - year * back], groups, options) for back in range(n_years)
    ]
    weights = [options.recent, 1 - options.recent][:n_years]
    mean_shape = np.zeros((n, year))
    weight_sum = np.zeros((n, 1))
    for shape, weight in zip(shapes, weights, strict=True):
        known = np.isfinite(shape).all(1, keepdims=True)
        mean_shape += np.where(known, weight * np.nan_to_num(shape), 0.0)
        weight_sum += weight * known
    mean_shape = np.where(weight_sum > 0, mean_shape / np.maximum(weight_sum, 1e-12), np.nan)
    mean_shape = np.maximum(mean_shape, 1e-4)
    level = _recent_level(sales[:, -year:], mean_shape, options.half_life)
    # the mean shape stands at the last year's place, so that the holiday-aligned look-up works on it
    placed = np.full((n, length), np.nan)
    placed[:, length - year :] = mean_shape
    ahead = aligned_year_ago(Sums(placed), frequency, days, length, steps)
    result: FloatArray = level[:, None] * ahead
    return result


def year_shapes(block: FloatArray, groups: IntArray, options: ProfileOptions) -> FloatArray:
    """Shape (mean about 1) of one year for every series: ``[N, year]``; NaN where its group sold nothing.

    A series that lived through the whole year brings its own low-rank deviation; the others follow their group.
    """
    observed = np.isfinite(block)
    mean = np.where(observed.any(1), np.nansum(block, 1) / np.maximum(observed.sum(1), 1), 0.0)
    whole = (observed.mean(1) >= 0.9) & (mean > 0)
    own = np.where(observed, block, 0.0) / np.where(mean > 0, mean, 1.0)[:, None]
    result = np.full(block.shape, np.nan)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        complete = members[whole[members]]
        if not len(complete):
            continue
        weight = mean[complete] / mean[complete].sum()
        common = weight @ own[complete]
        result[members] = common
        matrix = own[complete]
        if len(complete) >= 4:
            rank = min(options.rank, max(1, len(complete) // 3))
            u, s, vt = np.linalg.svd(matrix, full_matrices=False)
            matrix = (u[:, :rank] * s[:rank]) @ vt[:rank]
        result[complete] = options.shrink * matrix + (1 - options.shrink) * common
    return result


def best_grouping(block: FloatArray, candidates: dict[str, IntArray]) -> str:
    """The grouping whose mean shape of the others predicts a series' own shape best.

    Parameters
    ----------
    block : ``[N, year]`` the last year of sales. candidates : column name -> ``[N]`` codes.

    Returns
    -------
    Name of the candidate with the smallest leave-one-out absolute error, weighted by sales.
    """
    observed = np.isfinite(block)
    mean = np.where(observed.any(1), np.nansum(np.maximum(block, 0.0), 1) / np.maximum(observed.sum(1), 1), 0.0)
    whole = (observed.mean(1) >= 0.9) & (mean > 0)
    if not whole.any():
        return min(candidates, key=lambda name: len(np.unique(candidates[name])))
    sales = np.where(observed[whole], np.maximum(block[whole], 0.0), 0.0)
    level = mean[whole]
    own = sales / level[:, None]
    errors = {}
    for name, codes in candidates.items():
        _, code = np.unique(codes[whole], return_inverse=True)
        total = np.zeros((code.max() + 1, sales.shape[1]))
        np.add.at(total, code, sales)
        size = np.bincount(code, weights=level)
        others = size[code] - level
        shape = np.where(
            (others > 1e-9)[:, None], (total[code] - sales) / np.where(others > 1e-9, others, 1.0)[:, None], 1.0
        )
        errors[name] = float((np.abs(own - shape).mean(1) * level).sum())
    return min(errors, key=lambda name: (errors[name], name))


def _recent_level(sales: FloatArray, shape: FloatArray, half_life: float) -> FloatArray:
    """Weighted sales over weighted shape, recent periods first; from the first observation of each series on."""
    weight = 0.5 ** (np.arange(sales.shape[1])[::-1] / half_life)
    observed = np.isfinite(sales) & np.isfinite(shape)
    top = (np.where(observed, sales, 0.0) * weight).sum(1)
    bottom = (np.where(observed, shape, 0.0) * weight).sum(1)
    return np.where(bottom > 1e-9, top / np.maximum(bottom, 1e-9), np.nan)
