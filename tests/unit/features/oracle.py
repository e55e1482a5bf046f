"""What a point-in-time join must give, by plain loops over dictionaries: slow, short, and easy to read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

EVENT, CREATED = "event_timestamp", "created_timestamp"
Row = Mapping[str, Any]


def valid_row(
    entity: Row, rows: Sequence[Row], keys: Sequence[str], ttl: dt.timedelta | None = None, *, as_known: bool = False
) -> Row | None:
    """The row of a view that counts for an entity row.

    It has the same keys (a null equals nothing), is not later than the as-of time, not older than the time to live
    (both ends included) and, ``as_known``, had been created by then. Of several the latest wins; at one event time the
    latest created; of equals the last one.
    """
    at, best = entity[EVENT], None
    for row in rows:
        if any(entity[key] is None or row[key] is None or entity[key] != row[key] for key in keys):
            continue
        if at is None or row[EVENT] is None or row[EVENT] > at:
            continue
        if ttl and at - row[EVENT] > ttl:
            continue
        if as_known and row[CREATED] > at:
            continue
        if best is None or _rank(row) >= _rank(best):
            best = row
    return best


def point_in_time(
    entities: Sequence[Row],
    rows: Sequence[Row],
    keys: Sequence[str],
    features: Sequence[str],
    ttl: dt.timedelta | None = None,
    *,
    as_known: bool = False,
) -> list[dict[str, Any]]:
    """The entity rows, in number and order, each with its features; None where no row counts."""
    joined = []
    for entity in entities:
        row = valid_row(entity, rows, keys, ttl, as_known=as_known)
        joined.append({**entity, **{name: None if row is None else row[name] for name in features}})
    return joined


def _rank(row: Row) -> tuple[Any, ...]:
    return (row[EVENT], row[CREATED]) if CREATED in row else (row[EVENT],)
