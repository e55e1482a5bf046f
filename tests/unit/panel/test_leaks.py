"""Nothing after the cutoff moves a panel: not targets, not past covariates, not restatements."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_cases import daily, days, same_panel, spec

from foretail.core.errors import DataError
from foretail.panel.build import build_panel
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate
from foretail.sources.table import Table

CUTOFF = dt.date(2022, 3, 20)
AFTER = pl.col("date") > CUTOFF


@pytest.fixture(scope="module")
def world() -> SyntheticWorld:
    return generate(
        SyntheticConfig(periods=100, stores=2, products=3, horizon=7, restated_share=0.2, duplicate_share=0.05)
    )


@given(seed=st.integers(0, 2**16), change=st.sampled_from(["other", "null", "infinite", "huge"]))
@settings(max_examples=20, deadline=None)
def test_targets_and_past_values_after_the_cutoff_are_never_read(world: SyntheticWorld, seed: int, change: str) -> None:
    rng = np.random.default_rng(seed)
    noise = pl.Series(rng.integers(-1000, 1000, world.frame.height))
    new = {
        "other": noise.cast(pl.Float64),
        "null": pl.lit(None, dtype=pl.Float64),
        "infinite": pl.lit(float("inf")),
        "huge": pl.lit(1e300),
    }[change]
    changed = world.frame.with_columns(
        pl.when(AFTER).then(new).otherwise(pl.col(name)).alias(name) for name in ("units", "temperature")
    )
    _same(world, changed)


@given(seed=st.integers(0, 2**16), keep=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_restatements_after_the_cutoff_are_never_read(world: SyntheticWorld, seed: int, keep: float) -> None:
    rng = np.random.default_rng(seed)
    late = world.frame["recorded"] > CUTOFF
    dropped = late & (world.frame["date"] <= CUTOFF) & pl.Series(rng.random(world.frame.height) > keep)
    rewritten = world.frame.filter(~AFTER).sample(50, seed=seed)
    more = rewritten.with_columns(
        pl.lit(CUTOFF + dt.timedelta(days=1)).alias("recorded"), (pl.col("units") * 7 + 1).alias("units")
    )
    _same(world, pl.concat([world.frame.filter(~dropped), more]))


def _same(world: SyntheticWorld, changed: pl.DataFrame) -> None:
    expected = build_panel(Table(world.frame, world.spec), cutoff=CUTOFF, horizon=7)
    found = build_panel(Table(changed, world.spec), cutoff=CUTOFF, horizon=7)
    same_panel(found.panel, expected.panel)
    assert found.requested.equals(expected.requested)


@given(keep=st.floats(0, 1), seed=st.integers(0, 2**16), extra=st.integers(0, 40))
@settings(max_examples=20, deadline=None)
def test_without_known_covariates_no_row_after_the_cutoff_matters(keep: float, seed: int, extra: int) -> None:
    frame = daily(4, 120).filter(pl.Series(np.random.default_rng(3).random(480) < 0.4))
    cutoff = days(80)[-1]
    after = frame.filter(pl.col("date") > cutoff).sample(fraction=keep, seed=seed)
    added = (
        daily(4, 120)
        .filter(pl.col("date") > dt.date(2024, 4, 20))
        .head(extra)
        .with_columns(pl.lit(0, dtype=pl.Int64).alias("sales"))
    )
    changed = pl.concat([frame.filter(pl.col("date") <= cutoff), after, added]).unique(["store", "date"])
    expected = build_panel(Table(frame.filter(pl.col("date") <= cutoff), spec()), cutoff=cutoff)
    found = build_panel(Table(changed, spec()), cutoff=cutoff)
    same_panel(found.panel, expected.panel)
    assert found.requested.equals(expected.requested)


def test_text_in_the_target_after_the_cutoff_is_not_read() -> None:
    frame = daily(2, 40).with_columns(
        sales=pl.when(pl.col("date") > days(30)[-1]).then(pl.lit("closed")).otherwise(pl.col("sales").cast(pl.String))
    )
    expected = build_panel(Table(daily(2, 40), spec()), cutoff=days(30)[-1]).panel
    same_panel(build_panel(Table(frame, spec()), cutoff=days(30)[-1]).panel, expected)
    with pytest.raises(DataError, match="text in the target"):
        build_panel(Table(frame, spec()))


def test_a_cutoff_is_the_same_as_a_table_that_ends_there() -> None:
    frame = daily(3, 90)
    cut = build_panel(Table(frame, spec()), cutoff=days(60)[-1])
    ended = build_panel(Table(frame.filter(pl.col("date") <= days(60)[-1]), spec()))
    same_panel(cut.panel, ended.panel)
    assert cut.requested.equals(ended.requested)


@pytest.mark.parametrize("gaps", ["zero", "missing"])
def test_the_panel_as_of_a_cutoff_is_the_panel_built_there(world: SyntheticWorld, gaps: str) -> None:
    shape = world.spec.but(gaps=gaps)
    cell = ["store_id", "product_id", "date"]
    lost = world.frame.select(cell).unique(maintain_order=True).sample(fraction=0.3, seed=1)
    holed = world.frame.join(lost, on=cell, how="anti")
    late = build_panel(Table(holed, shape, world.future)).panel
    early = build_panel(Table(holed, shape), cutoff=CUTOFF).panel
    seen = late.as_of(early.n_periods, 7).select(np.isin(late.unique_ids, early.unique_ids))
    np.testing.assert_array_equal(seen.y, early.y)
    for item in early.past:
        np.testing.assert_array_equal(seen.covariate(item.name).values, item.values)


def test_a_series_that_begins_after_the_cutoff_is_cold() -> None:
    frame = daily(3, 60).filter((pl.col("store") != 3) | (pl.col("date") > days(50)[-1]))
    frame = frame.with_columns(kind=pl.format("k{}", "store"))
    built = build_panel(Table(frame, spec(static=("kind",))), cutoff=days(48)[-1])
    assert built.panel.unique_ids == ["1", "2"]
    assert built.cold.rows() == [("3", 3, "k3")]
    assert built.requested.filter(pl.col("unique_id") == "3").height == 5
    assert built.requested.height == 15


@pytest.mark.parametrize(
    ("cutoff", "end"),
    [
        (dt.date(2024, 3, 13), dt.date(2024, 3, 8)),  # a Wednesday: the Friday before
        (dt.date(2024, 3, 8), dt.date(2024, 3, 8)),
        (dt.date(2030, 1, 1), dt.date(2024, 7, 26)),  # after the table: its last week
    ],
)
def test_the_cutoff_is_the_last_period_at_or_before(cutoff: dt.date, end: dt.date) -> None:
    frame = daily(2, 30).with_columns(
        date=(pl.lit(dt.date(2024, 1, 5)) + pl.duration(days=7 * (pl.col("date") - days(1)[0]).dt.total_days())).cast(
            pl.Date
        )
    )
    assert build_panel(Table(frame, spec(freq="W-FRI")), cutoff=cutoff).panel.cutoff == end


def test_a_cutoff_on_a_weekly_closing_day_stays_there() -> None:
    frame = daily(2, 100).filter(pl.col("date").dt.weekday() != 7)
    built = build_panel(Table(frame, spec()), cutoff=dt.date(2024, 3, 10))  # a Sunday
    assert built.panel.cutoff == dt.date(2024, 3, 10)
    assert built.requested["ds"].min() == dt.date(2024, 3, 11)


def test_a_cutoff_before_the_table_is_an_error() -> None:
    with pytest.raises(DataError, match="no row at or before the cutoff 2023-01-01"):
        build_panel(Table(daily(1, 30), spec()), cutoff=dt.date(2023, 1, 1))
