"""The backtest: an ensemble and a choice from the inner windows, figures and the gate from the outer ones."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.metrics import Evaluation, pooled_wape, scales, score
from foretail.backtest.permuted import AS_IT_IS, importance_of, sampled_rows
from foretail.backtest.result import NAIVE, Leaderboard, LeaderboardRow, Scores, Window
from foretail.backtest.runner import OUT_OF_TIME, Candidate, FamilyResult, run_families
from foretail.backtest.select import NEAR_BEST, Selection, blend, select
from foretail.backtest.windows import rolling_windows, whole_year
from foretail.core.columns import CUTOFF, DS, STEP, UNIQUE_ID, Y_HAT, Y
from foretail.core.errors import ForecastError
from foretail.core.progress import Progress, Silent
from foretail.core.quantiles import quantile_column
from foretail.features.demand import as_demanded
from foretail.models.families import FAMILIES, parse
from foretail.models.intervals import Conformal, HeldBack, Size, error_half_life
from foretail.models.mixture import Mixture
from foretail.panel.panel import Panel
from foretail.panel.segments import segments

__all__ = ["ENSEMBLE", "NAIVE", "Backtest", "Candidate", "WindowResult", "backtest", "errors_of"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ENSEMBLE = "ensemble"
_BUDGET_SHARE = 0.6  # of the time budget, for the backtest; the rest is for the final fit
_INTERVAL_LEVELS = (0.025, 0.1, 0.9, 0.975)
_PRIOR_CELLS = 250  # scored periods that a prior counts for: those of a few series in a few windows tell little
_LEAST_PRIOR = 0.05  # part of a prior below which it is left out
_UNLIKE_NOW = 0.25  # weight of errors made before a whole year was known, when one is known now
_UNSCORED = Scores(*[float("nan")] * len(fields(Scores)))  # of a family that was left out or failed


@dataclass(frozen=True)
class WindowResult:
    """What happened in one window.

    Attributes
    ----------
    window : its origin and role. y : ``[N, h]`` actuals; NaN where nobody can be scored. closed : ``[N, h]``.
    forecasts : point forecasts ``[N, h]`` per model, closed days 0. size, scale, squared_scale : known at the cutoff.
    widths : ``[N, h]`` from 10 % to 90 % per model that has intervals of its own.
    """

    window: Window
    y: FloatArray
    closed: BoolArray
    forecasts: dict[str, FloatArray]
    size: Size
    scale: FloatArray
    squared_scale: FloatArray
    widths: dict[str, FloatArray] = field(default_factory=dict)

    def held_back(self, model: str, known: int, year: int) -> HeldBack:
        """Its errors as they were known when the panel had ``known`` columns; ``year`` is what shows a whole year."""
        y = self.y.copy()
        origin = self.window.n_periods
        y[:, max(0, known - origin) :] = np.nan
        weight = 1.0 if origin >= year or known < year else _UNLIKE_NOW
        return HeldBack(
            y,
            self.forecasts[model],
            self.closed,
            self.size,
            age=known - origin,
            history=origin / known,
            weight=weight,
            width=self.widths.get(model),
        )


@dataclass(frozen=True)
class Backtest:
    """The outcome.

    Attributes
    ----------
    leaderboard : figures of the outer windows. chosen : the model to use. weights : ``{family: share}`` of it.
    measured : the shares that the leaderboard measured, fitted on the inner windows alone.
    mixture : how its members are mixed, when it is the ensemble; weighted on every window.
    intervals : calibrated on every window, for forecasts from the end of the panel.
    frame : the chosen model's forecasts on the outer windows: ``unique_id, ds, cutoff, step, y, y_hat, q…``.
    results : every window, oldest first. levels : quantile levels.
    permuted : by family, its forecasts of the newest window with each column shuffled.
    """

    leaderboard: Leaderboard
    chosen: str
    weights: dict[str, float]
    measured: dict[str, float]
    intervals: Conformal
    frame: pl.DataFrame
    results: tuple[WindowResult, ...]
    levels: tuple[float, ...]
    mixture: Mixture | None = None
    permuted: Mapping[str, Mapping[str, FloatArray]] = field(default_factory=dict)

    def importance(self, panel: Panel) -> tuple[tuple[str, float], ...]:
        """By how much WAPE of the chosen model rises in the newest window when a column is shuffled, largest first.

        Parameters
        ----------
        panel : that of the backtest.
        """
        newest = self.results[-1]
        rows = sampled_rows(np.asarray(panel.as_of(newest.window.n_periods, 0).observed.any(1)))
        y = np.where(newest.closed, np.nan, newest.y)[rows]
        members = tuple(self.weights)
        found = {name: self.permuted.get(name) or {AS_IT_IS: newest.forecasts[name][rows]} for name in members}
        cut = {name: {what: y_hat[:, : y.shape[1]] for what, y_hat in item.items()} for name, item in found.items()}
        mixture = self.mixture
        if mixture is None:
            return importance_of(y, cut, lambda every: every[members[0]])
        groups = mixture.groups([panel.unique_ids[row] for row in rows.tolist()])
        return importance_of(y, cut, lambda every: mixture.mixed(every, groups))

    @property
    def params(self) -> dict[str, Any]:
        """What the chosen model has to be made with, beside what every family takes."""
        return {"mixture": self.mixture} if self.chosen == ENSEMBLE else {}

    def alone(self, model: str, panel: Panel, h: int) -> Backtest:
        """The same backtest with another model as the chosen one, whatever it was worth: the gate decides on that.

        Raises
        ------
        ForecastError : the model failed.
        """
        if model not in self.results[0].forecasts or not np.isfinite(self.leaderboard.row(model).scores.wape):
            failures = ", ".join(self.leaderboard.row(model).failures)
            raise ForecastError(f"{model} failed.\n  where: the backtest: {failures}\n  fix:   another family")
        rows = tuple(replace(row, chosen=row.model == model) for row in self.leaderboard.rows)
        frame = self.frame if model == self.chosen else self.frame.clear()
        return replace(
            self,
            leaderboard=replace(self.leaderboard, rows=rows),
            chosen=model,
            weights={model: 1.0},
            measured={model: 1.0},
            intervals=_intervals(panel, h, self.results, model, self.levels),
            frame=frame,
            mixture=None,
        )

    def wape_of(self, weights: Mapping[str, float]) -> dict[str, float]:
        """WAPE per outer window of any mix of the families that took part, keyed like the gate's windows."""
        return {
            f"{result.window.cutoff}+{result.window.h}": pooled_wape([result.y], [blend(result.forecasts, weights)])
            for result in _of_role(self.results, "outer")
        }


