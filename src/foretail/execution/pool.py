"""Runs a function over chunks of series in warm worker processes; a bad series costs itself, never its neighbours.

A chunk that fails is tried once more, then halved until the series that fail stand alone; the rest of it is answered.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from foretail.execution.laid import Laid, laid
from foretail.execution.worker import THREADS, Answer, attempt, opened, prepare, work_on

__all__ = ["Chunk", "Outcome", "Pool", "Task", "check_importable", "chunks", "cut", "settle", "using", "warm_pool"]

R = TypeVar("R")
logger = logging.getLogger(__name__)

_IN_USE: ContextVar[Pool | None] = ContextVar("_IN_USE", default=None)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive rows of some work.

    Attributes
    ----------
    start : position of its first row in the whole.
    arrays : arguments of the function (NumPy arrays, lists), each with one entry per row along its first axis.
    """

    start: int
    arrays: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.arrays[0])

    def halves(self) -> tuple[Chunk, Chunk]:
        """Its first and its second half."""
        middle = len(self) // 2
        first = tuple(array[:middle] for array in self.arrays)
        second = tuple(array[middle:] for array in self.arrays)
        return Chunk(self.start, first), Chunk(self.start + middle, second)


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of consecutive rows.

    Attributes
    ----------
    start, n : the rows ``start .. start + n - 1``.
    value : what the function returned for them; None where it failed.
    reason : why it failed, one line; None where it did not. A failed outcome has ``n == 1``.
    """

    start: int
    n: int
    value: R | None = None
    reason: str | None = None

    @property
    def is_failed(self) -> bool:
        return self.reason is not None


@dataclass(frozen=True, eq=False)
class Task:
    """A chunk, and how often it was tried."""

    chunk: Chunk
    tries: int = 0


def chunks(n: int, n_workers: int, per_worker: int = 4) -> list[slice]:
    """Cut n rows into even slices, ``per_worker`` for each worker (a slow chunk then delays no one for long)."""
    n_chunks = min(n, max(1, n_workers * per_worker))
    edges = [n * i // n_chunks for i in range(n_chunks + 1)] if n_chunks else [0]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def cut(arrays: Sequence[Any], n_workers: int, per_worker: int = 4) -> list[Chunk]:
    """Cut arrays of equal length along their first axis into chunks.

    Raises
    ------
    ValueError : no array, or lengths that differ.
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        raise ValueError(f"arrays of one length are needed, found {sorted(lengths)}")
    return [
        Chunk(part.start, tuple(array[part] for array in arrays))
        for part in chunks(lengths.pop(), n_workers, per_worker)
    ]


def warm_pool(n_workers: int) -> Pool:
    """The pool that is in use (see `using`), or else the one of so many workers that this process shares.

    That one is warm until the process ends; inside a worker it is a pool of one.
    """
    return _IN_USE.get() or _shared(1 if parent_process() is not None else n_workers)


@contextmanager
def using(pool: Pool) -> Iterator[Pool]:
    """Have everything below that asks for a warm pool use this one."""
    before = _IN_USE.set(pool)
    try:
        yield pool
    finally:
        _IN_USE.reset(before)


@cache
def _shared(n_workers: int) -> Pool:
    return Pool(n_workers)


