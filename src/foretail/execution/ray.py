"""Runs chunks as tasks on a Ray, as the pool of processes runs them here; a node that dies costs only retries.

Ray itself is imported when a pool is asked for.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from foretail.core.errors import ServiceError
from foretail.execution.attach import Cluster, attach, check_execution, one_line
from foretail.execution.pool import Chunk, Outcome, Pool, Task, settle, using, warm_pool
from foretail.execution.worker import THREADS, opened, work_on

__all__ = ["PROCESSES", "RayPool", "execution_of"]

R = TypeVar("R")
logger = logging.getLogger(__name__)

PROCESSES = "processes"  # the execution that needs no Ray
_RETRIES = 3  # of a chunk whose worker or node dies; a half of it that was lost is tried once more only
_PER_CORE = 2  # chunks under way for each core: one that runs, one that waits


@contextmanager
def execution_of(execution: str, n_workers: int = 0) -> Iterator[Pool]:
    """The pool of an execution, which everything below that asks for a warm pool uses too.

    Parameters
    ----------
    execution : ``processes``, on this machine; ``ray``, the Ray that this process is attached to, or that
        ``RAY_ADDRESS`` names, or else one started on this machine; ``ray://HOST:PORT``, the client server of a cluster;
        ``HOST:PORT``, the head of a cluster that this machine is a node of.
    n_workers : processes on this machine; 0 means one per core.

    Raises
    ------
    UsageError : an execution that is none of these, or another cluster than the one this process is attached to.
    MissingExtraError : Ray is not installed.
    ServiceError : the address does not answer.
    """
    check_execution(execution, PROCESSES, "--execution, FORETAIL_EXECUTION or execution in foretail.toml")
    if execution == PROCESSES:
        yield warm_pool(n_workers or os.cpu_count() or 1)
        return
    with using(RayPool(attach(execution))) as pool:
        yield pool


class RayPool(Pool):
    """The cores of a Ray behind the interface of `Pool`.

    Every node needs the foretail of this process, with the same extras. A chunk whose worker or node dies runs again,
    a few times; one that is lost each time is halved, as everywhere, until the row that kills its workers stands alone.
    Chunks that are too few for the cores are cut smaller, which changes no result: a function may not look beyond its
    rows.

    Parameters
    ----------
    cluster : the Ray that this process is attached to.
    """

    def __init__(self, cluster: Cluster):
        super().__init__(cluster.n_cores)
        self._cluster = cluster

    @property
    def is_here(self) -> bool:
        """Never: one core elsewhere is not here."""
        return False

    def _map_there(self, function: Callable[..., R], tasks: deque[Task]) -> Iterator[Outcome[R]]:
        cluster = self._cluster
        remote = cluster.ray.remote(num_cpus=1, retry_exceptions=False)(_work)
        one_thread = {"env_vars": dict.fromkeys(THREADS, "1")}
        told = cluster.ray.put(pickle.dumps(function, protocol=5))  # once, however much it holds
        tasks = _cut_for(tasks, _PER_CORE * self.n_workers)
        running: dict[Any, Task] = {}

        def submit(task: Task) -> Any:
            arrays = pickle.dumps(task.chunk.arrays, protocol=5)
            options = {"runtime_env": one_thread, "max_retries": 1 if task.tries else _RETRIES}
            return remote.options(**options).remote(told, arrays)

        try:
            while tasks or running:
                self.n_workers = max(1, cluster.n_cores)
                while tasks and len(running) < _PER_CORE * self.n_workers:
                    task = tasks.popleft()
                    running[submit(task)] = task
                for reference in cluster.wait(list(running)):
                    yield from self._taken(reference, running.pop(reference), tasks)
        finally:
            cluster.cancel(running)

    def _taken(self, reference: Any, task: Task, tasks: deque[Task]) -> Iterator[Outcome[Any]]:
        """What became of a chunk; it may go back among the others."""
        cluster, errors = self._cluster, self._cluster.ray.exceptions
        try:
            answer = opened(cluster.ray.get(reference))
        except (errors.RayTaskError, errors.RuntimeEnvSetupError) as error:
            raise ServiceError(
                f"a node cannot work for foretail: {_last_line(error)}\n  where: {cluster.name}"
                "\n  fix:   install there what is installed here, in the same versions"
            ) from error
        except (errors.RayError, ConnectionError) as error:
            if isinstance(error, ConnectionError | errors.LocalRayletDiedError):
                cluster.let_go()
                raise ServiceError(
                    f"Ray went away: {one_line(error)}\n  where: {cluster.name}\n  fix:   start it, then run this again"
                ) from error
            yield from _lost(task, tasks, one_line(error))
        else:
            yield from settle(task, answer, tasks)


def _work(function: bytes, arrays: bytes) -> bytes:
    """What a worker of Ray does: it has one core, so whatever it calls stays in its process."""
    with using(Pool(1)):
        return work_on(function, arrays)


def _lost(task: Task, tasks: deque[Task], why: str) -> Iterator[Outcome[Any]]:
    """A chunk that no worker survived: its halves are next, or it is the answer."""
    chunk = task.chunk
    logger.warning("workers died on rows %d..%d: %s", chunk.start, chunk.start + len(chunk) - 1, why)
    if len(chunk) == 1:
        yield Outcome(chunk.start, 1, reason=f"every worker died of it (out of memory, or a crash): {why}")
    else:
        tasks.extendleft(Task(half, 1) for half in reversed(chunk.halves()))


def _cut_for(tasks: deque[Task], wanted: int) -> deque[Task]:
    """Halve chunks until there are as many as wanted, or one row is left in each."""
    while len(tasks) < wanted and any(len(task.chunk) > 1 for task in tasks):
        tasks = deque(Task(part) for task in tasks for part in _parts(task.chunk))
    return tasks


def _parts(chunk: Chunk) -> tuple[Chunk, ...]:
    return chunk.halves() if len(chunk) > 1 else (chunk,)


def _last_line(error: Exception) -> str:
    """The remote error itself: Ray puts the traceback before it."""
    return str(error).strip().splitlines()[-1]
