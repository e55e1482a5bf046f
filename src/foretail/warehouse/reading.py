"""Reads what the stream has brought: whole days of sales as of one moment, and the statements behind a store-day."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
from sqlalchemy import Engine, func, literal, select

from foretail.sources.database import read_query, read_transaction
from foretail.sources.stream_sales import SALES_SPEC, read_sales, sales_table
from foretail.warehouse.tables import metadata, rossman_sales_history

__all__ = ["SALES_SPEC", "day_history", "read_sales", "sales_table", "table_counts"]

_KINDS = {"Integer": pl.Int32(), "Date": pl.Date(), "DateTime": pl.Datetime("us")}
_SCHEMA: dict[str, pl.DataType] = {
    column.name: _KINDS.get(type(column.type).__name__, pl.String()) for column in rossman_sales_history.c
}


def day_history(engine: Engine, store: int, product: str, day: dt.date) -> pl.DataFrame:
    """Every statement about one store-day, in the order in which they count.

    Returns
    -------
    The columns of ``rossman_sales`` and ``replaced_at``, the event time of the next statement of the same source; null
    for the one that counts.

    Raises
    ------
    ForetailError : the database does not answer or refuses.
    """
    query = (
        f"SELECT {', '.join(_SCHEMA)} FROM rossman_sales_history "  # noqa: S608  (the code's own words)
        "WHERE store = :store AND productname = :product AND date = :day"
    )
    with read_transaction(engine, "the history cannot be read") as connection:
        found = read_query(connection, query, {"store": store, "product": product, "day": day}, _SCHEMA)
    return found.sort("source", "event_time", "event_id")


def table_counts(engine: Engine) -> list[dict[str, Any]]:
    """How many rows each table holds, with the first and the last day where it has days, all as of one moment.

    Returns
    -------
    ``table, rows, first, last`` for each table.

    Raises
    ------
    ForetailError : the database does not answer or refuses.
    """
    counts = []
    with read_transaction(engine, "the warehouse cannot be read") as connection:
        for table in metadata.sorted_tables:
            day = next((table.c[name] for name in ("date", "forecast_date") if name in table.c), literal(None))
            query = select(func.count(), func.min(day), func.max(day)).select_from(table)
            n, first, last = connection.execute(query).one()
            counts.append({"table": table.name, "rows": n, "first": first, "last": last})
    return sorted(counts, key=lambda row: str(row["table"]))
