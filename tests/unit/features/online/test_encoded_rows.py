"""What is stored comes back to the bit: floats, whole numbers, texts, times, lists and nulls."""

from __future__ import annotations

import datetime as dt
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.protos.feast.types.Value_pb2 import Int64List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.errors import DataError
from foretail.features.online.rows import HEADER, Column, RowSchema

TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))
KINDS: dict[str, tuple[st.SearchStrategy[Any], pa.DataType]] = {
    "INT64": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "INT32": (st.integers(-(2**31), 2**31 - 1), pa.int32()),
    "DOUBLE": (st.floats(), pa.float64()),
    "FLOAT": (st.floats(width=32), pa.float32()),
    "BOOL": (st.booleans(), pa.bool_()),
    "STRING": (st.text(max_size=12), pa.string()),
    "BYTES": (st.binary(max_size=12), pa.binary()),
    "UNIX_TIMESTAMP": (TIMES, pa.timestamp("us", "UTC")),
}


def bits(value: Any) -> Any:
    """Floats by their bits: NaN equals NaN, and -0.0 does not equal 0.0."""
    return struct.pack("<d", value) if isinstance(value, float) else value


@st.composite
def tables(draw: st.DrawFn) -> tuple[RowSchema, list[list[Any]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=18))
    schema = RowSchema(tuple(Column(f"f{i}", kind) for i, kind in enumerate(kinds)))
    row = st.tuples(*(st.none() | KINDS[kind][0] for kind in kinds))
    return schema, [list(values) for values in draw(st.lists(row, max_size=5))]


def batch_of(schema: RowSchema, rows: list[list[Any]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema.columns)
    arrays = [pa.array(values, KINDS[column.kind][1]) for column, values in zip(schema.columns, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=list(schema.names))


@settings(max_examples=200, deadline=None)
@given(tables())
def test_any_row_comes_back_to_the_bit(table: tuple[RowSchema, list[list[Any]]]) -> None:
    schema, rows = table
    encoded = schema.encode_batch(batch_of(schema, rows)).to_pylist()
    decoded = [schema.decode(row) for row in encoded]
    assert [[bits(value) for value in row] for row in decoded] == [[bits(value) for value in row] for row in rows]
    assert all(row[:HEADER] == schema.header for row in encoded)


@settings(max_examples=100, deadline=None)
@given(tables())
def test_rows_that_went_through_feasts_values_are_the_same_bytes(table: tuple[RowSchema, list[list[Any]]]) -> None:
    schema, rows = table
    whole = [[v.replace(microsecond=0) if isinstance(v, dt.datetime) else v for v in row] for row in rows]
    encoded = schema.encode_batch(batch_of(schema, whole))  # Feast's values count whole seconds
    again = schema.encode_batch(schema.batch_of([schema.decode_values(row) for row in encoded.to_pylist()]))
    assert again.to_pylist() == encoded.to_pylist()


def test_the_payload_of_a_nan_is_kept() -> None:
    strange = np.array([0x7FF8DEADBEEF0001, 0xFFF8000000000001], dtype=np.uint64).view(np.float64)
    schema = RowSchema((Column("f", "DOUBLE"),))
    encoded = schema.encode_batch(pa.RecordBatch.from_arrays([pa.array(strange)], names=["f"]))
    found = np.array([schema.decode(row)[0] for row in encoded.to_pylist()])
    assert found.view(np.uint64).tolist() == strange.view(np.uint64).tolist()


def test_a_slice_of_a_batch_is_encoded_as_the_slice() -> None:
    schema = RowSchema(
        (Column("f", "DOUBLE"), Column("t", "STRING"), Column("b", "BOOL"), Column("u", "UNIX_TIMESTAMP"))
    )
    rows = [
        [float(i), None if i % 3 else f"t{i}", i % 2 == 0, dt.datetime(2024, 1, 1 + i, tzinfo=dt.UTC)] for i in range(9)
    ]
    batch = batch_of(schema, rows)
    decoded = [schema.decode(row) for row in schema.encode_batch(batch.slice(2, 5)).to_pylist()]
    assert decoded == rows[2:7]


def test_lists_are_kept_as_feast_writes_them() -> None:
    schema = RowSchema((Column("last", "INT64_LIST"), Column("n", "INT64")))
    rows = [
        {"last": Value(int64_list_val=Int64List(val=[3, 1])), "n": Value(int64_val=2)},
        {"last": Value(), "n": Value()},
    ]
    encoded = schema.encode_batch(schema.batch_of(rows)).to_pylist()
    assert [schema.decode(row) for row in encoded] == [[[3, 1], 2], [None, None]]
    assert [schema.decode_values(row) for row in encoded] == rows
    arrow = pa.RecordBatch.from_arrays([pa.array([[3, 1], None]), pa.array([2, None])], names=["last", "n"])
    assert schema.encode_batch(arrow).to_pylist() == encoded


@pytest.mark.parametrize(
    ("kind", "source", "value"),
    [
        ("INT64", pa.int16(), 7),
        ("INT64", pa.float64(), 7.0),
        ("DOUBLE", pa.int64(), 7),
        ("DOUBLE", pa.float32(), 7.5),
        ("STRING", pa.large_string(), "seven"),
        ("STRING", pa.dictionary(pa.int32(), pa.string()), "seven"),
        ("INT64", pa.null(), None),
    ],
)
def test_a_source_of_a_narrower_type_says_the_same(kind: str, source: pa.DataType, value: Any) -> None:
    schema = RowSchema((Column("f", kind),))
    batch = pa.RecordBatch.from_arrays([pa.array([value, None], source)], names=["f"])
    assert [schema.decode(row) for row in schema.encode_batch(batch).to_pylist()] == [[value], [None]]


def test_everything_that_does_not_fit_is_said_at_once() -> None:
    schema = RowSchema(tuple(Column(name, kind) for name, kind in (("a", "INT64"), ("b", "DOUBLE"), ("c", "INT64"))))
    batch = pa.RecordBatch.from_pydict({"a": [1.5], "b": ["2"]})
    with pytest.raises(DataError) as refused:
        schema.encode_batch(batch)
    assert [problem.where for problem in refused.value.problems] == [
        "a, declared INT64",
        "b, declared DOUBLE",
        "c, declared INT64",
    ]


def test_a_number_too_large_for_a_float_is_refused_not_rounded() -> None:
    with pytest.raises(DataError, match="f, declared DOUBLE"):
        RowSchema((Column("f", "DOUBLE"),)).encode_batch(pa.RecordBatch.from_pydict({"f": [2**53 + 1]}))


def test_half_a_row_is_refused() -> None:
    schema = RowSchema((Column("a", "INT64"), Column("b", "INT64")))
    with pytest.raises(DataError, match="b"):
        schema.batch_of([{"a": Value(int64_val=1)}])


def test_the_header_follows_names_and_types_and_nothing_else() -> None:
    one = RowSchema((Column("a", "INT64"), Column("b", "DOUBLE")))
    assert RowSchema.from_json(one.to_json()) == one
    assert RowSchema.from_json(one.to_json()).header == one.header
    others = [(("a", "INT64"), ("b", "FLOAT")), (("a", "INT64"), ("c", "DOUBLE")), (("a", "INT64"),)]
    headers = {RowSchema(tuple(Column(*item) for item in columns)).header for columns in others}
    assert len(headers) == 3
    assert one.header not in headers
