"""Every verb through the real command: what it writes, what it says, what it leaves with."""

from __future__ import annotations

import datetime as dt
import json
import tomllib

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from shop import COVARIATES, FAST, ROLES, H, Shop, check_forecasts, daily_world, forecasts, fresh_home

from foretail.core.settings import Settings
from foretail.registry.versions import Registry
from foretail.sources.synthetic import SyntheticConfig, generate

KEYS = ["store_id", "product_id"]


@pytest.fixture(scope="module")
def trained(files, empty_home, tmp_path_factory):
    """A shop whose champion is version 1, by `train`; its answer."""
    folder = tmp_path_factory.mktemp("trained")
    shop = Shop(files, fresh_home(empty_home, folder))
    words = ("--name", "sales", *FAST, "--json", "--out", folder / "out")
    return shop, folder / "out", shop("train", "daily.csv", *ROLES, *words)


def test_backtest_writes_scores_and_no_version(shop: Shop, tmp_path):
    answer = shop("backtest", "daily.csv", *ROLES, *FAST, "--out", tmp_path / "out", "--json")
    board = json.loads(answer.stdout)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"leaderboard.json", "backtest.parquet"}
    assert board == json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    tested = pl.read_parquet(tmp_path / "out" / "backtest.parquet")
    assert tested.columns[:6] == ["unique_id", "ds", "cutoff", "step", "y", "y_hat"]
    assert tested["cutoff"].n_unique() == sum(window["role"] == "outer" for window in board["windows"])
    assert json.loads(shop("models", "list", "--json").stdout) == []


def test_leaderboard_shows_what_a_run_wrote(done):
    shop, out, _ = done
    written = json.loads((out / "leaderboard.json").read_text())
    assert json.loads(shop("leaderboard", out, "--json").stdout) == written
    table = shop("leaderboard", out).stdout.splitlines()
    rows = table[2:]  # after the heads and the rule
    assert [line[2:].split()[0] for line in rows] == [row["model"] for row in written["rows"]]
    assert [line.startswith("*") for line in rows] == [row["chosen"] for row in written["rows"]]


def test_train_registers_a_champion(trained):
    shop, out, answer = trained
    told = json.loads(answer.stdout)
    assert told["promoted"]
    assert told["model_version"] == "sales/1"
    assert 0 < told["wape"] < 1
    assert told["gate"].startswith("allowed: ")
    assert (out / "leaderboard.json").exists()
    listed = json.loads(shop("models", "list", "sales", "--json").stdout)
    assert [(item["version"], item["aliases"]) for item in listed] == [(1, ["champion"])]


def test_forecast_from_newer_sales_starts_after_them(trained, tmp_path):
    shop, _, _ = trained
    longer = generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=210, stores=3, products=4, horizon=H))
    longer.frame.write_csv(tmp_path / "newer.csv")
    answer = shop("forecast", "sales/1", "--table", tmp_path / "newer.csv", "--out", tmp_path / "out", "--json")
    frame = forecasts(tmp_path / "out")
    check_forecasts(frame, H)
    assert frame["cutoff"].unique().item() == longer.frame["date"].max()
    assert frame["date"].min() == longer.frame["date"].max() + dt.timedelta(1)
    assert frame["model_version"].unique().item() == "sales/1"
    assert len(json.loads(answer.stdout)) == frame.height


def test_forecast_fewer_steps_are_the_first_of_all_steps(trained, tmp_path):
    shop, _, _ = trained
    shop("forecast", "sales", "--horizon", 3, "--out", tmp_path / "three")
    shop("forecast", "sales", "--out", tmp_path / "all")
    frame = forecasts(tmp_path / "three")
    check_forecasts(frame, 3)
    every = forecasts(tmp_path / "all").filter(pl.col("step") <= 3)
    assert_frame_equal(frame, every, check_exact=True)


def test_forecast_more_steps_than_fitted_is_refused(trained, tmp_path):
    shop, _, _ = trained
    answer = shop("forecast", "sales", "--horizon", 8, "--out", tmp_path / "out", code=2)
    assert "--horizon 7 or fewer" in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("reference", ["nothing", "sales/9", "sales@challenger"])
