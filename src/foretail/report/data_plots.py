"""Plots of what the data look like: which cells were observed, and sales on a calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from foretail.panel.panel import Panel
from foretail.report.theme import SCALE, date_texts, figure, rounded

__all__ = ["calendar_figure", "observed_figure"]

# dates at the edge change the margin, which changes the labels: on narrow screens Plotly never comes to rest
_STILL: dict[str, Any] = {"xaxis_tickangle": 0, "xaxis_automargin": False, "margin_b": 30}
_PRESENCE = ((0.0, "#eef2f5"), (1.0, "#5ba3d0"))
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def observed_figure(panel: Panel, rows: int = 90, columns: int = 160) -> go.Figure:
    """Which cells of the panel hold a value: series from top to bottom by first sale, time from left to right.

    Parameters
    ----------
    rows, columns : largest number of tiles; a tile is the share observed among the cells it stands for.
    """
    order = np.lexsort((-panel.last, panel.first))
    down, across = _edges(panel.n_series, rows), _edges(panel.n_periods, columns)
    counts = np.add.reduceat(panel.observed[order].astype(np.float64), across, axis=1)
    counts = np.add.reduceat(counts, down, axis=0)
    sizes = np.outer(_widths(down, panel.n_series), _widths(across, panel.n_periods))
    heat = go.Heatmap(
        z=[rounded(row, 3) for row in counts / sizes],
        x=date_texts(panel.dates()[across]),
        y=(down + 1).tolist(),
        colorscale=_PRESENCE,
        zmin=0,
        zmax=1,
        colorbar={"tickformat": ".0%", "thickness": 10, "len": 0.9, "outlinewidth": 0},
        hovertemplate="from %{x}, series %{y} on: %{z:.0%} observed<extra></extra>",
    )
    return figure([heat], height=260, y_title="series", yaxis_autorange="reversed", xaxis_type="date", **_STILL)


def calendar_figure(panel: Panel) -> go.Figure:
    """Total sales on a calendar: weekdays by week (daily), weeks by year (weekly) or months by year (monthly)."""
    total = np.where(panel.observed.any(0), np.nansum(panel.y, axis=0), np.nan)
    dates = panel.dates()
    down, across, y, x = _grid(panel, dates)
    z = np.full((len(y), len(x)), np.nan)
    z[down, across] = total
    texts = np.full(z.shape, "", dtype=object)
    texts[down, across] = date_texts(dates)
    heat = go.Heatmap(
        z=[rounded(row, 4) for row in z],
        x=x,
        y=y,
        text=texts.tolist(),
        colorscale=SCALE,
        colorbar={"thickness": 10, "len": 0.9, "outlinewidth": 0, "tickformat": ".2~s"},
        xgap=1,
        ygap=1,
        hovertemplate="%{text}: %{z:,.5~g}<extra></extra>",
    )
    height = 190 if panel.frequency.is_daily else 90 + 34 * len(y)
    kind = "date" if panel.frequency.is_daily else "category" if panel.frequency.is_monthly else "linear"
    return figure(
        [heat],
        height=height,
        x_title="week of the year" if panel.frequency.is_weekly else "",
        yaxis_autorange="reversed",
        yaxis_type="category",
        yaxis_showgrid=False,
        xaxis_type=kind,
        xaxis_tickangle=0,
    )


def _grid(panel: Panel, dates: npt.NDArray[np.datetime64]) -> tuple[IntArray, IntArray, list[str], list[str | int]]:
    """Row and column of every period on its calendar, and their names."""
    day = dates.astype("datetime64[D]").astype(np.int64)
    years = dates.astype("datetime64[Y]").astype(np.int64)
    if panel.frequency.is_daily:
        weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
        week = (day - weekday - (day[0] - weekday[0])) // 7
        mondays = (day[0] - weekday[0] + 7 * np.arange(week[-1] + 1)).astype("datetime64[D]")
        return weekday, week, list(_WEEKDAYS), list(date_texts(mondays))
    names = [str(1970 + year) for year in range(int(years[0]), int(years[-1]) + 1)]
    if panel.frequency.is_weekly:
        week = (day - dates.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)) // 7
        return years - years[0], week, names, list(range(1, 54))
    return years - years[0], dates.astype("datetime64[M]").astype(np.int64) % 12, names, list(_MONTHS)


def _edges(n: int, most: int) -> IntArray:
    return np.unique(np.linspace(0, n, min(n, most) + 1).astype(np.int64)[:-1])


def _widths(edges: IntArray, n: int) -> FloatArray:
    return np.diff(np.append(edges, n)).astype(np.float64)
