"""The offline store through Feast's own interface: what is refused and how it is told, and results of any size."""

from __future__ import annotations

import datetime as dt
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, RequestSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    PostgreSQLSource,
    SavedDatasetPostgreSQLStorage,
)
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Float64, Int64
from feast.value_type import ValueType
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from foretail.core.errors import DataError, UsageError
from foretail.features.offline import AsofOfflineStore, AsofOfflineStoreConfig

T0 = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
N_STORES, N_DAYS = 9, 20
pytestmark = pytest.mark.filterwarnings(
    "ignore:On demand feature view is an experimental feature:RuntimeWarning",
    "ignore:Saving dataset is an experimental feature:RuntimeWarning",
)
FEATURES = ["sales:amount", "sales:visits", "store:size", "derived:twice"]


def sales() -> pl.DataFrame:
    rng = np.random.default_rng(4)
    days = [T0 + DAY * day for day in range(N_DAYS)]
    return pl.DataFrame(
        {
            "store_id": np.repeat(np.arange(N_STORES), N_DAYS),
            "event_timestamp": days * N_STORES,
            "created_timestamp": days * N_STORES,
            "amount": rng.normal(size=N_STORES * N_DAYS),
            "visits": rng.integers(0, 99, N_STORES * N_DAYS),
        }
    )


def entities() -> pl.DataFrame:
    """Every store and day a few hours later, shuffled, with a column that on-demand views ask for."""
    rows = sales().select("store_id", pl.col("event_timestamp") + dt.timedelta(hours=5))
    rows = rows.sample(fraction=1.0, shuffle=True, seed=2)
    return rows.with_columns(price=pl.Series(np.arange(rows.height, dtype=float)), secret=pl.lit("mine"))


def twice(inputs: dict) -> dict:
    """Fails when it is handed a column that it did not declare."""
    short = {name for name in inputs if "__" not in name}
    if short != {"amount", "price"}:
        raise AssertionError(f"handed {sorted(inputs)}")
    return {"twice": [2 * a + b for a, b in zip(inputs["amount"], inputs["price"], strict=True)]}


Opener = Callable[..., FeatureStore]


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    """Writes the two views, applies them and opens the store, with settings of the offline store."""
    sales().write_parquet(tmp_path / "sales.parquet", row_group_size=30)
    sizes = {
        "store_id": range(N_STORES),
        "event_timestamp": [T0] * N_STORES,
        "size": [1.0 * i for i in range(N_STORES)],
    }
    pl.DataFrame(sizes).write_parquet(tmp_path / "store.parquet")

    def open_store(**settings: Any) -> FeatureStore:
        config = RepoConfig(
            project="offline",
            provider="local",
            registry=str(tmp_path / "registry.db"),
            offline_store={"type": "foretail.features.offline.AsofOfflineStore", **settings},
            online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
            entity_key_serialization_version=3,
            repo_path=tmp_path,
        )
        store = FeatureStore(config=config)
        store.apply(objects())
        return store

    return open_store


def objects() -> list[Any]:
    store_id = Entity(name="store_id", value_type=ValueType.INT64)
    views = {}
    for name, created, schema in (
        ("sales", "created_timestamp", {"amount": Float64, "visits": Int64}),
        ("store", "", {"size": Float64}),
    ):
        source = FileSource(
            name=f"{name}_source",
            path=f"{name}.parquet",
            timestamp_field="event_timestamp",
            created_timestamp_column=created,
        )
        fields = [Field(name="store_id", dtype=Int64), *(Field(name=n, dtype=t) for n, t in schema.items())]
        views[name] = FeatureView(name=name, entities=[store_id], schema=fields, source=source, ttl=dt.timedelta(0))
    derived = OnDemandFeatureView(
        name="derived",
        sources=[views["sales"][["amount"]], RequestSource(name="prices", schema=[Field(name="price", dtype=Float64)])],
        schema=[Field(name="twice", dtype=Float64)],
        feature_transformation=PythonTransformation(udf=twice, udf_string=inspect.getsource(twice)),
        mode="python",
    )
    return [store_id, *views.values(), derived]


