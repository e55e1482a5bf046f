"""Fits families over windows, several at a time where there are processes to spare; a family that fails says why."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.backtest.metrics import pooled_wape
from foretail.backtest.permuted import permuted_forecasts, sampled_rows
from foretail.backtest.result import NAIVE, Window
from foretail.backtest.windows import whole_year
from foretail.execution.pool import Chunk, warm_pool
from foretail.features.demand import as_demanded
from foretail.models.contract import Forecaster
from foretail.models.fallback import last_season
from foretail.models.families import family_class, make
from foretail.panel.panel import Panel

__all__ = ["OUT_OF_TIME", "Candidate", "FamilyResult", "run_families"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

OUT_OF_TIME = "out of time"
_REFIT_GROWTH = 1.15  # a global model is fitted again once its history has grown by this much
_SMALL = 300_000  # cells of a panel below which starting processes costs more than it saves
_CHEAP_S = 2.0  # a family that is as quick as this in a window need not be left out of the others
_HOPELESS = 1.5  # times the best WAPE in its first window: a local family is not fitted to the other windows


@dataclass(frozen=True)
class Candidate:
    """A family that takes part, with its parameters."""

    family: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class FamilyResult:
    """What a family did.

    Attributes
    ----------
    forecasts : per window position ``[N, h]``; where the family failed, the last season.
    widths : per window position ``[N, h]`` from 10 % to 90 %, of families that have intervals of their own.
    permuted : of the newest window, see `permuted_forecasts`; empty for families that see no column.
    seconds : of all its fits and predictions. failures : ``{reason: series or windows}``.
    is_out : it failed as a whole somewhere and cannot be chosen.
    """

    forecasts: dict[int, FloatArray] = field(default_factory=dict)
    widths: dict[int, FloatArray] = field(default_factory=dict)
    permuted: dict[str, FloatArray] = field(default_factory=dict)
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    is_out: bool = False


@dataclass(frozen=True)
class _Job:
    """One fit and the windows it answers, as positions and windows; ``is_newest``: the newest window is among them."""

    candidate: Candidate
    windows: tuple[tuple[int, Window], ...]
    is_newest: bool = False


@dataclass(frozen=True)
class _Done:
    job: _Job
    forecasts: tuple[FloatArray, ...]
    widths: tuple[FloatArray | None, ...]
    reasons: Mapping[str, int]
    seconds: float
    error: str | None
    permuted: Mapping[str, FloatArray] = field(default_factory=dict)


def run_families(
    panel: Panel,
    h: int,
    candidates: Sequence[Candidate],
    windows: Sequence[Window],
    *,
    seed: int,
    n_workers: int,
    deadline: float | None,
    advance: Callable[[int], None],
) -> dict[str, FamilyResult]:
    """Every candidate on every window; a local family that takes its time and starts far behind is left out.

    Parameters
    ----------
    deadline : `time.monotonic` moment after which no further fit is begun; None for no limit.
    advance : told the number of windows done.

    Returns
    -------
    Results by family; each holds a forecast for every window.
    """
    results = {candidate.family: FamilyResult() for candidate in candidates}
    longest = dict.fromkeys(results, 0.0)

    def wanted(job: _Job) -> bool:
        result = results[job.candidate.family]
        late = (
            job.candidate.family != NAIVE  # takes no time, so there is always time for it
            and deadline is not None
            and time.monotonic() + longest[job.candidate.family] > deadline
        )
        if late and not result.is_out:
            result.is_out = True
            result.failures[OUT_OF_TIME] += 1
        reason = _hopeless(panel, job.candidate.family, windows, results)
        if reason and not result.is_out:
            result.is_out = True
            result.failures[reason] += 1
        return not result.is_out

    jobs = _jobs(candidates, windows, whole_year(panel, h))
    for done in _done(panel, h, jobs, seed, n_workers, wanted, in_time=deadline is not None):
        family = done.job.candidate.family
        result = results[family]
        result.seconds += done.seconds
        result.failures.update(done.reasons)
        result.permuted.update(done.permuted)
        longest[family] = max(longest[family], done.seconds)
        if done.error:
            logger.warning("%s failed at %s: %s", family, done.job.windows[0][1].cutoff, done.error)
            result.failures[done.error] += len(done.job.windows)
            result.is_out = True
        for (position, _), y_hat, width in zip(done.job.windows, done.forecasts, done.widths, strict=False):
            result.forecasts[position] = y_hat
            if width is not None:
                result.widths[position] = width
        advance(len(done.job.windows))
    for position, window in enumerate(windows):
        missing = [result for result in results.values() if position not in result.forecasts]
        if missing:
            fallback = _last_season(panel, window, h)
            for result in missing:
                result.forecasts[position] = fallback
    return results


def _hopeless(panel: Panel, family: str, windows: Sequence[Window], results: Mapping[str, FamilyResult]) -> str | None:
    """Why a local family is not worth its time, once it has answered the first inner window; None if it is."""
    first, window = results[family].forecasts.get(0), windows[0]
    is_cheap = results[family].seconds < _CHEAP_S
    if first is None or is_cheap or window.role != "inner" or not family_class(family).tags.local:
        return None
    columns = slice(window.n_periods, window.n_periods + window.h)
    actual = [np.where(panel.closed[:, columns], np.nan, panel.y[:, columns])]
    errors = {name: pooled_wape(actual, [item.forecasts[0]]) for name, item in results.items() if 0 in item.forecasts}
    best = min(errors, key=lambda name: (np.nan_to_num(errors[name], nan=np.inf), name))
    if family == NAIVE or not errors[family] > _HOPELESS * errors[best]:
        return None
    return f"left out: WAPE {errors[family]:.3g} in the first window, {best} {errors[best]:.3g}"


def _jobs(candidates: Sequence[Candidate], windows: Sequence[Window], year: int) -> list[_Job]:
    """Local families window by window; global ones are fitted again when their history has grown, or knows a year."""
    jobs = []
    for candidate in candidates:
        local = family_class(candidate.family).tags.local
        group: list[tuple[int, Window]] = []
        for position, window in enumerate(windows):
            fitted = group[0][1].n_periods if group else 0
            if group and (local or fitted < year <= window.n_periods or window.n_periods >= _REFIT_GROWTH * fitted):
                jobs.append(_Job(candidate, tuple(group)))
                group = []
            group.append((position, window))
        jobs.append(_Job(candidate, tuple(group), is_newest=True))
    return jobs


def _done(
    panel: Panel,
    h: int,
    jobs: Sequence[_Job],
    seed: int,
    n_workers: int,
    wanted: Callable[[_Job], bool],
    *,
    in_time: bool,
) -> Iterator[_Done]:
    """Global families side by side, one thread each, then local ones here: they share out their series themselves.

    Where time may run out (``in_time``), jobs are begun in their order, as many at once as there are workers; else all
    are handed out, from the last on: who lists families lists those that take long last, and they shall not end alone.
    """
    shared = n_workers > 1 and panel.y.size > _SMALL
    there = [job for job in jobs if shared and not family_class(job.candidate.family).tags.local]
    there = there if len(there) > 1 else []
    here = [job for job in jobs if job not in there]
    function = partial(_work_all, panel, h, {"random_state": seed, "n_threads": 1})
    queue, size = (there, n_workers) if in_time else (there[::-1], max(len(there), 1))
    for first in range(0, len(queue), size):
        batch = [job for job in queue[first : first + size] if wanted(job)]
        for outcome in warm_pool(n_workers).map(function, [Chunk(i, ([job],)) for i, job in enumerate(batch)]):
            if outcome.value is None:
                yield _Done(batch[outcome.start], (), (), {}, 0.0, outcome.reason or "failed")
            else:
                yield from outcome.value
    for job in here:
        if wanted(job):
            yield _work(panel, h, {"random_state": seed, "n_threads": n_workers}, job)


def _work_all(panel: Panel, h: int, common: dict[str, Any], jobs: Sequence[_Job]) -> list[_Done]:
    return [_work(panel, h, common, job) for job in jobs]


def _work(panel: Panel, h: int, common: dict[str, Any], job: _Job) -> _Done:
    start = time.monotonic()
    forecasts: list[FloatArray] = []
    widths: list[FloatArray | None] = []
    reasons: Counter[str] = Counter()
    permuted: Mapping[str, FloatArray] = {}
    error = None
    try:
        model = None
        for _, window in job.windows:
            past = as_demanded(panel.as_of(window.n_periods, h))
            begun = _begun(past)
            seen = past.select(begun)
            if model is None:
                model = make(job.candidate.family, **{**common, **job.candidate.params}).fit(seen, h)
            forecast = model.predict(seen, h)
            reasons.update(forecast.reasons.values())
            y_hat = np.where(np.isfinite(forecast.y_hat), forecast.y_hat, last_season(seen, h))
            forecasts.append(_placed(y_hat, begun, window.h))
            widths.append(None if forecast.width is None else _placed(forecast.width, begun, window.h))
        if job.is_newest and model is not None:
            permuted = _permuted(model, past.select(sampled_rows(begun)), h, common["random_state"])
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except Exception as failure:  # a family that fails is a row of the leaderboard, not the end of the run
        logger.debug("%s failed", job.candidate.family, exc_info=True)
        error = f"{type(failure).__name__}: {failure}".splitlines()[0][:160]
    return _Done(job, tuple(forecasts), tuple(widths), dict(reasons), time.monotonic() - start, error, permuted)


def _permuted(model: Forecaster, panel: Panel, h: int, seed: int) -> Mapping[str, FloatArray]:
    """What the shuffled columns say; nothing where that fails, which is no reason to leave the family out."""
    try:
        return permuted_forecasts(model, panel, h, seed)
    except Exception as failure:  # a family may fail on a column that says nothing in any way of its own
        logger.warning("the importance of columns could not be measured: %s: %s", type(failure).__name__, failure)
        return {}


def _last_season(panel: Panel, window: Window, h: int) -> FloatArray:
    past = as_demanded(panel.as_of(window.n_periods, h))
    begun = _begun(past)
    return _placed(last_season(past.select(begun), h), begun, window.h)


def _begun(past: Panel) -> npt.NDArray[np.bool_]:
    """Series with an observation by then."""
    return np.asarray(past.observed.any(axis=1))


def _placed(y_hat: FloatArray, begun: npt.NDArray[np.bool_], h: int) -> FloatArray:
    """``[N, h]`` of every series; NaN for those that had not begun."""
    placed = np.full((len(begun), h), np.nan)
    placed[begun] = y_hat[:, :h]
    return placed
