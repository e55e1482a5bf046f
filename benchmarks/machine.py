"""The machine a benchmark ran on, in one line: processor, cores, memory, system, Python."""

from __future__ import annotations

import datetime as dt
import json
import platform
from pathlib import Path

import psutil

__all__ = ["MACHINES", "machine", "note_machine", "read_machines"]

MACHINES = "machines.json"  # beside the results: {benchmark: {"machine": …, "date": …}}

_GB = 1024**3
_CPU_INFO = Path("/proc/cpuinfo")


def machine() -> str:
    """This machine, without its name: ``2 cores (…), 24 GiB, Linux, Python 3.11.2``."""
    cores = psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total / _GB
    return f"{cores} cores ({_processor()}), {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def note_machine(name: str, folder: Path) -> None:
    """Remember beside the results where and on which day benchmark ``name`` ran."""
    notes = read_machines(folder)
    notes[name] = {"machine": machine(), "date": dt.date.today().isoformat()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MACHINES).write_text(json.dumps(notes, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_machines(folder: Path) -> dict[str, dict[str, str]]:
    """What ``note_machine`` remembered; empty where nothing ran."""
    path = folder / MACHINES
    if not path.exists():
        return {}
    notes: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return notes


def _processor() -> str:
    """The model as the system tells it, else the architecture."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
