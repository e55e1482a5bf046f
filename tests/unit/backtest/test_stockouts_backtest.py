"""The backtest under stockouts: estimates are those of each cutoff, and no withheld period is scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretail.backtest.run import Backtest, Candidate, backtest
from foretail.backtest.runner import run_families
from foretail.backtest.windows import rolling_windows
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.sources.table import Table

H = 14
FAMILIES = ("seasonal_naive", "profile", "theta", "tsb")


@pytest.fixture(scope="module")
def panel() -> Panel:
    world = generate(SyntheticConfig(stores=2, products=3, periods=260, horizon=H, stockout_share=0.15, seed=8))
    on = [*world.spec.keys, "date"]
    told = world.truth.select(*on, pl.col("stockout").cast(pl.Int64).alias("out"))
    return build_panel(Table(world.frame.join(told, on=on), world.spec.but(stockout="out"), world.future)).panel


@pytest.fixture(scope="module")
def result(panel: Panel) -> Backtest:
    return backtest(panel, H, [Candidate(name) for name in FAMILIES], levels=(0.1, 0.5, 0.9))


def test_no_window_scores_a_withheld_period(panel: Panel, result: Backtest) -> None:
    n_left_out = 0
    for window in result.results:
        columns = slice(window.window.n_periods, window.window.n_periods + window.window.h)
        out = panel.is_withheld[:, columns]
        assert np.isnan(window.y[out]).all()
        n_left_out += int(out.sum())
    assert n_left_out > 20


def test_every_period_of_every_window_is_forecast_all_the_same(result: Backtest) -> None:
    for window in result.results:
        begun = np.isfinite(window.forecasts["profile"]).any(axis=1)
        for name in FAMILIES:
            assert np.isfinite(window.forecasts[name][begun]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_told_after_a_cutoff_moves_no_forecast_from_it(panel: Panel, family: str) -> None:
    window = rolling_windows(panel, H)[1]
    n = window.n_periods
    assert panel.withheld is not None
    y, told = panel.y.copy(), panel.withheld
    later = told.period - panel.start >= n
    y[:, n:] = 9e5
    other = replace(
        panel, y=y, withheld=replace(told, sold=np.where(later, 8e5, told.sold)).where(~later | (told.row > 2))
    )
    ours, theirs = (forecast_of(item, family, window) for item in (panel, other))
    np.testing.assert_array_equal(ours, theirs)


def forecast_of(panel: Panel, family: str, window: object) -> np.ndarray:
    """The family's forecasts of one window."""
    options = {"seed": 7, "n_workers": 1, "deadline": None, "advance": lambda _: None}
    found = run_families(panel, H, [Candidate(family)], [window], **options)[family]
    assert not found.failures
    return found.forecasts[0]
