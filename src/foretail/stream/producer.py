"""Sends events to Kafka: idempotent, acknowledged by every replica, and nothing is called sent that was not."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from foretail.core.errors import DataError, ForetailError, Problem
from foretail.stream.broker import KafkaError, KafkaException, Producer, client_settings, unreachable
from foretail.stream.replay import Replay, to_messages
from foretail.stream.schema import VERSION, VERSION_HEADER

__all__ = ["DayClock", "EventProducer", "Pace", "live"]

_FLUSH_S = 30.0
_HEADERS = [(VERSION_HEADER, VERSION.encode())]


class EventProducer:
    """A producer of sales events.

    A message is sent once however often the connection breaks; one that cannot be delivered is an error of `flush`.

    Parameters
    ----------
    brokers, topic : where to.
    timeout_s : how long a message may wait for a broker.
    """

    def __init__(self, brokers: str, topic: str, *, timeout_s: float = 60.0):
        self.brokers, self.topic = brokers, topic
        self.n_sent = 0
        self._failed: list[KafkaError] = []
        self._producer = Producer(
            client_settings(brokers)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 20,
                "compression.type": "lz4",
                "message.timeout.ms": int(1000 * timeout_s),
                "message.max.bytes": 8_000_000,  # what is too large is the broker's to say
            }
        )

    def send(self, events: pl.DataFrame) -> None:
        """Hand over events, columns of `FIELDS`.

        Raises
        ------
        ForetailError : see `flush`.
        """
        messages = to_messages(events)
        for key, value in messages.iter_rows():
            self.send_raw(key, value)

    def send_raw(self, key: str | bytes | None, value: str | bytes | None, headers: Any = _HEADERS) -> None:
        """Hand over one message as it is; it may be no event at all."""
        while True:
            try:
                self._producer.produce(self.topic, value, key, headers=headers, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)  # the queue is full: wait for some of it to be delivered
            except KafkaException as error:
                raise self._refused(error.args[0]) from error
            else:
                break
        self._producer.poll(0)
        self._raise_failed()

    def flush(self) -> None:
        """Wait until everything handed over is delivered.

        Raises
        ------
        ServiceError : no broker took it in time.
        DataError : a message is larger than the broker takes.
        ForetailError : the broker refuses.
        """
        while self._producer.flush(_FLUSH_S) and not self._failed:
            pass  # each message has its own time-out, after which it counts as failed
        self._raise_failed()

    def _delivered(self, error: KafkaError | None, _: Any) -> None:
        if error is None:
            self.n_sent += 1
        else:
            self._failed.append(error)

    def _raise_failed(self) -> None:
        if self._failed:
            raise self._refused(self._failed[0])

    def _refused(self, error: KafkaError) -> ForetailError:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            fix = "send smaller events, or raise max.message.bytes of the topic"
            return DataError(Problem("a message is larger than the broker takes", f"topic {self.topic}", fix))
        if error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return unreachable(self.brokers, KafkaException(error))
        return ForetailError(
            f"the broker refuses a message: {error.str()}\n  where: {self.brokers}, topic {self.topic}\n"
            "  fix:   foretail stream status shows what the topic holds"
        )


@dataclass(frozen=True)
class Pace:
    """How today's sales are told.

    Attributes
    ----------
    rate : messages per second.
    count : messages in all; None for ever.
    duplicated : share of messages sent twice.
    """

    rate: float = 0.1
    count: int | None = None
    duplicated: float = 0.0


@dataclass
class DayClock:
    """The time of the day that is told: the real one, or one that begins at midnight and runs faster up to it.

    Attributes
    ----------
    speed : 1 for the real time.
    now : reads the real time, aware.
    """

    speed: float = 1.0
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    _started: dt.datetime = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.now()

    def read(self) -> dt.datetime:
        """The time that is told; never after the real one."""
        real = self.now()
        if self.speed == 1:
            return real
        midnight = self._started.replace(hour=0, minute=0, second=0, microsecond=0)
        return min(real, midnight + (real - self._started) * self.speed)


def live(
    replay: Replay, pace: Pace, clock: DayClock, *, seed: int = 7, sleep: Callable[[float], None] = time.sleep
) -> Iterator[pl.DataFrame]:
    """Today's sales as they grow, one series after another in a drawn order; when the day ends, its full sums.

    Yields
    ------
    Frames of `FIELDS`: one row, two where it is sent twice, and all series of a day that has ended.
    """
    draw = random.Random(seed)  # noqa: S311  (an order, no secret)
    day, began = replay.today, time.monotonic()
    facts = _shuffled(replay.day(day), seed)
    for sent in itertools.count() if pace.count is None else range(pace.count):
        sleep(max(0.0, sent / pace.rate - (time.monotonic() - began)))
        at = clock.read()
        while at.date() > day:
            yield replay.closing(day)
            day += dt.timedelta(days=1)
            facts = _shuffled(replay.day(day), seed)
        told = replay.so_far(facts[sent % facts.height], at)
        yield pl.concat([told, told]) if draw.random() < pace.duplicated else told


def _shuffled(facts: pl.DataFrame, seed: int) -> pl.DataFrame:
    return facts.sample(fraction=1.0, shuffle=True, seed=seed)
