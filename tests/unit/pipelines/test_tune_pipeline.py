"""`foretail.tune`: one question one study, several families in one budget, and what goes on without MLflow."""

from __future__ import annotations

import datetime as dt
import json

import polars as pl
import pytest

import foretail
from foretail.core.errors import UsageError
from foretail.core.settings import Settings
from foretail.sources.synthetic import SyntheticConfig, generate

H = 7
ROLES = {"keys": ["store_id", "product_id"], "time": "date", "target": "units", "horizon": H, "name": "sales"}


@pytest.fixture(scope="module")
def frame():
    return generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=220, stores=3, products=4, horizon=H)).frame


@pytest.fixture(scope="module")
def table(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "daily.csv"
    frame.write_csv(path)
    return path


@pytest.fixture
def alone(tmp_path):
    """An empty home, and an MLflow that cannot be there."""
    return Settings(home=tmp_path / "home", tracking_uri="sqlite:////proc/nowhere/mlflow.db", workers=1)


def tune(table, tmp_path, settings, **given):
    return foretail.tune(table, **ROLES, out=tmp_path / "out", settings=settings, **given)


def trials_of(result):
    return [(t.name, t.state, t.windows) for item in result.tunings for t in item.trials]


def test_mlflow_that_does_not_answer_costs_the_log_and_not_the_search(table, tmp_path, alone):
    result = tune(table, tmp_path, alone, models="profile", trials=2)
    assert "trials are not in MLflow" in result.notes[-1]
    assert len(result.tunings[0].trials) == 2
    assert json.loads((tmp_path / "out" / "tuning.json").read_text()) == json.loads(json.dumps(result.summary))


def test_what_the_outer_windows_hold_moves_no_trial(frame, table, tmp_path, alone):
    found = tune(table, tmp_path, alone, models="profile", trials=4)
    last = found.tunings[0].windows[-1]
    end = dt.date.fromisoformat(last.cutoff) + dt.timedelta(last.h)
    is_sold = (pl.col("date") > end) & (pl.col("units") > 0)  # what is closed stays closed
    other = frame.with_columns(pl.when(is_sold).then(pl.col("units") * 3 + 1).otherwise("units").alias("units"))
    assert not other.equals(frame)
    other.write_csv(tmp_path / "other.csv")
    elsewhere = Settings(home=tmp_path / "other", tracking_uri=alone.tracking_uri, workers=1)
    moved = tune(tmp_path / "other.csv", tmp_path, elsewhere, models="profile", trials=4)
    assert moved.summary["dataset_version"] != found.summary["dataset_version"]
    assert trials_of(moved) == trials_of(found)
    assert moved.tunings[0].study == found.tunings[0].study


def test_auto_tunes_what_can_be_tuned_and_the_next_command_keeps_auto(table, tmp_path, alone):
    result = tune(table, tmp_path, alone, trials=1)
    families = [item.family for item in result.tunings]
    assert {"profile", "boosting"} <= set(families)
    assert "theta" not in families
    assert result.recommended == ()  # the defaults alone cannot beat themselves
    assert "--models" not in result.next_command
    assert "--budget" not in result.next_command


def test_a_budget_that_is_up_at_once_is_said_for_every_family(table, tmp_path, alone):
    result = tune(table, tmp_path, alone, models=("profile", "boosting"), budget_s=0.01)
    assert [item.trials for item in result.tunings] == [(), ()]
    assert all("the time was up" in item.verdict for item in result.tunings)
    assert result.summary["families"][1]["wape_default"] is None


def test_what_cannot_be_tuned_is_refused_before_anything_is_read(tmp_path, alone):
    with pytest.raises(UsageError, match="seasonal_naive has nothing to tune"):
        tune("nowhere.csv", tmp_path, alone, models=("profile", "seasonal_naive"))
    assert not alone.home.exists()
