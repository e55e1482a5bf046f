"""Takes sales statements into ``rossman_sales`` exactly once: one transaction a batch, newest wins, all is kept."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from sqlalchemy import Connection, Date, Engine, bindparam, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from foretail.core.errors import DataError, Problem
from foretail.sources.database import read_transaction
from foretail.warehouse.bulk import is_postgresql, stage, write_transaction
from foretail.warehouse.dead_letters import store_dead
from foretail.warehouse.partitions import ensure_partitions
from foretail.warehouse.tables import EVENT_COLUMNS, SALES_KEY, stream_batches, stream_offsets

__all__ = ["EVENT_SCHEMA", "Accepted", "BatchId", "SalesSink", "committed_offsets", "forget_offsets"]

EVENT_SCHEMA: dict[str, pl.DataType] = {
    **dict.fromkeys(("store", "dayofweek"), pl.Int32()),
    "date": pl.Date(),
    **dict.fromkeys(("sales", "customers", "open", "promo"), pl.Int32()),
    "stateholiday": pl.String(),
    "schoolholiday": pl.Int32(),
    **dict.fromkeys(("productname", "event_id"), pl.String()),
    "event_time": pl.Datetime("us"),
}
_NEEDED = ("store", "date", "productname", "event_id", "event_time")
_KEY = ("store", "productname", "date")  # within one source
_ORDER = ("event_time", "event_id")  # of two statements about a day the later counts
_COLUMNS = ", ".join(EVENT_COLUMNS)
_SAME_DAY = " AND ".join(f"s.{name} = n.{name}" for name in SALES_KEY)
_SPAN = "s.date BETWEEN :first AND :last"  # lets PostgreSQL skip the other months


@dataclass(frozen=True)
class BatchId:
    """Names a batch that may be tried again: the query of the checkpoint, and its number there."""

    query_id: str
    batch_id: int


@dataclass(frozen=True)
class Accepted:
    """What a batch did.

    Attributes
    ----------
    rows : statements given; 0 where the batch had been applied before.
    changed : store-days that are new or hold another statement now.
    duplicates : statements that were known already.
    dead : dead letters stored.
    """

    rows: int = 0
    changed: int = 0
    duplicates: int = 0
    dead: int = 0


class SalesSink:
    """Where every engine of the stream puts its batches.

    Of all statements about one store-day the one with the greatest ``(event_time, event_id)`` counts; the others are
    kept in the history. So the outcome depends neither on the order of the statements, nor on how they are cut into
    batches, nor on how often they come. Several writers may work at once.

    Parameters
    ----------
    engine : of an open warehouse.
    source : who says so; statements of another source stand beside.
    """

    def __init__(self, engine: Engine, source: str = "stream"):
        self.engine = engine
        self.source = source

    def write(
        self,
        events: pl.DataFrame,
        dead: pl.DataFrame | None = None,
        *,
        batch: BatchId | None = None,
        offsets: Mapping[tuple[str, int], int] | None = None,
        consumer: str | None = None,
    ) -> Accepted:
        """Take over a batch in one transaction: all of it, or nothing.

        Parameters
        ----------
        events : columns of `EVENT_SCHEMA`; ``event_time`` in UTC (naive, or with a zone); ``partition`` and ``offset``
            where the batch has them.
        dead : what cannot be used: ``topic, partition, offset, key, value, reason, schema_version``.
        batch : a batch that was applied under this name is not applied again.
        offsets, consumer : the next offset of each topic and partition, kept for `committed_offsets`.

        Raises
        ------
        DataError : events lack a column, or a key, an id or a time.
        ServiceError : the database does not answer or went away.
        ForetailError : it refuses.
        """
        told = _typed(events)
        dead = pl.DataFrame() if dead is None else dead
        with write_transaction(self.engine, "sales cannot be stored") as connection:
            if batch is not None and not _is_new(connection, batch, events, dead):
                return Accepted()
            done = self._take(connection, told)
            n_dead = store_dead(connection, dead)
            if offsets:
                _keep_offsets(connection, consumer or self.source, offsets)
            if batch is not None:
                _note(connection, batch, done)
        return Accepted(done.rows, done.changed, done.duplicates, n_dead)

    def _take(self, connection: Connection, told: pl.DataFrame) -> Accepted:
        if told.is_empty():
            return Accepted()
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        told = told.with_columns(pl.lit(self.source).alias("source"), pl.lit(now).alias("ingested_at"))
        told = told.select(EVENT_COLUMNS).sort(*_KEY, *_ORDER)
        n_told, told = told.height, told.filter(_is_last_of(told, (*_KEY, *_ORDER)))
        is_newest = _is_last_of(told, _KEY)
        newest, older = told.filter(is_newest), told.filter(~is_newest)
        ensure_partitions(connection, told["date"].dt.truncate("1mo").unique())
        n_new = _insert(connection, newest)
        n_kept = n_updated = 0
        if n_new < newest.height:
            n_kept, n_updated = _settle(connection, newest)
        n_kept += _keep(connection, older)
        return Accepted(n_told, n_new + n_updated, n_told - n_new - n_kept)


def committed_offsets(engine: Engine, consumer: str) -> dict[tuple[str, int], int]:
    """The next offset of each topic and partition that a consumer has stored together with its sales."""
    table = stream_offsets.c
    query = select(table.topic, table.partition, table.next_offset).where(table.consumer == consumer)
    with read_transaction(engine, "offsets cannot be read") as connection:
        return {(topic, partition): offset for topic, partition, offset in connection.execute(query)}


def forget_offsets(engine: Engine, consumer: str) -> int:
    """Let a consumer begin anew, e.g. after its topic was made anew; the number of partitions forgotten."""
    with write_transaction(engine, "offsets cannot be forgotten") as connection:
        return connection.execute(stream_offsets.delete().where(stream_offsets.c.consumer == consumer)).rowcount


def _typed(events: pl.DataFrame) -> pl.DataFrame:
    """The columns of the table, typed; times in naive UTC."""
    problems = [
        Problem(f"the events lack the column {name!r}", f"columns: {', '.join(events.columns)}", "add it")
        for name in EVENT_SCHEMA
        if name not in events.columns
    ]
    if problems:
        raise DataError(problems)
    time = events.schema["event_time"]
    if isinstance(time, pl.Datetime) and time.time_zone is not None:
        events = events.with_columns(pl.col("event_time").dt.convert_time_zone("UTC").dt.replace_time_zone(None))
    told = events.select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items())
    problems = [
        Problem(f"{n} events have no {name}", f"column {name}", "make them dead letters")
        for name in _NEEDED
        if (n := told[name].null_count())
    ]
    if problems:
        raise DataError(problems)
    return told


def _is_last_of(told: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Whether a row is the last with its values in these columns, by which the frame is sorted."""
    changes = [pl.col(name).ne_missing(pl.col(name).shift(-1)) for name in columns]
    return told.select(pl.any_horizontal(changes)).to_series()


