"""Plots of history and forecast: the total, one series, and one series in its backtest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import polars as pl

from foretail.core.frequency import Frequency
from foretail.panel.panel import Panel
from foretail.report.accuracy import scored_rows, total_errors
from foretail.report.theme import BACKTEST, FORECAST, INK, band, date_texts, figure, label, rounded, vertical_line

__all__ = ["Lines", "lines_figure", "recent_periods", "series_figure", "series_lines", "total_figure", "window_figure"]

Numbers = list[float | None]
FloatArray = npt.NDArray[np.float64]

_BAND_COLUMNS = {95: ("q2_5", "q97_5"), 80: ("q10", "q90")}
_ENOUGH = {95: 40, 80: 10}  # pooled errors from which the tails can be read


@dataclass(frozen=True)
class Lines:
    """History and forecast on one time line of integer positions (0 is the first column of the panel).

    Attributes
    ----------
    first, y : position of the first value, and the values observed.
    ahead, y_hat : position of the first forecast, and the forecasts.
    bands : ``{80: (low, high), 95: (low, high)}``, as long as ``y_hat``; a band may be missing.
    backtest : per window, the position of its first forecast and the forecasts.
    """

    first: int
    y: Numbers
    ahead: int
    y_hat: Numbers
    bands: dict[int, tuple[Numbers, Numbers]] = field(default_factory=dict)
    backtest: tuple[tuple[int, Numbers], ...] = ()


def recent_periods(frequency: Frequency, h: int) -> int:
    """Periods of history that a plot opens with: enough to see the season and four horizons."""
    season = 91 if frequency.is_daily else 104 if frequency.is_weekly else 36
    return max(4 * h, season)


def total_figure(panel: Panel, forecasts: pl.DataFrame, backtest: pl.DataFrame) -> go.Figure:
    """All series together: history, forecast, and what the backtest would have said.

    Quantiles of a sum are not the sums of quantiles, so the ranges come from the total's own errors in the backtest:
    the forecast times the quantiles of observed / forecast over all windows and steps. They are left out where the
    backtest has a single window or too few points to read a tail from.

    Parameters
    ----------
    panel : ends at the cutoff.
    forecasts, backtest : as in `ReportData`.
    """
    errors = total_errors(scored_rows(backtest, panel))
    sums = forecasts.group_by("ds").agg(pl.col("y_hat").sum()).sort("ds")
    ahead, y_hat = _on_line(panel, sums["ds"], sums["y_hat"])
    observed = panel.observed.any(0)
    y = np.where(observed, np.nansum(panel.y, axis=0), np.nan)
    first = int(observed.argmax()) if observed.any() else 0
    ranges = {p: (rounded(y_hat * low), rounded(y_hat * high)) for p, (low, high) in _total_ranges(errors).items()}
    lines = Lines(first, rounded(y[first:]), ahead, rounded(y_hat), ranges, _windows(panel, errors))
    return lines_figure(panel, lines, height=400)


def series_figure(panel: Panel, unique_id: str, forecasts: pl.DataFrame, backtest: pl.DataFrame) -> go.Figure:
    """One series: history dark, forecast coloured, 80 % and 95 % ranges, the cutoff dashed.

    Parameters
    ----------
    unique_id : a series of the panel, or one without history that only ``forecasts`` holds.
    """
    mine = pl.col("unique_id") == unique_id
    return lines_figure(panel, series_lines(panel, unique_id, forecasts.filter(mine), backtest.filter(mine)))


def series_lines(panel: Panel, unique_id: str, forecasts: pl.DataFrame, backtest: pl.DataFrame) -> Lines:
    """The numbers of `series_figure`, from frames that hold this series only."""
    row = panel.unique_ids.index(unique_id) if unique_id in panel.unique_ids else -1
    first = int(panel.first[row]) if row >= 0 else panel.n_periods
    y = panel.y[row, first:] if row >= 0 else np.empty(0)
    forecasts = forecasts.sort("ds")
    ahead, y_hat = _on_line(panel, forecasts["ds"], forecasts["y_hat"])
    bands = {}
    for percent, columns in _BAND_COLUMNS.items():
        if set(columns) <= set(forecasts.columns):
            low, high = (_on_line(panel, forecasts["ds"], forecasts[name])[1] for name in columns)
            bands[percent] = (rounded(low), rounded(high))
    return Lines(first, rounded(y), ahead, rounded(y_hat), bands, _windows(panel, backtest))


def lines_figure(panel: Panel, lines: Lines, *, height: int = 360) -> go.Figure:
    """Draw `Lines`: five traces in a fixed order (95 % range, 80 % range, history, backtest, forecast)."""
    ahead = _dates(panel, lines.ahead, len(lines.y_hat))
    empty: tuple[Numbers, Numbers] = ([], [])
    shades = [
        band(ahead if percent in lines.bands else [], *lines.bands.get(percent, empty), percent) for percent in (95, 80)
    ]
    tested_x, tested_y = _joined(panel, lines.backtest)
    mode = "lines+markers" if _is_sparse(lines.y) else "lines"
    traces = [
        *shades,
        _line("History", _dates(panel, lines.first, len(lines.y)), lines.y, INK, mode=mode),
        _line("Backtest", tested_x, tested_y, BACKTEST, dash="dot"),
        _line("Forecast", ahead, lines.y_hat, FORECAST, width=2.4, mode="lines+markers" if len(ahead) < 2 else "lines"),
    ]
    cutoff = _dates(panel, panel.n_periods - 1, 1)[0]
    opening = panel.n_periods - recent_periods(panel.frequency, len(ahead) or 1)
    span = [_dates(panel, max(opening, 0), 1)[0], _dates(panel, max(lines.ahead + len(ahead), panel.n_periods), 1)[0]]
    return figure(
        traces,
        height=height,
        y_title=label(panel.spec.unit or panel.spec.target),
        hovermode="x unified",
        yaxis_rangemode="tozero",
        xaxis_range=span,
        xaxis_type="date",
        xaxis_tickangle=0,
        **vertical_line(cutoff, "cutoff"),
    )


def window_figure(panel: Panel, backtest: pl.DataFrame) -> go.Figure:
    """One series in its backtest windows, small: what happened, what was forecast, the 80 % range.

    Parameters
    ----------
    backtest : rows of one series.
    """
    shades = []
    windows = backtest.sort("cutoff", "ds").partition_by("cutoff", maintain_order=True)
    if {"q10", "q90"} <= set(backtest.columns):
        for number, window in enumerate(windows):
            x, low, high = _texts(window["ds"]), rounded(window["q10"].to_numpy()), rounded(window["q90"].to_numpy())
            shades.append(band(x, low, high, 80, showlegend=number == 0))
    observed = backtest.unique("ds").sort("ds")
    x, y = _texts(observed["ds"]), rounded(observed["y"].to_numpy())
    tested_x, tested_y = _joined(panel, _windows(panel, backtest))
    truth = _line("Observed", x, y, INK, mode="lines+markers" if len(x) < 3 or _is_sparse(y) else "lines")
    traces = [*shades, truth, _line("Forecast", tested_x, tested_y, FORECAST, width=2)]
    small: dict[str, Any] = {
        "showlegend": False,
        "hovermode": "x unified",
        "yaxis_rangemode": "tozero",
        "xaxis_type": "date",
    }
    return figure(traces, height=190, xaxis_tickangle=0, xaxis_nticks=3, yaxis_nticks=4, **small)


def _line(
    name: str, x: list[str], y: Numbers, color: str, *, dash: str = "solid", width: float = 1.5, mode: str = "lines"
) -> go.Scatter:
    style = {"color": color, "width": width, "dash": dash}
    marker = {"size": 3.5, "color": color}
    return go.Scatter(x=x, y=y, name=name, mode=mode, line=style, marker=marker, hovertemplate="%{y:,.5~g}")


def _total_ranges(errors: pl.DataFrame) -> dict[int, tuple[float, float]]:
    ratio = errors["ratio"].drop_nulls()
    if errors["cutoff"].n_unique() < 2:
        return {}
    levels = {80: (0.1, 0.9), 95: (0.025, 0.975)}
    return {
        percent: (float(np.quantile(ratio, low)), float(np.quantile(ratio, high)))
        for percent, (low, high) in levels.items()
        if len(ratio) >= _ENOUGH[percent]
    }


def _on_line(panel: Panel, ds: pl.Series, values: pl.Series) -> tuple[int, FloatArray]:
    """Values by date laid on the panel's positions: (first position, dense values with NaN in the gaps)."""
    if ds.is_empty():
        return panel.n_periods, np.empty(0)
    position = panel.frequency.to_index(ds.to_numpy()) - panel.start
    first = int(position.min())
    dense = np.full(int(position.max()) - first + 1, np.nan)
    dense[position - first] = values.cast(pl.Float64).to_numpy()
    return first, dense


def _windows(panel: Panel, backtest: pl.DataFrame) -> tuple[tuple[int, Numbers], ...]:
    windows = backtest.sort("cutoff", "ds").partition_by("cutoff", maintain_order=True) if backtest.height else []
    laid = (_on_line(panel, window["ds"], window["y_hat"]) for window in windows)
    return tuple((first, rounded(values)) for first, values in laid)


def _joined(panel: Panel, windows: Sequence[tuple[int, Numbers]]) -> tuple[list[str], Numbers]:
    """Windows as one line with a break between them."""
    x: list[str] = []
    y: Numbers = []
    for first, values in windows:
        days = _dates(panel, first, len(values))
        x += [*days, days[-1]]
        y += [*values, None]
    return x, y


def _dates(panel: Panel, first: int, n: int) -> list[str]:
    return date_texts(panel.dates(first, n))


def _texts(dates: pl.Series) -> list[str]:
    return date_texts(dates.to_numpy())


def _is_sparse(values: Numbers) -> bool:
    return values.count(None) * 20 > len(values)
