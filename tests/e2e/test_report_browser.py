"""The report in a real browser, opened from the disk: it draws every plot, and no series name becomes a program."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores, Window
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Panel
from foretail.panel.quality import QualityReport
from foretail.report.data import ReportData
from foretail.report.page import write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAMES = ("plain", '</script><script>document.title="owned"</script>', '"><img src=x onerror="document.title=1">')
N_PERIODS, H = 120, 7


@pytest.fixture
def data() -> ReportData:
    """Three shops with a weekly season, answered and tested by repeating the last week."""
    rng = np.random.default_rng(3)
    y = rng.poisson(20 + 10 * np.sin(2 * np.pi * np.arange(N_PERIODS) / 7), (3, N_PERIODS)).astype(float)
    spec = DatasetSpec(keys=("shop",), time="day", target="sold", freq="D", horizon=H, unit="<i>pieces</i>")
    series = pl.DataFrame({"unique_id": NAMES, "shop": NAMES})
    panel = Panel(spec, series, 19_800, y, np.zeros((3, N_PERIODS + H), dtype=bool))
    tested = [last_week(panel, origin) for origin in (N_PERIODS - 2 * H, N_PERIODS - H)]
    backtest = pl.concat(tested).with_columns(y=pl.Series(np.concatenate([y[:, -14:-7].ravel(), y[:, -7:].ravel()])))
    wape = float(backtest.select((pl.col("y") - pl.col("y_hat")).abs().sum() / pl.col("y").sum()).item())
    scores = Scores(wape, 0.0, math.nan, math.nan, math.nan, math.nan, math.nan, 0.0)
    windows = tuple(Window(n, H, "outer", str(panel.dates(n - 1, 1)[0])) for n in (N_PERIODS - 14, N_PERIODS - 7))
    row = LeaderboardRow("seasonal_naive", scores, wape, {window.cutoff: scores for window in windows}, chosen=True)
    named = {"model": pl.lit("seasonal_naive"), "model_version": pl.lit("1"), "source": pl.lit("model")}
    quality = QualityReport(y.size, 3, N_PERIODS, y.size, "2024-03-18", str(panel.cutoff), float(y.sum()), 0.0)
    forecasts = last_week(panel, N_PERIODS).with_columns(**named)
    return ReportData("Three shops", spec, panel, quality, Leaderboard((row,), windows), backtest, forecasts)


def last_week(panel: Panel, origin: int) -> pl.DataFrame:
    y_hat = panel.y[:, origin - 7 : origin].ravel()
    return pl.DataFrame(
        {
            "unique_id": np.repeat(NAMES, H),
            "ds": np.tile(panel.dates(origin, H), 3),
            "cutoff": np.repeat(panel.dates(origin - 1, 1), 3 * H),
            "step": np.tile(np.arange(1, H + 1), 3),
            "y_hat": y_hat,
            "q10": 0.7 * y_hat,
            "q90": 1.3 * y_hat,
        }
    )


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width", [400, 1280])
def test_it_draws_from_the_disk(width: int, data: ReportData, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, data)
    command = [
        str(BROWSER),
        *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},900",
        *("--virtual-time-budget=20000", "--dump-dom", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    n_plots = len(re.findall(r'<div class="plot[^>]* data-figure="', done.stdout))
    drawn = re.search(r'<html[^>]* data-drawn="(\d+)"', done.stdout)
    assert n_plots >= 10
    assert drawn is not None and int(drawn[1]) == n_plots
    assert len(re.findall(r'<div class="plot[^>]* data-drawn="yes"', done.stdout)) == n_plots
    assert "<title>Three shops</title>" in done.stdout
    assert '<h3 id="picked" aria-live="polite"></h3>' not in done.stdout
    assert "CONSOLE" not in done.stderr, done.stderr
