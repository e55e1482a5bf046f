"""Fits that the tests send to real workers of Ray; importable there by this name."""

from __future__ import annotations

import os
import signal
from itertools import groupby

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.execution.pool import warm_pool
from foretail.models.families import make
from foretail.panel.panel import Panel

H = 7


def panel_of(y: np.ndarray) -> Panel:
    """Daily sales and nothing else."""
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq="D", horizon=H)
    names = [f"s{row:04d}" for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "store": names})
    start = int(spec.frequency.to_index(np.array("2023-01-02", dtype="datetime64[D]")))
    return Panel(spec, series, start, y, np.zeros(y.shape, dtype=np.bool_))


def sales(n: int, days: int = 120) -> np.ndarray:
    """Weeks, a trend and noise, of many sizes."""
    rng = np.random.default_rng(11)
    level = np.geomspace(5, 3000, n)[:, None]
    day = np.arange(days)
    shape = 1 + 0.3 * np.sin(2 * np.pi * day / 7) + 0.001 * day
    return np.round(level * shape * rng.lognormal(0, 0.15, (n, days)), 2)


def fit_rows(families: list[str], y: np.ndarray) -> np.ndarray:
    """Forecast ``[rows, H]`` of every series by the family that stands beside it."""
    parts, first = [], 0
    for family, rows in groupby(families):
        last = first + len(list(rows))
        panel = panel_of(y[first:last])
        parts.append(make(family, random_state=5, n_threads=1).fit(panel, H).predict(panel, H).y_hat)
        first = last
    return np.concatenate(parts)


def double_unless_deadly(y: np.ndarray) -> np.ndarray:
    if (y < 0).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return y * 2


def refuse_negative(y: np.ndarray) -> np.ndarray:
    if (y < 0).any():
        raise ValueError(f"row {y[y < 0][0]:g} is negative")
    return y * 2


def workers_inside(y: np.ndarray) -> tuple[int, str | None]:
    return warm_pool(8).n_workers, os.environ.get("OMP_NUM_THREADS")
