"""Rows added to Parquet: all of them or none, in the columns and types that are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offline_parquet import sales
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError
from foretail.features.offline import write
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.scan import Columns


def source(path: Path | str) -> ParquetSource:
    return ParquetSource("sales_features", str(path))


def everything(path: Path | str) -> pl.DataFrame:
    return source(path).read(Columns(None))


def test_a_file_grows_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "sales.parquet"
    sales().head(60).write_parquet(path, row_group_size=25)
    write.append(source(path), sales().tail(-60).to_arrow())
    assert_frame_equal(everything(path), sales())
    assert [file.name for file in tmp_path.iterdir()] == ["sales.parquet"]


def test_a_folder_gets_a_part_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "sales"
    folder.mkdir()
    sales().head(60).write_parquet(folder / "a.parquet")
    before = (folder / "a.parquet").read_bytes()
    write.append(source(folder), sales().tail(-60).to_arrow())
    by = ["store_id", "event_timestamp", "created_timestamp"]
    assert_frame_equal(everything(folder).sort(by), sales().sort(by))
    assert len(list(folder.iterdir())) == 2 and (folder / "a.parquet").read_bytes() == before


@pytest.mark.parametrize("name", ["new/sales.parquet", "new/sales"])
def test_what_is_not_there_yet_is_made(tmp_path: Path, name: str) -> None:
    write.append(source(tmp_path / name), sales().to_arrow())
    assert_frame_equal(everything(tmp_path / name), sales())
    assert (tmp_path / name).is_file() == name.endswith(".parquet")


@pytest.fixture
def memory() -> Iterator[str]:
    yield "memory://added-rows"
    fsspec.filesystem("memory").rm("memory://added-rows", recursive=True)


def test_files_at_an_address_grow_too(memory: str) -> None:
    write.append(source(f"{memory}/sales.parquet"), sales().head(60).to_arrow())
    write.append(source(f"{memory}/sales.parquet"), sales().tail(-60).to_arrow())
    assert_frame_equal(everything(f"{memory}/sales.parquet"), sales())


def test_columns_take_the_order_and_types_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1.5], "b": ["x"]}).write_parquet(path)
    write.append(source(path), pa.table({"b": pa.array(["y"]).dictionary_encode(), "a": pa.array([2])}))
    assert everything(path).rows() == [(1.5, "x"), (2.0, "y")]


@pytest.mark.parametrize("is_folder", [False, True])
def test_rows_that_do_not_fit_change_nothing(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "sales"
    if is_folder:
        path.mkdir()
    part = path / "a.parquet" if is_folder else path
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(part)
    before = part.read_bytes()
    with pytest.raises(DataError) as caught:
        write.append(source(path), pa.table({"a": [1], "c": [2], "d": [3]}))
    assert [problem.what for problem in caught.value.problems] == [
        "the rows have no column 'b'",
        "the source has no column 'c'",
        "the source has no column 'd'",
    ]
    with pytest.raises(DataError, match="'a' does not fit"):
        write.append(source(path), pa.table({"a": ["many"], "b": [1]}))
    assert part.read_bytes() == before
    assert [file.name for file in part.parent.iterdir()] == [part.name]


@pytest.mark.parametrize("target", ["x.parquet", "new.parquet"], ids=["written over", "replaced"])
def test_a_file_that_another_writer_changed_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    fitting = write._fitting

    def meanwhile(*given: Any) -> pa.Table:
        pl.DataFrame({"a": [7, 8]}).write_parquet(tmp_path / target)
        (tmp_path / target).replace(path)
        return fitting(*given)

    monkeypatch.setattr(write, "_fitting", meanwhile)
    with pytest.raises(DataError, match="changed by another writer"):
        write.append(source(path), pa.table({"a": [2]}))
    assert everything(path)["a"].to_list() == [7, 8]
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_broken_file_is_named_and_left_alone(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "folder" / "x.parquet" if is_folder else tmp_path / "x.parquet"
    path.parent.mkdir(exist_ok=True)
    sales().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    before = path.read_bytes()
    with pytest.raises(DataError, match="rows could not be added") as caught:
        write.append(source(path.parent if is_folder else path), sales().to_arrow())
    assert "sales_features" in str(caught.value) and path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("partition_by", [None, ["store_id"]])
def test_logs_add_up(tmp_path: Path, partition_by: list[str] | None) -> None:
    pq.write_table(sales().tail(-60).to_arrow(), tmp_path / "second.parquet")
    write.add_logs(source(tmp_path / "logs"), sales().head(60).to_arrow(), partition_by)
    write.add_logs(source(tmp_path / "logs"), tmp_path / "second.parquet", partition_by)
    by = ["store_id", "event_timestamp", "created_timestamp"]
    got = everything(tmp_path / "logs").select(sales().columns).sort(by)
    assert_frame_equal(got, sales().sort(by), check_dtypes=partition_by is None)
