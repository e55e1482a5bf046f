"""The leak test of the main job, through Feast: what the table holds after the as-of date moves nothing joined."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from guarded_store import GuardedStore, make_store

from foretail.sources.synthetic import synthetic_table
from foretail.sources.table import Table

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
WORLD = {"stores": 3, "departments": 4, "weeks": 60, "restated_share": 0.2, "opening_share": 0.3}
PAST = ["weekly_sales", "temperature", "fuel_price", "cpi", "unemployment"]
CUTOFF = dt.date(2022, 11, 4)  # week 44 of 60
SERVICES = ("training_features", "inference_features", "training_features_derived")


@pytest.fixture(scope="module")
def table() -> Table:
    return synthetic_table(WORLD)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, table: Table) -> GuardedStore:
    return make_store(tmp_path_factory.mktemp("told"), table)


def entities_at(table: Table, at: dt.date = CUTOFF) -> pl.DataFrame:
    """Every series at the as-of date and at some dates before it."""
    stamps = [dt.datetime.combine(at, dt.time(), dt.UTC) - dt.timedelta(weeks=back) for back in (0, 1, 5, 20)]
    keys = table.frame.select(table.spec.keys).unique().sort(table.spec.keys)
    return keys.join(pl.DataFrame({"event_timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC"))}), how="cross")


def assert_same(first: pl.DataFrame, second: pl.DataFrame) -> None:
    """Bit for bit."""
    assert first.schema == second.schema
    for name in first.columns:
        one, other = first[name], second[name]
        if one.dtype == pl.Float64:
            one, other = (values.reinterpret(signed=False) for values in (one, other))
        assert one.equals(other), name


def after(table: Table) -> pl.Expr:
    """Rows that were not in the table at the cutoff: later dates, and what was written down later."""
    return (pl.col("date") > CUTOFF) | (pl.col("recorded") > CUTOFF)


def with_other_values(table: Table, seed: int) -> Table:
    """Other sales in every row that is told after the cutoff, other weather and economy in every later week."""
    rng = np.random.default_rng(seed)
    later = {name: pl.col("date") > CUTOFF for name in PAST} | {"weekly_sales": after(table)}
    drawn = {name: pl.Series(rng.uniform(1, 1e6, table.frame.height)) for name in PAST}
    moved = [pl.when(later[name]).then(drawn[name]).otherwise(pl.col(name)).alias(name) for name in PAST]
    return replace(table, frame=table.frame.with_columns(moved))


def cut(table: Table) -> Table:
    """As the table was at the cutoff: what is known in advance (a holiday) stays known."""
    assert table.future is not None
    later = table.frame.filter(pl.col("date") > CUTOFF).unique([*table.spec.keys, "date"], maintain_order=True)
    ahead = pl.concat([later.select(table.future.columns), table.future])
    return replace(table, frame=table.frame.filter(~after(table)), future=ahead)


def with_new_restatements(table: Table) -> Table:
    """Every sale before the cutoff is told again a week after it, doubled."""
    again = table.frame.filter(~after(table)).with_columns(
        pl.col("weekly_sales") * 2, pl.lit(CUTOFF + dt.timedelta(weeks=1)).alias("recorded")
    )
    return replace(table, frame=pl.concat([table.frame, again]))


CHANGES = {
    "changed": lambda table: with_other_values(table, 0),
    "changed again": lambda table: with_other_values(table, 1),
    "deleted": cut,
    "restated": with_new_restatements,
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_after_the_as_of_date_moves_a_joined_feature(
    told: GuardedStore, table: Table, tmp_path: Path, change: str
) -> None:
    changed = CHANGES[change](table)
    assert not changed.frame.equals(table.frame)
    other = make_store(tmp_path, changed)
    entities = entities_at(table)
    for service in SERVICES:
        assert_same(other.join(entities, service), told.join(entities, service))


@pytest.mark.parametrize("name", ["weekly_sales", "temperature"])
def test_what_is_told_at_the_as_of_date_does_move_features(
    told: GuardedStore, table: Table, tmp_path: Path, name: str
) -> None:
    """The test above would see a leak of one week."""
    here = (pl.col("date") == CUTOFF) & ~after(table)
    frame = table.frame.with_columns(pl.when(here).then(pl.col(name) + 7).otherwise(pl.col(name)).alias(name))
    other = make_store(tmp_path, replace(table, frame=frame))
    entities = entities_at(table)
    first, second = told.join(entities), other.join(entities)
    at = first["event_timestamp"].dt.date() == CUTOFF
    moved = [column for column in first.columns if not first[column].equals(second[column])]
    wanted = {"weekly_sales", "lag_1", "rolling_mean_4w", "rolling_std_4w", "sales_vs_avg"}
    assert set(moved) == (wanted if name == "weekly_sales" else {"temperature"})
    for column in moved:
        assert first.filter(~at)[column].equals(second.filter(~at)[column])


def test_a_restated_value_is_joined_as_it_was_known(told: GuardedStore, table: Table) -> None:
    """`lag_1` at a date is the first telling until the correction was written down, and the correction from then on."""
    spec = table.spec
    versions = table.frame.sort("recorded", maintain_order=True)
    twice = versions.group_by(*spec.keys, "date").agg(pl.len().alias("n")).filter(pl.col("n") > 1)
    rows = versions.join(twice, on=[*spec.keys, "date"], how="semi")
    assert rows.height > 100
    first = rows.filter(pl.col("recorded") == pl.col("date")).head(40)
    asked = first.select(*spec.keys, pl.col("date").cast(pl.Datetime("us", "UTC")).alias("event_timestamp"))
    assert told.join(asked)["lag_1"].to_list() == first["weekly_sales"].to_list()
    last = rows.unique([*spec.keys, "date"], keep="last", maintain_order=True).filter(pl.col("date") < CUTOFF).head(40)
    later = last.select(
        *spec.keys, pl.col("date").dt.offset_by("3w").cast(pl.Datetime("us", "UTC")).alias("event_timestamp")
    )
    assert told.join(later)["lag_4"].to_list() == last["weekly_sales"].to_list()
