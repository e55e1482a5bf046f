"""Entity rows as people have them: any frame, any kind of time, an address or a query; in number and order."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from offline_parquet import T0, asked
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError, UsageError
from foretail.features.offline.entities import FileRows, entity_rows, is_query, with_time
from foretail.features.offline.join import TIME
from foretail.features.offline.times import to_microseconds


@pytest.mark.parametrize("kind", ["polars", "lazy", "arrow", "pandas", "address"])
def test_every_kind_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    asked().write_parquet(tmp_path / "asked.parquet", row_group_size=7)
    given = {
        "polars": asked(),
        "lazy": asked().lazy(),
        "arrow": asked().to_arrow(),
        "pandas": asked().to_pandas().set_index(pd.Index(range(100, 175))),
        "address": str(tmp_path / "asked.parquet"),
    }[kind]
    rows = entity_rows(given)
    has_types = kind != "pandas"  # whole numbers with gaps are doubles there
    assert_frame_equal(rows.frame(), asked(), check_dtypes=has_types)
    assert_frame_equal(pl.concat(rows.batches()), asked(), check_dtypes=has_types)
    assert (rows.time, rows.n_rows(), rows.schema.names()) == ("event_timestamp", asked().height, asked().columns)
    times = [to_microseconds(value) for value in asked()["event_timestamp"]]
    assert rows.span() == (min(times), max(times))
    assert isinstance(rows, FileRows) == (kind == "address")


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([T0]),
        pl.Series([T0]).cast(pl.Datetime("ns", "UTC")),
        pl.Series([T0.replace(tzinfo=None)]),
        pl.Series([T0]).dt.convert_time_zone("Asia/Tokyo"),
        pl.Series([T0.date()]),
        pl.Series(["2024-03-01 00:00:00"]),
        pl.Series(["2024-03-01T02:00:00+02:00"]),
    ],
    ids=str,
)
def test_times_of_every_kind_are_one_instant_in_utc(times: pl.Series) -> None:
    rows = entity_rows(pl.DataFrame({"event_timestamp": times}))
    assert rows.span() == (to_microseconds(T0), to_microseconds(T0))
    assert rows.frame()["event_timestamp"].to_list() == [T0]


def test_nanoseconds_are_kept_and_counted_from_the_microsecond_before() -> None:
    stamps = pl.Series([to_microseconds(T0) * 1000 + 999]).cast(pl.Datetime("ns"))
    rows = entity_rows(pl.DataFrame({"event_timestamp": stamps}))
    assert rows.frame()["event_timestamp"].to_physical().to_list() == [to_microseconds(T0) * 1000 + 999]
    assert with_time(rows.frame(), "event_timestamp")[TIME].to_list() == [to_microseconds(T0)]


def test_the_only_column_of_times_is_the_time() -> None:
    assert entity_rows(asked().rename({"event_timestamp": "sold_on"})).time == "sold_on"


def test_no_or_several_columns_of_times_are_refused() -> None:
    with pytest.raises(DataError, match="no column of times"):
        entity_rows(pl.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match=r"more than one column of times[^$]*x, y"):
        entity_rows(pl.DataFrame({"x": [T0], "y": [T0]}))


@pytest.mark.parametrize("bad", [[1.5], ["yesterday"], [True]], ids=str)
def test_times_that_are_none_are_refused(bad: list[object]) -> None:
    with pytest.raises(DataError, match="event_timestamp"):
        entity_rows(pl.DataFrame({"event_timestamp": bad}))


def test_a_column_of_mixed_types_is_refused() -> None:
    with pytest.raises(DataError, match="mixes types"):
        entity_rows(pd.DataFrame({"event_timestamp": [T0, T0], "store_id": [1, "x"]}))


def test_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="of type dict"):
        entity_rows({"event_timestamp": [T0]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", True),
        ("  with x as (select 1) select * from x", True),
        ("(select 1)", True),
        ("selected.parquet", False),
        ("s3://bucket/with spaces/x.parquet", False),
        ("/data/rows", False),
    ],
)
def test_queries_are_told_from_addresses(text: str, expected: bool) -> None:
    assert is_query(text) is expected


def test_a_query_needs_a_database() -> None:
    with pytest.raises(UsageError, match=r"no database is known[^$]*url: postgresql"):
        entity_rows("select 1")
    found = entity_rows("select 1", lambda _text: pl.DataFrame({"event_timestamp": [T0]}))
    assert found.n_rows() == 1


def test_no_rows_have_no_span() -> None:
    assert entity_rows(asked().clear()).span() == (None, None)
    times = pa.table({"event_timestamp": pa.array([None], pa.timestamp("us"))})
    assert entity_rows(times).span() == (None, None)


def test_the_epoch_is_a_time_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretail.features.offline.parquet.BATCH_ROWS", 1)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    frame = pl.DataFrame({"event_timestamp": [epoch + dt.timedelta(days=9), epoch, epoch + dt.timedelta(days=1)]})
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=1)
    assert entity_rows(str(tmp_path / "x.parquet")).span() == (0, 9 * 86_400_000_000)
