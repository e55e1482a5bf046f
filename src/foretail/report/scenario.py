"""A scenario as one HTML page: before and after, all touched series together and each alone, and what to beware of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import polars as pl

from foretail.core.columns import DS, UNIQUE_ID, Y_HAT
from foretail.forecasts.difference import Difference
from foretail.panel.panel import Panel
from foretail.report.forecast_plots import recent_periods
from foretail.report.standalone import as_json, figures_json, render_page, write_page
from foretail.report.theme import BACKTEST, BASELINE, FORECAST, INK, date_texts, figure, label, rounded, vertical_line
from foretail.report.wording import amount, plural, signed_percent

__all__ = ["ScenarioData", "render_scenario", "write_scenario"]

Numbers = list[float | None]
FloatArray = npt.NDArray[np.float64]

_MOST_SERIES = 200  # embedded in the page, those that move most
_LOW, _HIGH = 0.1, 0.9


@dataclass(frozen=True)
class ScenarioData:
    """Everything the page shows.

    Attributes
    ----------
    panel : the history; ends at the cutoff.
    frame : rows of the touched series: ``unique_id, ds, step, y_hat_base, y_hat, difference``, quantiles of the
        difference. difference : its intervals, of the same series in the order of their first rows.
    summary : totals, the way of the interval, the model version and the warnings, as ``--json`` prints them.
    """

    panel: Panel
    frame: pl.DataFrame
    difference: Difference
    summary: Mapping[str, Any]


def write_scenario(path: Path, data: ScenarioData) -> None:
    """Write the page; a file that is there is replaced when the new one is whole."""
    write_page(path, render_scenario(data))


def render_scenario(data: ScenarioData) -> str:
    """The page as one HTML document, the same for the same data."""
    spec, summary = data.panel.spec, data.summary
    figures = {
        "total": _lines_figure(data, *_total_lines(data)),
        "difference": _difference_figure(data, *_total_difference(data)),
        "series": _lines_figure(data, [], [], [], [], []),
        "series-difference": _difference_figure(data, [], [], [], []),
    }
    shown = _shown(data)
    content = {
        "title": f"{spec.name}: what if",
        "spec": spec,
        "lead": _lead(data),
        "facts": _facts(data),
        "warnings": list(summary["warnings"]),
        "interval": summary["interval"],
        "n_shown": len(shown),
        "n_all": summary["n_series"],
        "provenance": [
            ("Scenario", str(summary["scenario"])),
            ("Model version", str(summary["model_version"])),
            ("Last date seen (cutoff)", data.panel.cutoff.isoformat()),
        ],
        "figures_json": figures_json(figures),
        "series_json": as_json(json.dumps(_payload(data, shown), separators=(",", ":"))),
    }
    return render_page("scenario", content)


# words


def _lead(data: ScenarioData) -> str:
    summary, unit = data.summary, data.panel.spec.unit
    if not summary["n_rows"]:
        return "The scenario touches nothing that was asked for."
    more = summary["difference"]
    word = "more" if more >= 0 else "less"
    base = summary["y_hat_base"]
    share = f" ({signed_percent(more / base)})" if base > 0 else ""
    return (
        f"Under the scenario {plural(summary['n_series'], 'series')} would sell {amount(abs(more), unit)} {word} over "
        f"{plural(data.panel.spec.horizon, data.panel.frequency.noun)}{share}."
    )


def _facts(data: ScenarioData) -> list[tuple[str, str, str]]:
    summary, unit = data.summary, data.panel.spec.unit
    low, high = (summary.get(f"difference_{name}") for name in ("q10", "q90"))
    told = "no range" if low is None else f"80 % range {amount(low)} to {amount(high)}"
    return [
        ("As planned", amount(summary["y_hat_base"], unit), "forecast of what is known"),
        ("In the scenario", amount(summary["y_hat"], unit), "the same series and dates"),
        ("Difference", amount(summary["difference"], unit), told),
        ("Series", f"{summary['n_series']:,}", "named by the scenario, or moved by it"),
    ]


# numbers


def _total_lines(data: ScenarioData) -> tuple[list[str], Numbers, list[str], Numbers, Numbers]:
    """History, and the sums of both forecasts by date."""
    rows = data.panel.series[UNIQUE_ID].is_in(data.frame[UNIQUE_ID].unique().implode()).to_numpy()
    y = data.panel.y[rows]
    observed = np.isfinite(y).any(axis=0)
    total = np.where(observed, np.nansum(y, axis=0), np.nan)
    sums = data.frame.group_by(DS).agg(pl.col("y_hat_base", Y_HAT).sum()).sort(DS)
    ahead = date_texts(sums[DS].to_numpy())
    return (
        date_texts(data.panel.dates()),
        rounded(total),
        ahead,
        rounded(sums["y_hat_base"].to_numpy()),
        rounded(sums[Y_HAT].to_numpy()),
    )


def _total_difference(data: ScenarioData) -> tuple[list[str], Numbers, Numbers, Numbers]:
    sums = data.frame.group_by(DS).agg(pl.col("difference").sum(), pl.col("step").first()).sort(DS)
    low, high = _bounds(data.difference, data.difference.steps[sums["step"].to_numpy() - 1])
    return date_texts(sums[DS].to_numpy()), rounded(sums["difference"].to_numpy()), rounded(low), rounded(high)


def _bounds(difference: Difference, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The ends of the 80 % range; NaN where the version has no such levels."""
    nothing = np.full(values.shape[:-1], np.nan)
    if not {_LOW, _HIGH} <= set(difference.levels):
        return nothing, nothing
    return values[..., difference.levels.index(_LOW)], values[..., difference.levels.index(_HIGH)]


