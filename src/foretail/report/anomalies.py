"""Days outside their interval as the report shows them: how many of which cause, when, and the largest of them."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import polars as pl

from foretail.backtest.anomalies import CAUSE, SIZE, WHY, WIDTHS, counts
from foretail.backtest.causes import CAUSES, CHANCE
from foretail.core.columns import DS, UNIQUE_ID, Y_HAT, Y
from foretail.report.tables import TextTable
from foretail.report.theme import BASELINE, INK, PALETTE, figure
from foretail.report.wording import amount, decimal

__all__ = ["anomaly_figures", "anomaly_tables"]

_LARGEST = 20
_COLORS = dict(zip(CAUSES, (*PALETTE[1:], PALETTE[0], BASELINE), strict=False)) | {"unknown": INK, CHANCE: "#d5dbe0"}


def anomaly_figures(frame: pl.DataFrame | None) -> dict[str, go.Figure]:
    """Days outside by date, stacked by cause; nothing without any."""
    if frame is None or frame.is_empty():
        return {}
    per_day = frame.group_by(DS, CAUSE).len().sort(DS)
    bars = [_bar(cause, per_day.filter(pl.col(CAUSE) == cause)) for cause in counts(frame)]
    layout: dict[str, Any] = {"barmode": "stack", "bargap": 0.15, "xaxis_type": "date"}
    return {"anomalies": figure(bars, height=280, y_title="series outside", **layout)}


def anomaly_tables(frame: pl.DataFrame | None) -> dict[str, TextTable]:
    """Causes with their numbers, and the largest days that are not put down to chance."""
    if frame is None:
        frame = pl.DataFrame(schema={CAUSE: pl.String, UNIQUE_ID: pl.String, SIZE: pl.Float64})
    per_cause = frame.group_by(CAUSE).agg(
        pl.col(UNIQUE_ID).n_unique().alias("series"),
        pl.col(SIZE).filter(pl.col(SIZE) > 0).sum().alias("above"),
        pl.col(SIZE).filter(pl.col(SIZE) < 0).sum().alias("below"),
    )
    found = {row[CAUSE]: row for row in per_cause.iter_rows(named=True)}
    rows = [
        (cause, f"{n:,}", f"{found[cause]['series']:,}", amount(found[cause]["above"]), amount(found[cause]["below"]))
        for cause, n in counts(frame).items()
    ]
    heads = ("Cause", "Days", "Series", "Above the forecast", "Below the forecast")
    return {"causes": TextTable(heads, tuple(rows)), "anomalies": _largest(frame)}


def _largest(frame: pl.DataFrame) -> TextTable:
    shown = frame.filter(pl.col(CAUSE) != CHANCE)
    shown = shown.sort(pl.col(SIZE).abs(), descending=True).head(_LARGEST) if shown.height else shown
    rows = [
        (row[UNIQUE_ID], row[DS].isoformat(), row[CAUSE], row[WHY], *_numbers(row))
        for row in shown.iter_rows(named=True)
    ]
    heads = ("Series", "Date", "Cause", "Why", "Sold", "Forecast", "Difference", "Widths outside")
    return TextTable(heads, tuple(rows), n_text=4)


def _numbers(row: dict[str, Any]) -> tuple[str, ...]:
    return amount(row[Y]), amount(row[Y_HAT]), amount(row[SIZE]), decimal(row[WIDTHS], 2)


def _bar(cause: str, days: pl.DataFrame) -> go.Bar:
    return go.Bar(
        x=days[DS].cast(pl.String).to_list(),
        y=days["len"].to_list(),
        name=cause,
        marker={"color": _COLORS[cause]},
        hovertemplate="%{y}",
    )
