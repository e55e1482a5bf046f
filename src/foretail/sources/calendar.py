"""The frequency of a table, read from its dates: daily, weekly with an anchor, monthly; irregular dates are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.sources.parsing import format_day

__all__ = ["guess_frequency"]

_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_FIX = "make the dates regular, or say how to read them: --freq D (gaps are allowed), W-MON .. W-SUN, MS, ME"
_MOST = 0.5  # share of the steps that must agree


def guess_frequency(frame: pl.DataFrame, time: str, keys: Sequence[str] = ()) -> str:
    """Guess the frequency from the distinct dates of all series together.

    Parameters
    ----------
    frame : has the ``time`` column as pl.Date and the key columns; any order.
    time, keys : column names.

    Returns
    -------
    A code of `foretail.core.frequency.Frequency`.

    Raises
    ------
    DataError : fewer than two dates; steps that are no days, weeks or months; single dates off the weekly or monthly
        grid; weekly series with different weekdays.
    """
    distinct = frame[time].drop_nulls().unique().sort()
    if len(distinct) < 2:
        found = ", ".join(str(day) for day in distinct) or "no date"
        where = f"column {time!r}: {found}"
        raise DataError(Problem("the frequency cannot be told from fewer than two dates", where, "say it with --freq"))
    steps = distinct.diff().drop_nulls().dt.total_days()
    grid, on_grid = _grid(distinct, steps)
    if on_grid is None:
        raise DataError(_irregular(distinct, steps, time))
    if not on_grid.all():
        off = distinct.filter(~on_grid)
        shown = ", ".join(format_day(day) for day in off.head(5))
        what = f"irregular dates: {len(off)} of {len(distinct)} are off the grid {grid}"
        raise DataError(Problem(what, f"column {time!r}: {shown}", _FIX))
    if grid == "D" and keys and _is_weekly_within(frame, time, list(keys)):
        anchors = sorted({f"{day:%a}" for day in distinct})
        what = f"weekly series with different weekdays: {', '.join(anchors)}"
        raise DataError(Problem(what, f"column {time!r}", "label every week by the same weekday"))
    return grid


def _grid(distinct: pl.Series, steps: pl.Series) -> tuple[str, pl.Series | None]:
    """The grid that most steps suggest, and which dates lie on it; None when no grid fits."""
    share = _shares(steps)
    if share(1, 1) >= _MOST:
        return "D", pl.Series([True] * len(distinct))
    weekday = int(distinct.dt.weekday().mode().sort().item(0))
    on_weekday = distinct.dt.weekday() == weekday
    if (on_weekday.all() and share(7, 7) > 0) or (share(7, 7) >= _MOST and on_weekday.sum() > 0.7 * len(distinct)):
        return f"W-{_WEEKDAYS[weekday - 1]}", on_weekday
    if share(28, 31) >= _MOST:
        first = distinct.dt.day() == 1
        last = distinct == distinct.dt.month_end()
        return ("MS", first) if first.sum() >= last.sum() else ("ME", last)
    return "", None


def _shares(steps: pl.Series) -> Callable[[int, int], float]:
    """Share of the steps that are between two numbers of days, both included."""
    return lambda low, high: int(steps.is_between(low, high).sum()) / len(steps)


def _is_weekly_within(frame: pl.DataFrame, time: str, keys: list[str]) -> bool:
    """Whether each series steps by weeks though all dates together make a daily line."""
    dates = frame.select(*keys, time).drop_nulls(time).unique().sort(*keys, time)
    steps = dates.select(pl.col(time).diff().over(keys).dt.total_days()).to_series().drop_nulls()
    return len(steps) > 0 and int((steps % 7 == 0).sum()) > 0.9 * len(steps)


def _irregular(distinct: pl.Series, steps: pl.Series, column: str) -> Problem:
    counts = steps.value_counts(sort=True).head(4).rows()
    found = ", ".join(f"{step} days ({n} times)" for step, n in counts)
    first = ", ".join(format_day(day) for day in distinct.head(5))
    return Problem(
        "irregular dates: no daily, weekly or monthly step", f"column {column!r}: {first}; steps {found}", _FIX
    )
