"""A registry with two versions of `sales-forecast`, and one server of it that most tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from served import NAME, Served, World, make_world, running


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
