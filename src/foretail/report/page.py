"""The report of a run as one HTML file: it opens from a disk, fetches nothing and runs no script but its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl

from foretail.report import tables
from foretail.report.accuracy import calibration, score, scored_rows, total_errors
from foretail.report.accuracy_plots import (
    calibration_figure,
    demand_figure,
    importance_figure,
    permuted_figure,
    segment_figure,
    step_figure,
    windows_figure,
)
from foretail.report.anomalies import anomaly_figures, anomaly_tables
from foretail.report.browser import Selection, payload, select_series
from foretail.report.data import ReportData
from foretail.report.data_plots import calendar_figure, observed_figure
from foretail.report.forecast_plots import Lines, lines_figure, total_figure, window_figure
from foretail.report.levels import level_figures, level_tables, level_words
from foretail.report.segments import CLASSES, segments
from foretail.report.standalone import as_json, figures_json, render_page, write_page
from foretail.report.story import write_story
from foretail.report.totals import totals_words
from foretail.report.wording import percent

__all__ = ["render_report", "write_report"]

_SHOWN = 6  # small multiples on each side


def write_report(path: Path, data: ReportData) -> None:
    """Write the report; a file that is there is replaced when the new one is whole.

    Parameters
    ----------
    path : the HTML file; its folder exists.
    data : results of a run.
    """
    write_page(path, render_report(data))


def render_report(data: ReportData) -> str:
    """The report as one HTML document, the same for the same data."""
    return render_page("page", _content(data))


def _content(data: ReportData) -> dict[str, Any]:
    rows = scored_rows(data.backtest, data.panel)
    segment = segments(data.panel)
    by_series, by_step = score(rows, ["unique_id"]), score(rows, ["step"])
    sorted_rows = rows.join(segment.select("unique_id", "abc", "xyz", "demand"), on="unique_id")
    by_segment, by_demand = score(sorted_rows, ["abc", "xyz"]), score(sorted_rows, ["demand"])
    covered = calibration(rows, data.h)
    selection = select_series(data, segment, by_series)
    noun = data.spec.frequency.noun
    figures = {
        "total": total_figure(data.panel, data.forecasts, data.backtest),
        "series": lines_figure(data.panel, Lines(0, [], data.panel.n_periods, [None] * data.h)),
        "calendar": calendar_figure(data.panel),
        "observed": observed_figure(data.panel),
        **_accuracy_figures(data, by_step, by_segment, covered, noun),
        **({"demand": demand_figure(by_demand)} if by_demand["wape"].is_not_null().any() else {}),
        **_small_figures(data, selection),
        **anomaly_figures(data.anomalies),
        **level_figures(data.summary),
    }
    return {
        "data": data,
        "noun": noun,
        "story": write_story(data, rows.filter(~pl.col("closed")).height),
        "has": frozenset(figures),
        "total_note": _total_note(rows, figures["total"]),
        "selection": selection,
        "small": _small_titles(selection, by_series),
        "classes": CLASSES,
        "facts": tables.data_facts(data),
        "tables": {
            "leaderboard": tables.leaderboard_table(data),
            "windows": tables.window_table(data),
            "steps": tables.step_table(by_step),
            "segments": tables.segment_table(segment, by_segment),
            "demand": tables.demand_table(segment, by_demand),
            "calibration": tables.calibration_table(covered, noun),
            "fallbacks": tables.fallback_table(data.forecasts),
            "failures": tables.failure_table(data),
            "stages": tables.stage_table(data.summary),
            **anomaly_tables(data.anomalies),
            **level_tables(data.summary),
        },
        "level_words": level_words(data.summary),
        "totals_words": totals_words(data.summary),
        "provenance": _provenance(data),
        "versions": {str(name): str(text) for name, text in (data.summary.get("versions") or {}).items()},
        "command": _command(data),
        "figures_json": figures_json(figures),
        "browser_json": as_json(json.dumps(payload(data, selection, segment, by_series), separators=(",", ":"))),
    }


def _accuracy_figures(
    data: ReportData, by_step: pl.DataFrame, by_segment: pl.DataFrame, covered: pl.DataFrame, noun: str
) -> dict[str, go.Figure]:
    """The plots that need something to be measured, or to be said, left out where there is nothing."""
    drawn: dict[str, go.Figure] = {}
    if any(row.windows for row in data.leaderboard.rows):
        drawn["windows"] = windows_figure(data.leaderboard)
    if by_step["wape"].is_not_null().any():
        drawn["steps"] = step_figure(by_step, noun)
    if by_segment["wape"].is_not_null().any():
        drawn["segments"] = segment_figure(by_segment)
    if covered.height:
        drawn["calibration"] = calibration_figure(covered, noun)
    if data.permuted:
        drawn["permuted"] = permuted_figure(data.permuted)
    if data.importance:
        drawn["importance"] = importance_figure(data.importance)
    return drawn


def _small_figures(data: ReportData, selection: Selection) -> dict[str, go.Figure]:
    shown = {"worst": selection.worst[:_SHOWN], "best": selection.best[:_SHOWN]}
    wanted = data.backtest.filter(pl.col("unique_id").is_in([*shown["worst"], *shown["best"]]))
    return {
        f"{side}-{number}": window_figure(data.panel, wanted.filter(pl.col("unique_id") == name))
        for side, names in shown.items()
        for number, name in enumerate(names)
    }


def _small_titles(selection: Selection, by_series: pl.DataFrame) -> dict[str, list[tuple[str, str, str]]]:
    """Per side: (figure, series, WAPE)."""
    wape = dict(zip(by_series["unique_id"], by_series["wape"], strict=True))
    return {
        side: [(f"{side}-{n}", name, percent(wape[name])) for n, name in enumerate(names[:_SHOWN])]
        for side, names in (("worst", selection.worst), ("best", selection.best))
    }


def _total_note(rows: pl.DataFrame, total: go.Figure) -> str:
    """How the ranges of the total came about, or why there are none."""
    errors = total_errors(rows)
    n_windows = errors["cutoff"].n_unique()
    if not any(trace.fill == "toself" and len(trace.x) for trace in total.data):
        return "No range is drawn for the total: the backtest is too short to measure one."
    return (
        f"Ranges of the total come from its own errors in {n_windows} backtest windows ({errors.height:,} points, all "
        "steps pooled): the forecast times the quantiles of observed / forecast. They are not sums of the series' "
        "ranges."
    )


def _provenance(data: ReportData) -> list[tuple[str, str]]:
    summary = data.summary
    facts = [
        ("Dataset", data.spec.name),
        ("Dataset version", summary.get("dataset_version") or data.panel.dataset_version),
        ("Last date seen (cutoff)", data.panel.cutoff.isoformat()),
        ("Model", data.chosen.model),
        ("Model version", summary.get("model_version")),
        ("Seed", summary.get("seed")),
    ]
    return [(name, "–" if value in (None, "") else str(value)) for name, value in facts]


def _command(data: ReportData) -> str:
    given = data.summary.get("command")
    if given:
        return str(given)
    seed = data.summary.get("seed")
    seeded = "" if seed is None else f" --seed {seed}"
    return f"foretail run TABLE --spec spec.toml --cutoff {data.panel.cutoff.isoformat()}{seeded}"
