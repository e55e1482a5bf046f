"""A SQLite file that is not there, is damaged, cannot grow, or whose writer is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from foretail.features.online.errors import OnlineStoreError
from foretail.features.online.sqlite import SqliteBackend

WRITER = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from foretail.core.errors import ForetailError
from foretail.features.online.backend import RowBatch, Write
from foretail.features.online.rows import Column, RowSchema
from foretail.features.online.sqlite import SqliteBackend

path, day, n, what = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
schema = RowSchema((Column("note", "STRING"),))

def batches():
    for start in range(0, n, 1000):
        keys = pa.array([f"{i:06}".encode() for i in range(start, start + 1000)], pa.large_binary())
        rows = schema.encode_batch(pa.RecordBatch.from_pydict({"note": [f"{day}" * 500] * 1000}))
        times = np.full(1000, day, dtype=np.int64)
        yield RowBatch(keys, rows, times, times)
        if what == "hang":
            print("inside", flush=True)
            sys.stdin.read()

if what == "small disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
try:
    SqliteBackend(path).write(Write("shop", "notes", schema), batches())
except ForetailError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start(path: Path, day: int, n: int, what: str = "write") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(day), str(n), what]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def run(path: Path, day: int, n: int, what: str = "write") -> tuple[int, str]:
    with start(path, day, n, what) as process:
        _, said = process.communicate(timeout=120)
        return process.returncode, said


def contents(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows per event time, and the freshness table."""
    with sqlite3.connect(path) as connection:
        days = connection.execute("SELECT event_ts, count(*) FROM rows_shop_notes GROUP BY 1 ORDER BY 1").fetchall()
        fresh = connection.execute("SELECT n_rows, newest FROM foretail_freshness").fetchall()
    connection.close()
    return days, fresh


def test_a_disk_that_is_full_is_said_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    assert run(path, 1, 1000) == (0, "")
    code, said = run(path, 2, 4000, "small disk")
    assert code == 1
    assert said.startswith("OnlineStoreError: notes cannot be stored: ")
    assert f"where: {path}" in said
    assert "free space where the database is" in said
    assert contents(path) == ([(1, 1000)], [(1000, 1)])
    assert run(path, 2, 4000) == (0, "")
    assert contents(path) == ([(2, 4000)], [(4000, 2)])


def test_a_writer_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    assert run(path, 1, 1000) == (0, "")
    with start(path, 2, 3000, "hang") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert contents(path) == ([(1, 1000)], [(1000, 1)])
    assert run(path, 2, 3000) == (0, "")
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
