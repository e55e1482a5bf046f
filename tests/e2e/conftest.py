"""The shop's files, an empty home that is set up once, and one finished run that the tests of a session share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from shop import COVARIATES, FAST, ROLES, Answer, Shop, daily_world, fresh_home, weekly_world


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with daily.csv, future.csv and weekly.csv."""
    folder = tmp_path_factory.mktemp("files")
    daily_world().frame.write_csv(folder / "daily.csv")
    daily_world().future.write_csv(folder / "future.csv")
    weekly_world().frame.write_csv(folder / "weekly.csv")
    return folder


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory):
    """A home whose registry is set up and empty."""
    home = tmp_path_factory.mktemp("stores") / "home"
    Shop(home.parent, home)("models", "list")
    return home


@pytest.fixture
def shop(files, empty_home, tmp_path):
    """The command in the folder of the files, with a home of this test's own."""
    return Shop(files, fresh_home(empty_home, tmp_path))


@pytest.fixture(scope="session")
def done(files, empty_home, tmp_path_factory) -> tuple[Shop, Path, Answer]:
    """A finished run with ``--json`` on the daily table: the shop, its folder of results, what it said."""
    folder = tmp_path_factory.mktemp("done")
    shop = Shop(files, fresh_home(empty_home, folder))
    out = folder / "out"
    answer = shop("run", "daily.csv", *ROLES, *COVARIATES, "--future", "future.csv", *FAST, "--json", "--out", out)
    return shop, out, answer
