"""Parquet sources: only what is needed is read, times of every kind mean the same, bad or moving files are told."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offline_parquet import DAY, T0, sales
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError
from foretail.features.offline import scan
from foretail.features.offline.join import CREATED, TIME
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.scan import Columns, Span
from foretail.features.offline.times import to_datetime, to_microseconds

COLUMNS = Columns((("key", "store_id"), ("y", "amount")), "event_timestamp", "created_timestamp")
BACK = to_microseconds(T0)


def source(path: Path | str, **storage: Any) -> ParquetSource:
    return ParquetSource("sales_features", str(path), storage)


def write(path: Path, frame: pl.DataFrame | None = None, **options: Any) -> ParquetSource:
    path.parent.mkdir(parents=True, exist_ok=True)
    (sales() if frame is None else frame).write_parquet(path, **options)
    return source(path)


def read_everyway(made: ParquetSource, columns: Columns = COLUMNS, span: Span = scan.ALL_TIME) -> pl.DataFrame:
    """The rows, after all ways to read them were found to give the same."""
    whole = made.read(columns, span)
    assert_frame_equal(pl.concat(made.batches(columns, span)), whole)
    index, features = made.read_split(
        Columns(columns.wanted[:1], columns.timestamp, columns.created), Columns(columns.wanted[1:]), span
    )
    split = scan.within(pl.concat([index, *features], how="horizontal"), span).select(whole.columns)
    assert_frame_equal(split, whole)
    return whole


def test_columns_are_renamed_and_times_become_microseconds(tmp_path: Path) -> None:
    got = read_everyway(write(tmp_path / "sales.parquet"))
    assert got.columns == ["key", "y", TIME, CREATED]
    assert got[TIME].to_list() == [to_microseconds(value) for value in sales()["event_timestamp"]]
    assert_frame_equal(got.select("y"), sales().select(y="amount"))


def test_a_folder_is_read_in_the_order_of_its_parts(tmp_path: Path) -> None:
    halves = sales().head(50), sales().tail(-50)
    for name, part in zip("ab", halves, strict=True):
        write(tmp_path / "folder" / f"{name}.parquet", part)
    (tmp_path / "folder" / "_SUCCESS").touch()
    (tmp_path / "folder" / ".hidden.parquet").write_bytes(b"half written")
    whole = write(tmp_path / "sales.parquet").read(COLUMNS)
    assert_frame_equal(read_everyway(source(tmp_path / "folder")), whole)
    assert_frame_equal(read_everyway(source(tmp_path / "folder" / "*.parquet")), whole)
    assert source(tmp_path / "folder").n_rows() == whole.height


def test_hive_folders_are_columns(tmp_path: Path) -> None:
    for (store,), part in sales().partition_by("store_id", as_dict=True).items():
        write(tmp_path / "hive" / f"store_id={store}" / "part.parquet", part.drop("store_id"))
    got = read_everyway(source(tmp_path / "hive"))
    by = ["key", TIME, CREATED]
    assert_frame_equal(got.sort(by), write(tmp_path / "sales.parquet").read(COLUMNS).sort(by), check_dtypes=False)


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder of fsspec's file system in memory, which stands for any store behind an address."""
    folder = f"memory://offline-{os.getpid()}"
    yield folder
    filesystem = fsspec.filesystem("memory")
    filesystem.rm(folder, recursive=True)


def test_files_at_an_address_are_read_like_local_ones(memory: str, tmp_path: Path) -> None:
    for name, part in (("a", sales().head(50)), ("b", sales().tail(-50))):
        with fsspec.open(f"{memory}/sales/{name}.parquet", "wb") as file:
            part.write_parquet(file)
    assert_frame_equal(read_everyway(source(f"{memory}/sales")), write(tmp_path / "sales.parquet").read(COLUMNS))
    span = Span(BACK, BACK)
    assert read_everyway(source(f"{memory}/sales"), span=span)[TIME].unique().to_list() == [BACK]


def test_a_file_replaced_at_an_address_is_noticed(memory: str) -> None:
    address = f"{memory}/sales.parquet"
    with fsspec.open(address, "wb") as file:
        sales().write_parquet(file)
    batches = source(address).batches(COLUMNS)
    next(batches)
    with fsspec.open(address, "wb") as file:
        sales(seed=5).write_parquet(file)
    with pytest.raises(DataError, match="changed while they were read"):
        list(batches)


