"""Real services for these tests: started once, on loopback, in private folders, and ended by their own pids."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from scripts.services.kafka import Kafka
from scripts.services.postgres import Postgres
from scripts.services.ray import RayCluster
from scripts.services.redis import Redis
from scripts.services.service import Service

os.environ.setdefault("FEAST_USAGE", "False")
sys.path.insert(0, str(Path(__file__).parent))
from stack_store import World, make_world, tell_registry

Running = TypeVar("Running", bound=Service)


def up(service: Running) -> Iterator[Running]:
    """A service, started; it is gone afterwards, also when it did not come up."""
    try:
        service.start()
        yield service
    finally:
        service.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that every test shares; a test that writes makes a database of its own (`database`)."""
    yield from up(Postgres(dies_with_parent=True, is_durable=False))


@pytest.fixture
def database(postgres: Postgres, request: pytest.FixtureRequest) -> str:
    """URL of an empty database."""
    return postgres.create(f"t{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may kill."""
    yield from up(Postgres(dies_with_parent=True, is_durable=False))


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    yield from up(Redis(dies_with_parent=True))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A broker that every test shares; a test that writes makes a topic of its own (`topic`)."""
    yield from up(Kafka(dies_with_parent=True))


@pytest.fixture
def topic(kafka: Kafka, request: pytest.FixtureRequest) -> str:
    """Name of an empty topic of four partitions."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    kafka.create_topic(name, 4)
    return name


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """A broker that the test may kill."""
    yield from up(Kafka(dies_with_parent=True))


@pytest.fixture(scope="module")
def ray_service() -> Iterator[RayCluster]:
    """A Ray of processes of their own, with a client server and the Jobs API; a test may kill its worker."""
    yield from up(RayCluster(dies_with_parent=True))


@pytest.fixture
def urls(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database for registry and online store, told as the shipped settings want it."""
    tell_registry(database, monkeypatch)
    monkeypatch.setenv("FORETAIL_ONLINE_URL", database)
    return database


@pytest.fixture
def own_urls(own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same in a server that the test may kill."""
    tell_registry(own_postgres.url, monkeypatch)
    monkeypatch.setenv("FORETAIL_ONLINE_URL", own_postgres.url)
    return own_postgres.url


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="session")
def ray_node() -> dict[str, Any]:
    """What each node of the cluster has."""
    return {"node_ip_address": "127.0.0.2", "num_cpus": 1, "object_store_memory": 200 << 20}


@pytest.fixture(scope="session")
def ray_cluster(ray_node: dict[str, Any]) -> Iterator[Any]:
    """A Ray of two nodes with one core each; this process attaches to its head."""
    import ray
    from ray._common.utils import get_default_ray_temp_dir
    from ray.cluster_utils import Cluster

    temporary = Path(tempfile.mkdtemp(prefix="ft-"))  # short: socket paths have a limit
    head = {**ray_node, "include_dashboard": False, "temp_dir": str(temporary)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers find the jobs of the tests
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_health_check_period_ms", "1000")  # the next test finds a killed node struck off
        Path(get_default_ray_temp_dir()).mkdir(exist_ok=True)  # a cluster writes its address there, and makes no folder
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(**ray_node)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            with suppress(OSError):
                shutil.rmtree(temporary)
