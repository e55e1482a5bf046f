"""Threads for what computes; requests that wait for the same version are scored together.

A look-up of eight rows costs little more than one of one row. While a version works on a batch, whatever comes for it
gathers, and goes with the next batch: nobody waits on purpose, and a busy server answers more requests a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from foretail.serving.asks import Answered, Ask
from foretail.serving.errors import RequestError, refuse
from foretail.serving.scorer import Scorer

__all__ = ["SlowLane"]

_Answer = TypeVar("_Answer")
_Scored = list[Answered] | Exception

_WAITING = 64  # slow requests that wait or run at most
_TOGETHER = 256  # rows of a batch: a small request should not wait for more than that of others


@dataclass(eq=False)
class _Batch:
    """Requests that go together.

    Attributes
    ----------
    requests : their asks. n_rows : of all answers. scored : what will come out, request after request.
    """

    requests: list[Sequence[Ask]] = field(default_factory=list)
    n_rows: int = 0
    scored: asyncio.Task[list[_Scored]] = field(init=False)

    def add(self, asks: Sequence[Ask]) -> int:
        """The request's place in the batch."""
        self.requests.append(asks)
        self.n_rows += _n_rows(asks)
        return len(self.requests) - 1


class _Queue:
    """What waits for one version: one batch is worked on, the next one gathers."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.gathering: _Batch | None = None


class SlowLane:
    """Threads for what takes long (what-ifs, store rows, explanations, large batches): the event loop stays free.

    Parameters
    ----------
    n_threads : that run at once. waiting : requests that wait or run at most; the next is refused.
    """

    def __init__(self, n_threads: int = 2, waiting: int = _WAITING):
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="foretail-slow")
        self._waiting = waiting
        self._n = 0
        self._queues: WeakKeyDictionary[Scorer, _Queue] = WeakKeyDictionary()

    async def score(self, scorer: Scorer, asks: Sequence[Ask]) -> list[Answered]:
        """`Scorer.score` together with whatever else waits for the same version.

        Raises
        ------
        RequestError : what is wrong with this request; 503 when too much waits already.
        """
        with self._counted():
            queue = self._queues.setdefault(scorer, _Queue())
            batch = queue.gathering
            if batch is None or batch.n_rows + _n_rows(asks) > _TOGETHER:
                batch = queue.gathering = _Batch()
                batch.scored = asyncio.create_task(self._next(scorer, queue, batch))
            place = batch.add(asks)
            found = (await asyncio.shield(batch.scored))[place]  # who hangs up takes nobody else's answer away
        if isinstance(found, Exception):
            raise found
        return found

    async def run(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Do some work on a thread.

        Raises
        ------
        RequestError : 503, too much waits already.
        """
        with self._counted():
            return await self._threaded(work, *arguments)

    def close(self) -> None:
        """End the threads that have nothing to do."""
        self._pool.shutdown(wait=False)

    async def _next(self, scorer: Scorer, queue: _Queue, batch: _Batch) -> list[_Scored]:
        async with queue.turn:
            if queue.gathering is batch:
                queue.gathering = None
            return await self._threaded(_score, scorer, batch.requests)

    async def _threaded(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._n >= self._waiting:
            fix = "try again in a moment, or add replicas"
            raise refuse(503, f"{self._n} requests that compute are waiting already", "the server", fix)
        self._n += 1
        try:
            yield
        finally:
            self._n -= 1


def _score(scorer: Scorer, requests: Sequence[Sequence[Ask]]) -> list[_Scored]:
    """The answers of each request, or what is wrong with it; one that is refused does not take the others with it."""
    try:
        answered = iter(scorer.score([ask for asks in requests for ask in asks]))
    except Exception as error:  # each alone, so that it is told to whom it belongs
        is_told = len(requests) == 1 or (isinstance(error, RequestError) and error.status == 503)
        return [error] * len(requests) if is_told else [_score(scorer, [asks])[0] for asks in requests]
    return [list(islice(answered, _n_rows(asks))) for asks in requests]


def _n_rows(asks: Sequence[Ask]) -> int:
    return sum(ask.horizon for ask in asks)
