"""The look that every plot shares: colours safe for colour-blind readers, quiet axes, history dark, forecasts blue."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

__all__ = [
    "BACKTEST",
    "BASELINE",
    "FORECAST",
    "INK",
    "PALETTE",
    "SCALE",
    "WARM",
    "band",
    "date_texts",
    "figure",
    "label",
    "rounded",
    "vertical_line",
]

# Okabe & Ito (2008), "Color Universal Design"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FORECAST, BACKTEST = PALETTE[0], PALETTE[1]
INK = "#1f2a35"
BASELINE = "#8c96a0"
SCALE = ((0.0, "#f3f6f9"), (0.25, "#c6dceb"), (0.5, "#7fb4d6"), (0.75, "#2f86bd"), (1.0, "#0b4f7d"))
WARM = ((0.0, "#fdf3ea"), (0.5, "#f2b98a"), (1.0, "#d55e00"))

_MUTED = "#5c6976"
_GRID = "#e9edf0"
_FONT = "Inter, 'Segoe UI', system-ui, -apple-system, 'Helvetica Neue', Arial, sans-serif"
_BAND_ALPHA = {80: 0.26, 95: 0.12}

DayArray = npt.NDArray[np.datetime64]


def figure(
    traces: Sequence[Any], *, height: int = 320, x_title: str = "", y_title: str = "", **layout: Any
) -> go.Figure:
    """Put traces on the axes of the house.

    Parameters
    ----------
    height : pixels; the width follows the container.
    layout : further keyword arguments of Plotly's layout, e.g. ``xaxis_range``.
    """
    axis: dict[str, Any] = {
        "gridcolor": _GRID,
        "zerolinecolor": "#cfd6dc",
        "linecolor": "#cfd6dc",
        "ticks": "",
        "automargin": True,
        "fixedrange": False,
    }
    result = go.Figure(data=list(traces))
    result.update_layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 12, "r": 12, "t": 12, "b": 12},
        font={"family": _FONT, "size": 12, "color": _MUTED},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"bgcolor": "#ffffff", "bordercolor": "#cfd6dc", "font": {"color": INK, "size": 12}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "font": {"color": INK}},
        xaxis={**axis, "showgrid": False, "title": {"text": x_title}},
        yaxis={**axis, "title": {"text": y_title}},
    )
    return result.update_layout(**layout)


def band(
    x: Sequence[str], low: Sequence[float | None], high: Sequence[float | None], percent: int, **trace: Any
) -> Any:
    """The area between two bounds as one closed outline.

    Parameters
    ----------
    x, low, high : the same length; empty draws nothing.
    percent : 80 or 95 is the promise of the band, which also sets its strength.
    """
    kept = [(day, a, b) for day, a, b in zip(x, low, high, strict=True) if a is not None and b is not None]
    outline = [*((day, b) for day, _, b in kept), *((day, a) for day, a, _ in reversed(kept))]
    options: dict[str, Any] = {
        "name": f"{percent} % range",
        "fillcolor": f"rgba(0, 114, 178, {_BAND_ALPHA.get(percent, 0.2)})",
        **trace,
    }
    return go.Scatter(
        x=[day for day, _ in outline],
        y=[value for _, value in outline],
        mode="lines",
        line={"width": 0},
        fill="toself",
        hoverinfo="skip",
        **options,
    )


def vertical_line(x: str, text: str = "") -> dict[str, Any]:
    """Layout keywords of a dashed line at a date, with a word at its top."""
    line = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    word = {"x": x, "yref": "paper", "y": 1, "text": text, "showarrow": False, "xanchor": "right", "xshift": -4}
    return {
        "shapes": [{**line, "line": {"color": _MUTED, "width": 1, "dash": "dash"}}],
        "annotations": [{**word, "yanchor": "top", "font": {"size": 11, "color": _MUTED}}] if text else [],
    }


def rounded(values: npt.ArrayLike, digits: int = 5) -> list[float | None]:
    """Numbers with ``digits`` significant digits, None where there is none: what a page needs and no more."""
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    safe = np.where(finite & (array != 0), array, 1.0)
    # two decimals at most: sales are counted in units or cents
    decimals = np.clip(digits - 1 - np.floor(np.log10(np.abs(safe))), 0, 6)
    factor = 10.0**decimals
    short = np.where(finite, np.round(np.where(finite, array, 0.0) * factor) / factor, np.nan)
    return [None if number != number else int(number) if number.is_integer() else number for number in short.tolist()]


def date_texts(dates: DayArray) -> list[str]:
    """ISO texts of datetime64[D] values."""
    texts: list[str] = np.datetime_as_string(dates.astype("datetime64[D]")).tolist()
    return texts


def label(text: str) -> str:
    """A user's text for a plot, where Plotly would read tags as formatting."""
    return html.escape(text, quote=False)
