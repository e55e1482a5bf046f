"""The backtest: families over rolling windows, an ensemble and a choice from the inner ones, figures from the outer ones."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.metrics import Evaluation, scales, score
from foretail.backtest.result import Leaderboard, LeaderboardRow, Window
from foretail.backtest.select import blend, ensemble_weights, pooled_wape
from foretail.backtest.windows import rolling_windows
from foretail.core.columns import CUTOFF, DS, STEP, UNIQUE_ID, Y_HAT, Y
from foretail.core.errors import ForecastError
from foretail.core.progress import Progress, Silent
from foretail.core.quantiles import quantile_column
from foretail.models.contract import Forecaster
from foretail.models.families import family_class, make
from foretail.models.intervals import Conformal, HeldBack, Size
from foretail.models.naive import last_season
from foretail.panel.panel import Panel

__all__ = ["ENSEMBLE", "NAIVE", "Backtest", "Candidate", "backtest"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

NAIVE = "seasonal_naive"
ENSEMBLE = "ensemble"
_REFIT_GROWTH = 1.15  # a global model is fitted again once its history has grown by this much
_BUDGET_SHARE = 0.6  # of the time budget, for the backtest; the rest is for the final fit


@dataclass(frozen=True)
class Candidate:
    """A family that takes part, with its parameters."""

    family: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowResult:
    """What happened in one window.

    Attributes
    ----------
    window : its origin and role. y : ``[N, h]`` actuals. closed : ``[N, h]``.
    forecasts : point forecasts ``[N, h]`` per model, closed days 0. size, scale, squared_scale : known at the cutoff.
    """

    window: Window
    y: FloatArray
    closed: npt.NDArray[np.bool_]
    forecasts: dict[str, FloatArray]
    size: Size
    scale: FloatArray
    squared_scale: FloatArray

    def held_back(self, model: str, known: int) -> HeldBack:
        """Its errors as they were known when the panel had ``known`` columns."""
        y = self.y.copy()
        y[:, max(0, known - self.window.n_periods) :] = np.nan
        return HeldBack(y, self.forecasts[model], self.closed, self.size)


@dataclass(frozen=True)
class Backtest:
    """The outcome.

    Attributes
    ----------
    leaderboard : figures of the outer windows. chosen : the model to use. weights : ``{family: weight}`` of it.
    intervals : calibrated on every window, for forecasts from the end of the panel.
    frame : the chosen model's forecasts on the outer windows: ``unique_id, ds, cutoff, step, y, y_hat, q…``.
    results : every window. levels : quantile levels.
    """

    leaderboard: Leaderboard
    chosen: str
    weights: dict[str, float]
    intervals: Conformal
    frame: pl.DataFrame
    results: tuple[WindowResult, ...]
    levels: tuple[float, ...]

    def wape_of(self, weights: Mapping[str, float]) -> dict[str, float]:
        """WAPE per outer window of any mix of the families that took part, keyed like the gate's windows."""
        return {
            f"{result.window.cutoff}+{result.window.h}": pooled_wape([result.y], [blend(result.forecasts, weights)])
            for result in self.results
            if result.window.role == "outer"
        }