KINDS = {
    "microseconds": pl.Datetime("us", "UTC"),
    "nanoseconds": pl.Datetime("ns", "UTC"),
    "milliseconds": pl.Datetime("ms", "UTC"),
    "no zone": pl.Datetime("us"),
    "nanoseconds without zone": pl.Datetime("ns"),
    "another zone": pl.Datetime("us", "America/New_York"),
    "dates": pl.Date,
    "texts": pl.String,
}


@pytest.mark.parametrize("kind", KINDS)
def test_times_of_every_kind_are_pruned_and_mean_the_same(tmp_path: Path, kind: str) -> None:
    dtype = KINDS[kind]
    column = pl.col("event_timestamp")
    if kind == "texts":
        column = column.dt.strftime("%Y-%m-%d %H:%M:%S%:z")
    elif kind == "another zone":
        column = column.dt.convert_time_zone("America/New_York")
    elif "zone" in kind:
        column = column.dt.replace_time_zone(None)
    made = write(tmp_path / "sales.parquet", sales().with_columns(column.cast(dtype)), row_group_size=10)
    span = Span(to_microseconds(T0 + 2 * DAY), to_microseconds(T0 + 4 * DAY))
    got = read_everyway(made, span=span)
    inside = sales().filter(pl.col("event_timestamp").is_between(T0 + 2 * DAY, T0 + 4 * DAY))
    assert got[TIME].to_list() == [to_microseconds(value) for value in inside["event_timestamp"]]


@pytest.mark.parametrize(("nanosecond", "microsecond"), [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (-1, 0)])
def test_nanoseconds_count_from_the_next_microsecond(tmp_path: Path, nanosecond: int, microsecond: int) -> None:
    times = pl.Series([BACK * 1000 + nanosecond]).cast(pl.Datetime("ns", "UTC"))
    made = write(tmp_path / "x.parquet", pl.DataFrame({"store_id": [1], "amount": [1.0], "event_timestamp": times}))
    columns = Columns(COLUMNS.wanted, "event_timestamp")
    exact = Span(BACK + microsecond, BACK + microsecond)
    assert read_everyway(made, columns, exact).height == 1
    assert read_everyway(made, columns, Span(until=BACK + microsecond - 1)).height == 0
    assert read_everyway(made, columns, Span(since=BACK + microsecond + 1)).height == 0


def test_rows_without_a_time_never_count(tmp_path: Path) -> None:
    frame = sales().with_columns(pl.when(pl.col("store_id") != 2).then(pl.col("event_timestamp")))
    assert 2 not in read_everyway(write(tmp_path / "sales.parquet", frame))["key"].to_list()


def test_only_the_columns_and_row_groups_that_are_needed_are_read(tmp_path: Path) -> None:
    """Everything else in the file is made unreadable first."""
    frame = sales().sort("event_timestamp")
    path = tmp_path / "sales.parquet"
    frame.write_parquet(path, row_group_size=10, compression="uncompressed", use_pyarrow=False)
    footer, content = pq.ParquetFile(path).metadata, bytearray(path.read_bytes())
    span = Span(until=to_microseconds(T0 + DAY))
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            first = group.column(1).statistics.min
            if column.path_in_schema not in {"store_id", "amount", "event_timestamp", "created_timestamp"} or (
                first > T0 + DAY
            ):
                start = column.dictionary_page_offset or column.data_page_offset
                content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    assert read_everyway(source(path), span=span).height == frame.filter(pl.col("event_timestamp") <= T0 + DAY).height
    with pytest.raises(DataError, match="cannot be read"):
        source(path).read(COLUMNS)


# bad input: every message names the view and the file


def test_nothing_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none.parquet", tmp_path / "empty", tmp_path / "*.parquet"):
        with pytest.raises(DataError, match="no Parquet file") as caught:
            source(path).schema()
        assert "sales_features" in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_column_lists_those_that_are_there(tmp_path: Path) -> None:
    made = write(tmp_path / "sales.parquet")
    columns = Columns((("x", "amonut"),), "event_timestamp", "written")
    with pytest.raises(DataError) as caught:
        made.read(columns)
    assert len(caught.value.problems) == 2
    assert "did you mean 'amount'" in str(caught.value) and str(tmp_path / "sales.parquet") in str(caught.value)


