"""One command of foretail as a process of its own: what it wrote, how long it took, how much memory its tree held."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil

__all__ = ["Job", "JobError", "OverLimit", "run_foretail", "watch"]

_EVERY_S = 0.1
_GB = 1024**3


class JobError(RuntimeError):
    """The command ended with another exit code than 0; the message ends with what it said."""


class OverLimit(JobError):  # noqa: N818  (it is an answer more than an error)
    """The command was ended because it took longer, or held more memory, than it was given."""


@dataclass(frozen=True)
class Job:
    """A finished run.

    Attributes
    ----------
    out : the folder it wrote.
    seconds : wall time, the interpreter's start included.
    peak_gb : largest sum of resident memory over the process and its children, GiB, sampled ten times a second (memory
        that processes share is counted once for each, so this is never too low because of sharing).
    """

    out: Path
    seconds: float
    peak_gb: float

    @property
    def forecasts(self) -> pl.DataFrame:
        """The user's key and time columns, then ``cutoff, step, y_hat, q…, model, model_version, source``."""
        return pl.read_parquet(self.out / "forecasts.parquet")

    @property
    def leaderboard(self) -> dict[str, Any]:
        """``leaderboard.json`` as written."""
        board: dict[str, Any] = json.loads((self.out / "leaderboard.json").read_text(encoding="utf-8"))
        return board

    @property
    def chosen(self) -> str:
        """The model that answered."""
        return next((str(row["model"]) for row in self.leaderboard["rows"] if row["chosen"]), "?")


def run_foretail(arguments: Sequence[str], folder: Path) -> Job:
    """Run ``foretail run ARGUMENTS`` in ``folder``, with stores of its own there.

    Raises
    ------
    JobError : an exit code other than 0.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "out"
    command = [str(_executable()), "run", *arguments, "--out", str(out), "--home", str(folder / "home")]
    seconds, peak_gb = watch(command, folder)
    return Job(out, seconds, peak_gb)


def watch(
    command: Sequence[str],
    folder: Path,
    limit_s: float = math.inf,
    limit_gb: float = math.inf,
    environment: Mapping[str, str] | None = None,
) -> tuple[float, float]:
    """Wall seconds and peak GiB of a command run in ``folder``; its talk goes to ``folder/log.txt``.

    Parameters
    ----------
    limit_s, limit_gb : what it may take; beyond that it is ended, with all that it started.
    environment : added to this process's own.

    Raises
    ------
    JobError : an exit code other than 0.
    OverLimit : it was ended; the message says at which limit.
    """
    log = folder / "log.txt"
    begun = time.perf_counter()
    settings = {**os.environ, **(environment or {})}
    with log.open("wb") as talk:
        process = subprocess.Popen(list(command), cwd=folder, stdout=talk, stderr=talk, env=settings)
        try:
            peak = _peak_until_end(process, begun + limit_s, limit_gb)
        except BaseException:
            _end(process)
            raise
    seconds = time.perf_counter() - begun
    if process.returncode:
        said = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise JobError(f"exit {process.returncode}: {' '.join(command)}\n{said}")
    return seconds, peak / _GB


def _peak_until_end(process: subprocess.Popen[bytes], until: float, limit_gb: float) -> int:
    tree = psutil.Process(process.pid)
    peak = 0
    while True:
        peak = max(peak, _resident(tree))
        if peak > limit_gb * _GB:
            raise OverLimit(f"over {limit_gb:g} GB")
        if time.perf_counter() > until:
            raise OverLimit("over the time limit")
        try:
            process.wait(_EVERY_S)
        except subprocess.TimeoutExpired:
            continue
        return peak


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its descendants."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for child in (process, *family):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def _resident(tree: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; those that end meanwhile count nothing."""
    try:
        processes = [tree, *tree.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _executable() -> Path:
    """The ``foretail`` script beside this interpreter."""
    return Path(sys.executable).parent / "foretail"
