"""Intermittent demand: how much is sold when anything is, and how often; holes and shut periods count as no period."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.models.contract import Tags
from foretail.models.local import LocalFamily, PerSeries
from foretail.models.parameters import share_above_0

__all__ = ["ADIDA", "TSB", "CrostonSBA"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SEASONS = {"D": 156, "W": 5, "M": 15}  # slow sellers need years


class CrostonSBA(LocalFamily):
    """Croston's ratio of smoothed demand to smoothed interval between demands, with the Syntetos-Boylan correction.

    Values other than 0 are demand, returns included. Source: Syntetos & Boylan (2005), *The accuracy of intermittent
    demand estimates*; a correction of 0.95 goes with a smoothing constant of 0.1.

    Parameters
    ----------
    alpha : smoothing constant of demand and interval, above 0 and at most 1; the correction is ``1 - alpha / 2``.

    Raises
    ------
    UsageError : another constant.
    """

    name = "croston_sba"
    tags = Tags(local=True)
    max_seasons: ClassVar = _SEASONS
    settings = ("alpha",)

    def __init__(self, *, alpha: float = 0.1, random_state: int = 7, n_threads: int = 1):
        super().__init__(random_state=random_state, n_threads=n_threads)
        self.alpha = share_above_0(self.name, "alpha", alpha)

    def answer(
        self,
        history: FloatArray,
        frequency: Frequency,  # noqa: ARG002  (no season)
        h: int,
    ) -> tuple[FloatArray, dict[int, str]]:
        """All series at once; 0 where nothing was ever sold."""
        seen = np.isfinite(history)
        sold = seen & (history != 0)
        interval = _smooth(_intervals(seen, sold), sold, self.alpha)
        demand = _smooth(history, sold, self.alpha)
        return _level((1 - self.alpha / 2) * demand / np.maximum(interval, 1.0), h), {}


class TSB(LocalFamily):
    """Smoothed demand times the smoothed probability of any, which fades while nothing is sold: for what may end.

    Values other than 0 are demand, returns included. Source: Teunter, Syntetos & Babai (2011), *Intermittent demand:
    linking forecasting to inventory obsolescence*.

    Parameters
    ----------
    alpha_demand, alpha_probability : smoothing constants, above 0 and at most 1.

    Raises
    ------
    UsageError : other constants.
    """

    name = "tsb"
    tags = Tags(local=True)
    max_seasons: ClassVar = _SEASONS
    settings = ("alpha_demand", "alpha_probability")

    def __init__(
        self,
        *,
        alpha_demand: float = 0.1,
        alpha_probability: float = 0.1,
        random_state: int = 7,
        n_threads: int = 1,
    ):
        super().__init__(random_state=random_state, n_threads=n_threads)
        self.alpha_demand = share_above_0(self.name, "alpha_demand", alpha_demand)
        self.alpha_probability = share_above_0(self.name, "alpha_probability", alpha_probability)

    def answer(
        self,
        history: FloatArray,
        frequency: Frequency,  # noqa: ARG002  (no season)
        h: int,
    ) -> tuple[FloatArray, dict[int, str]]:
        """All series at once; 0 where nothing was ever sold."""
        seen = np.isfinite(history)
        sold = seen & (history != 0)
        probability = _smooth(sold.astype(np.float64), seen, self.alpha_probability)
        demand = _smooth(history, sold, self.alpha_demand)
        return _level(probability * demand, h), {}


class ADIDA(PerSeries):
    """Demand summed over blocks as long as its mean interval, smoothed, and spread evenly again (statsforecast).

    Source: Nikolopoulos et al. (2011), *An aggregate-disaggregate intermittent demand approach (ADIDA) to forecasting*.
    """

    name = "adida"
    tags = Tags(local=True)
    max_seasons: ClassVar = _SEASONS
    skips_holes = True

    def answer_one(self, history: FloatArray, frequency: Frequency, h: int) -> FloatArray:  # noqa: ARG002  (no season)
        """The same level at every step."""
        from statsforecast import models  # heavy

        found: FloatArray = np.asarray(models.ADIDA().forecast(history, h=h)["mean"], dtype=np.float64)
        return found


def _intervals(seen: BoolArray, sold: BoolArray) -> FloatArray:
    """Periods since the demand before, at every demand: ``[N, T]``, the first counted from the first period seen."""
    periods = np.cumsum(seen, axis=1)
    at_demand = np.maximum.accumulate(np.where(sold, periods, 0), axis=1)
    before = np.zeros_like(at_demand)
    before[:, 1:] = at_demand[:, :-1]
    return (periods - before).astype(np.float64)


def _smooth(values: FloatArray, chosen: BoolArray, alpha: float) -> FloatArray:
    """Simple exponential smoothing of the chosen values of each row, which starts at the first of them: ``[N]``."""
    level = np.zeros(len(values))
    started = np.zeros(len(values), dtype=np.bool_)
    for column in np.flatnonzero(chosen.any(axis=0)):
        now, value = chosen[:, column], values[:, column]
        level[now] += np.where(started[now], alpha, 1.0) * (value[now] - level[now])
        started |= now
    return level


def _level(level: FloatArray, h: int) -> FloatArray:
    return np.repeat(level[:, None], h, axis=1)