def _insert(connection: Connection, newest: pl.DataFrame) -> int:
    """Put in the store-days that are not there yet; how many."""
    stage(connection, "incoming_sales", "rossman_sales", newest)
    statement = (
        f"INSERT INTO rossman_sales ({_COLUMNS}) SELECT {_COLUMNS} FROM incoming_sales WHERE true "  # noqa: S608
        f"ON CONFLICT ({', '.join(SALES_KEY)}) DO NOTHING"
    )
    return connection.exec_driver_sql(statement).rowcount


def _settle(connection: Connection, newest: pl.DataFrame) -> tuple[int, int]:
    """Decide about store-days that were there: the number of statements that went to the history, and of days changed.

    Rows that have just been put in equal what came in, and are passed over.
    """
    span = (bindparam("first", newest["date"].min(), Date), bindparam("last", newest["date"].max(), Date))
    came, held = "(n.event_time, n.event_id)", "(s.event_time, s.event_id)"
    if is_postgresql(connection):
        connection.exec_driver_sql("ANALYZE incoming_sales")
        # rows are locked in one order by all writers; what is read afterwards cannot change any more
        connection.execute(
            text(
                f"SELECT count(*) FROM (SELECT 1 FROM incoming_sales n JOIN rossman_sales s ON {_SAME_DAY} "  # noqa: S608
                f"WHERE {_SPAN} AND {came} <> {held} ORDER BY {_of('s', SALES_KEY)} FOR UPDATE OF s) AS locked"
            ).bindparams(*span)
        )
    kept = 0
    for side, order in (("s", ">"), ("n", "<")):
        kept += connection.execute(
            text(
                f"INSERT INTO rossman_sales_replaced ({_COLUMNS}) SELECT {_of(side, EVENT_COLUMNS)} "  # noqa: S608
                f"FROM incoming_sales n CROSS JOIN rossman_sales s WHERE {_SAME_DAY} AND {_SPAN} "
                f"AND {came} {order} {held} ON CONFLICT DO NOTHING"
            ).bindparams(*span)
        ).rowcount
    values = ", ".join(f"{name} = n.{name}" for name in EVENT_COLUMNS if name not in SALES_KEY)
    updated = connection.execute(
        text(
            f"UPDATE rossman_sales AS s SET {values} FROM incoming_sales n "  # noqa: S608
            f"WHERE {_SAME_DAY} AND {_SPAN} AND {came} > {held}"
        ).bindparams(*span)
    ).rowcount
    return kept, updated


