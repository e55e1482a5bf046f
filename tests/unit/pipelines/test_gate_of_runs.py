"""What becomes of the versions that runs and trainings make: numbers, champions, refusals, and the words for them."""

from __future__ import annotations

import datetime as dt
import json

import pytest

import foretail
from foretail.core.errors import DataError, PromotionRefused, RegistryError, UsageError
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.forecast import forecast_version
from foretail.pipelines.request import Request
from foretail.pipelines.train import train_request
from foretail.registry.versions import Registry
from foretail.sources.synthetic import SyntheticConfig, generate

KEYS, H = ("store_id", "product_id"), 7


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Eight series over half a year."""
    world = generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=180, stores=2, products=4, horizon=H))
    path = tmp_path_factory.mktemp("table") / "sales.csv"
    world.frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings(home=tmp_path_factory.mktemp("place") / "home", workers=1)


def asked(table, *models, **changes) -> Request:
    fixed = {"keys": KEYS, "time": "date", "target": "units", "horizon": H, "models": models}
    return Request(str(table), **{**fixed, **changes})


def run(table, settings, out, *models, **changes):
    return foretail.run(
        table, keys=KEYS, time="date", target="units", horizon=H, models=models, out=out, settings=settings, **changes
    )


def test_a_second_run_is_version_2_and_says_that_the_champion_stays(table, settings, tmp_path):
    first = run(table, settings, tmp_path / "a", "profile", name="twice")
    again = run(table, settings, tmp_path / "b", "profile", name="twice")
    assert (first.summary["model_version"], again.summary["model_version"]) == ("twice/1", "twice/2")
    assert first.summary["promoted"]
    assert "version twice/1 is now the champion" in first.summary["verdict"]
    assert not again.summary["promoted"]
    assert "the gate refused it" in again.summary["verdict"]
    assert "no better than the champion" in again.summary["gate"]
    assert Registry(settings).champion("twice").version == 1
    own = [name for name in first.forecasts.columns if name != "model_version"]
    assert first.forecasts.select(own).equals(again.forecasts.select(own))


def test_a_worse_recipe_is_refused_and_a_better_one_promoted(table, settings, tmp_path):
    def train(*models):
        request = asked(table, *models, name="better")
        return train_request(request, tmp_path / "out", settings, Silent())

    assert train("seasonal_naive")["model_version"] == "better/1"
    second = train("historic_average")
    assert second["promoted"]
    assert second["model_version"] == "better/2"
    with pytest.raises(PromotionRefused, match="no better than the champion") as refused:
        train("zero")
    assert "WAPE candidate" in str(refused.value)
    assert json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"]
    assert Registry(settings).champion("better").version == 2
    assert Registry(settings).show("better", 3).aliases == ("candidate",)


def test_a_version_of_another_table_or_recipe_is_compared_on_the_same_windows(table, settings, tmp_path):
    """The champion was scored on other windows (an earlier cutoff): its recipe is scored again on the new ones."""
    early = run(table, settings, tmp_path / "a", "profile", name="later", cutoff="2024-06-01")
    late = run(table, settings, tmp_path / "b", "profile", name="later")
    assert early.summary["promoted"]
    assert not late.summary["promoted"]  # the same recipe on the same windows is not better than itself
    assert "version 1 (profile)" in late.summary["gate"]


def test_train_without_a_registry_says_where_the_bundle_is(table, settings, tmp_path):
    unreachable = Settings(home=tmp_path / "home", workers=1, tracking_uri="sqlite:////proc/none/mlflow.db")
    with pytest.raises(RegistryError, match="the bundle is on disk at"):
        train_request(asked(table, "seasonal_naive"), tmp_path / "out", unreachable, Silent())
    (bundle,) = (tmp_path / "home" / "unlogged").iterdir()
    frame = forecast_version(
        str(bundle),
        table=None,
        future=None,
        horizon=None,
        out=tmp_path / "forecast",
        settings=unreachable,
        progress=Silent(),
    )
    assert frame.height == 8 * H


def test_a_run_without_a_registry_ends_with_forecasts_and_a_note(table, tmp_path):
    unreachable = Settings(home=tmp_path / "home", workers=1, tracking_uri="sqlite:////proc/none/mlflow.db")
    result = run(table, unreachable, tmp_path / "out", "seasonal_naive")
    assert result.summary["model_version"] == "unregistered"
    assert result.summary["verdict"].endswith("the model could not be registered")
    assert any("cannot reach the registry" in note and "the bundle is on disk at" in note for note in result.notes)
    assert result.forecasts.height == 8 * H


def test_the_future_must_reach_the_horizon_that_was_asked_for(table, settings, tmp_path):
    future = tmp_path / "future.csv"
    lines = ["store_id,product_id,date,promo"]
    lines += [f"{s},{p},2024-06-{day},0" for s in (1, 2) for p in (1, 2, 3, 4) for day in (29, 30)]
    future.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="the future rows end 2 steps after the cutoff, the horizon is 7"):
        run(table, settings, tmp_path / "out", "seasonal_naive", known=("promo",), future=future)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_is_said_before_anything_is_read(settings, tmp_path):
    with pytest.raises(UsageError, match="unknown model family"):
        run("nowhere.csv", settings, tmp_path / "out", "profil")
    with pytest.raises(UsageError, match="quantiles"):
        run("nowhere.csv", settings, tmp_path / "out", "profile", quantiles=(0.0, 0.5))


def test_a_budget_that_is_too_small_is_told(table, settings, tmp_path):
    result = run(table, settings, tmp_path / "out", "profile", "historic_average", name="hurry", budget_s=1e-6)
    assert result.summary["model"] == "seasonal_naive"
    (note,) = [note for note in result.notes if "--budget" in note]
    assert "profile" in note
    assert "historic_average" in note
    assert result.forecasts.height == 8 * H


def test_stages_are_all_timed(table, settings, tmp_path):
    result = run(table, settings, tmp_path / "out", "seasonal_naive", name="stages")
    stages = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert list(stages) == ["read", "check", "backtest", "train", "register", "forecast"]
    assert list(result.summary["stages"]) == [*stages, "report"]
