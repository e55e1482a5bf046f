"""Theta per series, from statsforecast: deseasonalised, two lines, simple exponential smoothing."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from foretail.execution.pool import cut, warm_pool
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.fallback import answered
from foretail.panel.panel import Panel

__all__ = ["Theta"]

FloatArray = npt.NDArray[np.float64]

_MAX_SEASONS = {"D": 40, "W": 5, "M": 15}  # history beyond this changes no Theta forecast and costs time
_MIN_ROWS = 200  # fewer series are done before a worker has started
_EXPLODED = 100.0  # times the largest value of a series


class Theta(Forecaster):
    """Optimised Theta (statsforecast), one model per series, gaps filled with the same place of the season before.

    Source: Fiorucci et al. (2016), *Models for optimising the theta method*.

    Parameters
    ----------
    random_state : unused, there is nothing random.
    n_threads : processes that share the series.
    """

    tags = Tags(local=True, min_periods=4)

    def __init__(self, *, random_state: int = 7, n_threads: int = 1):
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:  # noqa: ARG002  (a local model is fitted where it predicts)
        """Nothing: a local model is fitted where it predicts."""
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        """One Theta per series; those it cannot answer get the last season and the reason."""
        season = panel.frequency.season_length
        y = panel.y[:, -_MAX_SEASONS[panel.frequency.code[0]] * season :]
        y_hat = np.zeros((panel.n_series, h))
        reasons: dict[int, str] = {}
        task = partial(_theta, season=season, h=h)
        for outcome in warm_pool(self.n_threads).map(task, cut([y], self.n_threads), min_rows=_MIN_ROWS):
            if outcome.value is None:
                reasons[outcome.start] = f"theta failed: {outcome.reason}"
                continue
            y_hat[outcome.start : outcome.start + outcome.n] = outcome.value[0]
            reasons |= {outcome.start + row: why for row, why in outcome.value[1].items()}
        return answered(y_hat, panel, reasons)

    def save(self, folder: Path) -> None:
        """Write ``theta.json``; nothing is learned."""
        (folder / "theta.json").write_text(json.dumps({"family": "theta"}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:  # noqa: ARG003  (nothing is learned)
        """A new one is as good."""
        return cls()


def _theta(y: FloatArray, *, season: int, h: int) -> tuple[FloatArray, dict[int, str]]:
    """Forecasts ``[rows, h]`` (0 where it failed) and the reasons by row."""
    result = np.zeros((len(y), h))
    reasons: dict[int, str] = {}
    for row, values in enumerate(y):
        found = _theta_of(values, season, h)
        if isinstance(found, str):
            reasons[row] = found
        else:
            result[row] = found
    return result, reasons


def _theta_of(values: FloatArray, season: int, h: int) -> FloatArray | str:
    """The forecast ``[h]`` of one series, or why there is none."""
    from statsforecast.models import OptimizedTheta  # heavy

    seen = np.flatnonzero(np.isfinite(values))
    if len(seen) < Theta.tags.min_periods:
        return "too short for theta"
    history = _filled(values[seen[0] :], season)
    scale = float(np.abs(history).mean()) or 1.0
    model = OptimizedTheta(season_length=season if len(history) >= 2 * season else 1)
    try:
        with np.errstate(all="ignore"):
            mean: FloatArray = model.forecast(history / scale, h=h)["mean"] * scale
    except (ValueError, ArithmeticError, RuntimeError, IndexError, TypeError) as error:
        return f"theta failed: {type(error).__name__}"
    if not np.isfinite(mean).all() or np.abs(mean).max() > _EXPLODED * max(np.abs(history).max(), 1e-300):
        return "theta exploded"
    return mean


def _filled(values: FloatArray, season: int) -> FloatArray:
    """Holes take the value a season before, or else the one before."""
    values = values.copy()
    for column in np.flatnonzero(~np.isfinite(values)):
        back = column - season
        values[column] = values[back] if back >= 0 else values[column - 1]
    return values
