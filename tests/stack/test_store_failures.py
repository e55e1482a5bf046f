"""PostgreSQL and a Ray node killed in the middle: an error or completion, nothing half-written; a rerun completes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import psycopg
import pytest
from polars.testing import assert_frame_equal
from scripts.services.postgres import Postgres
from sqlalchemy.exc import OperationalError

from foretail.core.errors import ServiceError
from foretail.features.feast_objects import feast_objects
from foretail.features.online.errors import OnlineStoreError

sys.path.insert(0, str(Path(__file__).parent))
from stack_store import World, apply, historical, load_tables, online, open_store, settings, tell_registry

pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental:RuntimeWarning")
LOCAL = {"execution": "local"}
SALES = "rows_foretail_sales_features"


def killed_in_the_middle(service: Postgres, work: Callable[[], object], lock: str) -> BaseException | None:
    """Kill the server while the work waits for a lock in the middle of what it does, and start it again.

    Returns
    -------
    What the work raised.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Exception as error:  # it is for the test to judge
            raised.append(error)

    worker = threading.Thread(target=run)
    with closing(psycopg.connect(service.url)) as holder, closing(psycopg.connect(service.url)) as watcher:
        holder.execute(lock)
        watcher.autocommit = True
        worker.start()
        wait_until(lambda: watcher.execute("select 1 from pg_locks where not granted").fetchone() is not None)
        service.kill()
        worker.join(60)
    assert not worker.is_alive()
    service.start()
    return raised[0] if raised else None


def wait_until(is_so: Callable[[], bool], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize("is_registry_apart", [True, False])
def test_a_materialisation_is_whole_or_not_there(
    is_registry_apart: bool,
    world: World,
    own_postgres: Postgres,
    own_urls: str,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The server dies after several chunks were taken over in a transaction that waits for one more row."""
    if is_registry_apart:
        tell_registry(database, monkeypatch)
    found = settings(offline_store=LOCAL, batch_engine={"chunk_rows": 4})
    with open_store(tmp_path, found) as store:
        apply(store, world)
        store.materialize(world.date(59), world.date(2))
        error = killed_in_the_middle(
            own_postgres,
            lambda: store.materialize_incremental(end_date=world.date(0)),
            f"select 1 from {SALES} order by entity_key desc limit 1 for update",
        )
    if is_registry_apart:
        assert isinstance(error, OnlineStoreError)
        assert str(error).startswith("sales_features cannot be stored")
        assert "\n  where: postgresql://127.0.0.1" in str(error)
    else:  # Feast notes the failure in the registry first, which is gone too
        assert isinstance(error, OperationalError)
    assert own_postgres.password not in str(error)
    with open_store(tmp_path, found) as store:
        assert_frame_equal(online(store, world), world.recomputed(2), check_exact=True)
        store.materialize_incremental(end_date=world.date(0))
        assert_frame_equal(online(store, world), world.recomputed(0), check_exact=True)


def test_a_store_that_was_open_goes_on_after_the_server_came_back(
    world: World, own_postgres: Postgres, own_urls: str, tmp_path: Path
) -> None:
    with open_store(tmp_path, settings(offline_store=LOCAL)) as store:
        apply(store, world)
        store.materialize(world.date(59), world.date(2))
        service = store.get_feature_service("inference_features")
        key = world.keys().head(1).to_dicts()
        before = store.get_online_features(service, key).to_dict()
        own_postgres.kill()
        with pytest.raises(OnlineStoreError, match=r"cannot be read.*\n  where: postgresql://127.*\n  fix: "):
            store.get_online_features(service, key)
        own_postgres.start()
        assert store.get_online_features(service, key).to_dict() == before
        store.materialize_incremental(end_date=world.date(0))
        assert_frame_equal(online(store, world), world.recomputed(0), check_exact=True)


def test_a_registration_that_broke_off_is_completed_by_the_next(
    world: World, own_postgres: Postgres, own_urls: str, tmp_path: Path
) -> None:
    """Feast commits one object at a time: what is there is whole, and the rest comes with the rerun."""
    found = settings(offline_store=LOCAL)
    with open_store(tmp_path, found) as store:
        assert store.list_all_feature_views() == []
        lock = "lock table feature_views in access exclusive mode"
        error = killed_in_the_middle(own_postgres, lambda: apply(store, world), lock)
        assert isinstance(error, OperationalError)
    with open_store(tmp_path, found) as store:
        assert store.list_feature_services() == []
        apply(store, world)
        expected = {service.name for service in world.declaration.services}
        assert {service.name for service in store.list_feature_services()} == expected
        store.materialize(world.date(59), world.date(0))
        assert_frame_equal(online(store, world), world.recomputed(0), check_exact=True)


def test_a_join_whose_source_dies_says_so(world: World, own_postgres: Postgres, own_urls: str, tmp_path: Path) -> None:
    load_tables(world, own_urls, "features")
    with open_store(tmp_path, settings(offline_store={**LOCAL, "url": own_urls})) as store:
        store.apply(feast_objects(world.declaration, "features", "postgres"))
        expected = historical(store, world.entities())
        error = killed_in_the_middle(
            own_postgres,
            lambda: historical(store, world.entities()),
            "lock table features.sales_features in access exclusive mode",
        )
        assert isinstance(error, ServiceError)
        assert "\n  where: sales_features" in str(error)
        assert own_postgres.password not in str(error)
    with open_store(tmp_path, settings(offline_store={**LOCAL, "url": own_urls})) as store:
        assert_frame_equal(historical(store, world.entities()), expected, check_exact=True)


def test_a_join_outlives_a_node_that_dies_at_work(
    world: World, urls: str, ray_cluster: Any, ray_node: dict[str, Any], tmp_path: Path
) -> None:
    entities = pl.concat([world.entities()] * 100)
    with open_store(tmp_path / "here", settings(offline_store=LOCAL)) as store:
        apply(store, world)
        expected = historical(store, entities)
    node = ray_cluster.add_node(**ray_node)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    ended, killed = threading.Event(), threading.Event()

    def kill_at_work() -> None:
        while not ended.is_set():
            if any(is_at_work(worker) for worker in raylet.children()):
                ray_cluster.remove_node(node, allow_graceful=False)
                killed.set()
                return
            time.sleep(0.005)

    killer = threading.Thread(target=kill_at_work)
    spread = {"execution": ray_cluster.address, "row_budget": 5_000, "partitions": 60}
    with open_store(tmp_path / "there", settings(offline_store={**spread, "spill": str(tmp_path)})) as store:
        killer.start()
        try:
            for _ in range(5):  # Ray may do a quick join without the second node
                found = historical(store, entities)
                if killed.is_set():
                    break
        finally:
            ended.set()
            killer.join()
    assert killed.is_set()
    assert_frame_equal(found, expected, check_exact=True)
    assert not list(tmp_path.glob("foretail-join-*"))


def is_at_work(worker: psutil.Process) -> bool:
    try:
        return "join_partition" in " ".join(worker.cmdline())
    except psutil.NoSuchProcess:
        return False
