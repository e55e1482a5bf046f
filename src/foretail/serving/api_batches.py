"""Questions that wait at the same time are asked together, in one query, and no answer is older than its question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Batches"]

Q = TypeVar("Q")
A = TypeVar("A")


class Batches(Generic[Q, A]):
    """Asks on a thread of its own, one batch after another.

    While a batch is asked, what comes in waits and is the next batch, so that many callers cost few queries and
    whatever was written before a question is in its answer.

    Parameters
    ----------
    ask : questions to answers, in their order. most : questions of a batch; a caller's own stay together.
    """

    def __init__(self, ask: Callable[[Sequence[Q]], Sequence[A]], most: int = 256):
        self._ask, self._most = ask, most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="foretail-batches")
        self._waiting: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def answers(self, questions: Sequence[Q]) -> Sequence[A]:
        """Answers, in the order of the questions; raises what the asking raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[A]] = loop.create_future()
        self._waiting.append((questions, future))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await future

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._next()
            flat = [question for questions, _ in batch for question in questions]
            try:
                found = await loop.run_in_executor(self._thread, self._ask, flat)
            except Exception as error:  # it is the callers' to handle
                _fail(batch, error)
            else:
                _tell(batch, found)
        self._task = None

    def _next(self) -> list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]]:
        n, taken = 0, 0
        while taken < len(self._waiting) and (not taken or n + len(self._waiting[taken][0]) <= self._most):
            n += len(self._waiting[taken][0])
            taken += 1
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return batch


def _tell(batch: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]], found: Sequence[A]) -> None:
    first = 0
    for questions, future in batch:
        if not future.done():  # its caller may have gone away
            future.set_result(found[first : first + len(questions)])
        first += len(questions)


def _fail(batch: list[tuple[Sequence[Q], asyncio.Future[Sequence[A]]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
