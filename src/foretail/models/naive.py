"""The baselines everything else must beat: seasonal naive, historic average, drift, zero; no parameters, no failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.fallback import last_season
from foretail.panel.panel import Panel

__all__ = ["Drift", "HistoricAverage", "SeasonalNaive", "Zero", "last_season"]

FloatArray = npt.NDArray[np.float64]


class _Stateless(Forecaster):
    """A baseline that reads everything it needs from the panel it predicts from."""

    tags = Tags(local=True)

    def __init__(self, *, random_state: int = 7, n_threads: int = 1):
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:  # noqa: ARG002  (nothing to learn)
        """Nothing to learn."""
        return self

    def save(self, folder: Path) -> None:
        """Write ``naive.json``, which only says what it is."""
        (folder / "naive.json").write_text(json.dumps({"class": type(self).__name__}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:  # noqa: ARG003  (nothing to read)
        """A new one is as good."""
        return cls()


class SeasonalNaive(_Stateless):
    """Every step repeats the last observed value of its place in the season (7 days, 52 weeks, 12 months)."""

    def predict(self, panel: Panel, h: int) -> Forecast:
        """The last season again."""
        return Forecast(last_season(panel, h))


class HistoricAverage(_Stateless):
    """Every step is the mean of the observed open periods of the last year (of all periods where it has none)."""

    def predict(self, panel: Panel, h: int) -> Forecast:
        """The mean of the last year, at every step."""
        y = panel.y[:, -panel.frequency.year_length :]
        closed = panel.closed[:, : panel.n_periods][:, -y.shape[1] :]
        mean = _mean(np.where(closed, np.nan, y), _mean(panel.y, np.zeros(panel.n_series)))
        return Forecast(np.repeat(mean[:, None], h, axis=1))


class Drift(_Stateless):
    """The line through the first and the last observed value, carried on; not below 0 where that makes no sense."""

    def predict(self, panel: Panel, h: int) -> Forecast:
        """The line carried on."""
        row = np.arange(panel.n_series)
        known = panel.last >= 0
        first_y = np.where(known, panel.y[row, np.minimum(panel.first, panel.n_periods - 1)], 0.0)
        last_y = np.where(known, panel.y[row, np.maximum(panel.last, 0)], 0.0)
        slope = (last_y - first_y) / np.maximum(panel.last - panel.first, 1)
        ahead = panel.n_periods - 1 - panel.last[:, None] + np.arange(1, h + 1)[None, :]
        y_hat = last_y[:, None] + slope[:, None] * ahead
        return Forecast(np.maximum(y_hat, 0.0) if panel.spec.non_negative else y_hat)


class Zero(_Stateless):
    """No sales: the yardstick for series that have ended or hardly ever sell."""

    def predict(self, panel: Panel, h: int) -> Forecast:
        """Nothing."""
        return Forecast(np.zeros((panel.n_series, h)))


def _mean(values: FloatArray, fill: FloatArray) -> FloatArray:
    count = np.isfinite(values).sum(1)
    return np.where(count > 0, np.nansum(values, 1) / np.maximum(count, 1), fill)
