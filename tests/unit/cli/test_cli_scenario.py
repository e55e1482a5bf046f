"""foretail forecast --scenario: what it writes and says beside the plain forecast, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_cli_explain import H, panel

from foretail.models.dependence import Dependence
from foretail.models.families import make
from foretail.registry.bundle import write_bundle
from version_maker import last_errors, version_of

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def bundle_of(folder, family, calibration=None):
    sales = panel()
    model = make(family).fit(sales, H)
    intervals = last_errors(sales, model, H, LEVELS).to_arrays()
    write_bundle(folder, version_of(sales, family, model, H, LEVELS, {**intervals, **(calibration or {})}))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_of(tmp_path_factory.mktemp("version") / "sales-1", "prophet")


def write(text):
    Path("plan.csv").write_text(text, encoding="utf-8")
    return "plan.csv"


def test_a_promotion_added_is_forecast_beside_the_plan(foretail, bundle, tmp_path):
    plan = write("shop,item,day,promo\n1,,2024-05-03,1\n")
    answer = foretail("forecast", bundle, "--scenario", plan, "--out", "out")
    assert answer.exit_code == 0, answer.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{kind}.{ending}" for kind in ("forecasts", "scenario") for ending in ("csv", "parquet")} | {
        "scenario.html"
    }
    found, plain = (pl.read_parquet(f"out/{name}.parquet") for name in ("scenario", "forecasts"))
    assert found["shop"].unique().to_list() == [1] and found.height == H and plain.height == 2 * H
    changed = found.row(by_predicate=pl.col("day") == pl.date(2024, 5, 3), named=True)
    assert changed["y_hat"] == pytest.approx(2 * changed["y_hat_base"], rel=0.1)
    assert changed["difference"] == pytest.approx(changed["y_hat"] - changed["y_hat_base"])
    assert changed["difference_q10"] <= changed["difference"] <= changed["difference_q90"]
    assert (changed["promo_base"], changed["promo_scenario"]) == (0, 1)
    others = found.filter(pl.col("day") != pl.date(2024, 5, 3))
    assert not others.select("difference", "difference_q10", "difference_q90").to_numpy().any()
    base = plain.filter(pl.col("shop") == 1)["y_hat"].to_numpy()
    np.testing.assert_array_equal(found["y_hat_base"].to_numpy(), base)
    assert "in the scenario" in answer.stdout
    assert "the calibrated widths of both forecasts" in answer.stderr


def test_json_holds_totals_warnings_and_rows(foretail, bundle):
    plan = write("from,to,promo\n2024-04-30,2024-05-01,0.5\n")
    told = json.loads(foretail("forecast", bundle, "--scenario", plan, "--json").stdout)
    assert told["n_series"] == 2 and len(told["rows"]) == 2 * H
    assert sum(row["difference"] for row in told["rows"]) == pytest.approx(told["difference"])
    assert told["y_hat"] - told["y_hat_base"] == pytest.approx(told["difference"])
    assert told["difference_q10"] <= told["difference"] <= told["difference_q90"]
    assert any("promo = 0.5 was never seen" in warning for warning in told["warnings"])


def test_a_version_that_knows_how_errors_go_together_draws_both_futures_under_one_chance(foretail, tmp_path):
    arrays = Dependence.independent().to_arrays()
    drawn = bundle_of(tmp_path / "drawn", "prophet", arrays)
    plan = write("day,promo\n2024-05-03,1\n")
    told = json.loads(foretail("forecast", drawn, "--scenario", plan, "--json").stdout)
    assert told["interval"].startswith("joint samples")
    assert told["difference_q10"] <= told["difference"] <= told["difference_q90"]


def test_a_family_that_looks_at_nothing_known_says_so(foretail, tmp_path):
    naive = bundle_of(tmp_path / "naive", "seasonal_naive")
    plan = write("day,promo\n2024-05-03,1\n")
    answer = foretail("forecast", naive, "--scenario", plan)
    assert answer.exit_code == 0, answer.stderr
    assert "moves no forecast of seasonal_naive: it does not look at columns known in advance" in answer.stderr


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("shop,day,promo\n9,2024-05-03,1\n", 3, "for series that are not forecast"),
        ("day,promo\n2024-04-01,1\n", 3, "for dates that are past"),
        ("day,price\n2024-05-03,1\n", 3, "the column 'price' is unknown"),
        ("day,promo\n2024-05-03,much\n", 3, "promo is 'much', not a number"),
    ],
)
def test_what_cannot_be_asked_says_what_to_do(foretail, bundle, text, code, told, tmp_path):
    answer = foretail("forecast", bundle, "--scenario", write(text), "--out", "out")
    assert answer.exit_code == code
    assert told in answer.stderr and "fix:" in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_scenario_is_no_table_of_samples(foretail, bundle):
    answer = foretail("forecast", bundle, "--scenario", write("day,promo\n2024-05-03,1\n"), "--samples", "10")
    assert answer.exit_code == 2 and "--scenario with --samples" in answer.stderr
