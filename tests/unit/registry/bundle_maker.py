"""A small real forecaster and bundles of it, for the tests of the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores, Window
from foretail.core.spec import DatasetSpec, Event, PastCovariate
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.families import FAMILIES, Family
from foretail.panel.panel import Covariate, Panel
from foretail.registry.bundle import Bundle
from foretail.registry.info import BundleInfo, FamilyTree

CUTOFFS = ("2024-01-14", "2024-01-21")
TINY = Family("bundle_maker:LastWeek", "the last seven days again, times a factor")


class LastWeek(Forecaster):
    """The last seven days again, times a factor learned from the two last weeks."""

    tags: ClassVar[Tags] = Tags(local=True)

    def __init__(self, *, damping: float = 0.5):
        self.damping = damping
        self.factor = np.empty(0)

    def fit(self, panel: Panel, h: int) -> Self:
        week, before = panel.y[:, -7:].sum(1), panel.y[:, -14:-7].sum(1)
        self.factor = 1 + self.damping * (week / before - 1)
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        week = panel.y[:, -7:]
        return Forecast(np.tile(week, -(-h // 7))[:, :h] * self.factor[:, None])

    def save(self, folder: Path) -> None:
        (folder / "params.json").write_text(json.dumps({"damping": self.damping}))
        np.savez(folder / "factor.npz", factor=self.factor)

    @classmethod
    def load(cls, folder: Path) -> Self:
        model = cls(**json.loads((folder / "params.json").read_text()))
        with np.load(folder / "factor.npz") as arrays:
            model.factor = arrays["factor"]
        return model


def make_panel(seed: int = 3, n: int = 4, t: int = 28, h: int = 7) -> Panel:
    rng = np.random.default_rng(seed)
    spec = DatasetSpec(
        keys=("store",),
        time="day",
        target="units",
        freq="D",
        horizon=h,
        static=("kind",),
        known=("promo",),
        past=(PastCovariate("visitors", 2),),
        events=(Event("fair", (np.datetime64("2024-05-01").item(),)),),
    )
    series = pl.DataFrame({"unique_id": [f"{i}" for i in range(n)], "store": range(n), "kind": ["a", "b"] * (n // 2)})
    y = rng.gamma(5, 2, (n, t))
    y[0, 3] = np.nan
    promo = Covariate("promo", rng.integers(0, 2, (n, t + h)).astype(np.float32))
    visitors = Covariate("visitors", rng.random((n, t)).astype(np.float32), delay=2)
    start = int(spec.frequency.to_index(np.array("2024-01-01", dtype="datetime64[D]")))
    closed = rng.random((n, t + h)) < 0.1
    return Panel(spec, series, start, y, closed, (promo,), (visitors,), dataset_version="abc")


def make_board(wapes: dict[str, float], chosen: str, cutoffs: tuple[str, ...] = CUTOFFS) -> Leaderboard:
    def scores(wape: float) -> Scores:
        return Scores(wape, 0.01, 0.9, 0.8, 0.2, 0.8, float("nan"), 0.1)

    rows = tuple(
        LeaderboardRow(model, scores(wape), wape, {cutoff: scores(wape) for cutoff in cutoffs}, chosen=model == chosen)
        for model, wape in sorted(wapes.items(), key=lambda item: item[1])
    )
    return Leaderboard(rows, tuple(Window(14, 7, "outer", cutoff) for cutoff in cutoffs))


def make_bundle(
    wape: float = 0.2,
    naive: float = 0.3,
    model: str = "last_week",
    cutoffs: tuple[str, ...] = CUTOFFS,
) -> Bundle:
    """A fitted bundle; register the family first (`FAMILIES["last_week"] = TINY`)."""
    panel = make_panel()
    info = BundleInfo(
        model=model,
        tree=FamilyTree("last_week", {"damping": 0.25}),
        spec=panel.spec,
        dataset_version="abc",
        code_version="0.1.0",
        features=("lag_1", "lag_7"),
        seed=7,
        cutoff=panel.cutoff.isoformat(),
        horizon=7,
        levels=(0.1, 0.5, 0.9),
        leaderboard=make_board({model: wape, "seasonal_naive": naive}, model, cutoffs),
    )
    fitted = LastWeek(damping=0.25).fit(panel, 7)
    return Bundle(info, fitted, panel, {"scale": np.linspace(0, 1, 5), "step": np.arange(7)})


__all__ = ["FAMILIES", "TINY", "LastWeek", "make_board", "make_bundle", "make_panel"]
