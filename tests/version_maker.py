"""A whole version of one family on given sales, for tests that need one and not the backtest that would make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from foretail.backtest.result import Leaderboard, LeaderboardRow, Scores, Window
from foretail.models.contract import Forecaster
from foretail.models.intervals import Conformal, HeldBack, Size
from foretail.panel.panel import Panel
from foretail.registry.bundle import Bundle
from foretail.registry.info import BundleInfo, FamilyTree

__all__ = ["last_errors", "version_of"]


def last_errors(panel: Panel, model: Forecaster, h: int, levels: Sequence[float]) -> Conformal:
    """Intervals from the last h periods of the panel, which a fitted model is asked from before them."""
    cut = panel.n_periods - h
    seen = panel.as_of(cut, h)
    point = model.predict(seen, h)
    closed = panel.closed[:, cut : panel.n_periods]
    return Conformal.fit([HeldBack(panel.y[:, cut:], point.y_hat, closed, Size.of(seen), width=point.width)], levels, h)


def version_of(
    panel: Panel,
    family: str,
    model: Forecaster,
    h: int,
    levels: Sequence[float],
    calibration: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Bundle:
    """The model as a version whose leaderboard has one line; without ``calibration`` it has no intervals."""
    window = Window(panel.n_periods - h, h, "outer", panel.cutoff.isoformat())
    scores = Scores(0.1, 0.0, 0.9, 0.8, 0.2, 0.8, 0.9, 0.1)
    info = BundleInfo(
        model=family,
        tree=FamilyTree(family),
        spec=panel.spec.but(horizon=h),
        dataset_version="made",
        code_version="0",
        features=(),
        seed=7,
        cutoff=panel.cutoff.isoformat(),
        horizon=h,
        levels=tuple(levels),
        leaderboard=Leaderboard((LeaderboardRow(family, scores, 0.1, {}, chosen=True),), (window,)),
    )
    return Bundle(info, model, panel, dict(calibration or {}))
