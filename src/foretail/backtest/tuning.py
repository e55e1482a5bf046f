"""Looks for better parameters of a family on the inner windows; nothing of the outer windows' targets is seen."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.backtest.evidence import Comparison, compare, error_groups, group_sums
from foretail.backtest.result import Window
from foretail.backtest.runner import Candidate, run_families
from foretail.backtest.study import Asked, Study, check_installed
from foretail.backtest.time_left import TimeLeft
from foretail.backtest.trial import DONE, FAILED, OUT_OF_TIME, STOPPED, Trial
from foretail.backtest.windows import rolling_windows
from foretail.core.errors import DataError, Problem
from foretail.core.progress import Progress, Silent, Stage
from foretail.models.search import default_params, name_of, search_space
from foretail.panel.panel import Panel

__all__ = ["DEFAULT_TRIALS", "Tuning", "check_installed", "tune_family", "tuning_windows"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

DEFAULT_TRIALS = 30  # where neither a number of trials nor a time is given
_N_INNER = 3  # windows at most: two are enough to choose among families, few parameters stand out on two
_CLEARLY = 0.02  # a trial this much worse than the best, and by more than noise, is stopped
_SAME = 20  # known parameters so often in a row: there is nothing else to try
_SKIPS = 5  # parameters that would take too long so often in a row: the time is up


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes
    ----------
    family : as it was asked for, parameters that stay as they are included. study : name under which it is kept.
    windows : the inner windows, oldest first. trials : every one that was settled, oldest first, earlier calls' too.
    default : the family without tuning; None where even that was not measured. best : the lowest WAPE on all windows.
    comparison : of the best with the default. recommended : the best one's name where its gain is more than noise.
    verdict : one sentence that says so. seconds : that this call took.
    """

    family: str
    study: str
    windows: tuple[Window, ...]
    trials: tuple[Trial, ...]
    default: Trial | None
    best: Trial | None
    comparison: Comparison | None
    recommended: str | None
    verdict: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        against = self.comparison
        return {
            "family": self.family,
            "recommended": self.recommended,
            "verdict": self.verdict,
            "wape_default": self.default.wape if self.default else None,
            "wape_best": self.best.wape if self.best else None,
            "best": self.best.name if self.best else None,
            "gain": against.gain if against else None,
            "noise": against.noise if against and np.isfinite(against.noise) else None,
            "better_windows": sum(against.better) if against else None,
            "n_trials": len(self.trials),
            "n_stopped": sum(trial.state == STOPPED for trial in self.trials),
            "n_failed": sum(trial.state == FAILED for trial in self.trials),
            "seconds": round(self.seconds, 3),
            "study": self.study,
            "windows": [asdict(window) for window in self.windows],
            "trials": [trial.to_dict() for trial in self.trials],
        }


@dataclass(frozen=True)
class _Question:
    """What is tuned, on what; the panel ends where the first outer window begins."""

    panel: Panel
    h: int
    family: str
    windows: tuple[Window, ...]
    seed: int
    n_threads: int


def tuning_windows(panel: Panel, h: int) -> tuple[Window, ...]:
    """The inner windows to tune on, oldest first; they end before the first target of any outer window.

    Raises
    ------
    DataError : the history has no room for them, or nothing was sold in them.
    """
    outer = min(window.n_periods for window in rolling_windows(panel, h) if window.role == "outer")
    found = [window for window in rolling_windows(panel, h, n_inner=_N_INNER) if window.role == "inner"]
    windows = tuple(window for window in found if window.n_periods + window.h <= outer)
    sold = sum(float(np.nansum(np.abs(panel.y[:, w.n_periods : w.n_periods + w.h]))) for w in windows)
    if not windows or sold <= 0:
        noun = panel.frequency.noun
        what = (
            f"nothing was sold in the {noun}s to tune on" if windows else f"the history is too short to tune {h} steps"
        )
        raise DataError(
            Problem(what, f"{panel.n_periods} {noun}s before {panel.cutoff}", "use the defaults: foretail run")
        )
    return windows


def tune_family(
    panel: Panel,
    h: int,
    family: str,
    *,
    n_trials: int | None = None,
    deadline: float | None = None,
    seed: int = 7,
    n_threads: int = 1,
    file: Path | None = None,
    progress: Progress | None = None,
    told: Callable[[str, Trial], None] | None = None,
) -> Tuning:
    """Search the parameters of one family.

    The first trial are the defaults. A trial goes through the inner windows one by one, is fitted anew in each, and is
    stopped as soon as it is clearly worse than the best on the same windows. A study that is kept in a file is taken
    up where it was left; its trials count towards ``n_trials``.

    Parameters
    ----------
    panel : the history. h : steps wanted. family : a name; parameters that it gives stay as they are.
    n_trials : trials in all. deadline : `time.monotonic` moment to be done by. `DEFAULT_TRIALS` when both are None.
    seed : of sampler and models. n_threads : of a fit. file : SQLite file that keeps the study; None keeps nothing.
    told : called with the study's name and each new trial when it is settled.

    Raises
    ------
    UsageError : the family has nothing to tune. MissingExtraError : Optuna is not installed.
    DataError : see `tuning_windows`.
    """
    begun = time.monotonic()
    space, defaults = search_space(family), default_params(family)
    windows = tuning_windows(panel, h)
    end = min(window.n_periods for window in rolling_windows(panel, h) if window.role == "outer")
    question = _Question(panel.as_of(end, h), h, family, windows, seed, n_threads)
    if n_trials is None and deadline is None:
        n_trials = DEFAULT_TRIALS
    study = Study(_study_name(question), space, defaults, file=file, seed=seed)
    try:
        with (progress or Silent()).stage(f"tune {family.partition('[')[0]}", _n_parts(n_trials, deadline)) as stage:
            trials = _search(question, study, n_trials, TimeLeft(deadline, family), _Shown(stage, n_trials), told)
    finally:
        study.close()
    return _conclude(question, study.name, trials, time.monotonic() - begun)


