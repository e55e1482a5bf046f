"""Levels from the command line: a run that heeds them, its version forecasting the same again, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from foretail.cli.main import cli
from foretail.models.dependence import PREFIX
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.sources.synthetic import SyntheticConfig, generate

KEYS, H = ["store_id", "product_id"], 7
LEVELS = "store_id,category,store_type/category"
QUANTILES = ["q2_5", "q10", "q50", "q97_5"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with sales of 24 series over some months, whose series are noisy and whose totals are not."""
    config = SyntheticConfig(
        start_date=dt.date(2024, 1, 1), periods=220, stores=4, products=6, horizon=H, noise=0.9, intermittent_share=0.0
    )
    world = generate(config)
    place = tmp_path_factory.mktemp("levels")
    world.frame.write_parquet(place / "sales.parquet")
    return place


def invoke(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def run(place, out, *options, verb="run"):
    given = ["--keys", ",".join(KEYS), "--time", "date", "--target", "units", "--static", "store_type,category"]
    return invoke(
        verb, place / "sales.parquet", *given, "--horizon", H, "--models", "seasonal_window_average,profile",
        "--home", out / "home", "--out", out, "--name", "shop", "--workers", 1, *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(place):
    """The folder of a run with levels."""
    result = run(place, place / "out", "--hierarchy", LEVELS, "--quantiles", "0.1,0.5")
    assert result.exit_code == 0, result.output
    return place / "out"


@pytest.fixture(scope="module")
def version(done):
    """The bundle of its version."""
    (found,) = (done / "home").rglob("bundle.json")
    return found.parent


def coherent(folder, sales):
    """The forecasts and levels of a folder; fails unless every level's row is the sum of its series'."""
    forecasts, levels = pl.read_parquet(folder / "forecasts.parquet"), pl.read_parquet(folder / "levels.parquet")
    types = pl.read_parquet(sales).select(*KEYS, "store_type", "category").unique()
    rows = forecasts.join(types, on=KEYS, how="left")
    for name in levels["level"].unique():
        parts = [] if name == "total" else name.split("/")
        sums = rows.group_by(*parts, "date").agg(pl.col("y_hat").sum())
        both = levels.filter(pl.col("level") == name).join(sums, on=[*parts, "date"], suffix="_sum", validate="1:1")
        assert both.height == sums.height > 0
        np.testing.assert_allclose(both["y_hat"], both["y_hat_sum"], rtol=1e-6)
    return forecasts, levels


def test_a_run_writes_levels_that_add_up(place, done):
    forecasts, levels = coherent(done, place / "sales.parquet")
    assert levels["level"].unique(maintain_order=True).to_list() == ["total", *LEVELS.split(",")]
    assert [name for name in levels.columns if name.startswith("q")] == ["q10", "q50"]
    assert [name for name in forecasts.columns if name.startswith("q")] == ["q10", "q50"]
    assert (levels["q10"] <= levels["q50"]).all()
    assert pl.read_csv(done / "levels.csv").height == levels.height


def test_a_run_tells_how_good_every_level_was(done):
    told = json.loads((done / "run.json").read_text())["hierarchy"]
    assert [row["level"] for row in told["accuracy"]] == ["total", *LEVELS.split(","), "series"]
    assert told["method"] in ("bottom_up", "top_down", "wls", "shrink")
    used = [row[told["method"]] / row["bottom_up"] for row in told["accuracy"]]
    assert np.mean(used) <= 1.0
    page = (done / "report.html").read_text()
    assert '<section id="levels"' in page and "store_type/category" in page


def test_its_version_gives_the_same_again(done, version, tmp_path):
    result = invoke("forecast", version, "--out", tmp_path, "--home", tmp_path / "home")
    assert result.exit_code == 0, result.output
    for name in ("forecasts", "levels"):
        before, after = pl.read_parquet(done / f"{name}.parquet"), pl.read_parquet(tmp_path / f"{name}.parquet")
        same = [name for name in before.columns if name not in ("model_version",)]
        assert after.select(same).equals(before.select(same))
        assert set(QUANTILES) <= set(after.columns)


def test_a_version_heeds_the_levels_it_keeps_models_of(place, version, tmp_path):
    """Whichever method the backtest chose: a version that was told to use one forecasts its series by it."""
    bundle = read_bundle(version)
    levels = bundle.levels
    assert levels is not None and tuple(levels.names) == tuple(LEVELS.split(","))
    if levels.method == "bottom_up":
        assert not levels.models
        return
    write_bundle(tmp_path / "alone", replace(bundle, levels=replace(levels, method="bottom_up")))
    shown = {}
    for name, place in (("heeds", version), ("alone", tmp_path / "alone")):
        invoke("forecast", place, "--out", tmp_path / name, "--home", tmp_path / "home")
        shown[name], _ = coherent(tmp_path / name, place / "sales.parquet")
    assert not np.allclose(shown["heeds"]["y_hat"], shown["alone"]["y_hat"])


@pytest.mark.parametrize("method", ["top_down", "wls", "shrink"])
def test_every_method_forecasts_and_adds_up(place, version, tmp_path, method):
    from foretail.models.families import make
    from foretail.models.reconcile import Covariance
    from foretail.panel.aggregate import level_panel
    from foretail.panel.hierarchy import hierarchy_of

    bundle = read_bundle(version)
    hierarchy = hierarchy_of(bundle.panel.series, bundle.panel.spec)
    models = {level.name: make("profile").fit(level_panel(bundle.panel, level), H) for level in hierarchy.levels}
    errors = np.random.default_rng(0).normal(size=(hierarchy.n_groups + bundle.panel.n_series, 20))
    covariance = Covariance.of_variances(errors) if method == "wls" else Covariance.shrunk(errors)
    levels = replace(
        bundle.levels, method=method, models=models, families=dict.fromkeys(models, "profile"), covariance=covariance
    )
    write_bundle(tmp_path / "bundle", replace(bundle, levels=levels))
    # newer sales of fewer and other series: weights are found again by name
    sales = pl.read_parquet(place / "sales.parquet")
    newer = pl.concat([
        sales.filter(pl.col("product_id") != 3),
        sales.filter(pl.col("product_id") == 1).with_columns(product_id=pl.lit(99, dtype=sales["product_id"].dtype)),
    ])  # fmt: skip
    newer.write_parquet(tmp_path / "newer.parquet")
    result = invoke(
        "forecast", tmp_path / "bundle", "--table", tmp_path / "newer.parquet", "--out", tmp_path / "out",
        "--home", tmp_path / "home",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    _, found = coherent(tmp_path / "out", tmp_path / "newer.parquet")
    assert found["method"].unique().to_list() == [method]


def test_totals_of_samples_are_the_levels(version, tmp_path):
    options = ["--samples", 200, "--total-by", "category", "--lead-time", "1"]
    result = invoke("forecast", version, "--out", tmp_path, "--home", tmp_path / "home", *options)
    assert result.exit_code == 0, result.output
    drawn = pl.read_parquet(tmp_path / "samples.parquet").filter(pl.col("step") == 1)
    total = np.array(drawn["samples"].to_list(), dtype=np.float64).sum(0)
    told = pl.read_parquet(tmp_path / "levels.parquet").filter((pl.col("level") == "total") & (pl.col("step") == 1))
    assert told["q10"].item() == pytest.approx(np.quantile(total, 0.1), rel=1e-6)


def test_a_version_without_levels_sums_and_says_so(place, tmp_path):
    result = run(place, tmp_path / "plain", verb="train")
    assert result.exit_code == 0, result.output
    (found,) = (tmp_path / "plain" / "home").rglob("bundle.json")
    result = invoke(
        "forecast", found.parent, "--hierarchy", "category", "--out", tmp_path / "out", "--home", tmp_path / "home"
    )
    assert result.exit_code == 0, result.output
    assert "trained without levels" in result.output
    coherent(tmp_path / "out", place / "sales.parquet")
    silent = invoke("forecast", found.parent, "--out", tmp_path / "none", "--home", tmp_path / "home")
    assert silent.exit_code == 0 and not (tmp_path / "none" / "levels.parquet").exists()


def test_other_levels_than_those_trained_are_sums_too(place, version, tmp_path):
    result = invoke("forecast", version, "--hierarchy", "store_type", "--out", tmp_path, "--home", tmp_path / "home")
    assert result.exit_code == 0, result.output
    assert "trained with the levels store_id, category" in result.output
    coherent(tmp_path, place / "sales.parquet")


def test_an_old_version_is_told_to_train_again(version, tmp_path):
    bundle = read_bundle(version)
    kept = {name: values for name, values in bundle.calibration.items() if not name.startswith(PREFIX)}
    write_bundle(tmp_path / "old", replace(bundle, calibration=kept, levels=None))
    result = invoke(
        "forecast", tmp_path / "old", "--hierarchy", "category", "--out", tmp_path, "--home", tmp_path / "home"
    )
    assert result.exit_code == 2
    assert "train again" in result.output


@pytest.mark.parametrize(
    ("levels", "code", "words"),
    [
        ("region", 2, "a level of the hierarchy names 'region', which is no key and not static"),
        ("store_id/store_id", 2, "a level names a column twice"),
        ("category,category", 2, "the level 'category' is named twice"),
        ("store_id/product_id", 3, "every group of the level 'store_id/product_id' is a single series"),
        ("store_id,store_id/store_type", 3, "the level 'store_id/store_type' has the same groups as 'store_id'"),
    ],
)
def test_what_is_no_hierarchy_is_refused_before_any_work(place, version, tmp_path, levels, code, words):
    for result in (
        run(place, tmp_path, "--hierarchy", levels),
        invoke("forecast", version, "--hierarchy", levels, "--out", tmp_path / "f", "--home", tmp_path / "home"),
    ):
        assert result.exit_code == code, result.output
        assert words in result.output
        assert "where:" in result.output and "fix:" in result.output
    assert not (tmp_path / "levels.parquet").exists() and not (tmp_path / "f").exists()


def test_a_series_in_two_groups_is_refused(place, tmp_path):
    sales = pl.read_parquet(place / "sales.parquet")
    late = (pl.col("product_id") == 1) & (pl.col("date") > pl.date(2024, 4, 1))
    sales.with_columns(pl.when(late).then(pl.lit("elsewhere")).otherwise("category").alias("category")).write_parquet(
        tmp_path / "sales.parquet"
    )
    result = run(tmp_path, tmp_path / "out", "--hierarchy", "category")
    assert result.exit_code == 3, result.output
    assert "series would belong to two groups of a level: category changes within them" in result.output


def test_a_series_without_its_group_is_refused(place, tmp_path):
    sales = pl.read_parquet(place / "sales.parquet")
    gone = pl.when(pl.col("product_id") == 2).then(None).otherwise("category").alias("category")
    sales.with_columns(gone).write_parquet(tmp_path / "sales.parquet")
    result = run(tmp_path, tmp_path / "out", "--hierarchy", "category")
    assert result.exit_code == 3, result.output
    assert "belong to no group of a level: they have no category" in result.output


def test_a_damaged_folder_of_levels_is_no_bundle(version, tmp_path):
    shutil.copytree(version, tmp_path / "copy")
    (tmp_path / "copy" / "levels" / "levels.json").write_text("{}")
    result = invoke("forecast", tmp_path / "copy", "--out", tmp_path, "--home", tmp_path / "home")
    assert result.exit_code == 1
    assert "changed levels/levels.json" in result.output
