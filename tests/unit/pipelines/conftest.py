"""One trained fleet that the tests of a module share, and copies of it for those that change it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fleet_shop


@pytest.fixture(scope="session")
def trained_fleet(tmp_path_factory):
    """The spec of the sales, the home and the result of a first training."""
    folder = tmp_path_factory.mktemp("fleet")
    spec = fleet_shop.write_sales(folder)
    return spec, folder / "home", fleet_shop.train(spec, folder / "home")


@pytest.fixture
def own_fleet(trained_fleet, tmp_path):
    """The same in a place of this test's own: the spec and the home."""
    spec, home, _ = trained_fleet
    for name in ("sales.parquet", "future.parquet", "spec.toml"):
        shutil.copy2(spec.parent / name, tmp_path / name)
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "spec.toml", tmp_path / "home"
