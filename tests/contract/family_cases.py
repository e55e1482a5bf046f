"""Panels that a family may meet, plain and odd, and families made small enough to be fitted many times."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.models.contract import Forecaster
from foretail.models.families import family_class, make
from foretail.panel.panel import Panel

ROUNDS = 20
LENGTH = {"D": 120, "W-FRI": 40, "MS": 30}  # weeks: shorter than their season


def small(name: str, **params: Any) -> Forecaster:
    """A forecaster of the family with few rounds and one thread, where it has such things."""
    takes = inspect.signature(family_class(name).__init__).parameters
    few: dict[str, Any] = {"rounds": ROUNDS, "n_threads": 1, "params": {"boosting": {"rounds": ROUNDS}}}
    return make(name, **{key: value for key, value in few.items() if key in takes}, **params)


def bare_panel(y: np.ndarray[Any, Any], freq: str = "D", closed: np.ndarray[Any, Any] | None = None) -> Panel:
    """A panel of sales alone: no covariates, nothing known of the future."""
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq=freq, horizon=7)
    names = [f"s{row:02d}" for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "store": names})
    start = int(spec.frequency.to_index(np.array("2021-01-10", dtype="datetime64[D]")))
    return Panel(spec, series, start, y, np.zeros(y.shape, dtype=np.bool_) if closed is None else closed)


def wave(n: int) -> np.ndarray[Any, Any]:
    """An ordinary series."""
    t = np.arange(n)
    return 20.0 + 5 * np.sin(2 * np.pi * t / 7) + np.random.default_rng(n).normal(0, 1, n)


def _with(n: int, value: float, *columns: int) -> np.ndarray[Any, Any]:
    y = np.full(n, np.nan)
    y[list(columns)] = value
    return y


def _riddled(n: int) -> np.ndarray[Any, Any]:
    y = wave(n)
    y[np.random.default_rng(0).random(n) < 0.7] = np.nan
    y[n // 2] = 3.0
    return y


def _ended(n: int) -> np.ndarray[Any, Any]:
    y = wave(n)
    y[n // 4 :] = np.nan
    return y


ODD: dict[str, Callable[[int], np.ndarray[Any, Any]]] = {
    "all zero": lambda n: np.zeros(n),
    "constant": lambda n: np.full(n, 5.0),
    "one point": lambda n: _with(n, 4.0, n // 2),
    "one point at the end": lambda n: _with(n, 4.0, n - 1),
    "two points": lambda n: _with(n, 4.0, 0, n - 1),
    "huge": lambda n: 1e12 * wave(n),
    "absurd": lambda n: 1e300 * wave(n),
    "tiny": lambda n: 1e-9 * wave(n),
    "negative": lambda n: -wave(n),
    "both signs": lambda n: wave(n) - 20.0,
    "riddled with holes": _riddled,
    "ended long ago": _ended,
    "one spike": lambda n: np.where(np.arange(n) == n // 3, 1e6, 0.0),
    "exponential": lambda n: np.exp(np.arange(n) / 3.0),
    "ordinary": wave,
}
