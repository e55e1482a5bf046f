"""Reads a topic with Spark Structured Streaming: Spark keeps the offsets, the warehouse decides what was applied.

Spark writes down which offsets a batch has before it runs, and that it ran after it has. A batch that was interrupted
is run again with the same offsets and the same number, and the warehouse knows it by the query's id, which lives and
dies with the checkpoint, and that number. Statements are told apart by their own time and id, so a checkpoint that was
deleted costs reading everything again and nothing else.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl

from foretail.core.errors import DataError, ForetailError, MissingExtraError, Problem, ServiceError, UsageError
from foretail.stream.applying import Applier, Batch, next_offsets
from foretail.stream.metrics import BatchReport, Metrics
from foretail.stream.options import Ingest, SparkOptions, Stop
from foretail.stream.schema import MESSAGE_SCHEMA, VERSION_HEADER
from foretail.warehouse.sales import BatchId, SalesSink

try:
    from py4j.protocol import Py4JError, Py4JNetworkError
    from pyspark.errors import PySparkException
    from pyspark.sql import DataFrame, SparkSession
except ImportError as error:  # pragma: no cover - the extra is there when the tests run
    raise MissingExtraError("pyspark", "spark") from error

__all__ = ["ingest_with_spark"]

_NEEDED = "spark-sql-kafka"  # part of the name of the connector's jar
_POLL_S = 0.5
_JAVA = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"  # two thirds of the processor time: it has little to compute
_CONNECT_S = 5.0
_FETCH_BYTES = 8 * 2**20  # what one answer of the broker holds of a partition: a batch in few answers
_GONE = (Py4JNetworkError, ConnectionError)  # how Python sees that Java has ended
_LOST = ("data may have been lost", "KAFKA_DATA_LOSS")
_HEADER = f"element_at(filter(headers, h -> h.key = '{VERSION_HEADER}').value, 1)"
_FIRST = (
    f"CASE WHEN headers[0].key = '{VERSION_HEADER}' THEN headers[0].value ELSE {_HEADER} END"  # quick, then thorough
)
_COLUMNS = ("partition", "offset", "key", "value", f"CAST({_FIRST} AS STRING) AS schema_version")


def ingest_with_spark(
    sink: SalesSink,
    ingest: Ingest,
    options: SparkOptions,
    metrics: Metrics,
    tell: Callable[[BatchReport], None] | None = None,
    stop: Stop | None = None,
) -> None:
    """Apply what the topic holds to the warehouse, from the checkpoint's offsets; for ever if that was asked for.

    Raises
    ------
    UsageError : no jars.
    DataError : there is no such topic, or messages are gone that were not read.
    ServiceError : Kafka or the warehouse does not answer, or was away for too long.
    """
    stop = stop or Stop()
    work = _Work(Applier(sink, ingest, metrics, tell, stop), ingest)
    _check_topic(ingest)
    with _session(options) as spark:
        try:
            _run(_start(spark, ingest, options, work), metrics, stop)
        except (PySparkException, Py4JError, ConnectionError) as error:
            raise _told(work.failure or error, ingest) from error


def _run(query: Any, metrics: Metrics, stop: Stop) -> None:
    """Wait for the query to end; when told to stop, it ends with the batch in hand."""
    try:
        while not query.awaitTermination(_POLL_S):
            metrics.lag = _lag(query.lastProgress) or metrics.lag
            if stop.is_set():
                return
        metrics.lag = _lag(query.lastProgress) or metrics.lag
    finally:
        with suppress(*_GONE):  # nothing is left to stop then
            query.stop()


class _Work:
    """What runs once per batch, in this process.

    Attributes
    ----------
    failure : what a batch failed with, which Spark itself only keeps as text.
    """

    def __init__(self, applier: Applier, ingest: Ingest):
        self.failure: BaseException | None = None
        self._applier, self._ingest = applier, ingest

    def __call__(self, frame: DataFrame, batch_id: int) -> None:
        try:
            self._apply(frame, batch_id)
        except BaseException as error:
            self.failure = error
            raise

    def _apply(self, frame: DataFrame, batch_id: int) -> None:
        began = time.monotonic()
        query_id = frame.sparkSession.sparkContext.getLocalProperty("sql.streaming.queryId")
        told = pl.DataFrame(pl.from_arrow(frame.toArrow())).with_columns(pl.lit(self._ingest.topic).alias("topic"))
        messages = told.select(pl.col(name).cast(kind) for name, kind in MESSAGE_SCHEMA.items())
        parsed = self._applier.parse(messages.sort("topic", "partition", "offset"))
        batch = Batch(parsed, next_offsets(messages), time.monotonic() - began)
        self._applier.apply(batch, BatchId(f"spark-{query_id}", batch_id), self._ingest.consumer)


@contextmanager
def _session(options: SparkOptions) -> Iterator[SparkSession]:
    """A Spark of this process, stopped afterwards."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.jars": ",".join(str(jar) for jar in _jars(options.jars)),
        "spark.driver.memory": options.memory,
        "spark.driver.extraJavaOptions": _JAVA,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "FATAL",
    }
    builder = SparkSession.builder.appName("foretail stream").master(options.master)
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        spark.createDataFrame([(0, b"")], "offset long, value binary").toArrow()  # Java loads what every batch needs
        yield spark
    finally:
        with suppress(*_GONE):
            spark.stop()


