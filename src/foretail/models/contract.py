"""What a model family is: fit on a panel, predict h steps from the end of a panel, save, load, declared tags.

A forecaster never sees past the end of the panel it is given, except known covariates. ``predict`` takes a panel too:
a global model fitted once can forecast from a later cutoff without being fitted again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from foretail.models.asked import Asked
from foretail.models.contributions import Contributions, level_and_season
from foretail.panel.panel import Panel

__all__ = ["Forecast", "Forecaster", "Tags"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tags:
    """What a family is and needs.

    Attributes
    ----------
    local : one model per series (else one across series).
    covariates : uses known covariates.
    min_periods : observations below which a series gets the family's fallback.
    extra : the extra of foretail that installs what the family needs; "" for the core.
    """

    local: bool
    covariates: bool = False
    min_periods: int = 1
    extra: str = ""


@dataclass(frozen=True)
class Forecast:
    """Forecasts of N series over H steps.

    Attributes
    ----------
    y_hat : float64 ``[N, H]``, in the unit of the target, finite.
    levels : the Q quantile levels of ``quantiles``, ascending; empty for a point forecast.
    quantiles : float64 ``[N, H, Q]``, or None for a point forecast.
    reasons : ``{row: why}`` of the series that a fallback answered.
    """

    y_hat: FloatArray
    levels: tuple[float, ...] = ()
    quantiles: FloatArray | None = None
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def width(self) -> FloatArray | None:
        """``[N, H]`` from the 10 % to the 90 % quantile; None where the family has none of its own."""
        if self.quantiles is None or not {0.1, 0.9} <= set(self.levels):
            return None
        return np.asarray(self.quantiles[..., self.levels.index(0.9)] - self.quantiles[..., self.levels.index(0.1)])

    def select(self, rows: npt.NDArray[np.int64]) -> Forecast:
        """The forecasts of some series only."""
        position = {int(row): i for i, row in enumerate(rows)}
        return replace(
            self,
            y_hat=self.y_hat[rows],
            quantiles=None if self.quantiles is None else self.quantiles[rows],
            reasons={position[row]: why for row, why in self.reasons.items() if row in position},
        )


class Forecaster(ABC):
    """Base of every family.

    Parameters are keyword-only in subclasses; ``random_state`` seeds whatever is random.
    """

    tags: ClassVar[Tags]

    @abstractmethod
    def fit(self, panel: Panel, h: int) -> Self:
        """Learn from the panel to forecast up to h steps.

        Parameters
        ----------
        panel : ends at the cutoff; every series has at least one observation.
        h : steps the model must answer.
        """

    @abstractmethod
    def predict(self, panel: Panel, h: int) -> Forecast:
        """Forecast h steps from the end of ``panel`` (the fitted one or a later one, same series).

        Known covariates must reach h periods ahead where the family uses them.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything ``load`` needs into an existing empty folder, in native formats (JSON, NPZ, text)."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; predicts bit for bit what the saved one did."""

    def importance(self) -> Sequence[tuple[str, float]]:
        """What the model uses: (feature, share 0-1), largest first; empty where a family has nothing to say."""
        return ()

    def contributions(self, asked: Asked) -> Contributions:
        """What some forecasts are made of.

        Here: the mean forecast of the season that a step lies in, and the step's distance from it; of the steps asked
        for only, where the family needs covariates. A family that knows more of itself says more.
        """
        panel, rows = (asked.alone, asked.place) if self.tags.local else (asked.whole, asked.rows)
        season = panel.frequency.season_length
        first = (asked.steps - 1) // season * season
        longer = asked.h if self.tags.covariates else max(asked.h, int(first.max(initial=0)) + season)
        forecast = self.predict(panel, asked.h)
        path = forecast.y_hat if longer == asked.h else self.predict(panel, longer).y_hat
        level = _mean_between(path, rows, first, np.minimum(first + season, longer))
        found = level_and_season(asked.usual, level, forecast.y_hat[rows, asked.steps - 1])
        return found.unless_fallen(rows, asked.steps, forecast.y_hat, forecast.reasons)


def _mean_between(path: FloatArray, rows: IntArray, first: IntArray, end: IntArray) -> FloatArray:
    """``[R]`` mean of some columns of some rows."""
    held = path[rows]
    column = np.arange(path.shape[1])
    inside = (column >= first[:, None]) & (column < end[:, None])
    mean: FloatArray = (np.where(inside, held, 0.0) / np.maximum(inside.sum(1), 1)[:, None]).sum(1)
    return mean
