"""The horizon: which rows are asked for, and every way in which a table of the future can be wrong."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from panel_cases import daily, days, names_of, spec

from foretail.core.errors import DataError
from foretail.panel.build import build_panel
from foretail.sources.table import Table

PROMO = (pl.col("store") + pl.col("date").dt.day()) % 3


def _table(future_change: object = None, **changes: object) -> Table:
    frame = daily(3, 45).with_columns(promo=PROMO)
    history, future = frame.filter(pl.col("date") <= days(40)[-1]), frame.filter(pl.col("date") > days(40)[-1])
    future = future.drop("sales")
    return Table(history, spec(known=("promo",), **changes), future_change(future) if future_change else future)  # type: ignore[operator]


def test_requested_are_exactly_the_future_rows() -> None:
    built = build_panel(
        _table(lambda future: future.filter(pl.col("store") != 2).sample(fraction=1, shuffle=True, seed=1))
    )
    assert built.requested["unique_id"].to_list() == ["1"] * 5 + ["3"] * 5
    assert built.requested["step"].to_list() == [1, 2, 3, 4, 5] * 2
    expected = [(1 + day) % 3 for day in (10, 11, 12, 13, 14)]
    np.testing.assert_array_equal(built.panel.known[0].values[0, 40:], expected)
    assert np.isnan(built.panel.known[0].values[1, 40:]).all()  # not given, and not shared by the others


def test_more_future_than_the_horizon_is_ignored_and_told() -> None:
    built = build_panel(_table(), horizon=3)
    assert built.requested["step"].max() == 3
    assert built.panel.n_future == 3 and built.panel.spec.horizon == 3
    assert names_of(built)["future_beyond_horizon"].n == 2


def test_less_future_than_the_spec_shortens_the_horizon_unless_one_is_given() -> None:
    built = build_panel(_table(horizon=7))
    assert built.panel.spec.horizon == built.panel.n_future == 5
    assert "future_ends_early" in names_of(built)
    with pytest.raises(DataError, match="the future rows end 5 steps after the cutoff, the horizon is 7"):
        build_panel(_table(), horizon=7)


def test_a_new_series_in_the_future_is_cold() -> None:
    built = build_panel(
        _table(lambda future: pl.concat([future, future.head(5).with_columns(store=pl.lit(9, dtype=pl.Int64))]))
    )
    assert built.cold["unique_id"].to_list() == ["9"]
    assert built.requested.height == 20


def test_what_is_known_of_a_cold_series_is_kept() -> None:
    frame = daily(2, 30).with_columns(
        promo=(pl.col("date").dt.day() % 4 == 0).cast(pl.Int64), kind=pl.lit("x"), holiday=pl.col("date").dt.day() % 9
    )
    past, ahead = frame.filter(pl.col("date") <= days(25)[-1]), frame.filter(pl.col("date") > days(25)[-1])
    new = ahead.filter(pl.col("store") == 1).with_columns(store=pl.lit(9, dtype=pl.Int64), promo=1 - pl.col("promo"))
    future = pl.concat([ahead, new]).drop("sales")
    built = build_panel(Table(past, spec(known=("promo", "kind", "holiday")), future))
    assert built.cold["unique_id"].to_list() == ["9"]
    promo, kind, holiday = built.cold_known
    assert (promo.name, kind.categories, holiday.name) == ("promo", ("x",), "holiday")
    np.testing.assert_array_equal(promo.values[0, 25:], 1 - built.panel.known[0].values[0, 25:])
    np.testing.assert_array_equal(kind.values[0, 25:], 0.0)
    np.testing.assert_array_equal(promo.values[0, :25], built.panel.known[0].values[0, :25])  # what all share
    without = build_panel(Table(past, spec(known=("promo", "kind", "holiday")), ahead.drop("sales")))
    assert without.cold_known == ()
    for item, plain in zip(built.panel.known, without.panel.known, strict=True):
        np.testing.assert_array_equal(item.values, plain.values)


def test_keys_of_another_type_in_the_future() -> None:
    built = build_panel(_table(lambda future: future.cast({"store": pl.String, "date": pl.String})))
    assert built.cold.is_empty()
    assert built.requested.height == 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("promo"), r"lack the column 'promo'"),
        (lambda f: f.rename({"promo": "promos"}), r"lack the column 'promo'(.|\n)*have a column 'promos'"),
        (lambda f: f.with_columns(coupon=0.5), "have a column 'coupon' that the table does not have"),
        (lambda f: f.clear(), "the future table has no rows"),
        (lambda f: f.filter((pl.col("store") != 1) | (pl.col("date") != days(43)[-1])), "1 lacks 2024-02-12"),
        (lambda f: f.filter(pl.col("date") != days(43)[-1]), "missing: 3 of 15, in 3 of 3 series"),
        (lambda f: f.filter((pl.col("store") != 2) | (pl.col("date") < days(44)[-1])), "2 lacks 2024-02-13"),
        (lambda f: pl.concat([f, f.head(2)]), "2 keys and dates have several future rows"),
        (lambda f: f.with_columns(pl.col("date") - pl.duration(days=3)), "9 future rows are not after the cutoff"),
        (lambda f: f.with_columns(promo=pl.lit(None, dtype=pl.Int64)), "'promo' has no value in any future row"),
        (lambda f: f.with_columns(date=pl.lit("soon")), "unparsable dates"),
        (lambda f: f.with_columns(store=pl.lit("north")), "lack a key or a date"),
    ],
)
def test_a_wrong_future_is_told(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_panel(_table(change), horizon=5)


def test_a_future_with_the_gaps_of_the_history_is_asked_as_it_is() -> None:
    table = _table()
    assert table.future is not None
    future = table.future.filter((pl.col("store") != 1) | (pl.col("date") != days(43)[-1]))
    sparse = table.frame.filter((pl.col("store") + pl.col("date").dt.day()) % 4 != 0)
    built = build_panel(Table(sparse, table.spec, future), horizon=5)
    assert built.requested.height == future.height == 14
    assert names_of(built)["future_gaps"].level == "warning"


def test_all_problems_of_a_future_at_once() -> None:
    def change(future: pl.DataFrame) -> pl.DataFrame:
        return pl.concat([future, future.head(1), future.tail(1).with_columns(date=pl.lit(days(2)[-1]))])

    with pytest.raises(DataError) as caught:
        build_panel(_table(change))
    assert len(caught.value.problems) == 2


def test_a_column_that_numbers_the_future_rows_is_ignored() -> None:
    assert build_panel(_table(lambda future: future.with_row_index("Id"))).requested.height == 15


def test_future_weeks_off_the_time_line() -> None:
    frame = daily(1, 40).with_columns(
        (pl.lit(dt.date(2024, 1, 5)) + pl.duration(days=7 * (pl.col("date") - days(1)[0]).dt.total_days()))
        .cast(pl.Date)
        .alias("date")
    )
    future = frame.tail(4).drop("sales").with_columns(pl.col("date") + pl.duration(days=1))
    with pytest.raises(DataError, match="4 of 4 dates are not on the time line W-FRI"):
        build_panel(Table(frame.head(36), spec(freq="W-FRI"), future))


def test_known_covariates_need_values_for_the_horizon() -> None:
    table = _table()
    with pytest.raises(DataError, match=r"promo\) are not given for the dates to forecast"):
        build_panel(Table(table.frame, table.spec))
    with pytest.raises(DataError, match="rows for 2 of 5 steps"):
        build_panel(Table(table.frame, table.spec), cutoff=days(38)[-1])
    assert build_panel(Table(table.frame, table.spec), cutoff=days(35)[-1]).requested.height == 15


def test_the_future_table_serves_a_cutoff_near_the_end_too() -> None:
    built = build_panel(_table(), cutoff=days(38)[-1])
    expected = [(1 + day) % 3 for day in (8, 9, 10, 11, 12)]
    np.testing.assert_array_equal(built.panel.known[0].values[0, 38:], expected)


def test_rows_without_a_value_at_the_end_are_the_dates_to_forecast() -> None:
    frame = daily(3, 45).with_columns(promo=PROMO, sales=pl.when(pl.col("date") <= days(40)[-1]).then(pl.col("sales")))
    built = build_panel(Table(frame, spec(known=("promo",))))
    assert built.panel.cutoff == days(40)[-1]
    assert built.requested.height == 15
    assert not np.isnan(built.panel.known[0].values).any()


def test_a_future_without_the_weekday_that_is_never_traded() -> None:
    def traded(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("date").dt.weekday() != 7)

    frame = daily(2, 84).with_columns(promo=PROMO)
    history, future = (
        traded(frame.filter(pl.col("date") <= days(70)[-1])),
        traded(frame.filter(pl.col("date") > days(70)[-1])),
    )
    built = build_panel(Table(history, spec(known=("promo",), horizon=14), future.drop("sales")))
    assert built.requested.height == future.height
    assert names_of(built)["closed_weekdays"].level == "info"
