"""What every service has: a program and its package, a private folder, a port, a password, and a start and an end."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from scripts.services.process import Server, ServiceError, find, free_port, new_folder

__all__ = ["Service"]


class Service:
    """A server on loopback that holds nothing but what was put in since it was made.

    A subclass names its program, starts it with `_launch`, and says in `environment` where it answers.

    Attributes
    ----------
    name : how it is called on the command line.
    program, folders : what is run; where it is looked for before the PATH (patterns).
    package : the Debian package that brings the program.
    tools : further programs it cannot do without, each with its Debian package.
    user : whom it runs as when this process is root; "" for root.
    stop_signal : what asks it to end in good order.
    folder : private and temporary: data, settings, ``log.txt``.
    port, password : made for this one.

    Parameters
    ----------
    dies_with_parent : the kernel ends it when the process that started it is gone (Linux).

    Raises
    ------
    ServiceError : the program is not installed; names its package.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]
    folders: ClassVar[tuple[str, ...]] = ()
    tools: ClassVar[Mapping[str, str]] = {}
    user: ClassVar[str] = ""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *, dies_with_parent: bool = False):
        self.binary: Path = find(self.program, self.package, *self.folders)
        self.folder = new_folder(self.name, self.user)
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)
        self._dies_with_parent = dies_with_parent
        self._server: Server | None = None

    @classmethod
    def missing(cls) -> list[str]:
        """Debian packages of its programs that are not on this machine."""
        wanted = [(cls.program, cls.package, cls.folders), *((tool, name, ()) for tool, name in cls.tools.items())]
        return [package for program, package, folders in wanted if not _is_there(program, package, *folders)]

    @classmethod
    def fetch(cls) -> None:
        """Bring what it needs from elsewhere than Debian, once; nothing by default.

        Raises
        ------
        ServiceError : it cannot be had.
        """

    @property
    def pid(self) -> int:
        """Of the server; 0 before it was started."""
        return self._server.pid if self._server else 0

    @property
    def pids(self) -> list[int]:
        """Of every process that has to be ended, the server first."""
        return [self.pid]

    @property
    def is_running(self) -> bool:
        return self._server is not None and self._server.is_running

    @property
    def environment(self) -> dict[str, str]:
        """Variables that tell others where it answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers; after `stop` or `kill` it goes on with what its folder holds.

        Raises
        ------
        ServiceError : it does not start; the message holds the end of its log.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """End it in good order; its folder stays."""
        if self._server is not None:
            self._server.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._server is not None:
            self._server.kill()

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(
        self,
        command: Sequence[str],
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._server = self._run_server(command, environment)
        self._server.wait_ready(is_ready, timeout_s)

    def _run_server(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, log: str = "log.txt"
    ) -> Server:
        return Server(
            command,
            self.folder / log,
            user=self.user,
            environment=environment,
            stop_signal=self.stop_signal,
            dies_with_parent=self._dies_with_parent,
        )


def _is_there(program: str, package: str, *folders: str) -> bool:
    try:
        find(program, package, *folders)
    except ServiceError:
        return False
    return True
