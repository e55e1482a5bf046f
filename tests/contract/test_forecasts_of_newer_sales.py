"""New actuals move the forecasts of a version that is on disk, for every family, and nothing is fitted again."""

from __future__ import annotations

import datetime as dt
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from family_cases import small

from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.models.contract import Forecaster
from foretail.models.families import FAMILIES, family_class
from foretail.models.intervals import Conformal, HeldBack, Size
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.pipelines.anomalies import anomalies_version
from foretail.pipelines.forecast import forecast_version
from foretail.registry.bundle import bundle_digest, write_bundle
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate
from foretail.sources.table import Table
from version_maker import version_of

H = 7
LATER = 2 * H  # days told after the version was made
LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
EVERY = sorted(FAMILIES)


@cache
def world() -> SyntheticWorld:
    shop = {"stores": 2, "products": 3, "opening_share": 0.0, "closing_share": 0.0, "intermittent_share": 0.0}
    return generate(SyntheticConfig(periods=230, horizon=H, seed=5, stockout_share=0.0, **shop))


@cache
def early() -> Panel:
    cutoff = world().frame["date"].max() - dt.timedelta(days=LATER)
    return build_panel(Table(world().frame, world().spec), cutoff=cutoff, horizon=H).panel


def version(family: str, folder: Path) -> Path:
    """A bundle of the family, fitted on the early sales."""
    panel = early()
    errors = np.random.default_rng(0).normal(0, 3, (panel.n_series, H))
    y_hat = np.full_like(errors, 10.0)
    held = HeldBack(y_hat + errors, y_hat, np.zeros(errors.shape, dtype=np.bool_), Size.of(panel))
    model = small(family).fit(panel, H)
    calibration = Conformal.fit([held], LEVELS, H).to_arrays()
    write_bundle(folder, version_of(panel, family, model, H, LEVELS, calibration))
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings.load(home=tmp_path_factory.mktemp("home"))


@pytest.fixture
def no_fit(monkeypatch):
    """A fit of any family from here on is an error."""

    def refused(self: Forecaster, panel: Panel, h: int) -> Forecaster:
        raise AssertionError(f"{type(self).__name__} was fitted again")

    def forbid() -> None:
        for name in EVERY:
            monkeypatch.setattr(family_class(name), "fit", refused)

    return forbid


def told(folder: Path, name: str, frame: pl.DataFrame) -> str:
    frame.write_parquet(folder / name)
    return str(folder / name)


@pytest.mark.parametrize("family", EVERY)
def test_newer_sales_move_the_forecasts_of_a_version_without_a_fit(family, tmp_path, settings, no_fit):
    folder = version(family, tmp_path / "version")
    before = bundle_digest(folder)
    no_fit()
    frame, future = world().frame, told(tmp_path, "future.parquet", world().future)
    recent = pl.col("date") > frame["date"].max() - dt.timedelta(days=H)
    louder = frame.with_columns(pl.when(recent).then(3 * pl.col("units")).otherwise("units").alias("units"))
    answers = {
        name: forecast_version(
            str(folder),
            table=told(tmp_path, f"{name}.parquet", sales),
            future=future,
            horizon=None,
            out=tmp_path / name,
            settings=settings,
            progress=Silent(),
        )
        for name, sales in (("newer", frame), ("louder", louder))
    }
    newer, more = answers["newer"], answers["louder"]
    assert newer["cutoff"].unique().to_list() == [frame["date"].max()]
    assert newer.height == more.height == 6 * H
    if family != "zero":
        assert more["y_hat"].sum() > newer["y_hat"].sum()
    assert bundle_digest(folder) == before


@pytest.mark.parametrize("family", ["boosting", "ensemble", "theta"])
def test_days_after_the_cutoff_are_watched_without_a_fit(family, tmp_path, settings, no_fit):
    folder = version(family, tmp_path / "version")
    no_fit()
    frame = world().frame
    day = early().cutoff + dt.timedelta(days=H + 3)
    is_wrong = (pl.col("date") == day) & (pl.col("store_id") == 1) & (pl.col("product_id") == 2)
    wrong = frame.with_columns(pl.when(is_wrong).then(9000).otherwise("units").alias("units"))
    table = told(tmp_path, "wrong.parquet", wrong)
    found = anomalies_version(str(folder), table=table, out=tmp_path / "out", settings=settings, progress=Silent())
    assert found.frame["cutoff"].unique().sort().to_list() == [
        early().cutoff,
        early().cutoff + dt.timedelta(days=H),
    ]
    worst = found.frame.sort(pl.col("size").abs(), descending=True).row(0, named=True)
    assert (worst["store_id"], worst["product_id"], worst["date"]) == (1, 2, day)
    assert worst["step"] == 3
    assert worst["size"] > 8000
    assert found.n_days == 6 * LATER
