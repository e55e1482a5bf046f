"""A registry with two versions of `sales-forecast`, its server; a fleet with its API and worker; tests share them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scripts.services import own
from served import NAME, Served, World, make_world, running
from shop_fleet import FLEET, FleetWorld, make_fleet


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def server(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 1 by default, version 2 beside it, with a request log."""
    folder = tmp_path_factory.mktemp("server")
    words = ("--model", NAME, "--model", f"{NAME}/2", "--request-log", str(folder / "requests.jsonl"), "--drain", "0")
    with running(world.home, folder / "server.log", *words) as served:
        yield served


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> FleetWorld:
    return make_fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="session")
def api(fleet: FleetWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[own.Own]:
    """Trainer and forecaster of the fleet."""
    folder = tmp_path_factory.mktemp("api")
    words = ("--rate", "0", "--request-log", str(folder / "requests.jsonl"))
    with own.api(fleet.home, FLEET, folder / "api.log", *words) as running_api:
        yield running_api


@pytest.fixture(scope="session")
def worker(fleet: FleetWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[own.Own]:
    """A warm worker of the fleet."""
    with own.worker(fleet.home, FLEET, tmp_path_factory.mktemp("worker") / "worker.log") as running_worker:
        yield running_worker
