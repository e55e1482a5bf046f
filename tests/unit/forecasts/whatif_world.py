"""A small panel with promotions, prices, texts and closed days, and models that are quick to fit on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.models.families import make
from foretail.models.intervals import Conformal, HeldBack, Size
from foretail.panel.panel import Covariate, Panel

H = 7
LEVELS = (0.1, 0.5, 0.9)
QUICK = {
    "boosting": {"rounds": 12, "leaves": 7, "bags": 2},
    "xgboost": {"rounds": 12, "leaves": 7, "bags": 1},
    "neural": {"epochs": 1, "members": 1},
}


def make_panel(n: int = 8, length: int = 200, *, open_column: str | None = None, seed: int = 4) -> Panel:
    """Daily sales of n series: the last but one ended long ago, the last began days before the end."""
    rng = np.random.default_rng(seed)
    width, day = length + H, np.arange(length + H)
    promo = (rng.random((n, width)) < 0.3).astype(np.float32)
    price = rng.uniform(1, 3, (n, width)).astype(np.float32)
    kind = rng.integers(0, 3, (n, width)).astype(np.float32)
    is_open = np.tile((day % 7 != 6).astype(np.float32), (n, 1))
    week = 1 + 0.4 * np.sin(2 * np.pi * day / 7)
    y = 20 * (1 + np.arange(n))[:, None] * week * (1 + 0.6 * promo) / price * np.exp(rng.normal(0, 0.1, (n, width)))
    y = np.where(is_open == 0, 0.0, y)[:, :length]
    y[-2, length - 90 :] = 0.0
    y[-1, : length - 8] = np.nan
    spec = DatasetSpec(
        keys=("store", "item"),
        time="day",
        target="units",
        freq="D",
        horizon=H,
        known=("promo", "price", "kind", "open"),
        open=open_column,
    )
    series = pl.DataFrame(
        {
            "unique_id": [f"{row // 2}/{'ab'[row % 2]}" for row in range(n)],
            "store": [row // 2 for row in range(n)],
            "item": ["ab"[row % 2] for row in range(n)],
        }
    )
    known = (
        Covariate("promo", promo),
        Covariate("price", price),
        Covariate("kind", kind, ("a", "b", "c")),
        Covariate("open", is_open),
    )
    start = int(spec.frequency.to_index(np.array("2023-01-02", dtype="datetime64[D]")))
    return Panel(spec, series, start, y, is_open == 0, known, dataset_version="made")


def fitted(name: str, panel: Panel):
    """A quickly fitted forecaster of a family."""
    if name == "ensemble":
        weights = {"boosting": 0.5, "profile": 0.3, "theta": 0.2}
        return make(name, weights=weights, params={"boosting": QUICK["boosting"]}, n_threads=1).fit(panel, H)
    if name == "ensemble-c":
        members = ("boosting", "prophet")
        return make(name, members=members, params={"boosting": QUICK["boosting"]}, n_threads=1).fit(panel, H)
    return make(name, **QUICK.get(name, {}), n_threads=1).fit(panel, H)


def calibrated_on(panel: Panel, model) -> Conformal:
    """Intervals from one held-back window; how good they are does not matter here."""
    cut = panel.n_periods - H
    seen = panel.as_of(cut, H)
    point = model.predict(seen, H)
    window = HeldBack(panel.y[:, cut:], point.y_hat, panel.closed[:, cut : cut + H], Size.of(seen), width=point.width)
    return Conformal.fit([window], LEVELS, H)


def with_future(panel: Panel, row: int, values: dict[str, dict[int, float]], closed: dict[int, bool]) -> Panel:
    """The panel in which something else is known of one series; steps from 1."""
    known = []
    for item in panel.known:
        changed = item.values.copy()
        for step, value in values.get(item.name, {}).items():
            changed[row, panel.n_periods + step - 1] = value
        known.append(replace(item, values=changed))
    shut = panel.closed.copy()
    for step, is_shut in closed.items():
        shut[row, panel.n_periods + step - 1] = is_shut
    return replace(panel, known=tuple(known), closed=shut)
