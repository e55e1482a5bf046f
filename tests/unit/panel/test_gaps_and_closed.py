"""What a date without a row means, and closed days told from days without demand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from panel_cases import daily, days, names_of, spec

from foretail.panel.build import build_panel
from foretail.sources.table import Table


def _some(frame: pl.DataFrame, share: float) -> pl.DataFrame:
    return frame.filter(pl.Series(np.random.default_rng(4).random(frame.height) < share))


def test_zero_fills_after_the_first_row_only() -> None:
    frame = daily(2, 30).filter((pl.col("store") == 2) | pl.col("date").is_in([days(5)[-1], days(9)[-1]]))
    panel = build_panel(Table(frame, spec(gaps="zero"))).panel
    assert np.isnan(panel.y[0, :4]).all()
    assert (panel.y[0, 5:8] == 0).all()
    assert (panel.y[0, 9:] == 0).all()
    assert panel.y[0, 4] > 0 and panel.y[0, 8] > 0


def test_a_series_silent_for_a_year_is_not_zero_for_ever() -> None:
    frame = daily(2, 500).filter((pl.col("store") == 2) | (pl.col("date") <= days(10)[-1]))
    panel = build_panel(Table(frame, spec(gaps="zero"))).panel
    assert (panel.y[0, 10 : 10 + 364] == 0).all()
    assert np.isnan(panel.y[0, 10 + 364 :]).all()


def test_auto_reads_a_table_that_writes_sales_only() -> None:
    built = build_panel(Table(_some(daily(5, 100), 0.5), spec()))
    assert not np.isnan(built.panel.y[:, 50:]).any()
    assert "the table writes no zeros" in names_of(built)["gaps"].text


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_auto_leaves_gaps_where_zeros_are_written(share: float) -> None:
    zeros = daily(5, 100).with_columns(sales=pl.when(pl.col("date").dt.day() % 4 == 0).then(0).otherwise("sales"))
    frame = _some(zeros, share)
    built = build_panel(Table(frame, spec()))
    assert int(built.panel.observed.sum()) == frame.height
    assert "zeros are written" in names_of(built)["gaps"].text


def test_auto_leaves_rare_gaps() -> None:
    frame = _some(daily(5, 100), 0.95)
    built = build_panel(Table(frame, spec()))
    assert int(built.panel.observed.sum()) == frame.height
    assert "gaps are rare" in names_of(built)["gaps"].text


def _shop(**columns: pl.Expr) -> pl.DataFrame:
    sunday = pl.col("date").dt.weekday() == 7
    return daily(3, 120).with_columns(
        sales=pl.when(sunday).then(0).otherwise("sales"), open=(~sunday).cast(pl.Int64), **columns
    )


def test_the_column_that_says_open_is_believed() -> None:
    frame = _shop().with_columns(open=pl.when(pl.col("date") == days(3)[-1]).then(None).otherwise("open"))
    built = build_panel(Table(frame, spec(known=("open",), open="open")), cutoff=days(110)[-1])
    sunday = (built.panel.dates(0, 115).astype(np.int64) + 3) % 7 == 6
    np.testing.assert_array_equal(built.panel.closed, np.broadcast_to(sunday, (3, 115)))  # null means open
    assert "closed_rule" not in names_of(built)


def test_an_undeclared_opening_column_is_found_and_told() -> None:
    promo = (pl.col("date").dt.day() % 3 == 0).cast(pl.Int64)
    built = build_panel(Table(_shop(promo=promo), spec(known=("promo", "open"))), cutoff=days(110)[-1])
    finding = names_of(built)["closed_rule"]
    assert finding.examples == ("open",) and "open is 0" in finding.text
    assert built.panel.closed[:, 6].all() and not built.panel.closed[:, 5].any()
    assert built.panel.closed[:, 111].all()  # Sunday, 21 April, after the cutoff


def test_slow_sellers_are_not_closed() -> None:
    rng = np.random.default_rng(2)
    frame = daily(3, 120).with_columns(sales=pl.Series(rng.random(360) < 0.1).cast(pl.Int64), promo=pl.lit(0))
    frame = frame.with_columns(promo=pl.Series(rng.random(360) < 0.1).cast(pl.Int64))
    built = build_panel(Table(frame, spec(known=("promo",))), cutoff=days(110)[-1])
    assert not built.panel.closed.any()


def test_sales_on_closed_days_are_told_and_kept() -> None:
    frame = daily(1, 40).with_columns(open=(pl.col("date").dt.weekday() != 7).cast(pl.Int64))
    built = build_panel(Table(frame, spec(known=("open",), open="open")), cutoff=days(30)[-1])
    assert names_of(built)["sales_when_closed"].n == 4
    assert (built.panel.y > 0).all()


def test_an_opening_column_of_text() -> None:
    frame = _shop().with_columns(pl.col("open").cast(pl.String))
    built = build_panel(Table(frame, spec(known=("open",), open="open")), cutoff=days(110)[-1])
    assert built.panel.closed[:, 6].all() and not built.panel.closed[:, 5].any()


def test_a_weekday_that_never_has_a_row_is_closed() -> None:
    frame = daily(3, 100).filter(pl.col("date").dt.weekday() != 7)
    built = build_panel(Table(frame, spec()))
    assert "Sundays" in names_of(built)["closed_weekdays"].text
    sunday = (built.panel.dates(0, built.panel.closed.shape[1]).astype(np.int64) + 3) % 7 == 6
    np.testing.assert_array_equal(built.panel.closed[0], sunday)


def test_a_sparse_series_does_not_close_weekdays() -> None:
    frame = daily(1, 100).filter(pl.col("date").dt.weekday().is_in([2, 5]))
    assert not build_panel(Table(frame, spec())).panel.closed.any()