class _Shown:
    """Progress in trials, or in seconds where only those are limited."""

    def __init__(self, stage: Stage, n_trials: int | None):
        self._stage = stage
        self._by_trials = n_trials is not None
        self._begun = time.monotonic()
        self._done = 0

    def show(self, trials: Sequence[Trial]) -> None:
        """Move on to where these trials are, and say the best of them."""
        done = len(trials) if self._by_trials else int(time.monotonic() - self._begun)
        self._stage.advance(done - self._done)
        self._done = done
        best = _best(trials)
        if best is not None:
            family = best.name.partition("[")[0]
            self._stage.describe(f"tune {family}: {len(trials)} trials, best WAPE {best.wape:.4f}")


def _n_parts(n_trials: int | None, deadline: float | None) -> int:
    return n_trials or max(1, int((deadline or 0.0) - time.monotonic()))


def _search(
    question: _Question,
    study: Study,
    n_trials: int | None,
    left: TimeLeft,
    shown: _Shown,
    told: Callable[[str, Trial], None] | None,
) -> list[Trial]:
    """Ask and tell until there are enough trials, no time is left for another one, or there is nothing new to try."""
    trials = [trial for trial in study.trials() if trial.is_settled]
    left.recall(trials)
    n_same = n_skipped = 0
    while (n_trials is None or len(trials) < n_trials) and n_same < _SAME and n_skipped < _SKIPS:
        if not left.has(left.longest):
            break
        shown.show(trials)
        started = time.monotonic()
        asked = study.ask(len(trials), n_skipped)
        try:
            trial = _tried(question, study, asked, trials, left)
        except BaseException:
            study.drop(asked)
            raise
        study.tell(asked, trial)
        if trial.state == OUT_OF_TIME:
            if trial.is_default:
                break  # there will be nothing to compare with
            n_skipped += 1  # others may be cheaper
            continue
        n_skipped = 0
        n_same = n_same + 1 if trial.name in {earlier.name for earlier in trials} else 0
        trials.append(trial)
        if told is not None:
            told(study.name, trial)
        left.time_trial(time.monotonic() - started)
        if trial.is_default and trial.state == FAILED:
            break  # there is nothing to compare with
    shown.show(trials)
    return trials


def _tried(question: _Question, study: Study, asked: Asked, trials: Sequence[Trial], left: TimeLeft) -> Trial:
    """What these parameters give; known ones are not tried again."""
    name = name_of(question.family, asked.params)
    known = next((trial for trial in trials if trial.name == name), None)
    if known is not None:
        for position in range(len(known.windows)):
            study.report(asked, _wape(question, known.errors[: position + 1]), position)
        return replace(known, number=asked.number, seconds=0.0, is_default=False, is_new=True)
    blank = Trial(asked.number, name, asked.params, DONE, is_default=not trials)
    return _evaluated(question, study, asked, blank, _best(trials), left)


def _evaluated(
    question: _Question, study: Study, asked: Asked, trial: Trial, best: Trial | None, left: TimeLeft
) -> Trial:
    """Window by window, until it is through, clearly worse than the best, or out of time."""
    n_windows = len(question.windows)
    if not left.has(n_windows * left.expected(trial)):
        return replace(trial, state=OUT_OF_TIME)
    for position, window in enumerate(question.windows):
        if not left.has(left.expected(trial)):
            return replace(trial, state=OUT_OF_TIME)
        started = time.monotonic()
        errors, reason = _errors(question, trial.name, window)
        seconds = time.monotonic() - started
        left.time_window(trial, seconds)
        trial = replace(trial, seconds=trial.seconds + seconds)
        if errors is None:
            return replace(trial, state=FAILED, reason=reason)
        kept = (*trial.errors, tuple(errors.tolist()))
        total = _sold(question, [window])
        alone = float(errors.sum()) / total if total > 0 else float("nan")
        trial = replace(trial, errors=kept, windows=(*trial.windows, alone), wape=_wape(question, kept))
        if np.isfinite(trial.wape):
            study.report(asked, trial.wape, position)
        if best is not None and position + 1 < n_windows and _is_clearly_worse(trial, best):
            return replace(trial, state=STOPPED)
    return trial


