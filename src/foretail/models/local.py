"""What local families share: open history with its holes filled, one loop over series, reasons, an explosion check.

A local family is a class of a few lines: a name, the history it wants, and how it answers one series (`PerSeries`) or a
matrix of them at once (`LocalFamily`).
"""

from __future__ import annotations

import json
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.execution.pool import cut, warm_pool
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.fallback import answered
from foretail.panel.panel import Panel

__all__ = ["EXPLODED", "LocalFamily", "PerSeries", "filled", "open_history"]

FloatArray = npt.NDArray[np.float64]

EXPLODED = 20.0  # times the largest absolute value a series ever had: nobody would believe it
_MIN_ROWS = 200  # fewer series are done before a worker has started


def open_history(panel: Panel, n_periods: int | None = None) -> FloatArray:
    """Sales of open periods.

    Parameters
    ----------
    n_periods : the newest columns only; all when None.

    Returns
    -------
    ``[N, T]`` in the unit of the target; NaN where nothing was observed or the shop was shut.
    """
    first = 0 if n_periods is None else max(0, panel.n_periods - n_periods)
    return np.where(panel.closed[:, first : panel.n_periods], np.nan, panel.y[:, first:])


def filled(history: FloatArray, season: int) -> FloatArray:
    """Holes take the newest earlier value of the same place in the season; where there is none, the period before.

    Parameters
    ----------
    history : ``[N, T]``, NaN in holes. season : periods.

    Returns
    -------
    ``[N, T]``; NaN only before the first observation.
    """
    n, length = history.shape
    n_seasons = -(-length // season)
    padded = np.full((n, n_seasons * season), np.nan)
    padded[:, :length] = history
    places = padded.reshape(n, n_seasons, season)
    seasonal = _carried(places, axis=1).reshape(padded.shape)[:, :length]
    return _carried(np.where(np.isfinite(history), history, seasonal), axis=1)


def _carried(values: FloatArray, axis: int) -> FloatArray:
    """NaN takes the newest earlier number along the axis."""
    shape = [1] * values.ndim
    shape[axis] = -1
    position = np.arange(values.shape[axis]).reshape(shape)
    newest = np.maximum.accumulate(np.where(np.isfinite(values), position, 0), axis=axis)
    return np.take_along_axis(values, newest, axis=axis)


class LocalFamily(Forecaster):
    """A family that fits nothing ahead and answers each series from its own history.

    Series with fewer open observations than ``tags.min_periods`` in the history it looks at, series that fail, and
    forecasts beyond `EXPLODED` times the largest absolute value a series ever had get the last season and the reason.

    Parameters
    ----------
    random_state : unused, there is nothing random.
    n_threads : processes that share the series, where the family works series by series.

    Attributes
    ----------
    name : what reasons and the saved file call it.
    max_seasons : seasons of history it looks at, by the first letter of the frequency.
    settings : names of the constructor's parameters that are saved.
    """

    tags = Tags(local=True, min_periods=4)
    name: ClassVar[str]
    max_seasons: ClassVar[Mapping[str, int]]
    settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, random_state: int = 7, n_threads: int = 1):
        self.random_state = random_state
        self.n_threads = n_threads

    @abstractmethod
    def answer(self, history: FloatArray, frequency: Frequency, h: int) -> tuple[FloatArray, dict[int, str]]:
        """Forecast every series.

        Parameters
        ----------
        history : ``[N, T]`` of `open_history`, its holes still NaN; every row has ``tags.min_periods`` observations.

        Returns
        -------
        ``[N, h]`` and ``{row: reason}`` of the rows that have no answer.
        """

    def fit(self, panel: Panel, h: int) -> Self:  # noqa: ARG002  (a local model is fitted where it predicts)
        """Nothing: a local model is fitted where it predicts."""
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        """A model per series; those it cannot answer get the last season and the reason."""
        frequency = panel.frequency
        history = open_history(panel, self.max_seasons[frequency.code[0]] * frequency.season_length)
        count = np.isfinite(history).sum(1)
        rows = np.flatnonzero(count >= self.tags.min_periods)
        y_hat = np.zeros((panel.n_series, h))
        y_hat[rows], failed = self.answer(history[rows], frequency, h)
        reasons = dict.fromkeys(np.flatnonzero(count < self.tags.min_periods).tolist(), f"too short for {self.name}")
        reasons |= dict.fromkeys(np.flatnonzero(_never_open(panel)).tolist(), "no open period observed")
        reasons |= dict.fromkeys(np.flatnonzero(_exploded(y_hat, panel)).tolist(), f"{self.name} exploded")
        return answered(y_hat, panel, reasons | {int(rows[row]): why for row, why in failed.items()})

    def save(self, folder: Path) -> None:
        """Write ``NAME.json``: the parameters, for nothing is learned."""
        stored = {"family": self.name, "params": {key: getattr(self, key) for key in self.settings}}
        (folder / f"{self.name}.json").write_text(json.dumps(stored), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """A new one with the parameters that were saved."""
        stored = json.loads((folder / f"{cls.name}.json").read_text(encoding="utf-8"))
        return cls(**stored.get("params", {}))


def _never_open(panel: Panel) -> npt.NDArray[np.bool_]:
    return np.asarray(~(panel.observed & ~panel.closed[:, : panel.n_periods]).any(axis=1))


def _exploded(y_hat: FloatArray, panel: Panel) -> npt.NDArray[np.bool_]:
    """Rows that are no numbers, or far beyond anything the series ever sold."""
    largest = np.where(panel.observed, np.abs(panel.y), 0.0).max(axis=1, initial=0.0)
    with np.errstate(over="ignore"):
        bound = EXPLODED * largest
    return np.asarray(~(np.abs(y_hat).max(axis=1, initial=0.0) <= bound))  # also where it is NaN


class PerSeries(LocalFamily):
    """A local family that answers one series after the other, in chunks over warm processes."""

    skips_holes: ClassVar[bool] = False

    @abstractmethod
    def answer_one(self, history: FloatArray, frequency: Frequency, h: int) -> FloatArray:
        """Forecast one series; whatever is raised becomes the reason.

        Parameters
        ----------
        history : ``[T]`` from the first observation on, without holes, scaled to a mean absolute value of 1, never
            constant. Holes are filled (see `filled`), or left out where the class says ``skips_holes``.

        Returns
        -------
        ``[h]``, in the same scale.
        """

    def answer(self, history: FloatArray, frequency: Frequency, h: int) -> tuple[FloatArray, dict[int, str]]:
        """Every series by itself."""
        y = history if self.skips_holes else filled(history, frequency.season_length)
        y_hat = np.zeros((len(y), h))
        reasons: dict[int, str] = {}
        task = partial(_one_by_one, self, frequency, h)
        for outcome in warm_pool(self.n_threads).map(task, cut([y], self.n_threads), min_rows=_MIN_ROWS):
            if outcome.value is None:
                reasons[outcome.start] = f"{self.name} failed: {outcome.reason}"
                continue
            y_hat[outcome.start : outcome.start + outcome.n] = outcome.value[0]
            reasons |= {outcome.start + row: why for row, why in outcome.value[1].items()}
        return y_hat, reasons


def _one_by_one(family: PerSeries, frequency: Frequency, h: int, y: FloatArray) -> tuple[FloatArray, dict[int, str]]:
    """Forecasts ``[rows, h]`` (0 where it failed) and the reasons by row."""
    result = np.zeros((len(y), h))
    reasons: dict[int, str] = {}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn of what is checked here afterwards
        for row, values in enumerate(y):
            found = _answer_of(family, values[np.isfinite(values)], frequency, h)
            if isinstance(found, str):
                reasons[row] = found
            else:
                result[row] = found
    return result, reasons


def _answer_of(family: PerSeries, history: FloatArray, frequency: Frequency, h: int) -> FloatArray | str:
    """The forecast ``[h]`` of one series, or why there is none."""
    if (history == history[0]).all():
        return np.full(h, history[0])
    scale = float(np.abs(history).mean())
    try:
        mean = family.answer_one(history / scale, frequency, h) * scale
    except Exception as error:  # statsforecast raises bare exceptions; the reason is kept
        return f"{family.name} failed: {type(error).__name__}"
    return mean if np.isfinite(mean).all() else f"{family.name} gave no number"
