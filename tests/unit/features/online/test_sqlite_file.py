"""A SQLite file that is not there, is damaged, cannot grow, or whose writer is killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from foretail.features.online.backend import RowBatch, Write
from foretail.features.online.errors import OnlineStoreError
from foretail.features.online.rows import Column, RowSchema
from foretail.features.online.sqlite import SqliteBackend

SCHEMA = RowSchema((Column("note", "STRING"),))
FORK = multiprocessing.get_context("fork")  # a child has all modules at once


def batches(day: int, n: int) -> list[RowBatch]:
    """n rows of about half a kilobyte, a thousand at a time."""
    times = np.full(1000, day, dtype=np.int64)
    rows = SCHEMA.encode_batch(pa.RecordBatch.from_pydict({"note": [f"{day}" * 500] * 1000}))
    keys = [[f"{i:06}".encode() for i in range(start, start + 1000)] for start in range(0, n, 1000)]
    return [RowBatch(pa.array(names, pa.large_binary()), rows, times, times) for names in keys]


def work(path: Path, day: int, rows: list[RowBatch], what: str, line: Connection) -> None:
    """What a child does: write, on a disk without space or until it is killed."""

    def handed_over() -> Iterator[RowBatch]:
        for batch in rows:
            yield batch
            if what == "hang":
                line.send("inside")
                line.recv()

    if what == "small disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
    try:
        SqliteBackend(path).write(Write("shop", "notes", SCHEMA), handed_over())
        line.send("")
    except OnlineStoreError as error:
        line.send(str(error))


def start(path: Path, day: int, n: int, what: str) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    here, there = FORK.Pipe()
    child = FORK.Process(target=work, args=(path, day, batches(day, n), what, there))
    child.start()
    there.close()
    return child, here


def run(path: Path, day: int, n: int, what: str = "write") -> str:
    """What a child said at its end: nothing, or its error."""
    child, line = start(path, day, n, what)
    with line:
        said: str = line.recv()
    child.join(60)
    assert child.exitcode == 0
    return said


def contents(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows per event time, and the freshness table."""
    with sqlite3.connect(path) as connection:
        days = connection.execute("SELECT event_ts, count(*) FROM rows_shop_notes GROUP BY 1 ORDER BY 1").fetchall()
        fresh = connection.execute("SELECT n_rows, newest FROM foretail_freshness").fetchall()
    connection.close()
    return days, fresh


def test_a_disk_that_is_full_is_said_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    assert run(path, 1, 1000) == ""
    said = run(path, 2, 4000, "small disk")
    assert said.startswith("notes cannot be stored: ")
    assert f"where: {path}" in said
    assert "free space where the database is" in said
    assert contents(path) == ([(1, 1000)], [(1000, 1)])
    assert run(path, 2, 4000) == ""
    assert contents(path) == ([(2, 4000)], [(4000, 2)])


def test_a_writer_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    assert run(path, 1, 1000) == ""
    child, line = start(path, 2, 3000, "hang")
    with line:
        assert line.recv() == "inside"
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(60)
    assert contents(path) == ([(1, 1000)], [(1000, 1)])
    assert run(path, 2, 3000) == ""
    assert contents(path) == ([(2, 3000)], [(3000, 2)])


def test_a_file_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    backend = SqliteBackend(path)
    with pytest.raises(OnlineStoreError, match="feast materialize"):
        backend.read("rows_shop_notes", [b"1"])
    assert backend.freshness() == []
    assert not path.exists()


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    path.write_bytes(b"no database at all" * 400)
    backend = SqliteBackend(path)
    with pytest.raises(OnlineStoreError, match="the file is damaged"):
        backend.read("rows_shop_notes", [b"1"])
    with pytest.raises(OnlineStoreError, match="the file is damaged"):
        backend.create(["rows_shop_notes"])


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(OnlineStoreError, match="the online store cannot be set up"):
        SqliteBackend(tmp_path / "data" / "online.db").create([])
