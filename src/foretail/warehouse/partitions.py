"""Makes the monthly partitions of ``rossman_sales`` on PostgreSQL when a month is first written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from sqlalchemy import Connection, text

__all__ = ["ensure_partitions"]

_MISSING = text(
    "SELECT day FROM unnest(CAST(:days AS date[])) AS day "
    "WHERE to_regclass(quote_ident('rossman_sales_' || to_char(day, 'YYYY_MM'))) IS NULL ORDER BY day"
)
_MAKE = text("SELECT rossman_sales_partition(CAST(:day AS date))")


def ensure_partitions(connection: Connection, dates: Iterable[dt.date]) -> int:
    """Make the partition of every month among the dates; nothing to do on SQLite.

    Only the months that occur are made, not those between. Two writers may ask at once: the second waits for the first.

    Returns
    -------
    The number of partitions that were missing.
    """
    if connection.dialect.name != "postgresql":
        return 0
    months = sorted({date.replace(day=1) for date in dates})
    missing = connection.execute(_MISSING, {"days": months}).scalars().all()
    for day in missing:
        connection.execute(_MAKE, {"day": day})
    return len(missing)