def _jars(folder: Path) -> Sequence[Path]:
    found = sorted(folder.absolute().glob("*.jar")) if folder.is_dir() else []
    if not any(_NEEDED in jar.name for jar in found):
        raise UsageError(
            f"no {_NEEDED}*.jar: Spark cannot read Kafka without it.\n  where: {folder}\n"
            "  fix:   python -m scripts.services install kafka fetches it; then --jars DIR, or FORETAIL_SPARK_JARS"
        )
    return found


def _start(spark: SparkSession, ingest: Ingest, options: SparkOptions, work: _Work) -> Any:
    reader = spark.readStream.format("kafka").options(
        **{
            "kafka.bootstrap.servers": ingest.brokers,
            "kafka.isolation.level": "read_committed",
            # after every poll the connector looks at the end of the partition, and a fetch there holds up what follows
            "kafka.max.poll.records": "2000",
            "kafka.fetch.max.wait.ms": "10",
            "kafka.max.partition.fetch.bytes": str(_FETCH_BYTES),
            "subscribe": ingest.topic,
            "startingOffsets": "earliest",
            "failOnDataLoss": "true",
            "includeHeaders": "true",
            "maxOffsetsPerTrigger": str(ingest.batch_rows),
        }
    )
    writer = reader.load().selectExpr(*_COLUMNS).writeStream.foreachBatch(work)
    writer = writer.option("checkpointLocation", str(options.checkpoint.absolute()))
    if ingest.is_continuous:
        return writer.trigger(processingTime=f"{max(1, round(1000 * ingest.trigger_s))} milliseconds").start()
    return writer.trigger(availableNow=True).start()


def _lag(progress: Any) -> dict[int, int]:
    """Messages of each partition that were not read when the last batch ended; {} where that is not known."""
    sources = progress["sources"] if progress else []
    if not sources:
        return {}
    read, held = (_offsets(sources[0][name]) for name in ("endOffset", "latestOffset"))
    return {partition: held[partition] - offset for partition, offset in read.items() if partition in held}


def _offsets(text: str | None) -> dict[int, int]:
    """Offsets by partition of ``{"topic": {"0": 17}}``."""
    found = json.loads(text) if text and text != "null" else {}
    return {int(partition): offset for held in found.values() for partition, offset in held.items()}


def _told(error: BaseException, ingest: Ingest) -> BaseException:
    """What Spark's error means to a user."""
    said = str(error)
    if isinstance(error, ForetailError) or not isinstance(error, (PySparkException, Py4JError, *_GONE)):
        return error
    if any(sign in said for sign in _LOST):
        reason = next((line for line in said.splitlines() if line.startswith("Reason: ")), "see the log")
        fix = "send them again if they can be, then delete the checkpoint: what was applied is not applied twice"
        where = f"topic {ingest.topic}: {reason.removeprefix('Reason: ')}"
        return DataError(Problem("messages were deleted before they were read", where, fix))
    if "UnknownTopicOrPartition" in said:
        fix = "foretail stream produce makes it, or --topic NAME"
        return DataError(Problem(f"there is no topic {ingest.topic!r}", ingest.brokers, fix))
    first = said.strip().partition("\n")[0]
    if isinstance(error, _GONE):
        fix = "start it again, it goes on where it was; with more --memory if it was killed for that"
        return ForetailError(f"Spark's Java has ended: {first}\n  where: foretail stream ingest\n  fix:   {fix}")
    if "org.apache.kafka" in said:
        fix = "check that the broker runs and --brokers (FORETAIL_KAFKA) names it"
        return ServiceError(f"Kafka went away: {first}\n  where: {ingest.brokers}\n  fix:   {fix}")
    return ForetailError(
        f"Spark failed: {first}\n  where: foretail stream ingest\n  fix:   foretail --debug shows more"
    )


def _check_topic(ingest: Ingest) -> None:
    """Spark itself takes minutes to say that nobody answers, or that there is no such topic."""
    try:
        from foretail.stream.broker import Consumer, client_settings, partitions_of
    except MissingExtraError:  # it goes without: what Spark says comes later
        _check_answers(ingest.brokers)
        return
    client = Consumer(client_settings(ingest.brokers) | {"group.id": ingest.consumer})
    try:
        partitions_of(client, ingest.topic, ingest.brokers)
    finally:
        client.close()


def _check_answers(brokers: str) -> None:
    """A connection is taken.

    Raises
    ------
    ServiceError : at no address.
    """
    failed = []
    for address in brokers.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S):
                return
        except (OSError, ValueError) as error:
            failed.append(f"{address.strip()} ({error})")
    raise ServiceError(
        f"Kafka does not answer\n  where: {', '.join(failed)}\n"
        "  fix:   check that the broker runs and --brokers (FORETAIL_KAFKA) names it"
    )
