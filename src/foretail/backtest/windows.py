"""Rolling origins: the last ones are reported, earlier ones are for choosing; their targets never overlap."""

from __future__ import annotations

from foretail.backtest.result import Window
from foretail.core.errors import DataError, Problem
from foretail.panel.panel import Panel

__all__ = ["rolling_windows", "whole_year"]


def rolling_windows(
    panel: Panel, h: int, *, n_outer: int = 2, n_inner: int = 4, step_size: int | None = None
) -> tuple[Window, ...]:
    """Windows of a panel, oldest first.

    Outer windows take the end of the history and step back by ``step_size``; inner windows end before the first outer
    target. When the history is short the windows overlap (a smaller step) and the inner ones are shortened, because a
    model needs a year behind it to know the season.

    Parameters
    ----------
    panel : the history. h : steps of the forecast that is wanted.
    n_outer, n_inner : windows of each kind at most. step_size : periods between origins; h when None.

    Raises
    ------
    DataError : less history than horizon and season leave room for.
    """
    length = panel.n_periods
    least = _least_history(panel, h)
    if length <= least:
        raise DataError(
            Problem(
                f"the history is too short for a backtest of {h} steps",
                f"{length} {panel.frequency.noun}s, at least {least + 1} are needed",
                f"forecast fewer steps (--horizon {max(1, length // 3)}) or bring more history",
            )
        )
    step = step_size or h
    comfortable = _comfortable_history(panel, h)
    n_whole = 1 + max(0, length - h - comfortable) // step
    if n_whole < 2 * n_outer:
        n_outer = max(1, n_whole // 2)
    outer_first = max(min(length - h, max(length - h - (n_outer - 1) * step, comfortable)), least)
    outer_origins = _origins(outer_first, length, h, n_outer)
    enough = comfortable // 2 if panel.frequency.is_daily else comfortable  # a weekday is known long before a season
    inner_first = max(outer_first - n_inner * step, min(enough, outer_first - max(2, h // 4)), least)
    inner_origins = [origin for origin in _origins(inner_first, outer_first, h, n_inner) if origin < outer_first]
    return (
        *(_window(panel, origin, min(h, outer_first - origin), "inner") for origin in inner_origins),
        *(_window(panel, origin, min(h, length - origin), "outer") for origin in outer_origins),
    )


def _least_history(panel: Panel, h: int) -> int:
    """A model must have seen a few periods, and as many as half of what it forecasts."""
    season = panel.frequency.season_length
    return max(min(season + 1, 9), h // 2)


def _comfortable_history(panel: Panel, h: int) -> int:
    """A year and a bit for weekly and monthly data, a year for daily data, and never less than the horizon."""
    year = panel.frequency.year_length
    extra = {"D": 0, "W": 13, "M": 3}[panel.spec.freq[0]]
    return max(min(year + extra, panel.n_periods - h), h)


def _origins(first: int, end: int, h: int, n: int) -> list[int]:
    """At most n origins from ``first`` on, evenly spaced, the last h before ``end`` or, in a short history, later."""
    last = max(end - h, first)
    if last == first:  # one whole window or less: more origins inside it, with fewer steps
        room = end - first
        return [first + room * i // n for i in range(n)] if n > 1 and room >= 2 * n else [first]
    return sorted({first + (last - first) * i // max(n - 1, 1) for i in range(n)})


def _window(panel: Panel, n_periods: int, h: int, role: str) -> Window:
    return Window(n_periods, h, role, str(panel.dates(n_periods - 1, 1)[0]))


def whole_year(panel: Panel, h: int) -> int:
    """Periods from which on a model has seen every date of the year with its horizon behind it."""
    return panel.frequency.year_length + h
