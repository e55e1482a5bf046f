"""`foretail run` on a CSV: every file of the contract, with the contracted columns, and rows that keep the rules."""

from __future__ import annotations

import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from shop import (
    CONTRACT,
    COVARIATES,
    FAST,
    ROLES,
    H,
    Shop,
    check_forecasts,
    daily_world,
    forecasts,
    fresh_home,
    weekly_world,
)

import foretail
from foretail.core.settings import Settings

FILES = {
    *("forecasts.parquet", "forecasts.csv", "leaderboard.json", "backtest.parquet"),
    *("anomalies.parquet", "report.html", "run.json"),
}
SCORES = {"wape", "bias", "mase", "rmsse", "wql", "coverage_80", "coverage_95", "interval_score", "skill"}


def test_every_file_is_there_and_nothing_else(done):
    _, out, _ = done
    assert {path.name for path in out.iterdir()} == FILES


def test_columns_are_the_users_keys_and_time_then_the_contract(done):
    _, out, _ = done
    frame = forecasts(out)
    assert frame.columns == ["store_id", "product_id", "date", *CONTRACT]
    assert frame.schema["date"] == frame.schema["cutoff"] == pl.Date
    assert frame.schema["store_id"] == pl.Int64


def test_csv_and_parquet_hold_the_same(done):
    _, out, _ = done
    assert_frame_equal(
        pl.read_csv(out / "forecasts.csv", try_parse_dates=True), forecasts(out), check_dtypes=False, check_exact=True
    )


def test_every_row_of_the_future_is_answered_once(done):
    _, out, _ = done
    keys = ["store_id", "product_id", "date"]
    assert_frame_equal(
        forecasts(out).select(keys), daily_world().future.select(keys), check_row_order=False, check_dtypes=False
    )


def test_forecasts_keep_the_rules(done):
    _, out, _ = done
    check_forecasts(forecasts(out), H)


def test_known_closed_days_are_zero_and_open_days_are_not_all(done):
    _, out, _ = done
    frame = forecasts(out).join(daily_world().future, on=["store_id", "product_id", "date"])
    shut = frame.filter(pl.col("open") == 0)
    assert shut.height >= 10
    assert shut.select("y_hat", "q2_5", "q97_5").sum().sum_horizontal().item() == 0
    assert frame.filter(pl.col("open") == 1)["y_hat"].mean() > 1


def test_json_is_alone_on_stdout_and_is_run_json(done):
    _, out, answer = done
    told, written = json.loads(answer.stdout), json.loads((out / "run.json").read_text())
    assert set(told) == set(written)
    assert {key: told[key] for key in told if key != "stages"} == {k: written[k] for k in written if k != "stages"}
    assert {"spec", "dataset_version", "model_version", "seed", "versions", "stages", "verdict"} <= set(told)
    assert told["n_forecasts"] == forecasts(out).height
    assert told["model_version"] == forecasts(out)["model_version"].unique().item()
    for stage in told["stages"].values():
        assert stage["seconds"] >= 0
        assert stage["peak_mb"] > 20


def test_talk_goes_to_stderr_one_line_each_and_ends_with_what_to_do(done):
    _, _, answer = done
    lines = answer.stderr.splitlines()
    assert lines[-1].startswith("next: ")
    assert all(line.startswith(("note: ", "result: ", "next: ")) for line in lines), answer.stderr
    assert len(set(lines)) == len(lines)


def test_leaderboard_is_sorted_and_has_seasonal_naive(done):
    _, out, _ = done
    board = json.loads((out / "leaderboard.json").read_text())
    rows = board["rows"]
    assert [row["scores"]["wape"] for row in rows] == sorted(row["scores"]["wape"] for row in rows)
    naive = next(row for row in rows if row["model"] == "seasonal_naive")
    assert naive["scores"]["skill"] == 0
    outer = [window["cutoff"] for window in board["windows"] if window["role"] == "outer"]
    for row in rows:
        assert set(row["scores"]) == SCORES
        assert list(row["windows"]) == outer
        assert {"seconds", "failures", "chosen", "inner_wape"} <= set(row)
    assert sum(row["chosen"] for row in rows) == 1


