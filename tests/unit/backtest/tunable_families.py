"""Families made to be tuned: what their parameters do to the error, the time and the outcome is known exactly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np

from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.fallback import last_season
from foretail.models.families import Family
from foretail.models.search import Choice, Range
from foretail.panel.panel import Panel


class Hands:
    """A clock that moves only when a family says that it worked."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> SimpleNamespace:
        """What stands in for the module `time`."""
        return SimpleNamespace(monotonic=lambda: self.now)


HANDS = Hands()


class Shifted(Forecaster):
    """The last season plus ``shift`` units; fits take ``size`` seconds on the clock of `HANDS`."""

    tags = Tags(local=False)

    def __init__(
        self, *, shift: float = 6.0, size: int = 1, mood: str = "well", random_state: int = 7, n_threads: int = 1
    ):
        self.shift = shift
        self.size = size
        self.mood = mood

    def fit(self, panel: Panel, h: int) -> Self:
        HANDS.now += self.size
        if self.mood == "ill":
            raise ArithmeticError("ill today")
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        return Forecast(last_season(panel, h) + self.shift)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Self:
        raise NotImplementedError


class Lucky(Shifted):
    """The last season and noise that depends on nothing but ``ticket``."""

    def __init__(self, *, ticket: int = 0, random_state: int = 7, n_threads: int = 1):
        super().__init__(shift=0.0)
        self.ticket = ticket

    def predict(self, panel: Panel, h: int) -> Forecast:
        rng = np.random.default_rng([self.ticket, panel.n_periods])
        season = last_season(panel, h)
        return Forecast(season + rng.normal(0, 8, season.shape))


class Stubborn(Shifted):
    """Its parameter changes nothing."""

    def __init__(self, *, ticket: int = 0, random_state: int = 7, n_threads: int = 1):
        super().__init__(shift=0.0)


TABLE = {
    "moved": Family("tunable_families:Shifted", "shift"),
    "slow": Family("tunable_families:Shifted", "size"),
    "moody": Family("tunable_families:Shifted", "mood"),
    "broken": Family("tunable_families:Shifted", "always ill", params=(("mood", "ill"),)),
    "lucky": Family("tunable_families:Lucky", "luck"),
    "stubborn": Family("tunable_families:Stubborn", "nothing"),
}
SPACES = {
    "moved": {"shift": Range(-10.0, 10.0)},
    "slow": {"size": Range(1, 30, cost=1.0)},
    "moody": {"shift": Range(-10.0, 10.0), "mood": Choice(("well", "ill"))},
    "broken": {"shift": Range(-10.0, 10.0)},
    "lucky": {"ticket": Range(0, 10_000)},
    "stubborn": {"ticket": Range(0, 3)},
}
