"""Entity keys written in bulk are byte for byte those of Feast."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.errors import DataError
from foretail.features.online.keys import KeyCodec

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "INT64": (INT64, "int64_val", pa.int64()),
    "INT32": (st.integers(-(2**31), 2**31 - 1), "int32_val", pa.int32()),
    "STRING": (st.text(max_size=8), "string_val", pa.string()),
    "BYTES": (st.binary(max_size=8), "bytes_val", pa.binary()),
    "UNIX_TIMESTAMP": (INT64, "unix_timestamp_val", pa.int64()),
}


def feasts(types: dict[str, str], columns: dict[str, list[object]]) -> list[bytes]:
    """The same keys by Feast, one at a time."""
    keys = []
    for row in zip(*columns.values(), strict=True):
        values = [Value(**{VALUES[types[name]][1]: value}) for name, value in zip(columns, row, strict=True)]
        keys.append(serialize_entity_key(EntityKey(join_keys=list(columns), entity_values=values), 3))
    return keys


@st.composite
def keyed_rows(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, list[object]]]:
    names = draw(st.lists(st.text("abcé_", min_size=1, max_size=5), min_size=1, max_size=4, unique=True))
    types = {name: draw(st.sampled_from(sorted(VALUES))) for name in names}
    n = draw(st.integers(0, 6))
    return types, {name: draw(st.lists(VALUES[types[name]][0], min_size=n, max_size=n)) for name in names}


@settings(max_examples=150, deadline=None)
@given(keyed_rows())
def test_keys_of_any_types_in_any_order_are_feasts(rows: tuple[dict[str, str], dict[str, list[object]]]) -> None:
    types, columns = rows
    codec, wanted = KeyCodec(types), feasts(types, columns)
    arrays = [pa.array(values, VALUES[types[name]][2]) for name, values in columns.items()]
    batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    assert codec.encode_batch(batch).to_pylist() == wanted
    assert codec.encode_rows([columns[name] for name in codec.names]) == wanted


def test_a_part_of_a_batch_is_written_as_the_part() -> None:
    batch = pa.RecordBatch.from_pydict({"store_id": list(range(10)), "name": [f"n{i}" for i in range(10)]})
    for types in ({"store_id": "INT64"}, {"name": "STRING"}, {"store_id": "INT64", "name": "STRING"}):
        codec = KeyCodec(types)
        assert codec.encode_batch(batch.slice(3, 4)).to_pylist() == codec.encode_batch(batch).to_pylist()[3:7]


def test_a_view_without_entities_has_feasts_key_of_nothing() -> None:
    batch = pa.RecordBatch.from_pydict({"x": [1, 2]})
    wanted = serialize_entity_key(EntityKey(), 3)
    assert KeyCodec({}).encode_batch(batch).to_pylist() == [wanted, wanted]


@pytest.mark.parametrize("source", [pa.int8(), pa.uint32(), pa.float64(), pa.dictionary(pa.int32(), pa.int64())])
def test_other_whole_numbers_in_the_source_are_the_same_key(source: pa.DataType) -> None:
    codec = KeyCodec({"store_id": "INT64"})
    column = pa.array([1, 7], pa.int64()).cast(source) if source != pa.dictionary(pa.int32(), pa.int64()) else None
    column = pa.array([1, 7], pa.int64()).dictionary_encode() if column is None else column
    batch = pa.RecordBatch.from_arrays([column], names=["store_id"])
    assert codec.encode_batch(batch).to_pylist() == codec.encode_rows([[1, 7]])


def test_a_time_as_key_counts_whole_seconds() -> None:
    codec = KeyCodec({"at": "UNIX_TIMESTAMP"})
    times = pa.array([dt.datetime(2024, 3, 1, 0, 0, 1, 999_999, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))
    batch = pa.RecordBatch.from_arrays([times], names=["at"])
    assert codec.encode_batch(batch).to_pylist() == codec.encode_rows([[1_709_251_201]])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([1, None]), "is null"),
        (pa.array(["1", "2"]), "wrong type"),
        (pa.array([1.5, 2.0]), "wrong type"),
    ],
)
def test_a_column_that_is_no_key_is_refused_by_name(column: pa.Array, said: str) -> None:
    with pytest.raises(DataError, match=said) as refused:
        KeyCodec({"store_id": "INT64"}).encode_batch(pa.RecordBatch.from_arrays([column], names=["store_id"]))
    assert "store_id" in str(refused.value)


@pytest.mark.parametrize("value", [None, "1", 1.5, 2**63])
def test_a_value_that_is_no_key_is_refused_by_name(value: object) -> None:
    with pytest.raises(DataError, match="store_id"):
        KeyCodec({"store_id": "INT64", "dept_id": "INT64"}).encode_rows([[1], [value]])
    with pytest.raises(DataError, match="store_id"):
        KeyCodec({"store_id": "INT64"}).encode_rows([[value]])


def test_text_keys_refuse_what_is_no_text() -> None:
    with pytest.raises(DataError, match="name"):
        KeyCodec({"name": "STRING"}).encode_rows([["a", 3]])


def test_a_missing_key_column_and_a_type_that_cannot_be_a_key_are_refused() -> None:
    with pytest.raises(DataError, match="store_id is missing"):
        KeyCodec({"store_id": "INT64"}).encode_batch(pa.RecordBatch.from_pydict({"shop": [1]}))
    with pytest.raises(DataError, match="weight is DOUBLE"):
        KeyCodec({"weight": "DOUBLE"})