def test_a_time_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'amount' holds Float64, not times"):
        write(tmp_path / "sales.parquet").read(Columns(COLUMNS.wanted, "amount"))


def parts(folder: Path) -> list[Path]:
    for name, part in zip("abc", (sales().head(40), sales().slice(40, 40), sales().tail(-80)), strict=True):
        write(folder / f"{name}.parquet", part, row_group_size=10)
    return [folder / f"{name}.parquet" for name in "abc"]


def test_a_part_that_lost_a_column_is_named(tmp_path: Path) -> None:
    _, second, _ = parts(tmp_path / "folder")
    pl.read_parquet(second).drop("amount").write_parquet(second)
    with pytest.raises(DataError, match="lost column 'amount'") as caught:
        source(tmp_path / "folder").read(COLUMNS)
    assert str(second) in str(caught.value) and "sales_features" in str(caught.value)
    unused = Columns((("key", "store_id"),), "event_timestamp")
    assert source(tmp_path / "folder").read(unused).height == sales().height, "what is not asked for may be missing"


def test_a_part_with_another_type_is_named(tmp_path: Path) -> None:
    _, _, third = parts(tmp_path / "folder")
    pl.read_parquet(third).with_columns(pl.col("amount").cast(pl.String)).write_parquet(third)
    with pytest.raises(DataError, match="'amount' as") as caught:
        source(tmp_path / "folder").read(COLUMNS)
    assert str(third) in str(caught.value)


def damage_footer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_footer, damage_pages])
@pytest.mark.parametrize("way", ["read", "batches", "read_split"])
def test_a_corrupt_part_is_named(tmp_path: Path, damage: Any, way: str) -> None:
    _, second, _ = parts(tmp_path / "folder")
    damage(second)
    made = source(tmp_path / "folder")
    with pytest.raises(DataError, match="cannot be read") as caught:
        if way == "read_split":
            _, features = made.read_split(Columns((), "event_timestamp"), Columns(COLUMNS.wanted))
            list(features)
        else:
            list(getattr(made, way)(COLUMNS))
    assert str(second) in str(caught.value) and "sales_features" in str(caught.value)


def replaced(path: Path) -> None:
    sales(seed=9).write_parquet(path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def removed(path: Path) -> None:
    path.unlink()


def written_over(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2])


@pytest.mark.parametrize("change", [replaced, removed, written_over])
@pytest.mark.parametrize("way", ["batches", "read_split"])
def test_a_part_that_changes_while_it_is_read_is_named(tmp_path: Path, change: Any, way: str) -> None:
    *_, third = parts(tmp_path / "folder")
    made = source(tmp_path / "folder")
    if way == "batches":
        rest = made.batches(COLUMNS)
        next(rest)
    else:
        _, rest = made.read_split(Columns((), "event_timestamp"), Columns(COLUMNS.wanted))
    change(third)
    with pytest.raises(DataError, match="1 of 3 files changed while they were read") as caught:
        list(rest)
    assert str(third) in str(caught.value)


def test_microseconds_and_timestamps_are_each_others_inverse() -> None:
    for moment in (T0, T0 + dt.timedelta(microseconds=1), dt.datetime(1, 1, 1, tzinfo=dt.UTC)):
        assert to_datetime(to_microseconds(moment)) == moment
    assert to_microseconds(T0.replace(tzinfo=None)) == BACK


def test_types_that_mean_the_same_are_one(tmp_path: Path) -> None:
    first, *_ = parts(tmp_path / "folder")
    table = pq.read_table(first)
    narrow = table.set_column(0, "store_id", table["store_id"].cast(pa.int32()))
    pq.write_table(narrow.set_column(5, "label", table["label"].dictionary_encode()), first)
    columns = Columns((("key", "store_id"), ("label", "label")), "event_timestamp")
    assert source(tmp_path / "folder").read(columns)["key"].to_list() == sales()["store_id"].to_list()
