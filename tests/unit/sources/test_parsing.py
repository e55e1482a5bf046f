"""Dates and targets: what is read, and what is refused with the lines that cannot be read."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.errors import DataError
from foretail.sources.parsing import looks_like_dates, parse_dates, parse_target

FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d %b %Y", "%d-%b-%y", "%B %d, %Y", "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ",
)  # fmt: skip


def dates(*values: object) -> list[dt.date | None]:
    return parse_dates(pl.DataFrame({"day": values}), "day")["day"].to_list()


def refused(*values: object) -> str:
    with pytest.raises(DataError) as caught:
        dates(*values)
    return str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=15, deadline=None)
@given(days=st.lists(st.dates(dt.date(1990, 1, 1), dt.date(2060, 12, 31)), min_size=1, max_size=20))
def test_formats(form: str, days: list[dt.date]) -> None:
    assert dates(*(dt.datetime.combine(day, dt.time(23, 59)).strftime(form) for day in days)) == days


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m/%d/%y"])
def test_day_and_month_are_told_apart_by_a_whole_month(form: str) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(31)]
    assert dates(*(day.strftime(form) for day in days)) == days


def test_day_and_month_that_cannot_be_told_apart() -> None:
    text = refused("03/03/2024", "01/02/2024")
    assert "cannot be told apart" in text
    assert "'01/02/2024' may be 2024-02-01 or 2024-01-02" in text
    assert dates("03/03/2024", "05/05/2024") == [dt.date(2024, 3, 3), dt.date(2024, 5, 5)], "either way the same"


def test_the_day_as_written_counts_whatever_the_zone() -> None:
    assert dates("2024-03-31T23:30:00+02:00", "2024-10-27T00:15:00-05:00") == [
        dt.date(2024, 3, 31),
        dt.date(2024, 10, 27),
    ]
    assert dates("1/31/2024 12:00:00 AM") == [dt.date(2024, 1, 31)]


def test_whole_numbers_and_months() -> None:
    assert dates(20240229, 20240301) == [dt.date(2024, 2, 29), dt.date(2024, 3, 1)]
    assert dates("2024-01", "2024-02") == [dt.date(2024, 1, 1), dt.date(2024, 2, 1)]


def test_dates_and_nulls_come_back_as_they_are() -> None:
    frame = pl.DataFrame({"day": [dt.date(2024, 1, 1), None], "at": [dt.datetime(2024, 1, 1, 5), None]})
    assert parse_dates(frame, "day").equals(frame)
    assert parse_dates(frame, "at").equals(frame)
    assert dates(None, None) == [None, None]


def test_unparsable_dates_show_the_first_lines() -> None:
    text = refused("2024-01-01", "2024-02-30", None, "Total", *["x"] * 9)
    assert "unparsable dates: 11 of 13" in text
    assert "line 3: '2024-02-30', line 5: 'Total'" in text
    assert text.count("'x'") == 3
    assert "YYYY-MM-DD" in text


def test_several_formats_show_a_line_of_each() -> None:
    text = refused("2024-01-01", "2024-01-02", "31.01.2024")
    assert "several formats" in text
    assert "line 2: '2024-01-01'" in text
    assert "line 4: '31.01.2024'" in text


def test_both_orders_in_one_column_are_several_formats() -> None:
    assert "several formats" in refused("31/01/2024", "01/31/2024")


@pytest.mark.parametrize("values", [[1.5, 2.5], [True, False], [17, 18]])
def test_what_holds_no_dates(values: list[object]) -> None:
    refused(*values)


def test_target_from_numbers_and_text() -> None:
    frame = pl.DataFrame({"i": [1, None], "t": [" 1.5", None], "n": pl.Series([None, None])})
    for name, wanted in {"i": [1.0, None], "t": [1.5, None], "n": [None, None]}.items():
        read = parse_target(frame, name)[name]
        assert read.dtype == pl.Float64
        assert read.to_list() == wanted


def test_text_in_the_target_shows_the_first_lines() -> None:
    with pytest.raises(DataError, match="line 3: '1,234', line 4: 'n/a'"):
        parse_target(pl.DataFrame({"y": ["5", "1,234", "n/a"]}), "y")


@pytest.mark.parametrize("values", [[True], [dt.date(2024, 1, 1)]])
def test_a_target_that_is_no_number(values: list[object]) -> None:
    with pytest.raises(DataError, match="not a number"):
        parse_target(pl.DataFrame({"y": values}), "y")


def test_what_looks_like_dates() -> None:
    assert looks_like_dates(pl.Series(["2024-01-01", "01/02/2024"]))
    assert looks_like_dates(pl.Series(["01/31/2024"] * 3))
    assert not looks_like_dates(pl.Series(["a", "b"]))
    assert not looks_like_dates(pl.Series(["2024-01-01"] + ["x"] * 5))
    assert not looks_like_dates(pl.Series([1.5]))
    assert not looks_like_dates(pl.Series([], dtype=pl.String))
