"""Streams for the tests: what tills send with all their faults, a second opinion on what it comes to, and an ingest."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from foretail.sources.synthetic import synthetic_table
from foretail.stream.broker import Consumer, TopicPartition, client_settings
from foretail.stream.producer import EventProducer
from foretail.stream.replay import Faults, Replay

WAIT_S = 240.0  # for what takes seconds on an idle machine
BAD = (b"{not json", b'{"store": "1"}', b"\xff\xfe", None, b'{"store": 1, "sales": -5}', b"[1, 2]", b'{"a":1}{"b":2}')
WORLD = {"stores": 12, "products": 8, "periods": 200, "opening_share": 0.0, "closing_share": 0.0}


def send_sales(brokers: str, topic: str, seed: int = 3) -> int:
    """Send 5 months of a synthetic world with restatements, late and repeated messages, and bad ones in between."""
    now = dt.datetime.now(dt.UTC)
    replay = Replay.of(synthetic_table(WORLD), now.date())
    events = replay.with_faults(replay.history(), Faults(0.05, 0.05, 0.05, seed), now)
    producer = EventProducer(brokers, topic)
    step = -(-events.height // len(BAD))
    for number, value in enumerate(BAD):
        producer.send(events[number * step : (number + 1) * step])
        producer.send_raw(f"bad-{number}", value)
    producer.flush()
    return producer.n_sent


def read_topic(brokers: str, topic: str) -> list[tuple[int, int, bytes | None]]:
    """Everything a topic holds: partition, offset, value."""
    settings = {"group.id": "second-opinion", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    consumer = Consumer(client_settings(brokers) | settings)
    partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found, ended = [], set()
    while len(ended) < len(partitions):
        for message in consumer.consume(1_000, 1.0):
            if message.error() is None:
                found.append((message.partition(), message.offset(), message.value()))
            else:
                ended.add(message.partition())
    consumer.close()
    return found


@dataclass
class Truth:
    """What a topic comes to, worked out message by message without the code under test."""

    sales: dict[tuple[int, str, str], tuple[dt.datetime, str, int]] = field(default_factory=dict)
    statements: set[tuple[int, str, str, dt.datetime, str]] = field(default_factory=set)
    dead: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def of(cls, messages: list[tuple[int, int, bytes | None]]) -> "Truth":
        truth = cls()
        for partition, offset, value in messages:
            if value in BAD:
                truth.dead.add((partition, offset))
                continue
            event = json.loads(value)
            key = (event["store"], event["productname"], event["date"])
            at = dt.datetime.fromisoformat(event["event_time"]).replace(tzinfo=None)
            told = (at, event["event_id"], event["sales"])
            truth.statements.add((*key, at, event["event_id"]))
            truth.sales[key] = max(truth.sales.get(key, told), told)
        return truth


def check(database: str, truth: Truth) -> None:
    """The warehouse says what the truth says: every store-day to the unit, every statement once, every bad message."""
    columns = "store, productname, date::text, event_time, event_id"
    with psycopg.connect(database) as connection:
        held = connection.execute(f"SELECT {columns}, sales FROM rossman_sales").fetchall()
        replaced = connection.execute(f"SELECT {columns} FROM rossman_sales_replaced").fetchall()
        dead = connection.execute('SELECT "partition", "offset" FROM dead_letters').fetchall()
    assert len(held) == len({row[:3] for row in held})
    assert {row[:3]: row[3:] for row in held} == truth.sales
    assert len(held) + len(replaced) == len(truth.statements)
    assert {row[:5] for row in held} | set(replaced) == truth.statements
    assert sorted(dead) == sorted(truth.dead)


def until(is_true: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until something is true, looking often."""
    end = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


class Ingest:
    """A `foretail stream ingest` as a process of its own, which the test may kill."""

    def __init__(self, folder: Path, engine: str, brokers: str, topic: str, database: str, *more: str):
        self.folder, self.topic, self.database = folder, topic, database
        words = ["stream", "ingest", "--engine", engine, "--topic", topic, "--home", str(folder), *more]
        self.log = folder / "ingest.log"
        environment = {**os.environ, "FORETAIL_KAFKA": brokers, "FORETAIL_WAREHOUSE": database}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "foretail.cli.main", "-v", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As a crash of its machine would end it: driver and Java together."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_java(self) -> None:
        """Only Spark's Java, which leaves Python to notice."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "java" in child.name():
                child.kill()

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def check_alive(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-3_000:]
        return True


class Ingests:
    """All that a test starts; none outlives it."""

    def __init__(self) -> None:
        self._started: list[Ingest] = []

    def start(self, *words: Any) -> Ingest:
        self._started.append(Ingest(*words))
        return self._started[-1]

    def close(self) -> None:
        for ingest in self._started:
            if ingest.process.poll() is None:
                ingest.kill()


def batches(database: str) -> int:
    """Batches that a warehouse has taken; 0 before it has tables."""
    return _asked(database, "SELECT count(*) FROM stream_batches")


def waiting(database: str) -> int:
    """Transactions that wait for a lock."""
    return _asked(database, "SELECT count(*) FROM pg_locks WHERE NOT granted")


def _asked(database: str, question: str) -> int:
    try:
        with psycopg.connect(database, connect_timeout=5) as connection:
            row = connection.execute(question).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.OperationalError):
        return 0
    assert row is not None
    return int(row[0])
