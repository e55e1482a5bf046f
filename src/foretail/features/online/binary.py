"""Columns of bytes put together for all rows at once, without a loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["as_binary", "content", "fixed_binary", "join_binary"]


def fixed_binary(values: pa.Array | npt.NDArray[Any]) -> pa.LargeBinaryArray:
    """The little-endian bytes of numbers, structs, or rows of bytes.

    Parameters
    ----------
    values : ``[n]`` of a fixed width, or uint8 ``[n, width]``.

    Returns
    -------
    ``[n]`` values of ``width`` bytes each.
    """
    table = values if isinstance(values, np.ndarray) else values.to_numpy(zero_copy_only=False)
    table = np.ascontiguousarray(table.astype(table.dtype.newbyteorder("<"), copy=False))
    n, width = len(table), table.nbytes // max(len(table), 1)
    offsets = np.arange(n + 1, dtype=np.int64) * width
    return pa.Array.from_buffers(
        pa.large_binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(table.reshape(-1).view(np.uint8))]
    )


def as_binary(column: pa.Array) -> pa.LargeBinaryArray:
    """Text or bytes as bytes; null as no bytes."""
    text = pc.cast(pc.cast(column, pa.large_string()), pa.large_binary()) if _is_text(column.type) else column
    return pc.fill_null(pc.cast(text, pa.large_binary()), pa.scalar(b"", pa.large_binary()))


def join_binary(parts: Sequence[pa.Array | bytes], n_rows: int) -> pa.LargeBinaryArray:
    """Each row's parts one after another.

    Parameters
    ----------
    parts : columns of bytes ``[n_rows]`` without nulls, or bytes that every row has.
    """
    if all(isinstance(part, bytes) for part in parts):
        return pa.array([b"".join(parts)] * n_rows, pa.large_binary())
    scalars = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*scalars, pa.scalar(b"", pa.large_binary()))


def content(column: pa.LargeBinaryArray) -> memoryview:
    """All bytes of a column that was just made, without copying them."""
    _, offsets, data = column.buffers()
    first, last = np.frombuffer(offsets, dtype=np.int64)[[column.offset, column.offset + len(column)]]
    return memoryview(data)[first:last]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
