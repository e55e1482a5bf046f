"""Entity keys as bytes, exactly as Feast writes them (serialization version 3), one at a time or a column at a time."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView
from feast.protos.feast.types.Value_pb2 import ValueType as WireType

from foretail.core.errors import DataError, Problem
from foretail.features.online.binary import as_binary, fixed_binary, join_binary

__all__ = ["KeyCodec"]

_NUMBERS: dict[str, tuple[str, Any]] = {
    "INT64": ("q", pa.int64()),
    "INT32": ("i", pa.int32()),
    "UNIX_TIMESTAMP": ("q", pa.int64()),
}
_TEXTS = {"STRING": pa.large_string(), "BYTES": pa.large_binary()}


class KeyCodec:
    """Writes the entity keys of one view.

    Parameters
    ----------
    types : per join key the name of its Feast value type (``INT64``, ``INT32``, ``STRING``, ``BYTES``,
        ``UNIX_TIMESTAMP``; a timestamp counts whole seconds since 1970, as Feast has it).

    Raises
    ------
    DataError : a join key has another type, which Feast cannot serialise either.
    """

    def __init__(self, types: Mapping[str, str]):
        bad = {name: kind for name, kind in types.items() if kind not in _NUMBERS and kind not in _TEXTS}
        if bad:
            where = ", ".join(f"{name} is {kind}" for name, kind in bad.items())
            raise DataError(Problem("join keys cannot be of this type", where, "use integers or text as join keys"))
        self.names = tuple(sorted(types))
        self.kinds = tuple(types[name] for name in self.names)
        self._prefixes = self._make_prefixes()
        self._packer = self._make_packer()

    @classmethod
    def of(cls, view: FeatureView) -> KeyCodec:
        """The keys of a Feast feature view."""
        return cls({column.name: column.dtype.to_value_type().name for column in view.entity_columns})

    def _make_prefixes(self) -> tuple[bytes, ...]:
        """What stands before each value: the names before the first, then type and (for numbers) length."""
        head = struct.pack("<I", len(self.names))
        for name in self.names:
            text = name.encode()
            head += struct.pack("<II", WireType.Enum.STRING, len(text)) + text
        prefixes = []
        for kind in self.kinds:
            head += struct.pack("<I", WireType.Enum.Value(kind))
            if kind in _NUMBERS:
                head += struct.pack("<I", struct.calcsize("<" + _NUMBERS[kind][0]))
            prefixes.append(head)
            head = b""
        return tuple(prefixes) or (head,)

    def _make_packer(self) -> struct.Struct | None:
        """One struct for the whole key where all values are numbers."""
        if not self.kinds or any(kind not in _NUMBERS for kind in self.kinds):
            return None
        parts = (f"{len(prefix)}s{_NUMBERS[kind][0]}" for prefix, kind in zip(self._prefixes, self.kinds, strict=True))
        return struct.Struct("<" + "".join(parts))

    def encode_rows(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Keys of Python values.

        Parameters
        ----------
        columns : one sequence per name of ``names``, in that order, all of one length.

        Raises
        ------
        DataError : a value is null or does not have the type of its key.
        """
        try:
            if self._packer is not None and len(columns) == 1:
                (prefix,), pack = self._prefixes, self._packer.pack
                return [pack(prefix, value) for value in columns[0]]
            if self._packer is not None and len(columns) == 2:
                (first, second), pack = self._prefixes, self._packer.pack
                return [pack(first, one, second, two) for one, two in zip(*columns, strict=True)]
            return [self._encode(values) for values in zip(*columns, strict=True)]
        except (struct.error, AttributeError, TypeError) as error:
            raise self._wrong_value(columns) from error

    def _encode(self, values: Sequence[Any]) -> bytes:
        parts = []
        for prefix, kind, value in zip(self._prefixes, self.kinds, values, strict=True):
            if kind in _NUMBERS:
                content = struct.pack("<" + _NUMBERS[kind][0], value)
            else:
                text = value.encode() if kind == "STRING" else bytes(memoryview(value))
                content = struct.pack("<I", len(text)) + text
            parts.append(prefix + content)
        return b"".join(parts)

    def _wrong_value(self, columns: Sequence[Sequence[Any]]) -> DataError:
        shown = "; ".join(
            f"{name} ({kind}): {', '.join(repr(value) for value in list(values)[:3])}"
            for name, kind, values in zip(self.names, self.kinds, columns, strict=False)
        )
        return DataError(Problem("an entity key is null or of the wrong type", shown, "give values of the key's type"))

    def encode_batch(self, batch: pa.RecordBatch) -> pa.LargeBinaryArray:
        """Keys of all rows at once.

        Parameters
        ----------
        batch : holds a column per name of ``names``.

        Returns
        -------
        The keys ``[n]``, byte for byte those of Feast's ``serialize_entity_key``.

        Raises
        ------
        DataError : a column is missing, null somewhere, or not of its type.
        """
        columns = [self._column(batch, name, kind) for name, kind in zip(self.names, self.kinds, strict=True)]
        if self._packer is not None:
            return self._encode_numbers(columns, batch.num_rows)
        parts: list[Any] = [] if columns else [self._prefixes[0]] * bool(batch.num_rows)
        for prefix, kind, column in zip(self._prefixes, self.kinds, columns, strict=False):
            parts.append(prefix)
            parts += [fixed_binary(column)] if kind in _NUMBERS else [_lengths(column), as_binary(column)]
        return join_binary(parts, batch.num_rows)

    def _encode_numbers(self, columns: Sequence[pa.Array], n_rows: int) -> pa.LargeBinaryArray:
        dtype = np.dtype([(f"{part}{i}", code) for i in range(len(columns)) for part, code in self._layout(i)])
        rows: npt.NDArray[np.void] = np.empty(n_rows, dtype=dtype)
        for i, (prefix, column) in enumerate(zip(self._prefixes, columns, strict=True)):
            rows[f"prefix{i}"] = np.frombuffer(prefix, dtype=f"V{len(prefix)}")[0]
            rows[f"value{i}"] = column.to_numpy(zero_copy_only=False)
        return fixed_binary(rows)

    def _layout(self, i: int) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("prefix", f"V{len(self._prefixes[i])}"), ("value", "<i4" if self.kinds[i] == "INT32" else "<i8")

    def _column(self, batch: pa.RecordBatch, name: str, kind: str) -> pa.Array:
        if name not in batch.schema.names:
            known = ", ".join(batch.schema.names)
            raise DataError(Problem(f"the key column {name} is missing", f"columns: {known}", "add it to the source"))
        column = batch.column(name)
        if column.null_count:
            raise DataError(
                Problem("a join key is null", f"{name}, {column.null_count} rows", "remove these rows from the source")
            )
        return _cast(column, name, kind)


def _cast(column: pa.Array, name: str, kind: str) -> pa.Array:
    wanted = _NUMBERS[kind][1] if kind in _NUMBERS else _TEXTS[kind]
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    try:
        if kind == "UNIX_TIMESTAMP" and pa.types.is_timestamp(column.type):
            return pc.cast(column, pa.timestamp("s", column.type.tz), safe=False).view(pa.int64())
        if is_text and kind in _NUMBERS:
            raise pa.ArrowInvalid(f"text in a key of type {kind}")
        return pc.cast(column, wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        where = f"{name} is {column.type}, the entity says {kind}"
        raise DataError(
            Problem(f"a join key has the wrong type: {error}", where, "make source and entity agree")
        ) from error


def _lengths(column: pa.Array) -> pa.LargeBinaryArray:
    return fixed_binary(pc.binary_length(as_binary(column)).cast(pa.uint32()))
