"""Redis on loopback, with a password made for it; it holds everything in memory."""

from __future__ import annotations

import socket

from scripts.services.service import Service

__all__ = ["Redis"]


class Redis(Service):
    """A key-value server without a disk: what it held is gone when it ends."""

    name, program, package = "redis", "redis-server", "redis-server"

    @property
    def url(self) -> str:
        """As redis clients take it, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def connection(self) -> str:
        """As Feast's ``connection_string`` takes it, password included."""
        return f"127.0.0.1:{self.port},password={self.password}"

    @property
    def environment(self) -> dict[str, str]:
        return {"FORETAIL_REDIS_URL": self.url, "FORETAIL_REDIS_CONNECTION": self.connection}

    def start(self) -> None:
        settings = self.folder / "redis.conf"  # a password on a command line is seen by everyone
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'dir {self.folder}\nsave ""\nappendonly no\ndaemonize no\n',
            encoding="utf-8",
        )
        self._launch([str(self.binary), str(settings)], self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as talk:
                talk.sendall(f"AUTH {self.password}\r\n".encode())
                return talk.recv(64).startswith(b"+OK")
        except OSError:
            return False
