"""Server-sent events of a job: one whenever it changes, until it is over, the client goes or the server ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import StreamingResponse

from foretail.core.errors import ForetailError
from foretail.serving.errors import refuse
from foretail.warehouse.jobs import FINISHED

__all__ = ["Events"]

_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}  # the second is for Nginx


class Events:
    """Streams of progress.

    Parameters
    ----------
    poll_s : seconds between two looks. keep_alive_s : seconds of silence after which a comment is sent.
    most : streams at once; each costs a look at the warehouse every ``poll_s``.
    """

    def __init__(self, poll_s: float = 0.25, keep_alive_s: float = 15.0, most: int = 100):
        self.is_ending = False
        self._poll_s, self._keep_alive_s, self._most = poll_s, keep_alive_s, most
        self._open = 0

    async def stream(self, look: Callable[[], dict[str, Any]], request: Request) -> StreamingResponse:
        """Follow a job.

        Parameters
        ----------
        look : how it stands; asked on a thread.

        Raises
        ------
        RequestError : what ``look`` raises at the first look; 503, too many are followed.
        """
        if self._open >= self._most:
            raise refuse(503, f"{self._open} jobs are followed already", "the server", "ask for the status instead")
        first = await asyncio.to_thread(look)
        return StreamingResponse(self._events(first, look, request), media_type="text/event-stream", headers=_HEADERS)

    async def _events(
        self, seen: dict[str, Any], look: Callable[[], dict[str, Any]], request: Request
    ) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield _event(seen)
            told = time.monotonic()
            while seen["status"] not in FINISHED and not self.is_ending and not await request.is_disconnected():
                await asyncio.sleep(self._poll_s)
                try:
                    now = await asyncio.to_thread(look)
                except ForetailError:  # the warehouse may be back at the next look
                    yield b"event: unavailable\ndata: {}\n\n"
                    continue
                if now != seen:
                    yield _event(now)
                    seen, told = now, time.monotonic()
                elif time.monotonic() - told > self._keep_alive_s:
                    yield b": still there\n\n"
                    told = time.monotonic()
        finally:
            self._open -= 1


def _event(job: dict[str, Any]) -> bytes:
    kind = b"end" if job["status"] in FINISHED else b"progress"
    return b"event: %s\ndata: %s\n\n" % (kind, orjson.dumps(job))
