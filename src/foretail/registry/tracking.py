"""The way to MLflow: imported when first needed, kept quiet, sending nothing home, its failures told in our words."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foretail.core.errors import ForetailError, RegistryError
from foretail.core.settings import Settings

__all__ = ["connect", "experiment_id", "is_not_found", "is_server", "shown", "talking"]

# read by MLflow when it is imported; what a user has set stays
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # a server that is down shows within seconds, not after MLflow's own minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST",)


def connect(settings: Settings) -> Any:
    """An MLflow client for the tracking and registry URI of the settings.

    Raises
    ------
    RegistryError : the URI cannot be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with talking(settings, "reach the registry"):
        if settings.tracking_uri.startswith("sqlite:///"):
            Path(settings.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def experiment_id(client: Any, settings: Settings, name: str) -> str:
    """The experiment of that name, made if it is not there; without a server its artifacts lie below home."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    place = None if is_server(settings) else (settings.home / "artifacts" / name).absolute().as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def is_server(settings: Settings) -> bool:
    """Whether MLflow is a server, which then decides where artifacts lie."""
    return settings.tracking_uri.startswith(("http://", "https://", "databricks"))


def shown(uri: str) -> str:
    """A URI without its password."""
    return re.sub(r"(//[^:/@\s]*):[^@/\s]*@", r"\1:***@", uri)


@contextmanager
def talking(settings: Settings, to_do: str, fix: str = "") -> Iterator[None]:
    """Call MLflow inside: its warnings and messages stay out of sight, its failures become `RegistryError`.

    Parameters
    ----------
    to_do : what is being done, for "cannot …".
    fix : what the user can do about a failure; checking the server by default.
    """
    fix = fix or "check that the tracking server runs and FORETAIL_TRACKING_URI names it"
    with warnings.catch_warnings(), _hushed():
        warnings.simplefilter("ignore")
        try:
            yield
        except ForetailError:
            raise
        except Exception as error:
            if not _is_of_the_registry(error):
                raise
            text = shown(str(error).strip().partition("\n")[0]) or type(error).__name__
            where = shown(settings.tracking_uri)
            raise RegistryError(f"cannot {to_do}: {text}\n  where: {where}\n  fix:   {fix}") from error


def is_not_found(error: BaseException | None) -> bool:
    """Whether MLflow says that there is no such thing."""
    code = str(getattr(error, "error_code", ""))
    return code in _NOT_FOUND or (code == "INVALID_PARAMETER_VALUE" and "alias" in str(error))


def _is_of_the_registry(error: Exception) -> bool:
    """Failures of MLflow, its database, the network or a missing driver; anything else is a defect of ours."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError | ImportError) or bool(modules & {"mlflow", "sqlalchemy", "alembic", "requests"})


@contextmanager
def _hushed() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "sqlalchemy", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # an error is told once, in our own words
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
