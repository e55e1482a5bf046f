"""The tables of the page as rows of ready texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from foretail.report.data import ReportData
from foretail.report.segments import DEMAND, PATTERNS
from foretail.report.wording import (
    METRIC_HEADS,
    amount,
    decimal,
    duration,
    memory,
    metric_cells,
    percent,
    plural,
    signed_percent,
)

__all__ = [
    "TextTable",
    "calibration_table",
    "data_facts",
    "demand_table",
    "failure_table",
    "fallback_table",
    "leaderboard_table",
    "segment_table",
    "stage_table",
    "step_table",
    "window_table",
]

_EXAMPLES = 5


@dataclass(frozen=True)
class TextTable:
    """A table ready to be shown.

    Attributes
    ----------
    heads : column names.
    rows : cells as text, as many as heads.
    n_text : how many leading columns are text (left-aligned); the others are numbers.
    marks : ``{row: word}`` of rows that stand out, e.g. ``{0: "chosen"}``.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text: int = 1
    marks: Mapping[int, str] | None = None

    @property
    def has_rows(self) -> bool:
        return bool(self.rows)


def leaderboard_table(data: ReportData) -> TextTable:
    """Models, best first, with every metric over the outer windows."""
    heads = ("Model", *METRIC_HEADS, "Seconds", "Failures")
    rows = tuple(
        (row.model, *metric_cells(row.scores), decimal(row.seconds, 1), f"{sum(row.failures.values()):,}")
        for row in data.leaderboard.rows
    )
    marks = {i: "baseline" for i, row in enumerate(data.leaderboard.rows) if row.model == "seasonal_naive"}
    marks |= {i: "chosen" for i, row in enumerate(data.leaderboard.rows) if row == data.chosen}
    return TextTable(heads, rows, marks=marks)


def window_table(data: ReportData) -> TextTable:
    """The chosen model and seasonal naive, window by window."""
    chosen, baseline = data.chosen, data.baseline
    first_head, *other_heads = METRIC_HEADS
    heads = ("Forecast from", first_head, "Seasonal naive", *other_heads)
    rows = []
    for cutoff, scores in sorted(chosen.windows.items()):
        naive = baseline.windows.get(cutoff) if baseline else None
        first, *others = metric_cells(scores)
        rows.append((cutoff, first, percent(naive.wape if naive else None), *others))
    return TextTable(heads, tuple(rows))


def step_table(by_step: pl.DataFrame) -> TextTable:
    """Scores by step ahead."""
    rows = [(f"{row['step']}", *_shares(row)) for row in by_step.iter_rows(named=True)]
    return TextTable(("Step", "WAPE", "Bias", "Cov. 80", "Cov. 95"), tuple(rows))


def segment_table(segments: pl.DataFrame, by_segment: pl.DataFrame) -> TextTable:
    """Segments with their size and their scores in the backtest."""
    keys = ["abc", "xyz"]
    sizes = segments.group_by(keys).agg(pl.len().alias("size"), pl.col("share").sum()).sort(keys)
    joined = sizes.join(by_segment, on=keys, how="left", maintain_order="left")
    rows = [
        (
            f"{row['abc']}{row['xyz']} {PATTERNS[row['xyz']]}",
            f"{row['size']:,}",
            percent(row["share"]),
            *_shares(row),
        )
        for row in joined.iter_rows(named=True)
    ]
    heads = ("Segment", "Series", "Of sales", "WAPE", "Bias", "Cov. 80", "Cov. 95")
    return TextTable(heads, tuple(rows))


def demand_table(segments: pl.DataFrame, by_demand: pl.DataFrame) -> TextTable:
    """Patterns of demand with their size and their scores in the backtest, patterns without a series left out."""
    sizes = segments.group_by("demand").agg(pl.len().alias("size"), pl.col("share").sum())
    found = {row["demand"]: row for row in sizes.join(by_demand, on="demand", how="left").iter_rows(named=True)}
    rows = [
        (f"{name}: {words}", f"{found[name]['size']:,}", percent(found[name]["share"]), *_shares(found[name]))
        for name, words in DEMAND.items()
        if name in found
    ]
    return TextTable(("Demand", "Series", "Of sales", "WAPE", "Bias", "Cov. 80", "Cov. 95"), tuple(rows))


def calibration_table(table: pl.DataFrame, noun: str) -> TextTable:
    """Measured coverage (rows: parts of the horizon) of every promised one (columns)."""
    promised = sorted(table["nominal"].unique().to_list())
    rows = []
    for part in table.partition_by("quarter", maintain_order=True):
        measured = dict(zip(part["nominal"], part["measured"], strict=True))
        first, last, n = part["first"][0], part["last"][0], part["n"][0]
        span = f"{noun} {first}" if first == last else f"{noun}s {first}–{last}"
        name = f"all {noun}s" if part["quarter"][0] == 0 else span
        rows.append((name, *(percent(measured.get(nominal)) for nominal in promised), f"{n:,}"))
    return TextTable(("Horizon", *(percent(share, 0) for share in promised), "n"), tuple(rows))


def fallback_table(forecasts: pl.DataFrame) -> TextTable:
    """Rows that a fallback answered, by reason."""
    fallen = forecasts.filter(pl.col("source") != "model")
    reasons = fallen.group_by("source").agg(
        pl.col("unique_id").n_unique().alias("n_series"),
        pl.len().alias("n"),
        pl.col("unique_id").unique(maintain_order=True).head(_EXAMPLES).alias("ids"),
    )
    rows = [
        (row["source"], ", ".join(row["ids"]), f"{row['n_series']:,}", f"{row['n']:,}")
        for row in reasons.sort("n_series", "source", descending=[True, False]).iter_rows(named=True)
    ]
    return TextTable(("Answered by", "For example", "Series", "Rows"), tuple(rows), n_text=2)


def failure_table(data: ReportData) -> TextTable:
    """What failed in the backtest, by model and reason."""
    rows = [
        (row.model, reason, f"{n:,}")
        for row in data.leaderboard.rows
        for reason, n in sorted(row.failures.items(), key=lambda item: (-item[1], item[0]))
    ]
    return TextTable(("Model", "Reason", "Times"), tuple(rows), n_text=2)


def stage_table(summary: Mapping[str, Any]) -> TextTable:
    """Wall time and peak memory of every stage."""
    stages = summary.get("stages") or {}
    rows = [(str(name), duration(stage.get("seconds")), memory(stage.get("peak_mb"))) for name, stage in stages.items()]
    return TextTable(("Stage", "Time", "Peak memory"), tuple(rows))


def data_facts(data: ReportData) -> list[tuple[str, str]]:
    """What the table holds, as (name, value)."""
    quality = data.quality
    cells = quality.n_series * quality.n_periods
    return [
        ("Rows read", f"{quality.n_rows:,}"),
        ("Series", f"{quality.n_series:,}"),
        ("Time", f"{quality.first} to {quality.last} ({plural(quality.n_periods, data.spec.frequency.noun)})"),
        ("Cells with a value", percent(quality.n_observed / cells if cells else None)),
        ("Zeros among them", percent(quality.zero_share)),
        (f"{data.spec.target} in all", amount(quality.total, data.spec.unit)),
    ]


def _shares(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        percent(row["wape"]),
        signed_percent(row["bias"]),
        percent(row["coverage_80"]),
        percent(row["coverage_95"]),
    )
