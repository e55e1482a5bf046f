"""`foretail anomalies` and `foretail backtest --refit` as a user runs them, with what they refuse."""

from __future__ import annotations

import datetime as dt
import json

import polars as pl
from shop import COVARIATES, FAST, ROLES, H, Shop, daily_world

from foretail.backtest.causes import CAUSES
from foretail.sources.synthetic import SyntheticConfig, generate

KEYS = ["store_id", "product_id", "date"]


def test_the_days_of_the_backtest_are_those_that_the_run_wrote(done, tmp_path):
    shop, out, _ = done
    answer = shop("anomalies", "daily", "--json", "--cause", ",".join(CAUSES), "--out", tmp_path / "out")
    written = pl.read_parquet(out / "anomalies.parquet")
    told = json.loads(answer.stdout)
    assert told["n_outside"] == len(told["anomalies"]) == written.height
    assert sum(told["counts"].values()) == written.height
    assert set(told["counts"]) <= set(CAUSES)
    assert pl.read_parquet(tmp_path / "out" / "anomalies.parquet").equals(written)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"anomalies.parquet", "anomalies.csv"}
    assert 'id="anomalies"' in (out / "report.html").read_text(encoding="utf-8")


def test_newer_sales_are_compared_with_what_the_version_said(done, tmp_path):
    shop, _, _ = done
    config = SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=210, stores=3, products=4, horizon=H)
    newer = generate(config).frame
    last = newer["date"].max()
    row = newer.filter(pl.col("date") == last - dt.timedelta(days=2)).sort("units").row(-1, named=True)
    same = pl.all_horizontal(pl.col(name) == row[name] for name in KEYS)
    wrong = newer.with_columns(pl.when(same).then(100 * pl.col("units")).otherwise("units").alias("units"))
    wrong.write_csv(tmp_path / "newer.csv")
    answer = shop("anomalies", "daily", "--table", tmp_path / "newer.csv", "--out", tmp_path / "out")
    found = pl.read_parquet(tmp_path / "out" / "anomalies.parquet")
    assert found["cutoff"].min() >= daily_world().frame["date"].max()
    hit = found.filter(same).row(0, named=True)
    assert (hit["cause"], hit["y"]) == ("data error", 100 * row["units"])
    assert "data error" in answer.stdout
    assert "days outside their 95 % interval" in answer.stderr


def test_what_cannot_be_looked_at_is_refused_in_three_parts(done, tmp_path):
    shop, _, _ = done
    answer = shop("anomalies", "daily", "--cause", "stock-out", "--out", tmp_path / "out", code=2)
    assert "did you mean 'stockout'?" in answer.stderr
    nothing = shop("anomalies", "daily", "--table", "daily.csv", "--out", tmp_path / "out", "--json", code=3)
    (problem,) = json.loads(nothing.stdout)["problems"]
    assert "nothing newer" in problem["what"]
    assert not (tmp_path / "out").exists()


def test_a_backtest_with_refit_says_how_fast_the_model_ages(shop: Shop, tmp_path):
    words = (*ROLES, *COVARIATES, "--future", "future.csv", *FAST)
    answer = shop("backtest", "daily.csv", *words, "--refit", 3, "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("leaderboard.json", "backtest.parquet"),
        *("aging.json", "aging.html"),
    }
    told = json.loads((tmp_path / "out" / "aging.json").read_text())
    assert set(told["ways"]) == {"never", "every 3 windows", "every window"}
    assert told["verdict"] in answer.stderr
    assert answer.stdout.count("every 3 windows") == 4  # three ages, and all of them


def test_a_way_to_refit_that_is_none_and_a_history_without_room(shop: Shop, tmp_path):
    out = tmp_path / "out"
    answer = shop("backtest", "daily.csv", *ROLES, *FAST, "--refit", "sometimes", "--out", out, code=2)
    assert "never, 4 or 'every 4'" in answer.stderr
    short = daily_world().frame.filter(pl.col("date") < dt.date(2024, 1, 16))
    short.write_csv(tmp_path / "short.csv")
    answer = shop("backtest", tmp_path / "short.csv", *ROLES, *FAST, "--refit", "never", "--out", out, code=3)
    assert "too short to say how a version ages" in answer.stderr
    assert not out.exists()