def test_the_command_in_run_json_is_one_that_runs(done):
    _, out, _ = done
    command = json.loads((out / "run.json").read_text())["command"]
    for part in ("foretail run daily.csv", "--known open,promo,price,is_holiday", "--models seasonal_naive,profile"):
        assert part in command


def test_report_stands_alone(done):
    _, out, _ = done
    html = (out / "report.html").read_text()
    assert "<title>daily: 7 days after 2024-07-18</title>" in html
    assert 'src="http' not in html


def test_python_gives_what_the_command_gave(done, files, tmp_path, empty_home):
    _, out, _ = done
    result = foretail.run(
        files / "daily.csv",
        keys=["store_id", "product_id"],
        time="date",
        target="units",
        horizon=H,
        known=["open", "promo", "price", "is_holiday"],
        past=["temperature"],
        static=["store_type"],
        future=files / "future.csv",
        models=["seasonal_naive", "profile"],
        out=tmp_path / "out",
        settings=Settings(home=fresh_home(empty_home, tmp_path), workers=1),
    )
    assert_frame_equal(result.forecasts, forecasts(out), check_exact=True)
    assert (tmp_path / "out" / "forecasts.parquet").read_bytes() == (out / "forecasts.parquet").read_bytes()
    assert result.leaderboard.chosen.model == result.summary["model"]


def test_weekly_table_with_everything_guessed_but_the_target(shop: Shop, tmp_path):
    out = tmp_path / "out"
    answer = shop("run", "weekly.csv", "--target", "weekly_sales", "--horizon", 4, *FAST, "--out", out)
    frame = forecasts(out)
    check_forecasts(frame, 4)
    assert frame.columns == ["store_id", "dept_id", "date", *CONTRACT]
    assert frame.height == 4 * weekly_world().frame.select("store_id", "dept_id").n_unique()
    assert set(frame["date"].dt.weekday()) == {5}
    assert "frequency W-FRI" in answer.stderr
    assert answer.stdout.splitlines()[0].split()[:4] == ["model", "WAPE", "bias", "MASE"]


def test_three_quantiles_are_three_columns(shop: Shop, tmp_path):
    shop("run", "daily.csv", *ROLES, "--quantiles", "0.9,0.1,0.5", *FAST, "--out", tmp_path / "out")
    frame = forecasts(tmp_path / "out")
    assert [name for name in frame.columns if name.startswith("q")] == ["q10", "q50", "q90"]


def test_where_nothing_beats_seasonal_naive_the_run_says_so(shop: Shop, tmp_path):
    """Weeks that repeat exactly: the last season again has no error at all."""
    week = [5, 8, 0, 3, 9, 12, 4]
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 4, 29), eager=True)
    rows = [(shop_name, day, week[i % 7] * (k + 1)) for k, shop_name in enumerate("abc") for i, day in enumerate(days)]
    pl.DataFrame(rows, schema=["shop", "date", "sales"], orient="row").write_csv(tmp_path / "weeks.csv")
    answer = shop("run", tmp_path / "weeks.csv", "--horizon", H, *FAST, "--out", tmp_path / "out")
    assert "nothing beat seasonal naive" in answer.stderr
    frame = forecasts(tmp_path / "out")
    assert frame["model"].unique().to_list() == ["seasonal_naive"]
    assert frame["y_hat"].to_list() == [week[(len(days) + step) % 7] * (k + 1) for k in range(3) for step in range(H)]


@pytest.mark.parametrize("extra", [(), COVARIATES])
def test_a_layout_without_files_runs_as_well(shop: Shop, tmp_path, extra):
    """The synthetic world needs no file; its own roles may be named again."""
    (tmp_path / "world.json").write_text(json.dumps({"periods": 120, "stores": 2, "products": 2, "horizon": 5}))
    words = ("--data", tmp_path / "world.json", "--horizon", 5, *extra)
    shop("run", "synthetic", *words, *FAST, "--out", tmp_path / "out")
    check_forecasts(forecasts(tmp_path / "out"), 5)
