"""Calendar features of the time line: weekday, season, days of the month, Easter, Christmas, public holidays."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from dateutil.easter import easter

from foretail.core.frequency import Frequency

__all__ = ["Calendar", "calendar_of", "easter_days", "holiday_days"]

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

_NEAR_DAYS = 35  # a holiday further away than this says nothing


@dataclass(frozen=True)
class Calendar:
    """Features of each column of a panel and of its future; every array is ``[T + H]``.

    Attributes
    ----------
    phase : position in the short season (weekday for daily data, 0 otherwise).
    names, values : the features themselves, float32.
    days : day number (since 1970-01-01) of the last day of each period.
    """

    phase: IntArray
    names: tuple[str, ...]
    values: tuple[Float32Array, ...]
    days: IntArray


def calendar_of(frequency: Frequency, start: int, n: int, country: str | None) -> Calendar:
    """Calendar of ``n`` periods from period index ``start`` on."""
    dates = frequency.to_date(start + np.arange(n))
    day = dates.astype("datetime64[D]").astype(np.int64)
    month = dates.astype("datetime64[M]").astype(np.int64)
    month_start = dates.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    next_month = (dates.astype("datetime64[M]") + 1).astype("datetime64[D]").astype(np.int64)
    year_start = dates.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    weekday = (day + 3) % 7
    features: dict[str, IntArray] = {"month": month % 12 + 1}
    if not frequency.is_monthly:
        features |= {
            "week_of_year": (day - year_start) // 7 + 1,
            "day_of_month": day - month_start + 1,
            "days_to_month_end": next_month - day,
        }
    if frequency.is_daily:
        features |= {"weekday": weekday, "day_of_year": day - year_start + 1}
    if frequency.is_weekly:
        features["month_start_days"] = _month_start_days(day)
    unit = 1 if frequency.is_daily else 7 if frequency.is_weekly else 30
    reach = _NEAR_DAYS // unit if frequency.is_daily else 5
    features["easter_offset"] = _signed_offset(day, easter_days(day), unit, reach)
    features["christmas_offset"] = _signed_offset(day, _fixed_days(day, 12, 25), unit, reach)
    if country:
        found = holiday_days(day, country)
        features["holiday_in"], features["holiday_ago"] = _distances(day, found, unit, reach)
        features["holidays"] = _count_inside(day, found, unit)
    phase = weekday if frequency.is_daily else np.zeros(n, dtype=np.int64)
    values = tuple(item.astype(np.float32) for item in features.values())
    return Calendar(phase, tuple(features), values, day)


def easter_days(day: IntArray) -> IntArray:
    """Day numbers of every Western Easter Sunday around the given days."""
    return np.array([_number(easter(year)) for year in _years(day)], dtype=np.int64)


def holiday_days(day: IntArray, country: str) -> IntArray:
    """Day numbers of the public holidays of a country (ISO code) around the given days, ascending."""
    import holidays

    found = holidays.country_holidays(country, years=list(_years(day)))
    return np.array(sorted(_number(date) for date in found), dtype=np.int64)


def _years(day: IntArray) -> range:
    first, last = (np.datetime64(int(item), "D").astype("datetime64[Y]").astype(int) + 1970 for item in (day[0], day[-1]))
    return range(int(first) - 1, int(last) + 2)


def _number(date: dt.date) -> int:
    return (date - dt.date(1970, 1, 1)).days


def _fixed_days(day: IntArray, month: int, of_month: int) -> IntArray:
    return np.array([_number(dt.date(year, month, of_month)) for year in _years(day)], dtype=np.int64)


def _signed_offset(day: IntArray, events: IntArray, unit: int, reach: int) -> IntArray:
    """Periods from the nearest event (negative before it), clipped to ± reach.

    A period of several days that holds the event has offset 0.
    """
    distance = day[:, None] - events[None, :]
    nearest = np.take_along_axis(distance, np.abs(distance).argmin(1)[:, None], 1)[:, 0]
    return np.clip(nearest // unit, -reach, reach)


def _distances(day: IntArray, events: IntArray, unit: int, reach: int) -> tuple[IntArray, IntArray]:
    """Periods until the next event and since the last one (0 = inside the period), capped at reach."""
    after = np.searchsorted(events, day - unit + 1)
    before = np.searchsorted(events, day, side="right") - 1
    padded = np.append(events, events[-1] + 10_000) if len(events) else np.array([10**7])
    until = np.maximum(padded[np.minimum(after, len(padded) - 1)] - day, 0)
    since = day - padded[np.maximum(before, 0)]
    since = np.where(before < 0, reach * unit, np.maximum(since, 0))
    return np.minimum(-(-until // unit), reach), np.minimum(since // unit, reach)


def _count_inside(day: IntArray, events: IntArray, unit: int) -> IntArray:
    return np.searchsorted(events, day, side="right") - np.searchsorted(events, day - unit + 1)


def _month_start_days(day: IntArray) -> IntArray:
    """Days 1 to 3 of a month among the seven days up to and with each day (pay days move weekly sales)."""
    week = day[:, None] - np.arange(7)[None, :]
    dates = week.astype("datetime64[D]")
    of_month = (dates - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    return (of_month <= 3).sum(1)
