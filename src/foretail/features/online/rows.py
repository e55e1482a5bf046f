"""One stored row: all features of a view in one typed, versioned run of bytes that says which schema wrote it.

Layout, little-endian: version (1 byte), schema id (8), null bits (one per column, rounded up to bytes), then per column
in order its number, or the length of its text; then the texts in order. Null has its bit set and zeros in place of a
value, so that NaN, the empty text and null stay three things. Types without a fixed width of their own (lists, maps, …)
are kept as Feast's own serialised value.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

from foretail.core.errors import DataError, Problem
from foretail.features.online.binary import as_binary, fixed_binary, join_binary

__all__ = ["HEADER", "Column", "RowSchema"]

VERSION = 1
HEADER = 9  # bytes that say how to read the rest: version and schema id
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NUMBERS: dict[str, tuple[str, str, Any]] = {  # struct code, NumPy type, Arrow type
    "INT64": ("q", "<i8", pa.int64()),
    "INT32": ("i", "<i4", pa.int32()),
    "DOUBLE": ("d", "<f8", pa.float64()),
    "FLOAT": ("f", "<f4", pa.float32()),
    "BOOL": ("?", "|u1", pa.bool_()),
    "UNIX_TIMESTAMP": ("q", "<i8", pa.timestamp("us", "UTC")),
}
_PROTO_FIELDS = {"INT64": "int64_val", "INT32": "int32_val", "DOUBLE": "double_val", "FLOAT": "float_val"}
_PROTO_FIELDS |= {"BOOL": "bool_val", "STRING": "string_val", "BYTES": "bytes_val"}


@dataclass(frozen=True)
class Column:
    """One feature of a stored row: its name and the name of its Feast value type."""

    name: str
    kind: str


@dataclass(frozen=True)
class RowSchema:
    """Names and types of the features in a stored row, in order."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, view: Any) -> RowSchema:
        """The features of a Feast view (feature view or on-demand view)."""
        columns = (Column(field.name, field.dtype.to_value_type().name) for field in view.features)
        return cls(tuple(sorted(columns, key=lambda column: column.name)))  # Feast keeps no order of its own

    @classmethod
    def from_json(cls, text: str) -> RowSchema:
        """Read what `to_json` wrote."""
        return cls(tuple(Column(name, kind) for name, kind in json.loads(text)))

    def to_json(self) -> str:
        """Names and types as text; also what the id is taken from."""
        return json.dumps([[column.name, column.kind] for column in self.columns])

    @cached_property
    def header(self) -> bytes:
        """The first bytes of every row of this schema: version and schema id."""
        return bytes([VERSION]) + hashlib.blake2b(self.to_json().encode(), digest_size=HEADER - 1).digest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Type by name."""
        return {column.name: column.kind for column in self.columns}

    @cached_property
    def _n_null_bytes(self) -> int:
        return (len(self.columns) + 7) // 8

    @cached_property
    def _packer(self) -> struct.Struct:
        codes = "".join(_NUMBERS[column.kind][0] if column.kind in _NUMBERS else "I" for column in self.columns)
        return struct.Struct(f"<{HEADER}x{self._n_null_bytes}s{codes}")

    @cached_property
    def _texts(self) -> tuple[tuple[int, str], ...]:
        """Places and types of the columns that are not plain numbers."""
        return tuple((i, column.kind) for i, column in enumerate(self.columns) if column.kind not in _NUMBERS)

    @cached_property
    def _times(self) -> tuple[int, ...]:
        return tuple(i for i, column in enumerate(self.columns) if column.kind == "UNIX_TIMESTAMP")

    def decode(self, row: bytes) -> list[Any]:
        """Python values of one row, in the order of ``columns``; None for null, a datetime in UTC for a timestamp."""
        nulls, *values = self._packer.unpack_from(row)
        if self._texts:
            self._read_texts(row, values)
        for i in self._times:
            values[i] = _EPOCH + dt.timedelta(microseconds=values[i])
        if any(nulls):
            bits = int.from_bytes(nulls, "little")
            values = [None if bits >> i & 1 else value for i, value in enumerate(values)]
        return values

    def _read_texts(self, row: bytes, values: list[Any]) -> None:
        start = self._packer.size
        for i, kind in self._texts:
            end = start + values[i]
            values[i] = _from_bytes(row[start:end], kind)
            start = end

    def decode_values(self, row: bytes) -> dict[str, Value]:
        """The row as Feast's values by name; a value without content for null."""
        return {
            column.name: Value() if value is None else _to_value(value, column.kind, self._proto_of(row, i))
            for i, (column, value) in enumerate(zip(self.columns, self.decode(row), strict=True))
        }

    def _proto_of(self, row: bytes, i: int) -> bytes | None:
        """The serialised value of a column that is kept as one."""
        kind = self.columns[i].kind
        if kind in _NUMBERS or kind in _PROTO_FIELDS:
            return None
        _, *sizes = self._packer.unpack_from(row)
        start = self._packer.size + sum(sizes[j] for j, _ in self._texts if j < i)
        return row[start : start + sizes[i]]

    def encode_batch(self, batch: pa.RecordBatch) -> pa.LargeBinaryArray:
        """Rows of a batch that has a column per feature, in any order.

        Raises
        ------
        DataError : a feature is missing, or its values are not of the declared type; all of them at once.
        """
        arrays = self._arrays(batch)
        fixed = self._fixed(arrays, batch.num_rows)
        if not self._texts:
            return fixed_binary(fixed)
        return join_binary([fixed_binary(fixed), *(as_binary(arrays[i]) for i, _ in self._texts)], batch.num_rows)

    def _fixed(self, arrays: Sequence[pa.Array], n_rows: int) -> npt.NDArray[np.uint8]:
        """uint8 ``[n, width]``: all but the texts themselves."""
        rows = np.empty((n_rows, self._packer.size), dtype=np.uint8)
        rows[:, :HEADER] = np.frombuffer(self.header, dtype=np.uint8)
        place = HEADER + self._n_null_bytes
        rows[:, HEADER:place] = _null_bits(arrays, n_rows)
        for column, array in zip(self.columns, arrays, strict=True):
            values = _numbers(array, column.kind)
            rows[:, place : place + values.itemsize] = values.view(np.uint8).reshape(n_rows, values.itemsize)
            place += values.itemsize
        return rows

    def _arrays(self, batch: pa.RecordBatch) -> list[pa.Array]:
        problems, arrays = [], []
        for column in self.columns:
            try:
                arrays.append(_typed(batch, column))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
                where = f"{column.name}, declared {column.kind}"
                problems.append(
                    Problem(f"a feature does not fit: {error}", where, "make the source and the view's schema agree")
                )
        if problems:
            raise DataError(problems)
        return arrays

    def batch_of(self, rows: Sequence[Mapping[str, Value]]) -> pa.RecordBatch:
        """Rows as Feast hands them over, as one batch for `encode_batch`.

        Raises
        ------
        DataError : a row lacks a feature of the view (rows are stored whole, so that half a row would drop the rest).
        """
        lacking = [column.name for column in self.columns if any(column.name not in row for row in rows)]
        if lacking:
            raise DataError(
                Problem("rows lack features of their view", ", ".join(lacking), "write every feature, or null for it")
            )
        arrays = [_from_values([row[column.name] for row in rows], column.kind) for column in self.columns]
        return pa.RecordBatch.from_arrays(arrays, names=list(self.names))


