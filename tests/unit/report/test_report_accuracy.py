"""Accuracy, calibration and segments against plain loops and sums made by hand."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretail.backtest.metrics import bias, coverage, wape
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Panel
from foretail.report.accuracy import calibration, intervals, score, scored_rows, total_errors
from foretail.report.accuracy_plots import demand_figure
from foretail.report.data import ReportData
from foretail.report.segments import DEMAND, segments
from foretail.report.tables import demand_table


def test_scores_match_a_plain_loop(run: ReportData) -> None:
    scored = score(scored_rows(run.backtest, run.panel), ["step"])
    for step in (1, 7, 14):
        rows = [row for row in run.backtest.iter_rows(named=True) if row["step"] == step and np.isfinite(row["y"])]
        size = sum(abs(row["y"]) for row in rows)
        found = scored.row(by_predicate=pl.col("step") == step, named=True)
        assert found["n"] == len(rows)
        assert found["wape"] == pytest.approx(sum(abs(row["y_hat"] - row["y"]) for row in rows) / size)
        assert found["bias"] == pytest.approx(sum(row["y_hat"] - row["y"] for row in rows) / size)
        assert found["coverage_80"] == pytest.approx(np.mean([row["q10"] <= row["y"] <= row["q90"] for row in rows]))
        assert found["coverage_95"] == pytest.approx(np.mean([row["q2_5"] <= row["y"] <= row["q97_5"] for row in rows]))


def test_unobserved_rows_are_not_scored(run: ReportData) -> None:
    holes = run.backtest.with_columns(
        y=pl.when(pl.col("step") == 1).then(None).when(pl.col("step") == 2).then(float("nan")).otherwise("y")
    )
    whole = score(scored_rows(run.backtest.filter(pl.col("step") > 2), run.panel))
    assert score(scored_rows(holes, run.panel)).equals(whole)


def test_nothing_sold_has_no_error_share() -> None:
    frame = pl.DataFrame({"unique_id": ["s0"], "ds": [dt.date(2024, 1, 1)], "step": [1], "y": [0.0], "y_hat": [3.0]})
    row = score(scored_rows(frame, make_panel([[0.0]]))).row(0, named=True)
    assert (row["wape"], row["bias"], row["coverage_80"]) == (None, None, None)


def test_intervals_are_the_symmetric_pairs() -> None:
    columns = ["unique_id", "q2_5", "q10", "q50", "q90", "q97_5", "q5", "quantity", "q"]
    assert intervals(columns) == [(0.8, "q10", "q90"), (0.95, "q2_5", "q97_5")]


def test_calibration_matches_a_plain_loop(run: ReportData) -> None:
    table = calibration(scored_rows(run.backtest, run.panel), run.h)
    assert table["nominal"].unique().sort().to_list() == [0.2, 0.4, 0.6, 0.8, 0.95]
    assert table.filter(pl.col("nominal") == 0.8)["last"].to_list() == [14, 3, 7, 10, 14]
    rows = [row for row in run.backtest.iter_rows(named=True) if 4 <= row["step"] <= 7]
    hits = [row["q30"] <= row["y"] <= row["q70"] for row in rows]
    found = table.row(by_predicate=(pl.col("quarter") == 2) & (pl.col("nominal") == 0.4), named=True)
    assert (found["first"], found["last"], found["n"]) == (4, 7, len(rows))
    assert found["measured"] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("h", [1, 2, 3, 5, 28])
def test_every_step_is_in_one_quarter(h: int, make: Any, world: Any) -> None:
    data = make(world(h=h))
    table = calibration(scored_rows(data.backtest, data.panel), h).filter(pl.col("nominal") == 0.8)
    parts = table.filter(pl.col("quarter") > 0)
    assert parts["n"].sum() == table.filter(pl.col("quarter") == 0)["n"].item()
    assert parts["first"].to_list()[0] == 1
    assert parts["last"].to_list()[-1] == h
    assert parts["first"].to_list()[1:] == [last + 1 for last in parts["last"].to_list()[:-1]]


def test_a_point_forecast_has_no_calibration(make: Any, world: Any) -> None:
    data = make(world(quantiles=()))
    assert calibration(scored_rows(data.backtest, data.panel), data.h).is_empty()


def test_total_errors_add_up(run: ReportData) -> None:
    errors = total_errors(scored_rows(run.backtest, run.panel))
    assert errors.height == 3 * 14
    first = run.backtest.filter((pl.col("cutoff") == errors["cutoff"][0]) & (pl.col("step") == 1))
    assert errors["y"][0] == pytest.approx(first["y"].sum())
    assert errors["ratio"][0] == pytest.approx(first["y"].sum() / first["y_hat"].sum())


def make_panel(y: list[list[float]], closed: list[list[bool]] | None = None) -> Panel:
    names = [f"s{row}" for row in range(len(y))]
    spec = DatasetSpec(keys=("shop",), time="day", target="sales", freq="D", horizon=1)
    shut = np.zeros((len(y), len(y[0])), dtype=bool) if closed is None else np.array(closed)
    start = int(spec.frequency.to_index(np.asarray(np.datetime64(dt.date(2024, 1, 1), "D"))))
    return Panel(spec, pl.DataFrame({"unique_id": names, "shop": names}), start, np.array(y), shut)


def test_segments_by_volume_and_pattern() -> None:
    nan = float("nan")
    panel = make_panel(
        [
            [20.0, 20, 20, 20],  # 80 of 100: A, steady
            [0.0, 0, 0, 13],  # B, sold every fourth day
            [0.0, 0, 0, 0],  # nothing
            [0.2, 0.2, 0.2, 4.4],  # B, variable: mean 1.25, variance 3.3075
            [nan, nan, 1, 1],  # C, steady since it began
        ]
    )
    found = segments(panel)
    assert (found["abc"] + found["xyz"]).to_list() == ["AX", "BZ", "CZ", "BY", "CX"]
    assert found["share"].to_list() == pytest.approx([0.8, 0.13, 0, 0.05, 0.02])
    assert found["interval"].to_list() == [1, 4, None, 1, 1]
    assert found["variation"].to_list() == pytest.approx([0, 0, None, 3.3075 / 1.25**2, 0])


def test_closed_days_make_no_series_intermittent() -> None:
    y = [[5.0, 0, 5, 0]]
    assert segments(make_panel(y))["xyz"].item() == "Z"
    assert segments(make_panel(y, [[False, True, False, True]]))["xyz"].item() == "X"


def test_scores_agree_with_the_leaderboard_on_closed_days(run: ReportData) -> None:
    weekday = pl.col("ds").dt.weekday()
    shut = np.isin((run.panel.dates(0, run.panel.closed.shape[1]).astype(np.int64) + 3) % 7, [6])
    panel = replace(run.panel, closed=np.broadcast_to(shut, run.panel.closed.shape))
    row = score(scored_rows(run.backtest, panel)).row(0, named=True)
    frame = run.backtest.with_columns(y_hat=pl.when(weekday == 7).then(0.0).otherwise("y_hat"))
    assert row["wape"] == pytest.approx(wape(frame["y"].to_numpy(), frame["y_hat"].to_numpy()))
    assert row["bias"] == pytest.approx(bias(frame["y"].to_numpy(), frame["y_hat"].to_numpy()))
    is_open = frame.filter(weekday != 7)
    expected = coverage(*(is_open[name].to_numpy() for name in ("y", "q10", "q90")))
    assert row["coverage_80"] == pytest.approx(expected)
    table = calibration(scored_rows(run.backtest, panel), run.h).filter(quarter=0, nominal=0.8)
    assert (table["measured"].item(), table["n"].item()) == (pytest.approx(expected), is_open.height)


def test_a_panel_without_sales_has_segments() -> None:
    assert segments(make_panel([[0.0, 0.0]]))["abc"].to_list() == ["C"]


def test_patterns_of_demand_hold_every_series_and_all_sales(run: ReportData) -> None:
    segment = segments(run.panel)
    rows = scored_rows(run.backtest, run.panel).join(segment.select("unique_id", "demand"), on="unique_id")
    by_demand = score(rows, ["demand"])
    table = demand_table(segment, by_demand)
    assert sum(int(row[1].replace(",", "")) for row in table.rows) == run.panel.n_series
    assert [row[0].partition(":")[0] for row in table.rows] == [
        name for name in DEMAND if name in segment["demand"].to_list()
    ]
    drawn = demand_figure(by_demand).data[0]
    assert dict(zip(drawn.y, drawn.x, strict=True)) == pytest.approx(
        dict(by_demand.select("demand", "wape").iter_rows()), rel=1e-3
    )