class Pool:
    """Worker processes that stay warm between calls.

    Workers are started fresh (no fork of a process with threads), run with one BLAS and Polars thread each, ignore
    Ctrl-C (this process ends them), and end by themselves when this process is gone. They start with the first call
    that needs them. Use a pool in a ``with`` block, which ends them at once on Ctrl-C.

    Parameters
    ----------
    n_workers : processes; 1 means everything runs in this process.
    """

    def __init__(self, n_workers: int):
        self.n_workers = max(1, n_workers)
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    @property
    def is_here(self) -> bool:
        """Everything runs in this process."""
        return self.n_workers == 1

    def map(self, function: Callable[..., R], work: Iterable[Chunk], *, min_rows: int = 2) -> Iterator[Outcome[R]]:
        """Call ``function(*chunk.arrays)`` for every chunk.

        Parameters
        ----------
        function : importable by name (no lambda, nothing from a script); fixed arguments by `functools.partial`.
        work : the chunks.
        min_rows : fewer rows than this in all are done in this process.

        Returns
        -------
        Outcomes as they are ready, in no particular order; together they hold every row exactly once.

        Raises
        ------
        TypeError : a function that a worker cannot import.
        """
        tasks = [Task(chunk) for chunk in work if len(chunk)]
        if self.is_here or len(tasks) < 2 or sum(len(task.chunk) for task in tasks) < min_rows:
            return _map_here(function, deque(tasks))
        check_importable(function)
        return self._map_there(function, deque(tasks))

    def close(self) -> None:
        """Let the workers finish and end them; the next call starts new ones."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def kill(self) -> None:
        """End the workers at once, whatever they are doing."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        for process in list((executor._processes or {}).values()):
            process.terminate()
        executor.shutdown(wait=True, cancel_futures=True)

    def _map_there(self, function: Callable[..., R], tasks: deque[Task]) -> Iterator[Outcome[R]]:
        running: dict[Future[bytes], Task] = {}
        try:
            with laid(function) as travelling:
                while tasks or running:
                    suspects = self._fill(travelling, tasks, running)
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    if suspects or any(_is_broken(future) for future in done):
                        done, _ = wait(running)  # a death ends every one of them
                    for future in done:
                        task = running.pop(future)
                        if _is_broken(future):
                            suspects.append(task)
                        else:
                            yield from settle(task, opened(future.result()), tasks)
                    if suspects:
                        self.kill()
                        yield from self._one_by_one(travelling, suspects, tasks)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            if running:  # nobody waits for these any more
                self.kill()
            raise

    def _fill(self, function: bytes | Laid, tasks: deque[Task], running: dict[Future[bytes], Task]) -> list[Task]:
        """Keep every worker busy and one chunk waiting for it; give back the task that found the pool broken."""
        while tasks and len(running) < 2 * self.n_workers:
            task = tasks.popleft()
            try:
                running[self._submit(function, task.chunk)] = task
            except BrokenProcessPool:
                return [task]
        return []

    def _one_by_one(
        self, function: bytes | Laid, suspects: Sequence[Task], tasks: deque[Task]
    ) -> Iterator[Outcome[Any]]:
        """Run each suspect alone, so that the next death names its chunk; halve that one."""
        queue = deque(suspects)
        while queue:
            task = queue.popleft()
            try:
                answer = opened(self._submit(function, task.chunk).result())
            except BrokenProcessPool:
                self.kill()
                logger.warning("a worker died on rows %d..%d", task.chunk.start, task.chunk.start + len(task.chunk) - 1)
                if len(task.chunk) == 1:
                    yield Outcome(task.chunk.start, 1, reason="the worker process died (out of memory, or a crash)")
                else:
                    queue.extendleft(Task(half, 1) for half in reversed(task.chunk.halves()))
                continue
            yield from settle(task, answer, tasks)

    def _submit(self, function: bytes | Laid, chunk: Chunk) -> Future[bytes]:
        arguments = pickle.dumps(chunk.arrays, protocol=5)
        if self._executor is None:
            context = get_context("spawn")
            self._executor = ProcessPoolExecutor(self.n_workers, mp_context=context, initializer=prepare)
        if len(self._executor._processes or ()) == self.n_workers:
            return self._executor.submit(work_on, function, arguments)
        with _start_conditions():  # a submission starts a worker when none is idle
            return self._executor.submit(work_on, function, arguments)


def _is_broken(future: Future[bytes]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


def settle(task: Task, answer: Answer, tasks: deque[Task]) -> Iterator[Outcome[Any]]:
    """Turn an answer into an outcome, or put the task back among the others: once whole, then in halves."""
    chunk, reason = task.chunk, answer.reason
    if reason is None:
        yield Outcome(chunk.start, len(chunk), value=answer.value)
    elif task.tries == 0:
        tasks.append(Task(chunk, 1))
    elif len(chunk) == 1:
        logger.warning("row %d failed: %s", chunk.start, reason)
        yield Outcome(chunk.start, 1, reason=reason)
    else:
        tasks.extend(Task(half, 1) for half in chunk.halves())


def _map_here(function: Callable[..., R], tasks: deque[Task]) -> Iterator[Outcome[R]]:
    while tasks:
        task = tasks.popleft()
        yield from settle(task, attempt(function, task.chunk.arrays), tasks)


def check_importable(function: Callable[..., Any]) -> None:
    """Refuse a function that a worker would not find.

    Raises
    ------
    TypeError : it is of a script, or has no name.
    """
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    module = getattr(inner, "__module__", type(inner).__module__)
    if module == "__main__" or "<" in name:
        raise TypeError(f"a worker cannot import {module}.{name}: give a function of a module, by its name")


@contextmanager
def _start_conditions() -> Iterator[None]:
    """What workers inherit: one thread each, and not the caller's script (it may have no ``__main__`` guard)."""
    main = sys.modules["__main__"]
    file, spec = main.__dict__.pop("__file__", None), getattr(main, "__spec__", None)
    before = {name: os.environ.get(name) for name in THREADS}
    main.__spec__ = None
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is not None:
            main.__dict__["__file__"] = file
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
