"""Searches for parameters on MLflow: one run per study, one child run per trial."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from foretail.core.settings import Settings
from foretail.registry.tracking import connect, experiment_id, talking

__all__ = ["StudyLog"]

_STUDY = "foretail.study"


class StudyLog:
    """Runs of studies in the experiment of a model.

    Parameters
    ----------
    settings : ``tracking_uri`` says where. model : name of the experiment, as of the registered model.

    Raises
    ------
    RegistryError : MLflow cannot be reached.
    """

    def __init__(self, settings: Settings, model: str):
        self._settings = settings
        with talking(settings, "log the study"):
            self._client = connect(settings)
            self._experiment = experiment_id(self._client, settings, model)

    def begin(self, study: str, params: Mapping[str, object]) -> str:
        """The run of a study, new or, when the study is taken up again, the one it had; gives its id.

        Parameters
        ----------
        params : facts about the study, logged when the run is new.

        Raises
        ------
        RegistryError : MLflow cannot be reached.
        """
        with talking(self._settings, "log the study"):
            filter_string = f"tags.`{_STUDY}` = '{study}'"
            found = self._client.search_runs([self._experiment], filter_string=filter_string, max_results=1)
            if found:
                self._client.update_run(found[0].info.run_id, status="RUNNING")
                return str(found[0].info.run_id)
            run = self._client.create_run(self._experiment, run_name=f"tune {study}", tags={_STUDY: study})
            self._client.log_batch(run.info.run_id, params=_params(params))
            return str(run.info.run_id)

    def log_trial(
        self,
        parent: str,
        name: str,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        windows: Sequence[float],
        tags: Mapping[str, str],
    ) -> str:
        """Log one trial as a finished child run; gives its id.

        Parameters
        ----------
        parent : id of the study's run. name : of the child run.
        windows : WAPE per inner window, logged as ``window_wape`` with the window as its step.

        Raises
        ------
        RegistryError : MLflow cannot be reached.
        """
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        with talking(self._settings, "log the trial"):
            tags = {**tags, MLFLOW_PARENT_RUN_ID: parent}
            run = self._client.create_run(self._experiment, run_name=name, tags=tags)
            figures = _metrics(metrics)
            for position, wape in enumerate(windows):
                figures += _metrics({"window_wape": wape}, position)
            self._client.log_batch(run.info.run_id, metrics=figures, params=_params(params))
            self._client.set_terminated(run.info.run_id)
            return str(run.info.run_id)

    def end(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], *, status: str = "FINISHED"
    ) -> None:
        """Log the outcome of a study and end its run; ``status`` is FINISHED, FAILED or KILLED.

        Raises
        ------
        RegistryError : MLflow cannot be reached.
        """
        from mlflow.entities import RunTag

        with talking(self._settings, "log the study"):
            noted = [RunTag(key, value[:5000]) for key, value in tags.items()]
            self._client.log_batch(run_id, metrics=_metrics(metrics), tags=noted)
            self._client.set_terminated(run_id, status=status)


def _metrics(values: Mapping[str, float], step: int = 0) -> list[Any]:
    from mlflow.entities import Metric

    at = int(dt.datetime.now(dt.UTC).timestamp() * 1000)
    return [Metric(key, value, at, step) for key, value in values.items() if math.isfinite(value)]


def _params(values: Mapping[str, object]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(key, str(value)[:500]) for key, value in values.items()]
