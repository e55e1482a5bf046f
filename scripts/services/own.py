"""foretail's own services as processes: the API and its workers, on free ports of the loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.services.process import ServiceError

__all__ = ["Own", "api", "worker"]

_COMMAND = Path(sys.executable).parent / "foretail"
_START_S = 120.0
_POLL_S = 0.05


class Own:
    """A running ``foretail serve ...``.

    Parameters
    ----------
    words : after ``foretail``; ``--json`` among them, so that it tells on stdout where it is.
    home : folder of registry and warehouse. log : file that takes what it says on stderr.
    environment : besides this process's, of which what begins with ``FORETAIL_`` is left out.

    Raises
    ------
    ServiceError : it ends before it is ready; the message holds its last words.
    """

    def __init__(self, words: list[str], home: Path, log: Path, environment: Mapping[str, str] | None = None):
        self.log = log
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FORETAIL_")}
        self._told = log.with_suffix(".out")
        with log.open("ab") as errors, self._told.open("wb") as out:
            self._process = subprocess.Popen(
                [str(_COMMAND), *words, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env={**plain, "FORETAIL_HOME": str(home), **(environment or {})},
                cwd=log.parent,
            )
        self.told: dict[str, str] = self._wait_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def url(self) -> str:
        """Where the API answers."""
        return self.told["http"]

    @property
    def address(self) -> str:
        """The same as ``host:port``."""
        return self.url.removeprefix("http://")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM; gives the exit code."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self.is_running:
            self._process.kill()
        self._process.wait()

    def _wait_ready(self) -> dict[str, str]:
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self.is_running:
            try:
                told: dict[str, str] = json.loads(self._told.read_bytes())
            except ValueError:
                time.sleep(_POLL_S)
            else:
                return told
        self.kill()
        said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise ServiceError("a service of foretail does not start", str(self.log), f"its last words: {said}")


@contextmanager
def api(home: Path, fleet: str, log: Path, *words: str, environment: Mapping[str, str] | None = None) -> Iterator[Own]:
    """An API on a free port, ended at the end of the block."""
    own = Own(["serve", "api", "--fleet", fleet, "--port", "0", *words], home, log, environment)
    try:
        yield own
    finally:
        own.stop()


@contextmanager
def worker(
    home: Path, fleet: str, log: Path, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[Own]:
    """A worker with a warm process, ended at the end of the block."""
    own = Own(["serve", "worker", "--fleet", fleet, *words], home, log, environment)
    try:
        yield own
    finally:
        own.stop()