def _null_bits(arrays: Sequence[pa.Array], n_rows: int) -> npt.NDArray[np.uint8]:
    nulls = np.zeros((n_rows, len(arrays)), dtype=np.bool_)
    for i, array in enumerate(arrays):
        if array.null_count:
            nulls[:, i] = pc.is_null(array).to_numpy(zero_copy_only=False)
    return np.packbits(nulls, axis=1, bitorder="little")


def _numbers(array: pa.Array, kind: str) -> npt.NDArray[Any]:
    """Contiguous numbers ``[n]``, 0 where null; of a text its length."""
    if kind not in _NUMBERS:
        return np.ascontiguousarray(pc.binary_length(as_binary(array)).to_numpy(zero_copy_only=False).astype("<u4"))
    if kind == "UNIX_TIMESTAMP":
        array = array.view(pa.int64())
    if array.null_count:
        array = pc.fill_null(array, pa.scalar(0, pa.int8()).cast(array.type))
    return np.ascontiguousarray(array.to_numpy(zero_copy_only=False).astype(_NUMBERS[kind][1], copy=False))


def _typed(batch: pa.RecordBatch, column: Column) -> pa.Array:
    if column.name not in batch.schema.names:
        raise pa.ArrowInvalid(f"there is no column {column.name}")
    array = batch.column(column.name)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), _arrow_type(column.kind))
    if column.kind not in _NUMBERS and column.kind not in _PROTO_FIELDS:
        return array if pa.types.is_large_binary(array.type) else _serialised(array, column.kind)
    if _is_text(array.type) and column.kind in _NUMBERS:
        raise pa.ArrowInvalid(f"it holds {array.type}")
    safe = column.kind != "UNIX_TIMESTAMP"  # nanoseconds are cut to microseconds
    return pc.cast(array, _arrow_type(column.kind), safe=safe)


def _arrow_type(kind: str) -> pa.DataType:
    if kind in _NUMBERS:
        return _NUMBERS[kind][2]
    return pa.large_string() if kind == "STRING" else pa.large_binary()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _serialised(array: pa.Array, kind: str) -> pa.Array:
    """Values of a type that only Feast knows how to write."""
    from feast import ValueType
    from feast.type_map import python_values_to_proto_values

    values = array.to_pylist()
    there = [value for value in values if value is not None]
    written = iter(python_values_to_proto_values(there, ValueType[kind]) if there else [])
    return pa.array(
        [None if value is None else next(written).SerializeToString() for value in values], pa.large_binary()
    )


def _from_values(values: Sequence[Value], kind: str) -> pa.Array:
    fields = [value.WhichOneof("val") for value in values]
    if kind not in _NUMBERS and kind not in _PROTO_FIELDS:
        content = [value.SerializeToString() if field else None for value, field in zip(values, fields, strict=True)]
        return pa.array(content, pa.large_binary())
    content = [getattr(value, field) if field else None for value, field in zip(values, fields, strict=True)]
    if kind == "UNIX_TIMESTAMP":
        return pa.array(content, pa.timestamp("s", "UTC"))
    return pa.array(content, _arrow_type(kind))


def _from_bytes(text: bytes, kind: str) -> Any:
    if kind == "STRING":
        return text.decode()
    if kind == "BYTES":
        return text
    value = Value()
    value.ParseFromString(text)
    return feast_value_type_to_python_type(value)


def _to_value(value: Any, kind: str, serialised: bytes | None) -> Value:
    if serialised is not None:
        parsed = Value()
        parsed.ParseFromString(serialised)
        return parsed
    if kind == "UNIX_TIMESTAMP":
        return Value(unix_timestamp_val=int((value - _EPOCH) // dt.timedelta(seconds=1)))
    return Value(**{_PROTO_FIELDS[kind]: value})
