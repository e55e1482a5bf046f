"""The seasonal profile as a family: level x shape of the year shared by groups; weekday x flag effects for days."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from foretail.features.asof import AsOf, Plan, plan_features
from foretail.features.frame import Outlook
from foretail.features.groups import CALENDAR, LEVEL, SEASON
from foretail.features.space import Space
from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.contributions import Contributions, Term, from_space
from foretail.models.fallback import answered
from foretail.panel.panel import Panel

__all__ = ["Profile"]

FloatArray = npt.NDArray[np.float64]

_ZERO_SHARE = 0.05  # with more open periods without sales than this, a mean of logs is far below the mean

_RARE_SHARE = 0.05  # of dates: what a flag of more of them adds is in the recent level already, and would count twice

_TERMS = (
    Term("long-run level", LEVEL),
    Term("recent shift", LEVEL),
    Term("season", SEASON),
    Term("flags of few dates", CALENDAR),
)


class Profile(Forecaster):
    """Seconds for thousands of series.

    Weekly and monthly: the level times the shape of the year, its group's shape shrunk to the series' own, holidays
    aligned. Daily: the effect of the weekday x flag cell over half a year, a share of the recent shift in level, and
    what flags of few dates (a holiday) added before.

    Parameters
    ----------
    shift : share (0-1) of the recent shift that a daily forecast carries on; 0.6 was best on inner windows of daily
        store sales.
    random_state, n_threads : unused, there is nothing random.
    """

    tags = Tags(local=False, covariates=True)

    def __init__(self, *, shift: float = 0.6, random_state: int = 7, n_threads: int = 1):
        self.shift = shift
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:  # noqa: ARG002  (shapes are estimated where it predicts)
        """Decide the space, the cells and the groups."""
        self.plan_ = plan_features(panel, Space("level" if panel.idle_share > _ZERO_SHARE else "log"))
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        """Level times shape; series that never were open get the last season and the reason."""
        return self._answer(AsOf(panel, self.plan_, h))

    def outlook_plan(self) -> Plan:
        """What an outlook is made by."""
        return self.plan_

    def predict_from(self, outlook: Outlook) -> Forecast:
        """As `predict`, of the series of an outlook."""
        return self._answer(outlook.asof)

    def _answer(self, asof: AsOf) -> Forecast:
        with np.errstate(over="ignore", invalid="ignore"):
            y_hat = asof.cube.space.inverse(self._in_space(asof), asof.cube.scale)
        missing = ~np.isfinite(y_hat).all(axis=1)
        return answered(y_hat, asof.panel, dict.fromkeys(np.flatnonzero(missing).tolist(), "no open period observed"))

    def contributions(self, asked: Asked) -> Contributions:
        """Days: the level, the recent shift and the weekday; otherwise the level and the shape of the year."""
        asof = asked.outlook(self.plan_).asof
        at = asked.place, asked.steps - 1
        with np.errstate(over="ignore", invalid="ignore"):
            z = np.column_stack([part[at] for part in self._parts(asof)])
        floor = asked.panel.spec.non_negative
        found = from_space(asof.cube.space, asof.cube.scale[asked.place], asked.usual, _TERMS, z, 0, floor)
        every = self._answer(asof)
        return found.unless_fallen(asked.place, asked.steps, every.y_hat, every.reasons)

    def _parts(self, asof: AsOf) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """``[N, H]`` each, in model space: the level, the recent shift of it, the season, the flags."""
        flags = self._flags(asof)
        z = self._in_space(asof) - flags
        window = asof.cell_windows[1] if asof.panel.frequency.is_daily else asof.cell_windows[0]
        level = asof.weekless(window)
        if asof.panel.frequency.is_daily:
            season = asof.cell_effect(window) - level
            return level, z - level - season, season, flags
        return level, np.zeros_like(z), z - level, flags

    def _in_space(self, asof: AsOf) -> FloatArray:
        """``[N, H]`` in model space: effect and shift, or level times shape where a year is known."""
        move = asof.recent(asof.windows[2]) - asof.recent(asof.windows[-2])
        z: FloatArray = asof.cell_effect(asof.cell_windows[1]) + self.shift * (move * asof.unit)[:, None]
        if asof.panel.frequency.is_daily:
            return z + self._flags(asof)
        seasonal = asof.reference + asof.profile * asof.unit[:, None]
        return np.where(np.isfinite(seasonal), seasonal, z)

    def _flags(self, asof: AsOf) -> FloatArray:
        """``[N, H]`` what flags without cells added on past dates; days only, a year's shape holds them already."""
        total = np.zeros((asof.panel.n_series, asof.h))
        if asof.panel.frequency.is_daily:
            for name in self.plan_.effects:
                values, effects = asof.panel.covariate(name).values, asof.flag_effects(name)
                past = values[:, : asof.known]
                if np.mean(np.isfinite(past) & (past != np.float32(effects.usual))) <= _RARE_SHARE:
                    total += np.nan_to_num(effects.at(values[:, asof.target])) * asof.unit[:, None]
        return total

    def save(self, folder: Path) -> None:
        """Write ``profile.json``."""
        stored = {"plan": self.plan_.to_dict(), "shift": self.shift}
        (folder / "profile.json").write_text(json.dumps(stored), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
        model = cls(shift=stored["shift"])
        model.plan_ = Plan.from_dict(stored["plan"])
        return model
