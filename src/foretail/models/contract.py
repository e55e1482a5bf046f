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

from foretail.panel.panel import Panel

__all__ = ["Forecast", "Forecaster", "Tags"]

FloatArray = npt.NDArray[np.float64]


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
