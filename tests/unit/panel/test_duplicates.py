"""Repeated cells: refused, summed or restated, and what an earlier cutoff knew of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_cases import daily, days, names_of, same_panel, spec

from foretail.core.errors import DataError
from foretail.panel.build import build_panel
from foretail.sources.table import Table


def _told(*rows: tuple[int, int, float | None, int]) -> pl.DataFrame:
    """Rows of (store, day, sales, day written) after thirty quiet days."""
    quiet = daily(2, 30).with_columns(pl.col("date").alias("recorded"), pl.col("sales").cast(pl.Float64))
    more = pl.DataFrame(
        {
            "store": [row[0] for row in rows],
            "date": [days(row[1])[-1] for row in rows],
            "sales": [row[2] for row in rows],
            "recorded": [days(row[3])[-1] for row in rows],
        },
        schema=quiet.schema,
    )
    return pl.concat([quiet, more])


LAST: dict[str, Any] = {"duplicates": "last", "recorded": "recorded"}


def test_repeated_cells_are_refused_with_examples() -> None:
    frame = pl.concat([daily(3, 20), daily(3, 20).filter(pl.col("date") == days(7)[-1])])
    with pytest.raises(DataError) as caught:
        build_panel(Table(frame, spec()))
    text = str(caught.value)
    assert "3 cells, 6 rows, 3 of them exact repetitions" in text
    assert "1 on 2024-01-07; 2 on 2024-01-07; 3 on 2024-01-07" in text
    assert 'duplicates = "sum"' in text


def test_lines_of_a_day_are_summed() -> None:
    frame = pl.DataFrame(
        {
            "store": [1, 1, 1, 1, 1],
            "date": [days(1)[0], days(1)[0], days(2)[-1], days(3)[-1], days(3)[-1]],
            "sales": [1.5, 2.5, 7.0, None, None],
            "promo": [0, 1, 0, None, 1],
        }
    )
    future = pl.DataFrame({"store": [1], "date": [days(4)[-1]], "promo": [1]})
    built = build_panel(Table(frame, spec(duplicates="sum", horizon=1, known=("promo",)), future))
    np.testing.assert_array_equal(built.panel.y, [[4.0, 7.0]])  # a day that tells no value is no sale of 0
    np.testing.assert_array_equal(built.panel.known[0].values[0, :2], [1, 0])
    assert names_of(built)["duplicates"].level == "repaired"


def test_the_last_written_value_wins_and_earlier_ones_are_remembered() -> None:
    frame = _told((1, 31, 5.0, 31), (1, 31, 9.0, 33), (1, 31, 8.0, 36), (1, 38, 1.0, 38), (2, 38, 1.0, 38))
    panel = build_panel(Table(frame, spec(**LAST))).panel
    assert panel.y[0, 30] == 8.0
    assert [panel.as_of(n).y[0, 30] for n in (31, 32, 33, 35, 36, 38)] == [5, 5, 9, 9, 8, 8]


@pytest.mark.parametrize(("cutoff", "value"), [(31, 5.0), (32, 5.0), (33, 9.0), (36, 8.0)])
def test_rows_written_after_the_cutoff_are_unknown(cutoff: int, value: float) -> None:
    frame = _told((1, 31, 5.0, 31), (1, 31, 9.0, 33), (1, 31, 8.0, 36), *((2, day, 1.0, day) for day in range(31, 37)))
    panel = build_panel(Table(frame, spec(**LAST)), cutoff=days(cutoff)[-1]).panel
    assert panel.y[0, 30] == value


def test_a_value_written_late_is_unknown_until_then() -> None:
    frame = _told((1, 31, 5.0, 34), *((2, day, 1.0, day) for day in range(31, 37)))
    panel = build_panel(Table(frame, spec(**LAST))).panel
    assert np.isnan(panel.as_of(33).y[0, 30])
    assert panel.as_of(34).y[0, 30] == 5.0
    assert np.isnan(build_panel(Table(frame, spec(**LAST)), cutoff=days(33)[-1]).panel.y[0, 30])


def test_where_being_late_is_the_rule_first_values_count_at_once() -> None:
    frame = daily(2, 40).with_columns(recorded=pl.lit(dt.date(2024, 6, 1)))
    fixed = frame.filter(pl.col("date") == days(20)[-1]).with_columns(
        sales=pl.lit(99, dtype=pl.Int64), recorded=pl.lit(dt.date(2024, 7, 1))
    )
    built = build_panel(Table(pl.concat([frame, fixed]), spec(**LAST)))
    assert "recorded_late" in names_of(built)
    assert built.panel.y[0, 19] == 99
    assert built.panel.as_of(30).y[0, 19] == frame["sales"][19]


def test_repetitions_of_whole_rows_need_no_column_that_orders_them() -> None:
    frame = daily(2, 20)
    twice = Table(pl.concat([frame, frame.head(5)]), spec(duplicates="last"))
    same_panel(build_panel(twice).panel, build_panel(Table(frame, spec(duplicates="last"))).panel)
    differing = pl.concat([frame, frame.head(5).with_columns(pl.col("sales") + 1)])
    with pytest.raises(DataError, match="nothing says which was told last"):
        build_panel(Table(differing, spec(duplicates="last")))


def test_a_replay_of_everything_changes_nothing() -> None:
    frame = _told((1, 31, 5.0, 31), (2, 31, 9.0, 31))
    once = build_panel(Table(frame, spec(**LAST))).panel
    replayed = build_panel(Table(pl.concat([frame, frame]), spec(**LAST))).panel
    np.testing.assert_array_equal(once.y, replayed.y)
    np.testing.assert_array_equal(once.as_of(31).y, replayed.as_of(31).y)


@given(
    versions=st.lists(
        st.tuples(st.integers(31, 34), st.integers(0, 6), st.integers(1, 99)),
        min_size=1,
        max_size=20,
        unique_by=lambda item: (item[0], item[1]),
    ),
    n=st.integers(31, 40),
)
@settings(max_examples=60, deadline=None)
def test_as_of_agrees_with_reading_the_log(versions: list[tuple[int, int, int]], n: int) -> None:
    """For every cell and cutoff: the value of the latest version written by then, found by a plain loop."""
    log = [(1, day, float(value), day + delay) for day, delay, value in versions]
    panel = build_panel(Table(_told(*log, (2, 40, 1.0, 40)), spec(**LAST))).panel
    seen = panel.as_of(n)
    for column in range(30, min(n, 34)):
        told = sorted((written, value) for _, day, value, written in log if day == column + 1 and written <= n)
        expected = told[-1][1] if told else np.nan
        np.testing.assert_equal(seen.y[0, column], expected)
