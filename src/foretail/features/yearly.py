"""The same season of years before, moved so that Easter and the days before Christmas fall where they fall this year."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.features.calendar import easter_days
from foretail.features.cube import Sums

__all__ = ["aligned_year_ago", "year_lag"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def year_lag(frequency: Frequency, steps: IntArray) -> IntArray:
    """Whole years back in periods, far enough that the value is known at the cutoff: ``[H]``."""
    year = frequency.year_length
    result: IntArray = -(-steps // year) * year
    return result


def aligned_year_ago(sums: Sums, frequency: Frequency, days: IntArray, known: int, steps: IntArray) -> FloatArray:
    """The value a year before each step, Easter matched to Easter and the run-up to Christmas to the same day count.

    Parameters
    ----------
    sums : prefix sums of ``[N, T]`` values. days : ``[T + H]`` last day of each period, as day numbers.
    known : columns that are known. steps : ``[H]``.

    Returns
    -------
    ``[N, H]``; NaN where the year before was not observed.
    """
    target = known - 1 + steps
    plain = target - year_lag(frequency, steps)
    if frequency.is_monthly:
        return sums.mean(plain, plain + 1, known)
    unit = 1 if frequency.is_daily else 7
    source = plain.copy()
    easters = easter_days(days)
    offset = _easter_offset(days[target], easters, unit)
    near = (offset >= -14 // unit) & (offset <= 7 // unit)
    # the shift between this Easter and the one before it, minus the lag already taken
    this = np.array([easters[np.abs(easters - day).argmin()] for day in days[target]])
    before = np.array([easters[easters < day].max() if (easters < day).any() else day for day in this])
    moved = target - (this - before) // unit
    source = np.where(near & (moved < known) & (before < this), moved, source)
    result = sums.mean(source, source + 1, known)
    # an ordinary period whose year-ago twin was an Easter period: take its neighbours instead
    twin = np.clip(plain, 0, len(days) - 1)
    stale = ~near & (np.abs(_easter_offset(days[twin], easters, unit)) <= 7 // unit) & (plain >= 0)
    if stale.any():
        reach = 21 // unit
        sides = [sums.mean(plain + side, plain + side + 1, known) for side in (-reach, reach)]
        both = np.where(np.isfinite(sides[0]) & np.isfinite(sides[1]), (sides[0] + sides[1]) / 2, sides[0])
        result = np.where(stale[None, :] & np.isfinite(both), both, result)
    if frequency.is_weekly:
        share = _christmas_share(days[target])
        earlier = sums.mean(plain - 1, plain, known)
        shifted = (1 - share) * result + share * earlier
        result = np.where((share > 0)[None, :] & np.isfinite(shifted), shifted, result)
    return result


def _easter_offset(days: IntArray, easters: IntArray, unit: int) -> IntArray:
    distance = days[:, None] - easters[None, :]
    nearest = np.take_along_axis(distance, np.abs(distance).argmin(1)[:, None], 1)[:, 0]
    return nearest // unit


def _christmas_share(days: IntArray) -> FloatArray:
    """How much of a week before Christmas belongs to the week before its year-ago twin: days moved / 7.

    52 weeks are 364 days, so Christmas falls one or two weekdays later each year and the week has that many fewer
    shopping days behind it.
    """
    share = np.zeros(len(days))
    years = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    for add in (0, 1):
        christmas = np.array([np.datetime64(f"{year - add}-12-25", "D").astype(int) for year in years])
        before = np.array([np.datetime64(f"{year - add - 1}-12-25", "D").astype(int) for year in years])
        inside = (days - christmas >= -28) & (days - christmas <= 6)
        moved = (christmas - before) - 364
        share = np.where(inside, moved / 7.0, share)
    return share
