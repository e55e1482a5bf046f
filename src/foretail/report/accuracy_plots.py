"""Plots of how good the forecasts were: models over windows, steps, segments, and how far ranges keep their promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from foretail.backtest.result import Leaderboard, LeaderboardRow
from foretail.report.segments import DEMAND, PATTERNS
from foretail.report.theme import BACKTEST, BASELINE, FORECAST, INK, PALETTE, WARM, figure, label, rounded
from foretail.report.wording import percent, plural

__all__ = [
    "calibration_figure",
    "demand_figure",
    "importance_figure",
    "permuted_figure",
    "segment_figure",
    "step_figure",
    "windows_figure",
]

_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")


def windows_figure(board: Leaderboard) -> go.Figure:
    """WAPE of every model on every outer window: the chosen one coloured, seasonal naive dashed, the others grey."""
    traces = [_model_trace(row) for row in reversed(board.rows) if row.windows]
    return figure(
        traces, height=300, y_title="WAPE", yaxis_tickformat=".0%", yaxis_rangemode="tozero", xaxis_type="category"
    )


def step_figure(by_step: pl.DataFrame, noun: str = "step") -> go.Figure:
    """WAPE (bars) and bias (line) by step ahead.

    Parameters
    ----------
    by_step : `score` of the backtest by ``step``.
    noun : what a step is, e.g. ``day``.
    """
    steps = by_step["step"].to_list()
    wape, bias = (_shares(by_step[name]) for name in ("wape", "bias"))
    fill = {"color": "#8fbfdd"}
    bars = go.Bar(x=steps, y=wape, name="WAPE", marker=fill, hovertemplate="%{y:.1%}")
    line = go.Scatter(
        x=steps,
        y=bias,
        name="Bias",
        mode="lines+markers",
        line={"color": BACKTEST, "width": 2},
        marker={"size": 5},
        hovertemplate="%{y:+.1%}",
    )
    return figure(
        [bars, line],
        height=300,
        x_title=f"{noun}s ahead",
        yaxis_tickformat=".0%",
        hovermode="x unified",
        xaxis_range=[min(steps, default=1) - 0.6, max(steps, default=1) + 0.6],
        bargap=0.25,
    )


def segment_figure(by_segment: pl.DataFrame) -> go.Figure:
    """WAPE by segment, rows A to C by volume and columns X to Z by steadiness.

    Parameters
    ----------
    by_segment : `score` of the backtest by ``abc, xyz``.
    """
    cells = {(row["abc"], row["xyz"]): row for row in by_segment.iter_rows(named=True)}
    wape = [[_cell(cells, a, x) for x in PATTERNS] for a in "ABC"]
    texts = [[_cell_text(cells.get((a, x))) for x in PATTERNS] for a in "ABC"]
    largest = max((value for row in wape for value in row if value is not None), default=1.0)
    heat = go.Heatmap(
        z=wape,
        x=[f"{x} · {word}" for x, word in PATTERNS.items()],
        y=list("ABC"),
        text=texts,
        texttemplate="%{text}",
        textfont={"color": INK, "size": 13},
        colorscale=WARM,
        zmin=0,
        zmax=1.6 * (largest or 1.0),
        showscale=False,
        xgap=4,
        ygap=4,
        hoverinfo="skip",
    )
    return figure([heat], height=270, yaxis_autorange="reversed", yaxis_showgrid=False, xaxis_side="top")


def demand_figure(by_demand: pl.DataFrame) -> go.Figure:
    """WAPE by pattern of demand, with how much of the sales the backtest saw in each.

    Parameters
    ----------
    by_demand : `score` of the backtest by ``demand``.
    """
    found = {row["demand"]: row for row in by_demand.iter_rows(named=True) if row["wape"] is not None}
    names = [name for name in DEMAND if name in found]
    total = sum(abs(found[name]["sales"]) for name in names) or 1.0
    texts = [
        f"<b>{found[name]['wape']:.1%}</b> · {plural(found[name]['n_series'], 'series')}, "
        f"{percent(abs(found[name]['sales']) / total)} of sales"
        for name in names
    ]
    wape = [found[name]["wape"] for name in names]
    bars = go.Bar(
        x=rounded(wape),
        y=names,
        orientation="h",
        marker={"color": FORECAST},
        text=texts,
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: WAPE %{x:.1%}<extra></extra>",
    )
    return figure(
        [bars],
        height=80 + 34 * len(names),
        xaxis_tickformat=".0%",
        xaxis_range=[0, 1.9 * max([*wape, 1e-9])],
        yaxis_autorange="reversed",
        yaxis_showgrid=False,
        bargap=0.35,
    )


def calibration_figure(table: pl.DataFrame, noun: str = "step") -> go.Figure:
    """Promised against measured coverage, overall and by quarter of the horizon; honest ranges lie on the diagonal.

    Parameters
    ----------
    table : from `calibration`.
    noun : what a step is, e.g. ``day``.
    """
    diagonal = go.Scatter(
        x=[0, 1], y=[0, 1], name="as promised", mode="lines", line={"color": BASELINE, "dash": "dash"}, hoverinfo="skip"
    )
    parts = table.sort("quarter", "nominal", descending=[True, False]).partition_by("quarter", maintain_order=True)
    return figure(
        [diagonal, *(_coverage_trace(part, noun) for part in parts)],
        height=430,
        x_title="promised share inside the range",
        y_title="measured share",
        xaxis_tickformat=".0%",
        yaxis_tickformat=".0%",
        xaxis_range=[0, 1.02],
        yaxis_range=[0, 1.02],
        xaxis_showgrid=True,
    )


def importance_figure(importance: tuple[tuple[str, float], ...], n: int = 15) -> go.Figure:
    """Bars of the n features that a model uses most, and the rest in one bar."""
    shown = list(importance[:n])
    rest = sum(share for _, share in importance[n:])
    if rest > 0:
        shown.append((f"{len(importance) - n} others", rest))
    names = [label(_short(name)) for name, _ in reversed(shown)]
    shares = [share for _, share in reversed(shown)]
    reach = [0, 1.15 * max([*shares, 1e-9])]
    return _bars(names, shares, [f"{share:.1%}" for share in shares], reach, ".0%")


def permuted_figure(permuted: tuple[tuple[str, float], ...], n: int = 15) -> go.Figure:
    """Bars of the rise of WAPE when a column is shuffled, of the n columns where it is largest."""
    shown = permuted[:n][::-1]
    names = [label(_short(name)) for name, _ in shown]
    rises = [rise for _, rise in shown]
    low, high = min([*rises, 0.0]), max([*rises, 1e-4])
    reach = [low - 0.15 * (high - low) if low < 0 else 0, high + 0.15 * (high - low)]
    return _bars(names, rises, [f"{100 * rise:+.2f}" for rise in rises], reach, ".1%")


def _bars(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], reach: Sequence[float], ticks: str
) -> go.Figure:
    """Lying bars, the last name on top, each with its text; ``ticks`` is the format of the values."""
    places = list(range(len(names)))
    bars = go.Bar(
        x=rounded(values),
        y=places,
        orientation="h",
        marker={"color": FORECAST},
        text=texts,
        textposition="outside",
        cliponaxis=False,
        customdata=names,
        hovertemplate="%{customdata}<extra></extra>",
    )
    axes: dict[str, Any] = {"yaxis_tickvals": places, "yaxis_ticktext": names, "yaxis_showgrid": False}
    axes |= {"yaxis_zeroline": False, "bargap": 0.3, "xaxis_tickformat": ticks, "xaxis_range": reach}
    return figure([bars], height=60 + 26 * len(names), **axes)


def _model_trace(row: LeaderboardRow) -> go.Scatter:
    is_naive = row.model == "seasonal_naive"
    color = FORECAST if row.chosen else INK if is_naive else "#bcc5cd"
    cutoffs = sorted(row.windows)
    return go.Scatter(
        x=cutoffs,
        y=rounded([row.windows[cutoff].wape for cutoff in cutoffs]),
        name=label(_short(row.model)),
        mode="lines+markers",
        line={"color": color, "width": 3 if row.chosen else 1.6, "dash": "dash" if is_naive else "solid"},
        marker={"size": 9 if row.chosen else 6},
        hovertemplate="%{y:.1%}",
    )


def _coverage_trace(part: pl.DataFrame, noun: str) -> go.Scatter:
    quarter, first, last = part["quarter"][0], part["first"][0], part["last"][0]
    name = f"{noun} {first}" if first == last else f"{noun}s {first}–{last}"
    style = (
        {"line": {"color": FORECAST, "width": 3.5}, "marker": {"size": 9}}
        if quarter == 0
        else {
            "line": {"color": PALETTE[quarter], "width": 1.5, "dash": _DASHES[quarter - 1]},
            "marker": {"size": 6, "symbol": _SYMBOLS[quarter - 1]},
        }
    )
    return go.Scatter(
        x=part["nominal"].to_list(),
        y=_shares(part["measured"]),
        name="all steps" if quarter == 0 else name,
        mode="lines+markers",
        hovertemplate="%{x:.0%} promised, %{y:.1%} measured",
        **style,
    )


def _shares(values: pl.Series) -> list[float | None]:
    return rounded(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _cell(cells: dict[tuple[str, str], dict[str, float | None]], a: str, x: str) -> float | None:
    value = cells.get((a, x), {}).get("wape")
    return None if value is None or math.isnan(value) else round(value, 5)


def _cell_text(row: dict[str, float | None] | None) -> str:
    if row is None:
        return ""
    wape, n = row["wape"], row["n_series"]
    return f"<b>{'–' if wape is None else format(wape, '.1%')}</b><br>{n:,} series"


def _short(name: str, n: int = 40) -> str:
    return name if len(name) <= n else name[: n - 1] + "…"
