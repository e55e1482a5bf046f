"""What stands before the endpoints: a name for every request, the rate limit, a line and a count for each answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from foretail.serving.api_ids import read_request_id
from foretail.serving.api_limits import RateLimit
from foretail.serving.api_metrics import ApiMetrics
from foretail.serving.errors import MEDIA_TYPE, problem_details, refuse
from foretail.serving.requestlog import RequestLog

__all__ = ["LINE", "Guard"]

logger = logging.getLogger(__name__)

LINE = ("time", "run_id", "request_id", "client", "method", "path", "status", "ms")  # of the request log
_UNLIMITED = ("/health", "/metrics")  # they are asked by machines that must not be turned away

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """The application with what every request goes through.

    Parameters
    ----------
    app : the endpoints. limit : of requests from one address. metrics : what is counted.
    log : a line for each request; None for none. run_id : of this server, on every line.
    """

    def __init__(self, app: App, limit: RateLimit, metrics: ApiMetrics, log: RequestLog | None, run_id: str):
        self.app = app
        self._limit, self._metrics, self._log, self._run_id = limit, metrics, log, run_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Request(self, scope, send).answer(receive)

    def note(self, request: _Request) -> None:
        """Count an answer and log it."""
        seconds = time.perf_counter() - request.began
        route = getattr(request.scope.get("route"), "path", "") or "none"
        method, path = request.scope["method"], request.scope["path"]
        self._metrics.requests.labels(route, method, request.status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._log is not None:
            line = (self._run_id, request.id, request.client, method, path[:200], request.status, 1000 * seconds)
            self._log.put((time.time(), *line))

    def wait_s(self, request: _Request) -> float:
        """Seconds to wait for leave, 0 for none."""
        if request.scope["path"] in _UNLIMITED:
            return 0.0
        wait = self._limit.wait_s(request.client)
        if wait:
            self._metrics.refused.inc()
        return wait


class _Request:
    """One request under way."""

    def __init__(self, guard: Guard, scope: Scope, send: Send):
        self.guard, self.scope, self._send = guard, scope, send
        self.began = time.perf_counter()
        self.status = 0
        self.id = read_request_id(_header(scope, b"x-request-id"))
        self.client = (scope.get("client") or ("none",))[0]
        scope.setdefault("state", {})["request_id"] = self.id

    async def answer(self, receive: Receive) -> None:
        try:
            wait = self.guard.wait_s(self)
            if wait:
                await self._refuse(wait)
            else:
                await self.guard.app(self.scope, receive, self.send)
        except Exception:
            logger.exception("request %s failed", self.id, extra={"request_id": self.id})
            if not self.status:
                self.status = 500
                raise
        finally:
            self.guard.note(self)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def _refuse(self, wait: float) -> None:
        error = refuse(429, "too many requests", f"the address {self.client}", f"wait {wait:.1f} s, or ask in batches")
        body = orjson.dumps(problem_details(error))
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", str(int(wait) + 1).encode()),
        ]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
