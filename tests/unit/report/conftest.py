"""Small real runs to report on: seeded seasonal sales, forecast and backtested by a plain seasonal mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores, Window
from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Panel
from foretail.panel.quality import Finding, QualityReport
from foretail.report.data import ReportData

START = np.datetime64("2022-01-03", "D")


@dataclass(frozen=True)
class World:
    """What to compute; see `make_run`."""

    n_series: int = 12
    n_periods: int = 400
    freq: str = "D"
    h: int = 14
    n_windows: int = 3
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    is_zero: bool = False
    names: tuple[str, ...] = ()
    seed: int = 7


def seasonal_sales(world: World, season: int) -> np.ndarray:
    rng = np.random.default_rng(world.seed)
    level = np.exp(rng.normal(4, 1.2, (world.n_series, 1)))
    shape = 1 + 0.45 * np.sin(
        2 * np.pi * (np.arange(world.n_periods) / season + rng.uniform(0, 0.2, (world.n_series, 1)))
    )
    drift = np.linspace(0.85, 1.15, world.n_periods)
    y = rng.poisson(level * shape * drift * rng.lognormal(0, 0.15, (world.n_series, world.n_periods))).astype(float)
    y[rng.random(y.shape) < np.linspace(0, 0.6, world.n_series)[:, None] ** 2] = 0
    for row in range(2, world.n_series, 5):
        y[row, : world.n_periods // 5] = np.nan
    if world.n_periods > 60:
        y[0, 20:25] = np.nan
    return np.zeros_like(y) if world.is_zero else y


def seasonal_mean(y: np.ndarray, h: int, season: int, n_seasons: int) -> np.ndarray:
    """Mean of the last seasons at the same phase: [N, h]; one season makes it seasonal naive."""
    n_seasons = max(1, min(n_seasons, y.shape[1] // season))
    length = min(season, y.shape[1])
    recent = np.nan_to_num(y[:, -n_seasons * length :]).reshape(len(y), n_seasons, length).mean(1)
    return recent[:, np.arange(h) % length]


def frame(panel: Panel, cutoff: int, y_hat: np.ndarray, spread: np.ndarray, levels: tuple[float, ...]) -> pl.DataFrame:
    """Forecasts from column ``cutoff`` on, in long format; spread [N, Q] are quantiles of observed / forecast."""
    n, h = y_hat.shape
    columns = {quantile_column(level): (y_hat * spread[:, [i]]).ravel() for i, level in enumerate(levels)}
    return pl.DataFrame(
        {
            "unique_id": np.repeat(panel.unique_ids, h),
            "ds": np.tile(panel.dates(cutoff, h), n),
            "cutoff": np.full(n * h, panel.dates(cutoff - 1, 1)[0]),
            "step": np.tile(np.arange(1, h + 1), n),
            "y_hat": y_hat.ravel(),
            **columns,
        }
    )


def measure(y: np.ndarray, y_hat: np.ndarray, naive: np.ndarray) -> Scores:
    y, y_hat, naive = (np.where(np.isfinite(y), part, np.nan) for part in (y, y_hat, naive))
    size = np.nansum(np.abs(y))
    nan = math.nan
    wape = np.nansum(np.abs(y_hat - y)) / size if size else nan
    worst = np.nansum(np.abs(naive - y)) / size if size else nan
    skill = 1 - wape / worst if worst and size else nan
    bias = np.nansum(y_hat - y) / size if size else nan
    return Scores(wape, bias, nan, nan, nan, nan, nan, skill)


def make_run(world: World = World()) -> ReportData:
    spec = DatasetSpec(
        keys=("store", "item"),
        time="date",
        target="sales",
        freq=world.freq,
        horizon=world.h,
        name="corner-shops",
        unit="EUR",
    )
    season = spec.frequency.season_length
    y = seasonal_sales(world, season)
    names = list(world.names) or [f"{row // 4 + 1}/{row % 4 + 1}" for row in range(world.n_series)]
    start = int(spec.frequency.to_index(np.asarray(START)))
    series = pl.DataFrame({"unique_id": names, "store": names, "item": names})
    closed = np.zeros((world.n_series, world.n_periods + world.h), dtype=bool)
    panel = Panel(spec, series, start, y, closed, dataset_version="3f9c2a7b10de")

    origins = [world.n_periods - world.h * (world.n_windows - k) for k in range(world.n_windows)]
    spread = spreads(y, origins[0] if origins else world.n_periods, world, season)
    parts, windows, means, naives = [], [], {}, {}
    for origin in origins:
        mean, naive = (seasonal_mean(y[:, :origin], world.h, season, n) for n in (4, 1))
        truth = y[:, origin : origin + world.h]
        cutoff = str(panel.dates(origin - 1, 1)[0])
        parts.append(frame(panel, origin, mean, spread, world.quantiles).with_columns(pl.Series("y", truth.ravel())))
        windows.append(Window(origin, world.h, "outer", cutoff))
        means[cutoff], naives[cutoff] = measure(truth, mean, naive), measure(truth, naive, naive)
    y_hat = seasonal_mean(y, world.h, season, 4)
    forecasts = frame(panel, world.n_periods, y_hat, spread, world.quantiles).with_columns(
        model=pl.lit("seasonal_mean"), model_version=pl.lit("4"), source=pl.lit("model")
    )
    backtest = pl.concat(parts) if parts else forecasts.clear().with_columns(y=pl.lit(0.0))
    return ReportData(
        title="Corner shops, next weeks",
        spec=spec,
        panel=panel,
        quality=quality(panel),
        leaderboard=Leaderboard(
            (
                LeaderboardRow("seasonal_mean", overall(means, backtest), 0.12, means, 1.25, {}, chosen=True),
                LeaderboardRow("seasonal_naive", overall(naives, None), 0.17, naives, 0.05, {"too short": 2}),
            ),
            tuple(windows),
        ),
        backtest=backtest,
        forecasts=forecasts,
        importance=(("lag_7", 0.41), ("rolling_mean_28", 0.33), ("weekday", 0.26)),
        summary={
            "verdict": "seasonal_mean is in use: it beat seasonal naive on the same windows.",
            "seed": world.seed,
            "dataset_version": panel.dataset_version,
            "model_version": "seasonal_mean/4",
            "versions": {"foretail": "0.1.0", "polars": "2.1.0"},
            "stages": {"check": {"seconds": 0.42, "peak_mb": 310}, "backtest": {"seconds": 75.0, "peak_mb": 1900}},
        },
    )


def spreads(y: np.ndarray, origin: int, world: World, season: int) -> np.ndarray:
    """Quantiles of observed / forecast per series in the window before the backtest: [N, Q]."""
    before = max(origin - world.h, 1)
    y_hat = seasonal_mean(y[:, :before], origin - before, season, 4) if origin > before else y[:, :1]
    truth = y[:, before:origin] if origin > before else y[:, :1]
    ratio = np.where(y_hat > 0, np.nan_to_num(truth) / np.where(y_hat > 0, y_hat, 1), 1.0)
    return np.quantile(ratio, world.quantiles, axis=1).T if world.quantiles else np.empty((len(y), 0))


def overall(windows: dict[str, Scores], backtest: pl.DataFrame | None) -> Scores:
    nan = math.nan
    if not windows:
        return Scores(nan, nan, nan, nan, nan, nan, nan, nan)
    mean = {name: float(np.mean([getattr(s, name) for s in windows.values()])) for name in ("wape", "bias", "skill")}
    inside = {80: nan, 95: nan}
    if backtest is not None and {"q2_5", "q10", "q90", "q97_5"} <= set(backtest.columns):
        for percent, (low, high) in {80: ("q10", "q90"), 95: ("q2_5", "q97_5")}.items():
            inside[percent] = float(backtest.select(pl.col("y").is_between(low, high).mean()).item())
    return Scores(mean["wape"], mean["bias"], nan, nan, nan, inside[80], inside[95], mean["skill"])


def quality(panel: Panel) -> QualityReport:
    observed = panel.observed
    n = int(observed.sum())
    gaps = int(observed.size - n)
    return QualityReport(
        n_rows=n + 3,
        n_series=panel.n_series,
        n_periods=panel.n_periods,
        n_observed=n,
        first=str(panel.dates()[0]),
        last=str(panel.cutoff),
        total=float(np.nansum(panel.y)),
        zero_share=float((panel.y[observed] == 0).mean()),
        findings=(
            Finding(
                "gaps", "warning", f"{gaps:,} cells inside series have no row.", gaps, gaps / observed.size, ("1/1",)
            ),
            Finding("duplicates", "repaired", "3 rows stood twice and were counted once.", 3, 0.0, ("1/1 2022-03-01",)),
            Finding("frequency", "info", "Dates are regular."),
        ),
    )


@pytest.fixture(scope="session")
def run() -> ReportData:
    return make_run()


@pytest.fixture(scope="session")
def make() -> Callable[[World], ReportData]:
    return make_run


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World
