"""Kafka to PostgreSQL by both engines, beside a plain loop without Spark and beside the keyed upsert of prepared rows.

    python -m benchmarks.stream [--events N] [--rounds N] [--batch N]

Every way begins with an empty database of the same server, which writes through to its disk, and reads the same topic
of new store-days; afterwards each has to hold all of them. The ways take turns; a value is the median of the rounds.
The peers keep no history, check nothing and know no partitions: they do the least that gives the table.
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj
from confluent_kafka import Consumer, TopicPartition
from scripts.services.kafka import Kafka
from scripts.services.postgres import Postgres
from scripts.services.spark import spark_jars

from benchmarks.table import RESULTS, Measure, publish
from foretail.stream.metrics import Metrics
from foretail.stream.options import Ingest, SparkOptions
from foretail.stream.producer import EventProducer
from foretail.stream.python_engine import ingest_with_python
from foretail.stream.spark_engine import ingest_with_spark
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.sales import SalesSink

TOPIC = "bench"
PARTITIONS = 4
_EVENTS = 1_000_000
_STORES, _PRODUCTS = 1_115, 6
_SPARK_GOAL, _PYTHON_GOAL = 0.7, 0.6
_COLUMNS = (
    *("store", "dayofweek", "date", "sales", "customers", "open", "promo", "stateholiday", "schoolholiday"),
    *("productname", "event_id", "event_time"),
)
_TYPES = (
    *("int", "int", "date", "int", "int", "int", "int", "text", "int"),
    *("text", "text", "timestamptz"),
)
_TABLE = ", ".join(f"{name} {kind}" for name, kind in zip(_COLUMNS, _TYPES, strict=True))
_NAMES = ", ".join(_COLUMNS)
_KEY = "store, productname, date"
_SET = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY.split(", "))
_UPSERT = (
    f"INSERT INTO sales ({_NAMES}) SELECT DISTINCT ON ({_KEY}) {_NAMES} FROM staged "
    f"ORDER BY {_KEY}, event_time DESC, event_id DESC ON CONFLICT ({_KEY}, source) DO UPDATE SET {_SET} "
    "WHERE (excluded.event_time, excluded.event_id) > (sales.event_time, sales.event_id)"
)
_JSON = pa.schema(
    [(name, pa.int64() if kind == "int" else pa.string()) for name, kind in zip(_COLUMNS, _TYPES, strict=True)]
)


@dataclass(frozen=True)
class Stack:
    """What a way works on.

    Attributes
    ----------
    brokers : Kafka with the filled topic. postgres : a server of its own.
    events, batch : how many messages there are, and how many go into one transaction.
    folder : for checkpoints.
    """

    brokers: str
    postgres: Postgres
    events: int
    batch: int
    folder: Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a topic, let each way take it over, publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--events", type=int, default=_EVENTS, help="messages in the topic")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is measured")
    parser.add_argument("--batch", type=int, default=100_000, help="messages in one transaction")
    asked = parser.parse_args(arguments)
    with _stack(asked.events, asked.batch) as stack:
        sent, size = _fill(stack)
        rates = {name: statistics.median(found) for name, found in _rounds(stack, asked.rounds).items()}
        folder = RESULTS if asked.events == _EVENTS else stack.folder
        publish("stream", _measures(asked.events, sent, size, rates), folder)


def _measures(events: int, sent: float, size: float, rates: dict[str, float]) -> list[Measure]:
    what = f"{events:,} events of {size:.0f} B"
    loop, alone = rates["loop"], rates["upsert"]
    ratio = f"{what}: ratio to"
    return [
        Measure(f"{what}: sent", sent, "rows/s"),
        Measure(f"{what}: Spark, inside batches", rates["spark"], "rows/s", "plain loop", loop),
        Measure(f"{what}: Spark, inside batches after the first", rates["spark warm"], "rows/s", "plain loop", loop),
        Measure(f"{what}: Spark, from the first batch to the last", rates["spark wall"], "rows/s", "plain loop", loop),
        Measure(f"{what}: --engine python", rates["python"], "rows/s", "upsert alone", alone),
        Measure(f"{ratio} the plain loop, Spark inside batches", rates["spark"] / loop, "ratio", at_least=_SPARK_GOAL),
        Measure(f"{ratio} the upsert alone, --engine python", rates["python"] / alone, "ratio", at_least=_PYTHON_GOAL),
    ]


@contextmanager
def _stack(events: int, batch: int) -> Iterator[Stack]:
    kafka, postgres = Kafka(dies_with_parent=True), Postgres(dies_with_parent=True)
    try:
        kafka.start()
        postgres.start()
        kafka.create_topic(TOPIC, PARTITIONS)
        with tempfile.TemporaryDirectory(prefix="foretail-stream-") as folder:
            yield Stack(kafka.address, postgres, events, batch, Path(folder))
    finally:
        kafka.remove()
        postgres.remove()


def _fill(stack: Stack) -> tuple[float, float]:
    """Send the events: messages a second, and bytes of one."""
    producer = EventProducer(stack.brokers, TOPIC)
    begun, size = time.perf_counter(), 0
    for first in range(0, stack.events, stack.batch):
        events = _events(first, min(stack.batch, stack.events - first))
        producer.send(events)
        size = size or int(events.select(pl.struct(pl.all()).struct.json_encode().str.len_bytes().mean()).item())
    producer.flush()
    return stack.events / (time.perf_counter() - begun), size


def _events(first: int, count: int) -> pl.DataFrame:
    """Sales of new store-days, day after day, each store and product once a day."""
    rng, number = np.random.default_rng(first), np.arange(first, first + count)
    per_day = _STORES * _PRODUCTS
    ago = 1 + number // per_day
    newest = dt.datetime.now(dt.UTC).date()
    days = pl.Series(np.datetime64(newest) - ago.astype("timedelta64[D]")).cast(pl.Date)
    return pl.DataFrame(
        {
            "store": 1 + number % per_day // _PRODUCTS,
            "dayofweek": days.dt.weekday().cast(pl.Int64),
            "date": days,
            "sales": rng.integers(0, 40_000, count),
            "customers": rng.integers(0, 4_000, count),
            "open": np.ones(count, dtype=np.int64),
            "promo": rng.integers(0, 2, count),
            "stateholiday": ["0"] * count,
            "schoolholiday": rng.integers(0, 2, count),
            "productname": pl.Series(number % _PRODUCTS).replace_strict(range(_PRODUCTS), list("ABCDEF")),
            "event_id": pl.Series(number).cast(pl.String).str.zfill(16),
            "event_time": days.dt.combine(dt.time(22)).cast(pl.Datetime("us")),
        }
    ).with_columns(pl.format("product_{}", "productname").alias("productname"))


def _rounds(stack: Stack, rounds: int) -> dict[str, list[float]]:
    """Rows a second of each way in each round."""
    found: dict[str, list[float]] = {}
    ways: dict[str, Callable[[Stack, str], dict[str, float]]] = {
        "loop": _plain_loop,
        "python": _python,
        "upsert": _upsert_alone,
        "spark": _spark,
    }
    for number in range(rounds):
        for name, way in ways.items():
            url = stack.postgres.create(f"{name}{number}")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CHECKPOINT")  # what was written before is not this way's to pay
            rates = way(stack, url)
            _check_whole(url, "sales" if name in ("loop", "upsert") else "rossman_sales", stack.events)
            for key, rate in rates.items():
                found.setdefault(key, []).append(rate)
                print(f"round {number + 1}: {key} {rate:,.0f} rows/s", flush=True)
    return found


def _check_whole(url: str, table: str, events: int) -> None:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    if row is None or row[0] != events:
        raise RuntimeError(f"{table} holds {row}, not {events}: this way did not do the work")


def _python(stack: Stack, url: str) -> dict[str, float]:
    engine = open_warehouse(url)
    begun = time.perf_counter()
    ingest_with_python(SalesSink(engine), Ingest(stack.brokers, TOPIC, batch_rows=stack.batch), Metrics(TOPIC))
    seconds = time.perf_counter() - begun
    engine.dispose()
    return {"python": stack.events / seconds}


def _spark(stack: Stack, url: str) -> dict[str, float]:
    engine = open_warehouse(url)
    metrics = Metrics(TOPIC)
    options = SparkOptions(spark_jars()[0].parent, stack.folder / url.rpartition("/")[2])
    ingest = Ingest(stack.brokers, TOPIC, batch_rows=stack.batch)
    ended: list[tuple[float, float]] = []  # when each batch was stored, and its seconds
    ingest_with_spark(
        SalesSink(engine), ingest, options, metrics, lambda batch: ended.append((time.perf_counter(), batch.seconds))
    )
    engine.dispose()
    wall = ended[-1][0] - ended[0][0] + ended[0][1]  # Java and Spark were up when the first batch began
    warm = (stack.events - stack.batch) / sum(seconds for _, seconds in ended[1:]) if len(ended) > 1 else float("nan")
    return {"spark": metrics.mean_rows_per_s, "spark warm": warm, "spark wall": stack.events / wall}


def _plain_loop(stack: Stack, url: str) -> dict[str, float]:
    """Consume, parse by Arrow, COPY, upsert; one after the other, and nothing else."""
    consumer = _reader(stack)
    with psycopg.connect(url) as connection:
        _make(connection)
        begun, done = time.perf_counter(), 0
        while done < stack.events:
            messages = [message for message in consumer.consume(stack.batch, 1.0) if message.error() is None]
            _put(connection, _parsed([message.value() for message in messages]))
            done += len(messages)
        seconds = time.perf_counter() - begun
    consumer.close()
    return {"loop": stack.events / seconds}


def _upsert_alone(stack: Stack, url: str) -> dict[str, float]:
    """COPY and upsert of tables that were read and parsed before."""
    consumer, tables, done = _reader(stack), [], 0
    while done < stack.events:
        messages = [message for message in consumer.consume(stack.batch, 1.0) if message.error() is None]
        tables.append(_parsed([message.value() for message in messages]))
        done += len(messages)
    consumer.close()
    with psycopg.connect(url) as connection:
        _make(connection)
        begun = time.perf_counter()
        for table in tables:
            _put(connection, table)
        return {"upsert": stack.events / (time.perf_counter() - begun)}


def _reader(stack: Stack) -> Consumer:
    settings = {"bootstrap.servers": stack.brokers, "group.id": "peer", "fetch.queue.backoff.ms": 20}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    return consumer


def _parsed(values: Sequence[bytes]) -> pa.Table:
    if not values:
        return _JSON.empty_table()
    options = pj.ParseOptions(explicit_schema=_JSON, unexpected_field_behavior="ignore")
    return pj.read_json(pa.BufferReader(b"\n".join(values)), parse_options=options).select(list(_COLUMNS))


def _make(connection: Any) -> None:
    connection.execute(f"CREATE TABLE sales ({_TABLE}, source text NOT NULL DEFAULT 'stream', UNIQUE ({_KEY}, source))")
    connection.execute(f"CREATE TEMP TABLE staged ({_TABLE}) ON COMMIT DELETE ROWS")
    connection.commit()


def _put(connection: Any, table: pa.Table) -> None:
    text = io.BytesIO()
    pc.write_csv(table, text, pc.WriteOptions(include_header=False, quoting_style="needed"))
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY staged ({_NAMES}) FROM STDIN (FORMAT csv)") as copy:
            copy.write(text.getbuffer())
        cursor.execute(_UPSERT)
    connection.commit()


if __name__ == "__main__":
    main()
