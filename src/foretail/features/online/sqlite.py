"""The online store in one SQLite file: readers never wait for a writer, and a write happens whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foretail.features.online import statements as say
from foretail.features.online.backend import (
    Connections,
    Freshness,
    RowBatch,
    Write,
    check_count,
    freshness_of,
    note_of,
    table_name,
)
from foretail.features.online.errors import OnlineStoreError, not_served, unusable
from foretail.features.online.rows import RowSchema

__all__ = ["SqliteBackend"]

_PATIENCE_S = 60.0  # how long a writer waits for another one
_KEYS_AT_ONCE = 500
_SCHEMAS = "CREATE TABLE IF NOT EXISTS foretail_row_schemas (header BLOB PRIMARY KEY, columns TEXT NOT NULL)"
_COLUMNS = (
    "(entity_key BLOB PRIMARY KEY, features BLOB NOT NULL, event_ts INTEGER NOT NULL, created_ts INTEGER NOT NULL)"
)


class SqliteBackend:
    """Rows in a SQLite file.

    Parameters
    ----------
    path : the file; made with its folder by the first write.
    """

    def __init__(self, path: Path):
        self.path = path
        self._reading: Connections[sqlite3.Connection] = Connections(self._open_to_read, sqlite3.Connection.close)
        self._writing: Connections[sqlite3.Connection] = Connections(self._open_to_write, sqlite3.Connection.close)
        self._selects: dict[tuple[str, int], str] = {}

    @property
    def where(self) -> str:
        return str(self.path)

    def _open_to_read(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise not_served("any view", self.where)
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE_S, check_same_thread=False)

    def _open_to_write(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE_S, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"CREATE TEMP TABLE incoming {_COLUMNS} WITHOUT ROWID")
        return connection

    @contextmanager
    def _transaction(self, what: str) -> Iterator[sqlite3.Connection]:
        """One transaction on a writing connection; undone when the block fails (closing a connection rolls back)."""
        try:
            with self._writing.lend() as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise unusable(what, self.where, error) from error

    def create(self, tables: Sequence[str]) -> None:
        """Make these tables where they are not there yet.

        Raises
        ------
        OnlineStoreError : the file cannot be written.
        """
        with self._transaction("the online store cannot be set up") as connection:
            self._create(connection, tables)

    def _create(self, connection: sqlite3.Connection, tables: Sequence[str]) -> None:
        connection.execute(say.FRESHNESS)
        connection.execute(_SCHEMAS)
        for table in tables:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {say.quoted(table)} {_COLUMNS} WITHOUT ROWID")

    def drop(self, project: str, views: Sequence[str]) -> None:
        """Forget these views: rows and freshness.

        Raises
        ------
        OnlineStoreError : the file cannot be written.
        """
        with self._transaction("views cannot be dropped") as connection:
            self._create(connection, [])
            for view in views:
                connection.execute(say.Statements(table_name(project, view)).drop)
                connection.execute(_marked(say.FORGET), (project, view))

    def read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Row and event timestamp (microseconds) of the keys that are there.

        Raises
        ------
        OnlineStoreError : the table or the file is not there, or the file cannot be read.
        """
        found: dict[bytes, tuple[bytes, int]] = {}
        try:
            with self._reading.lend() as connection:
                for start in range(0, len(keys), _KEYS_AT_ONCE):
                    some = keys[start : start + _KEYS_AT_ONCE]
                    for key, row, event_ts in connection.execute(self._select(table, len(some)), some):
                        found[key] = (row, event_ts)
        except sqlite3.Error as error:
            raise self._not_read(table, error) from error
        return found

    def _select(self, table: str, n_keys: int) -> str:
        select = self._selects.get((table, n_keys))
        if select is None:
            condition = " = ?" if n_keys == 1 else f" IN ({', '.join('?' * n_keys)})"
            select = self._selects[table, n_keys] = say.Statements(table).read + condition
        return select

    def _not_read(self, table: str, error: sqlite3.Error) -> OnlineStoreError:
        if "no such table" in str(error):
            return not_served(table, self.where)
        return unusable("the online store cannot be read", self.where, error)

    def write(self, write: Write, batches: Iterable[RowBatch]) -> int:
        """Take over rows in one transaction, newer ones winning; the number of rows seen.

        Raises
        ------
        OnlineStoreError : the file cannot be written (a full disk, say), or rows are missing after the write; the
            store is as before then.
        """
        n_rows, n_new, latest = 0, 0, None
        with self._transaction(f"{write.view} cannot be stored") as connection:
            self._create(connection, [write.table])
            for batch in batches:
                n_new += self._take_over(connection, write, batch)
                n_rows += len(batch)
                latest = max(int(batch.event_ts.max()), latest or int(batch.event_ts.max()))
                write.progress(len(batch))
            connection.execute(_marked(say.ADD_SCHEMA), (write.schema.header, write.schema.to_json()))
            connection.execute(_marked(say.NOTE), note_of(write, n_new, latest))
        return n_rows

    def _take_over(self, connection: sqlite3.Connection, write: Write, batch: RowBatch) -> int:
        """Rows of one batch; how many keys are new."""
        statements = say.Statements(write.table)
        connection.execute("DELETE FROM incoming")
        columns: list[list[Any]] = [batch.keys.to_pylist(), batch.rows.to_pylist()]
        columns += [batch.event_ts.tolist(), batch.created_ts.tolist()]
        connection.executemany("INSERT INTO incoming VALUES (?, ?, ?, ?)", zip(*columns, strict=True))
        (n_known,) = connection.execute(statements.known).fetchone()
        connection.execute(statements.take_over)
        (n_held,) = connection.execute(statements.held).fetchone()
        check_count(write.view, self.where, len(batch), n_held)
        return len(batch) - int(n_known)

    def schema(self, header: bytes) -> RowSchema | None:
        """The schema that wrote rows with this header.

        Raises
        ------
        OnlineStoreError : the file cannot be read.
        """
        found = self._query(_marked(say.READ_SCHEMA), (header,))
        return RowSchema.from_json(found[0][0]) if found else None

    def freshness(self, project: str | None = None) -> list[Freshness]:
        """What is there, by view; nothing where no file is.

        Raises
        ------
        OnlineStoreError : the file cannot be read.
        """
        rows = self._query(say.READ_FRESHNESS, ()) if self.path.exists() else []
        return [entry for entry in map(freshness_of, rows) if project in (None, entry.project)]

    def _query(self, query: str, parameters: tuple[Any, ...]) -> list[Any]:
        try:
            with self._reading.lend() as connection:
                return connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return []
            raise unusable("the online store cannot be read", self.where, error) from error

    def close(self) -> None:
        """Close all connections."""
        self._reading.close()
        self._writing.close()


def _marked(statement: str) -> str:
    return statement.replace("$", "?")
