"""An MLflow tracking server on loopback: SQLite behind it, artifacts in its folder, an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scripts.services.process import HOME, ServiceError, alone
from scripts.services.service import Service

__all__ = ["Mlflow"]

_READY_S = 120.0  # a new database takes some seconds, the first import after an installation more
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Mlflow(Service):
    """A tracking server and registry that keeps what it was told, and that anyone on this machine may use.

    The client that foretail installs (mlflow-skinny) has no server: `fetch` makes ``.foretail/mlflow-venv`` with the
    whole package, of the client's version.
    """

    name, program, package = "mlflow", "python3", "python3"

    def __init__(self, *, dies_with_parent: bool = False):
        super().__init__(dies_with_parent=dies_with_parent)
        self.binary = _environment() / "bin" / "mlflow"

    @classmethod
    def fetch(cls) -> None:
        """Make the environment of the server."""
        _environment()

    @property
    def url(self) -> str:
        """As ``tracking_uri`` takes it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"FORETAIL_TRACKING_URI": self.url}

    def start(self) -> None:
        hosts = ",".join(f"{host}:{self.port}" for host in ("127.0.0.1", "localhost"))
        command = [str(self.binary), "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--allowed-hosts", hosts]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.folder / "artifacts")]
        self._launch(command, self._answers, _QUIET, timeout_s=_READY_S)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:  # noqa: S310  (our own address)
                return bool(answer.read() == b"OK")
        except (urllib.error.URLError, OSError):
            return False


def _environment(home: Path = HOME) -> Path:
    """The environment that holds the server; made anew when the client's version changed.

    Raises
    ------
    ServiceError : the client is not installed, or pip cannot install the server.
    """
    try:
        wanted = version("mlflow-skinny")
    except PackageNotFoundError as error:
        raise ServiceError("mlflow-skinny is not installed", sys.prefix, "pip install -e .") from error
    folder = home / "mlflow-venv"
    holds = folder / "holds"  # written last: what broke off is made anew
    with alone(folder.with_suffix(".lock")):
        if not holds.exists() or holds.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            print(f"installing mlflow {wanted} into {folder}", file=sys.stderr)
            _run(sys.executable, "-m", "venv", str(folder))
            _run(str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", f"mlflow=={wanted}")
            holds.write_text(wanted, encoding="utf-8")
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-3:]
        raise ServiceError(f"{Path(command[0]).name} failed", " ".join(command), f"it says: {' '.join(last)}")