def expected() -> pl.DataFrame:
    joined = entities().join(
        sales().with_columns(pl.col("event_timestamp") + dt.timedelta(hours=5)),
        on=["store_id", "event_timestamp"],
        how="left",
        maintain_order="left",
    )
    return joined.with_columns(
        size=pl.col("store_id").cast(pl.Float64), twice=2 * pl.col("amount") + pl.col("price")
    ).select(*entities().columns, "amount", "visits", "size", "twice")


@pytest.mark.parametrize("settings", [{}, {"row_budget": 40, "partitions": 5}], ids=["at once", "by partition"])
@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "address"])
def test_rows_of_every_kind_keep_number_and_order(opened: Opener, tmp_path: Path, settings: Any, kind: str) -> None:
    entities().write_parquet(tmp_path / "asked.parquet")
    given: Any = {
        "pandas": entities().to_pandas(),
        "polars": entities(),
        "arrow": entities().to_arrow(),
        "address": str(tmp_path / "asked.parquet"),
    }[kind]
    job = opened(**settings).get_historical_features(given, FEATURES)
    got = pl.from_arrow(job.to_arrow())
    assert_frame_equal(got, expected(), check_exact=True)
    assert_frame_equal(job.to_polars(), got)
    pd.testing.assert_frame_equal(job.to_df(), job.to_arrow().to_pandas())


def test_a_training_set_larger_than_memory_is_a_folder(opened: Opener, tmp_path: Path) -> None:
    store = opened(row_budget=40)
    job = store.get_historical_features(entities().to_pandas(), FEATURES, full_feature_names=True)
    parts = job.to_parquet(tmp_path / "training")
    assert len(parts) > 3
    got = pl.concat(pl.read_parquet(part) for part in parts).sort("price")
    names = {ref.partition(":")[2]: ref.replace(":", "__") for ref in FEATURES}
    assert_frame_equal(got, expected().sort("price").rename(names), check_exact=True)


@pytest.mark.parametrize("name", ["saved.parquet", "saved"])
def test_a_saved_dataset_is_replaced_only_when_told_to(opened: Opener, tmp_path: Path, name: str) -> None:
    store = opened(row_budget=40)
    job = store.get_historical_features(entities().to_pandas(), FEATURES)
    storage = SavedDatasetFileStorage(path=name)
    job.persist(storage)
    assert_frame_equal(pl.read_parquet(tmp_path / name).sort("price"), expected().sort("price"))
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    half = store.get_historical_features(entities().head(5).to_pandas(), FEATURES)
    half.persist(storage, allow_overwrite=True)
    assert pl.read_parquet(tmp_path / name).height == 5


def test_a_saved_dataset_may_lie_at_an_address(opened: Opener) -> None:
    folder = f"memory://saved-{os.getpid()}"
    job = opened().get_historical_features(entities().to_pandas(), FEATURES)
    job.persist(SavedDatasetFileStorage(path=f"{folder}/x.parquet"))
    with fsspec.open(f"{folder}/x.parquet", "rb") as file:
        assert_frame_equal(pl.from_arrow(pq.read_table(file)), expected())
    fsspec.filesystem("memory").rm(folder, recursive=True)


def test_logs_are_read_back(opened: Opener, tmp_path: Path) -> None:
    store = opened()
    destination = FileLoggingDestination(path="logs")
    AsofOfflineStore.write_logged_features(
        store.config, sales().to_arrow(), None, LoggingConfig(destination=destination), store.registry
    )
    job = AsofOfflineStore.pull_all_from_table_or_query(
        store.config, destination.to_data_source(), [], ["amount"], "event_timestamp", None, T0, T0 + DAY
    )
    assert job.to_df()["amount"].tolist() == sales().filter(pl.col("event_timestamp") <= T0 + DAY)["amount"].to_list()


# what is refused: the message names the view, and the file or the column


def test_an_unknown_entity_column(opened: Opener) -> None:
    with pytest.raises(DataError) as caught:
        opened().get_historical_features(entities().rename({"store_id": "shop_id"}).to_pandas(), FEATURES)
    assert "the entity rows have no column 'store_id'" in str(caught.value)
    assert "sales joins on store_id" in str(caught.value) and "shop_id" in str(caught.value)


