"""Panels that a family may meet, plain and odd, and families made small enough to be fitted many times."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.models.contract import Forecaster
from foretail.models.families import FAMILIES, family_class, make
from foretail.panel.panel import Panel

# whatever of these a family has, where its default is of the same kind
FEW: dict[str, Any] = {"rounds": 20, "epochs": 1, "members": 1, "n_threads": 1}
FEW_OF_A_MEMBER: dict[str, Any] = {"rounds": 8, "epochs": 1, "members": 1}
LENGTH = {"D": 200, "W-FRI": 120, "MS": 48}
SHORT = {"D": 40, "W-FRI": 40, "MS": 18}  # weeks and months: less than one season, and than two
BELIEVABLE = 20.0  # times the largest value of a series: a family that says more must fall back, and say so


def small(name: str, **params: Any) -> Forecaster:
    """A forecaster of the family with few rounds or epochs and one thread, its members too."""
    takes = inspect.signature(family_class(name).__init__).parameters
    few = _few(name, FEW)
    if "params" in takes:
        few["params"] = {member: _few(member, FEW_OF_A_MEMBER) for member in FAMILIES}
    return make(name, **few, **params)


def _few(name: str, few: dict[str, Any]) -> dict[str, Any]:
    takes = inspect.signature(family_class(name).__init__).parameters
    return {key: value for key, value in few.items() if key in takes and type(takes[key].default) is type(value)}


def bare_panel(
    y: np.ndarray[Any, Any], freq: str = "D", closed: np.ndarray[Any, Any] | None = None, **more: Any
) -> Panel:
    """A panel of sales alone: no covariates, nothing known of the future."""
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq=freq, horizon=7, **more)
    names = [f"s{row:02d}" for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "store": names})
    start = int(spec.frequency.to_index(np.array("2021-01-10", dtype="datetime64[D]")))
    return Panel(spec, series, start, y, np.zeros(y.shape, dtype=np.bool_) if closed is None else closed)


def wave(n: int) -> np.ndarray[Any, Any]:
    """An ordinary series."""
    t = np.arange(n)
    return 20.0 + 5 * np.sin(2 * np.pi * t / 7) + np.random.default_rng(n).normal(0, 1, n)


def crowd(n: int, freq: str) -> np.ndarray[Any, Any]:
    """Ordinary series, more than there are odd ones, of many sizes with the season of their frequency."""
    rng = np.random.default_rng(4)
    level = np.geomspace(3, 900, 24)[:, None]
    phase = rng.uniform(0, 0.5, (24, 1))
    season = {"D": 7, "W": 52, "M": 12}[freq[0]]
    shape = 1 + 0.3 * np.sin(2 * np.pi * (np.arange(n) / season + phase))
    return level * shape * rng.lognormal(0, 0.05, (24, n))


def _with(n: int, value: float, *columns: int) -> np.ndarray[Any, Any]:
    y = np.full(n, np.nan)
    y[list(columns)] = value
    return y


def _riddled(n: int) -> np.ndarray[Any, Any]:
    y = wave(n)
    y[np.random.default_rng(0).random(n) < 0.7] = np.nan
    y[n // 2] = 3.0
    return y


def _rare(n: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    return np.where(rng.random(n) < 0.1, rng.integers(1, 5, n), 0).astype(np.float64)


def _returned(n: int) -> np.ndarray[Any, Any]:
    return np.where(np.arange(n) % 11 == 5, -wave(n) / 3, wave(n))


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
    "some returns": _returned,
    "riddled with holes": _riddled,
    "rare sales": _rare,
    "a step": lambda n: wave(n) * np.where(np.arange(n) < 2 * n // 3, 1.0, 8.0),
    "ended long ago": _ended,
    "one spike": lambda n: np.where(np.arange(n) == n // 3, 1e6, 0.0),
    "exponential": lambda n: np.exp(np.arange(n) / 3.0),
    "ordinary": wave,
}
