"""What an ingest is asked for: where it reads, how it cuts batches, what it holds events against, how it is stopped."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from foretail.core.errors import DataError, Problem, UsageError
from foretail.sources.files import read_frame
from foretail.stream.events import Rules
from foretail.stream.schema import TOPIC

__all__ = ["Ingest", "SparkOptions", "Stop", "read_stores", "rules_now"]


@dataclass(frozen=True)
class Ingest:
    """What is read, and how.

    Attributes
    ----------
    brokers, topic : where from.
    consumer : the name under which offsets are kept.
    is_continuous : go on for ever; else up to what the topic holds at the start.
    batch_rows : messages in one transaction at most.
    trigger_s : longest time that messages wait for a batch to fill.
    patience_s : how long Kafka or the warehouse may be away before it is an error.
    stores : ids that exist; None for any.
    late_after : days after which a statement about a day is set aside.
    watermark : how much later than the newest event an event may be told without counting as late.
    timezone : of the shops, which decides what day it is.
    """

    brokers: str
    topic: str = TOPIC
    consumer: str = "foretail"
    is_continuous: bool = False
    batch_rows: int = 100_000
    trigger_s: float = 1.0
    patience_s: float = 300.0
    stores: frozenset[int] | None = field(default=None, repr=False)
    late_after: int = 3_660
    watermark: dt.timedelta = dt.timedelta(days=1)
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        _zone(self.timezone)

    def rules(self) -> Rules:
        """What events are held against now."""
        return rules_now(self.stores, self.late_after, self.timezone)


@dataclass(frozen=True)
class SparkOptions:
    """How Spark runs.

    Attributes
    ----------
    jars : folder of the jars with which it reads Kafka.
    checkpoint : folder in which it keeps its offsets.
    master : ``local[2]``, or the address of a cluster.
    memory : of the driver.
    """

    jars: Path
    checkpoint: Path
    master: str = "local[2]"
    memory: str = "1g"


class Stop(threading.Event):
    """Set from a signal or another thread, it lets an ingest end after the batch in hand."""


def rules_now(stores: frozenset[int] | None, late_after: int, timezone: str) -> Rules:
    """What events are held against at this moment.

    Raises
    ------
    UsageError : an unknown time zone.
    """
    now = dt.datetime.now(dt.UTC)
    return Rules(now, now.astimezone(_zone(timezone)).date(), stores, late_after)


def read_stores(path: Path | None) -> frozenset[int] | None:
    """The ids in the column ``store`` of a table; None without a path.

    Raises
    ------
    DataError : the table cannot be read, or has no such column of whole numbers.
    """
    if path is None:
        return None
    frame = read_frame(str(path))
    name = next((column for column in frame.columns if column.lower() in ("store", "store_id")), None)
    if name is None or not frame.schema[name].is_integer():
        columns = f"{path}: {', '.join(frame.columns)}"
        raise DataError(Problem("there is no column of stores", columns, "name a column of whole numbers 'store'"))
    return frozenset(frame[name].cast(pl.Int64).drop_nulls().to_list())


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"unknown time zone {name!r}.\n  where: --timezone\n  fix:   --timezone Europe/Berlin"
        ) from error
