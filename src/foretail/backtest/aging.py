"""How fast a version ages: one fit, then forecasts from ever later cutoffs without another, beside fits made again.

New actuals move the forecasts of a model that is not fitted again, because it forecasts from the end of the panel it is
given. What it has learned stays as old as its fit. On the same windows, forecasts of the old fit and of a fresh one
differ by the age alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.backtest.result import Window
from foretail.core.errors import DataError, Problem
from foretail.core.progress import Progress, Silent
from foretail.features.demand import as_demanded
from foretail.models.contract import Forecaster
from foretail.models.fallback import last_season
from foretail.models.families import make
from foretail.panel.panel import Panel

__all__ = ["EVERY", "NEVER", "Aging", "AgingRow", "AgingWindow", "aging", "aging_windows"]

FloatArray = npt.NDArray[np.float64]

NEVER = "never"  # fitted at the first cutoff only
EVERY = "every window"  # fitted again at every cutoff: what the others are compared with
_MOST = 12  # windows, evenly spaced: each costs a fit
_FEWEST = 6  # windows below which the first half of the history has to do for the first fit
_LEAST = 3  # windows without which nothing can be said of age


@dataclass(frozen=True)
class AgingWindow:
    """One window under one way to refit.

    Attributes
    ----------
    cutoff : ISO date. fitted : ISO date of the last period that the fit had learned from. age : periods between them.
    error, sold : sums of |y - y_hat| and of |y| over its scored cells. fresh_error : the same of a fit at the cutoff.
    """

    cutoff: str
    fitted: str
    age: int
    error: float
    sold: float
    fresh_error: float


@dataclass(frozen=True)
class AgingRow:
    """Accuracy at one age, or over all ages.

    Attributes
    ----------
    age : periods since the fit; None for all. n_windows : behind it.
    wape : of the old fit. fresh : of fits made again, on the same windows. loss : wape / fresh - 1.
    """

    age: int | None
    n_windows: int
    wape: float
    fresh: float

    @property
    def loss(self) -> float:
        return self.wape / self.fresh - 1 if self.fresh > 0 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, NaN as None."""
        values = {**asdict(self), "loss": self.loss}
        return {key: None if isinstance(value, float) and value != value else value for key, value in values.items()}


@dataclass(frozen=True)
class Aging:
    """What age does to a model.

    Attributes
    ----------
    model : its name. noun : what a period is. step, h : periods between cutoffs, and scored from each.
    windows : ``{way to refit: its windows, oldest first}``; ways are ``never``, ``every K windows``, ``every window``.
    left_out : windows for which the budget left no time.
    """

    model: str
    noun: str
    step: int
    h: int
    windows: Mapping[str, tuple[AgingWindow, ...]]
    left_out: int = 0

    @property
    def fits_ahead(self) -> bool:
        """False where an old fit answers as a fresh one: the model learns where it forecasts and cannot age."""
        return any(window.error != window.fresh_error for window in self.windows[NEVER])

    def by_age(self, way: str) -> tuple[AgingRow, ...]:
        """One row per age, youngest first."""
        ages = sorted({window.age for window in self.windows[way]})
        return tuple(_row(age, [item for item in self.windows[way] if item.age == age]) for age in ages)

    def overall(self, way: str) -> AgingRow:
        """Over all windows of a way."""
        return _row(None, self.windows[way])

    def verdict(self) -> str:
        """One sentence for a person who asks how often to train."""
        if not self.fits_ahead:
            return f"{self.model} learns where it forecasts and keeps nothing: it does not age"
        all_of_it, oldest = self.overall(NEVER), self.by_age(NEVER)[-1]
        told = "more" if all_of_it.loss >= 0 else "less"
        return (
            f"without a refit {self.model} errs {abs(all_of_it.loss):.1%} {told} over {all_of_it.n_windows} windows "
            f"(WAPE {all_of_it.wape:.4f} against {all_of_it.fresh:.4f} fitted at every cutoff), and {oldest.loss:+.1%} "
            f"{oldest.age} {self.noun}s after its fit"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "model": self.model,
            "period": self.noun,
            "step": self.step,
            "horizon": self.h,
            "windows_left_out": self.left_out,
            "fits_ahead": self.fits_ahead,
            "verdict": self.verdict(),
            "ways": {
                way: {
                    "overall": self.overall(way).to_dict(),
                    "by_age": [row.to_dict() for row in self.by_age(way)],
                    "windows": [asdict(window) for window in windows],
                }
                for way, windows in self.windows.items()
            },
        }


