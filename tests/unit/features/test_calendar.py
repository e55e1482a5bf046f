"""Calendar features and the holiday-aligned year ago, on real dates."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from foretail.core.errors import UsageError
from foretail.core.frequency import Frequency
from foretail.features.calendar import Calendar, calendar_of, easter_days, holiday_days
from foretail.features.cube import Sums
from foretail.features.yearly import aligned_year_ago, year_lag

EASTERS = [  # from almanacs; 2008 and 2011 are among the earliest and latest there can be
    "2000-04-23", "2005-03-27", "2008-03-23", "2010-04-04", "2011-04-24", "2012-04-08", "2013-03-31", "2014-04-20",
    "2015-04-05", "2016-03-27", "2017-04-16", "2018-04-01", "2019-04-21", "2020-04-12", "2024-03-31", "2025-04-20",
]  # fmt: skip


def number(date: str) -> int:
    return int(np.datetime64(date, "D").astype(np.int64))


def calendar(code: str, first: str, n: int, country: str | None = None) -> Calendar:
    frequency = Frequency(code)
    start = int(frequency.to_index(np.array(first, dtype="datetime64[D]")))
    return calendar_of(frequency, start, n, country)


def value(found: Calendar, name: str) -> list[float]:
    return found.values[found.names.index(name)].tolist()


def test_easter_sundays() -> None:
    found = easter_days(np.array([number("2000-01-01"), number("2025-12-31")]))
    assert {number(date) for date in EASTERS} <= set(found.tolist())
    assert len(found) == 28
    assert (np.diff(found) > 300).all()
    assert ((found + 3) % 7 == 6).all()  # Sundays


def test_easter_agrees_with_an_independent_rule_for_two_centuries() -> None:
    rule = pytest.importorskip("dateutil.easter").easter
    found = easter_days(np.array([number("1901-01-01"), number("2099-12-31")]))
    assert found.tolist() == [(rule(year) - dt.date(1970, 1, 1)).days for year in range(1900, 2101)]


def test_days() -> None:
    found = calendar("D", "2024-02-27", 5)
    assert value(found, "weekday") == [1, 2, 3, 4, 5]
    assert found.phase.tolist() == [1, 2, 3, 4, 5]
    assert value(found, "day_of_month") == [27, 28, 29, 1, 2]
    assert value(found, "days_to_month_end") == [3, 2, 1, 31, 30]
    assert value(found, "day_of_year") == [58, 59, 60, 61, 62]
    assert value(found, "month") == [2, 2, 2, 3, 3]
    assert value(found, "easter_offset") == [-33, -32, -31, -30, -29]


def test_weeks() -> None:
    found = calendar("W-FRI", "2015-12-11", 5)
    assert found.phase.tolist() == [0] * 5
    # the weeks that end on 11, 18, 25 December and 1, 8 January
    assert value(found, "christmas_offset") == [-2, -1, 0, 1, 2]
    assert value(found, "month_start_days") == [0, 0, 0, 1, 2]
    assert value(found, "week_of_year") == [50, 51, 52, 1, 2]


@pytest.mark.parametrize("code", ["MS", "ME"])
def test_months_are_the_same_whichever_day_labels_them(code: str) -> None:
    found = calendar(code, "2023-11-15", 6, "DE")
    assert value(found, "month") == [11, 12, 1, 2, 3, 4]
    assert value(found, "christmas_offset") == [-1, 0, 1, 2, 3, 4]
    assert value(found, "easter_offset") == [-4, -3, -2, -1, 0, 1]  # 31 March 2024
    assert value(found, "holidays") == [0, 2, 1, 0, 1, 1]  # Good Friday in March, Easter Monday in April
    assert found.days[0] == number("2023-11-30")
    assert found.days[3] == number("2024-02-29")


def test_distances_to_public_holidays() -> None:
    found = calendar("D", "2024-04-29", 12, "DE")
    may_day, ascension = number("2024-05-01"), number("2024-05-09")
    assert [may_day, ascension] == [
        day for day in holiday_days(found.days, "DE").tolist() if found.days[0] <= day <= found.days[-1]
    ]
    assert value(found, "holiday_in") == [2, 1, 0, 7, 6, 5, 4, 3, 2, 1, 0, 10]
    assert value(found, "holiday_ago") == [28, 29, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1]  # Easter Monday was 1 April
    assert value(found, "holidays") == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]


def test_public_holidays_inside_weeks() -> None:
    found = calendar("W-SUN", "2024-03-24", 4, "DE")
    assert value(found, "holidays") == [0, 1, 1, 0]  # Good Friday, Easter Monday
    assert value(found, "holiday_in") == [1, 0, 0, 3]
    assert value(found, "holiday_ago") == [5, 0, 0, 1]


def test_a_country_without_known_holidays_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"public holidays of 'XX' are not known\.\n  where: .*\n  fix: "):
        calendar("D", "2024-01-01", 3, "XX")


def test_year_lags_reach_back_far_enough() -> None:
    steps = np.arange(1, 800)
    lag = year_lag(Frequency("D"), steps)
    assert (lag % 364 == 0).all()
    assert (steps - lag <= 0).all()
    assert (steps - lag > -364).all()


@pytest.mark.parametrize("year", [2014, 2015, 2016, 2017, 2018, 2019])
@pytest.mark.parametrize("code", ["D", "W-SUN", "W-FRI", "W-MON"])
def test_easter_looks_back_at_easter(code: str, year: int) -> None:
    """Sales that are 1 in the period of Easter Sunday and 0 otherwise are told without error."""
    frequency = Frequency(code)
    first, last, end = (f"{year - 2}-01-10", f"{year}-02-20", f"{year}-06-20")
    start, known_end, ahead_end = (
        int(frequency.to_index(np.array(day, dtype="datetime64[D]"))) for day in (first, last, end)
    )
    known, h = known_end - start + 1, ahead_end - known_end
    days = frequency.to_date(start + np.arange(known + h)).astype(np.int64)
    unit = 1 if code == "D" else 7
    sundays = [number(date) for date in EASTERS] + [number("2018-04-01")]
    is_easter = np.array([any(0 <= day - sunday < unit for sunday in sundays) for day in days])
    found = aligned_year_ago(Sums(is_easter[None, :known].astype(float)), frequency, days, known, np.arange(1, h + 1))
    np.testing.assert_array_equal(found[0], is_easter[known:].astype(float))


@pytest.mark.parametrize("year", [2015, 2016, 2017])
@pytest.mark.parametrize("years", [1, 2])
def test_days_around_christmas_look_back_at_their_date(year: int, years: int) -> None:
    """Sales that are the day of the month from 18 December to 2 January, on whatever weekday that was."""
    frequency = Frequency("D")
    start, known_end, ahead_end = (number(day) for day in (f"{year - 3}-06-01", f"{year}-12-01", f"{year + 1}-01-20"))
    known, h = known_end - start + 1, ahead_end - known_end
    days = np.arange(start, ahead_end + 1)
    dates = days.astype("datetime64[D]")
    of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1.0
    in_december = dates.astype("datetime64[M]").astype(np.int64) % 12 == 11
    is_feast = np.where(in_december, of_month >= 18, of_month <= 2)
    sales = np.where(is_feast, of_month, 0.0)[None, :known]
    found = aligned_year_ago(Sums(sales), frequency, days, known, np.arange(1, h + 1), years)
    ahead = is_feast[known:]
    assert ahead.sum() == 16
    np.testing.assert_array_equal(found[0, ahead], of_month[known:][ahead])


@pytest.mark.parametrize("year", [2014, 2015, 2016])  # 2016 has a leap day
def test_public_holidays_of_a_fixed_date_look_back_at_it(year: int) -> None:
    """Sales that are 0 on 1 May and 3 October, 2 on the days beside them and 1 otherwise."""
    frequency = Frequency("D")
    start, known_end, ahead_end = (number(day) for day in (f"{year - 2}-03-01", f"{year}-04-20", f"{year}-12-10"))
    known, h = known_end - start + 1, ahead_end - known_end
    days = np.arange(start, ahead_end + 1)
    feasts = np.array([number(f"{year - back}-{date}") for back in (2, 1, 0) for date in ("05-01", "10-03")])
    sales = np.ones((1, len(days)))
    sales[0, np.isin(days, [*(feasts - 1), *(feasts + 1)])] = 2.0
    sales[0, np.isin(days, feasts)] = 0.0
    steps = np.arange(1, h + 1)
    holidays = np.sort(feasts)
    found = aligned_year_ago(Sums(sales[:, :known]), frequency, days, known, steps, holidays=holidays)
    beside = np.abs(days[known:, None] - feasts[None, :]).min(1) <= 1
    assert beside.sum() == 6
    np.testing.assert_array_equal(found[0, beside], sales[0, known:][beside])
    was = np.isin(days[known:] - 364, feasts) & ~beside  # an ordinary day whose weekday was a holiday
    np.testing.assert_array_equal(found[0, was], 1.0)


@pytest.mark.parametrize("code", ["W-SUN", "W-FRI", "W-TUE"])
@pytest.mark.parametrize("year", [2015, 2016, 2017])
def test_the_run_up_to_christmas_has_as_many_days_as_this_year(code: str, year: int) -> None:
    """Daily sales that grow linearly towards Christmas: the weeks before it are told without error."""
    frequency = Frequency(code)
    start, known_end, ahead_end = (
        int(frequency.to_index(np.array(day, dtype="datetime64[D]")))
        for day in (f"{year - 2}-06-01", f"{year}-10-31", f"{year}-12-20")
    )
    known, h = known_end - start + 1, ahead_end - known_end
    days = frequency.to_date(start + np.arange(known + h)).astype(np.int64)
    christmas = np.array([number(f"{year - back}-12-25") for back in (2, 1, 0)])
    left = christmas[None, :] - days[:, None]
    to_christmas = np.where(left >= 0, left, 10**6).min(1)
    sales = (1000.0 - 7 * to_christmas)[None, :]
    found = aligned_year_ago(Sums(sales[:, :known]), frequency, days, known, np.arange(1, h + 1))
    near = (to_christmas[known:] >= 3) & (to_christmas[known:] <= 26)
    assert near.sum() >= 3
    np.testing.assert_allclose(found[0, near], sales[0, known:][near])


def test_months_and_missing_years_look_back_plainly() -> None:
    frequency = Frequency("MS")
    values = np.arange(30.0)[None, :]
    found = aligned_year_ago(Sums(values), frequency, np.zeros(36, dtype=np.int64), 30, np.arange(1, 7))
    assert found[0].tolist() == [18, 19, 20, 21, 22, 23]
    short = aligned_year_ago(Sums(values[:, :5]), frequency, np.zeros(11, dtype=np.int64), 5, np.arange(1, 7))
    assert np.isnan(short).all()
