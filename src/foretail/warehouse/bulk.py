"""Moves whole frames into tables (by COPY on PostgreSQL, prepared rows on SQLite), and the transactions for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine

from foretail.sources.database import told

__all__ = ["copy_rows", "is_postgresql", "one_of", "stage", "upsert_rows", "write_transaction"]

_SLICE = 100_000  # rows that are text, or Python objects, at once
_TIME = "%Y-%m-%d %H:%M:%S%.6f"  # as SQLAlchemy writes it into SQLite, and as PostgreSQL reads it
_SPECIAL = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}  # of COPY's text format


def is_postgresql(connection: Connection) -> bool:
    """Whether the warehouse is PostgreSQL; else it is SQLite."""
    return connection.dialect.name == "postgresql"


@contextmanager
def write_transaction(engine: Engine, what: str) -> Iterator[Connection]:
    """One transaction that writes; on SQLite it holds the lock from its beginning, so that it never fails half-way.

    Parameters
    ----------
    what : what cannot be done where the database refuses, for the message: ``"forecasts cannot be written"``.

    Raises
    ------
    ServiceError : the database does not answer or went away; nothing was written.
    ForetailError : it refuses; nothing was written.
    """
    with told(engine, what, may="write"), engine.begin() as connection:
        if not is_postgresql(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        # how many rows an INSERT put in decides what is done next
        yield connection.execution_options(preserve_rowcount=True)


def stage(connection: Connection, name: str, like: str, frame: pl.DataFrame) -> str:
    """Put a frame into a temporary table of this connection, which is empty again after the transaction.

    Parameters
    ----------
    name : of the temporary table. like : the table whose columns of the frame's names it takes the types of.

    Returns
    -------
    The name, as SQL finds it.
    """
    columns = _listed(frame.columns)
    head = f"CREATE TEMP TABLE IF NOT EXISTS {name}"
    if is_postgresql(connection):
        connection.exec_driver_sql("SET LOCAL client_min_messages = warning")
        made = f"{head} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {like} WHERE false"  # noqa: S608
        connection.exec_driver_sql(made)
    else:
        connection.exec_driver_sql(f"{head} AS SELECT {columns} FROM {like} WHERE 0")  # noqa: S608
        connection.exec_driver_sql(f"DELETE FROM {name}")  # noqa: S608
    copy_rows(connection, name, frame)
    return name


def one_of(connection: Connection, column: str, values: Sequence[str]) -> tuple[str, Any]:
    """The condition that a column holds one of some texts, and the value of its parameter ``:ids``."""
    if is_postgresql(connection):
        return f"{column} = ANY(CAST(:ids AS text[]))", list(values)
    return f"{column} IN (SELECT value FROM json_each(:ids))", json.dumps(list(values))  # noqa: S608


def upsert_rows(connection: Connection, table: str, frame: pl.DataFrame, key: Sequence[str]) -> None:
    """Put rows into a table in the place of those that have the same key."""
    columns = _listed(frame.columns)
    values = ", ".join(f'"{name}" = excluded."{name}"' for name in frame.columns if name not in key)
    on_conflict = f"ON CONFLICT ({_listed(key)}) DO UPDATE SET {values}"
    if is_postgresql(connection):
        staged = stage(connection, f"incoming_{table}", table, frame)
        statement = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged} {on_conflict}"  # noqa: S608
        connection.exec_driver_sql(statement)
    else:
        _execute_many(connection.connection.driver_connection, table, frame, on_conflict)


def copy_rows(connection: Connection, table: str, frame: pl.DataFrame) -> None:
    """Append a frame to a table, by the names of its columns.

    Parameters
    ----------
    frame : text, numbers, truth values, dates, naive times and bytes; null is NULL.
    """
    if frame.is_empty():
        return
    driver: Any = connection.connection.driver_connection
    if is_postgresql(connection):
        _copy_text(driver, table, frame)
    else:
        _execute_many(driver, table, frame)


def _copy_text(driver: Any, table: str, frame: pl.DataFrame) -> None:
    binary = [name for name, kind in frame.schema.items() if kind == pl.Binary]
    plain = frame.with_columns(
        pl.col(pl.String).str.replace_many(_SPECIAL),
        *(pl.concat_str(pl.lit("\\\\x"), pl.col(name).bin.encode("hex")).alias(name) for name in binary),
    )
    statement = f"COPY {table} ({_listed(frame.columns)}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for rows in plain.iter_slices(_SLICE):
            copy.write(
                rows.write_csv(
                    include_header=False,
                    separator="\t",
                    quote_style="never",
                    null_value="\\N",
                    datetime_format=_TIME,
                ).encode()
            )


def _execute_many(driver: Any, table: str, frame: pl.DataFrame, on_conflict: str = "") -> None:
    plain = frame.with_columns(
        pl.col(pl.Datetime).dt.strftime(_TIME),
        pl.col(pl.Date).dt.strftime("%Y-%m-%d"),
        pl.col(pl.Boolean).cast(pl.Int8),
    )
    marks = ", ".join("?" * frame.width)
    statement = f"INSERT INTO {table} ({_listed(frame.columns)}) VALUES ({marks}) {on_conflict}"  # noqa: S608
    for rows in plain.iter_slices(_SLICE):
        driver.executemany(statement, rows.iter_rows())


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
