"""Guards over training sets that Feast joined: nulls stay null and are named, expiry is refused, rows are kept."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from guarded_store import GuardedStore, make_store

from foretail.core.errors import DataError
from foretail.features.guards import (
    check_counts,
    check_frame,
    check_leaks,
    check_ttl,
    guard_frame,
    guard_table,
    label_ahead,
    period_splits,
    refuse,
)
from foretail.sources.synthetic import synthetic_table

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
KEYS = ["store_id", "dept_id", "event_timestamp"]
TTL = dt.timedelta(days=90)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> GuardedStore:
    return make_store(tmp_path_factory.mktemp("sound"), synthetic_table({"preset": "weekly-5k"}))


@pytest.fixture(scope="module")
def expiring(tmp_path_factory: pytest.TempPathFactory) -> GuardedStore:
    """The same store, whose view of stores somebody gave a time to live of ninety days."""
    return make_store(tmp_path_factory.mktemp("ttl"), synthetic_table({"preset": "weekly-5k"}), {"store_features": TTL})


def entities_of(made: GuardedStore) -> pl.DataFrame:
    return made.frames["sales_features"].select(KEYS).sample(fraction=1.0, shuffle=True, seed=3)


def test_a_joined_training_set_passes_every_guard(sound: GuardedStore) -> None:
    entities = entities_of(sound)
    joined = sound.join(entities)
    check_counts(entities.height, joined.height)
    assert joined.select(KEYS).equals(entities)
    splits = period_splits(joined["event_timestamp"])
    names = [feature.name for feature in sound.declaration.features_of("training_features")]
    assert len(names) == 22
    findings = check_frame(joined, sound.declaration, splits, features=names)
    assert all(item.what == "drift" for item in findings), guard_table(findings)
    refuse(findings)
    check_ttl(sound.declaration, sound.frames, entities, splits, {view.name: view.ttl for view in _views(sound)})
    labelled = label_ahead(joined, sound.declaration)
    check_leaks(labelled, sound.declaration, label="label", label_time="label_time")


def test_stores_are_known_for_every_date_after_their_only_row(sound: GuardedStore) -> None:
    assert sound.frames["store_features"]["event_timestamp"].n_unique() == 1
    late = pl.DataFrame({"store_id": [3], "dept_id": [2], "event_timestamp": [dt.datetime(2031, 1, 3, tzinfo=dt.UTC)]})
    wanted = sound.frames["store_features"].filter(pl.col("store_id") == 3)
    static = ["store_type", "store_size", "region"]
    assert sound.join(late).select(static).equals(wanted.select(static))


def test_expired_values_are_null_never_zero_and_named_by_the_guards(expiring: GuardedStore) -> None:
    entities = entities_of(expiring)
    joined = expiring.join(entities)
    check_counts(entities.height, joined.height)
    splits = period_splits(joined["event_timestamp"])
    first = joined["event_timestamp"].min()
    expired = joined["event_timestamp"] > first + TTL
    for name in ("store_type", "store_size", "region"):
        assert (joined[name].is_null() == expired).all(), name
    findings = check_frame(joined, expiring.declaration, splits)
    nulls = {(item.feature, item.split): item.value for item in findings if item.what == "null share"}
    assert set(nulls) == {(name, split) for name in ("store_type", "store_size", "region") for split in splits}
    with pytest.raises(DataError, match=r"feature 'store_size' has no value in 100\.00% of the rows"):
        refuse(findings)
    assert guard_frame(findings).filter("is_error").height == 9


def test_expiry_is_refused_before_the_join_with_the_shares_that_the_join_has(expiring: GuardedStore) -> None:
    entities = entities_of(expiring)
    splits = period_splits(entities["event_timestamp"])
    ttls = {view.name: view.ttl for view in _views(expiring)}
    assert ttls["store_features"] == TTL
    joined = expiring.join(entities)
    with pytest.raises(DataError) as caught:
        check_ttl(expiring.declaration, expiring.frames, entities, splits, ttls)
    for name in ("store_type", "store_size", "region"):
        for split, mask in splits.items():
            share = joined.filter(mask)[name].null_count() / int(mask.sum())
            found = [item for item in caught.value.problems if f"'{name}'" in item.what and f"'{split}'" in item.where]
            assert len(found) == 1
            assert f"{share:.2%}" in found[0].what
    assert len(caught.value.problems) == 9


def test_keys_that_nobody_knows_keep_their_rows_with_nulls(sound: GuardedStore) -> None:
    entities = entities_of(sound).head(600)
    strange = entities.with_columns(
        pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit(99, pl.Int64)).otherwise("dept_id").alias("dept_id")
    )
    joined = sound.join(strange)
    check_counts(strange.height, joined.height)
    unknown = joined["dept_id"] == 99
    assert joined.filter(unknown)["lag_1"].null_count() == 300
    assert joined.filter(~unknown)["lag_1"].null_count() == 0
    assert joined["store_size"].null_count() == 0
    findings = check_frame(joined, sound.declaration, period_splits(joined["event_timestamp"]))
    with pytest.raises(DataError, match="feature 'lag_1' has no value"):
        refuse(findings)


def test_what_is_not_known_yet_is_null(sound: GuardedStore) -> None:
    """A series of two weeks has no value four weeks ago; nothing stands in for it."""
    begin = sound.frames["sales_features"]["event_timestamp"].min()
    joined = sound.join(entities_of(sound).filter(pl.col("event_timestamp") <= begin + dt.timedelta(weeks=1)))
    assert joined["lag_1"].null_count() == 0
    for name in ("lag_4", "lag_8", "rolling_mean_4w", "sales_vs_avg"):
        assert joined[name].null_count() == joined.height, name


def _views(made: GuardedStore) -> list[object]:
    return list(made.store.list_batch_feature_views())
