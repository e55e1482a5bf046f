"""What one client may ask of the services: so many requests a second, so large a body."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import Request
from starlette.requests import ClientDisconnect

from foretail.serving.errors import RequestError, refuse

__all__ = ["RateLimit", "TokenCheck", "read_body"]

_CLIENTS = 10_000  # addresses that are remembered; the longest unseen is forgotten first


class RateLimit:
    """A bucket of requests for every address, refilled evenly.

    Parameters
    ----------
    per_s : requests a second that go on for ever; 0 for no limit. burst : requests at once; four seconds' by default.
    clock : seconds that only grow.
    """

    def __init__(self, per_s: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic):
        self.per_s = per_s
        self.burst = max(1.0, 4 * per_s if burst is None else burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (left, seen)

    def wait_s(self, address: str) -> float:
        """Count a request: 0 when it may go on, else the seconds until one may."""
        if not self.per_s:
            return 0.0
        now = self._clock()
        left, seen = self._buckets.pop(address, (self.burst, now))
        left = min(self.burst, left + (now - seen) * self.per_s)
        is_free = left >= 1
        self._buckets[address] = (left - 1 if is_free else left, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_free else (1 - left) / self.per_s


class TokenCheck:
    """Who may change something: whoever holds the token, or anyone from no other site where there is none.

    Parameters
    ----------
    token : "" where none is needed.
    """

    def __init__(self, token: str):
        self._token = token.encode()

    def __call__(self, request: Request) -> None:
        """A dependency of every endpoint that changes something.

        Raises
        ------
        RequestError : 401, the token is missing or another one; 403, a page of another site asks.
        """
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise refuse(403, "a page of another site asks", "Sec-Fetch-Site", "call it from a program or its own UI")
        if not self._token:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), self._token)
        if kind.lower() != "bearer" or not is_right:
            what = "a token is needed" if not given else "the token is another one"
            raise refuse(401, what, "the Authorization header", "Authorization: Bearer TOKEN, as the server was given")


async def read_body(request: Request, max_bytes: int, most: str) -> bytes:
    """The body, no longer than allowed whatever it says of itself.

    Parameters
    ----------
    most : what a request may hold, for the error: ``10000 pairs``.

    Raises
    ------
    RequestError : 413, it is larger; 400, the client went away.
    """
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > max_bytes:
        raise _too_large(f"the body has {said} bytes", max_bytes, most)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > max_bytes:
                raise _too_large("the body goes on", max_bytes, most)
            parts.append(part)
    except ClientDisconnect as error:
        raise refuse(400, "the client went away", "the request body", "send the whole body") from error
    return b"".join(parts)


def _too_large(what: str, max_bytes: int, most: str) -> RequestError:
    """The error of a body that is too large."""
    limit = f"the limit is {max_bytes} bytes and {most} a request"
    return refuse(413, f"{what}; {limit}", "the request body", "ask in several requests")
