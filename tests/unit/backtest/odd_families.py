"""Families that fail in every way, and the panels they fail on.

Inside a worker the families enter the table when this module is imported, which the parameter `How` of a candidate
brings about; in the test's own process the table is patched by the tests, so that no other test ever sees them.
"""

from __future__ import annotations

import os
from enum import Enum
from multiprocessing import parent_process
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.fallback import last_season
from foretail.models.families import FAMILIES, Family
from foretail.panel.panel import Panel


class How(Enum):
    """What a family does when it is fitted."""

    RAISE = "raise"
    DIE = "die"
    LATE = "raise in the last window"
    NAN = "forecast nothing"


class Odd(Forecaster):
    """A global family that does what it is told."""

    tags = Tags(local=False)

    def __init__(self, *, how: How, random_state: int = 7, n_threads: int = 1):
        self.how = how

    def fit(self, panel: Panel, h: int) -> Self:
        if self.how is How.DIE:
            assert parent_process() is not None, "this would end the tests"
            os._exit(9)
        if self.how is How.RAISE:
            raise ArithmeticError("no inverse of this matrix\nsecond line")
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        if self.how is How.LATE and panel.n_periods > 410:
            raise ValueError("too long for me")
        y_hat = np.full((panel.n_series, h), np.nan)
        return Forecast(y_hat, reasons=dict.fromkeys(range(panel.n_series), "forecast nothing"))

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise NotImplementedError


class LastWeek(Odd):
    """The same as a family that works: the last season, half a unit too high."""

    def predict(self, panel: Panel, h: int) -> Forecast:
        return Forecast(last_season(panel, h) + 0.5)


TABLE = {"odd": Family("odd_families:Odd", "fails"), "shifted": Family("odd_families:LastWeek", "half a unit too high")}
if parent_process() is not None:
    FAMILIES.update(TABLE)


def panel_of(y: np.ndarray, freq: str = "D", closed: np.ndarray | None = None) -> Panel:
    """A panel of sales alone; ``closed`` may reach into the future."""
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    spec = DatasetSpec(keys=("shop",), time="date", target="sales", freq=freq, horizon=7)
    names = [f"s{row:02d}" for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "shop": names})
    closed = np.zeros(y.shape, dtype=np.bool_) if closed is None else closed
    return Panel(spec, series, int(spec.frequency.to_index(np.array("2021-01-10", dtype="datetime64[D]"))), y, closed)


def busy_weeks(n_series: int = 4, n: int = 420, seed: int = 1) -> np.ndarray:
    """Weekly pattern, a slow trend and noise."""
    t = np.arange(n)
    rng = np.random.default_rng(seed)
    pattern = 30 + 8 * np.sin(2 * np.pi * t / 7) + 0.03 * t
    return np.maximum(np.round(pattern * rng.uniform(0.5, 2, (n_series, 1)) + rng.normal(0, 5, (n_series, n))), 0)
