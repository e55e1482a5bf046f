"""Of a version that heeds the levels above its series, every door gives the same forecasts."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from foretail.cli.main import cli
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.models.families import make
from foretail.models.reconcile import Covariance
from foretail.panel.aggregate import level_panel
from foretail.panel.hierarchy import hierarchy_of
from foretail.pipelines.explain import explain_version
from foretail.pipelines.forecast import open_version
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.serving.answering import Answering
from foretail.serving.asks import Ask
from foretail.sources.synthetic import SyntheticConfig, generate

KEYS, H = ["store_id", "product_id"], 7
GIVEN = ["--keys", ",".join(KEYS), "--time", "date", "--target", "units", "--static", "category", "--known", "promo"]


def invoke(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", params=["wls", "top_down"])
def version(request, tmp_path_factory):
    """A bundle whose levels have models that look at the promotion, reconciled as the parameter says."""
    place = tmp_path_factory.mktemp("heeds")
    world = generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=200, stores=3, products=4, horizon=H))
    world.frame.write_parquet(place / "sales.parquet")
    world.future.write_parquet(place / "future.parquet")
    invoke(
        "train", place / "sales.parquet", "--future", place / "future.parquet", *GIVEN, "--horizon", H,
        "--models", "boosting", "--hierarchy", "category", "--home", place / "home", "--name", "shop", "--workers", 1,
    )  # fmt: skip
    (found,) = (place / "home").rglob("bundle.json")
    bundle = read_bundle(found.parent)
    hierarchy = hierarchy_of(bundle.panel.series, bundle.panel.spec)
    models = {level.name: make("boosting").fit(level_panel(bundle.panel, level), H) for level in hierarchy.levels}
    errors = np.random.default_rng(0).normal(size=(hierarchy.n_groups + bundle.panel.n_series, 20))
    levels = replace(
        bundle.levels,
        method=request.param,
        models=models,
        families=dict.fromkeys(models, "boosting"),
        covariance=Covariance.of_variances(errors) if request.param == "wls" else None,
    )
    write_bundle(place / "bundle", replace(bundle, levels=levels))
    return place / "bundle"


@pytest.fixture(scope="module")
def forecasts(version, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain")
    invoke("forecast", version, "--out", out, "--home", out / "home")
    return pl.read_parquet(out / "forecasts.parquet").sort(*KEYS, "date")


@pytest.fixture(scope="module")
def promoted(version, forecasts, tmp_path_factory):
    """What a scenario makes of one series, whose promotion is turned round on every day."""
    out = tmp_path_factory.mktemp("scenario")
    panel = read_bundle(version).panel
    told = panel.covariate("promo").values[0, panel.n_periods :]
    series = panel.series.row(0, named=True)
    days = forecasts.filter(pl.all_horizontal(pl.col(key) == series[key] for key in KEYS))["date"]
    pl.DataFrame(
        {**{key: [series[key]] * H for key in KEYS}, "date": days, "promo": (1 - told[:H]).astype(int)}
    ).write_csv(out / "plan.csv")
    said = invoke("forecast", version, "--scenario", out / "plan.csv", "--out", out, "--home", out / "home")
    assert "before that" not in said
    frames = {name: pl.read_parquet(out / f"{name}.parquet").sort(*KEYS, "date") for name in ("scenario", "forecasts")}
    return frames | {"overrides": [float(value) for value in 1 - told[:H]]}


def test_without_the_plan_a_scenario_shows_the_forecasts_of_the_version(forecasts, promoted):
    assert promoted["forecasts"]["y_hat"].equals(forecasts["y_hat"])
    both = promoted["scenario"].join(forecasts, on=[*KEYS, "date"], suffix="_plain", validate="1:1")
    assert both.height == promoted["scenario"].height
    np.testing.assert_allclose(both["y_hat_base"], both["y_hat_plain"], rtol=1e-9)


def test_the_levels_hear_of_the_plan(version, promoted):
    """Forecasting the panel that the plan makes of it, from nothing, gives the scenario's forecasts."""
    bundle, _, wanted = open_version(str(version), table=None, future=None, horizon=None, settings=Settings())
    panel = wanted.panel
    promo = panel.covariate("promo")
    values = promo.values.copy()
    values[0, panel.n_periods :] = promoted["overrides"]
    other = replace(bundle, panel=replace(panel, known=(replace(promo, values=values),)))
    answering = Answering(other, "other")
    ids = panel.series.select(KEYS).rows()
    asks = [Ask(tuple(key), panel.future_dates(1)[0].astype(dt.date), horizon=H) for key in ids]
    found = {(item.keys, item.ds): item.y_hat for item in answering.score(asks)}
    shown = promoted["scenario"]
    assert (shown["difference"].abs() > 0).any()
    for *key, date, y_hat in shown.select(*KEYS, "date", "y_hat").rows():
        assert found[tuple(key), date] == pytest.approx(y_hat, rel=1e-6)


def test_a_server_answers_with_the_forecasts_of_the_version(version, forecasts, promoted):
    answering = Answering(read_bundle(version), "shop/1")
    answering.check()
    ids = forecasts.select(KEYS).unique(maintain_order=True).rows()
    first = forecasts["date"].min()
    answers = answering.score([Ask(tuple(key), first, horizon=H) for key in ids])
    np.testing.assert_allclose([item.y_hat for item in answers], forecasts["y_hat"], rtol=1e-9)
    key = read_bundle(version).panel.series.select(KEYS).row(0)
    ask = Ask(key, first, horizon=H, overrides={"promo": promoted["overrides"]})
    own = promoted["scenario"].filter(
        pl.all_horizontal(pl.col(name) == value for name, value in zip(KEYS, key, strict=True))
    )
    np.testing.assert_allclose([item.y_hat for item in answering.score([ask])], own["y_hat"], rtol=1e-9)
    for item in answering.explain([ask]):
        assert item.base + sum(item.parts.values()) == pytest.approx(item.answered.y_hat, rel=1e-6)


def test_an_explanation_is_of_the_forecast_that_is_written(version, forecasts, tmp_path):
    found = 0.0
    for row in forecasts.head(2 * H).to_dicts():
        told = explain_version(
            str(version), {key: str(row[key]) for key in KEYS}, date=row["date"], table=None, future=None,
            settings=Settings(home=tmp_path), progress=Silent(),
        )  # fmt: skip
        assert told.y_hat == pytest.approx(row["y_hat"], rel=1e-9)
        assert told.base + sum(told.parts.values()) == pytest.approx(told.y_hat, rel=1e-6)
        found += sum(abs(item["part"]) for item in told.features if item["feature"] == "agreement with the levels")
    assert found > 0
