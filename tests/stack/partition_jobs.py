"""What the partitions of the tests do; importable in Ray's workers too."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from foretail.core.errors import DataError, Problem


def square(number: int) -> int:
    return number * number


def slow_square(number: int) -> int:
    time.sleep(0.3)
    return number * number


def threads(_number: int) -> str | None:
    return os.environ.get("POLARS_MAX_THREADS")


def table(number: int) -> pa.Table:
    """4 MB that live in the object store of the node that made them."""
    return pa.table({"number": np.full(500_000, number, dtype=np.int64)})


def die_once(task: tuple[int, str]) -> int:
    """End the worker the first time that partition 3 runs."""
    number, folder = task
    marker = Path(folder) / str(number)
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def always_die(_number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def refuse_two(task: tuple[int, str]) -> int:
    """Fail on partition 2 for a reason of its own, and count how often it was tried."""
    number, folder = task
    if number == 2:
        with (Path(folder) / "tries").open("a", encoding="utf-8") as tries:
            tries.write("x")
        raise DataError(Problem("the column price is text", "part-2.parquet", "write it as numbers"))
    return number
