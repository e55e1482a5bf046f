"""The seasonal profile as a family: level x shape of the year shared by groups; weekday x flag effects for daily sales."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import numpy as np

from foretail.features.asof import AsOf, Plan, plan_features
from foretail.features.space import Space
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.naive import last_season
from foretail.panel.panel import Panel

__all__ = ["Profile"]


class Profile(Forecaster):
    """Seconds for thousands of series.

    Weekly and monthly: the level times the shape of the year, its group's shape shrunk to the series' own, holidays
    aligned. Daily: the effect of the weekday x flag cell over half a year plus a share of the recent shift in level.

    Parameters
    ----------
    shift : share (0-1) of the recent shift that a daily forecast carries on.
    random_state, n_threads : unused, there is nothing random.
    """

    tags = Tags(local=False, covariates=True)

    def __init__(self, *, shift: float = 0.6, random_state: int = 7, n_threads: int = 1):
        self.shift = shift
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:  # noqa: ARG002  (shapes are estimated where it predicts)
        open_y = panel.y[panel.observed & ~panel.closed[:, : panel.n_periods]]
        sparse = len(open_y) > 0 and float((open_y <= 0).mean()) > 0.05
        self.plan_ = plan_features(panel, Space("level" if sparse else "log"))
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        asof = AsOf(panel, self.plan_, h)
        effect = asof.cell_effect(asof.cell_windows[1])
        move = asof.recent(asof.windows[2]) - asof.recent(asof.windows[-2])
        z = effect + self.shift * (move * asof.unit)[:, None]
        if not panel.frequency.is_daily:
            seasonal = asof.reference + asof.profile * asof.unit[:, None]
            z = np.where(np.isfinite(seasonal), seasonal, z)
        y_hat = asof.cube.space.inverse(z, asof.cube.scale)
        missing = ~np.isfinite(y_hat).all(1)
        y_hat = np.where(missing[:, None], last_season(panel, h), y_hat)
        reasons = {int(row): "no open period observed" for row in np.flatnonzero(missing)}
        return Forecast(np.maximum(y_hat, 0.0) if panel.spec.non_negative else y_hat, reasons=reasons)

    def save(self, folder: Path) -> None:
        (folder / "profile.json").write_text(json.dumps({"plan": self.plan_.to_dict(), "shift": self.shift}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        stored = json.loads((folder / "profile.json").read_text())
        model = cls(shift=stored["shift"])
        model.plan_ = Plan.from_dict(stored["plan"])
        return model