def aging(
    panel: Panel,
    h: int,
    model: str,
    params: Mapping[str, Any] | None = None,
    *,
    every: int | None = None,
    seed: int = 7,
    n_threads: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
) -> Aging:
    """Fit at the first cutoff of a long evaluation and forecast from each later one, beside fits made again.

    Parameters
    ----------
    panel : the history. h : steps scored from each cutoff.
    model : a family or the ensemble. params : keyword arguments it is made with.
    every : refit every K windows too; None compares only no refit with a refit in every window.
    budget_s : seconds it may take: by what the first window took, every second or third one is looked at; never fewer
        than three.

    Raises
    ------
    DataError : too little history for three windows.
    """
    every_window = aging_windows(panel, h)
    begun = time.monotonic()
    errors: dict[tuple[int, int], tuple[float, float]] = {}

    def fit(window: Window) -> Forecaster:
        fitted = make(model, **{"random_state": seed, "n_threads": n_threads, **dict(params or {})})
        return fitted.fit(_seen(panel, window, h)[0], h)

    with (progress or Silent()).stage("aging", len(every_window)) as stage:
        fitted = fit(every_window[0])
        errors[0, 0] = _errors(panel, every_window[0], h, fitted)
        took = time.monotonic() - begun
        windows = every_window if budget_s is None else _thinned(every_window, budget_s / max(took, 1e-9))
        ways = {NEVER: len(windows), **({f"every {every} windows": every} if every and every > 1 else {}), EVERY: 1}
        for place, window in enumerate(windows):
            fitted = fit(window) if place else fitted
            for later in _answered(place, len(windows), set(ways.values())):
                if (place, later) not in errors:
                    errors[place, later] = _errors(panel, windows[later], h, fitted)
            stage.advance(1)
        stage.advance(len(every_window) - len(windows))
    found = {way: _windows(panel, windows, errors, every_k) for way, every_k in ways.items()}
    step = windows[1].n_periods - windows[0].n_periods
    return Aging(model, panel.frequency.noun, step, h, found, len(every_window) - len(windows))


def _thinned(windows: tuple[Window, ...], n: float) -> tuple[Window, ...]:
    """The first window and every k-th after it, at most about n of them and three at least."""
    apart = next(
        (k for k in range(1, len(windows)) if len(windows[::k]) <= n or len(windows[:: k + 1]) < _LEAST), len(windows)
    )
    return windows[::apart]


def aging_windows(panel: Panel, h: int) -> tuple[Window, ...]:
    """Up to twelve cutoffs, evenly spaced, of which the last leaves h periods and the first a year, or half of it all.

    Raises
    ------
    DataError : too little history for three.
    """
    last = panel.n_periods - h
    first = min(max(panel.frequency.year_length, h), last)
    if (last - first) // h + 1 < _FEWEST:
        first = min(first, max(panel.n_periods // 2, h))
    step = max(1, h, -(-(last - first) // (_MOST - 1))) if last > first else 1
    if (last - first) // step + 1 < _LEAST:
        step = max(1, (last - first) // (_LEAST - 1))
    origins = list(range(last, first - 1, -step))[::-1][-_MOST:]
    if len(origins) < _LEAST:
        raise DataError(
            Problem(
                "the history is too short to say how a version ages",
                f"{panel.n_periods} {panel.frequency.noun}s, {h} steps are forecast from each cutoff",
                f"forecast fewer steps (--horizon {max(1, panel.n_periods // 6)}) or bring more history",
            )
        )
    return tuple(Window(origin, h, "outer", str(panel.dates(origin - 1, 1)[0])) for origin in origins)


def _answered(place: int, n: int, ways: set[int]) -> list[int]:
    """Windows that the fit of window ``place`` answers under any way to refit."""
    reach = max(every for every in ways if place % every == 0)
    return list(range(place, min(place + reach, n)))


def _seen(panel: Panel, window: Window, h: int) -> tuple[Panel, npt.NDArray[np.bool_]]:
    """What was known at the cutoff, of the series that had begun, and which these are."""
    past = as_demanded(panel.as_of(window.n_periods, h))
    begun = np.asarray(past.observed.any(axis=1))
    return past.select(begun), begun


def _errors(panel: Panel, window: Window, h: int, fitted: Forecaster) -> tuple[float, float]:
    """Sums of |y - y_hat| and of |y| over the observed cells of a window."""
    seen, begun = _seen(panel, window, h)
    y_hat = fitted.predict(seen, h).y_hat
    y_hat = np.where(np.isfinite(y_hat), y_hat, last_season(seen, h))
    columns = slice(window.n_periods, window.n_periods + h)
    y_hat = np.where(panel.closed[begun][:, columns], 0.0, y_hat)
    y = panel.y[begun][:, columns]
    scored = np.isfinite(y)
    return float(np.abs(y - y_hat)[scored].sum()), float(np.abs(y[scored]).sum())


def _windows(
    panel: Panel, windows: Sequence[Window], errors: Mapping[tuple[int, int], tuple[float, float]], every: int
) -> tuple[AgingWindow, ...]:
    found = []
    for place, window in enumerate(windows):
        fit = place - place % every
        error, sold = errors[fit, place]
        age = window.n_periods - windows[fit].n_periods
        fitted = str(panel.dates(windows[fit].n_periods - 1, 1)[0])
        found.append(AgingWindow(window.cutoff, fitted, age, error, sold, errors[place, place][0]))
    return tuple(found)


def _row(age: int | None, windows: Sequence[AgingWindow]) -> AgingRow:
    sold = sum(window.sold for window in windows) or float("nan")
    error, fresh = sum(window.error for window in windows), sum(window.fresh_error for window in windows)
    return AgingRow(age, len(windows), error / sold, fresh / sold)