def test_a_key_of_another_type(opened: Opener, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        opened().get_historical_features(entities().with_columns(pl.col("store_id").cast(pl.String)), FEATURES)
    assert "'store_id' is String in the entity rows and Int64 in the source" in str(caught.value)
    assert str(tmp_path / "sales.parquet") in str(caught.value)


def test_a_column_that_would_come_twice(opened: Opener) -> None:
    rows = entities().with_columns(amount=pl.lit(1.0))
    store = opened()
    with pytest.raises(DataError, match=r"two columns would be called 'amount'[^$]*sales and the entity rows"):
        store.get_historical_features(rows, FEATURES)
    whole = store.get_historical_features(rows, ["sales:amount"], full_feature_names=True)
    assert {"amount", "sales__amount"} <= set(whole.to_arrow().column_names)


def lost_column(path: Path) -> None:
    sales().drop("visits").write_parquet(path)


def corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [(lost_column, "no column 'visits'"), (corrupt, "cannot be read"), (gone, "no Parquet file")],
)
@pytest.mark.parametrize("when", ["before", "after asking"])
def test_a_source_that_no_longer_holds(opened: Opener, tmp_path: Path, change: Any, message: str, when: str) -> None:
    store, path = opened(), tmp_path / "sales.parquet"

    def asked() -> Iterator[None]:
        if when == "before":
            change(path)
        job = store.get_historical_features(entities().to_pandas(), FEATURES)
        change(path) if when != "before" else None
        job.to_df()

    with pytest.raises(DataError, match=message) as caught:
        asked()
    assert "sales" in str(caught.value) and str(path) in str(caught.value)


def test_an_on_demand_view_without_its_inputs(opened: Opener) -> None:
    job = opened().get_historical_features(entities().drop("price"), FEATURES)  # Feast looks at pandas frames only
    with pytest.raises(DataError, match=r"inputs are not there: price[^$]*on-demand view derived"):
        job.to_arrow()


def test_a_source_of_another_kind(opened: Opener) -> None:
    store = opened()
    source = PostgreSQLSource(name="table", table="sales", timestamp_field="event_timestamp")
    pull = AsofOfflineStore.pull_all_from_table_or_query
    with pytest.raises(UsageError, match=r"needs a database[^$]*url: postgresql"):
        pull(store.config, source, ["store_id"], ["amount"], "event_timestamp")
    with pytest.raises(UsageError, match="RequestSource is not read"):
        pull(store.config, RequestSource(name="x", schema=[]), ["store_id"], ["amount"], "event_timestamp")


def test_saving_to_a_database_is_refused(opened: Opener) -> None:
    job = opened().get_historical_features(entities(), FEATURES)
    with pytest.raises(UsageError, match="cannot be saved to SavedDatasetPostgreSQLStorage"):
        job.persist(SavedDatasetPostgreSQLStorage(table_ref="x"))


def test_a_service_is_the_same_as_its_references(opened: Opener) -> None:
    store = opened()
    service = FeatureService(name="training", features=[*(store.get_feature_view(name) for name in ("sales", "store"))])
    store.apply([service])
    got = store.get_historical_features(entities(), store.get_feature_service("training")).to_polars()
    assert_frame_equal(got, expected().drop("twice"))


# settings


@pytest.mark.parametrize("wrong", [{"row_budget": 0}, {"partitions": 0}, {"row_bugdet": 9}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AsofOfflineStoreConfig(**wrong)


def test_the_database_is_found_under_feasts_names_and_its_password_is_not_shown() -> None:
    config = AsofOfflineStoreConfig(url="postgresql+psycopg://me:s%40fe@db.local:6543/shop?sslmode=require")
    assert (config.host, config.port, config.user, config.password, config.database, config.sslmode) == (
        "db.local",
        6543,
        "me",
        "s@fe",
        "shop",
        "require",
    )
    assert config.source_database is not None and config.source_database.url.startswith("postgresql://me:s%40fe@")
    assert "s@fe" not in repr(config) + repr(config.source_database)
    assert "s%40fe" not in repr(config) + repr(config.source_database)


def test_workers_of_a_join_do_not_import_feast() -> None:
    code = "import sys, foretail.features.offline.stream; print('feast' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
