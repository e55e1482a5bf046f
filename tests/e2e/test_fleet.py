"""A fleet through the real command: trained, looked at, forecast the same until refreshed, tried again."""

from __future__ import annotations

import json

import pytest
from shop import COVARIATES, ROLES, H, Shop, fresh_home

NAMED = (*ROLES, *COVARIATES[:2], "--future", "future.csv", "--workers", "1")


@pytest.fixture(scope="module")
def fleet(files, empty_home, tmp_path_factory):
    """A shop with a trained fleet, and what the training said."""
    folder = tmp_path_factory.mktemp("fleet")
    shop = Shop(files, fresh_home(empty_home, folder))
    return shop, json.loads(shop("fleet", "train", "daily.csv", *NAMED, "--fleet", "corner", "--json").stdout)


def test_training_says_what_became_of_every_series(fleet):
    shop, said = fleet
    assert said["n_series"] == 12 == sum(said["counts"].values())
    assert said["model_version"] == "prophet-retail-forecaster-corner/1"
    assert said["counts"]["failed"] == 0 and said["n_forecasts"] % H == 0
    assert said["wape"] < said["naive_wape"] and said["skill"] > 0
    assert {"read", "fit", "measure", "register", "store"} <= set(said["seconds"])
    status = json.loads(shop("fleet", "status", "--json").stdout)
    assert status["counts"] == said["counts"] and status["status"] == "done"
    versions = json.loads(shop("models", "list", "--json").stdout)
    assert [(item["name"], item["version"]) for item in versions] == [("prophet-retail-forecaster-corner", 1)]


def test_one_series_is_shown(fleet):
    shop, _ = fleet
    shown = json.loads(shop("fleet", "show", "3", "2", "--json").stdout)
    assert shown["model_id"] == "prophet-retail-forecaster-store-3-2"
    assert [row["step"] for row in shown["forecast"]] == list(range(1, H + 1))
    assert "version 1 answers" in shop("fleet", "show", "3", "2").stdout


def test_the_forecast_stays_until_it_is_refreshed(fleet):
    shop, said = fleet
    first = json.loads(shop("fleet", "forecast", "--json").stdout)
    assert len(first) == said["n_forecasts"]
    assert json.loads(shop("fleet", "forecast", "--json").stdout) == first
    fresh = json.loads(shop("fleet", "forecast", "--refresh", "--workers", "1", "--json").stdout)
    key = ("unique_id", "ds", "y_hat", "model_version", "cutoff")
    assert [[row[name] for name in key] for row in fresh] == [[row[name] for name in key] for row in first]
    assert {row["run_id"] for row in fresh}.isdisjoint(row["run_id"] for row in first)


def test_nothing_failed_so_that_nothing_is_tried_again(fleet):
    shop, _ = fleet
    answer = shop("fleet", "retry", "--json")
    assert json.loads(answer.stdout) == [] and "0 series" in answer.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train", "daily.csv", *NAMED, "--family", "boosting"), 2, "one model per series"),
        (("train", "daily.csv", *NAMED, "--last", "soon"), 2, "--last 120d"),
        (("train", "daily.csv", *NAMED, "--family", "prophet[yearly_seasonality=true]"), 2, "two years"),
        (("show", "1; rm -rf /", "2"), 2, "no series of store"),
        (("status", "--fleet", "cornr"), 2, "did you mean 'corner'"),
        (("train", "nothing.csv"), 3, "no such file"),
    ],
)
def test_what_cannot_be_is_said_with_its_exit_code(fleet, words, code, said):
    shop, _ = fleet
    answer = shop("fleet", *words, code=code)
    assert said in answer.stderr and "fix:" in answer.stderr


def test_a_warehouse_that_does_not_answer_is_an_error_and_nothing_is_lost(fleet, tmp_path):
    shop, _ = fleet
    down = shop.elsewhere(tmp_path, FORETAIL_WAREHOUSE="postgresql+psycopg://nobody:secret@127.0.0.1:9/none")
    answer = down("fleet", "status", code=1)
    assert "does not answer" in answer.stderr and "secret" not in answer.stderr
    assert json.loads(shop("fleet", "status", "--json").stdout)["n_series"] == 12