def _shown(data: ScenarioData) -> list[str]:
    """The series of the page, the one that moves most first."""
    moved = data.frame.group_by(UNIQUE_ID).agg(pl.col("difference").abs().sum().alias("size"))
    return moved.sort("size", UNIQUE_ID, descending=[True, False]).head(_MOST_SERIES)[UNIQUE_ID].to_list()


def _payload(data: ScenarioData, shown: Sequence[str]) -> list[dict[str, Any]]:
    """Per series its history and both forecasts, as the script of the page reads them."""
    parts = data.frame.filter(pl.col(UNIQUE_ID).is_in(shown)).partition_by(UNIQUE_ID, as_dict=True)
    row_of = {name: row for row, name in enumerate(data.panel.unique_ids)}
    first = max(0, data.panel.n_periods - 2 * data.panel.frequency.year_length)
    return [_of_series(data, name, parts[(name,)].sort(DS), row_of.get(name), first) for name in shown]


def _of_series(data: ScenarioData, name: str, rows: pl.DataFrame, row: int | None, first: int) -> dict[str, Any]:
    start = data.panel.n_periods if row is None else max(first, int(data.panel.first[row]))
    y = np.empty(0) if row is None else data.panel.y[row, start:]
    low, high = (
        rounded(rows[column].to_numpy()) if column in rows.columns else []
        for column in ("difference_q10", "difference_q90")
    )
    unit = data.panel.spec.unit
    return {
        "id": name,
        "past": date_texts(data.panel.dates(start, len(y))),
        "y": rounded(y),
        "ahead": date_texts(rows[DS].to_numpy()),
        "base": rounded(rows["y_hat_base"].to_numpy()),
        "other": rounded(rows[Y_HAT].to_numpy()),
        "difference": rounded(rows["difference"].to_numpy()),
        "low": low,
        "high": high,
        "facts": [
            ("As planned", amount(float(rows["y_hat_base"].sum()), unit)),
            ("In the scenario", amount(float(rows[Y_HAT].sum()), unit)),
            ("Difference", amount(float(rows["difference"].sum()), unit)),
            ("Answered by", ", ".join(rows["source"].unique().sort().to_list())),
        ],
    }


# pictures


def _lines_figure(
    data: ScenarioData, past: list[str], y: Numbers, ahead: list[str], base: Numbers, other: Numbers
) -> go.Figure:
    """History, the forecast as planned and in the scenario: three traces in this order."""
    panel = data.panel
    mode = "lines+markers" if panel.spec.horizon < 2 else "lines"
    traces = [
        _line("History", past, y, INK, 1.5, "solid"),
        _line("As planned", ahead, base, BASELINE, 2.0, "dash", mode),
        _line("In the scenario", ahead, other, FORECAST, 2.4, "solid", mode),
    ]
    cutoff = date_texts(panel.dates(panel.n_periods - 1, 1))[0]
    opening = max(panel.n_periods - recent_periods(panel.frequency, panel.spec.horizon), 0)
    span = [date_texts(panel.dates(opening, 1))[0], date_texts(panel.future_dates(panel.spec.horizon))[-1]]
    return figure(
        traces,
        height=380,
        y_title=label(panel.spec.unit or panel.spec.target),
        hovermode="x unified",
        yaxis_rangemode="tozero",
        xaxis_type="date",
        xaxis_range=span,
        **vertical_line(cutoff, "cutoff"),
    )


def _line(name: str, x: list[str], y: Numbers, color: str, width: float, dash: str, mode: str = "lines") -> go.Scatter:
    style = {"color": color, "width": width, "dash": dash}
    return go.Scatter(x=x, y=y, name=name, mode=mode, line=style, hovertemplate="%{y:,.5~g}")


def _difference_figure(data: ScenarioData, ahead: list[str], more: Numbers, low: Numbers, high: Numbers) -> go.Figure:
    """Bars of what the scenario adds by date, and the ends of its 80 % range as whiskers of the bars."""
    bars = go.Bar(
        x=ahead,
        y=more,
        name="Difference",
        marker={"color": BACKTEST},
        error_y=_whiskers(more, low, high),
        hovertemplate="%{y:,.4~g}",
    )
    title = label(data.panel.spec.unit or data.panel.spec.target)
    return figure([bars], height=260, y_title=title, xaxis_type="date", hovermode="x unified", bargap=0.25)


def _whiskers(more: Numbers, low: Numbers, high: Numbers) -> dict[str, Any]:
    ends = [
        (b - m, m - a) if a is not None and b is not None and m is not None else (0.0, 0.0)
        for m, a, b in zip(more, low, high, strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [up for up, _ in ends],
        "arrayminus": [down for _, down in ends],
        "color": INK,
        "thickness": 1.2,
        "width": 3,
    }
