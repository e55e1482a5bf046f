"""tune: look for better parameters of families on the inner windows, keep the studies, say what is worth using."""

from __future__ import annotations

import datetime as dt
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foretail.backtest.trial import Trial
from foretail.backtest.tuning import DEFAULT_TRIALS, Tuning, check_installed, tune_family, tuning_windows
from foretail.core.errors import RegistryError, UsageError
from foretail.core.progress import Progress, Silent
from foretail.core.settings import Settings
from foretail.forecasts.output import write_outputs
from foretail.models.families import parse
from foretail.models.search import SEARCH, search_space
from foretail.pipelines.documents import json_writer
from foretail.pipelines.fit import model_name
from foretail.pipelines.prepare import Prepared, prepare
from foretail.pipelines.request import Request, command_of
from foretail.registry.studies import StudyLog

__all__ = ["TuneResult", "tune", "tune_request"]

_TUNING_SHARE = 0.97  # of the time budget; the rest is for writing what was found
_STUDIES = "studies.db"


@dataclass(frozen=True)
class TuneResult:
    """What a search found.

    Attributes
    ----------
    out : the folder with tuning.json. summary : its content. tunings : one per family, in the order tuned.
    next_command : runs with what was found, beside what would have run without. notes : one sentence each.
    """

    out: Path
    summary: dict[str, Any]
    tunings: tuple[Tuning, ...]
    next_command: str
    notes: tuple[str, ...]

    @property
    def recommended(self) -> tuple[str, ...]:
        """Names of families with parameters that beat the defaults by more than noise."""
        return tuple(item.recommended for item in self.tunings if item.recommended)


