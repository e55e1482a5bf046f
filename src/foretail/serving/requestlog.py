"""The request log: one JSON line a request, put in a queue by the handler and written by a thread of its own."""

from __future__ import annotations

import datetime as dt
import logging
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import orjson

from foretail.core.errors import UsageError
from foretail.serving import metrics

__all__ = ["Line", "RequestLog"]

logger = logging.getLogger(__name__)

Line = tuple[Any, ...]
_NAMES = ("time", "request_id", "model", "version", "protocol", "status", "instances", "ms")
_KEPT = 20_000  # lines that wait at most
_EVERY_S = 0.2


class RequestLog:
    """Writes lines without making a request wait; what it cannot keep up with is counted, not waited for.

    Parameters
    ----------
    path : a file to append to, or ``-`` for stderr.
    names : of a line's values; the first is ``time``, in seconds since the epoch, the last ``ms``.

    Raises
    ------
    UsageError : the file cannot be opened.
    """

    def __init__(self, path: str, names: Sequence[str] = _NAMES):
        self._names = tuple(names)
        try:
            self._file: IO[bytes] = sys.stderr.buffer if path == "-" else Path(path).open("ab")  # noqa: SIM115
        except OSError as error:
            fix = "a file in a folder that is there and yours, or - for stderr"
            raise UsageError(f"the request log cannot be opened: {error}\n  where: {path}\n  fix:   {fix}") from error
        self._lines: deque[Line] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foretail-request-log", daemon=True)
        self._thread.start()

    def put(self, line: Line) -> None:
        """Note a request: a value for each of the names, by default seconds since the epoch, id, model, version,
        protocol, status, instances and milliseconds."""
        if len(self._lines) < _KEPT:
            self._lines.append(line)
        else:
            metrics.LOG_DROPPED.inc()

    def close(self) -> None:
        """Write what waits, and end."""
        self._closing.set()
        self._thread.join()
        if self._file is not sys.stderr.buffer:
            self._file.close()

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            self._file.write(b"".join(_json_line(self._names, line) for line in lines))
            self._file.flush()
        except OSError as error:  # a full disk must not end the thread: later lines may fit again
            metrics.LOG_DROPPED.inc(len(lines))
            logger.error("%d lines of the request log are lost: %s", len(lines), error)


def _json_line(names: Sequence[str], line: Line) -> bytes:
    values = dict(zip(names, line, strict=True))
    values["time"] = dt.datetime.fromtimestamp(line[0], dt.UTC).isoformat(timespec="milliseconds")
    values["ms"] = round(line[-1], 3)
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)
