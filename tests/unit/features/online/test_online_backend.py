"""What any database of the online store must do: SQLite, and PostgreSQL where ``FORETAIL_POSTGRES_URL`` names one."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foretail.features.online.backend import NO_TIME, Backend, RowBatch, Write, micros, newest, table_name
from foretail.features.online.errors import OnlineStoreError
from foretail.features.online.rows import Column, RowSchema
from foretail.features.online.sqlite import SqliteBackend

SCHEMA = RowSchema((Column("sales", "DOUBLE"), Column("note", "STRING")))
DAY = 86_400_000_000
SPAN = (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 2, 1, tzinfo=dt.UTC))


@pytest.fixture(params=["sqlite", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "sqlite":
        opened: Backend = SqliteBackend(tmp_path / "deep" / "online.db")
    else:
        url = os.environ.get("FORETAIL_POSTGRES_URL")
        if not url:
            pytest.skip("FORETAIL_POSTGRES_URL names no PostgreSQL")
        from foretail.features.online.postgres import PostgresBackend

        opened = PostgresBackend(url)
        opened.drop("shop", ["sales", "stock", "v" * 80])
    yield opened
    opened.close()


def write(view: str = "sales", *, materialised: bool = True) -> Write:
    return Write("shop", view, SCHEMA, SPAN if materialised else None)


def batch(keys: Sequence[int], sales: float, event: int, created: int = NO_TIME) -> RowBatch:
    """Rows of the same values for some keys, in the order of the keys."""
    names = pa.array([f"{key:04}".encode() for key in keys], pa.large_binary())
    table = pa.RecordBatch.from_pydict({"sales": [sales] * len(keys), "note": [f"as of {event}"] * len(keys)})
    times = np.full(len(keys), event, dtype=np.int64), np.full(len(keys), created, dtype=np.int64)
    return RowBatch(names, SCHEMA.encode_batch(table), *times)


def sales(backend: Backend, keys: Sequence[int], view: str = "sales") -> list[float | None]:
    names = [f"{key:04}".encode() for key in keys]
    found = backend.read(table_name("shop", view), names)
    return [SCHEMA.decode(found[name][0])[0] if name in found else None for name in names]


def test_rows_come_back_with_their_time_and_others_do_not(backend: Backend) -> None:
    assert backend.write(write(), [batch([1, 2], 5.0, 3 * DAY), batch([3], 7.0, 4 * DAY)]) == 3
    found = backend.read(table_name("shop", "sales"), [b"0001", b"0003", b"0009"])
    assert {key: time for key, (_, time) in found.items()} == {b"0001": 3 * DAY, b"0003": 4 * DAY}
    assert sales(backend, [1, 2, 3, 9]) == [5.0, 5.0, 7.0, None]
    assert sales(backend, range(2000)).count(None) == 1997
    assert backend.read(table_name("shop", "sales"), []) == {}


def test_an_older_row_never_replaces_a_newer_one(backend: Backend) -> None:
    backend.write(write(), [batch([1, 2], 5.0, 3 * DAY)])
    assert backend.write(write(), [batch([1, 2, 3], 4.0, 2 * DAY)]) == 3
    assert sales(backend, [1, 2, 3]) == [5.0, 5.0, 4.0]


def test_of_equal_events_the_one_created_later_stays(backend: Backend) -> None:
    backend.write(write(), [batch([1], 5.0, DAY, created=3 * DAY)])
    backend.write(write(), [batch([1], 4.0, DAY, created=2 * DAY)])
    assert sales(backend, [1]) == [5.0]
    backend.write(write(), [batch([1], 6.0, DAY, created=4 * DAY)])
    assert sales(backend, [1]) == [6.0]
    backend.write(write(), [batch([1], 8.0, DAY)])
    assert sales(backend, [1]) == [6.0]  # created unknown is older than any


def test_a_correction_with_the_same_times_is_taken(backend: Backend) -> None:
    backend.write(write(), [batch([1], 5.0, DAY)])
    backend.write(write(), [batch([1], 6.0, DAY)])
    assert sales(backend, [1]) == [6.0]


def test_freshness_counts_keys_and_remembers_ranges(backend: Backend) -> None:
    assert backend.freshness("shop") == []
    backend.write(write(), [batch([1, 2], 5.0, 3 * DAY)])
    backend.write(write(), [batch([2, 3], 5.0, 2 * DAY)])
    (fresh,) = backend.freshness("shop")
    assert (fresh.view, fresh.n_rows, micros(fresh.newest)) == ("sales", 3, 3 * DAY)
    assert (fresh.start, fresh.end) == SPAN
    assert fresh.materialised_at is not None
    backend.write(write(materialised=False), [batch([4], 5.0, 9 * DAY)])
    (pushed,) = backend.freshness("shop")
    assert (pushed.n_rows, micros(pushed.newest)) == (4, 9 * DAY)
    assert (pushed.start, pushed.end, pushed.materialised_at) == (fresh.start, fresh.end, fresh.materialised_at)
    assert pushed.written_at >= fresh.written_at
    assert backend.freshness("another") == []


def test_a_materialisation_of_nothing_is_remembered_too(backend: Backend) -> None:
    assert backend.write(write(), []) == 0
    (fresh,) = backend.freshness("shop")
    assert (fresh.n_rows, fresh.newest, fresh.end) == (0, None, SPAN[1])
    backend.write(write(), [batch([1], 5.0, -DAY)])  # before 1970
    assert backend.freshness("shop")[0].newest == dt.datetime(1969, 12, 31, tzinfo=dt.UTC)


def test_a_failure_in_the_middle_leaves_everything_as_it_was(backend: Backend) -> None:
    backend.write(write(), [batch([1, 2], 5.0, DAY)])
    before = backend.freshness("shop")

    def batches() -> Iterator[RowBatch]:
        yield batch([1, 3], 9.0, 2 * DAY)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        backend.write(write(), batches())
    assert sales(backend, [1, 2, 3]) == [5.0, 5.0, None]
    assert backend.freshness("shop") == before
    backend.write(write(), [batch([1, 3], 9.0, 2 * DAY)])
    assert sales(backend, [1, 2, 3]) == [9.0, 5.0, 9.0]


def test_rows_that_share_a_key_in_one_batch_are_refused_whole(backend: Backend) -> None:
    backend.write(write(), [batch([1], 5.0, DAY)])
    with pytest.raises(OnlineStoreError):
        backend.write(write(), [batch([1, 2, 2], 9.0, 2 * DAY)])
    assert sales(backend, [1, 2]) == [5.0, None]


def test_a_reader_sees_the_whole_write_or_none_of_it(backend: Backend) -> None:
    backend.write(write(), [batch(range(100), 0.0, 0)])
    seen: set[tuple[float | None, ...]] = set()

    def batches(day: int) -> Iterator[RowBatch]:
        for start in range(0, 100, 20):
            seen.add(tuple(sales(backend, range(100))))
            yield batch(range(start, start + 20), float(day), day * DAY)

    for day in range(1, 4):
        backend.write(write(), batches(day))
    assert seen == {(float(day),) * 100 for day in range(3)}


def test_two_writers_at_once_leave_the_newer_rows_of_both(backend: Backend) -> None:
    backend.create([table_name("shop", "sales")])
    days = {"one": (1, 4), "other": (3, 2)}
    begin = threading.Barrier(2)

    def run(first: int, second: int) -> None:
        begin.wait()
        for _ in range(5):
            backend.write(
                write(), [batch(range(50), float(first), first * DAY), batch(range(50, 99), second, second * DAY)]
            )

    threads = [threading.Thread(target=run, args=pair) for pair in days.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sales(backend, range(99)) == [3.0] * 50 + [4.0] * 49
    assert backend.freshness("shop")[0].n_rows == 99


def test_a_reader_does_not_wait_for_a_writer(backend: Backend) -> None:
    backend.write(write(), [batch([1], 5.0, DAY)])
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[RowBatch]:
        yield batch([1], 6.0, 2 * DAY)
        inside.set()
        go_on.wait(30)

    writer = threading.Thread(target=lambda: backend.write(write(), slow()))
    writer.start()
    inside.wait(30)
    begun = time.monotonic()
    assert sales(backend, [1]) == [5.0]
    assert time.monotonic() - begun < 20  # a lock would have held it until the writer is told to go on
    go_on.set()
    writer.join()
    assert sales(backend, [1]) == [6.0]


def test_views_do_not_share_rows_and_are_dropped_alone(backend: Backend) -> None:
    backend.write(write("sales"), [batch([1], 5.0, DAY)])
    backend.write(write("stock"), [batch([1], 6.0, DAY)])
    backend.drop("shop", ["sales"])
    assert sales(backend, [1], "stock") == [6.0]
    assert [fresh.view for fresh in backend.freshness("shop")] == ["stock"]
    with pytest.raises(OnlineStoreError, match="nothing is stored for rows_shop_sales"):
        sales(backend, [1])


def test_names_longer_than_a_database_keeps_stay_apart(backend: Backend) -> None:
    names = ["v" * 80, "v" * 81]
    assert len({table_name("shop", name) for name in names}) == 2
    assert all(len(table_name("shop", name).encode()) <= 63 for name in names)
    backend.write(write(names[0]), [batch([1], 5.0, DAY)])
    assert sales(backend, [1], names[0]) == [5.0]


def test_the_schema_of_stored_rows_is_known_by_their_header(backend: Backend) -> None:
    backend.write(write(), [batch([1], 5.0, DAY)])
    assert backend.schema(SCHEMA.header) == SCHEMA
    assert backend.schema(b"\x01another_") is None


def test_newest_takes_event_then_creation_then_the_last_row() -> None:
    keys = pa.array([b"b", b"a", b"b", b"a", b"c", b"c", b"b"], pa.large_binary())
    event = np.array([1, 5, 2, 4, 1, 1, 2], dtype=np.int64)
    created = np.array([9, 1, 3, 9, 2, 2, 1], dtype=np.int64)
    assert newest(keys, event, created).tolist() == [1, 2, 5]
    assert newest(keys[:0], event[:0], created[:0]).tolist() == []
