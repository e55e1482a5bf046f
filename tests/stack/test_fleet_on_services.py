"""A fleet on real services: versions and forecasts in PostgreSQL, fits as tasks of a Ray, a database that goes away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scripts.services.postgres import Postgres

from foretail.core.errors import ForetailError
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.execution.ray import execution_of
from foretail.pipelines.fleet import FleetRequest, fleet_forecast, fleet_train, retrain_series
from foretail.pipelines.request import Request
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.versions import latest_versions

VALUES = ("unique_id", "ds", "step", "y_hat", "q10", "q90", "source")
NOWHERE = "http://127.0.0.1:9"  # no registry is needed here


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> FleetRequest:
    """Fifty-six series of a hundred and twenty days."""
    folder = tmp_path_factory.mktemp("sales")
    made = generate(SyntheticConfig(stores=8, products=7, periods=120, horizon=7))
    made.frame.write_parquet(folder / "sales.parquet")
    made.future.write_parquet(folder / "future.parquet")
    spec = made.spec.but(name="shops").to_toml()
    (folder / "spec.toml").write_text(f'table = "sales.parquet"\nfuture = "future.parquet"\n{spec}', encoding="utf-8")
    return FleetRequest(Request(str(folder / "spec.toml")))


def settings_of(home: Path, warehouse: str = "") -> Settings:
    return Settings(home=home, warehouse=warehouse, tracking_uri=NOWHERE, workers=1)


def test_postgres_holds_what_sqlite_holds(request_: FleetRequest, database: str, tmp_path: Path) -> None:
    frames = []
    for settings in (settings_of(tmp_path / "a"), settings_of(tmp_path / "b", database)):
        fleet_train(request_, settings, Silent())
        retrain_series("shops", "3", "2", settings)
        fleet_train(request_, settings, Silent())
        with opened_warehouse(settings.warehouse) as engine:
            versions = latest_versions(engine, "shops")
        frames.append((fleet_forecast(settings, Silent()), versions))
    (here, own), (there, versions) = frames
    assert there.select(VALUES).equals(here.select(VALUES))
    told = ("unique_id", "store", "productname", "version", "model_id", "status", "metrics", "is_champion")
    assert versions.select(told).equals(own.select(told))
    assert versions.filter(pl.col("unique_id") == "3/2")["version"].to_list() == [3]


def test_a_fleet_on_ray_is_the_fleet_of_processes(request_: FleetRequest, ray_cluster: Any, tmp_path: Path) -> None:
    here, there = settings_of(tmp_path / "a"), settings_of(tmp_path / "b")
    fleet_train(request_, here, Silent())
    with execution_of("ray"):
        result = fleet_train(request_, there, Silent())
    assert result.counts["failed"] == 0
    assert fleet_forecast(there, Silent()).select(VALUES).equals(fleet_forecast(here, Silent()).select(VALUES))


def test_a_database_that_goes_away_loses_nothing(
    request_: FleetRequest, own_postgres: Postgres, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "home", own_postgres.url)
    fleet_train(request_, settings, Silent())
    before = fleet_forecast(settings, Silent())
    own_postgres.kill()
    with pytest.raises(ForetailError, match=r"does not answer|went away"):
        fleet_train(request_, settings, Silent())
    own_postgres.start()
    assert fleet_forecast(settings, Silent()).equals(before)
    assert fleet_train(request_, settings, Silent()).n_forecasts == before.height
