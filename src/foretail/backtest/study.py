"""The Optuna side of a parameter search: a study on disk or in memory, asked for parameters and told what they gave."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foretail.backtest.trial import DONE, FAILED, Trial
from foretail.core.errors import ForecastError, MissingExtraError
from foretail.models.search import Choice, Range, SearchSpace

__all__ = ["Asked", "Study", "check_installed"]

_RECORD = "foretail"  # user attribute of a trial that holds its record
_STARTUP = 8  # trials at random before the sampler draws conclusions


class Asked:
    """Parameters that wait for an answer.

    Attributes
    ----------
    number : of the trial. params : ``{parameter: value}``, rounded as they are tried and recommended.
    """

    def __init__(self, trial: Any, space: SearchSpace):
        self.trial = trial
        self.number = trial.number
        self.params: dict[str, Any] = {
            key: item.rounded(trial.params[key]) if isinstance(item, Range) else trial.params[key]
            for key, item in space.items()
        }


class Study:
    """A search that can be interrupted and taken up again: the same trials follow as if it had not been.

    Parameters
    ----------
    name : of the study; one name, one question. space : what is looked for. defaults : tried first.
    file : SQLite file that keeps it; None keeps it in memory. seed : of the sampler.

    Raises
    ------
    MissingExtraError : Optuna is not installed. ForecastError : the file cannot be used.
    """

    def __init__(
        self, name: str, space: SearchSpace, defaults: Mapping[str, Any], *, file: Path | None = None, seed: int = 7
    ):
        self._optuna = check_installed()
        self.name = name
        self.space = space
        self.seed = seed
        self._defaults = dict(defaults)
        self._distributions = {key: self._distribution(item) for key, item in space.items()}
        try:
            self._study = self._optuna.create_study(
                study_name=name,
                storage=self._storage(file),
                pruner=self._optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        except Exception as error:
            if not _is_of_the_storage(error):
                raise
            raise ForecastError(
                f"the study cannot be opened: {str(error).splitlines()[0]}\n  where: {file}\n"
                "  fix:   move that file away (its trials are lost to tuning), or use another --home"
            ) from error

    def trials(self) -> list[Trial]:
        """Every trial that was told, oldest first."""
        frozen = self._study.get_trials(deepcopy=False)
        return [Trial.from_record(item.user_attrs[_RECORD]) for item in frozen if _RECORD in item.user_attrs]

    def ask(self, n_settled: int, n_skipped: int = 0) -> Asked:
        """The next parameters; the defaults when nothing was settled yet.

        The sampler is seeded anew for each trial by how many went before, so that a search that was interrupted goes
        on with the parameters that it would have gone on with. ``n_skipped`` asks for others in their place.
        """
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=((self.seed * 1_000_003 + n_settled) * 101 + n_skipped) % 2**32,
            n_startup_trials=_STARTUP,
            constant_liar=False,
        )
        if n_settled == 0:
            self._study.enqueue_trial(self._defaults)
        return Asked(self._study.ask(self._distributions), self.space)

    def report(self, asked: Asked, wape: float, position: int) -> None:
        """Note the WAPE over the windows up to this one."""
        asked.trial.report(wape, position)

    def tell(self, asked: Asked, trial: Trial) -> None:
        """Settle a trial: done with its WAPE, stopped with what it had, failed with the worst there is."""
        states = self._optuna.trial.TrialState
        asked.trial.set_user_attr(_RECORD, trial.to_record())
        if trial.state == DONE:
            self._study.tell(asked.trial, trial.wape)
        else:
            if trial.state == FAILED:  # the worst there is, so that the sampler keeps away
                asked.trial.report(math.inf, len(trial.windows))
            self._study.tell(asked.trial, state=states.PRUNED if trial.is_settled else states.FAIL)

    def drop(self, asked: Asked) -> None:
        """Give a trial up without a word, as when the user interrupts."""
        self._study.tell(asked.trial, state=self._optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def close(self) -> None:
        """Let go of the file."""
        storage = getattr(self._study._storage, "_backend", self._study._storage)
        if hasattr(storage, "engine"):
            storage.remove_session()
            storage.engine.dispose()

    def _storage(self, file: Path | None) -> Any:
        if file is None:
            return self._optuna.storages.InMemoryStorage()
        file.parent.mkdir(parents=True, exist_ok=True)
        # seconds to wait for another process that writes
        return self._optuna.storages.RDBStorage(
            f"sqlite:///{file.absolute()}", engine_kwargs={"connect_args": {"timeout": 30}}
        )

    def _distribution(self, item: Range | Choice) -> Any:
        kinds = self._optuna.distributions
        if isinstance(item, Choice):
            return kinds.CategoricalDistribution(item.values)
        if item.is_whole:
            return kinds.IntDistribution(int(item.low), int(item.high), log=item.is_log)
        return kinds.FloatDistribution(item.low, item.high, log=item.is_log)


def check_installed() -> Any:
    """Optuna, its own messages switched off: what it finds is told in foretail's words.

    Raises
    ------
    MissingExtraError : it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError("optuna", "tune") from error
    logging.getLogger("optuna").setLevel(logging.ERROR)
    return optuna


def _is_of_the_storage(error: Exception) -> bool:
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"sqlalchemy", "alembic", "sqlite3"}) or type(error).__name__ == "StorageInternalError"
