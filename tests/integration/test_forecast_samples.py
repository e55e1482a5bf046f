"""forecast --samples on a version that a run made: files that agree with the forecasts, and what is refused."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import foretail
from foretail.cli.main import cli
from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.core.settings import Settings
from foretail.models.dependence import PREFIX, Dependence
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.registry.versions import Registry
from foretail.sources.synthetic import SyntheticConfig, generate

KEYS, H, S = ["store_id", "product_id"], 7, 120
COLUMNS = [quantile_column(level) for level in DEFAULT_QUANTILES]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """The bundle of a version of 24 series over half a year."""
    world = generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=180, stores=4, products=6, horizon=H))
    place = tmp_path_factory.mktemp("version")
    world.frame.write_parquet(place / "sales.parquet")
    settings = Settings(home=place / "home", workers=1)
    foretail.run(
        place / "sales.parquet", keys=KEYS, time="date", target="units", static=["category"], horizon=H,
        models=("profile",), out=place / "out", settings=settings, name="shop",
    )  # fmt: skip
    return Registry(settings).fetch("shop", 1)


def forecast(version, out, *options):
    return CliRunner().invoke(cli, ["forecast", str(version), "--out", str(out), "--home", str(out / "home"), *options])


@pytest.fixture(scope="module")
def answer(version, tmp_path_factory):
    out = tmp_path_factory.mktemp("answer")
    options = ["--samples", str(S), "--lead-time", "3", "--total-by", "category,store_id/category"]
    result = forecast(version, out, *options)
    assert result.exit_code == 0, result.output
    return out


def test_a_sample_per_forecast_row_of_the_calibrated_law(answer):
    shown, drawn = pl.read_parquet(answer / "forecasts.parquet"), pl.read_parquet(answer / "samples.parquet")
    assert drawn.columns == [*KEYS, "date", "step", "samples"]
    joined = shown.join(drawn, on=[*KEYS, "date", "step"], validate="1:1")
    assert joined.height == shown.height == drawn.height
    values = np.array(joined["samples"].to_list())
    assert values.shape == (shown.height, S)
    assert (values >= 0).all()
    below = (values < joined["q90"].to_numpy()[:, None]) | (joined["q90"] == 0).to_numpy()[:, None]
    is_open = (joined["q90"] > 0).to_numpy()
    assert below[is_open].mean() == pytest.approx(0.9, abs=0.02)
    assert (values[(joined["q97_5"] == 0).to_numpy()] == 0).all()


def test_totals_are_those_of_the_samples(answer):
    totals, drawn = pl.read_parquet(answer / "totals.parquet"), pl.read_parquet(answer / "samples.parquet")
    shown = pl.read_parquet(answer / "forecasts.parquet")
    names = pl.read_parquet(answer / "totals.parquet").filter(pl.col("product_id").is_not_null())
    assert set(names["steps"]) == {H, 3}
    one = drawn.filter(pl.all_horizontal(pl.col(key) == drawn[key][0] for key in KEYS), pl.col("step") <= 3)
    expected = np.quantile(np.array(one["samples"].to_list()).sum(0), DEFAULT_QUANTILES)
    row = totals.filter(pl.all_horizontal(pl.col(key) == drawn[key][0] for key in KEYS), pl.col("steps") == 3)
    np.testing.assert_allclose(row.select(COLUMNS).row(0), expected, rtol=1e-5)
    every = totals.filter(pl.all_horizontal(pl.col(*KEYS, "category").is_null()), pl.col("steps") == H)
    whole = np.array(drawn["samples"].to_list()).sum(0)
    np.testing.assert_allclose(every.select(COLUMNS).row(0), np.quantile(whole, DEFAULT_QUANTILES), rtol=1e-5)
    assert every["y_hat"].item() == pytest.approx(shown["y_hat"].sum())
    assert every["n_series"].item() == shown.select(KEYS).n_unique()


def test_groups_add_up_to_all_and_their_names_are_there(answer):
    totals = pl.read_parquet(answer / "totals.parquet").filter(pl.col("steps") == H)
    by = totals.filter(pl.col("category").is_not_null(), pl.col("store_id").is_null())
    both = totals.filter(pl.col("category").is_not_null(), pl.col("store_id").is_not_null())
    every = totals.filter(pl.all_horizontal(pl.col(*KEYS, "category").is_null()))["y_hat"].item()
    assert by["y_hat"].sum() == pytest.approx(every)
    assert both["y_hat"].sum() == pytest.approx(every)
    assert both.height == both.select("store_id", "category").n_unique() > by.height


def test_only_what_the_future_names_is_sampled_and_a_new_series_too(version, tmp_path):
    sales = read_bundle(version).panel
    rows = [*sales.series.select(KEYS).head(2).rows(), (sales.series["store_id"][0], 999)]
    days = [sales.cutoff + dt.timedelta(days=step) for step in range(1, H + 1)]
    asked = [(*keys, day, sales.series["category"][0]) for keys in rows for day in days]
    pl.DataFrame(asked, [*KEYS, "date", "category"], orient="row").write_parquet(tmp_path / "future.parquet")
    dates = [day.item() for day in sales.dates().astype("datetime64[D]")]
    told = sales.series.select(*KEYS, "category").with_columns(pl.lit(dates).alias("date"), units=pl.Series(sales.y))
    told = told.with_columns(pl.col("units").arr.to_list()).explode("date", "units")
    told.filter(pl.col("units").is_finite()).write_parquet(tmp_path / "table.parquet")
    options = ["--table", str(tmp_path / "table.parquet"), "--future", str(tmp_path / "future.parquet")]
    result = forecast(version, tmp_path / "out", *options, "--samples", "40")
    assert result.exit_code == 0, result.output
    drawn = pl.read_parquet(tmp_path / "out" / "samples.parquet")
    assert drawn.height == 3 * H
    assert drawn.filter(pl.col("product_id") == 999).height == H
    totals = pl.read_parquet(tmp_path / "out" / "totals.parquet")
    every = totals.filter(pl.all_horizontal(pl.col(*KEYS).is_null()))
    shown = pl.read_parquet(tmp_path / "out" / "forecasts.parquet")
    assert every["n_series"].item() == 3
    assert every["y_hat"].item() == pytest.approx(shown["y_hat"].sum())
    sums = np.array(drawn["samples"].to_list()).sum(0)
    assert every["q50"].item() == pytest.approx(np.quantile(sums, 0.5), rel=1e-5)


def test_the_same_seed_is_the_same_answer_and_another_is_not(version, answer, tmp_path):
    for seed, same in (("7", True), ("8", False)):
        result = forecast(version, tmp_path / seed, "--samples", str(S), "--sample-seed", seed)
        assert result.exit_code == 0, result.output
        drawn = pl.read_parquet(tmp_path / seed / "samples.parquet")
        assert drawn.equals(pl.read_parquet(answer / "samples.parquet")) is same


def test_without_the_option_nothing_more_is_written(version, tmp_path):
    result = forecast(version, tmp_path)
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.glob("samples*")) and not list(tmp_path.glob("totals*"))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--samples", "50", "--lead-time", "8"], "a lead time of 8 days does not lie in the horizon"),
        (["--samples", "50", "--total-by", "categry"], "did you mean 'category'?"),
        (["--lead-time", "3"], "add --samples 200"),
        (["--samples", "50", "--sample-seed", "-1"], "a seed is not below 0"),
        (["--samples", "0"], "0 is not in the range"),
    ],
)
def test_what_is_refused_is_said(version, tmp_path, options, what):
    result = forecast(version, tmp_path, *options)
    assert result.exit_code == 2
    assert what in result.output
    assert not list(tmp_path.glob("*.parquet"))


def test_a_version_without_errors_says_train_again(version, tmp_path):
    bundle = read_bundle(version)
    kept = {name: values for name, values in bundle.calibration.items() if not name.startswith(PREFIX)}
    write_bundle(tmp_path / "old", replace(bundle, calibration=kept))
    result = forecast(tmp_path / "old", tmp_path / "out", "--samples", "50")
    assert result.exit_code == 2
    assert "holds no errors of its backtest" in result.output and "train again" in result.output
    shutil.rmtree(tmp_path / "old")


def test_the_version_keeps_a_dependence_whose_parts_are_one(version):
    dependence = Dependence.from_arrays(read_bundle(version).calibration)
    assert dependence.shares.sum() == pytest.approx(1)
    assert (dependence.shares >= 0).all()
    assert dependence.factors[0] == "" and dependence.factors[-1] == "own"


def test_few_samples_come_with_a_note(version, tmp_path):
    result = forecast(version, tmp_path, "--samples", "20")
    assert result.exit_code == 0
    assert "20 samples are few" in result.output
