"""Joins at once and by partition: the same rows whichever way, whole folders or none, and no temporary file left."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from offline_parquet import DAY, T0, asked, plan, sales, stores
from oracle import point_in_time
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError, ForetailError
from foretail.features.offline import stream
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.stream import Streaming, historical_to_parquet, join_plan

FEATURES = ["amount", "count", "label", "is_open", "day"]
AT_ONCE = Streaming(10**9)
CASES = pytest.mark.parametrize(("ttl", "as_known"), [(None, False), (None, True), (2 * DAY, False), (2 * DAY, True)])


def expected(ttl: dt.timedelta | None = None, as_known: bool = False) -> pl.DataFrame:
    """The whole training set by plain loops."""
    entities = asked().to_dicts()
    joined = point_in_time(entities, sales().to_dicts(), ["store_id"], FEATURES, ttl, as_known=as_known)
    joined = point_in_time(joined, stores().to_dicts(), ["store_id"], ["size"])
    types = {**asked().schema, **sales().select(FEATURES).schema, "size": pl.Float64}
    return pl.DataFrame(joined, schema=types)


@CASES
def test_at_once_is_what_plain_loops_find(tmp_path: Path, ttl, as_known) -> None:
    got = pl.from_arrow(join_plan(plan(tmp_path, ttl=ttl, as_known=as_known), AT_ONCE))
    assert_frame_equal(got, expected(ttl, as_known))


@CASES
def test_partitions_change_nothing(tmp_path: Path, ttl, as_known) -> None:
    made = plan(tmp_path, ttl=ttl, as_known=as_known)
    got = join_plan(made, Streaming(10, partitions=5))
    assert_frame_equal(pl.from_arrow(got), pl.from_arrow(join_plan(made, AT_ONCE)))


def test_features_read_a_few_at_a_time_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(tmp_path)
    whole = join_plan(made, AT_ONCE)
    monkeypatch.setattr("foretail.features.offline.parquet._VALUES_AT_ONCE", 150)
    assert_frame_equal(pl.from_arrow(join_plan(made, AT_ONCE)), pl.from_arrow(whole))


@pytest.mark.parametrize("kind", ["frame", "address"])
def test_a_folder_of_parts_holds_every_row_once(tmp_path: Path, kind: str) -> None:
    asked().write_parquet(tmp_path / "asked.parquet")
    made = plan(tmp_path, asked() if kind == "frame" else str(tmp_path / "asked.parquet"))
    parts = historical_to_parquet(made, Streaming(30, spill=str(tmp_path)), tmp_path / "training")
    assert len(parts) > 3 and parts == sorted((tmp_path / "training").iterdir())
    got = pl.concat(pl.read_parquet(part) for part in parts)
    by = ["note", "event_timestamp"]
    assert_frame_equal(got.sort(by), expected().sort(by))
    stores_by_part = [set(pl.read_parquet(part)["store_id"]) for part in parts]
    assert sum(map(len, stores_by_part)) == len(set.union(*stores_by_part)), "a key is in one part"
    assert not list(tmp_path.glob("foretail-join-*")) and not list(tmp_path.glob(".training*"))


def test_rows_keep_their_order_within_a_part(tmp_path: Path) -> None:
    made = plan(tmp_path)
    parts = historical_to_parquet(made, Streaming(30), tmp_path / "training")
    order = {note: i for i, note in reversed(list(enumerate(asked()["note"])))}
    for part in parts:
        places = [order[note] for note in pl.read_parquet(part)["note"].head(8).unique(maintain_order=True)]
        assert places == sorted(places)


def test_below_the_budget_there_is_one_part_in_order(tmp_path: Path) -> None:
    parts = historical_to_parquet(plan(tmp_path), AT_ONCE, tmp_path / "training")
    assert_frame_equal(pl.read_parquet(parts), expected())


def test_each_part_is_finished_before_it_is_there(tmp_path: Path) -> None:
    def finish(table: pa.Table) -> pa.Table:
        return table.append_column("twice", pa.array([2.0] * len(table)))

    parts = historical_to_parquet(plan(tmp_path), Streaming(30), tmp_path / "training", finish)
    assert all("twice" in pq.read_schema(part).names for part in parts)


def test_an_existing_folder_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    made, target = plan(tmp_path), tmp_path / "training"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="something already"):
        historical_to_parquet(made, AT_ONCE, target)
    assert (target / "mine.txt").read_text() == "mine"
    historical_to_parquet(made, AT_ONCE, target, overwrite=True)
    assert [path.name for path in target.iterdir()] == ["part-00000.parquet"]


def test_a_join_that_fails_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    made, target = plan(tmp_path), tmp_path / "training"
    historical_to_parquet(made, AT_ONCE, target)
    before = (target / "part-00000.parquet").read_bytes()
    (tmp_path / "stores.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(DataError, match="store_features"):
        historical_to_parquet(made, Streaming(30, spill=str(tmp_path)), target, overwrite=True)
    assert (target / "part-00000.parquet").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"training", "sales.parquet", "stores.parquet"}


def test_a_spill_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    streaming = Streaming(10, partitions=3, spill=str(tmp_path / "nowhere"))
    with pytest.raises(ForetailError, match=r"temporary files.*nowhere[^$]*spill under offline_store"):
        join_plan(plan(tmp_path), streaming)


def test_partitions_travel_as_plain_values(tmp_path: Path) -> None:
    with stream.spill_folder(str(tmp_path)) as folder:
        tasks = stream._tasks(plan(tmp_path), ("store_id",), 4, folder, None)
        for task in tasks:
            again = pickle.loads(pickle.dumps(task))
            first, second = stream.join_partition(task), stream.join_partition(again)
            assert_frame_equal(pl.from_arrow(first), pl.from_arrow(second))
        assert sum(stream.join_partition(task).num_rows for task in tasks) == len(asked())


def test_views_without_the_shared_keys_go_to_every_partition(tmp_path: Path) -> None:
    """A view of the whole chain, without any key, beside views of stores."""
    days = pl.DataFrame({"event_timestamp": [T0 + DAY * i for i in range(5)], "price": [1.0, 2.0, 3.0, 4.0, 5.0]})
    days.write_parquet(tmp_path / "days.parquet")
    made = plan(tmp_path)
    chain = stream.ViewJoin(
        ParquetSource("chain_features", str(tmp_path / "days.parquet")),
        "event_timestamp",
        None,
        (),
        (("price", "price"),),
        None,
    )
    made = type(made)(made.entities, (*made.views, chain), made.as_known)
    got = join_plan(made, Streaming(10, partitions=5))
    prices = point_in_time(asked().to_dicts(), days.to_dicts(), [], ["price"])
    assert got["price"].to_pylist() == [row["price"] for row in prices]
    assert_frame_equal(pl.from_arrow(got), pl.from_arrow(join_plan(made, AT_ONCE)))


@pytest.mark.parametrize("streaming", [AT_ONCE, Streaming(10, partitions=3)])
def test_no_entity_rows_give_no_rows_but_every_column(tmp_path: Path, streaming: Streaming) -> None:
    got = pl.from_arrow(join_plan(plan(tmp_path, asked().clear()), streaming))
    assert got.schema == expected().schema and got.height == 0


def test_entity_rows_without_any_time_get_no_feature(tmp_path: Path) -> None:
    entities = asked().with_columns(event_timestamp=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
    got = pl.from_arrow(join_plan(plan(tmp_path, entities), AT_ONCE))
    assert got.height == entities.height and got["amount"].null_count() == got.height
