"""Where a scenario leaves what the history holds: values, and days, of which no model can have learned anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from foretail.forecasts.known_values import Overridable
from foretail.forecasts.scenario import Told
from foretail.panel.panel import Panel

__all__ = ["beyond_the_range", "opened_anew"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_ROUNDING = 1e-6
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def beyond_the_range(panel: Panel, told: Told, values: Mapping[str, Overridable], ids: Sequence[str]) -> list[str]:
    """One sentence per column whose new values lie outside what was seen.

    A quantity is held against the range of its own series (of all series where it has no past); a number of few values
    against those values, of all series and of its own.

    Parameters
    ----------
    panel : N series. told : the scenario on M series, those of the panel first. values : by column. ids : M names.
    """
    found: list[str] = []
    for name, ahead in told.ahead.items():
        known = values[name]
        if known.datatype == "BYTES":
            continue  # a text that was never seen is refused
        told_here = told.touched & np.isfinite(ahead)
        find = _unseen_values if known.values else _outside
        found += find(panel, name, ahead, told_here, known, ids)
    return found


def _outside(
    panel: Panel, name: str, ahead: Float32Array, told: BoolArray, known: Overridable, ids: Sequence[str]
) -> Iterator[str]:
    """A quantity beyond the smallest or largest value of its series."""
    low, high = _range_of(panel, name, len(ahead), known)
    slack = _ROUNDING * np.maximum(np.abs(low), np.abs(high))
    beyond = told & ((ahead < low - slack) | (ahead > high + slack))
    if not beyond.any():
        return
    row, step = (int(position) for position in np.argwhere(beyond)[0])
    saw = f"saw {low[row, 0]:g} to {high[row, 0]:g}" if low[row, 0] <= high[row, 0] else "saw no value at all"
    yield (
        f"{name} leaves the range seen: {ahead[row, step]:g} for {ids[row]}, which {saw}{_count(beyond)}; what happens "
        "there is a guess"
    )


def _range_of(panel: Panel, name: str, m: int, known: Overridable) -> tuple[FloatArray, FloatArray]:
    """``[M, 1]`` smallest and largest value that each series saw; of all of them where it has no past."""
    history = panel.covariate(name).values[:, : panel.n_periods].astype(np.float64)
    seen = np.isfinite(history)
    low, high = np.full((m, 1), np.inf), np.full((m, 1), -np.inf)
    low[: len(history), 0] = np.where(seen, history, np.inf).min(axis=1)
    high[: len(history), 0] = np.where(seen, history, -np.inf).max(axis=1)
    if known.low is not None and known.high is not None:
        has_none = low > high
        low, high = np.where(has_none, known.low, low), np.where(has_none, known.high, high)
    return low, high


def _unseen_values(
    panel: Panel, name: str, ahead: Float32Array, told: BoolArray, known: Overridable, ids: Sequence[str]
) -> Iterator[str]:
    """A value that no series ever had, or not the series itself."""
    seen = np.array(sorted(known.values), dtype=np.float32)
    strange = told & ~np.isin(ahead, seen)
    if strange.any():
        first = float(ahead[strange][0])
        had = ", ".join(f"{value:g}" for value in seen.tolist())
        yield f"{name} = {first:g} was never seen, only {had}{_count(strange)}; what happens there is a guess"
    history = panel.covariate(name).values[:, : panel.n_periods]
    for value in seen[np.isin(seen, ahead[told])].tolist():
        here = told & (ahead == np.float32(value))
        here[: len(history)] &= ~(history == np.float32(value)).any(axis=1, keepdims=True)
        if here.any():
            first_id = ids[int(here.any(axis=1).argmax())]
            yield (
                f"{name} = {value:g} was never seen by {_series(here)}, such as {first_id}; what it does there can "
                "only be learned from other series"
            )


def opened_anew(panel: Panel, before: BoolArray, after: BoolArray) -> list[str]:
    """A sentence on days that a scenario opens although their series never sold on such a weekday.

    Parameters
    ----------
    before, after : bool ``[N, H]`` closed periods of the future as they are known, and in the scenario.
    """
    if not panel.frequency.is_daily:
        return []
    weekday = (panel.dates(0, panel.n_periods + before.shape[1]).astype("datetime64[D]").astype(np.int64) + 3) % 7
    sold = panel.observed & ~panel.closed[:, : panel.n_periods]
    ever = np.stack([sold[:, weekday[: panel.n_periods] == day].any(axis=1) for day in range(7)], axis=1)
    opened = before & ~after & ~ever[:, weekday[panel.n_periods :]]
    if not opened.any():
        return []
    days = sorted(set(weekday[panel.n_periods :][opened.any(axis=0)].tolist()))
    named = ", ".join(f"{_DAYS[day]}s" for day in days)
    return [f"the scenario opens {_series(opened)} on {named}, on which they never sold; what happens there is a guess"]


def _count(cells: BoolArray) -> str:
    return "" if cells.sum() == 1 else f" ({int(cells.sum()):,} cells of {_series(cells)})"


def _series(cells: BoolArray) -> str:
    n = int(cells.any(axis=1).sum())
    return f"{n:,} series"
