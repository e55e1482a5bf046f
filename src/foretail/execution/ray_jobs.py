"""Runs a command of foretail as a job of a Ray cluster, by its Jobs API, and stays with it until it has ended.

Ray is imported where it is used.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from foretail.core.errors import MissingExtraError, ServiceError
from foretail.execution.attach import one_line

__all__ = ["JOBS", "run_as_job", "told"]

JOBS = "ray-jobs://"  # before the URL of the Jobs API
_POLL_S = 0.5
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_SECRET = re.compile(r"://[^/@\s]*:[^/@\s]*@")  # a password in a URL


def told(environ: Mapping[str, str] | None = None) -> tuple[dict[str, str], list[str]]:
    """What a job is told of this process's environment.

    Returns
    -------
    The variables ``FORETAIL_*`` and ``MLFLOW_*`` without a secret, and the names of those with one: whoever may look at
    the cluster can read what a job was told, so that secrets belong into the environment of its nodes.
    """
    environ = os.environ if environ is None else environ
    ours = {name: value for name, value in environ.items() if name.startswith(("FORETAIL_", "MLFLOW_"))}
    secret = [name for name, value in ours.items() if _SECRET.search(value) or re.search("PASSWORD|TOKEN|SECRET", name)]
    return {name: value for name, value in ours.items() if name not in secret}, sorted(secret)


def run_as_job(
    url: str,
    command: Sequence[str],
    *,
    folder: str,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> int:
    """Run a command on the head of a cluster.

    Parameters
    ----------
    url : of the Jobs API, e.g. ``http://127.0.0.1:8265``.
    command : program and arguments; each reaches the program as it is here.
    folder : where it runs; the head must have it too.
    environment : variables it sees. say : takes its output, line by line.

    Returns
    -------
    Its exit code; 1 when it was stopped or could not be started.

    Raises
    ------
    MissingExtraError : Ray is not installed.
    ServiceError : the Jobs API does not answer, does not let us in, or went away.
    """
    client = _client(url)
    entrypoint = shlex.join(["env", "-C", folder, *command])  # the API takes a line for the shell, so all is quoted
    runtime = {"env_vars": dict(environment)}
    job = _asked(url, lambda: client.submit_job(entrypoint=entrypoint, runtime_env=runtime))
    try:
        return _followed(url, client, job, say)
    except KeyboardInterrupt:
        _asked(url, lambda: client.stop_job(job))
        raise


def _client(url: str) -> Any:
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    return _asked(url, lambda: JobSubmissionClient(url))


def _followed(url: str, client: Any, job: str, say: Callable[[str], None]) -> int:
    """Pass on what the job prints until it has ended."""
    n_said = 0
    while True:
        info = _asked(url, lambda: client.get_job_info(job))
        has_ended = str(info.status.value) in _ENDED
        lines = str(_asked(url, lambda: client.get_job_logs(job))).splitlines(keepends=True)
        whole = [line for line in lines if has_ended or line.endswith("\n")]  # the last may still be growing
        for line in whole[n_said:]:
            say(line.rstrip("\n"))
        n_said = len(whole)
        if has_ended:
            break
        time.sleep(_POLL_S)
    if info.driver_exit_code is None:
        say(f"the job {job} ended as {info.status.value}: {info.message}")
        return 1
    return int(info.driver_exit_code)


def _asked(url: str, question: Callable[[], Any]) -> Any:
    """What the Jobs API answers."""
    from ray.exceptions import RayError

    try:
        return question()
    except (RuntimeError, OSError, RayError) as error:  # those of requests are OSErrors
        raise ServiceError(
            f"the Jobs API of Ray does not do it: {one_line(error)}\n  where: {url}"
            "\n  fix:   check the address of the dashboard; one that asks for a token needs RAY_AUTH_MODE=token and"
            " RAY_AUTH_TOKEN"
        ) from error
