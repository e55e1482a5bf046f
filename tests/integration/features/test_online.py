"""The online store behind Feast's API (apply, materialize, push, get, serve) and the reader beside it, to the bit."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner
from feast import (
    BatchFeatureView,
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    PushSource,
    RequestSource,
    ValueType,
)
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Bool, Float32, Float64, Int64, String, UnixTimestamp

from foretail.core.errors import DataError, UsageError
from foretail.features.online import (
    AS_OF,
    BulkEngine,
    OnlineReader,
    OnlineStoreError,
    StaleFeatures,
    WideOnlineStore,
    freshness,
)
from foretail.features.online.parity import differences, online_offline_differences

T = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
WEEK = dt.timedelta(weeks=1)
STORES, DEPARTMENTS = (1, 2, 3), (1, 11)
ASOF = "foretail.features.offline.AsofOfflineStore"
pytestmark = [
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Cannot write dataframe:UserWarning"),
]
SALES_FIELDS = [
    Field(name="lag_1", dtype=Float64),
    Field(name="n_open", dtype=Int64),
    Field(name="small", dtype=Float32),
    Field(name="promo", dtype=Bool),
    Field(name="note", dtype=String),
    Field(name="since", dtype=UnixTimestamp),
]
RATIO = """\
def ratio(inputs):
    pairs = zip(inputs["lag_1"], inputs["store_size"])
    return {
        "per_size": [None if x is None or not y else x / y for x, y in pairs],
        "planned": [None if x is None else x * m for x, m in zip(inputs["lag_1"], inputs["markdown"])],
    }
