"""Applies batches of messages to the warehouse: checked, written in one transaction, counted; both engines use it."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from foretail.core.errors import ServiceError
from foretail.stream.events import Parsed, parse
from foretail.stream.metrics import BatchReport, Metrics
from foretail.stream.options import Ingest, Stop
from foretail.warehouse.sales import Accepted, BatchId, SalesSink

__all__ = ["Applier", "Batch", "next_offsets"]

LOG = logging.getLogger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0


@dataclass(frozen=True)
class Batch:
    """Messages that were read and parsed, and where the next ones begin.

    Attributes
    ----------
    parsed : events and dead letters.
    offsets : the next offset of each topic and partition.
    seconds : that reading and parsing took.
    lag : messages of each partition that were not read then.
    is_last : no other batch follows.
    """

    parsed: Parsed
    offsets: Mapping[tuple[str, int], int]
    seconds: float = 0.0
    lag: Mapping[int, int] = field(default_factory=dict)
    is_last: bool = False

    @property
    def n_messages(self) -> int:
        return self.parsed.events.height + self.parsed.dead.height


class Applier:
    """Writes batches with patience and counts them.

    Parameters
    ----------
    sink : where they go.
    ingest : what was asked for.
    metrics : what is counted.
    tell : called after every batch.
    stop : ends the patience.
    """

    def __init__(
        self,
        sink: SalesSink,
        ingest: Ingest,
        metrics: Metrics,
        tell: Callable[[BatchReport], None] | None = None,
        stop: Stop | None = None,
    ):
        self.sink, self.ingest, self.metrics = sink, ingest, metrics
        self._tell = tell or (lambda _: None)
        self._stop = stop or Stop()
        self._watermarks: dict[int, dt.datetime] = {}

    def parse(self, messages: pl.DataFrame) -> Parsed:
        """Parse messages under the rules of this moment."""
        return parse(messages, self.ingest.rules())

    def apply(self, batch: Batch, name: BatchId, consumer: str) -> BatchReport:
        """Write a batch in one transaction; a warehouse that is away is waited for.

        Raises
        ------
        ServiceError : it was away for too long.
        ForetailError : it refuses.
        """
        began = time.monotonic()
        events, dead = batch.parsed.events, batch.parsed.dead
        done = self._write(lambda: self.sink.write(events, dead, batch=name, offsets=batch.offsets, consumer=consumer))
        report = BatchReport(
            batch_id=name.batch_id,
            events=events.height,
            dead=dead.height,
            changed=done.changed,
            duplicates=done.duplicates,
            late=self._late(events),
            seconds=batch.seconds + time.monotonic() - began,
            offsets={partition: offset for (_, partition), offset in batch.offsets.items()},
            is_repeated=events.height > 0 and done.rows == 0,
        )
        self.metrics.add(report)
        LOG.info(report.to_text())
        self._tell(report)
        return report

    def _write(self, write: Callable[[], Accepted]) -> Accepted:
        """Try until it is done: a transaction whose end nobody saw is found applied by its name."""
        end, wait_s = time.monotonic() + self.ingest.patience_s, _FIRST_WAIT_S
        while True:
            try:
                return write()
            except ServiceError as error:
                if time.monotonic() + wait_s > end or self._stop.is_set():
                    raise
                LOG.warning("trying again in %.1f s: %s", wait_s, str(error).partition("\n")[0])
                self._stop.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _late(self, events: pl.DataFrame) -> int:
        """Count what was told before its partition's watermark, and move that on; nothing is dropped for being late."""
        held = pl.DataFrame(
            {"partition": list(self._watermarks), "held": list(self._watermarks.values())},
            schema={"partition": pl.Int32, "held": pl.Datetime("us")},
        )
        told = events.select("partition", "event_time").join(held, on="partition", how="left")
        newest = told.group_by("partition").agg(
            pl.col("event_time").max() - self.ingest.watermark, pl.col("held").first()
        )
        moved = newest.select("partition", pl.max_horizontal("event_time", "held"))
        self._watermarks |= dict(moved.rows())
        self.metrics.watermark = min(self._watermarks.values(), default=None)
        return int((told["event_time"] < told["held"]).sum())


def next_offsets(messages: pl.DataFrame) -> dict[tuple[str, int], int]:
    """The offset after the last message of each topic and partition."""
    found = messages.group_by("topic", "partition").agg(pl.col("offset").max() + 1).sort("topic", "partition")
    return {(topic, partition): offset for topic, partition, offset in found.rows()}