def _keep(connection: Connection, older: pl.DataFrame) -> int:
    """Put statements into the history that are not there yet; how many."""
    if older.is_empty():
        return 0
    stage(connection, "incoming_replaced", "rossman_sales_replaced", older)
    statement = (
        f"INSERT INTO rossman_sales_replaced ({_COLUMNS}) SELECT {_COLUMNS} FROM incoming_replaced "  # noqa: S608
        "WHERE true ON CONFLICT DO NOTHING"
    )
    return connection.exec_driver_sql(statement).rowcount


def _of(side: str, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{side}.{name}" for name in columns)


def _is_new(connection: Connection, batch: BatchId, events: pl.DataFrame, dead: pl.DataFrame) -> bool:
    """Claim a batch; False where it was applied before. A second writer waits here until the first is through."""
    first, last = _offsets_of(events, dead)
    row = {
        "query_id": batch.query_id,
        "batch_id": batch.batch_id,
        "rows": events.height,
        "changed": 0,
        "dead": dead.height,
        "first_offsets": json.dumps(first),
        "last_offsets": json.dumps(last),
        "at": dt.datetime.now(dt.UTC).replace(tzinfo=None),
    }
    insert = postgresql.insert if is_postgresql(connection) else sqlite.insert
    statement = insert(stream_batches).values(row).on_conflict_do_nothing()
    return connection.execute(statement).rowcount == 1


def _offsets_of(events: pl.DataFrame, dead: pl.DataFrame) -> tuple[dict[str, int], dict[str, int]]:
    """The first and the last offset of each partition."""
    columns = [pl.col("partition").cast(pl.Int64), pl.col("offset").cast(pl.Int64)]
    parts = [frame.select(columns) for frame in (events, dead) if {"partition", "offset"} <= set(frame.columns)]
    if not parts:
        return {}, {}
    found = pl.concat(parts).group_by("partition").agg(first=pl.col("offset").min(), last=pl.col("offset").max())
    rows = found.drop_nulls().sort("partition").rows()
    return {str(number): first for number, first, _ in rows}, {str(number): last for number, _, last in rows}


def _note(connection: Connection, batch: BatchId, done: Accepted) -> None:
    table = stream_batches.c
    this = (table.query_id == batch.query_id) & (table.batch_id == batch.batch_id)
    connection.execute(update(stream_batches).where(this).values(changed=done.changed))


def _keep_offsets(connection: Connection, consumer: str, offsets: Mapping[tuple[str, int], int]) -> None:
    """Move a consumer on; one that was left behind by a newer run of itself does not move it back."""
    insert = postgresql.insert if is_postgresql(connection) else sqlite.insert
    rows = [
        {"consumer": consumer, "topic": topic, "partition": partition, "next_offset": offset}
        for (topic, partition), offset in sorted(offsets.items())
    ]
    statement = insert(stream_offsets).values(rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["consumer", "topic", "partition"],
            set_={"next_offset": statement.excluded.next_offset},
            where=statement.excluded.next_offset > stream_offsets.c.next_offset,
        )
    )
