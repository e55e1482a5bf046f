"""Prophet for a fleet: seconds, memory, and how near the batch engine is to the library (extra ``prophet``).

``python -m benchmarks.prophet`` measures 1,115 series of 120 days and 11,115 of two and a half years, noisy copies of
synthetic shops, and compares a sample of the small fleet with the library.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from benchmarks.job import watch
from benchmarks.prophet_oracle import Found, fit_library
from benchmarks.table import Measure, publish
from foretail.models.contract import Forecast
from foretail.models.prophet import Prophet
from foretail.models.prophet_design import values_of
from foretail.models.prophet_engine import fit_rows
from foretail.models.prophet_layout import layout_of
from foretail.panel.build import build_panel
from foretail.panel.panel import Covariate, Panel
from foretail.sources.synthetic import SyntheticConfig, generate

H = 42
_SAMPLE, _SMALL_SAMPLE = 20, 6  # Newton's method takes the library a second a series, and goes further
_PLAIN: dict[str, Any] = {"transform": "none", "flags_by_weekday": False}  # what the library does by itself
_BIG_FLEET = (11_115, 913, 5)  # series, days, regressors
_N_PROCESSES = 2


def main() -> None:
    """Measure both fleets and the agreement."""
    if len(sys.argv) > 1:
        _big_fleet(Path(sys.argv[1]))
        return
    small = fleet(1115, 120, 0)
    seconds, _, forecast = _timed(small, 1)
    by_default = [fit_library(small, row, H) for row in range(_SAMPLE)]
    to_the_end = [fit_library(small, row, H, algorithm="Newton") for row in range(_SMALL_SAMPLE)]
    publish(
        "prophet",
        [
            Measure("1,115 x 120 days: fit, 42 days, intervals", seconds, "s", at_most=0.5),
            *_agreement(small, forecast, by_default, "the library's"),
            *_agreement(small, forecast, to_the_end, "its Newton's"),
            *_big_measures(),
        ],
    )


def fleet(n_series: int, n_days: int, n_regressors: int, seed: int = 1) -> Panel:
    """Noisy copies of synthetic shops (all products together), shut on Sundays, each with its own regressors."""
    shops = _shops(n_days)
    rng = np.random.default_rng(seed)
    row = np.arange(n_series) % shops.n_series
    y = shops.y[row] * np.exp(rng.normal(0, 0.1, (n_series, n_days)) + rng.normal(0, 0.5, (n_series, 1)))
    known = []
    for i in range(n_regressors):
        flag = (rng.random((n_series, n_days + H)) < 0.3).astype(np.float32)
        y *= 1 + 0.1 * i * flag[:, :n_days]
        known.append(Covariate(f"flag_{i}", flag))
    names = [f"{i:05d}" for i in range(n_series)]
    spec = shops.spec.but(known=tuple(item.name for item in known))
    series = pl.DataFrame({"unique_id": names, "store_id": names})
    return replace(shops, spec=spec, series=series, y=y, closed=shops.closed[row], known=tuple(known))


def _shops(n_days: int) -> Panel:
    config = SyntheticConfig(
        periods=n_days, stores=40, horizon=H, opening_share=0, closing_share=0, intermittent_share=0
    )
    every = build_panel(generate(config).table).panel
    y = np.nansum(every.y.reshape(config.stores, config.products, n_days), axis=1)
    one_each = every.select(np.arange(0, every.n_series, config.products))
    spec = every.spec.but(keys=("store_id",), static=(), known=(), past=(), open=None, hierarchy=())
    return replace(one_each, spec=spec, y=y, known=(), past=(), revisions=None)


def _timed(panel: Panel, n_processes: int, params: Mapping[str, Any] = _PLAIN) -> tuple[float, float, Forecast]:
    """Wall and processor seconds of fit and forecast with intervals; a first call warms libraries and workers."""
    model = Prophet(n_threads=n_processes, **params)
    warm = panel.select(np.arange(min(panel.n_series, 2000)))
    model.fit(warm, H).predict(warm, H)
    begun, used = time.perf_counter(), _processor_seconds()
    forecast = model.fit(panel, H).predict(panel, H)
    return time.perf_counter() - begun, _processor_seconds() - used, forecast


def _processor_seconds() -> float:
    """Of this process and its workers so far."""
    tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(sum(process.cpu_times()[:2]) for process in tree))


def _agreement(panel: Panel, forecast: Forecast, found: list[Found], whose: str) -> list[Measure]:
    """The sample beside the library, on open days."""
    rows = np.arange(len(found))
    options = Prophet(**_PLAIN).options
    layout = layout_of(panel, H, options)
    sample = panel.select(rows)
    values = values_of(sample.y, sample.closed[:, : panel.n_periods], options)
    objective = fit_rows(values, (), layout)[0].objective
    gain = objective - np.array([item.log_posterior for item in found])
    is_open = ~sample.closed[:, panel.n_periods :]
    theirs = np.stack([item.y_hat for item in found])
    relative = np.abs(forecast.y_hat[rows] / np.where(is_open, theirs, 1.0) - 1)[is_open]
    assert forecast.quantiles is not None
    width = (forecast.quantiles[rows, :, -1] - forecast.quantiles[rows, :, 0])[is_open]
    ratio = width / np.stack([item.y_upper - item.y_lower for item in found])[is_open]
    return [
        Measure(f"log posterior above {whose}, least of {len(found)}", float(gain.min()), "nats", at_least=0.0),
        Measure(f"distance from {whose} forecast, median", float(np.median(relative)), "share", at_most=0.005),
        Measure(f"distance from {whose} forecast, 95 %", float(np.quantile(relative, 0.95)), "share"),
        Measure(f"width of the 95 % interval over {whose}", float(ratio.mean()), "ratio"),
    ]


def _big_measures() -> list[Measure]:
    """The big fleet in a process of its own, whose memory is watched (the making of the fleet included)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds.json"
        command = [sys.executable, "-m", "benchmarks.prophet", str(out)]
        _, peak_gb = watch(command, Path(folder), environment={"PYTHONPATH": os.pathsep.join(map(str, sys.path))})
        (seconds, used), (own_seconds, _) = json.loads(out.read_text(encoding="utf-8"))
    work = "11,115 x 2.5 years, yearly, weekly, 5 regressors"
    return [
        Measure(f"{work}: fit, 42 days, intervals", seconds, "s", at_most=10.0),
        Measure(f"{work}: processor seconds", used, "s"),
        Measure(f"{work}: with foretail's defaults", own_seconds, "s"),
        Measure(f"{work}: peak of all processes", peak_gb, "GB", at_most=1.0),
    ]


def _big_fleet(out: Path) -> None:
    panel = fleet(*_BIG_FLEET)
    found = [_timed(panel, _N_PROCESSES, params)[:2] for params in (_PLAIN, {})]
    out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
