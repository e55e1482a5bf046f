"""A Ray of two nodes on loopback, with its client server and its Jobs API, for those who know its token."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from scripts.services.process import Server, ServiceError, free_port
from scripts.services.service import Service

__all__ = ["RayCluster"]

_NODE = "127.0.0.2"  # Ray replaces 127.0.0.1 by the address of the network card
_READY_S = 90.0
_STORE = 200 << 20  # bytes of shared memory a node keeps objects in
_HEALTH = {"RAY_health_check_period_ms": "1000"}  # a dead node is struck off after 5 s, not after 15


class RayCluster(Service):
    """A head and a worker, each a process of its own with ``n_cores`` cores; what they hold is gone when they end.

    Parameters
    ----------
    n_cores : of each node.
    environment : variables that everything which runs there sees in addition.
    dies_with_parent : see `Service`.
    """

    name, program, package = "ray", "python3", "python3"

    def __init__(self, *, n_cores: int = 1, environment: dict[str, str] | None = None, dies_with_parent: bool = False):
        if find_spec("ray") is None:
            raise ServiceError("Ray is not installed", sys.prefix, "pip install 'foretail[ray]'")
        super().__init__(dies_with_parent=dies_with_parent)
        self.binary = Path(sys.executable)  # a node and those that talk to it are of one version
        self.client_port, self.dashboard_port = free_port(), free_port()
        self._n_cores = n_cores
        self._more = environment or {}
        self._worker: Server | None = None

    @property
    def address(self) -> str:
        """Of the head, for processes on its machine."""
        return f"{_NODE}:{self.port}"

    @property
    def url(self) -> str:
        """Of the client server, as ``ray.init`` takes it."""
        return f"ray://127.0.0.1:{self.client_port}"

    @property
    def jobs(self) -> str:
        """Of the Jobs API and the dashboard."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"FORETAIL_RAY": self.url, "FORETAIL_RAY_JOBS": self.jobs, **self._token}

    @property
    def pids(self) -> list[int]:
        return [self.pid, *([self._worker.pid] if self._worker else [])]

    def start(self) -> None:
        doors = ["--port", str(self.port), "--ray-client-server-port", str(self.client_port)]
        board = ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(self.dashboard_port)]
        head = self._node("--head", *doors, *board, "--temp-dir", str(self.folder))
        self._launch(head, lambda: self.n_nodes() == 1, self._settings, timeout_s=_READY_S)
        self.start_worker()

    def start_worker(self) -> None:
        """Add the second node, and wait until it can be used.

        Raises
        ------
        ServiceError : it does not start.
        """
        self._worker = self._run_server(self._node("--address", self.address), self._settings, log="worker.txt")
        self._worker.wait_ready(lambda: self.n_nodes() == 2, _READY_S)

    def kill_worker(self) -> None:
        """End the second node as a crash would, with everything that runs on it."""
        if self._worker is not None:
            self._worker.kill()

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        super().stop()

    def kill(self) -> None:
        self.kill_worker()
        super().kill()

    def n_nodes(self) -> int:
        """How many nodes the head counts on; 0 while it does not answer."""
        request = urllib.request.Request(f"{self.jobs}/nodes?view=summary", headers=self._header)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  (our own address)
                nodes = json.load(answer)["data"]["summary"]
        except (urllib.error.URLError, OSError):
            return 0
        return sum(node["raylet"].get("state") == "ALIVE" for node in nodes)

    def _node(self, *words: str) -> list[str]:
        ports = ("--dashboard-agent-listen-port", str(free_port()))
        size = ("--num-cpus", str(self._n_cores), "--object-store-memory", str(_STORE))
        where = ("--node-ip-address", _NODE, "--disable-usage-stats", "--block")
        return [str(self.binary), "-m", "ray.scripts.scripts", "start", *words, *ports, *size, *where]

    @property
    def _token(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.password}

    @property
    def _header(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.password}"}

    @property
    def _settings(self) -> dict[str, str]:
        """What the nodes are told: the commands of this environment, nothing of anyone else's Ray."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {"PATH": path, "RAY_ADDRESS": "", "NO_COLOR": "1", **_HEALTH, **self._token, **self._more}
