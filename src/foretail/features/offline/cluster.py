"""Runs partitions one after the other here, or as Ray tasks on a machine or a cluster; a lost worker costs only time.

A partition whose worker or node dies runs again, a few times; one that fails by itself is not tried again, and its
error is raised here as it was raised there. When the head of the cluster dies, Ray would end this process after a
minute; before that an error is raised that says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from foretail.core.errors import ServiceError
from foretail.execution.attach import Cluster, attach, check_execution, one_line
from foretail.execution.worker import THREADS

__all__ = ["run_partitions"]

T = TypeVar("T")
R = TypeVar("R")

_RETRIES = 3  # of a partition that is lost with its worker or node


def run_partitions(
    tasks: Iterable[T],
    run: Callable[[T], R],
    execution: str = "local",
    advance: Callable[[int], object] | None = None,
) -> Iterator[R]:
    """Give ``run(task)`` for every task, in the order of the tasks.

    Only as many partitions as there are cores, and one, are under way or wait to be taken: memory is bounded by them
    however many tasks there are.

    Parameters
    ----------
    tasks : read as they are needed; with Ray they and the results travel, so they are picklable.
    run : with Ray a function of an installed module.
    execution : ``local``, in this process; ``ray``, the Ray that this process is attached to, or that ``RAY_ADDRESS``
        names, or else one started on this machine, warm until the process ends; ``ray://HOST:PORT``, the client server
        of a cluster (KubeRay: port 10001); ``HOST:PORT``, the head of a cluster that this machine is a node of.
    advance : called with 1 for every partition that is done.

    Yields
    ------
    One result per task.

    Raises
    ------
    UsageError : an execution that is none of these, or another cluster than the one this process is attached to.
    MissingExtraError : Ray is not installed.
    ServiceError : the address does not answer, the cluster went away or has no node left, or a partition was lost with
        its worker more often than can be chance. What `run` itself raises is raised here unchanged.
    """
    check_execution(execution, "local", "the settings of the offline store")
    done = advance or _nobody
    return _here(tasks, run, done) if execution == "local" else _there(attach(execution), tasks, run, done)


def _nobody(_n: int) -> None:
    """Show nothing."""


def _here(tasks: Iterable[T], run: Callable[[T], R], done: Callable[[int], object]) -> Iterator[R]:
    for task in tasks:
        result = run(task)
        done(1)
        yield result


def _there(cluster: Cluster, tasks: Iterable[T], run: Callable[[T], R], done: Callable[[int], object]) -> Iterator[R]:
    """Keep a window of partitions under way; its oldest is taken first, so that results keep their order."""
    remote = cluster.ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=False)(run)
    submit = remote.options(runtime_env={"env_vars": dict.fromkeys(THREADS, "1")}).remote
    waiting = iter(tasks)
    window: deque[Any] = deque()
    n_taken = 0
    try:
        while True:
            room = cluster.n_cores + 1 - len(window)
            window.extend(submit(task) for _, task in zip(range(room), waiting, strict=False))
            if not window:
                return
            result = _taken(cluster, window[0], n_taken)
            window.popleft()
            n_taken += 1
            done(1)
            yield result
            del result  # the next wait holds no result that the caller has let go of
    finally:
        cluster.cancel(window)


def _taken(cluster: Cluster, reference: Any, position: int) -> Any:
    """The result of a partition, once it is there."""
    errors = cluster.ray.exceptions
    try:
        cluster.wait([reference])
        return cluster.ray.get(reference)
    except errors.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            raise cause from error
        raise
    except (errors.RayError, ConnectionError) as error:
        if isinstance(error, ConnectionError | errors.LocalRayletDiedError):
            cluster.let_go()
        raise ServiceError(
            f"Ray lost partition {position + 1}: {one_line(error)}\n  where: {cluster.name}"
            "\n  fix:   run it again; workers that run out of memory need more of it, or more partitions"
        ) from error
