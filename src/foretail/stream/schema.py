"""Version 1 of a sales event: the fields of its JSON, what each may hold, and the frames that carry events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from foretail.warehouse.sales import EVENT_SCHEMA as SALES_SCHEMA

__all__ = [
    "EVENT_SCHEMA",
    "FIELDS",
    "MAX_BYTES",
    "MESSAGE_SCHEMA",
    "TEXTS",
    "TOPIC",
    "VERSION",
    "VERSION_HEADER",
    "WHOLE_NUMBERS",
    "Text",
    "WholeNumber",
]

TOPIC = "sale_rossman_store"
VERSION = "1"
VERSION_HEADER = "schema_version"  # a message without it is of version 1
MAX_BYTES = 1_000_000  # of one event; Kafka's own default limit is near it

_LARGEST = 2_147_483_647


@dataclass(frozen=True)
class WholeNumber:
    """A field that holds a whole number between two bounds, both included."""

    low: int
    high: int
    is_optional: bool = False


@dataclass(frozen=True)
class Text:
    """A field that holds a text of at least one character and at most ``longest``, no control characters."""

    longest: int


WHOLE_NUMBERS: dict[str, WholeNumber] = {
    "store": WholeNumber(0, _LARGEST),
    "dayofweek": WholeNumber(1, 7),
    "sales": WholeNumber(0, _LARGEST),
    "customers": WholeNumber(0, _LARGEST, is_optional=True),
    "open": WholeNumber(0, 1),
    "promo": WholeNumber(0, 1),
    "schoolholiday": WholeNumber(0, 1),
}
TEXTS: dict[str, Text] = {
    "stateholiday": Text(20),
    "productname": Text(200),
    "event_id": Text(200),
}
FIELDS = (
    *("store", "dayofweek", "date", "sales", "customers", "open", "promo", "stateholiday", "schoolholiday"),
    *("productname", "event_id", "event_time"),
)
"""In the order in which a producer writes them; ``date`` and ``event_time`` are ISO 8601, the time with its offset."""

MESSAGE_SCHEMA: dict[str, Any] = {
    "topic": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "key": pl.Binary,
    "value": pl.Binary,
    "schema_version": pl.String,
}
"""A frame of messages as a broker gives them, not looked into."""

EVENT_SCHEMA: dict[str, Any] = {**SALES_SCHEMA, "partition": pl.Int32, "offset": pl.Int64}
"""A frame of valid events as the warehouse takes it: what is sold, and where the message lies."""
