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
from foretail.models.naive import last_season
from foretail.panel.panel import Panel

__all__ = ["Theta"]

FloatArray = npt.NDArray[np.float64]

_MAX_SEASONS = {"D": 40, "W": 5, "M": 15}  # history beyond this changes no Theta forecast and costs time
_MIN_ROWS = 200  # fewer series are done before a worker has started


class Theta(Forecaster):
    """Optimised Theta (statsforecast), one model per series, gaps filled with the same place of the season before.

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
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        season = panel.frequency.season_length
        keep = _MAX_SEASONS[panel.spec.freq[0]] * season
        y = panel.y[:, -keep:]
        y_hat = last_season(panel, h)
        reasons: dict[int, str] = {}
        work = cut([y], self.n_threads)
        for outcome in warm_pool(self.n_threads).map(partial(_theta, season=season, h=h), work, min_rows=_MIN_ROWS):
            if outcome.value is None:
                reasons[outcome.start] = f"theta failed: {outcome.reason}"
                continue
            found, why = outcome.value
            rows = outcome.start + np.arange(outcome.n)
            good = np.isfinite(found).all(1)
            y_hat[rows[good]] = found[good]
            reasons |= {outcome.start + row: reason for row, reason in why.items()}
        return Forecast(np.maximum(y_hat, 0.0) if panel.spec.non_negative else y_hat, reasons=reasons)

    def save(self, folder: Path) -> None:
        (folder / "theta.json").write_text(json.dumps({"family": "theta"}))

    @classmethod
    def load(cls, folder: Path) -> Self:  # noqa: ARG003  (nothing is learned)
        return cls()


def _theta(y: FloatArray, *, season: int, h: int) -> tuple[FloatArray, dict[int, str]]:
    """Forecasts ``[rows, h]`` (NaN where it failed) and the reasons by row."""
    from statsforecast.models import OptimizedTheta

    result = np.full((len(y), h), np.nan)
    reasons: dict[int, str] = {}
    for row, values in enumerate(y):
        seen = np.flatnonzero(np.isfinite(values))
        if len(seen) < Theta.tags.min_periods:
            reasons[row] = "too short for theta"
            continue
        history = _filled(values[seen[0] :], season)
        length = season if len(history) >= 2 * season else 1
        scale = float(np.abs(history).mean()) or 1.0
        try:
            mean = OptimizedTheta(season_length=length).forecast(history / scale, h=h)["mean"] * scale
        except (ValueError, ArithmeticError, RuntimeError, IndexError, TypeError) as error:
            reasons[row] = f"theta failed: {type(error).__name__}"
            continue
        if not np.isfinite(mean).all() or np.abs(mean).max() > 100 * max(np.abs(history).max(), 1e-300):
            reasons[row] = "theta exploded"
            continue
        result[row] = mean
    return result, reasons


def _filled(values: FloatArray, season: int) -> FloatArray:
    """Holes take the value a season before, or else the one before."""
    values = values.copy()
    for column in np.flatnonzero(~np.isfinite(values)):
        back = column - season
        values[column] = values[back] if back >= 0 else values[column - 1]
    return values
