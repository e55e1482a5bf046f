"""Calendar features of the time line: weekday, season, days of the month, Easter, Christmas, public holidays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.sources.country import public_holidays

__all__ = ["Calendar", "calendar_of", "christmas_day", "easter_days", "holiday_days", "nearest_offset"]

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

_NEAR_DAYS = 35  # a holiday further away than five weeks says nothing
_EASTER_DAYS = 63  # from Carnival (47 days before) to Corpus Christi (60 days after) holidays move with Easter
_NEAR_PERIODS = 5  # the same for weeks; months are too coarse to need more
_PAY_DAYS = 3  # days at the start of a month that move weekly sales


@dataclass(frozen=True)
class Calendar:
    """Features of each column of a panel and of its future; every array is ``[T + H]``.

    Attributes
    ----------
    phase : position in the short season (weekday for daily data, Monday = 0; 0 otherwise).
    names, values : the features themselves, float32.
    days : day number (since 1970-01-01) of the last day of each period.
    holidays : ``[K]`` day numbers of the public holidays around them, ascending; none without a country.
    """

    phase: IntArray
    names: tuple[str, ...]
    values: tuple[Float32Array, ...]
    days: IntArray
    holidays: IntArray


def calendar_of(frequency: Frequency, start: int, n: int, country: str | None) -> Calendar:
    """Calendar of ``n`` periods from period index ``start`` on.

    Parameters
    ----------
    country : ISO code whose public holidays are features; None for none.

    Raises
    ------
    UsageError : a country whose holidays are not known.
    """
    day = _last_days(frequency, start + np.arange(n))
    holidays = holiday_days(day, country) if country else np.empty(0, dtype=np.int64)
    features = _season(frequency, day) | _feasts(frequency, day, holidays if country else None)
    phase = _weekday(day) if frequency.is_daily else np.zeros(n, dtype=np.int64)
    values = tuple(item.astype(np.float32) for item in features.values())
    return Calendar(phase, tuple(features), values, day, holidays)


def _last_days(frequency: Frequency, index: IntArray) -> IntArray:
    """Day number of the last day of each period; a month ends on its last day whichever day labels it."""
    if frequency.is_monthly:
        return _day_number((index + 1).astype("datetime64[M]")) - 1
    return _day_number(frequency.to_date(index))


def _day_number(dates: npt.NDArray[np.datetime64]) -> IntArray:
    return dates.astype("datetime64[D]").astype(np.int64)


def _weekday(day: IntArray) -> IntArray:
    return (day + 3) % 7  # 1970-01-01 was a Thursday


def _season(frequency: Frequency, day: IntArray) -> dict[str, IntArray]:
    """Where each period lies in its year, month and week."""
    month = _month(day)
    month_start, next_month = (_day_number(item.astype("datetime64[M]")) for item in (month, month + 1))
    year_start = _day_number(day.astype("datetime64[D]").astype("datetime64[Y]"))
    features = {"month": month % 12 + 1}
    if not frequency.is_monthly:
        features |= {
            "week_of_year": (day - year_start) // 7 + 1,
            "day_of_month": day - month_start + 1,
            "days_to_month_end": next_month - day,
        }
    if frequency.is_daily:
        features |= {"weekday": _weekday(day), "day_of_year": day - year_start + 1}
    if frequency.is_weekly:
        features["month_start_days"] = _month_start_days(day)
    return features


def _month_start_days(day: IntArray) -> IntArray:
    """First days of a month among the seven days up to and with each day (pay days move weekly sales)."""
    dates = (day[:, None] - np.arange(7)[None, :]).astype("datetime64[D]")
    of_month = _day_number(dates) - _day_number(dates.astype("datetime64[M]")) + 1
    count: IntArray = (of_month <= _PAY_DAYS).sum(1)
    return count


def _feasts(frequency: Frequency, day: IntArray, found: IntArray | None) -> dict[str, IntArray]:
    """Distances to Easter, Christmas and the public holidays, in periods."""
    easters, christmases = easter_days(day), christmas_day(np.array(_years(day)) - 1970)
    if frequency.is_monthly:  # months have no length in days: count months
        day, easters, christmases = _month(day), _month(easters), _month(christmases)
        found = None if found is None else _month(found)
    unit = 7 if frequency.is_weekly else 1
    reach = _NEAR_DAYS if frequency.is_daily else _NEAR_PERIODS
    easter_reach = _EASTER_DAYS if frequency.is_daily else reach
    features = {
        "easter_offset": np.clip(nearest_offset(day, easters, unit), -easter_reach, easter_reach),
        "christmas_offset": np.clip(nearest_offset(day, christmases, unit), -reach, reach),
    }
    if found is not None:
        features["holiday_in"], features["holiday_ago"] = _distances(day, found, unit, reach)
        features["holidays"] = _count_inside(day, found, unit)
    return features


def _month(day: IntArray) -> IntArray:
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def easter_days(day: IntArray) -> IntArray:
    """Day numbers of the Western Easter Sundays of the years around the given days, ascending.

    Source: the anonymous Gregorian computus (Meeus, *Astronomical Algorithms*, chapter 8).
    """
    year = np.array(_years(day), dtype=np.int64)
    golden, century, in_century = year % 19, year // 100, year % 100
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - century // 4 - correction + 15) % 30
    to_sunday = (32 + 2 * (century % 4) + 2 * (in_century // 4) - epact - in_century % 4) % 7
    late = (golden + 11 * epact + 22 * to_sunday) // 451
    since_march = epact + to_sunday - 7 * late + 114
    months = (year - 1970) * 12 + since_march // 31 - 1
    sunday: IntArray = _day_number(months.astype("datetime64[M]")) + since_march % 31
    return sunday


def christmas_day(year: IntArray) -> IntArray:
    """Day number of 25 December; years are counted from 1970."""
    return _day_number((year * 12 + 11).astype("datetime64[M]")) + 24


def holiday_days(day: IntArray, country: str) -> IntArray:
    """Day numbers of the public holidays of a country (ISO code) around the given days, ascending.

    Raises
    ------
    UsageError : a country whose holidays are not known.
    """
    years = _years(day)
    return np.array(public_holidays(country, years[0], years[-1]), dtype=np.int64)


def _years(day: IntArray) -> range:
    """The years of ascending days, with one more at either end."""
    first, last = (int(np.datetime64(int(item), "D").astype("datetime64[Y]").astype(int)) for item in (day[0], day[-1]))
    return range(first + 1970 - 1, last + 1970 + 2)


def nearest_offset(day: IntArray, events: IntArray, unit: int) -> IntArray:
    """Periods of ``unit`` days from the nearest event (negative before it); 0 where the period holds it.

    Parameters
    ----------
    day : ``[T]`` last day of each period. events : day numbers, at least one.
    """
    distance = day[:, None] - events[None, :]
    nearest = np.take_along_axis(distance, np.abs(distance).argmin(1)[:, None], 1)[:, 0]
    periods: IntArray = nearest // unit
    return periods


def _distances(day: IntArray, events: IntArray, unit: int, reach: int) -> tuple[IntArray, IntArray]:
    """Periods until the next event and since the last one (0 = inside the period), capped at reach."""
    far = np.array([np.iinfo(np.int32).max], dtype=np.int64)
    padded = np.concatenate([-far, events, far])
    after = padded[np.searchsorted(events, day - unit + 1) + 1]
    before = padded[np.searchsorted(events, day, side="right")]
    until = np.maximum(after - day, 0)
    return np.minimum(-(-until // unit), reach), np.minimum((day - before) // unit, reach)


def _count_inside(day: IntArray, events: IntArray, unit: int) -> IntArray:
    return np.searchsorted(events, day, side="right") - np.searchsorted(events, day - unit + 1)