def backtest(
    panel: Panel,
    h: int,
    candidates: Sequence[Candidate],
    *,
    levels: Sequence[float],
    seed: int = 7,
    n_threads: int = 1,
    budget_s: float | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Run every candidate over the rolling windows of a panel and choose.

    Parameters
    ----------
    panel : the history. h : steps wanted. candidates : seasonal naive is added when missing.
    levels : quantile levels; those of the 80 % and 95 % intervals are added for the scores.
    budget_s : seconds the whole run may take; families that would not end in time are left out, and say so.

    Raises
    ------
    DataError : too little history. ForecastError : every family failed.
    """
    windows = rolling_windows(panel, h)
    if NAIVE not in {item.family for item in candidates}:
        candidates = [Candidate(NAIVE), *candidates]
    runner = _Runner(panel, h, candidates, seed, n_threads, budget_s)
    with (progress or Silent()).stage("backtest", len(windows) * len(candidates)) as stage:
        results = tuple(runner.window(window, stage.advance) for window in windows)
    levels = tuple(sorted({*levels, 0.025, 0.1, 0.9, 0.975}))
    return _conclude(panel, h, results, runner, levels)


class _Runner:
    """Fits families window by window; keeps fitted models, seconds and failures."""

    def __init__(
        self,
        panel: Panel,
        h: int,
        candidates: Sequence[Candidate],
        seed: int,
        n_threads: int,
        budget_s: float | None,
    ):
        self.panel, self.h = panel, h
        self.candidates = candidates
        self.common = {"random_state": seed, "n_threads": n_threads}
        self.deadline = None if budget_s is None else time.monotonic() + _BUDGET_SHARE * budget_s
        self.fitted: dict[str, tuple[int, Forecaster]] = {}
        self.seconds: Counter[str] = Counter()
        self.failures: dict[str, Counter[str]] = {item.family: Counter() for item in candidates}
        self.out: set[str] = set()

    def window(self, window: Window, advance: Any) -> WindowResult:
        past = self.panel.as_of(window.n_periods, self.h)
        begun = past.observed.any(1)
        seen = past.select(begun)
        end = window.n_periods + window.h
        closed = self.panel.closed[:, window.n_periods : end]
        forecasts = {}
        for candidate in self.candidates:
            y_hat = np.full((self.panel.n_series, window.h), np.nan)
            y_hat[begun] = self._forecast(candidate, seen, window)[:, : window.h]
            forecasts[candidate.family] = np.where(closed, 0.0, y_hat)
            advance()
        y = self.panel.y[:, window.n_periods : end].copy()
        y[~begun] = np.nan  # a series that had not begun cannot be scored by anyone
        absolute, squared = scales(past)
        return WindowResult(window, y, closed, forecasts, Size.of(past), absolute, squared)

    def _forecast(self, candidate: Candidate, seen: Panel, window: Window) -> FloatArray:
        family = candidate.family
        naive = last_season(seen, self.h)
        if family in self.out or self._is_too_late(family):
            self.failures[family]["out of time"] += 1
            self.out.add(family)
            return naive
        start = time.monotonic()
        try:
            forecast = self._model(candidate, seen).predict(seen, self.h)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except Exception as error:  # a family that fails is a row of the leaderboard, not the end of the run
            logger.warning("%s failed at %s: %s", family, window.cutoff, error, exc_info=True)
            self.failures[family][f"{type(error).__name__}: {error}".splitlines()[0][:120]] += 1
            self.out.add(family)
            return naive
        self.seconds[family] += time.monotonic() - start  # type: ignore[assignment]
        self.failures[family].update(forecast.reasons.values())
        return np.where(np.isfinite(forecast.y_hat), forecast.y_hat, naive)

    def _model(self, candidate: Candidate, seen: Panel) -> Forecaster:
        family = candidate.family
        at, model = self.fitted.get(family, (0, None))
        if model is None or family_class(family).tags.local or seen.n_periods >= _REFIT_GROWTH * at:
            model = make(family, **{**self.common, **candidate.params}).fit(seen, self.h)
            self.fitted[family] = (seen.n_periods, model)
        return model

    def _is_too_late(self, family: str) -> bool:
        if self.deadline is None or family == NAIVE:
            return False
        return time.monotonic() + self.seconds[family] / 2 > self.deadline


def _conclude(
    panel: Panel, h: int, results: tuple[WindowResult, ...], runner: _Runner, levels: tuple[float, ...]
) -> Backtest:
    inner = [result for result in results if result.window.role == "inner"]
    outer = [result for result in results if result.window.role == "outer"]
    families = [name for name in results[0].forecasts if name not in runner.out]
    if families == [NAIVE] and len(runner.out) > 0 and all("out of time" not in runner.failures[name] for name in runner.out):
        reasons = "; ".join(f"{name}: {', '.join(runner.failures[name])}" for name in sorted(runner.out))
        logger.warning("only seasonal naive is left: %s", reasons)
    chosen_on = inner or outer
    weights = ensemble_weights(
        [result.y for result in chosen_on],
        {name: [result.forecasts[name] for result in chosen_on] for name in families},
    )
    if not weights:
        raise ForecastError(
            "nothing was sold in the backtest windows, so no model can be compared.\n"
            f"  where: {', '.join(result.window.cutoff for result in results)}\n"
            "  fix:   bring a history with sales, or forecast with --models zero"
        )
    if len(weights) > 1:
        for result in results:
            result.forecasts[ENSEMBLE] = blend(result.forecasts, weights)
        runner.seconds[ENSEMBLE] = sum(runner.seconds[name] for name in weights)
    models = [*families, *(name for name in (*sorted(runner.out), ENSEMBLE) if name in results[0].forecasts)]
    inner_wape = {
        name: pooled_wape([result.y for result in chosen_on], [result.forecasts[name] for result in chosen_on])
        for name in models
    }
    chosen = min((name for name in models if name not in runner.out), key=lambda name: (inner_wape[name], name))
    evaluations = {name: [_evaluate(panel, results, result, name, h, levels) for result in outer] for name in models}
    naive = evaluations[NAIVE]
    if score(evaluations[chosen], naive).wape > score(naive).wape:
        chosen = NAIVE  # the gate: what does not beat seasonal naive where nobody chose is not used
    rows = [
        LeaderboardRow(
            model=name,
            scores=score(evaluations[name], naive),
            inner_wape=inner_wape[name],
            windows={
                result.window.cutoff: score([evaluations[name][i]], [naive[i]]) for i, result in enumerate(outer)
            },
            seconds=round(float(runner.seconds[name]), 3),
            failures=dict(runner.failures.get(name, {})),
            chosen=name == chosen,
        )
        for name in models
    ]
    rows.sort(key=lambda row: (np.nan_to_num(row.scores.wape, nan=np.inf), row.model))
    held = [result.held_back(chosen, panel.n_periods) for result in results]
    return Backtest(
        leaderboard=Leaderboard(tuple(rows), tuple(result.window for result in results)),
        chosen=chosen,
        weights=weights if chosen == ENSEMBLE else {chosen: 1.0},
        intervals=Conformal.fit(held, levels, h),
        frame=_frame(panel, outer, evaluations[chosen], chosen),
        results=results,
        levels=levels,
    )


def _evaluate(
    panel: Panel, results: Sequence[WindowResult], result: WindowResult, model: str, h: int, levels: tuple[float, ...]
) -> Evaluation:
    """A window of one model, with intervals calibrated only on errors that were known at the window's cutoff."""
    known = result.window.n_periods
    held = [other.held_back(model, known) for other in results if other.window.n_periods < known]
    y_hat = result.forecasts[model]
    evaluation = Evaluation(result.y, np.nan_to_num(y_hat), result.closed, result.scale, result.squared_scale)
    if not held:
        return evaluation
    conformal = Conformal.fit(held, levels, h)
    quantiles = conformal.quantiles(evaluation.y_hat, result.size, non_negative=panel.spec.non_negative)
    return replace(evaluation, quantiles=quantiles, levels=levels)


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
        cutoff = pl.lit(result.window.cutoff).str.to_date().alias(CUTOFF)
        parts.append(pl.DataFrame(columns).with_columns(cutoff))
    frame = pl.concat(parts, how="diagonal")
    first = [UNIQUE_ID, DS, CUTOFF, STEP, Y, Y_HAT]
    return frame.select(*first, *(name for name in frame.columns if name not in first))
