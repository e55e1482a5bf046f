"""Reads the partitions of a topic from given offsets; refuses to go on where messages are gone that were not read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.stream.broker import (
    Consumer,
    Ends,
    KafkaError,
    KafkaException,
    TopicPartition,
    client_settings,
    partitions_of,
    range_of,
    unreachable,
)
from foretail.stream.options import Ingest, Stop
from foretail.stream.schema import MESSAGE_SCHEMA, VERSION_HEADER

__all__ = ["TopicReader", "lost"]

LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_MOST_AT_ONCE = 10_000  # messages of one call
_MOST_BYTES = 256 << 20  # of a batch, however few its messages are
_LOOK_S = 5.0  # between looks whether the broker is there and has new partitions, while nothing comes
_LOST = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION)
_FINAL = (KafkaError._FATAL, KafkaError._AUTHENTICATION, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class TopicReader:
    """A reader of all partitions of a topic.

    Parameters
    ----------
    ingest : broker, topic, and how long to be patient.
    committed : the next offset of each topic and partition; a partition without one is read from its beginning.

    Raises
    ------
    DataError : there is no such topic, or messages are gone that were not read.
    ServiceError : no broker answers.
    """

    def __init__(self, ingest: Ingest, committed: Mapping[tuple[str, int], int]):
        self._ingest = ingest
        self._consumer = Consumer(
            client_settings(ingest.brokers)
            | {
                "group.id": ingest.consumer,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 20,
                "fetch.message.max.bytes": 4_000_000,
            }
        )
        self._next: dict[int, int] = {}
        self._targets: dict[int, int] = {}
        self._contact = self._looked = time.monotonic()
        with self._closed_on_error():
            known = {partition: offset for (topic, partition), offset in committed.items() if topic == ingest.topic}
            self._take_on(partitions_of(self._consumer, ingest.topic, ingest.brokers), known)

    @property
    def is_done(self) -> bool:
        """Everything is read that the topic held when the reader was made."""
        return all(self._next[partition] >= target for partition, target in self._targets.items())

    def lag(self) -> dict[int, int]:
        """Messages of each partition that are not read yet, as the last answers of the broker had it."""
        found = {}
        for partition, offset in self._next.items():
            place = TopicPartition(self._ingest.topic, partition)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            found[partition] = max(0, high - offset)
        return found

    def read(self, stop: Stop) -> pl.DataFrame:
        """The next messages, columns of `MESSAGE_SCHEMA`: a full batch, or what came in the time of the trigger.

        Raises
        ------
        DataError : messages are gone that were not read, or the topic is.
        ServiceError : no broker has answered for too long.
        """
        end = time.monotonic() + self._ingest.trigger_s
        room, size, frames = self._ingest.batch_rows, 0, [pl.DataFrame(schema=MESSAGE_SCHEMA)]
        while room > 0 and size < _MOST_BYTES and time.monotonic() < end and not stop.is_set():
            came = self._consumer.consume(min(room, _MOST_AT_ONCE), _POLL_S)
            if came:
                self._contact = time.monotonic()
                messages = self._sorted_out(came)
                frames.append(_frame(self._ingest.topic, messages))  # Python's objects are many, and short-lived
                room, size = room - len(messages), size + sum(map(len, messages))
            if self.is_done and not self._ingest.is_continuous:
                break
        if room == self._ingest.batch_rows:
            self._look()
        return pl.concat(frames)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _take_on(self, partitions: Sequence[int], committed: Mapping[int, int]) -> None:
        topic, brokers = self._ingest.topic, self._ingest.brokers
        ends = {partition: range_of(self._consumer, topic, partition, brokers) for partition in partitions}
        first = {partition: committed.get(partition, held.low) for partition, held in ends.items()}
        problems = [
            lost(topic, partition, offset, ends[partition])
            for partition, offset in first.items()
            if not ends[partition].low <= offset <= ends[partition].high
        ]
        if problems:
            raise DataError(problems)
        self._next |= first
        self._targets |= {partition: held.high for partition, held in ends.items()}
        self._consumer.incremental_assign([TopicPartition(topic, partition, at) for partition, at in first.items()])

    def _sorted_out(self, came: Sequence[Any]) -> list[Any]:
        """The messages among what came; the others say that a partition ends, or what is wrong."""
        messages = [message for message in came if message.error() is None]
        for message in came if len(messages) < len(came) else ():
            if message.error() is not None:
                self._take_notice(message)
        for partition in {message.partition() for message in messages}:
            last = max(message.offset() for message in messages if message.partition() == partition)
            self._next[partition] = max(self._next[partition], last + 1)
        return messages

    def _take_notice(self, message: Any) -> None:
        error, partition = message.error(), message.partition()
        if error.code() == KafkaError._PARTITION_EOF:
            self._next[partition] = max(self._next[partition], message.offset())
        elif error.code() in _LOST:
            held = range_of(self._consumer, self._ingest.topic, partition, self._ingest.brokers)
            raise DataError(lost(self._ingest.topic, partition, self._next[partition], held))
        elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            fix = "make it anew, and begin anew with --from-start"
            raise DataError(Problem(f"the topic {self._ingest.topic!r} is gone", self._ingest.brokers, fix))
        elif error.code() in _FINAL:
            raise unreachable(self._ingest.brokers, KafkaException(error))
        else:
            LOG.warning("kafka: %s", error.str())

    def _look(self) -> None:
        """See now and then whether the broker is there, and whether the topic has got more partitions."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        try:
            found = self._consumer.list_topics(self._ingest.topic, timeout=2.0).topics[self._ingest.topic]
        except KafkaException as error:
            if time.monotonic() - self._contact > self._ingest.patience_s:
                raise unreachable(self._ingest.brokers, error) from error
            LOG.warning("kafka does not answer: %s", error.args[0].str())
            return
        self._contact = self._looked = time.monotonic()
        new = sorted(set(found.partitions) - set(self._next))
        if new and found.error is None:
            self._take_on(new, {})

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def lost(topic: str, partition: int, offset: int, held: Ends) -> Problem:
    """The problem of an offset that a partition does not hold."""
    if offset < held.low:
        what = f"{held.low - offset} messages were deleted before they were read"
        fix = "send them again, then begin anew with --from-start: what was applied is not applied twice"
    else:
        what = "the topic holds less than was read of it: it was made anew"
        fix = "begin anew with --from-start: what was applied is not applied twice"
    where = f"topic {topic}, partition {partition}: next is {offset}, the topic holds {held.low} to {held.high}"
    return Problem(what, where, fix)


def _frame(topic: str, messages: Sequence[Any]) -> pl.DataFrame:
    columns = {
        "topic": [topic] * len(messages),
        "partition": [message.partition() for message in messages],
        "offset": [message.offset() for message in messages],
        "key": [message.key() for message in messages],
        "value": [message.value() for message in messages],
        "schema_version": [_version(message.headers()) for message in messages],
    }
    return pl.DataFrame(columns, schema=MESSAGE_SCHEMA)


def _version(headers: Sequence[tuple[str, bytes]] | None) -> str | None:
    for name, value in headers or ():
        if name == VERSION_HEADER:
            return "" if value is None else value.decode(errors="replace")
    return None
