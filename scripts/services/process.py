"""A server process of one's own: found, started, waited for and ended by its pid."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["HOME", "Server", "ServiceError", "alone", "as_user", "find", "free_port", "new_folder"]

HOME = Path(__file__).resolve().parents[2] / ".foretail"  # what is fetched once, and what runs now
_POLL_S = 0.05


class ServiceError(Exception):
    """A service cannot be started: says what is wrong, where, and what to do."""

    def __init__(self, what: str, where: str, fix: str):
        super().__init__(f"{what}\n  where: {where}\n  fix:   {fix}")


class Server:
    """One running server.

    Parameters
    ----------
    command : program and arguments; it must stay in the foreground.
    log : file that takes what it prints.
    user : whom it runs as when this process is root; "" for root.
    environment : variables it sees in addition to those of this process.
    stop_signal : what asks it to end in good order.
    dies_with_parent : the kernel ends it when the process that started it is gone (Linux).
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        dies_with_parent: bool = False,
    ):
        self.log = log
        self.stop_signal = stop_signal
        # asked for after the change of user, which would undo it
        tie = ("setpriv", "--pdeathsig", stop_signal.name.removeprefix("SIG")) if dies_with_parent else ()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*as_user(user), *tie, *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # Ctrl-C in the terminal is not for it
            )

    @property
    def pid(self) -> int:
        """Of the server itself: what is put before the command replaces itself by it."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, is_ready: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until it answers.

        Raises
        ------
        ServiceError : it ended, or does not answer in time; it is not running afterwards.
        """
        end = time.monotonic() + timeout_s
        while not is_ready():
            if not self.is_running or time.monotonic() > end:
                state = "does not answer" if self.is_running else f"ended with code {self._process.returncode}"
                self.kill()
                raise ServiceError(f"a service {state}", str(self.log), f"its last words: {_tail(self.log)}")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 20.0) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        if self.is_running:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it, and what it started in its process group, as a crash would (SIGKILL)."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def find(program: str, package: str, *folders: str) -> Path:
    """Where a program is: in the last of the folders (patterns) that holds it, or on the PATH.

    Raises
    ------
    ServiceError : it is nowhere; names the Debian package that brings it.
    """
    found = [path for pattern in folders for path in sorted(Path("/").glob(f"{pattern.lstrip('/')}/{program}"))]
    if found:
        return found[-1]
    path = shutil.which(program)
    if path is None:
        raise ServiceError(f"{program} is not installed", ", ".join((*folders, "PATH")), f"apt-get install {package}")
    return Path(path)


def as_user(user: str) -> list[str]:
    """Words to put before a command so that it runs as ``user`` when this process is root; none otherwise."""
    if not user or os.geteuid() != 0:
        return []
    account = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def new_folder(name: str, user: str = "") -> Path:
    """A private folder in the system's temporary one, owned by ``user`` when this process is root."""
    folder = Path(tempfile.mkdtemp(prefix=f"foretail-{name}-"))
    if user and os.geteuid() == 0:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
    return folder


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, and hold it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path, lines: int = 8) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return "".join(f"\n         {line}" for line in text[-lines:]) or "none"
