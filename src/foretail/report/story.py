"""The answer in plain words: what was forecast, how good it is, which model made it and how far to trust it."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.report.data import ReportData
from foretail.report.wording import amount, long_date, percent, plural, signed_percent

__all__ = ["Fact", "Story", "trust", "write_story"]

_CLOSE = 0.04  # points of coverage within which a range keeps its promise
_YOUNG = 0.05  # share of series that had not begun a year ago, above which a total is not compared with that year
_FEW = 100  # outcomes below which a measured coverage says little


@dataclass(frozen=True)
class Fact:
    """One number at the top of the page: what it is, its value, and what it means."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Story:
    """Sentences and numbers for the first screen.

    Attributes
    ----------
    lead : what was forecast, one sentence.
    answers : (question, answer) in the order a planner asks.
    facts : four numbers.
    """

    lead: str
    answers: tuple[tuple[str, str], ...]
    facts: tuple[Fact, ...]


def write_story(data: ReportData, n_scored: int) -> Story:
    """Tell a run.

    Parameters
    ----------
    n_scored : backtest rows behind the scores.
    """
    total, change = _total(data)
    scores = data.chosen.scores
    facts = (
        Fact("Forecast in all", amount(total, data.spec.unit), _change_note(change)),
        Fact("Typical miss", percent(scores.wape), "of sales, in the backtest (WAPE)"),
        Fact("Against seasonal naive", signed_percent(_change_of_error(data)), "error; below zero is better"),
        Fact("80 % range held", percent(scores.coverage_80, 0), "of what then happened"),
    )
    answers = (
        ("How good is it?", _how_good(data)),
        ("Which model?", _which_model(data)),
        ("How far can I trust it?", trust(scores.coverage_80, scores.coverage_95, n_scored)),
    )
    return Story(_lead(data, total), answers, facts)


def trust(coverage_80: float, coverage_95: float, n: int) -> str:
    """What measured coverage means for a planner.

    Parameters
    ----------
    coverage_80, coverage_95 : shares 0-1; NaN when there are no such ranges.
    n : outcomes they were measured on.
    """
    if math.isnan(coverage_80):
        return "There are no measured 80 % ranges for this model: treat the numbers as point forecasts."
    gap = coverage_80 - 0.8
    if abs(gap) <= _CLOSE:
        verdict = "about as often as promised: plan with the ranges as they are."
    elif gap < 0:
        verdict = "less often than promised: keep more margin than the ranges show."
    else:
        verdict = "more often than promised: the ranges are on the cautious side."
    held = f"The 80 % range held the truth in {percent(coverage_80, 0)} of cases"
    wide = "" if math.isnan(coverage_95) else f", the 95 % range in {percent(coverage_95, 0)}"
    few = f" Only {plural(n, 'outcome')} stand behind this, so read it as a hint." if n < _FEW else ""
    return f"{held}{wide}; {verdict}{few}"


def _lead(data: ReportData, total: float | None) -> str:
    n_series = data.forecasts["unique_id"].n_unique()
    if not n_series:
        return "Nothing was asked for, so nothing was forecast."
    first, last = data.forecasts["ds"].min(), data.forecasts["ds"].max()
    assert isinstance(first, dt.date) and isinstance(last, dt.date)  # noqa: S101  (ds is a date column)
    span = long_date(first) if first == last else f"{long_date(first)} to {long_date(last)}"
    what = f"of {data.spec.target}" if data.spec.unit else data.spec.target
    return (
        f"{plural(data.h, data.spec.frequency.noun)} ahead for {plural(n_series, 'series')}, {span}: "
        f"{amount(total, data.spec.unit)} {what} expected in all."
    )


def _how_good(data: ReportData) -> str:
    windows = [window for window in data.leaderboard.windows if window.role == "outer"]
    chosen, baseline = data.chosen, data.baseline
    if math.isnan(chosen.scores.wape):
        return "The backtest had no sales to measure the error on."
    tested = f"Tested on {plural(len(windows), 'past period')} that the model had not seen, " if windows else ""
    miss = f"the forecasts missed by {percent(chosen.scores.wape)} of sales"
    bias = _bias(chosen.scores.bias)
    if baseline is None or baseline.model == chosen.model or math.isnan(baseline.scores.wape):
        return _capital(f"{tested}{miss}{bias}.")
    naive = f"repeating the last season misses by {percent(baseline.scores.wape)}"
    return _capital(f"{tested}{miss}, where {naive}{bias}.")


def _bias(bias: float) -> str:
    if math.isnan(bias):
        return ""
    if abs(bias) < 0.005:
        return "; they lean neither high nor low"
    return f"; on the whole they ran {percent(abs(bias))} too {'high' if bias > 0 else 'low'}"


def _which_model(data: ReportData) -> str:
    verdict = str(data.summary.get("verdict") or "").strip()
    if verdict:
        return verdict
    chosen = data.chosen
    if data.baseline is not None and chosen.model == data.baseline.model:
        return "Seasonal naive: nothing that was tried beat repeating the last season."
    return f"{chosen.model}, the best of {plural(len(data.leaderboard.rows), 'model')} where the choice was made."


def _total(data: ReportData) -> tuple[float | None, float | None]:
    """Sum of the forecasts, and its change on the same periods a year before, if nearly all series were there."""
    frame = data.forecasts
    if frame.is_empty():
        return None, None
    total = float(frame["y_hat"].sum())
    panel = data.panel
    dates = frame["ds"].unique().to_numpy()
    columns = panel.frequency.to_index(dates) - panel.start - panel.frequency.year_length
    rows = _rows(data, frame)
    if columns.min() < 0 or columns.max() >= panel.n_periods or (panel.first[rows] > columns.min()).mean() > _YOUNG:
        return total, None
    before = float(np.nansum(panel.y[rows][:, columns]))
    return total, total / before - 1 if before > 0 else None


def _rows(data: ReportData, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    rows: npt.NDArray[np.bool_]
    rows = data.panel.series["unique_id"].is_in(frame["unique_id"].unique().implode()).to_numpy()
    return rows


def _change_note(change: float | None) -> str:
    return "over the whole horizon" if change is None else f"{signed_percent(change)} on the same time last year"


def _change_of_error(data: ReportData) -> float | None:
    baseline = data.baseline
    if baseline is None or not baseline.scores.wape > 0:
        return None
    return data.chosen.scores.wape / baseline.scores.wape - 1


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
