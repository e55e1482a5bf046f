"""Reads a topic without Spark: one thread reads and parses the next batch while the warehouse takes the last one.

Offsets are kept in the warehouse, in the transaction of the batch they belong to, so there is no moment at which one
is stored without the other.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from foretail.stream.applying import Applier, Batch, next_offsets
from foretail.stream.metrics import BatchReport, Metrics
from foretail.stream.options import Ingest, Stop
from foretail.stream.topic_reader import TopicReader
from foretail.warehouse.sales import BatchId, SalesSink, committed_offsets

__all__ = ["ingest_with_python"]


def ingest_with_python(
    sink: SalesSink,
    ingest: Ingest,
    metrics: Metrics,
    tell: Callable[[BatchReport], None] | None = None,
    stop: Stop | None = None,
) -> None:
    """Apply what the topic holds to the warehouse, from the offsets kept there; for ever if that was asked for.

    Raises
    ------
    DataError : there is no such topic, or messages are gone that were not read.
    ServiceError : Kafka or the warehouse does not answer, or was away for too long.
    """
    stop = stop or Stop()
    applier = Applier(sink, ingest, metrics, tell, stop)
    run, number = f"python-{ingest.consumer[:150]}-{secrets.token_hex(4)}", 0
    reader = TopicReader(ingest, committed_offsets(sink.engine, ingest.consumer))
    with closing(reader), ThreadPoolExecutor(1, "reader") as pool:
        batch = _fetch(reader, applier, stop)
        while True:
            ahead = None if batch.is_last else pool.submit(_fetch, reader, applier, stop)
            if batch.n_messages:
                applier.apply(batch, BatchId(run, number), ingest.consumer)
                number += 1
            metrics.lag = dict(batch.lag)
            if ahead is None:
                return
            batch = ahead.result()


def _fetch(reader: TopicReader, applier: Applier, stop: Stop) -> Batch:
    began = time.monotonic()
    messages = reader.read(stop)
    parsed = applier.parse(messages)
    is_last = stop.is_set() or (reader.is_done and not applier.ingest.is_continuous)
    return Batch(parsed, next_offsets(messages), time.monotonic() - began, reader.lag(), is_last)
