"""The online store in PostgreSQL: batches arrive by binary COPY and are taken over in one transaction per view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.conninfo import conninfo_to_dict

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
from foretail.features.online.binary import content, fixed_binary, join_binary
from foretail.features.online.errors import not_served, unusable
from foretail.features.online.rows import RowSchema

__all__ = ["PostgresBackend"]

_Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
_CONNECT_TIMEOUT_S = 10
_SCHEMAS = "CREATE TABLE IF NOT EXISTS foretail_row_schemas (header BYTEA PRIMARY KEY, columns TEXT NOT NULL)"
_COLUMNS = "entity_key BYTEA NOT NULL, features BYTEA NOT NULL, event_ts BIGINT NOT NULL, created_ts BIGINT NOT NULL"
_INCOMING = f"CREATE TEMP TABLE incoming ({_COLUMNS}) ON COMMIT DROP"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"  # one writer per table, and per set-up
_COPY_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_TAIL = b"\xff\xff"


class PostgresBackend:
    """Rows in a PostgreSQL database.

    Parameters
    ----------
    url : ``postgresql://user:password@host:port/database``; SQLAlchemy's ``postgresql+psycopg://`` is understood too.
    """

    def __init__(self, url: str):
        scheme, _, rest = url.partition("://")
        self._url = f"{scheme.partition('+')[0]}://{rest}"
        self._connections: Connections[_Connection] = Connections(self._connect, psycopg.Connection.close)
        self._selects: dict[str, bytes] = {}

    @property
    def where(self) -> str:
        parts = conninfo_to_dict(self._url)
        place = parts.get("host") or parts.get("hostaddr") or "local socket"
        return f"postgresql://{place}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"

    def _connect(self) -> _Connection:
        wait = conninfo_to_dict(self._url).get("connect_timeout") or _CONNECT_TIMEOUT_S
        return psycopg.connect(self._url, autocommit=True, connect_timeout=int(wait))

    @contextmanager
    def _alive(self) -> Iterator[_Connection]:
        """A connection that answers: idle ones may have lost their server since."""
        try:
            with self._connections.lend() as connection:
                connection.execute(b"SELECT 1")
        except psycopg.OperationalError:
            self._connections.close()
        with self._connections.lend() as connection:
            yield connection

    @contextmanager
    def _transaction(self, what: str) -> Iterator[_Connection]:
        try:
            with self._alive() as connection, connection.transaction():
                yield connection
        except psycopg.Error as error:
            raise unusable(what, self.where, error) from error

    def create(self, tables: Sequence[str]) -> None:
        """Make these tables where they are not there yet.

        Raises
        ------
        OnlineStoreError : the database does not answer or refuses.
        """
        with self._transaction("the online store cannot be set up") as connection:
            self._create(connection, tables)

    def _create(self, connection: _Connection, tables: Sequence[str]) -> None:
        """Make what is missing; the lock keeps two set-ups from making one thing twice."""
        wanted = ["foretail_freshness", "foretail_row_schemas", *tables]
        found = connection.execute(
            b"SELECT count(*) FROM unnest(%s::text[]) AS n WHERE to_regclass(quote_ident(n)) IS NOT NULL", (wanted,)
        ).fetchone()
        if found is not None and found[0] == len(wanted):
            return
        connection.execute(_LOCK.encode(), ("foretail_freshness",))
        connection.execute(say.FRESHNESS.encode())
        connection.execute(_SCHEMAS.encode())
        for table in tables:
            columns = f"({_COLUMNS}, PRIMARY KEY (entity_key))"
            connection.execute(f"CREATE TABLE IF NOT EXISTS {say.quoted(table)} {columns}".encode())

    def drop(self, project: str, views: Sequence[str]) -> None:
        """Forget these views: rows and freshness.

        Raises
        ------
        OnlineStoreError : the database does not answer or refuses.
        """
        with self._transaction("views cannot be dropped") as connection:
            self._create(connection, [])
            for view in views:
                connection.execute(say.Statements(table_name(project, view)).drop.encode())
                connection.execute(_marked(say.FORGET), (project, view))

    def read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, int]]:
        """Row and event timestamp (microseconds) of the keys that are there.

        Raises
        ------
        OnlineStoreError : the table is not there, or the database does not answer.
        """
        select = self._selects.get(table)
        if select is None:
            select = self._selects[table] = (say.Statements(table).read.replace("%", "%%") + " = ANY(%b)").encode()
        found = self._query(select, (list(keys),), table)
        return {key: (row, event_ts) for key, row, event_ts in found}

    def _query(self, query: bytes, parameters: tuple[Any, ...], table: str) -> list[tuple[Any, ...]]:
        """Rows of a query; asked once more where an idle connection had lost its server."""
        try:
            try:
                return self._ask(query, parameters)
            except psycopg.OperationalError:
                self._connections.close()
                return self._ask(query, parameters)
        except psycopg.errors.UndefinedTable as error:
            raise not_served(table, self.where) from error
        except psycopg.Error as error:
            raise unusable("the online store cannot be read", self.where, error) from error

    def _ask(self, query: bytes, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._connections.lend() as connection:
            return list(connection.execute(query, parameters, prepare=True, binary=True).fetchall())

    def write(self, write: Write, batches: Iterable[RowBatch]) -> int:
        """Take over rows in one transaction, newer ones winning; the number of rows seen.

        Raises
        ------
        OnlineStoreError : the database does not answer or refuses, or rows are missing after the write; the store is
            as before then.
        """
        n_rows, n_new, latest = 0, 0, None
        with self._transaction(f"{write.view} cannot be stored") as connection:
            self._create(connection, [write.table])
            connection.execute(_LOCK.encode(), (write.table,))
            connection.execute(_INCOMING.encode())
            for batch in batches:
                n_new += self._take_over(connection, write, batch)
                n_rows += len(batch)
                latest = max(int(batch.event_ts.max()), latest or int(batch.event_ts.max()))
                write.progress(len(batch))
            connection.execute(_marked(say.ADD_SCHEMA), (write.schema.header, write.schema.to_json()))
            connection.execute(_marked(say.NOTE), note_of(write, n_new, latest))
        return n_rows

    def _take_over(self, connection: _Connection, write: Write, batch: RowBatch) -> int:
        """Rows of one batch; how many keys are new."""
        statements = say.Statements(write.table)
        connection.execute(b"TRUNCATE incoming")
        with connection.cursor() as cursor, cursor.copy(b"COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(_COPY_HEAD)
            copy.write(content(_copy_rows(batch)))
            copy.write(_COPY_TAIL)
        connection.execute(b"ANALYZE incoming")
        n_known = _count(connection, statements.known)
        connection.execute(statements.take_over.encode())
        check_count(write.view, self.where, len(batch), _count(connection, statements.held))
        return len(batch) - n_known

    def schema(self, header: bytes) -> RowSchema | None:
        """The schema that wrote rows with this header.

        Raises
        ------
        OnlineStoreError : the database does not answer.
        """
        found = self._query(_marked(say.READ_SCHEMA), (header,), "any view")
        return RowSchema.from_json(found[0][0]) if found else None

    def freshness(self, project: str | None = None) -> list[Freshness]:
        """What is there, by view; nothing before the first set-up.

        Raises
        ------
        OnlineStoreError : the database does not answer.
        """
        there = self._query(b"SELECT to_regclass('foretail_freshness') IS NOT NULL", (), "")
        rows = self._query(say.READ_FRESHNESS.encode(), (), "any view") if there[0][0] else []
        return [entry for entry in map(freshness_of, rows) if project in (None, entry.project)]

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()


def _copy_rows(batch: RowBatch) -> pa.LargeBinaryArray:
    """Rows as binary COPY wants them: number of fields, then each field behind its length, big-endian."""
    n = len(batch)
    head = np.empty(n, dtype=[("fields", ">i2"), ("size", ">i4")])
    head["fields"], head["size"] = 4, _sizes(batch.keys)
    tail = np.empty(n, dtype=[("size0", ">i4"), ("event", ">i8"), ("size1", ">i4"), ("created", ">i8")])
    tail["size0"], tail["event"], tail["size1"], tail["created"] = 8, batch.event_ts, 8, batch.created_ts
    size = _sizes(batch.rows).astype(">i4").view("V4")
    parts = [_raw(head), batch.keys, _raw(size), batch.rows, _raw(tail)]
    return join_binary(parts, n)


def _raw(values: np.ndarray[Any, Any]) -> pa.LargeBinaryArray:
    """Their bytes as they are, big-endian ones included."""
    return fixed_binary(values.view(np.uint8).reshape(len(values), values.dtype.itemsize))


def _sizes(column: pa.LargeBinaryArray) -> np.ndarray[Any, Any]:
    return np.diff(np.frombuffer(column.buffers()[1], dtype=np.int64)[column.offset : column.offset + len(column) + 1])


def _count(connection: _Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return 0 if row is None else int(row[0])


def _marked(statement: str) -> bytes:
    return statement.replace("$", "%s").encode()
