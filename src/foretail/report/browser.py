"""The series that a reader can leaf through: which ones are embedded in the page, and their numbers in compact form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from foretail.report.data import ReportData
from foretail.report.forecast_plots import Lines, series_lines
from foretail.report.theme import date_texts
from foretail.report.wording import amount, percent

__all__ = ["Selection", "payload", "select_series"]

_ALL = 150  # panels up to this size are embedded whole
_LARGEST, _RANKED, _COLD = 60, 12, 8
_LONGEST = 1100  # periods of history embedded per series
_NO_SCORE = {"wape": None, "coverage_80": None}


@dataclass(frozen=True)
class Selection:
    """Series to show.

    Attributes
    ----------
    largest : by sales of the last year, largest first.
    worst, best : by WAPE in the backtest, among the series that make 95 % of sales (all, where those are too few).
    cold : series that were asked for but have no history.
    n_all : series there are.
    """

    largest: tuple[str, ...]
    worst: tuple[str, ...]
    best: tuple[str, ...]
    cold: tuple[str, ...]
    n_all: int

    @property
    def ids(self) -> tuple[str, ...]:
        """Every selected series once, in the order of the lists."""
        return tuple(dict.fromkeys((*self.largest, *self.worst, *self.best, *self.cold)))


def select_series(data: ReportData, segments: pl.DataFrame, by_series: pl.DataFrame) -> Selection:
    """Choose the series of the page.

    Parameters
    ----------
    segments : from `foretail.report.segments`.
    by_series : `score` of the backtest by ``unique_id``.
    """
    ordered = segments.sort("volume", "unique_id", descending=[True, False])["unique_id"].to_list()
    scored = by_series.filter(pl.col("wape").is_not_null()).join(segments, on="unique_id")
    main = scored.filter(pl.col("abc") != "C")
    ranked = (main if main.height >= 2 * _RANKED else scored).sort("wape", "unique_id")["unique_id"].to_list()
    half = min(_RANKED, len(ranked) // 2)
    known = segments["unique_id"].implode()
    cold = data.forecasts.filter(~pl.col("unique_id").is_in(known))["unique_id"].unique(maintain_order=True)
    return Selection(
        largest=tuple(ordered if len(ordered) <= _ALL else ordered[:_LARGEST]),
        worst=tuple(reversed(ranked[len(ranked) - half :])),
        best=tuple(ranked[:half]),
        cold=tuple(cold.to_list()[:_COLD]),
        n_all=len(ordered) + len(cold),
    )


def payload(data: ReportData, selection: Selection, segments: pl.DataFrame, by_series: pl.DataFrame) -> dict[str, Any]:
    """The numbers of the selected series, as the page's script reads them.

    Returns
    -------
    ``dates`` (one axis for all), ``groups`` ([title, indices into series]) and ``series`` (id, facts, offsets, values).
    """
    ids = selection.ids
    forecasts, backtest = _by_series(data.forecasts, ids), _by_series(data.backtest, ids)
    nothing = data.forecasts.clear(), data.backtest.clear()
    lines = [
        series_lines(data.panel, name, forecasts.get(name, nothing[0]), backtest.get(name, nothing[1])) for name in ids
    ]
    start = max(0, data.panel.n_periods - _LONGEST)
    end = max((line.ahead + len(line.y_hat) for line in lines), default=0)
    facts = _facts(data, segments, by_series, forecasts)
    place = {name: number for number, name in enumerate(ids)}
    titles = ("Largest", "Least accurate in the backtest", "Most accurate in the backtest", "Without history")
    lists = (selection.largest, selection.worst, selection.best, selection.cold)
    return {
        "dates": date_texts(data.panel.dates(start, max(end, data.panel.n_periods) - start)),
        "groups": [
            [title, [place[name] for name in names]] for title, names in zip(titles, lists, strict=True) if names
        ],
        "series": [
            {"id": name, "facts": facts(name), **_numbers(line, start)} for name, line in zip(ids, lines, strict=True)
        ],
    }


def _numbers(lines: Lines, start: int) -> dict[str, Any]:
    hidden = max(0, start - lines.first)
    return {
        "first": max(lines.first - start, 0),
        "y": lines.y[hidden:],
        "ahead": lines.ahead - start,
        "f": lines.y_hat,
        "bands": [lines.bands.get(percent, ([], [])) for percent in (95, 80)],
        "tested": [(first - start, values) for first, values in lines.backtest if first >= start],
    }


def _facts(
    data: ReportData, segments: pl.DataFrame, by_series: pl.DataFrame, forecasts: dict[str, pl.DataFrame]
) -> Any:
    kind = {row["unique_id"]: row for row in segments.iter_rows(named=True)}
    scores = {row["unique_id"]: row for row in by_series.iter_rows(named=True)}

    def facts(name: str) -> list[tuple[str, str]]:
        segment, score = kind.get(name), scores.get(name, _NO_SCORE)
        ahead = forecasts.get(name)
        source = "" if ahead is None else ", ".join(ahead["source"].unique().sort().to_list())
        return [
            ("Forecast in all", amount(None if ahead is None else float(ahead["y_hat"].sum()), data.spec.unit)),
            ("Share of sales", percent(segment["share"] if segment else None)),
            ("Segment", f"{segment['abc']}{segment['xyz']}, {segment['demand']}" if segment else "new"),
            ("WAPE in the backtest", percent(score["wape"])),
            ("80 % range held", percent(score["coverage_80"], 0)),
            ("Answered by", source or "not asked for"),
        ]

    return facts


def _by_series(frame: pl.DataFrame, ids: Sequence[str]) -> dict[str, pl.DataFrame]:
    mine = frame.filter(pl.col("unique_id").is_in(ids))
    parts = mine.partition_by("unique_id", as_dict=True, maintain_order=True)
    return {str(key[0]): part for key, part in parts.items()}
