"""Starts the processes that train a job on this machine, follows what they say, and tells plainly why they failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from foretail.core.errors import ForecastError, UsageError

__all__ = ["Nodes", "torchrun"]

_LOG = "log.txt"
_SHOWN_LINES = 20
_MAX_RESTARTS = 3
_END_S = 30.0
_FRESH = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # else a restart finds the addresses of the processes that died


@dataclass(frozen=True)
class Nodes:
    """The machines of a training, as a cluster's operator tells them in the variables that ``torchrun`` reads too.

    Attributes
    ----------
    count : machines. rank : number of this one. nproc : processes on each.
    """

    count: int
    rank: int
    nproc: int

    @classmethod
    def of(cls, environ: Mapping[str, str], nproc: int | None) -> Nodes | None:
        """From ``PET_NNODES``, ``PET_NODE_RANK``, ``PET_NPROC_PER_NODE`` and the option; None where nothing is said.

        Raises
        ------
        UsageError : one of them is no number.
        """
        count = _number(environ, "PET_NNODES", 1)
        rank = _number(environ, "PET_NODE_RANK", 0)
        if nproc is None and environ.get("PET_NPROC_PER_NODE") not in (None, "", "auto", "cpu", "gpu"):
            nproc = _number(environ, "PET_NPROC_PER_NODE", 1)
        if nproc is None and count == 1:
            return None
        return cls(count, rank, nproc or 1)

    @property
    def world(self) -> int:
        """Processes on all machines."""
        return self.count * self.nproc

    @property
    def is_first(self) -> bool:
        """This machine prepares and concludes."""
        return self.rank == 0


def torchrun(
    folder: Path,
    nodes: Nodes,
    tell: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
    max_restarts: int = _MAX_RESTARTS,
) -> None:
    """Train a job with ``torchrun``; a process that dies is started again with its fellows, from the last checkpoint.

    Parameters
    ----------
    folder : the job. tell : takes each line of progress. environ : over the variables of this process.

    Raises
    ------
    ForecastError : the processes failed more often than ``max_restarts``; the message ends with what they said.
    """
    alone = ["--standalone", "--local-addr", "127.0.0.1"] if nodes.count == 1 else []
    where = ["--nproc-per-node", str(nodes.nproc), "--max-restarts", str(max_restarts)]
    trainer = ["-m", "foretail.models.neural.train", str(folder)]
    command = [sys.executable, "-m", "torch.distributed.run", *alone, *where, *trainer]
    given = {"OMP_NUM_THREADS": "1", _FRESH: "1", **os.environ, **environ}
    if alone and sys.platform == "linux":
        given.setdefault("GLOO_SOCKET_IFNAME", "lo")
    lines: list[str] = []
    with (
        (folder / _LOG).open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=given
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                lines.append(line.rstrip())
                if line.startswith("network "):
                    tell(line.rstrip())
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        raise ForecastError(_why(lines, folder, process.returncode))


def _end(process: subprocess.Popen[str]) -> None:
    """End torchrun, which ends its processes."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _why(lines: list[str], folder: Path, code: int) -> str:
    """What the processes said last in their own words, else the end of the log."""
    own = [position for position, line in enumerate(lines) if line.startswith("error: ")]
    if own:
        said = lines[own[-1] : own[-1] + 3]
        return "\n".join([said[0].removeprefix("error: "), *said[1:]])
    tail = "\n    ".join(lines[-_SHOWN_LINES:])
    return (
        f"the training failed with exit code {code}.\n  where: {folder / _LOG}, which ends with\n    {tail}\n"
        "  fix:   the same command goes on from the last checkpoint"
    )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdigit():
        raise UsageError(f"{name} is no number.\n  where: the environment, {name}={text}\n  fix:   unset it")
    return int(text)
