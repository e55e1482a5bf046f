"""The shape of a year, estimated on groups of series and shrunk to each: group mean plus a low-rank part of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.features.cube import Sums
from foretail.features.yearly import aligned_year_ago

__all__ = ["ProfileOptions", "best_grouping", "best_options", "seasonal_profile", "year_shapes"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ProfileOptions:
    """How a profile is estimated.

    Attributes
    ----------
    rank : components of the series' own part of the shape; 0 for all.
    shrink : weight (0-1) of the series' own part against the group's shape.
    half_life : periods after which an observation counts half for the level.
    recent : weight (0-1) of the last year against the year before.
    """

    rank: int = 12
    shrink: float = 0.6
    half_life: float = 10.0
    recent: float = 0.6


_Shapes = dict[tuple[int, int], tuple[FloatArray, FloatArray]]  # (years back, rank) -> own and common shapes
_DEFAULT = ProfileOptions()
_YEARS = 2  # that the shape is the mean of
_WHOLE = 0.9  # share of a year that must be observed before a series brings a shape of its own
_FLOOR = 1e-4  # of a shape: a level is never divided by nothing
_FEWEST_FOR_RANK = 4  # series from which a low rank says more than the series themselves
_FEWEST_TO_CHOOSE = 8  # periods beyond the first year that must be known to choose the options by them
_CHOICES = tuple(
    ProfileOptions(rank=rank, shrink=shrink)
    for rank, shrink in ((12, 0.3), (12, 0.6), (12, 0.8), (0, 0.6), (0, 0.8), (0, 1.0))
)


def seasonal_profile(
    y: FloatArray,
    groups: IntArray,
    frequency: Frequency,
    days: IntArray,
    steps: IntArray,
    options: ProfileOptions = _DEFAULT,
    known_shapes: _Shapes | None = None,
) -> FloatArray:
    """Level times shape, forecast for each step.

    Parameters
    ----------
    y : ``[N, T]`` sales up to the cutoff, NaN = not observed; negative values count as 0. groups : ``[N]`` codes.
    days : ``[T + H]`` day numbers of the periods. steps : ``[H]``.
    known_shapes : what other options have already made of the same sales; filled.

    Returns
    -------
    ``[N, H]``; NaN for every series when less than a year is known, and for series without any sales in the last year.
    """
    n, length = y.shape
    year = frequency.year_length
    if length < year:
        return np.full((n, len(steps)), np.nan)
    sales = np.where(np.isfinite(y), np.maximum(y, 0.0), np.nan)
    shapes = _yearly(sales, groups, year, options, {} if known_shapes is None else known_shapes)
    mean = np.maximum(_mean_of_years(shapes, options.recent), _FLOOR)
    ahead = _shape_ahead(shapes, frequency, days, steps, options.recent, length)
    ahead = np.where(np.isfinite(ahead), np.maximum(ahead, _FLOOR), mean[:, (steps - 1) % year])
    result: FloatArray = _recent_level(sales[:, -year:], mean, options.half_life)[:, None] * ahead
    return result


def _yearly(
    sales: FloatArray, groups: IntArray, year: int, options: ProfileOptions, known_shapes: _Shapes
) -> list[FloatArray]:
    """Shapes of the last one or two years, the last one first: ``[N, year]`` each."""
    shapes = []
    for back in range(min(sales.shape[1] // year, _YEARS)):
        end = sales.shape[1] - year * back
        if (back, options.rank) not in known_shapes:
            known_shapes[back, options.rank] = _own_and_common(sales[:, end - year : end], groups, options.rank)
        shapes.append(_believed(*known_shapes[back, options.rank], options.shrink))
    return shapes


def _shape_ahead(
    shapes: Sequence[FloatArray], frequency: Frequency, days: IntArray, steps: IntArray, recent: float, length: int
) -> FloatArray:
    """What each year tells about each step, holidays of that year moved to where they fall now: ``[N, H]``."""
    n, year = shapes[0].shape
    placed = np.full((n, length), np.nan)  # each shape stands at its own year's place
    for back, shape in enumerate(shapes):
        placed[:, length - year * (back + 1) : length - year * back] = shape
    sums = Sums(placed)
    told = [aligned_year_ago(sums, frequency, days, length, steps, back + 1) for back in range(len(shapes))]
    return _mean_of_years(told, recent)


def _mean_of_years(told: Sequence[FloatArray], recent: float) -> FloatArray:
    """Mean of what the last one or two years tell, the last one first; NaN where neither does."""
    total, weights = np.zeros(told[0].shape), np.zeros(told[0].shape)
    for value, weight in zip(told, (recent, 1 - recent), strict=False):
        known = np.isfinite(value)
        total += np.where(known, weight * value, 0.0)
        weights += weight * known
    return np.where(weights > 0, total / np.maximum(weights, 1e-12), np.nan)


def year_shapes(block: FloatArray, groups: IntArray, options: ProfileOptions = _DEFAULT) -> FloatArray:
    """Shape (mean about 1) of one year for every series: ``[N, year]``; NaN where its group sold nothing.

    A series that lived through the whole year brings its own low-rank deviation; the others follow their group.

    Parameters
    ----------
    block : ``[N, year]`` sales of one year, not negative, NaN = not observed. groups : ``[N]`` codes.
    """
    return _believed(*_own_and_common(block, groups, options.rank), options.shrink)


def _believed(own: FloatArray, common: FloatArray, shrink: float) -> FloatArray:
    return shrink * own + (1 - shrink) * common


def _own_and_common(block: FloatArray, groups: IntArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """``[N, year]`` each: the shape of the series itself (its group's where it has none) and that of its group."""
    mean, whole = _lived_through(block)
    scaled = np.nan_to_num(block) / np.where(mean > 0, mean, 1.0)[:, None]
    own, common = np.full(block.shape, np.nan), np.full(block.shape, np.nan)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        complete = members[whole[members]]
        if len(complete):
            common[members] = own[members] = (mean[complete] / mean[complete].sum()) @ scaled[complete]
            own[complete] = _low_rank(scaled[complete], rank)
    return own, common


def _lived_through(block: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """``[N]`` mean of what was observed, and whether that is a whole year with sales."""
    observed = np.isfinite(block)
    mean = np.where(observed.any(1), np.nansum(block, 1) / np.maximum(observed.sum(1), 1), 0.0)
    return mean, (observed.mean(1) >= _WHOLE) & (mean > 0)


def _low_rank(shapes: FloatArray, rank: int) -> FloatArray:
    """The shapes denoised by their largest singular values; a few series are left as they are."""
    n = len(shapes)
    if n < _FEWEST_FOR_RANK or not rank:
        return shapes
    rank = min(rank, max(1, n // 3))
    u, s, vt = np.linalg.svd(shapes, full_matrices=False)
    result: FloatArray = (u[:, :rank] * s[:rank]) @ vt[:rank]
    return result


def best_grouping(block: FloatArray, candidates: dict[str, IntArray]) -> str:
    """The grouping whose mean shape of the others predicts a series' own shape best.

    Parameters
    ----------
    block : ``[N, year]`` the last year of sales. candidates : column name -> ``[N]`` codes.

    Returns
    -------
    Name of the candidate with the smallest leave-one-out absolute error, weighted by sales; the coarsest one where no
    series lived through the year.
    """
    block = np.maximum(block, 0.0)
    mean, whole = _lived_through(block)
    if not whole.any():
        return min(candidates, key=lambda name: len(np.unique(candidates[name])))
    sales, level = np.nan_to_num(block[whole]), mean[whole]
    errors = {name: _leave_one_out(sales, level, codes[whole]) for name, codes in candidates.items()}
    return min(errors, key=lambda name: (errors[name], name))


def best_options(y: FloatArray, groups: IntArray, frequency: Frequency, days: IntArray) -> ProfileOptions:
    """How much of a series' own shape to believe: what forecast the latest periods of the history best.

    The latest periods, a year of them at most, are forecast from what lies before; only the shape is judged, so each
    series' forecasts are scaled to its actual total. Few, large and steady series (departments, stores) are best left
    as they are, many small ones need their group. With less than a year and eight periods the defaults stand.

    Parameters
    ----------
    y : ``[N, T]`` sales. groups : ``[N]`` codes. days : day numbers of at least the T periods.
    """
    n_ahead = min(y.shape[1] - frequency.year_length, frequency.year_length)
    if n_ahead < _FEWEST_TO_CHOOSE:
        return _DEFAULT
    steps = np.arange(1, n_ahead + 1)
    past, actual = y[:, :-n_ahead], np.maximum(y[:, -n_ahead:], 0.0)
    shapes: _Shapes = {}

    def error(options: ProfileOptions) -> float:
        found = seasonal_profile(past, groups, frequency, days, steps, options, shapes)
        known = np.isfinite(found) & np.isfinite(actual)
        found, true = np.where(known, found, 0.0), np.where(known, actual, 0.0)
        scale = true.sum(1) / np.maximum(found.sum(1), _FLOOR)
        return float(np.abs(true - scale[:, None] * found).sum())

    return min(_CHOICES, key=lambda options: (error(options), abs(options.shrink - _DEFAULT.shrink)))


def _leave_one_out(sales: FloatArray, level: FloatArray, codes: IntArray) -> float:
    """Absolute error of each series' shape against that of the others in its group, weighted by sales."""
    _, code = np.unique(codes, return_inverse=True)
    total = np.zeros((code.max() + 1, sales.shape[1]))
    np.add.at(total, code, sales)
    others = np.bincount(code, weights=level)[code] - level
    is_alone = others <= 1e-9
    shape = np.where(is_alone[:, None], 1.0, (total[code] - sales) / np.where(is_alone, 1.0, others)[:, None])
    return float((np.abs(sales / level[:, None] - shape).mean(1) * level).sum())


def _recent_level(sales: FloatArray, shape: FloatArray, half_life: float) -> FloatArray:
    """Weighted sales over weighted shape, recent periods first; from the first observation of each series on."""
    weight = 0.5 ** (np.arange(sales.shape[1])[::-1] / half_life)
    observed = np.isfinite(sales) & np.isfinite(shape)
    top = (np.where(observed, sales, 0.0) * weight).sum(1)
    bottom = (np.where(observed, shape, 0.0) * weight).sum(1)
    return np.where(bottom > 1e-9, top / np.maximum(bottom, 1e-9), np.nan)
