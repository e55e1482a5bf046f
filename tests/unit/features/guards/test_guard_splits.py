"""Splits hold whole periods, one after the other."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.core.errors import DataError, UsageError
from foretail.features.guards import check_splits, period_splits, split_masks

START = dt.date(2012, 1, 6)


def days_of(weeks: list[int]) -> pl.Series:
    return pl.Series("date", [START + dt.timedelta(weeks=week) for week in weeks], dtype=pl.Date)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
def test_every_date_is_in_one_split_and_splits_follow_each_other(weeks: list[int]) -> None:
    days = days_of(weeks)
    if len(set(weeks)) < 3:
        with pytest.raises(DataError, match="cannot be split into 3"):
            period_splits(days)
        return
    masks = period_splits(days)
    assert list(masks) == ["train", "validation", "test"]
    assert (sum(mask.cast(pl.Int64) for mask in masks.values()) == 1).all()
    held = [set(days.filter(mask)) for mask in masks.values()]
    assert max(held[0]) < min(held[1]) and max(held[1]) < min(held[2])
    check_splits(days, masks)


def test_shares_are_of_dates_and_not_of_rows() -> None:
    weeks = [0] * 1000 + list(range(1, 100))
    masks = period_splits(days_of(weeks))
    sizes = [days_of(weeks).filter(mask).n_unique() for mask in masks.values()]
    assert sizes == [70, 15, 15]


def test_splits_by_last_dates() -> None:
    days = days_of(list(range(10)))
    ends = {"train": START + dt.timedelta(weeks=5), "test": START + dt.timedelta(weeks=7)}
    masks = period_splits(days.cast(pl.Datetime("us", "UTC")), ends=ends)
    assert [int(mask.sum()) for mask in masks.values()] == [6, 2]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shares": (0.7, 0.2)}, UsageError, "no shares of a whole"),
        ({"shares": (0.7, 0.3, 0.3)}, UsageError, "no shares of a whole"),
        ({"shares": (1.2, -0.1, -0.1)}, UsageError, "no shares of a whole"),
        ({"ends": {"train": START, "test": START}}, UsageError, "do not follow"),
        ({"ends": {"train": START, "test": dt.date(2011, 1, 1)}}, UsageError, "do not follow"),
        ({"ends": {"train": dt.date(2011, 1, 1), "test": START}}, DataError, "no row lies in split train"),
    ],
)
def test_impossible_splits(options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        period_splits(days_of(list(range(10))), **options)  # type: ignore[arg-type]


def test_rows_without_a_date_are_in_no_split() -> None:
    days = pl.concat([days_of([0, 1, 2]), pl.Series("date", [None], dtype=pl.Date)])
    assert [mask.to_list()[-1] for mask in period_splits(days).values()] == [False] * 3


def test_dates_are_those_of_utc() -> None:
    days = days_of([0, 1, 2])
    stamps = days.cast(pl.Datetime("ns", "UTC"))
    for other in (stamps, stamps.dt.convert_time_zone("America/Chicago"), days.cast(pl.Datetime("ms"))):
        assert {name: mask.to_list() for name, mask in period_splits(other).items()} == {
            name: mask.to_list() for name, mask in period_splits(days).items()
        }
    with pytest.raises(DataError, match="not times"):
        period_splits(pl.Series([1, 2, 3]))


def test_a_random_split_is_refused() -> None:
    days = days_of(list(range(40)))
    drawn = pl.Series(np.random.default_rng(0).random(40) < 0.7)
    with pytest.raises(DataError, match=r"split 'test' begins on .*, before split 'train' has ended"):
        check_splits(days, {"train": drawn, "test": ~drawn})


def test_a_split_through_a_period_is_refused() -> None:
    days = days_of([0, 0, 1, 1, 2])
    first = pl.Series([True, True, True, False, False])
    with pytest.raises(DataError, match="split 'test' begins on 2012-01-13"):
        check_splits(days, {"train": first, "test": ~first})


def test_masks_may_be_expressions_and_null_is_outside() -> None:
    frame = pl.DataFrame({"x": [1, None, 3]})
    masks = split_masks(frame, {"low": pl.col("x") < 2, "high": pl.Series([False, None, True])})
    assert {name: mask.to_list() for name, mask in masks.items()} == {
        "low": [True, False, False],
        "high": [False, False, True],
    }


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, "no splits"),
        ({"a": pl.Series([True])}, "no mask of the rows"),
        ({"a": pl.Series([1, 0, 1])}, "no mask of the rows"),
        ({"a": pl.col("x") > 0, "b": pl.col("x") > 2}, "1 rows in two of a, b"),
    ],
)
def test_masks_that_are_none(splits: dict[str, pl.Series | pl.Expr], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_masks(pl.DataFrame({"x": [1, 2, 3]}), splits)
