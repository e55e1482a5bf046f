"""The plots hold the numbers they promise, in the order that the page's script relies on."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest

from foretail.report.accuracy import calibration, score, scored_rows, total_errors
from foretail.report.accuracy_plots import (
    calibration_figure,
    importance_figure,
    segment_figure,
    step_figure,
    windows_figure,
)
from foretail.report.data import ReportData
from foretail.report.data_plots import calendar_figure, observed_figure
from foretail.report.forecast_plots import series_figure, total_figure, window_figure
from foretail.report.segments import segments
from foretail.report.theme import rounded

TRACES = ["95 % range", "80 % range", "History", "Backtest", "Forecast"]


def named(figure: go.Figure, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def test_total_is_the_sum_of_the_series(run: ReportData) -> None:
    figure = total_figure(run.panel, run.forecasts, run.backtest)
    assert [trace.name for trace in figure.data] == TRACES
    np.testing.assert_allclose(named(figure, "History").y, np.nansum(run.panel.y, axis=0), rtol=1e-4)
    sums = run.forecasts.group_by("ds").agg(pl.col("y_hat").sum()).sort("ds")
    np.testing.assert_allclose(named(figure, "Forecast").y, sums["y_hat"], rtol=1e-4)
    assert named(figure, "Forecast").x[0] == "2023-02-07"
    assert figure.layout.shapes[0].x0 == str(run.panel.cutoff)


def test_the_range_of_the_total_is_measured_on_the_total(run: ReportData) -> None:
    figure = total_figure(run.panel, run.forecasts, run.backtest)
    outline = np.array(named(figure, "80 % range").y, dtype=float)
    high, low = outline[:14], outline[14:][::-1]
    ratio = total_errors(scored_rows(run.backtest, run.panel))["ratio"].to_numpy()
    y_hat = run.forecasts.group_by("ds").agg(pl.col("y_hat").sum()).sort("ds")["y_hat"].to_numpy()
    np.testing.assert_allclose(low, y_hat * np.quantile(ratio, 0.1), rtol=1e-4)
    np.testing.assert_allclose(high, y_hat * np.quantile(ratio, 0.9), rtol=1e-4)
    sum_of_quantiles = run.forecasts.group_by("ds").agg(pl.col("q90").sum()).sort("ds")["q90"].to_numpy()
    assert (high < sum_of_quantiles).all()


def test_one_window_gives_the_total_no_range(make: Any, world: Any) -> None:
    data = make(world(n_windows=1))
    figure = total_figure(data.panel, data.forecasts, data.backtest)
    assert named(figure, "80 % range").x == ()
    assert named(figure, "95 % range").x == ()


def test_backtest_windows_are_not_joined(run: ReportData) -> None:
    tested = named(total_figure(run.panel, run.forecasts, run.backtest), "Backtest")
    assert [number for number, y in enumerate(tested.y) if y is None] == [14, 29, 44]


def test_a_series_begins_with_its_first_value(run: ReportData) -> None:
    figure = series_figure(run.panel, "1/3", run.forecasts, run.backtest)
    history = named(figure, "History")
    assert run.panel.first[2] == 80
    assert history.x[0] == str(run.panel.dates()[80])
    assert [trace.name for trace in figure.data] == TRACES


def test_a_gap_in_the_history_is_a_gap(run: ReportData) -> None:
    history = named(series_figure(run.panel, "1/1", run.forecasts, run.backtest), "History")
    assert [number for number, y in enumerate(history.y) if y is None] == [20, 21, 22, 23, 24]


def test_missing_forecast_dates_are_gaps(run: ReportData) -> None:
    some = run.forecasts.filter(pl.col("step") != 5)
    ahead = named(series_figure(run.panel, "1/1", some, run.backtest), "Forecast")
    assert [number for number, y in enumerate(ahead.y) if y is None] == [4]


def test_small_plots_show_every_window(run: ReportData) -> None:
    figure = window_figure(run.panel, run.backtest.filter(pl.col("unique_id") == "1/2"))
    assert len([trace for trace in figure.data if trace.fill == "toself"]) == 3
    assert len(named(figure, "Observed").x) == 42


def test_windows_mark_the_model_in_use(run: ReportData) -> None:
    figure = windows_figure(run.leaderboard)
    chosen, naive = named(figure, "seasonal_mean"), named(figure, "seasonal_naive")
    assert chosen.line.width > naive.line.width
    assert naive.line.dash == "dash"
    assert list(chosen.y) == pytest.approx([scores.wape for scores in run.chosen.windows.values()], rel=1e-4)


def test_steps_segments_and_calibration_hold_their_tables(run: ReportData) -> None:
    rows = scored_rows(run.backtest, run.panel)
    by_step = score(rows, ["step"])
    assert list(step_figure(by_step).data[0].y) == pytest.approx(by_step["wape"].to_list(), rel=1e-4)
    joined = rows.join(segments(run.panel), on="unique_id")
    by_segment = score(joined, ["abc", "xyz"])
    drawn = [value for row in segment_figure(by_segment).data[0].z for value in row if value is not None]
    assert sorted(drawn) == pytest.approx(sorted(by_segment["wape"].to_list()), rel=1e-4)
    lines = calibration_figure(calibration(rows, run.h), "day")
    assert [trace.name for trace in lines.data] == [
        "as promised",
        "days 11–14",
        "days 8–10",
        "days 4–7",
        "days 1–3",
        "all steps",
    ]


def test_importance_shows_the_rest_in_one_bar() -> None:
    figure = importance_figure(tuple((f"f{number}", 0.05) for number in range(20)), n=15)
    assert figure.layout.yaxis.ticktext[0] == "5 others"
    assert figure.data[0].x[0] == pytest.approx(0.25)
    assert len(figure.data[0].x) == 16


@pytest.mark.parametrize(
    ("freq", "n", "rows"),
    [("D", 400, 7), ("W-FRI", 150, 3), ("W-MON", 150, 3), ("MS", 40, 4), ("ME", 40, 4)],
)
def test_the_calendar_holds_every_period_once(freq: str, n: int, rows: int, make: Any, world: Any) -> None:
    panel = make(world(freq=freq, n_periods=n, h=6)).panel
    heat = calendar_figure(panel).data[0]
    texts, values = (np.array(part, dtype=object).ravel() for part in (heat.text, heat.z))
    cells = dict(zip(texts, values, strict=True))
    cells.pop("", None)
    assert len(heat.y) == rows
    assert sorted(cells) == [str(day) for day in panel.dates()]
    np.testing.assert_allclose([cells[str(day)] for day in panel.dates()], np.nansum(panel.y, axis=0), rtol=1e-3)


def test_observed_tiles_are_shares(make: Any, world: Any) -> None:
    panel = make(world(n_series=10, n_periods=100)).panel
    tiles = np.array(observed_figure(panel, rows=1, columns=1).data[0].z, dtype=float)
    assert tiles.item() == pytest.approx(panel.observed.mean(), rel=1e-3)
    whole = np.array(observed_figure(panel).data[0].z, dtype=float)
    assert whole.shape == (10, 100)
    assert whole.sum() == panel.observed.sum()


def test_rounded_keeps_five_digits_and_drops_what_is_no_number() -> None:
    values = [1234567.0, 0.000123456, -3.14159265, 0.0, float("nan"), float("inf"), 12.0]
    assert rounded(values) == [1234567, 0.000123, -3.1416, 0, None, None, 12]