def _is_clearly_worse(trial: Trial, best: Trial) -> bool:
    errors = [np.array(window) for window in trial.errors]
    others = [np.array(window) for window in best.errors[: len(errors)]]
    return compare(errors, others).is_clearly_worse(_CLEARLY)


def _errors(question: _Question, name: str, window: Window) -> tuple[FloatArray | None, str]:
    """Absolute errors of a window per group of cells, or why there are none."""
    panel = question.panel
    result = run_families(
        panel,
        question.h,
        [Candidate(name, {"n_threads": question.n_threads})],  # one fit at a time, on all cores
        [window],
        seed=question.seed,
        n_workers=1,
        deadline=None,
        advance=lambda _: None,
    )[name]
    if result.is_out:
        return None, ", ".join(result.failures)
    y, closed = _targets(panel, window)
    y_hat = np.where(closed, 0.0, result.forecasts[0])
    return group_sums(np.abs(y - y_hat), error_groups(panel.n_series, window.h)), ""


def _targets(panel: Panel, window: Window) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """``[N, h]`` of a window: values (NaN where nobody can be scored), and whether it is closed."""
    columns = slice(window.n_periods, window.n_periods + window.h)
    y = panel.y[:, columns].copy()
    y[~panel.as_of(window.n_periods, window.h).observed.any(axis=1)] = np.nan
    return y, panel.closed[:, columns]


def _sold(question: _Question, windows: Sequence[Window]) -> float:
    return sum(float(np.nansum(np.abs(_targets(question.panel, window)[0]))) for window in windows)


def _wape(question: _Question, errors: Sequence[Sequence[float]]) -> float:
    """Over the first windows, as many as there are errors of."""
    total = _sold(question, question.windows[: len(errors)])
    return sum(map(sum, errors)) / total if total > 0 else float("nan")


def _best(trials: Sequence[Trial]) -> Trial | None:
    done = [trial for trial in trials if trial.state == DONE]
    return min(done, key=lambda trial: (trial.wape, trial.number), default=None)


def _conclude(question: _Question, study: str, trials: Sequence[Trial], seconds: float) -> Tuning:
    default = next((trial for trial in trials if trial.is_default and trial.state == DONE), None)
    best = _best(trials)
    comparison = recommended = None
    if default is not None and best is not None:
        comparison = compare(*[[np.array(window) for window in trial.errors] for trial in (best, default)])
        if comparison.is_real(len({trial.name for trial in trials}) - 1):
            recommended = best.name
    return Tuning(
        family=question.family,
        study=study,
        windows=question.windows,
        trials=tuple(trials),
        default=default,
        best=best,
        comparison=comparison,
        recommended=recommended,
        verdict=_verdict(question.family, trials, default, best, comparison, recommended),
        seconds=seconds,
    )


def _verdict(
    family: str,
    trials: Sequence[Trial],
    default: Trial | None,
    best: Trial | None,
    comparison: Comparison | None,
    recommended: str | None,
) -> str:
    if default is None or best is None or comparison is None:
        reason = next((f"{family} failed: {trial.reason}" for trial in trials if trial.state == FAILED), "")
        return reason or f"the time was up before {family} was measured with its defaults"
    if best is default:
        return f"keep the defaults of {family}: WAPE {default.wape:.4f}, the best of {len(trials)} trials"
    figures = f"{comparison.gain:.1%} less error than its defaults (WAPE {best.wape:.4f}, not {default.wape:.4f})"
    noise = f"standard error {comparison.noise:.1%}, smaller in {sum(comparison.better)} of {len(comparison.better)}"
    if recommended:
        return f"{recommended} has {figures}; {noise} windows"
    kept = f"keep the defaults of {family}: the best of {len(trials)} trials has {figures}"
    return f"{kept}, no more than noise; {noise} windows"


def _study_name(question: _Question) -> str:
    """Names the question: another family, horizon, seed, version or content of the data is another study."""
    panel = question.panel
    told: dict[str, Any] = {
        "family": question.family,
        "h": question.h,
        "windows": [asdict(window) for window in question.windows],
        "space": {key: asdict(item) for key, item in search_space(question.family).items()},
        "seed": question.seed,
        "spec": panel.spec.to_dict(),
        "start": panel.start,
        "series": panel.series.write_csv(),
        "version": version("foretail"),
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for array in _arrays(panel):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    words = re.sub(r"[^A-Za-z0-9=.,\[\]-]+", "-", f"{panel.spec.name}-{question.family}-h{question.h}-{panel.cutoff}")
    return f"{words[:200]}-{digest.hexdigest()[:12]}"


def _arrays(panel: Panel) -> list[npt.NDArray[Any]]:
    told = panel.revisions
    restated = [] if told is None else [told.row, told.period, told.known_at, told.y]
    return [panel.y, panel.closed, *(item.values for item in (*panel.known, *panel.past)), *restated]
