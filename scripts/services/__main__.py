"""Start, stop and install the services: ``python -m scripts.services up|down|install``."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.services.kafka import Kafka
from scripts.services.mlflow import Mlflow
from scripts.services.nginx import Nginx
from scripts.services.postgres import Postgres
from scripts.services.process import HOME, ServiceError
from scripts.services.ray import RayCluster
from scripts.services.redis import Redis
from scripts.services.service import Service

SERVICES: dict[str, type[Service]] = {
    service.name: service for service in (Postgres, Redis, Kafka, Mlflow, RayCluster, Nginx)
}
STATE = HOME / "services.json"
_STOP_S = 20.0


@dataclass(frozen=True)
class Started:
    """What has to be known of a service to stop it later.

    Attributes
    ----------
    processes : the pid of each, and when it began, in the kernel's ticks: a pid that was given to another process since
        is left alone. The first is the server itself.
    """

    name: str
    processes: dict[int, str]
    stop_signal: int
    folder: str
    environment: dict[str, str]

    def alive(self) -> list[int]:
        """The pids that are still this service's."""
        return [pid for pid, born in self.processes.items() if born != "" and _born(pid) == born]


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; 0 when done, 1 when not, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m scripts.services", description=__doc__)
    parser.add_argument("verb", choices=("up", "down", "install"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SERVICES)}; all of them by default")
    options = parser.parse_args(words)
    unknown = sorted(set(options.names) - set(SERVICES))
    if unknown:
        parser.error(f"unknown service {', '.join(unknown)}; known: {', '.join(SERVICES)}")
    names = options.names or list(SERVICES)
    try:
        {"up": up, "down": down, "install": install}[options.verb](names)
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def up(names: Sequence[str], state: Path = STATE) -> None:
    """Start what does not run yet, and print on stdout the variables that say where everything answers.

    Raises
    ------
    ServiceError : a program is missing, or a service does not start.
    """
    running = [started for started in _read(state) if started.alive()]
    try:
        for name in names:
            if name not in {started.name for started in running}:
                running.append(_start(name))
    finally:
        _write(state, running)
    for started in running:
        print(f"{started.name} runs as process {started.alive()[0]} in {started.folder}", file=sys.stderr)
        for key, value in started.environment.items():
            print(f"export {key}='{value}'")


def down(names: Sequence[str], state: Path = STATE) -> None:
    """Stop what `up` started, and delete what it held."""
    kept = []
    for started in _read(state):
        if started.name not in names:
            kept.append(started)
            continue
        _stop(started)
        shutil.rmtree(started.folder, ignore_errors=True)
        print(f"{started.name} is stopped", file=sys.stderr)
    _write(state, kept)


def install(names: Sequence[str]) -> None:
    """Install the Debian packages of the services that are missing, and fetch what else they need; once.

    Raises
    ------
    ServiceError : this process may not install, or apt-get fails; names the packages. Or something cannot be fetched.
    """
    packages = list(dict.fromkeys(package for name in names for package in SERVICES[name].missing()))
    if packages:
        _install_packages(packages)
    for name in names:
        SERVICES[name].fetch()


def _install_packages(packages: Sequence[str]) -> None:
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        fix = f"as root: apt-get update && {' '.join(command)}"
        raise ServiceError(f"not installed: {', '.join(packages)}", "this machine", fix)
    print(f"installing {', '.join(packages)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "-qq"], command):
        done = subprocess.run(step, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
        if done.returncode:
            raise ServiceError("apt-get failed", " ".join(step), "see what it printed above")


def _start(name: str) -> Started:
    service = SERVICES[name]()
    try:
        service.start()
    except ServiceError:
        service.stop()  # its folder stays: the message names the log in it
        raise
    processes = {pid: _born(pid) for pid in service.pids}
    return Started(name, processes, service.stop_signal, str(service.folder), service.environment)


def _stop(started: Started) -> None:
    """Ask each process to end, and wait; one that does not end in time is killed."""
    for pid in started.alive():
        os.kill(pid, started.stop_signal)
    end = time.monotonic() + _STOP_S
    while (alive := started.alive()) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # each was started as the head of a group of its own


def _born(pid: int) -> str:
    """Start time of a process in the kernel's ticks; "" when it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _read(state: Path) -> list[Started]:
    if not state.exists():
        return []
    entries = json.loads(state.read_text(encoding="utf-8"))
    return [Started(**{**entry, "processes": _with_numbers(entry["processes"])}) for entry in entries]


def _with_numbers(processes: dict[str, str]) -> dict[int, str]:
    return {int(pid): born for pid, born in processes.items()}  # a key of JSON is text


def _write(state: Path, running: Sequence[Started]) -> None:
    if not running:
        state.unlink(missing_ok=True)
        return
    state.parent.mkdir(parents=True, exist_ok=True)
    state.touch(mode=0o600)  # it holds passwords
    state.write_text(json.dumps([asdict(started) for started in running], indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
