"""Messages that cannot be used: kept with their reason and place, listed, and marked once they were replayed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import polars as pl
from sqlalchemy import Connection, Engine, select, update

from foretail.core.errors import DataError, Problem
from foretail.sources.database import read_transaction
from foretail.warehouse.bulk import stage, write_transaction
from foretail.warehouse.tables import dead_letters

__all__ = ["list_dead", "mark_replayed", "store_dead"]

_SCHEMA: dict[str, pl.DataType] = {
    "topic": pl.String(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "key": pl.Binary(),
    "value": pl.Binary(),
    "reason": pl.String(),
    "schema_version": pl.String(),
}
_OPTIONAL = ("key", "value", "schema_version")
_LISTED: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    **_SCHEMA,
    "at": pl.Datetime("us"),
    "replayed_at": pl.Datetime("us"),
}
_CHUNK = 10_000  # ids in one statement


def store_dead(connection: Connection, dead: pl.DataFrame) -> int:
    """Store messages inside a transaction; one whose place is known already is not stored again.

    Parameters
    ----------
    dead : ``topic, partition, offset, reason``, and where known ``key``, ``value`` (bytes or text), ``schema_version``.

    Returns
    -------
    How many are new.

    Raises
    ------
    DataError : a column is not there.
    """
    if dead.is_empty():
        return 0
    missing = [name for name in _SCHEMA if name not in dead.columns and name not in _OPTIONAL]
    if missing:
        what = f"the dead letters lack {', '.join(missing)}"
        raise DataError(Problem(what, f"columns: {', '.join(dead.columns)}", "add them"))
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    frame = dead.select(
        (pl.col(name) if name in dead.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in _SCHEMA.items()
    ).with_columns(pl.col("reason").str.replace_all("\0", "\\0", literal=True), pl.lit(now).alias("at"))
    stage(connection, "incoming_dead", "dead_letters", frame)
    columns = ", ".join(f'"{name}"' for name in frame.columns)
    statement = (
        f"INSERT INTO dead_letters ({columns}) SELECT {columns} FROM incoming_dead WHERE true "  # noqa: S608
        "ON CONFLICT DO NOTHING"
    )
    return connection.exec_driver_sql(statement).rowcount


def list_dead(
    engine: Engine, *, topic: str | None = None, is_replayed: bool | None = False, limit: int | None = None
) -> pl.DataFrame:
    """List what could not be used, oldest first.

    Parameters
    ----------
    topic : this one only. is_replayed : those that were, those that were not, or None for all. limit : at most so many.

    Returns
    -------
    ``id, topic, partition, offset, key, value, reason, schema_version, at, replayed_at``; key and value are bytes.

    Raises
    ------
    ForetailError : the database does not answer or refuses.
    """
    table = dead_letters.c
    query = select(dead_letters).order_by(table.id)
    query = query if topic is None else query.where(table.topic == topic)
    if is_replayed is not None:
        query = query.where(table.replayed_at.is_not(None) if is_replayed else table.replayed_at.is_(None))
    query = query if limit is None else query.limit(limit)
    with read_transaction(engine, "dead letters cannot be read") as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    return pl.DataFrame(rows, schema=_LISTED, orient="row")


def mark_replayed(engine: Engine, ids: Sequence[int]) -> int:
    """Note that these were sent again; how many were not marked before.

    Raises
    ------
    ForetailError : the database does not answer or refuses; nothing was marked.
    """
    table, done = dead_letters.c, 0
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    with write_transaction(engine, "dead letters cannot be marked") as connection:
        for first in range(0, len(ids), _CHUNK):
            these = table.id.in_(list(ids[first : first + _CHUNK])) & table.replayed_at.is_(None)
            done += connection.execute(update(dead_letters).where(these).values(replayed_at=now)).rowcount
    return done
