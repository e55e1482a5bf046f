"""Stores x items whose sales are known to the last piece: level by store and item, week by item, twice on promotion."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Covariate, Panel

H, T = 14, 120
LEVELS = (0.1, 0.5, 0.9)
STORE = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 4.0}
ITEM = {"1": 10.0, "2": 40.0, "3": 5.0, "4": 20.0}
WEEK = {
    "1": [1, 1, 1, 1, 1, 1, 1],
    "2": [2, 0.5, 0.5, 0.5, 0.5, 1, 2],
    "3": [0.2, 0.2, 0.2, 0.2, 0.2, 3, 3],
    "4": [1, 2, 1, 0, 1, 1, 1],
}


def expected(pairs: list[tuple[str, str]], promo: np.ndarray) -> np.ndarray:
    """Store x item x weekday x 2 on promotion, [N, T + H]."""
    level = np.array([STORE[store] * ITEM[item] for store, item in pairs])[:, None]
    week = np.array([np.array(WEEK[item])[np.arange(T + H) % 7] for _, item in pairs])
    return level * week * np.where(promo == 1, 2.0, 1.0)


def world(left_out: tuple[tuple[str, str], ...] = ()) -> tuple[Panel, np.ndarray, np.ndarray]:
    """A panel of all pairs but some, its exact future [N, H], and the promotions [16, T + H] of all pairs."""
    pairs = [(store, item) for store in STORE for item in ITEM]
    promo = (np.random.default_rng(2).random((16, T + H)) < 0.3).astype(np.float32)
    keep = [row for row, pair in enumerate(pairs) if pair not in left_out]
    kept = [pairs[row] for row in keep]
    spec = DatasetSpec(keys=("store", "item"), time="day", target="units", freq="D", horizon=H, known=("promo",))
    sales = expected(kept, promo[keep])
    panel = Panel(
        spec,
        frame_of(kept),
        20000,
        sales[:, :T],
        np.zeros((len(kept), T + H), dtype=bool),
        (Covariate("promo", promo[keep]),),
    )
    return panel, sales[:, T:], promo


def frame_of(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "unique_id": [f"{store}/{item}" for store, item in pairs],
            "store": [store for store, _ in pairs],
            "item": [item for _, item in pairs],
        }
    )


def with_quantiles(y_hat: np.ndarray) -> np.ndarray:
    return np.stack([y_hat, 0.9 * y_hat, y_hat, 1.1 * y_hat], axis=2)
