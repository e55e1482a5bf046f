"""The same season of years before, moved so that Easter and the days around Christmas fall as they do this year."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.features.calendar import christmas_day, easter_days, nearest_offset
from foretail.features.cube import Sums

__all__ = ["aligned_year_ago", "year_lag"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# days around Easter Sunday in which sales follow Easter and not the date; days away at which they no longer do
_EASTER_BEFORE, _EASTER_AFTER, _EASTER_CLEAR = 14, 7, 21
_CHRISTMAS_BEFORE, _CHRISTMAS_AFTER = 28, 6  # days around 25 December in which a weekday moved changes a week
_FEAST_BEFORE, _FEAST_AFTER = 7, 8  # days around it, to 2 January, that follow the date and not the weekday
_BESIDE = 1  # days before and after a public holiday that follow it
_NONE = np.empty(0, dtype=np.int64)
# days from Easter of holidays that move with it, and the days beside them: Carnival, Ascension, Whitsun, Corpus Christi
_MOVING_DAYS = (-48, -47, -46, 38, 39, 40, 49, 50, 51, 59, 60, 61)


def year_lag(frequency: Frequency, steps: IntArray) -> IntArray:
    """Whole years back in periods, far enough that the value is known at the cutoff: ``[H]``."""
    year = frequency.year_length
    result: IntArray = -(-steps // year) * year
    return result


def aligned_year_ago(
    sums: Sums,
    frequency: Frequency,
    days: IntArray,
    known: int,
    steps: IntArray,
    years: int = 1,
    holidays: IntArray = _NONE,
) -> FloatArray:
    """The value a year before each step: Easter matched to Easter, days around Christmas to the same date.

    Weeks before Christmas are matched to the same count of days before it.

    Parameters
    ----------
    sums : prefix sums of ``[N, T]`` values. days : ``[T + H]`` last day of each period, as day numbers.
    known : columns that are known. steps : ``[H]``. years : 1 for the last year that is known at a step, 2 for the one
        before it. holidays : day numbers of public holidays, ascending; days beside those of a fixed date follow it.

    Returns
    -------
    ``[N, H]``; NaN where the year before was not observed.
    """
    target = known - 1 + steps
    back = year_lag(frequency, steps) // frequency.year_length + years - 1
    plain = target - back * frequency.year_length
    if frequency.is_monthly:
        return sums.mean(plain, plain + 1, known)
    unit = 1 if frequency.is_daily else 7
    easters = easter_days(days)
    offset = nearest_offset(days[target], easters, unit)
    is_easter = (offset >= -_EASTER_BEFORE // unit) & (offset <= _EASTER_AFTER // unit)
    if frequency.is_daily:
        is_easter |= np.isin(offset, _MOVING_DAYS)
    moved = target - _easter_shift(days[target], easters, back) // unit
    source = np.where(is_easter & (moved < known) & (moved < target), moved, plain)
    result = sums.mean(source, source + 1, known)
    twin = np.clip(plain, 0, len(days) - 1)
    before = nearest_offset(days[twin], easters, unit)
    was_easter = np.abs(before) <= _EASTER_AFTER // unit
    if frequency.is_daily:
        was_easter |= np.isin(before, _MOVING_DAYS)
    stale = ~is_easter & was_easter & (plain >= 0)
    result = _without(result, sums, plain, stale, known, _EASTER_CLEAR // unit)
    if frequency.is_weekly:
        return _with_christmas(result, sums, plain, days[target], known, back)
    if len(holidays):
        result = _with_holidays(result, sums, target, plain, days[target], known, back, holidays)
    return _with_feast(result, sums, target, days[target], known, back)


def _easter_shift(days: IntArray, easters: IntArray, back: IntArray) -> IntArray:
    """Days to the nearest Easter from the one so many years before it; from the first one where none is known."""
    this = np.abs(days[:, None] - easters[None, :]).argmin(1)
    shift: IntArray = easters[this] - easters[np.maximum(this - back, 0)]
    return shift


def _without(value: FloatArray, sums: Sums, plain: IntArray, stale: BoolArray, known: int, reach: int) -> FloatArray:
    """An ordinary period whose twin was a holiday takes the mean of two ordinary neighbours of that instead."""
    if not stale.any():
        return value
    before, after = (sums.mean(plain + side, plain + side + 1, known) for side in (-reach, reach))
    both = np.where(np.isfinite(before) & np.isfinite(after), (before + after) / 2, before)
    return np.where(stale[None, :] & np.isfinite(both), both, value)


def _with_christmas(
    value: FloatArray, sums: Sums, plain: IntArray, days: IntArray, known: int, back: IntArray
) -> FloatArray:
    """Weeks around Christmas take a part of the week before their twin of an earlier year."""
    share = _christmas_share(days, back)
    earlier = sums.mean(plain - 1, plain, known)
    shifted = (1 - share) * value + share * earlier
    return np.where((share > 0)[None, :] & np.isfinite(shifted), shifted, value)


def _with_holidays(
    value: FloatArray,
    sums: Sums,
    target: IntArray,
    plain: IntArray,
    days: IntArray,
    known: int,
    back: IntArray,
    holidays: IntArray,
) -> FloatArray:
    """Days beside a holiday of a fixed date take that date; others whose twin was one the weeks around it."""
    nearest = holidays[np.abs(days[:, None] - holidays[None, :]).argmin(1)]
    earlier = _same_date(nearest, back)
    beside = (np.abs(days - nearest) <= _BESIDE) & np.isin(earlier, holidays)
    was = days - (target - plain)
    stale = ~np.isin(days, holidays) & np.isin(was, holidays) & np.isin(_same_date(was, -back), holidays)
    value = _without(value, sums, plain, stale & ~beside, known, 7)
    return _dated(value, sums, beside, target - (nearest - earlier), known)


def _dated(value: FloatArray, sums: Sums, chosen: BoolArray, twin: IntArray, known: int) -> FloatArray:
    """The chosen days take the value of their twin, where that was observed."""
    dated = sums.mean(twin, twin + 1, known)
    return np.where(chosen[None, :] & np.isfinite(dated), dated, value)


def _same_date(days: IntArray, back: IntArray) -> IntArray:
    """Day numbers of the same day of the same month, so many years before."""
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    of_month = days - months.astype("datetime64[D]").astype(np.int64)
    first: IntArray = (months - (12 * back).astype("timedelta64[M]")).astype("datetime64[D]").astype(np.int64)
    return first + of_month


def _with_feast(
    value: FloatArray, sums: Sums, target: IntArray, days: IntArray, known: int, back: IntArray
) -> FloatArray:
    """Days around Christmas take the same date of the earlier year, where it was observed."""
    year = _year(days)
    for ago in (0, 1):
        christmas = christmas_day(year - ago)
        inside = (days - christmas >= -_FEAST_BEFORE) & (days - christmas <= _FEAST_AFTER)
        value = _dated(value, sums, inside, target - (christmas - christmas_day(year - ago - back)), known)
    return value


def _christmas_share(days: IntArray, back: IntArray) -> FloatArray:
    """How much of a week before Christmas belongs to the week before its twin so many years ago: days moved / 7.

    52 weeks are 364 days, so Christmas falls one or two weekdays later each year and the week has that many fewer
    shopping days behind it.
    """
    share = np.zeros(len(days))
    year = _year(days)
    for ago in (0, 1):
        christmas, before = christmas_day(year - ago), christmas_day(year - ago - back)
        inside = (days - christmas >= -_CHRISTMAS_BEFORE) & (days - christmas <= _CHRISTMAS_AFTER)
        share = np.where(inside, (christmas - before - 364 * back) / 7.0, share)
    return share


def _year(days: IntArray) -> IntArray:
    """Years since 1970."""
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)