def backtest(
    panel: Panel,
    h: int,
    candidates: Sequence[Candidate],
    *,
    levels: Sequence[float],
    seed: int = 7,
    n_workers: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Run every candidate over the rolling windows of a panel and choose.

    Parameters
    ----------
    panel : the history. h : steps wanted. candidates : seasonal naive is added when missing.
    levels : quantile levels; those of the 80 % and 95 % intervals are added for the scores.
    n_workers : processes. budget_s : seconds the whole run may take; a family that would not end in time is left out,
        and says so.

    Raises
    ------
    DataError : too little history. ForecastError : every family failed.
    """
    windows = rolling_windows(panel, h)
    asked = [item.family for item in candidates]
    if NAIVE not in {item.family for item in candidates}:
        candidates = [Candidate(NAIVE), *candidates]
    deadline = None if budget_s is None else time.monotonic() + _BUDGET_SHARE * budget_s
    with (progress or Silent()).stage("backtest", len(windows) * len(candidates)) as stage:
        families = run_families(
            panel, h, candidates, windows, seed=seed, n_workers=n_workers, deadline=deadline, advance=stage.advance
        )
    results = tuple(_window_result(panel, h, position, window, families) for position, window in enumerate(windows))
    if all(families[name].is_out and OUT_OF_TIME not in families[name].failures for name in asked):
        raise _all_failed({name: families[name] for name in asked})
    return _conclude(panel, h, results, families, tuple(sorted({*levels, *_INTERVAL_LEVELS})))


def _all_failed(families: Mapping[str, FamilyResult]) -> ForecastError:
    reasons = "\n".join(f"    {name}: {', '.join(result.failures)}" for name, result in families.items())
    return ForecastError(f"every family failed.\n  where:\n{reasons}\n  fix:   --models seasonal_naive, or see above")


def _window_result(
    panel: Panel, h: int, position: int, window: Window, families: Mapping[str, FamilyResult]
) -> WindowResult:
    past = as_demanded(panel.as_of(window.n_periods, h))
    columns = slice(window.n_periods, window.n_periods + window.h)
    closed = panel.closed[:, columns]
    forecasts = {name: np.where(closed, 0.0, result.forecasts[position]) for name, result in families.items()}
    y = panel.y[:, columns].copy()
    y[~past.observed.any(1)] = np.nan
    widths = {name: result.widths[position] for name, result in families.items() if position in result.widths}
    return WindowResult(window, y, closed, forecasts, Size.of(past), *scales(past), widths)


def _conclude(
    panel: Panel,
    h: int,
    results: tuple[WindowResult, ...],
    families: Mapping[str, FamilyResult],
    levels: tuple[float, ...],
) -> Backtest:
    able = [name for name, result in families.items() if not result.is_out]
    inner_results = _of_role(results, "inner")
    first_outer = _of_role(results, "outer")[0].window.n_periods
    selection = _selection(panel, h, inner_results or results, able, first_outer)
    weights = {NAIVE: 1.0} if selection.mixture is None else selection.mixture.shares()
    if selection.mixture is not None and len(weights) > 1:
        groups = selection.mixture.groups(panel.unique_ids)
        for result in results:
            result.forecasts[ENSEMBLE] = selection.mixture.mixed(result.forecasts, groups)
            width = selection.mixture.known(result.widths, groups)
            if width is not None:
                result.widths[ENSEMBLE] = width
        able.append(ENSEMBLE)
    models = [name for name in results[0].forecasts if name in able or name == NAIVE]
    chosen_on = inner_results or results
    chosen_on = _telling(panel, h, chosen_on) or chosen_on
    inner = {name: _pooled_wape(chosen_on, name) for name in models} | {ENSEMBLE: selection.wape}
    evaluations = {name: _evaluations(panel, results, name, h, levels) for name in models}
    chosen = selection.alone or (ENSEMBLE if ENSEMBLE in able else NAIVE)
    if not _beats_naive(results, chosen):
        chosen = NAIVE
    leaderboard = _leaderboard(results, families, evaluations, inner, chosen, weights)
    mixture = selection.mixture if chosen == ENSEMBLE else None
    if mixture is not None and inner_results:
        mixture = _weighted_again(panel, h, results, mixture)
    return Backtest(
        leaderboard=leaderboard,
        chosen=chosen,
        weights={chosen: 1.0} if mixture is None else mixture.shares(),
        measured={chosen: 1.0} if mixture is None else weights,
        intervals=_intervals(panel, h, results, chosen, levels),
        frame=_frame(panel, _of_role(results, "outer"), evaluations[chosen], chosen),
        results=results,
        levels=levels,
        mixture=mixture,
        permuted={name: result.permuted for name, result in families.items() if result.permuted},
    )


def _intervals(
    panel: Panel, h: int, results: Sequence[WindowResult], model: str, levels: tuple[float, ...]
) -> Conformal:
    """Calibrated on every window, for forecasts from the end of the panel."""
    return Conformal.fit(errors_of(panel, h, results, model, panel.n_periods), levels, h, error_half_life(panel, h))


def errors_of(panel: Panel, h: int, results: Sequence[WindowResult], model: str, known: int) -> list[HeldBack]:
    """Errors of a model in the windows that began before ``known`` columns, as they were known then."""
    year = whole_year(panel, h)
    return [result.held_back(model, known, year) for result in results if result.window.n_periods < known]


def _weighted_again(panel: Panel, h: int, results: Sequence[WindowResult], mixture: Mixture) -> Mixture:
    """The ensemble that goes on: the same members, weighted on every window, the newest and most like now included."""
    again = _selection(panel, h, results, mixture.members, panel.n_periods, near=math.inf).mixture
    return mixture if again is None or set(again.members) != set(mixture.members) else again


def _selection(
    panel: Panel,
    h: int,
    chosen_on: Sequence[WindowResult],
    able: Sequence[str],
    known: int,
    near: float = NEAR_BEST,
) -> Selection:
    """What some windows choose; ``known`` columns of the panel say which pattern of demand a series has.

    A prior counts as one window as long as not all of them show what models know now, and always as some periods.
    """
    telling = _telling(panel, h, chosen_on)
    untold = 0.0 if len(telling) == len(chosen_on) else 1 / (1 + len(telling))
    chosen_on = telling or chosen_on
    n_cells = sum(int(np.isfinite(result.y).sum()) for result in chosen_on)
    few = _PRIOR_CELLS / (_PRIOR_CELLS + n_cells)
    prior_share = max(untold, few if few >= _LEAST_PRIOR else 0.0)
    return select(
        [result.y for result in chosen_on],
        {name: [result.forecasts[name] for result in chosen_on] for name in able},
        origins=[result.window.n_periods for result in chosen_on],
        h=h,
        unique_ids=panel.unique_ids,
        segments=segments(panel.as_of(known)).codes,
        prior={name: FAMILIES[parse(name)[0]].prior for name in able},
        prior_share=prior_share,
        near=near,
    )


def _telling(panel: Panel, h: int, results: Sequence[WindowResult]) -> list[WindowResult]:
    """The windows that show what models know now: before them they had seen a whole year, if now they have.

    A model that learns the year looks bad in the others.
    """
    needed = whole_year(panel, h)
    return [result for result in results if result.window.n_periods >= needed or panel.n_periods < needed]


def _leaderboard(
    results: Sequence[WindowResult],
    families: Mapping[str, FamilyResult],
    evaluations: Mapping[str, Sequence[Evaluation]],
    inner: Mapping[str, float],
    chosen: str,
    weights: Mapping[str, float],
) -> Leaderboard:
    naive = evaluations[NAIVE]
    cutoffs = [result.window.cutoff for result in _of_role(results, "outer")]

    def by_window(name: str) -> dict[str, Scores]:
        return {
            cutoff: score([own], [other]) for cutoff, own, other in zip(cutoffs, evaluations[name], naive, strict=True)
        }

    members = FamilyResult(seconds=sum(families[name].seconds for name in weights))
    rows = [
        LeaderboardRow(
            model=name,
            scores=score(evaluations[name], naive) if name in evaluations else _UNSCORED,
            inner_wape=inner.get(name, float("nan")),
            windows=by_window(name) if name in evaluations else dict.fromkeys(cutoffs, _UNSCORED),
            seconds=round(families.get(name, members).seconds, 3),
            failures=dict(families.get(name, members).failures),
            chosen=name == chosen,
        )
        for name in dict.fromkeys([*evaluations, *families])
    ]
    rows.sort(key=lambda row: (np.nan_to_num(row.scores.wape, nan=np.inf), row.model))
    return Leaderboard(tuple(rows), tuple(result.window for result in results))


def _beats_naive(results: Sequence[WindowResult], model: str) -> bool:
    """Whether a model is better where nothing was chosen; one window alone says no only if those of the choice agree.

    In one window seasonal naive is the better one by chance too often.
    """
    inner, outer = (_of_role(results, role) for role in ("inner", "outer"))
    asked = [outer] if len(outer) > 1 or not inner else [outer, inner]
    return any(_pooled_wape(part, model) < _pooled_wape(part, NAIVE) for part in asked)


def _pooled_wape(results: Sequence[WindowResult], model: str) -> float:
    return pooled_wape([result.y for result in results], [result.forecasts[model] for result in results])


def _evaluations(
    panel: Panel, results: Sequence[WindowResult], model: str, h: int, levels: tuple[float, ...]
) -> list[Evaluation]:
    """Outer windows of one model; intervals calibrated only on errors that were known at each window's cutoff."""
    evaluations = []
    for result in _of_role(results, "outer"):
        held = errors_of(panel, h, results, model, result.window.n_periods)
        y_hat = np.nan_to_num(result.forecasts[model])
        evaluation = Evaluation(result.y, y_hat, result.closed, result.scale, result.squared_scale)
        if held:
            conformal = Conformal.fit(held, levels, h, error_half_life(panel, h))
            quantiles = conformal.quantiles(
                y_hat, result.size, result.widths.get(model), non_negative=panel.spec.non_negative
            )
            evaluation = replace(evaluation, quantiles=quantiles, levels=levels)
        evaluations.append(evaluation)
    return evaluations


def _frame(panel: Panel, outer: Sequence[WindowResult], evaluations: Sequence[Evaluation], model: str) -> pl.DataFrame:
    parts = []
    for result, evaluation in zip(outer, evaluations, strict=True):
        row, column = np.nonzero(np.isfinite(result.y))
        columns: dict[str, Any] = {
            UNIQUE_ID: panel.series[UNIQUE_ID].gather(row),
            DS: panel.dates(result.window.n_periods, result.window.h)[column],
            STEP: (column + 1).astype(np.int32),
            Y: result.y[row, column],
            Y_HAT: result.forecasts[model][row, column],
        }
        if evaluation.quantiles is not None:
            quantiles = np.where(result.closed[..., None], 0.0, evaluation.quantiles)[row, column]
            columns |= {quantile_column(level): quantiles[:, i] for i, level in enumerate(evaluation.levels)}
        parts.append(pl.DataFrame(columns).with_columns(pl.lit(result.window.cutoff).str.to_date().alias(CUTOFF)))
    frame = pl.concat(parts, how="diagonal")
    first = [UNIQUE_ID, DS, CUTOFF, STEP, Y, Y_HAT]
    return frame.select(*first, *(name for name in frame.columns if name not in first))


def _of_role(results: Sequence[WindowResult], role: str) -> list[WindowResult]:
    return [result for result in results if result.window.role == role]
