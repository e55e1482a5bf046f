"""Anomalies of a version: what it keeps of its backtest, newer sales, and tables that cannot be compared with it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from foretail.backtest.anomalies import anomalies
from foretail.core.errors import DataError, UsageError
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.anomalies import anomalies_version
from foretail.pipelines.fit import fit_chosen, register
from foretail.pipelines.prepare import backtest_prepared, prepare
from foretail.pipelines.request import Request
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.registry.versions import Registry
from foretail.sources.synthetic import SyntheticConfig, generate

H = 7


@pytest.fixture(scope="module")
def world():
    return generate(SyntheticConfig(periods=240, stores=2, products=4, horizon=H, seed=3))


@pytest.fixture(scope="module")
def made(world, tmp_path_factory):
    """A version of the sales but for the last seventeen days: the settings, what it was made of, and the backtest."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "sales.toml").write_text(world.spec.to_toml())
    world.frame.write_parquet(folder / "sales.parquet")
    settings = Settings.load(home=folder / "home", workers=1)
    cutoff = world.frame["date"].max() - dt.timedelta(days=17)
    request = Request(
        table=str(folder / "sales.parquet"),
        spec=str(folder / "sales.toml"),
        cutoff=cutoff,
        models=("seasonal_naive", "profile"),
    )
    prepared = prepare(request, settings, Silent())
    result = backtest_prepared(prepared, settings, Silent())
    register(prepared, result, fit_chosen(prepared, result, settings), settings)
    return settings, prepared, result


def look(made, tmp_path, table=None, model="synthetic"):
    path = None
    if table is not None:
        path = str(tmp_path / "newer.parquet")
        table.write_parquet(path)
    return anomalies_version(model, table=path, out=tmp_path / "out", settings=made[0], progress=Silent())


def test_a_version_keeps_the_days_of_its_backtest(made, tmp_path):
    _, prepared, result = made
    found = look(made, tmp_path)
    house = anomalies(prepared.panel, result.frame)
    assert found.frame.height == house.height > 0
    assert found.frame.columns[:3] == ["store_id", "product_id", "date"]
    assert_frame_equal(found.frame.select(house.columns[2:]), house.select(house.columns[2:]))
    assert sum(found.counts.values()) == house.height
    assert pl.read_parquet(tmp_path / "out" / "anomalies.parquet").equals(found.frame)
    assert found.n_days is None


def test_every_newer_day_is_compared_once_with_the_last_cutoff_before_it(made, world, tmp_path):
    found = look(made, tmp_path, world.frame)
    cutoff = made[1].panel.cutoff
    newer = world.frame.filter(pl.col("date") > cutoff)
    assert found.n_days == newer.height
    steps = (found.frame["date"] - found.frame["cutoff"]).dt.total_days()
    assert (steps == found.frame["step"]).all()
    assert (found.frame["step"] <= H).all()
    assert set(found.frame["cutoff"]) <= {cutoff + dt.timedelta(days=H * k) for k in range(3)}
    assert found.frame.select("store_id", "product_id", "date").is_unique().all()


def test_causes_can_be_picked_by_name(made, world, tmp_path):
    found = look(made, tmp_path, world.frame)
    chance = found.of(["chance"])
    assert chance["cause"].unique().to_list() == ["chance"]
    told = found.to_dict(["chance"])
    assert len(told["anomalies"]) == chance.height
    assert told["n_outside"] == found.frame.height


def test_a_day_that_the_table_gives_no_target_is_not_looked_at(made, world, tmp_path):
    """The table goes on after its last sales: these rows say what is known in advance."""
    future = world.future.with_columns(pl.lit(None, dtype=pl.Int64).alias("units"))
    longer = pl.concat([world.frame, future], how="diagonal")
    assert look(made, tmp_path, longer).to_dict() == look(made, tmp_path, world.frame).to_dict()


def test_a_table_that_ends_with_the_version_has_nothing_newer(made, world, tmp_path):
    old = world.frame.filter(pl.col("date") <= made[1].panel.cutoff)
    with pytest.raises(DataError, match="nothing newer") as told:
        look(made, tmp_path, old)
    assert "leave --table out" in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_table_of_the_newest_days_alone_lacks_its_history(made, world, tmp_path):
    new = world.frame.filter(pl.col("date") > made[1].panel.cutoff)
    with pytest.raises(DataError, match="lacks the history"):
        look(made, tmp_path, new)


def test_a_version_from_before_says_how_to_get_them(made, world, tmp_path):
    registry = Registry(made[0])
    bundle = read_bundle(registry.fetch("synthetic", 1))
    kept = {name: array for name, array in bundle.calibration.items() if not name.startswith("anomalies_")}
    write_bundle(tmp_path / "old", replace(bundle, calibration=kept))
    with pytest.raises(UsageError, match="keeps no days of its backtest") as told:
        look(made, tmp_path, model=str(tmp_path / "old"))
    assert "train again" in str(told.value)
    assert look(made, tmp_path, world.frame, model=str(tmp_path / "old")).n_days


def test_a_tenfold_day_is_found_with_its_cause(made, world, tmp_path):
    big = world.frame.filter(pl.col("date") > made[1].panel.cutoff).sort("units").row(-1, named=True)
    same = pl.all_horizontal(pl.col(name) == big[name] for name in ("store_id", "product_id", "date"))
    wrong = world.frame.with_columns(pl.when(same).then(10 * pl.col("units")).otherwise("units").alias("units"))
    found = look(made, tmp_path, wrong).frame.filter(same).row(0, named=True)
    assert found["cause"] == "data error"
    assert np.isclose(found["size"], 10 * big["units"] - found["y_hat"])