def tune(
    table: str | Path,
    *,
    keys: Sequence[str] = (),
    time: str | None = None,
    target: str | None = None,
    horizon: int | None = None,
    freq: str | None = None,
    known: Sequence[str] = (),
    past: Sequence[str] = (),
    static: Sequence[str] = (),
    country: str | None = None,
    stockout: str | None = None,
    future: str | Path | None = None,
    spec: str | Path | None = None,
    cutoff: dt.date | str | None = None,
    models: str | Sequence[str] = "auto",
    trials: int | None = None,
    budget_s: float | None = None,
    seed: int = 7,
    name: str | None = None,
    data: str | Path | None = None,
    out: str | Path = "foretail-out",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> TuneResult:
    """Tune families on a table of sales; the words are those of ``foretail tune``, see `Request` and `DatasetSpec`.

    Raises
    ------
    UsageError, DataError, MissingExtraError : see `foretail.core.errors`.
    """
    request = Request(
        table=str(table),
        keys=tuple(keys),
        time=time,
        target=target,
        freq=freq,
        horizon=horizon,
        known=tuple(known),
        past=tuple(past),
        static=tuple(static),
        country=country,
        stockout=stockout,
        future=str(future) if future else None,
        spec=str(spec) if spec else None,
        cutoff=dt.date.fromisoformat(cutoff) if isinstance(cutoff, str) else cutoff,
        models=(models,) if isinstance(models, str) else tuple(models),
        budget_s=budget_s,
        seed=seed,
        name=name,
        data=Path(data) if data else None,
    )
    return tune_request(request, trials, Path(out), settings or Settings.load(), progress or Silent())


def tune_request(
    request: Request, n_trials: int | None, out: Path, settings: Settings, progress: Progress
) -> TuneResult:
    """Tune every family that was asked for (with ``auto``, those that can be tuned), within one budget.

    Parameters
    ----------
    n_trials : per family, earlier calls' on the same question included; as many as the budget allows when None, 30
        when there is no budget either.
    out : where ``tuning.json`` is written.
    """
    begun = clock.monotonic()
    check_installed()
    _check_tunable(request.models)
    deadline = None if request.budget_s is None else begun + _TUNING_SHARE * request.budget_s
    if n_trials is None and deadline is None:
        n_trials = DEFAULT_TRIALS
    prepared = prepare(request, settings, progress)
    families = [item.family for item in prepared.candidates if parse(item.family)[0] in SEARCH]
    if not families:
        raise UsageError(f"no family to tune.\n  where: --models\n  fix:   one of {', '.join(sorted(SEARCH))}")
    tuning_windows(prepared.panel, prepared.h)  # a history that is too short is said before anything is opened
    with progress.stage("connect"):
        runs = _Runs(prepared, settings)
    tunings = []
    for position, family in enumerate(families):
        share = None if deadline is None else _share(deadline, len(families) - position)
        tunings.append(_tuned(prepared, family, n_trials, share, settings, progress, runs))
    return _result(prepared, tunings, out, clock.monotonic() - begun, runs.notes)


def _share(deadline: float, n_left: int) -> float:
    """When the next of so many families has to be done: what one leaves over the others may use."""
    now = clock.monotonic()
    return now + (deadline - now) / n_left


def _tuned(
    prepared: Prepared,
    family: str,
    n_trials: int | None,
    deadline: float | None,
    settings: Settings,
    progress: Progress,
    runs: _Runs,
) -> Tuning:
    try:
        found = tune_family(
            prepared.panel,
            prepared.h,
            family,
            n_trials=n_trials,
            deadline=deadline,
            seed=prepared.request.seed,
            n_threads=settings.n_workers,
            file=settings.home / _STUDIES,
            progress=progress,
            told=lambda study, trial: runs.log(family, study, trial),
        )
    except BaseException:
        runs.kill()
        raise
    runs.end(found)
    return found


class _Runs:
    """Logs trials to MLflow; one that cannot be reached costs the log, not the search."""

    def __init__(self, prepared: Prepared, settings: Settings):
        self.notes: tuple[str, ...] = ()
        self._prepared = prepared
        self._log: StudyLog | None = None
        self._run: str | None = None
        try:
            self._log = StudyLog(settings, model_name(prepared.panel.spec.name))
        except RegistryError as error:
            self._give_up(error)

    def log(self, family: str, study: str, trial: Trial) -> None:
        """A child run for a trial; the first one opens the run of its study."""
        if self._log is None:
            return
        try:
            self._run = self._run or self._log.begin(study, self._facts(family))
            metrics = {"inner_wape": trial.wape, "seconds": trial.seconds}
            tags = {"foretail.state": trial.state, "foretail.reason": trial.reason, "foretail.trial": str(trial.number)}
            self._log.log_trial(self._run, trial.name, trial.params, metrics, trial.windows, tags)
        except RegistryError as error:
            self._give_up(error)

    def end(self, found: Tuning) -> None:
        """Log what a study found."""
        if self._log is None or self._run is None:
            return
        figures = found.to_dict()
        names = ("wape_default", "wape_best", "gain", "noise", "n_trials", "n_stopped", "n_failed")
        metrics = {name: float(figures[name]) for name in names if figures[name] is not None}
        tags = {"foretail.verdict": found.verdict, "foretail.recommended": found.recommended or ""}
        self._finish(metrics, tags, "FINISHED" if found.default else "FAILED")

    def kill(self) -> None:
        """End the run of a study that was interrupted."""
        self._finish({}, {}, "KILLED")

    def _finish(self, metrics: Mapping[str, float], tags: Mapping[str, str], status: str) -> None:
        run, self._run = self._run, None
        if self._log is None or run is None:
            return
        try:
            self._log.end(run, metrics, tags, status=status)
        except RegistryError as error:
            self._give_up(error)

    def _give_up(self, error: RegistryError) -> None:
        self._log = None
        self.notes = (f"trials are not in MLflow: {error}",)

    def _facts(self, family: str) -> dict[str, object]:
        panel = self._prepared.panel
        return {
            "family": family,
            "dataset": panel.spec.name,
            "dataset_version": panel.dataset_version,
            "cutoff": panel.cutoff.isoformat(),
            "horizon": self._prepared.h,
            "seed": self._prepared.request.seed,
        }


def _result(
    prepared: Prepared, tunings: Sequence[Tuning], out: Path, seconds: float, notes: Sequence[str]
) -> TuneResult:
    panel, request = prepared.panel, prepared.request
    recommended = [item.recommended for item in tunings if item.recommended]
    models = tuple(dict.fromkeys((*request.models, *recommended)))
    command = command_of(replace(request, models=models, budget_s=None))
    told = (*prepared.notes, *notes)
    summary = {
        "dataset": panel.spec.name,
        "dataset_version": panel.dataset_version,
        "cutoff": panel.cutoff.isoformat(),
        "horizon": prepared.h,
        "seed": request.seed,
        "recommended": recommended,
        "next": command,
        "seconds": round(seconds, 3),
        "families": [item.to_dict() for item in tunings],
        "notes": list(told),
    }
    write_outputs(out, {"tuning.json": json_writer(summary)})
    return TuneResult(out, summary, tuple(tunings), command, told)


def _check_tunable(names: Sequence[str]) -> None:
    for name in names:
        if name != "auto":
            search_space(name)
