"""The process that a worker gives its jobs to: started warm, listened to, and ended whatever it is doing."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from foretail.core.errors import ServiceError

__all__ = ["JobChild"]

_START_S = 120.0


class JobChild:
    """A process that does jobs (`foretail.cli.job_process`), the leader of a process group of its own.

    Parameters
    ----------
    command : what starts it; the number of a file descriptor, for its answers, is put behind. told : its first line.

    Raises
    ------
    ServiceError : it does not become ready.
    """

    def __init__(self, command: Sequence[str], told: Mapping[str, Any]):
        self._command = command
        self._from, to = os.pipe()
        os.set_inheritable(to, True)
        try:
            self._process = subprocess.Popen(
                [*command, str(to)],
                stdin=subprocess.PIPE,
                stdout=sys.stderr.fileno(),  # what a library prints is talk
                pass_fds=(to,),
                start_new_session=True,
            )
        finally:
            os.close(to)
        self._buffer = b""
        self.send(told)
        self._wait_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    def send(self, told: Mapping[str, Any]) -> None:
        """Give it a line; one that is gone takes none, which the next look tells."""
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None  # noqa: S101  (a pipe was asked for)
            self._process.stdin.write(json.dumps(dict(told)).encode() + b"\n")
            self._process.stdin.flush()

    def answers(self, wait_s: float) -> Iterator[dict[str, Any]]:
        """What it said, after waiting so long for it at most."""
        if not select.select([self._from], [], [], wait_s)[0]:
            return
        self._buffer += os.read(self._from, 1 << 16)
        *lines, self._buffer = self._buffer.split(b"\n")
        yield from map(json.loads, lines)

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._from >= 0:
            os.close(self._from)
            self._from = -1
            assert self._process.stdin is not None  # noqa: S101  (a pipe was asked for)
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _wait_ready(self) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self.is_alive:
            if any("ready" in answer for answer in self.answers(0.2)):
                return
        code = self.exit_code
        self.kill()
        said = "it does not answer" if code is None else f"it ended with code {code}"
        raise ServiceError(
            f"the process for jobs is not ready: {said}.\n  where: {shlex.join(self._command)}\n"
            "  fix:   see what it printed above"
        )
