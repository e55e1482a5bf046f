"""What a database must do for the online store, and what passes between the two."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from foretail.features.online.errors import OnlineStoreError
from foretail.features.online.rows import RowSchema

__all__ = [
    "NO_TIME",
    "Backend",
    "Connections",
    "Freshness",
    "RowBatch",
    "Write",
    "check_count",
    "freshness_of",
    "from_micros",
    "micros",
    "newest",
    "no_progress",
    "note_of",
    "table_name",
]

NO_TIME = -(2**63)  # created_ts of a source without a created timestamp: older than any
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LONGEST_NAME = 63  # bytes of an identifier in PostgreSQL

Progress = Callable[[int], object]


def no_progress(n: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class RowBatch:
    """Encoded rows, one per key.

    Attributes
    ----------
    keys, rows : bytes ``[n]``.
    event_ts, created_ts : int64 ``[n]``, microseconds since 1970 in UTC; `NO_TIME` where there is none.
    """

    keys: pa.LargeBinaryArray
    rows: pa.LargeBinaryArray
    event_ts: npt.NDArray[np.int64]
    created_ts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Write:
    """One transaction: which view is written, with what schema, from which range of time.

    Attributes
    ----------
    project, view : as Feast names them.
    schema : how the rows are encoded.
    span : start and end of a materialisation; None for rows that were pushed.
    progress : is told how many rows more were taken over.
    """

    project: str
    view: str
    schema: RowSchema
    span: tuple[dt.datetime, dt.datetime] | None = None
    progress: Progress = no_progress

    @property
    def table(self) -> str:
        return table_name(self.project, self.view)


@dataclass(frozen=True)
class Freshness:
    """What a view holds online, and how new it is.

    Attributes
    ----------
    project, view : as Feast names them; ``view`` carries its version where Feast keeps several.
    n_rows : entity keys stored.
    newest : the latest event timestamp among them; None while there are none.
    start, end : range of the last materialisation; None before the first.
    materialised_at : when that was; None before the first.
    written_at : when anything was last written, pushed rows included.
    """

    project: str
    view: str
    n_rows: int
    newest: dt.datetime | None
    start: dt.datetime | None
    end: dt.datetime | None
    materialised_at: dt.datetime | None
    written_at: dt.datetime


class Backend(Protocol):
    """A database that keeps one row per view and key."""

    @property
    def where(self) -> str:
        """The database in words, without its password."""

    def create(self, tables: Sequence[str]) -> None:
        """Make these tables where they are not there yet."""

    def drop(self, project: str, views: Sequence[str]) -> None:
        """Forget these views: rows and freshness."""

    def read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Row and event timestamp (microseconds) of the keys that are there."""

    def write(self, write: Write, batches: Iterable[RowBatch]) -> int:
        """Take over rows in one transaction, newer ones winning; the number of rows seen."""

    def schema(self, header: bytes) -> RowSchema | None:
        """The schema that wrote rows with this header."""

    def freshness(self, project: str | None = None) -> list[Freshness]:
        """What is there, by view."""

    def close(self) -> None:
        """Close all connections."""


Connection = TypeVar("Connection")


class Connections(Generic[Connection]):
    """Idle connections, lent to one thread at a time; closed when nobody can ask for them any more.

    A forked process begins with none, and leaves those of its parent alone.

    Parameters
    ----------
    connect : opens one.
    close : closes one.
    """

    def __init__(self, connect: Callable[[], Connection], close: Callable[[Connection], None]):
        self._connect, self._close = connect, close
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._idle: deque[Connection] = deque()
        weakref.finalize(self, _close_all, self._process, self._idle, self._close)

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """A connection for the length of the block; it is closed, not kept, when the block fails."""
        connection = self._take()
        try:
            yield connection
        except BaseException:
            self._close(connection)
            raise
        self._idle.append(connection)

    def _take(self) -> Connection:
        if self._process != os.getpid():
            self._begin()
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def close(self) -> None:
        """Close the idle ones."""
        _close_all(self._process, self._idle, self._close)


def _close_all(process: int, idle: deque[Connection], close: Callable[[Connection], None]) -> None:
    while idle and process == os.getpid():
        close(idle.pop())


def table_name(project: str, view: str) -> str:
    """The table of a view: ``rows_project_view``, shortened by a hash where a database would cut it."""
    name = f"rows_{project}_{view}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{name.encode()[:40].decode(errors='ignore')}_{digest}"


def newest(
    keys: pa.LargeBinaryArray, event_ts: npt.NDArray[np.int64], created_ts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Row numbers of the newest row per key, in the order of the keys.

    The later event wins, then the later creation, then the row that comes last.
    """
    frame = pl.DataFrame({"key": pl.Series(keys), "event": event_ts, "created": created_ts}).with_row_index("row")
    order = frame.sort("key", "event", "created", maintain_order=True)
    last = order.filter((pl.col("key") != pl.col("key").shift(-1)).fill_null(True))
    return last["row"].cast(pl.Int64).to_numpy()


def from_micros(value: int | None) -> dt.datetime | None:
    """A time in UTC; None for none."""
    return None if value is None else _EPOCH + dt.timedelta(microseconds=value)


def micros(time: dt.datetime) -> int:
    """Microseconds since 1970; a time without a zone is taken as UTC."""
    zoned = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return (zoned - _EPOCH) // dt.timedelta(microseconds=1)


def note_of(write: Write, n_new: int, latest: int | None) -> tuple[str | int | None, ...]:
    """The parameters of `statements.NOTE`: what this write adds to the freshness of its view."""
    now = micros(dt.datetime.now(dt.UTC))
    start, end = (micros(write.span[0]), micros(write.span[1])) if write.span else (None, None)
    return (write.project, write.view, n_new, latest, start, end, now if write.span else None, now)


def check_count(view: str, where: str, n_rows: int, n_held: int) -> None:
    """Refuse a write after which not every row, or a newer one, is there.

    Raises
    ------
    OnlineStoreError : fewer rows are held than were handed over.
    """
    if n_held != n_rows:
        raise OnlineStoreError(
            f"{view}: of {n_rows} rows {n_held} are there after writing.\n  where: {where}\n"
            "  fix:   run it again; nothing of this write was kept"
        )


def freshness_of(row: Sequence[Any]) -> Freshness:
    """One line of the freshness table."""
    project, view, n_rows, *times = row
    newest_at, start, end, materialised_at, written_at = (from_micros(time) for time in times)
    return Freshness(project, view, n_rows, newest_at, start, end, materialised_at, written_at or _EPOCH)
