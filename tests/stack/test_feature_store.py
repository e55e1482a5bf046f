"""The feature store on real services: the same values from each of them, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from scripts.services.postgres import Postgres
from scripts.services.redis import Redis

from foretail.features.feast_objects import feast_objects

sys.path.insert(0, str(Path(__file__).parent))
from stack_store import (
    REPOSITORY,
    STACK,
    World,
    apply,
    historical,
    load_tables,
    online,
    open_store,
    settings,
)

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning")
LOCAL = {"execution": "local"}


def stock_postgres(service: Postgres, url: str) -> dict[str, Any]:
    """Feast's own online store on PostgreSQL."""
    login = {"user": "foretail", "password": service.password, "database": url.rpartition("/")[2]}
    return {"type": "postgres", "host": "127.0.0.1", "port": service.port, **login, "sslmode": "disable"}


@pytest.mark.parametrize("kind", ["foretail", "postgres", "redis"])
def test_every_online_store_serves_what_is_recomputed_from_the_sales(
    kind: str, world: World, urls: str, postgres: Postgres, redis: Redis, tmp_path: Path
) -> None:
    blocks: dict[str, Mapping[str, Any]] = {
        "foretail": {},
        "postgres": {"online_store": stock_postgres(postgres, urls)},
        "redis": {"online_store": {"type": "redis", "connection_string": redis.connection}},
    }
    with open_store(tmp_path, settings(offline_store=LOCAL, **blocks[kind])) as store:
        apply(store, world)
        store.materialize(world.date(59), world.date(2))
        assert_frame_equal(online(store, world), world.recomputed(2), check_exact=True)
        store.materialize_incremental(end_date=world.date(0))
        assert_frame_equal(online(store, world), world.recomputed(0), check_exact=True)


def test_of_two_materialisations_at_once_the_newer_rows_stay(world: World, urls: str, tmp_path: Path) -> None:
    found = settings(offline_store=LOCAL, batch_engine={"chunk_rows": 2})
    with open_store(tmp_path / "a", found) as first, open_store(tmp_path / "b", found) as second:
        apply(first, world)
        with ThreadPoolExecutor(2) as pool:
            newer = pool.submit(first.materialize, world.date(59), world.date(0))
            older = pool.submit(second.materialize, world.date(59), world.date(30))
        assert (newer.exception(), older.exception()) == (None, None)
        assert_frame_equal(online(second, world), world.recomputed(0), check_exact=True)
        second.materialize(world.date(59), world.date(30))
        assert_frame_equal(online(second, world), world.recomputed(0), check_exact=True)


def test_the_shipped_stack_settings_work_from_the_command_line(world: World, urls: str, tmp_path: Path) -> None:
    with open_store(tmp_path, settings(offline_store=LOCAL)) as store:
        environment = {**os.environ, "FORETAIL_FEATURES": str(world.folder), "FEAST_USAGE": "False"}
        feast = [str(Path(sys.executable).with_name("feast")), "--feature-store-yaml", STACK]
        first, last = (f"{world.date(weeks):%Y-%m-%dT%H:%M:%S}" for weeks in (59, 0))
        for words in (["apply"], ["materialize", first, last]):
            done = subprocess.run([*feast, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        assert_frame_equal(online(store, world), world.recomputed(0), check_exact=True)
    with psycopg.connect(urls) as session:
        tables = {name for (name,) in session.execute("select tablename from pg_tables where schemaname = 'public'")}
    assert {"feature_views", "entities"} < tables
    assert not (tmp_path / "data" / "registry.db").exists()


def test_tables_in_postgresql_give_what_parquet_gives(world: World, urls: str, tmp_path: Path) -> None:
    with open_store(tmp_path / "files", settings(offline_store=LOCAL)) as store:
        apply(store, world)
        expected = historical(store, world.entities())
    load_tables(world, urls, "features")
    tables = settings(offline_store={**LOCAL, "url": urls}) | {"project": "tables"}
    with open_store(tmp_path / "tables", tables) as store:
        store.apply(feast_objects(world.declaration, "features", "postgres"))
        assert_frame_equal(historical(store, world.entities()), expected, check_exact=True)
        store.materialize(world.date(59), world.date(0))
        assert_frame_equal(online(store, world), world.recomputed(0), check_exact=True)


def test_entity_rows_may_be_a_query(world: World, urls: str, tmp_path: Path) -> None:
    load_tables(world, urls, "features")
    query = "select store_id, dept_id, event_timestamp from features.sales_features where store_id = 2"
    order = ["store_id", "dept_id", "event_timestamp"]
    with open_store(tmp_path, settings(offline_store={**LOCAL, "url": urls})) as store:
        store.apply(feast_objects(world.declaration, "features", "postgres"))
        job = store.get_historical_features(query, store.get_feature_service("training_features"))
        found = pl.DataFrame(job.to_arrow()).sort(order)
        expected = historical(store, world.entities().filter(pl.col("store_id") == 2).sort(order))
    assert_frame_equal(found, expected, check_exact=True)


def test_a_join_on_two_nodes_gives_what_one_process_gives(
    world: World, urls: str, ray_cluster: Any, tmp_path: Path
) -> None:
    entities = world.entities().sample(fraction=1.0, shuffle=True, seed=3)
    with open_store(tmp_path / "here", settings(offline_store=LOCAL)) as store:
        apply(store, world)
        expected = historical(store, entities)
    spread = {"execution": ray_cluster.address, "row_budget": 100, "partitions": 6}
    with open_store(tmp_path / "there", settings(offline_store=spread)) as store:
        assert_frame_equal(historical(store, entities), expected, check_exact=True)


def test_the_repository_holds_no_password() -> None:
    for path in (REPOSITORY / STACK, REPOSITORY / "feature_store.yaml"):
        assert "password" not in path.read_text(encoding="utf-8").replace("USER:PASSWORD@", "")
