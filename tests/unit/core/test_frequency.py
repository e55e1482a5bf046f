"""Frequencies against plain calendar arithmetic of the standard library."""

import calendar
import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.core.errors import UsageError
from foretail.core.frequency import Frequency

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
CODES = ("D", *(f"W-{day}" for day in WEEKDAYS), "MS", "ME")

codes = st.sampled_from(CODES)
days = st.dates(dt.date(1900, 1, 1), dt.date(2150, 12, 31))


def label(code: str, day: dt.date) -> dt.date:
    """The label of the period that holds a day, one day at a time."""
    if code == "D":
        return day
    if code == "MS":
        return day.replace(day=1)
    if code == "ME":
        return day.replace(day=calendar.monthrange(day.year, day.month)[1])
    while WEEKDAYS[day.weekday()] != code[2:]:
        day += dt.timedelta(days=1)
    return day


def as_array(*dates: dt.date) -> np.ndarray:
    return np.array(dates, dtype="datetime64[D]")


@given(codes, days)
def test_a_day_belongs_to_the_period_of_its_label(code, day):
    frequency = Frequency(code)
    found = frequency.to_date(frequency.to_index(as_array(day)))
    assert found.item(0) == label(code, day)
    assert found.dtype == np.dtype("datetime64[D]")


@given(codes, days)
def test_only_labels_are_on_the_grid(code, day):
    assert Frequency(code).is_on_grid(as_array(day)).item(0) == (label(code, day) == day)


@given(codes, st.integers(-5000, 5000))
def test_index_and_label_are_inverse(code, index):
    frequency = Frequency(code)
    assert frequency.to_index(frequency.to_date(index)) == index


@given(codes, days, days)
def test_indices_keep_the_order_of_days(code, one, other):
    earlier, later = sorted((one, other))
    first, second = Frequency(code).to_index(as_array(earlier, later))
    assert first <= second


@given(codes, days)
def test_consecutive_labels_have_no_gap_and_no_overlap(code, day):
    frequency = Frequency(code)
    this = frequency.shift(day, 0)
    following = frequency.shift(day, 1)
    assert this < following
    start = following if code == "MS" else this + dt.timedelta(days=1)
    # the day on which the following period begins is in it, and the day before is not
    after, before = frequency.to_index(as_array(start, start - dt.timedelta(days=1)))
    assert after - before == 1


@given(codes, days, st.integers(-500, 500), st.integers(-500, 500))
def test_shifts_add_up(code, day, a, b):
    frequency = Frequency(code)
    assert frequency.shift(frequency.shift(day, a), b) == frequency.shift(day, a + b)


@pytest.mark.parametrize(
    ("code", "day", "periods", "expected"),
    [
        ("D", dt.date(2024, 2, 28), 1, dt.date(2024, 2, 29)),
        ("D", dt.date(2023, 2, 28), 1, dt.date(2023, 3, 1)),
        ("W-FRI", dt.date(2012, 10, 26), 1, dt.date(2012, 11, 2)),
        ("W-FRI", dt.date(2012, 10, 27), 0, dt.date(2012, 11, 2)),
        ("ME", dt.date(2024, 1, 31), 1, dt.date(2024, 2, 29)),
        ("MS", dt.date(2024, 1, 15), -1, dt.date(2023, 12, 1)),
    ],
)
def test_shift(code, day, periods, expected):
    assert Frequency(code).shift(day, periods) == expected


def test_arrays_keep_their_shape():
    dates = as_array(dt.date(2024, 1, 1), dt.date(2024, 1, 2)).reshape(2, 1)
    assert Frequency("W-SUN").to_index(dates).shape == (2, 1)


@pytest.mark.parametrize(("given_code", "code"), [("W", "W-SUN"), ("M", "ME"), ("d", "D"), ("w-fri", "W-FRI")])
def test_short_and_lower_case_codes_are_understood(given_code, code):
    assert str(Frequency(given_code)) == code
    assert Frequency(given_code) == Frequency(code)


@pytest.mark.parametrize("code", ["", "H", "W-FRY", "Q", "2D"])
def test_an_unknown_code_names_those_known(code):
    with pytest.raises(UsageError, match="unknown frequency") as caught:
        Frequency(code)
    assert "W-FRI" in str(caught.value)


def test_the_probable_code_is_proposed():
    with pytest.raises(UsageError, match="did you mean 'W-FRI'"):
        Frequency("W-FR")


@pytest.mark.parametrize(
    ("code", "season", "year", "noun"), [("D", 7, 364, "day"), ("W-WED", 52, 52, "week"), ("ME", 12, 12, "month")]
)
def test_seasons(code, season, year, noun):
    frequency = Frequency(code)
    assert (frequency.season_length, frequency.year_length, frequency.noun) == (season, year, noun)
    assert [frequency.is_daily, frequency.is_weekly, frequency.is_monthly].count(True) == 1
    assert frequency.year_length * frequency.days == pytest.approx(365, abs=1.5)
