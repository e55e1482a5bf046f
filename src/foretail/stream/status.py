"""How far a stream has come: offsets and lag, what the last batches did, and what was set aside."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select

from foretail.sources.database import read_transaction
from foretail.warehouse.tables import dead_letters, stream_batches, stream_offsets

__all__ = ["PartitionStatus", "Status", "read_status"]

_LAST = 20  # batches over which the speed is taken


@dataclass(frozen=True)
class PartitionStatus:
    """Where a consumer stands in a partition.

    Attributes
    ----------
    next_offset : of the first message that is not applied.
    end : offset after the last message of the topic; None where no broker was asked.
    """

    consumer: str
    topic: str
    partition: int
    next_offset: int
    end: int | None = None

    @property
    def lag(self) -> int | None:
        return None if self.end is None else max(0, self.end - self.next_offset)


@dataclass(frozen=True)
class Status:
    """How a warehouse stands to its topics.

    Attributes
    ----------
    partitions : by consumer, topic and partition.
    batches, rows : applied since the warehouse was made.
    rows_per_s : of the last batches, from commit to commit; None with fewer than two.
    last_batch : when the last one was stored, UTC; None without any.
    dead, replayed : dead letters that wait, and those that became events.
    """

    partitions: tuple[PartitionStatus, ...]
    batches: int
    rows: int
    rows_per_s: float | None
    last_batch: dt.datetime | None
    dead: int
    replayed: int

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "batches": self.batches,
            "rows": self.rows,
            "rows_per_s": None if self.rows_per_s is None else round(self.rows_per_s, 1),
            "last_batch": None if self.last_batch is None else f"{self.last_batch.isoformat()}Z",
            "dead": self.dead,
            "replayed": self.replayed,
            "partitions": [
                {
                    "consumer": item.consumer,
                    "topic": item.topic,
                    "partition": item.partition,
                    "next_offset": item.next_offset,
                    "end": item.end,
                    "lag": item.lag,
                }
                for item in self.partitions
            ],
        }


def read_status(engine: Engine, brokers: str = "") -> Status:
    """Read the status from the warehouse; with brokers the ends of the topics from Kafka.

    Raises
    ------
    ServiceError : the warehouse or Kafka does not answer.
    """
    offsets = stream_offsets.c
    with read_transaction(engine, "the stream's status cannot be read") as connection:
        places = connection.execute(
            select(offsets.consumer, offsets.topic, offsets.partition, offsets.next_offset).order_by(
                offsets.consumer, offsets.topic, offsets.partition
            )
        ).all()
        batches, rows = connection.execute(
            select(func.count(), func.coalesce(func.sum(stream_batches.c.rows), 0)).select_from(stream_batches)
        ).one()
        last = connection.execute(
            select(stream_batches.c.at, stream_batches.c.rows).order_by(stream_batches.c.at.desc()).limit(_LAST)
        ).all()
        dead = dict(
            connection.execute(
                select(dead_letters.c.replayed_at.is_not(None), func.count()).group_by(
                    dead_letters.c.replayed_at.is_not(None)
                )
            ).all()
        )
    ends = _ends({topic for _, topic, _, _ in places}, brokers) if brokers else {}
    return Status(
        partitions=tuple(PartitionStatus(*place, end=ends.get((place.topic, place.partition))) for place in places),
        batches=int(batches),
        rows=int(rows),
        rows_per_s=_speed([(at, count) for at, count in last]),
        last_batch=last[0].at if last else None,
        dead=int(dead.get(False, 0)),
        replayed=int(dead.get(True, 0)),
    )


def _speed(last: list[tuple[dt.datetime, int]]) -> float | None:
    """Rows a second from the oldest to the newest of these commits; what the oldest stored lies before it."""
    if len(last) < 2:
        return None
    seconds = (last[0][0] - last[-1][0]).total_seconds()
    return sum(rows for _, rows in last[:-1]) / seconds if seconds > 0 else None


def _ends(topics: set[str], brokers: str) -> dict[tuple[str, int], int]:
    """The end of every partition of these topics; a topic that is gone has none."""
    from foretail.core.errors import DataError
    from foretail.stream.broker import Consumer, client_settings, partitions_of, range_of

    client = Consumer(client_settings(brokers) | {"group.id": "foretail-status"})
    found: dict[tuple[str, int], int] = {}
    try:
        for topic in sorted(topics):
            try:
                partitions = partitions_of(client, topic, brokers)
            except DataError:
                continue
            found |= {(topic, number): range_of(client, topic, number, brokers).high for number in partitions}
    finally:
        client.close()
    return found
