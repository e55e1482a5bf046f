"""The part of the report on levels: how far each level was off by itself, by sums, and reconciled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from foretail.report.tables import TextTable
from foretail.report.theme import BACKTEST, BASELINE, FORECAST, figure, label
from foretail.report.wording import percent

__all__ = ["METHOD_NAMES", "level_figures", "level_tables", "level_words"]

METHOD_NAMES = {
    "bottom_up": "sums of the series",
    "top_down": "the total shared out",
    "wls": "least squares weighted by error (WLS)",
    "shrink": "least squares by shrunk covariance (MinTrace)",
}
_OWN, _SUMS = "own", "bottom_up"


def level_tables(summary: Mapping[str, Any]) -> dict[str, TextTable]:
    """WAPE per level of the level's own forecasts, of sums of the series, and as used.

    Parameters
    ----------
    summary : of a run; its ``hierarchy`` is None or missing without levels.
    """
    told = summary.get("hierarchy")
    if not told:
        return {"levels": TextTable((), ())}
    rows = [
        (
            str(row["level"]),
            str(told["families"].get(row["level"], "–")),
            f"{row['n']:,}",
            percent(row[_OWN]),
            percent(row[_SUMS]),
            percent(row[told["method"]]),
        )
        for row in told["accuracy"]
    ]
    heads = ("Level", "Own model", "Groups", "By itself", "Sums of series", "As used")
    return {"levels": TextTable(heads, tuple(rows), n_text=2)}


def level_figures(summary: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Bars of the same errors, level by level; none without levels."""
    told = summary.get("hierarchy")
    if not told:
        return {}
    ways = {_OWN: ("By itself", BASELINE), _SUMS: ("Sums of series", BACKTEST), told["method"]: ("As used", FORECAST)}
    names = [label(str(row["level"])) for row in told["accuracy"]]
    bars = [
        go.Bar(
            x=names,
            y=[row[way] for row in told["accuracy"]],
            name=name,
            marker={"color": colour},
            hovertemplate="%{y:.1%}",
        )
        for way, (name, colour) in ways.items()
    ]
    return {"levels": figure(bars, height=300, y_title="WAPE", yaxis_tickformat=".0%", xaxis_type="category")}


def level_words(summary: Mapping[str, Any]) -> str:
    """What was done with the forecasts of the levels, one sentence; "" without levels."""
    told = summary.get("hierarchy")
    if not told:
        return ""
    if told["method"] == _SUMS:
        return "Levels are sums of the series' forecasts: no way of heeding the levels' own models helped enough."
    return f"Series and levels were made to agree by {METHOD_NAMES[told['method']]}, which the backtest chose."