"""


def sales(week: int, **changed: Any) -> pl.DataFrame:
    """One row per store and department as of a week; every third note and the lags of the first store are null."""
    keys = [(store, department) for store in STORES for department in DEPARTMENTS]
    n = len(keys)
    frame = pl.DataFrame(
        {
            "store_id": [store for store, _ in keys],
            "dept_id": [department for _, department in keys],
            "lag_1": [None if store == 1 else math.pi * (week + i) for i, (store, _) in enumerate(keys)],
            "n_open": [2**60 + i + week for i in range(n)],
            "small": pl.Series([0.1 * i for i in range(n)], dtype=pl.Float32),
            "promo": [None if i == 1 else i % 2 == 0 for i in range(n)],
            "note": [None if i % 3 == 0 else f"wéek {week}" for i in range(n)],
            "since": [T + i * WEEK for i in range(n)],
            "event_timestamp": [T + week * WEEK] * n,
            "created_timestamp": [T + week * WEEK] * n,
        }
    )
    return frame.with_columns(**{name: pl.lit(value) for name, value in changed.items()})


def stores() -> pl.DataFrame:
    return pl.DataFrame({"shop": STORES, "size": [10, 0, 30], "event_timestamp": [T] * 3, "created_timestamp": [T] * 3})


class Repository:
    """A Feast repository over two Parquet files, with foretail's offline store and batch engine."""

    def __init__(self, folder: Path, online: Mapping[str, Any] | None = None, engine: Mapping[str, Any] | None = None):
        self.folder = folder
        settings = {
            "project": "shops",
            "provider": "local",
            "registry": str(folder / "registry.db"),
            "offline_store": {"type": ASOF},
            "online_store": dict(
                online or {"type": "foretail.features.online.WideOnlineStore", "path": "data/online.db"}
            ),
            "batch_engine": dict(engine or {"type": "foretail.features.online.BulkEngine"}),
            "entity_key_serialization_version": 3,
        }
        (folder / "feature_store.yaml").write_text(json.dumps(settings))  # JSON is YAML
        self.store = FeatureStore(repo_path=str(folder))
        self.write(sales(0))
        stores().write_parquet(folder / "stores.parquet")
        self.apply()

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_parquet(self.folder / "sales.parquet")

    def apply(self, fields: list[Field] = SALES_FIELDS) -> None:
        store_id = Entity(name="store_id", value_type=ValueType.INT64)
        dept_id = Entity(name="dept_id", value_type=ValueType.INT64)
        size = Field(name="store_size", dtype=Int64, tags={"role": "static"})
        self.sales = FeatureView(
            name="sales_features",
            entities=[store_id, dept_id],
            ttl=dt.timedelta(0),
            schema=[Field(name="store_id", dtype=Int64), Field(name="dept_id", dtype=Int64), *fields],
            source=PushSource(name="tills", batch_source=self._source("sales")),
        )
        self.stores = FeatureView(
            name="store_features",
            entities=[store_id],
            ttl=dt.timedelta(0),
            schema=[Field(name="store_id", dtype=Int64), size],
            source=self._source("stores", {"shop": "store_id", "size": "store_size"}),
        )
        scope: dict[str, Any] = {}
        exec(RATIO, scope)  # Feast keeps the text and runs it in the same way
        derived = OnDemandFeatureView(
            name="derived_features",
            sources=[
                self.sales[["lag_1"]],
                self.stores,
                RequestSource(name="ahead", schema=[Field(name="markdown", dtype=Float64)]),
            ],
            schema=[Field(name="per_size", dtype=Float64), Field(name="planned", dtype=Float64)],
            feature_transformation=PythonTransformation(udf=scope["ratio"], udf_string=RATIO),
            mode="python",
        )
        services = [
            FeatureService(name="plain", features=[self.sales, self.stores]),
            FeatureService(name="derived", features=[self.sales[["lag_1", "promo"]], derived]),
        ]
        self.store.apply([store_id, dept_id, self.sales, self.stores, derived, *services])

    def _source(self, name: str, mapping: dict[str, str] | None = None) -> FileSource:
        return FileSource(
            name=name,
            path=str(self.folder / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
            field_mapping=mapping,
        )

    def materialize(self, weeks: int = 0) -> None:
        self.store.materialize(T - WEEK, T + weeks * WEEK)

    def get(self, service: str, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
        return dict(self.store.get_online_features(self.store.get_feature_service(service), rows).to_dict())


@pytest.fixture(params=["sqlite", "postgres"])
def online(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Settings of the online store: a SQLite file, and PostgreSQL where ``FORETAIL_POSTGRES_URL`` names one."""
    where = {"path": str(tmp_path / "online.db")}
    if request.param == "postgres":
        where = {"url": os.environ.get("FORETAIL_POSTGRES_URL", "")}
        if not where["url"]:
            pytest.skip("FORETAIL_POSTGRES_URL names no PostgreSQL")
        from foretail.features.online.postgres import PostgresBackend

        backend = PostgresBackend(where["url"])
        backend.drop("shops", ["sales_features", "store_features", "derived_features"])
        backend.close()
    yield {"type": "foretail.features.online.WideOnlineStore", **where}


@pytest.fixture
def repository(tmp_path: Path, online: dict[str, Any]) -> Repository:
    made = Repository(tmp_path, online)
    made.materialize()
    return made


KEYS = [
    {"store_id": 3, "dept_id": 11},
    {"store_id": 1, "dept_id": 1},
    {"store_id": 9, "dept_id": 1},
    {"store_id": 3, "dept_id": 11},
]


def at(frame: pl.DataFrame, column: str, keys: list[dict[str, Any]] = KEYS) -> list[Any]:
    """What a frame holds for some keys."""
    found = {(row["store_id"], row["dept_id"]): row[column] for row in frame.iter_rows(named=True)}
    return [found.get((key["store_id"], key["dept_id"])) for key in keys]


def test_feast_reads_what_the_source_holds(repository: Repository) -> None:
    found = repository.get("plain", KEYS)
    for name in ("lag_1", "n_open", "small", "promo", "note", "since"):
        assert found[name] == at(sales(0), name), name
    assert found["store_size"] == [30, 10, None, 30]


def test_the_reader_says_what_feast_says(repository: Repository) -> None:
    reader = OnlineReader(repository.store, "plain")
    found = reader.read(KEYS)
    feasts = repository.get("plain", KEYS)
    assert {name: column for name, column in found.items() if name != AS_OF} == feasts
    assert list(found)[:3] == ["store_id", "dept_id", AS_OF]
    assert found[AS_OF] == [T, T, None, T]
    columns = {name: [row[name] for row in KEYS] for name in ("store_id", "dept_id")}
    assert reader.read(columns) == found
    frame = reader.read(pl.DataFrame(columns))
    assert frame.to_dict(as_series=False) == {name: frame[name].to_list() for name in found}
    assert frame.select(pl.exclude("small")).to_dict(as_series=False) == {
        k: v for k, v in found.items() if k != "small"
    }
    assert frame.schema["small"] == pl.Float32
    assert frame.schema[AS_OF] == pl.Datetime("us", "UTC")
    assert frame.schema["n_open"] == pl.Int64


def test_on_demand_features_come_with_the_row(repository: Repository) -> None:
    rows = [{**key, "markdown": 2.0} for key in KEYS]
    reader = OnlineReader(repository.store, "derived")
    found, feasts = reader.read(rows), repository.get("derived", rows)
    lags = at(sales(0), "lag_1")
    assert found["planned"] == [None if lag is None else lag * 2.0 for lag in lags] == feasts["planned"]
    assert found["per_size"] == [lags[0] / 30, None, None, lags[0] / 30] == feasts["per_size"]
    assert set(found) == {"store_id", "dept_id", AS_OF, "lag_1", "promo", "per_size", "planned"}
    one = reader.read(rows[:1])
    assert one == {name: column[:1] for name, column in found.items()}
    with pytest.raises(DataError, match="markdown"):
        reader.read(KEYS)


def on_demand(repository: Repository, **how: Any) -> OnlineReader:
    """A reader of an on-demand view ``made`` with one feature ``out`` on ``lag_1`` and ``promo``."""
    schema = [Field(name="out", dtype=Float64)]
    view = OnDemandFeatureView(name="made", sources=[repository.sales[["lag_1", "promo"]]], schema=schema, **how)
    repository.store.apply([view, FeatureService(name="made_only", features=[view])])
    return OnlineReader(repository.store, "made_only")


def row_by_row(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"out": None if inputs["lag_1"] is None else inputs["lag_1"] + 1}


def by_full_name(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"out": [None if x is None else x + 1 for x in inputs["sales_features__lag_1"]]}


def by_frame(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"out": inputs["lag_1"] + 1})


def half(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"out": inputs["lag_1"][:1]}


@pytest.mark.parametrize(
    ("function", "mode", "singleton"),
    [(row_by_row, "python", True), (by_full_name, "python", False), (by_frame, "pandas", False)],
)
def test_functions_of_every_kind_see_every_row(
    repository: Repository, function: Any, mode: str, singleton: bool
) -> None:
    text = inspect.getsource(function)
    reader = on_demand(repository, udf=function, udf_string=text, mode=mode, singleton=singleton)
    wanted = [None if lag is None else lag + 1 for lag in at(sales(0), "lag_1")]
    found = [None if value is None or math.isnan(value) else value for value in reader.read(KEYS)["out"]]
    assert found == wanted
    assert reader.read([])["out"] == []


def test_a_function_that_forgets_rows_is_refused(repository: Repository) -> None:
    reader = on_demand(repository, udf=half, udf_string=inspect.getsource(half), mode="python")
    assert reader.read(KEYS[:1])["out"] == at(sales(0), "lag_1")[:1]
    with pytest.raises(DataError, match="out of 4 rows came out as 1 values"):
        reader.read(KEYS)


def test_full_names_keep_views_apart(repository: Repository) -> None:
    found = OnlineReader(repository.store, "plain", full_feature_names=True).read(KEYS[:1])
    assert found["sales_features__lag_1"] == at(sales(0), "lag_1")[:1]
    assert found["store_features__store_size"] == [30]


def test_unknown_services_and_missing_keys_are_said(repository: Repository) -> None:
    with pytest.raises(UsageError, match="did you mean 'plain'"):
        OnlineReader(repository.store, "plane")
    reader = OnlineReader(repository.store, "plain")
    with pytest.raises(DataError, match="dept_id"):
        reader.read([{"store_id": 1}])
    with pytest.raises(DataError, match="differ in length"):
        reader.read({"store_id": [1, 2], "dept_id": [1]})
    with pytest.raises(DataError, match="store_id"):
        reader.read([{"store_id": "one", "dept_id": 1}])
    assert reader.read([]) == {name: [] for name in reader.read(KEYS)}


def test_online_is_offline_to_the_bit(repository: Repository) -> None:
    keys = sales(0).select("store_id", "dept_id")
    assert online_offline_differences(repository.store, "plain", keys).is_empty()
    with_request = keys.with_columns(markdown=pl.lit(0.3))
    assert online_offline_differences(repository.store, "derived", with_request).is_empty()


def test_a_difference_in_one_bit_is_found() -> None:
    one = pl.DataFrame({"k": [1, 2, 3, 4], "x": [0.1, -0.0, None, float("nan")], "y": ["a", "b", None, "d"]})
    assert differences(one, one, ("k",)).is_empty()
    other = pl.DataFrame({"k": [1, 2, 3, 4], "x": [0.1 + 2e-17, 0.0, float("nan"), None], "y": ["a", None, None, "d"]})
    found = differences(one, other, ("k",))
    assert found.rows() == [
        (1, "x", "0.1", "0.10000000000000002"),
        (2, "x", "-0.0", "0.0"),
        (3, "x", None, "nan"),
        (4, "x", "nan", None),
        (2, "y", "'b'", None),
    ]


def test_incremental_materialisation_brings_the_newer_rows(repository: Repository) -> None:
    repository.write(pl.concat([sales(0), sales(2)]))
    repository.store.materialize_incremental(T + WEEK)
    assert repository.get("plain", KEYS)["lag_1"] == at(sales(0), "lag_1")
    repository.store.materialize_incremental(T + 3 * WEEK)
    assert repository.get("plain", KEYS)["lag_1"] == at(sales(2), "lag_1")
    fresh = {entry.view: entry for entry in freshness(repository.store.config)}
    assert (fresh["sales_features"].n_rows, fresh["sales_features"].newest) == (6, T + 2 * WEEK)
    assert (fresh["store_features"].n_rows, fresh["store_features"].newest) == (3, T)
    assert fresh["store_features"].end == T + 3 * WEEK


def test_materialising_an_older_range_again_takes_nothing_back(repository: Repository) -> None:
    repository.write(pl.concat([sales(0), sales(2)]))
    repository.materialize(2)
    repository.materialize(0)
    assert repository.get("plain", KEYS)["lag_1"] == at(sales(2), "lag_1")


def test_a_push_is_stored_unless_it_is_older(repository: Repository) -> None:
    store = repository.store
    older, newer = (sales(week).filter(pl.col("store_id") == 3).to_pandas() for week in (-1, 1))
    store.push("tills", newer)
    store.write_to_online_store("sales_features", older)
    keys = [{"store_id": 3, "dept_id": 11}, {"store_id": 2, "dept_id": 11}]
    found = repository.get("plain", keys)
    assert found["lag_1"] == [*at(sales(1), "lag_1", keys[:1]), *at(sales(0), "lag_1", keys[1:])]
    assert found["note"] == [*at(sales(1), "note", keys[:1]), *at(sales(0), "note", keys[1:])]
    (fresh,) = [entry for entry in freshness(store.config) if entry.view == "sales_features"]
    assert (fresh.n_rows, fresh.newest, fresh.end) == (6, T + WEEK, T)


def test_stale_rows_are_refused_with_their_numbers(repository: Repository) -> None:
    repository.store.push("tills", sales(2).filter(pl.col("store_id") == 3).to_pandas())
    reader = OnlineReader(repository.store, "plain")
    now = T + 2 * WEEK
    assert reader.read(KEYS[:1], max_age=WEEK, now=now)[AS_OF] == [now]  # the store's own features are older: static
    with pytest.raises(StaleFeatures, match="older than 7 days") as refused:
        reader.read(KEYS, max_age=WEEK, now=now)
    assert (refused.value.stale, refused.value.missing) == ((1,), (2,))
    assert "1 of 4 keys have no feature row" in str(refused.value)
    assert "1/1" in str(refused.value)
    assert reader.read(KEYS[:2], max_age=2 * WEEK, now=now)[AS_OF] == [now, T]


def test_a_changed_view_is_read_by_its_own_schema_or_refused(repository: Repository) -> None:
    repository.apply([field for field in SALES_FIELDS if field.name != "note"] + [Field(name="new", dtype=Float64)])
    store = repository.store
    kept = store.get_online_features(["sales_features:lag_1", "sales_features:promo"], KEYS).to_dict()
    assert kept["lag_1"] == at(sales(0), "lag_1")
    assert kept["promo"] == at(sales(0), "promo")
    with pytest.raises(OnlineStoreError, match="without new as declared now"):
        store.get_online_features(["sales_features:lag_1", "sales_features:new"], KEYS)
    with pytest.raises(OnlineStoreError, match="materialize"):
        OnlineReader(store, FeatureService(name="some", features=[repository.sales])).read(KEYS)
    repository.write(sales(0, new=0.5))
    repository.materialize()
    assert OnlineReader(store, FeatureService(name="some", features=[repository.sales])).read(KEYS)["new"] == [
        0.5,
        0.5,
        None,
        0.5,
    ]


def test_a_feature_of_another_type_is_refused(repository: Repository) -> None:
    repository.apply([Field(name="n_open", dtype=Float64), *(item for item in SALES_FIELDS if item.name != "n_open")])
    with pytest.raises(OnlineStoreError, match="n_open"):
        repository.store.get_online_features(["sales_features:n_open"], KEYS)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            lambda frame: frame.with_columns(pl.col("note").cast(pl.Binary), lag_1=pl.lit("1.0")),
            "lag_1, declared DOUBLE",
        ),
        (lambda frame: frame.with_columns(dept_id=pl.lit(None, pl.Int64)), "dept_id, 3 rows"),
        (lambda frame: frame.with_columns(n_open=pl.lit(0.5)), "n_open, declared INT64"),
    ],
    ids=["text for numbers", "null keys", "halves for whole numbers"],
)
def test_a_broken_source_is_named_and_the_store_keeps_what_it_had(
    repository: Repository, broken: Any, said: str
) -> None:
    before = repository.get("plain", KEYS), freshness(repository.store.config)
    repository.write(broken(sales(1)))
    with pytest.raises(DataError) as refused:
        repository.materialize(1)
    assert said in str(refused.value)
    assert "view sales_features, source sales" in str(refused.value)
    assert OnlineReader(repository.store, "plain").read(KEYS)["lag_1"] == before[0]["lag_1"]
    assert freshness(repository.store.config) == before[1]


def test_a_view_that_was_never_materialised_holds_nothing_and_one_never_applied_is_said(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    assert repository.get("plain", KEYS)["lag_1"] == [None] * 4
    assert freshness(repository.store.config) == []
    (tmp_path / "data" / "online.db").unlink()
    fresh_store = FeatureStore(repo_path=str(tmp_path))
    with pytest.raises(OnlineStoreError, match="nothing is stored"):
        OnlineReader(fresh_store, "plain").read(KEYS)


def test_deleting_a_view_drops_its_rows_and_teardown_all(repository: Repository) -> None:
    store = repository.store
    backend = WideOnlineStore().backend(store.config)
    store.teardown()
    assert freshness(store.config) == []
    with pytest.raises(OnlineStoreError, match="nothing is stored"):
        backend.read("rows_shops_sales_features", [b"1"])
    backend.close()


def test_a_view_without_entities_has_one_row(repository: Repository) -> None:
    repository.write(sales(0))
    frame = pl.DataFrame({"cpi": [1.5, 2.5], "event_timestamp": [T - WEEK, T]})
    frame.write_parquet(repository.folder / "country.parquet")
    source = FileSource(
        name="country", path=str(repository.folder / "country.parquet"), timestamp_field="event_timestamp"
    )
    view = FeatureView(
        name="country_features",
        entities=[],
        ttl=dt.timedelta(0),
        schema=[Field(name="cpi", dtype=Float64)],
        source=source,
    )
    service = FeatureService(name="country", features=[repository.sales[["lag_1"]], view])
    repository.store.apply([view, service])
    repository.store.materialize(T - 2 * WEEK, T, feature_views=["country_features"])
    assert OnlineReader(repository.store, "country").read(KEYS)["cpi"] == [2.5] * 4
    assert repository.get("country", KEYS)["cpi"] == [2.5] * 4


def test_feasts_own_online_store_is_filled_row_by_row_and_read_the_same(tmp_path: Path) -> None:
    repository = Repository(
        tmp_path,
        {"type": "sqlite", "path": str(tmp_path / "stock.db")},
        {"type": "foretail.features.online.BulkEngine", "chunk_rows": 4},
    )
    repository.materialize()
    reader = OnlineReader(repository.store, "derived")
    rows = [{**key, "markdown": 2.0} for key in KEYS]
    found, feasts = reader.read(rows), repository.get("derived", rows)
    assert {name: column for name, column in found.items() if name != AS_OF} == feasts
    assert found["promo"] == at(sales(0), "promo")
    assert found[AS_OF] == [T, T, None, T]
    with pytest.raises(UsageError, match="keeps no freshness"):
        freshness(repository.store.config)


def test_rows_that_a_store_of_feast_does_not_hold_afterwards_fail_the_job(tmp_path: Path) -> None:
    from feast.infra.online_stores.sqlite import SqliteOnlineStore

    class Forgetful(SqliteOnlineStore):
        """Says done and keeps nothing."""

        def online_write_batch(self, config: Any, table: Any, data: Any, progress: Any) -> None:
            super().online_write_batch(config, table, data[:-1], progress)

    repository = Repository(tmp_path, {"type": "sqlite", "path": str(tmp_path / "stock.db")})
    provider = repository.store._get_provider()
    engine = BulkEngine(
        repo_config=repository.store.config, offline_store=provider.offline_store, online_store=Forgetful()
    )
    task = MaterializationTask("shops", repository.store.get_feature_view("sales_features"), T - WEEK, T)
    (job,) = engine.materialize(repository.store.registry, task)
    assert job.status() == MaterializationJobStatus.ERROR
    assert "of 6 rows 5 are there after writing" in str(job.error())


def test_one_view_asked_for_two_keys_is_read_twice(repository: Repository) -> None:
    near = repository.stores.with_name("near").with_join_key_map({"store_id": "near_id"})
    repository.store.apply(
        [FeatureService(name="pairs", features=[repository.sales[["lag_1"]], repository.stores, near])]
    )
    rows = [{**key, "near_id": 1} for key in KEYS[:2]]
    with pytest.raises(UsageError, match="store_size"):
        OnlineReader(repository.store, "pairs")
    found = OnlineReader(repository.store, "pairs", full_feature_names=True).read(rows)
    assert found["store_features__store_size"] == [30, 10]
    assert found["near__store_size"] == [10, 10]
    assert found["near_id"] == [1, 1]


@pytest.mark.filterwarnings("ignore:Batch feature views are experimental:RuntimeWarning")
def test_a_view_that_must_be_computed_is_left_to_feasts_engine(repository: Repository) -> None:
    view = BatchFeatureView(
        name="doubled",
        entities=[Entity(name="store_id", value_type=ValueType.INT64)],
        ttl=dt.timedelta(0),
        online=True,
        mode="pandas",
        udf=doubled,
        udf_string="doubled",
        schema=[Field(name="store_id", dtype=Int64), Field(name="twice", dtype=Float64)],
        source=repository._source("stores", {"shop": "store_id"}),
    )
    repository.store.apply([view])
    repository.store.materialize(T - WEEK, T, feature_views=["doubled"])
    found = repository.store.get_online_features(["doubled:twice"], [{"store_id": 3}, {"store_id": 2}]).to_dict()
    assert found["twice"] == [60.0, 0.0]


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    """A transformation on reading the source."""
    frame["twice"] = frame["size"] * 2.0
    return frame


def test_progress_counts_every_row_that_was_read(repository: Repository) -> None:
    seen: list[int] = []

    class Bar:
        def __init__(self, total: int):
            seen.append(-total)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            seen.append(0)

        def update(self, n: int) -> None:
            seen.append(n)

    provider = repository.store._get_provider()
    engine = BulkEngine(
        chunk_rows=4,
        repo_config=repository.store.config,
        offline_store=provider.offline_store,
        online_store=provider.online_store,
    )
    view = repository.store.get_feature_view("sales_features")
    (job,) = engine.materialize(
        repository.store.registry, MaterializationTask("shops", view, T - WEEK, T, tqdm_builder=Bar)
    )
    assert job.status() == MaterializationJobStatus.SUCCEEDED
    assert (seen[0], sum(seen[1:]), seen[-1]) == (-6, 6, 0)
    assert seen.count(4) == 1


def feast(folder: Path, *words: str) -> None:
    """One of Feast's commands."""
    from feast.cli.cli import cli

    done = CliRunner().invoke(cli, ["-c", str(folder), *words])
    assert done.exit_code == 0, done.output


def test_feasts_command_line_and_server_work_on_it(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write(pl.concat([sales(0), sales(1)]))
    feast(tmp_path, "materialize", (T - WEEK).strftime("%Y-%m-%dT%H:%M:%S"), T.strftime("%Y-%m-%dT%H:%M:%S"))
    assert OnlineReader(repository.store, "plain").read(KEYS)["lag_1"] == at(sales(0), "lag_1")
    feast(tmp_path, "materialize-incremental", (T + WEEK).strftime("%Y-%m-%dT%H:%M:%S"))
    assert OnlineReader(repository.store, "plain").read(KEYS)["lag_1"] == at(sales(1), "lag_1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(tmp_path), "serve", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answer = ask(port, {"feature_service": "plain", "entities": {"store_id": [3, 9], "dept_id": [11, 1]}})
    finally:
        server.terminate()
        server.wait(30)
    values = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
    assert values["lag_1"]["values"] == at(sales(1), "lag_1", [KEYS[0], KEYS[2]])
    assert values["lag_1"]["statuses"] == ["PRESENT", "NOT_FOUND"]


def ask(port: int, question: dict[str, Any]) -> dict[str, Any]:
    """The server's answer, as soon as it is up."""
    body = json.dumps(question).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/get-online-features", body, {"Content-Type": "application/json"}
    )
    for _ in range(600):
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                answer: dict[str, Any] = json.loads(reply.read())
                return answer
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.2)
    raise AssertionError("the server did not come up")
