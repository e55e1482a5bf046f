"""PostgreSQL on loopback, with a password made for it; started by root it runs as the user postgres."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from scripts.services.process import ServiceError, as_user
from scripts.services.service import Service

__all__ = ["Postgres"]

_NAME = "foretail"  # of its superuser and of its database
_QUICK = {"fsync": "off", "full_page_writes": "off"}


class Postgres(Service):
    """A database server with a data folder of its own, and a database ``foretail``.

    Parameters
    ----------
    dies_with_parent : see `Service`.
    is_durable : write through to the disk; without it a crash of the machine loses data, a crash of the server none.
    """

    name, program, package, user = "postgres", "postgres", "postgresql", "postgres"
    folders = ("/usr/lib/postgresql/*/bin",)
    stop_signal = signal.SIGINT  # its fast shutdown: sessions are ended, nothing is lost

    def __init__(self, *, dies_with_parent: bool = False, is_durable: bool = True):
        super().__init__(dies_with_parent=dies_with_parent)
        self._settings: Mapping[str, str] = {} if is_durable else _QUICK

    @property
    def url(self) -> str:
        """Of the database, password included."""
        return f"postgresql://{_NAME}:{self.password}@127.0.0.1:{self.port}/{_NAME}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FORETAIL_POSTGRES_URL": self.url,
            "FORETAIL_REGISTRY_URL": self.url.replace("postgresql://", "postgresql+psycopg://"),
            "FORETAIL_ONLINE_URL": self.url,
        }

    def start(self) -> None:
        data = self.folder / "data"
        is_new = not data.exists()
        if is_new:
            self._make(data)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        self._launch([str(self.binary), "-D", str(data), *options], self._answers)
        if is_new:
            self.create(_NAME)

    def create(self, database: str) -> str:
        """Make a database, and give its URL.

        Raises
        ------
        ServiceError : the server refuses, e.g. since there is one of that name.
        """
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", _NAME, "--no-password", database)
        return self.url.removesuffix(_NAME) + database

    def _make(self, data: Path) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self.password, encoding="utf-8")
        if os.geteuid() == 0:
            shutil.chown(password, self.user)
        options = ("--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run("initdb", "-D", str(data), "-U", _NAME, *options, user=self.user)
        password.unlink()

    def _answers(self) -> bool:
        command = [str(self.binary.parent / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, program: str, *arguments: str, user: str = "") -> None:
        command = [*as_user(user), str(self.binary.parent / program), *arguments]
        environment = {**os.environ, "PGPASSWORD": self.password}
        done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"{program} failed", str(self.folder), f"it says: {done.stderr.strip()}")
