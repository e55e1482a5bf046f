"""Work that the tests of the pool send to real worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np


class PickyError(Exception):
    """An error that cannot be unpickled: its constructor wants two arguments, its message is one."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} needs {extra}")


def double(values: np.ndarray) -> np.ndarray:
    return values * 2


def double_unless_negative(values: np.ndarray) -> np.ndarray:
    if (values < 0).any():
        raise PickyError(f"row {values[values < 0][0]:g}", "history")
    return values * 2


def double_unless_deadly(values: np.ndarray) -> np.ndarray:
    if (values < 0).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return values * 2


def fail_once(values: np.ndarray, *, marker: Path) -> np.ndarray:
    if not marker.exists():
        marker.write_text("failed")
        raise OSError("not this time")
    return values


def unpicklable(values: np.ndarray) -> object:
    return lambda: values


def process_and_threads(values: np.ndarray) -> tuple[int, str, int]:
    time.sleep(0.05)  # long enough that one worker cannot take every chunk
    import polars as pl

    return os.getpid(), os.environ["OMP_NUM_THREADS"], pl.thread_pool_size()


def two_arrays(values: np.ndarray, names: list[str], *, factor: int) -> list[str]:
    return [f"{name}:{value * factor:g}" for value, name in zip(values, names, strict=True)]


def sleep_long(values: np.ndarray) -> np.ndarray:
    time.sleep(120)
    return values


def workers_of_the_warm_pool(values: np.ndarray) -> int:
    from foretail.execution.pool import warm_pool

    return warm_pool(2).n_workers


def times_of_table(rows: np.ndarray, *, table: np.ndarray) -> np.ndarray:
    """Twice the rows of a table, written where they were read."""
    table[rows] *= 2
    return table[rows, 0].copy()


def first_deadly_then_times_of_table(rows: np.ndarray, *, table: np.ndarray, marker: Path) -> np.ndarray:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return times_of_table(rows, table=table)
