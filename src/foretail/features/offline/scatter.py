"""Puts the columns of partitions back into the order of the entity rows, without ever holding them twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

__all__ = ["Scattered"]

IntArray = npt.NDArray[np.int64]


@dataclass
class Scattered:
    """Columns of n rows that arrive in pieces.

    Parameters
    ----------
    n : rows of the result.
    """

    n: int
    _columns: dict[str, _Numbers | _Anything] = field(default_factory=dict)
    _rows: list[IntArray] = field(default_factory=list)

    def add(self, rows: IntArray, frame: pl.DataFrame) -> None:
        """Place a piece.

        Parameters
        ----------
        rows : where each row of the frame belongs, ``[frame.height]``.
        """
        self._rows.append(rows)
        for series in frame:
            if series.name not in self._columns:
                fits = series.dtype.is_numeric() or series.dtype.is_temporal()
                kind = _Numbers if fits and not series.dtype.is_decimal() else _Anything
                self._columns[series.name] = kind(self.n, series.dtype)
            self._columns[series.name].add(rows, series)

    def columns(self) -> dict[str, pa.Array]:
        """The whole columns, every row having been placed once."""
        order = np.empty(self.n, dtype=np.int64)
        if self._rows:
            order[np.concatenate(self._rows)] = np.arange(self.n)
        return {name: column.array(order) for name, column in self._columns.items()}


class _Numbers:
    """A column of fixed width, filled in place."""

    def __init__(self, n: int, dtype: pl.DataType):
        self._type = pl.Series([], dtype=dtype).to_arrow().type
        physical = pl.Series([0], dtype=dtype.__class__ if dtype.is_numeric() else pl.Int64).to_physical()
        width = pl.Int32 if isinstance(dtype, pl.Date) else physical.dtype
        self._values: npt.NDArray[Any] = np.empty(n, dtype=pl.Series([0], dtype=width).to_numpy().dtype)
        self._missing: npt.NDArray[np.bool_] | None = None

    def add(self, rows: IntArray, series: pl.Series) -> None:
        physical = series.to_physical()
        if physical.null_count():
            if self._missing is None:
                self._missing = np.zeros(len(self._values), dtype=np.bool_)
            self._missing[rows] = physical.is_null().to_numpy()
            physical = physical.fill_null(0)
        self._values[rows] = physical.to_numpy()

    def array(self, _order: IntArray) -> pa.Array:
        return pa.array(self._values, mask=self._missing, from_pandas=False).view(self._type)


class _Anything:
    """A column of texts, lists and the like: kept in pieces, then gathered."""

    def __init__(self, _n: int, _dtype: pl.DataType):
        self._pieces: list[pl.Series] = []

    def add(self, _rows: IntArray, series: pl.Series) -> None:
        self._pieces.append(series)

    def array(self, order: IntArray) -> pa.Array:
        return pl.concat(self._pieces).gather(pl.Series(order)).to_arrow()
