"""What producer, reader and status share about Kafka: clients whose errors are told, topics, ends of partitions."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from foretail.core.errors import DataError, ForetailError, MissingExtraError, Problem, ServiceError, UsageError

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError as error:  # pragma: no cover - the extra is there when the tests run
    raise MissingExtraError("confluent_kafka", "kafka") from error

__all__ = [
    "Consumer",
    "Ends",
    "KafkaError",
    "KafkaException",
    "Producer",
    "TopicPartition",
    "check_brokers",
    "client_settings",
    "ensure_topic",
    "partitions_of",
    "range_of",
    "unreachable",
]

LOG = logging.getLogger(__name__)
_TIMEOUT_S = 10.0
_QUIET_S = 30.0  # in which a complaint is not repeated


@dataclass(frozen=True)
class Ends:
    """Offsets that a partition holds: from ``low`` up to before ``high``."""

    low: int
    high: int


def check_brokers(brokers: str) -> str:
    """The address list, refused when it is empty.

    Raises
    ------
    UsageError : nobody said where Kafka is.
    """
    if not brokers:
        raise UsageError(
            "Kafka's address is not known.\n  where: --brokers\n  fix:   --brokers HOST:PORT, or set FORETAIL_KAFKA"
        )
    return brokers


def client_settings(brokers: str) -> dict[str, Any]:
    """What every client of librdkafka is given; a connection that is lost comes back by itself, and is only noted."""
    return {
        "bootstrap.servers": check_brokers(brokers),
        "client.id": "foretail",
        "log_level": 0,
        "error_cb": _Notes(),
        "reconnect.backoff.ms": 200,
        "reconnect.backoff.max.ms": 1_000,
    }


def partitions_of(client: Any, topic: str, brokers: str) -> list[int]:
    """The partitions of a topic.

    Raises
    ------
    ServiceError : no broker answers.
    DataError : there is no such topic.
    """
    try:
        found = client.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise unreachable(brokers, error) from error
    if found.error is not None or not found.partitions:
        raise DataError(
            Problem(f"there is no topic {topic!r}", brokers, "foretail stream produce makes it, or --topic NAME")
        )
    return sorted(found.partitions)


def range_of(consumer: Consumer, topic: str, partition: int, brokers: str) -> Ends:
    """What a partition holds now.

    Raises
    ------
    ServiceError : no broker answers.
    """
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
    except KafkaException as error:
        raise unreachable(brokers, error) from error
    return Ends(low, high)


def ensure_topic(brokers: str, topic: str, partitions: int) -> bool:
    """Make a topic if it is not there; True when it was made.

    Raises
    ------
    ServiceError : no broker answers.
    ForetailError : the broker refuses the topic.
    """
    admin = AdminClient(client_settings(brokers))
    try:
        known = admin.list_topics(timeout=_TIMEOUT_S).topics
        if topic in known:
            return False
        made = admin.create_topics([NewTopic(topic, num_partitions=partitions)], operation_timeout=_TIMEOUT_S)
        made[topic].result(2 * _TIMEOUT_S)
    except KafkaException as error:
        kind = error.args[0]
        if kind.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        if kind.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN):
            raise unreachable(brokers, error) from error
        fix = "make it with Kafka's own tools, or choose another name"
        raise ForetailError(
            f"the topic {topic!r} cannot be made: {kind.str()}\n  where: {brokers}\n  fix:   {fix}"
        ) from error
    return True


def unreachable(brokers: str, error: Exception) -> ServiceError:
    """The error of a broker that does not answer."""
    said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    return ServiceError(
        f"Kafka does not answer: {said}\n  where: {brokers}\n"
        "  fix:   check that the broker runs and --brokers (FORETAIL_KAFKA) names it"
    )


class _Notes:
    """Puts what a client complains of into the log, the same thing only now and then."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        now, what = time.monotonic(), error.name()
        if now - self._said.get(what, -_QUIET_S) >= _QUIET_S:
            self._said[what] = now
            LOG.warning("kafka: %s", error.str())
