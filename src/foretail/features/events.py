"""Distances to what is known in advance: since and until a flag is on, and for how long it has been."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["run_length", "since", "until"]

BoolMatrix = npt.NDArray[np.bool_]
Float32Matrix = npt.NDArray[np.float32]


def since(on: BoolMatrix, cap: int) -> Float32Matrix:
    """Periods since the flag was last on, before each column (1 = the column before), at most ``cap``.

    Parameters
    ----------
    on : ``[N, T]``.
    """
    column = np.arange(on.shape[1])
    last = np.maximum.accumulate(np.where(on, column, -cap - 1), axis=1)
    before = np.concatenate([np.full((on.shape[0], 1), -cap - 1), last[:, :-1]], axis=1)
    periods: Float32Matrix = np.minimum(column[None, :] - before, cap).astype(np.float32)
    return periods


def until(on: BoolMatrix, cap: int) -> Float32Matrix:
    """Periods until the flag is next on, after each column (1 = the column after), at most ``cap``."""
    reversed_in_time: Float32Matrix = since(on[:, ::-1], cap)[:, ::-1]
    return reversed_in_time


def run_length(on: BoolMatrix, cap: int) -> Float32Matrix:
    """How many columns the flag has been on in a row, this one included; 0 where it is off; at most ``cap``."""
    column = np.arange(on.shape[1])
    last_off = np.maximum.accumulate(np.where(on, -1, column), axis=1)
    return np.minimum(column[None, :] - last_off, cap).astype(np.float32)