def test_forecast_with_a_version_that_is_not_there(trained, tmp_path, reference):
    shop, _, _ = trained
    answer = shop("forecast", reference, "--out", tmp_path / "out", code=1)
    assert "where:" in answer.stderr
    assert "fix:" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_worse_recipe_is_refused_with_4_and_can_be_forced_and_rolled_back(trained, tmp_path):
    shop, _, _ = trained
    words = ("--name", "sales", "--workers", 1, "--json", "--out", tmp_path / "out")
    answer = shop("train", "daily.csv", *ROLES, "--models", "historic_average", *words, code=4)
    problem = json.loads(answer.stdout)
    assert problem["exit_code"] == 4
    assert "refused: the candidate is no better than the champion" in answer.stderr
    assert "champion" in answer.stderr
    assert json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"]
    assert champion(shop) == 1
    refused = shop("models", "promote", "sales", 2, code=4)
    assert "WAPE" in refused.stderr
    shop("models", "promote", "sales", 2, "--force")
    assert champion(shop) == 2
    back = json.loads(shop("models", "rollback", "sales", "--json").stdout)
    assert back["version"] == champion(shop) == 1


def champion(shop: Shop) -> int:
    found = Registry(Settings(home=shop.home)).champion("sales")
    assert found is not None
    return found.version


def test_models_show_tells_scores_and_origin(trained):
    shop, _, answer = trained
    shown = json.loads(shop("models", "show", "sales/1", "--json").stdout)
    assert shown["params"]["dataset_version"] == json.loads(answer.stdout)["dataset_version"]
    assert shown["params"]["cutoff"] == "2024-07-18"
    assert shown["metrics"]


def test_init_then_run_with_the_spec(shop: Shop, tmp_path):
    spec = tmp_path / "spec.toml"
    shop("init", "daily.csv", *ROLES, *COVARIATES, "--out", spec)
    assert tomllib.loads(spec.read_text())["known"] == ["open", "promo", "price", "is_holiday"]
    assert "--force" in shop("init", "daily.csv", "--out", spec, code=2).stderr
    words = ("--future", shop.folder / "future.csv", *FAST)
    shop("run", "daily.csv", "--spec", spec, *words, "--out", tmp_path / "by_option")
    # TOML keys must stand before the first table of the document
    spec.write_text(f'table = "{shop.folder / "daily.csv"}"\n' + spec.read_text())
    shop("run", spec, *words, "--out", tmp_path / "by_file")
    same = forecasts(tmp_path / "by_option").drop("model_version")
    assert_frame_equal(forecasts(tmp_path / "by_file").drop("model_version"), same, check_exact=True)
    check_forecasts(same, H)


def test_check_reports_and_writes_nothing(shop: Shop, tmp_path):
    place = shop.elsewhere(tmp_path / "empty")
    answer = place("check", shop.folder / "daily.csv", *ROLES, *COVARIATES, "--future", "../gone.csv", code=3)
    assert "no such file" in answer.stderr
    answer = place("check", shop.folder / "daily.csv", *ROLES, "--json")
    report = json.loads(answer.stdout)
    assert report["n_rows"] == daily_world().frame.height
    assert report["n_series"] == daily_world().frame.select(KEYS).n_unique()
    assert report["total"] == daily_world().frame["units"].sum()
    assert list((tmp_path / "empty").iterdir()) == []


def test_doctor_is_well(shop: Shop):
    told = json.loads(shop("doctor", "--json").stdout)
    assert told["healthy"]
    assert {"python", "polars", "warehouse"} <= {sign["name"] for sign in told["signs"]}


def test_doctor_finds_a_registry_that_does_not_answer(shop: Shop, tmp_path):
    broken = shop.elsewhere(tmp_path / "here", FORETAIL_TRACKING_URI="http://127.0.0.1:9")
    answer = broken("doctor", code=1)
    assert "next: mend tracking" in answer.stderr
