"""Expiry is counted as a plain join counts it, and refused with feature, split and share."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from guard_chain import Chain
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import point_in_time

from foretail.core.errors import DataError, UsageError
from foretail.features.declaration import Declaration
from foretail.features.guards import check_ttl, expiry, period_splits

START = dt.datetime(2012, 1, 6, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=1)
STAMP = pl.Datetime("us", "UTC")


def at(tick: int | None) -> dt.datetime | None:
    return None if tick is None else START + tick * TICK


STORE = st.one_of(st.integers(1, 3), st.none())
FEATURES = ("store_type", "store_size", "region")
SOURCE = st.tuples(STORE, st.integers(0, 9), *(st.booleans() for _ in FEATURES))
ENTITY = st.tuples(STORE, st.integers(0, 12), st.booleans())


@given(st.lists(SOURCE, max_size=12), st.lists(ENTITY, min_size=1, max_size=12), st.integers(0, 6))
@settings(deadline=None)
def test_expired_rows_are_those_that_a_plain_join_loses(
    chain: Chain, source: list[tuple[Any, ...]], asked: list[tuple[Any, ...]], ttl: int
) -> None:
    """Between equal times the last written row counts; without a created time that is the last one."""
    latest = {(store, tick): held for store, tick, *held in source}
    rows = [
        {"store_id": store, "event_timestamp": at(tick)}
        | {name: "x" if one else None for name, one in zip(FEATURES, held, strict=True)}
        for (store, tick), held in latest.items()
    ]
    entities = [{"store_id": store, "event_timestamp": at(tick), "late": late} for store, tick, late in asked]
    frame = pl.DataFrame(
        rows, schema={"store_id": pl.Int64, "event_timestamp": STAMP} | dict.fromkeys(FEATURES, pl.String)
    )
    table = pl.DataFrame(entities, schema={"store_id": pl.Int64, "event_timestamp": STAMP, "late": pl.Boolean})
    splits = {"early": ~pl.col("late"), "late": pl.col("late")}
    found = expiry(chain.declaration, {"store_features": frame}, table, splits, {"store_features": ttl * TICK})
    if not ttl:
        assert found.is_empty()
        return
    kept = point_in_time(entities, rows, ["store_id"], FEATURES, ttl * TICK)
    ever = point_in_time(entities, rows, ["store_id"], FEATURES)
    for row in found.iter_rows(named=True):
        part = [i for i, entity in enumerate(entities) if entity["late"] == (row["split"] == "late")]
        name = row["feature"]
        lost = sum(ever[i][name] is not None and kept[i][name] is None for i in part)
        assert (row["rows"], row["expired"]) == (len(part), lost)
        assert row["share"] == (lost / len(part) if part else 0)
    assert found.height == len(FEATURES) * 2


def asked_of(chain: Chain) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    entities = chain.training.select("store_id", "dept_id", "event_timestamp")
    return entities, period_splits(entities["event_timestamp"])


def test_stores_without_a_ttl_never_expire(chain: Chain) -> None:
    entities, splits = asked_of(chain)
    check_ttl(chain.declaration, chain.frames, entities, splits)
    for never in (None, dt.timedelta()):
        check_ttl(chain.declaration, chain.frames, entities, splits, {"store_features": never})
    assert chain.frames["store_features"].height == 10
    assert all(view.ttl is None for view in chain.declaration.stored)


def test_a_ttl_that_expires_stores_is_refused_by_feature_split_and_share(chain: Chain) -> None:
    """The stores have one row each, of the first week: ninety days later a view with this ttl says nothing of them."""
    entities, splits = asked_of(chain)
    ttls = {"store_features": dt.timedelta(days=90)}
    with pytest.raises(DataError) as caught:
        check_ttl(chain.declaration, chain.frames, entities, splits, ttls)
    assert len(caught.value.problems) == 9
    said = str(caught.value)
    for name in FEATURES:
        assert f"feature '{name}' would be null in 100.00% of the rows" in said
    assert "feature 'store_size' would be null in 82.19% of the rows" in said
    assert "split 'train', 3,000 of 3,650 rows; view 'store_features' with a ttl of 90 days" in said
    assert "up to 721 days old" in said


def test_the_boundary_is_exact_to_the_microsecond(chain: Chain) -> None:
    entities, splits = asked_of(chain)
    oldest = entities["event_timestamp"].max() - chain.frames["store_features"]["event_timestamp"].min()
    check_ttl(chain.declaration, chain.frames, entities, splits, {"store_features": oldest})
    with pytest.raises(DataError, match="split 'test'") as caught:
        check_ttl(chain.declaration, chain.frames, entities, splits, {"store_features": oldest - TICK})
    assert "split 'train'" not in str(caught.value)


def test_a_weekly_view_lives_a_week(chain: Chain) -> None:
    entities, splits = asked_of(chain)
    check_ttl(chain.declaration, chain.frames, entities, splits, {"sales_features": dt.timedelta(days=1)})
    between = entities.with_columns(pl.col("event_timestamp") + pl.duration(days=3))
    with pytest.raises(DataError, match="'lag_1' would be null in 100"):
        check_ttl(chain.declaration, chain.frames, between, splits, {"sales_features": dt.timedelta(days=1)})
    check_ttl(chain.declaration, chain.frames, between, splits, {"sales_features": dt.timedelta(days=3)})


def test_what_was_null_before_is_not_lost_by_expiry(chain: Chain) -> None:
    entities, splits = asked_of(chain)
    later = entities.with_columns(pl.col("event_timestamp") + pl.duration(days=3))
    found = expiry(chain.declaration, chain.frames, later, splits, {"sales_features": dt.timedelta(days=1)})
    train = {row["feature"]: row["share"] for row in found.iter_rows(named=True) if row["split"] == "train"}
    assert train["lag_1"] == 1.0
    assert train["lag_8"] == pytest.approx(1 - 7 / 73)  # the first seven weeks have no eighth week before them


def test_rows_in_files_and_times_of_other_kinds(chain: Chain, tmp_path: Any) -> None:
    entities, splits = asked_of(chain)
    chain.frames["store_features"].write_parquet(tmp_path / "stores.parquet")
    frames = {"store_features": pl.scan_parquet(tmp_path / "stores.parquet")}
    ttls = {"store_features": dt.timedelta(days=90)}
    wanted = expiry(chain.declaration, frames, entities, splits, ttls)
    assert wanted["expired"].sum() > 0
    for dtype in (pl.Date, pl.Datetime("ms"), pl.Datetime("ns", "Europe/Berlin")):
        other = entities.with_columns(pl.col("event_timestamp").cast(dtype), pl.col("store_id").cast(pl.Int32))
        if dtype == pl.Datetime("ns", "Europe/Berlin"):
            other = entities.with_columns(
                pl.col("event_timestamp").dt.convert_time_zone("Europe/Berlin").dt.cast_time_unit("ns")
            )
        assert expiry(chain.declaration, frames, other, splits, ttls).equals(wanted)


def test_a_ttl_that_is_declared_is_looked_at(chain: Chain) -> None:
    entities, splits = asked_of(chain)
    views = tuple(
        replace(view, ttl=dt.timedelta(days=90)) if view.name == "store_features" else view  # type: ignore[arg-type]
        for view in chain.declaration.views
    )
    declared: Declaration = replace(chain.declaration, views=views)
    with pytest.raises(DataError, match="'region' would be null"):
        check_ttl(declared, chain.frames, entities, splits)


def test_views_that_are_not_there(chain: Chain) -> None:
    entities, splits = asked_of(chain)
    day = dt.timedelta(days=1)
    with pytest.raises(UsageError, match="no view 'stores'"):
        check_ttl(chain.declaration, chain.frames, entities, splits, {"stores": day})
    with pytest.raises(UsageError, match="rows of view 'store_features' are not given"):
        check_ttl(chain.declaration, {}, entities, splits, {"store_features": day})
