"""Accuracy of every level before and after reconciliation, and the method that the backtest says to use, if any.

A method is judged in windows whose errors its weights never saw: the inner windows choose, each by the errors of the
others; the outer ones report, by the errors of earlier windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.backtest.metrics import pooled_wape
from foretail.models.reconcile import BOTTOM_UP, METHODS, Covariance, reconcile
from foretail.panel.hierarchy import SERIES, Hierarchy

__all__ = ["Judged", "LevelWindow", "judge_levels"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_GAIN = 0.99  # of the error of sums of the series: what a method must come to before it is used
_HARM = 1.01  # of the error of the series themselves: what it may at most make of that
_OWN = "own"  # a level's own forecasts, which agree with nothing


@dataclass(frozen=True)
class LevelWindow:
    """One backtest window over all levels.

    Attributes
    ----------
    role : ``inner`` or ``outer``.
    totals : actuals of the groups ``[U, h]``. y : of the series ``[N, h]``. NaN is not scored.
    groups, series : base forecasts ``[U, h]``, ``[N, h]``. fixed : bool ``[N, h]``, cells known to be what they are.
    """

    role: str
    totals: FloatArray
    y: FloatArray
    groups: FloatArray
    series: FloatArray
    fixed: BoolArray


@dataclass(frozen=True)
class Judged:
    """What came out.

    Attributes
    ----------
    method : to use. covariance : for it, by the errors of all windows; None where it needs none.
    accuracy : one row per level, the series last: ``level``, ``n`` series of it, the WAPE of its ``own`` forecasts and
        that of every method by its name, on the windows that chose nothing.
    choice : ``{method: mean over levels of its WAPE to that of bottom_up}``, on the windows that chose.
    """

    method: str
    covariance: Covariance | None
    accuracy: tuple[dict[str, Any], ...]
    choice: dict[str, float]


def judge_levels(hierarchy: Hierarchy, windows: Sequence[LevelWindow], *, non_negative: bool) -> Judged:
    """Compare the methods and choose; what does not beat sums of the series is not used.

    Parameters
    ----------
    windows : of the backtest, oldest first.
    """
    errors = [_errors(window) for window in windows]
    inner = [i for i, window in enumerate(windows) if window.role == "inner"]
    chosen_on = inner if len(inner) > 1 else list(range(len(windows)))
    shown_on = [i for i, window in enumerate(windows) if window.role == "outer"]
    found = {
        i: _forecasts(hierarchy, windows[i], [errors[j] for j in _others(i, chosen_on, inner)], non_negative)
        for i in sorted({*chosen_on, *shown_on})
    }
    choice = _relative(_wape_by_level(hierarchy, windows, found, chosen_on))
    table = _wape_by_level(hierarchy, windows, found, shown_on)
    method = _chosen(choice, _relative(table))
    return Judged(
        method,
        _covariance(hierarchy, len(windows[0].y), method, errors),
        _rows(hierarchy, len(windows[0].y), table),
        {name: float(np.mean(values)) for name, values in choice.items()},
    )


def _others(i: int, chosen_on: Sequence[int], inner: Sequence[int]) -> list[int]:
    """Windows whose errors weigh in window i: the others that choose, or for one that only reports, all before it."""
    return [j for j in chosen_on if j != i] if i in chosen_on else [*inner, *(j for j in range(i) if j not in inner)]


def _errors(window: LevelWindow) -> FloatArray:
    """Actual less forecast, ``[U + N, h]``."""
    return np.concatenate([window.totals - window.groups, window.y - window.series])


def _covariance(hierarchy: Hierarchy, n_series: int, method: str, errors: Sequence[FloatArray]) -> Covariance | None:
    if method not in ("wls", "shrink"):
        return None
    if not errors:
        return Covariance.structural(hierarchy, n_series)
    every = np.concatenate(errors, axis=1)
    return Covariance.of_variances(every) if method == "wls" else Covariance.shrunk(every)


def _forecasts(
    hierarchy: Hierarchy, window: LevelWindow, errors: Sequence[FloatArray], non_negative: bool
) -> dict[str, FloatArray]:
    """Of the series, by method."""
    return {
        method: reconcile(
            hierarchy,
            window.groups,
            window.series,
            method,
            _covariance(hierarchy, len(window.y), method, errors),
            fixed=window.fixed,
            non_negative=non_negative,
        )
        for method in METHODS
    }


def _wape_by_level(
    hierarchy: Hierarchy,
    windows: Sequence[LevelWindow],
    found: dict[int, dict[str, FloatArray]],
    chosen: Sequence[int],
) -> dict[str, list[float]]:
    """``{method: WAPE per level, that of the series last}``, and the levels' own forecasts."""
    y = [windows[i].y for i in chosen]
    table = {}
    for method in (_OWN, *METHODS):
        series = [windows[i].series if method == _OWN else found[i][method] for i in chosen]
        groups = [
            windows[i].groups if method == _OWN else hierarchy.sums(values)
            for i, values in zip(chosen, series, strict=True)
        ]
        table[method] = [
            pooled_wape([windows[i].totals[part] for i in chosen], [values[part] for values in groups])
            for part in hierarchy.parts
        ] + [pooled_wape(y, series)]
    return table


def _relative(table: dict[str, list[float]]) -> dict[str, FloatArray]:
    """Each method's WAPE over that of sums of the series, by level; 1 where nothing was sold."""
    base = np.array(table[BOTTOM_UP])
    able = np.isfinite(base) & (base > 0)
    return {method: np.where(able, np.array(table[method]) / np.where(able, base, 1.0), 1.0) for method in METHODS}


def _chosen(choice: dict[str, FloatArray], shown: dict[str, FloatArray]) -> str:
    """The best method where it was chosen, if it helped there and, unasked, in the windows that are reported."""
    able = [name for name, values in choice.items() if values.mean() <= _GAIN and values[-1] <= _HARM]
    if not able:
        return BOTTOM_UP
    best = min(able, key=lambda name: (float(choice[name].mean()), name))
    return best if shown[best].mean() < 1.0 else BOTTOM_UP


def _rows(hierarchy: Hierarchy, n_series: int, table: dict[str, list[float]]) -> tuple[dict[str, Any], ...]:
    names = [*hierarchy.names, SERIES]
    counts = [*(level.n_groups for level in hierarchy.levels), n_series]
    return tuple(
        {"level": name, "n": n, **{method: _told(values[i]) for method, values in table.items()}}
        for i, (name, n) in enumerate(zip(names, counts, strict=True))
    )


def _told(value: float) -> float | None:
    """A number as JSON holds it."""
    return float(value) if np.isfinite(value) else None
