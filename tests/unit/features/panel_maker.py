"""Small panels with everything a feature may look at, made from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.panel.panel import Covariate, Panel, Revisions

SPEC = {"keys": ("store", "item"), "time": "date", "target": "sales", "horizon": 5}


def make_panel(freq: str, seed: int, n_series: int = 6, length: int = 150, h: int = 5, **spec: Any) -> Panel:
    """Sales with holes, closed periods, corrections; known flags, prices and texts; past covariates with delays."""
    rng = np.random.default_rng(seed)
    width = length + h
    closed = rng.random((n_series, width)) < 0.05
    closed[0, length // 2 : length // 2 + 6] = True
    promo = (rng.random((n_series, width)) < 0.3).astype(np.float32)
    y = rng.gamma(2.0, 10.0, (n_series, length)) * (1 + np.arange(n_series))[:, None] * (1 + promo[:, :length])
    y[rng.random(y.shape) < 0.1] = np.nan
    y[1, : length // 3] = np.nan
    y[rng.random(y.shape) < 0.1] = 0.0
    y[closed[:, :length]] = 0.0
    price = rng.uniform(1, 3, (n_series, width)).astype(np.float32)
    kind = rng.integers(0, 3, (n_series, width)).astype(np.float32)
    kind[rng.random(kind.shape) < 0.1] = np.nan
    past = [_delayed("visitors", rng, n_series, length, 0), _delayed("weather", rng, n_series, length, 3)]
    whole = DatasetSpec(
        **SPEC,
        freq=freq,
        static=("type", "size"),
        known=("promo", "price", "kind"),
        past=tuple(PastCovariate(item.name, item.delay) for item in past),
        **spec,
    )
    known = (Covariate("promo", promo), Covariate("price", price), Covariate("kind", kind, ("a", "b", "c")))
    start = int(whole.frequency.to_index(np.array("2020-03-02", dtype="datetime64[D]")))
    return Panel(whole, _series(n_series), start, y, closed, known, tuple(past), revisions=_told(rng, y, start))


def _delayed(name: str, rng: np.random.Generator, n_series: int, length: int, delay: int) -> Covariate:
    values = rng.uniform(0, 9, (n_series, length)).astype(np.float32)
    if delay:
        values[:, -delay:] = np.nan
    return Covariate(name, values, delay=delay)


def _series(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unique_id": [f"{row % 3}/{row // 3}" for row in range(n)],
            "store": [row % 3 for row in range(n)],
            "item": [row // 3 for row in range(n)],
            "type": [None if row == 4 else "xy"[row % 2] for row in range(n)],
            "size": [10.0 * row for row in range(n)],
        }
    )


def _told(rng: np.random.Generator, y: np.ndarray[Any, Any], start: int) -> Revisions:
    """A tenth of the cells was told wrongly first and corrected up to twenty periods later."""
    row, column = np.nonzero(np.isfinite(y) & (rng.random(y.shape) < 0.1))
    known_at = start + column + rng.integers(1, 20, len(row))
    entries = (np.r_[row, row], np.r_[column, column] + start, np.r_[start + column, known_at])
    return Revisions(*entries, np.r_[rng.uniform(0, 99, len(row)), y[row, column]])
