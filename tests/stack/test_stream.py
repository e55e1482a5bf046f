"""A real broker and a real database: commands end to end, bad messages, lost offsets, and what is down."""

import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import polars as pl
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from scripts.services.kafka import Kafka
from scripts.services.process import free_port
from scripts.services.spark import spark_jars
from stack_stream import BAD, Ingests, Truth, batches, check, read_topic, send_sales, until

from foretail.core.errors import DataError, ServiceError
from foretail.sources.synthetic import synthetic_table
from foretail.stream.broker import TopicPartition, client_settings, ensure_topic
from foretail.stream.metrics import Metrics
from foretail.stream.options import Ingest, Stop
from foretail.stream.producer import DayClock, EventProducer, Pace, live
from foretail.stream.python_engine import ingest_with_python
from foretail.stream.replay import Replay
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.sales import SalesSink

SMALL = {"stores": 2, "products": 2, "periods": 60, "opening_share": 0.0, "closing_share": 0.0}


@pytest.fixture
def ingests():
    with closing(Ingests()) as started:
        yield started


@pytest.fixture
def sink(database: str):
    engine = open_warehouse(database)
    yield SalesSink(engine)
    engine.dispose()


def foretail(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foretail.cli.main", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240)


def history(now: dt.datetime) -> tuple[Replay, pl.DataFrame]:
    replay = Replay.of(synthetic_table(SMALL), now.date(), 1)
    return replay, replay.history()


def delete_until(kafka: Kafka, topic: str, partition: int, offset: int) -> None:
    """What retention does, now."""
    admin = AdminClient(client_settings(kafka.address))
    for done in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
        done.result(20)


def test_the_commands_from_a_table_to_the_warehouse(kafka: Kafka, topic: str, database: str, tmp_path: Path):
    told = {"FORETAIL_KAFKA": kafka.address, "FORETAIL_WAREHOUSE": database, "FORETAIL_HOME": str(tmp_path)}
    config = tmp_path / "world.json"
    config.write_text(json.dumps(SMALL), encoding="utf-8")
    faults = ("--restated", "0.1", "--late", "0.1", "--duplicated", "0.1")
    words = ("stream", "produce", "synthetic", "--data", str(config), "--topic", topic, "--months", "1")
    sent = foretail(*words, *faults, "--count", "4", "--rate", "200", "--json", **told)
    assert sent.returncode == 0, sent.stderr
    messages = read_topic(kafka.address, topic)
    assert len(messages) == json.loads(sent.stdout)["sent"]

    taken = foretail("stream", "ingest", "--engine", "python", "--topic", topic, "--json", **told)
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["events"] == len(messages)
    assert json.loads(taken.stdout)["lag"] == 0
    check(database, Truth.of(messages))

    status = json.loads(foretail("stream", "status", "--json", **told).stdout)
    assert status["rows"] == len(messages)
    assert status["dead"] == 0
    assert [item["lag"] for item in status["partitions"]] == [0, 0, 0, 0]
    assert sum(item["next_offset"] for item in status["partitions"]) == len(messages)


def test_the_same_commands_with_sqlite(kafka: Kafka, topic: str, tmp_path: Path):
    send_sales(kafka.address, topic)
    messages = read_topic(kafka.address, topic)
    told = {"FORETAIL_KAFKA": kafka.address, "FORETAIL_HOME": str(tmp_path)}
    done = foretail("stream", "ingest", "--engine", "python", "--topic", topic, "--batch", "4000", "--json", **told)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dead"] == len(BAD)
    truth = Truth.of(messages)
    engine = open_warehouse(f"sqlite:///{tmp_path / 'warehouse.db'}")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT store, productname, date, sales FROM rossman_sales").fetchall()
    engine.dispose()
    assert {tuple(row[:3]): row[3] for row in rows} == {key: told[2] for key, told in truth.sales.items()}
    listed = foretail("stream", "dead", "list", "--json", **told)
    assert {(row["partition"], row["offset"]) for row in json.loads(listed.stdout)} == truth.dead


def test_today_grows_and_never_shrinks(kafka: Kafka, topic: str, sink: SalesSink):
    now = dt.datetime.now(dt.UTC)
    replay, _ = history(now)
    full = {(row["store"], row["productname"]): row["sales"] for row in replay.day(now.date()).to_dicts()}
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    seen = dict.fromkeys(full, 0)
    producer = EventProducer(kafka.address, topic)
    for hour in (7, 12, 16, 23):
        at = midnight.replace(hour=hour) - dt.timedelta(days=7)  # a day that is past, told as if it were now
        earlier = Replay.of(synthetic_table(SMALL), at.date(), 1)
        clock = DayClock(now=lambda at=at: at)
        for events in live(earlier, Pace(rate=1e6, count=len(full)), clock):
            producer.send(events)
        producer.flush()
        ingest_with_python(sink, Ingest(kafka.address, topic), Metrics(topic))
        with sink.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT store, productname, sales FROM rossman_sales").fetchall()
        told = {(store, product): sales for store, product, sales in rows}
        assert all(told[key] >= seen[key] for key in full)
        assert (sum(told.values()) == 0) == (hour == 7 or sum(full.values()) == 0)
        seen = told
    last = {(row["store"], row["productname"]): row["sales"] for row in earlier.day(at.date()).to_dicts()}
    assert seen == last


def test_dead_letters_are_tried_again_under_new_rules(kafka: Kafka, topic: str, database: str, tmp_path: Path):
    _, events = history(dt.datetime.now(dt.UTC))
    producer = EventProducer(kafka.address, topic)
    producer.send(events)
    producer.send_raw("k", b"{poison")
    producer.flush()
    told = {"FORETAIL_KAFKA": kafka.address, "FORETAIL_WAREHOUSE": database, "FORETAIL_HOME": str(tmp_path)}
    one, both = tmp_path / "one.csv", tmp_path / "both.csv"
    one.write_text("store\n1\n", encoding="utf-8")
    both.write_text("store\n1\n2\n", encoding="utf-8")
    words = ("stream", "ingest", "--engine", "python", "--topic", topic, "--stores", str(one), "--json")
    assert json.loads(foretail(*words, **told).stdout)["dead"] == events.height // 2 + 1
    again = ("stream", "dead", "replay", "--json", "--stores")
    assert json.loads(foretail(*again, str(one), **told).stdout)["applied"] == 0
    done = json.loads(foretail(*again, str(both), **told).stdout)
    assert (done["tried"], done["applied"], done["changed"]) == (
        events.height // 2 + 1,
        events.height // 2,
        events.height // 2,
    )
    left = json.loads(foretail("stream", "dead", "list", "--json", **told).stdout)
    assert [row["value"] for row in left] == ["{poison"]
    unknown = foretail("stream", "dead", "replay", "99999999", **told)
    assert unknown.returncode == 3
    assert "no dead letter" in unknown.stderr


def test_a_message_of_two_megabytes(kafka: Kafka, topic: str, sink: SalesSink):
    noise = random.Random(3).randbytes(1_000_000).hex().encode()  # it does not get small by compression
    huge = b'{"store": 1, "x": "' + noise + b'"}'
    producer = EventProducer(kafka.address, topic)
    with pytest.raises(DataError, match="larger than the broker takes"):
        producer.send_raw("k", huge)
        producer.flush()
    wide = f"{topic}-wide"
    kafka.create_topic(wide, 1, {"max.message.bytes": "4000000"})
    _, events = history(dt.datetime.now(dt.UTC))
    producer = EventProducer(kafka.address, wide)
    producer.send_raw("k", huge)
    producer.send(events)
    producer.flush()
    metrics = Metrics(wide)
    ingest_with_python(sink, Ingest(kafka.address, wide), metrics)
    assert (metrics.events, metrics.dead) == (events.height, 1)
    with sink.engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT reason, length(value) FROM dead_letters").one()
    assert row[0].startswith("too large")
    assert row[1] == len(huge)  # kept whole


def test_another_schema_version_is_set_aside(kafka: Kafka, topic: str, sink: SalesSink):
    producer = EventProducer(kafka.address, topic)
    producer.send_raw("k", b'{"store": 1}', headers=[("schema_version", b"2")])
    producer.flush()
    ingest_with_python(sink, Ingest(kafka.address, topic), Metrics(topic))
    with sink.engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT reason, schema_version FROM dead_letters").one()
    assert row == ("unknown schema version 2, known: 1", "2")


@pytest.mark.parametrize("offset", ["deleted", "made anew"])
def test_lost_offsets_fail_loudly(kafka: Kafka, topic: str, sink: SalesSink, offset: str):
    _, events = history(dt.datetime.now(dt.UTC))
    producer = EventProducer(kafka.address, topic)
    producer.send(events)
    producer.flush()
    ingest_with_python(sink, Ingest(kafka.address, topic), Metrics(topic))
    if offset == "deleted":
        producer.send(events)
        producer.flush()
        ends = AdminClient(client_settings(kafka.address)).list_topics(topic, timeout=10).topics[topic].partitions
        for partition in ends:
            delete_until(kafka, topic, partition, -1)  # up to the end
        expected = "were deleted before they were read"
    else:
        admin = AdminClient(client_settings(kafka.address))
        admin.delete_topics([topic], operation_timeout=20)[topic].result(20)
        until(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic to go", 30)
        ensure_topic(kafka.address, topic, 4)
        expected = "it was made anew"
    with pytest.raises(DataError, match=expected):
        ingest_with_python(sink, Ingest(kafka.address, topic), Metrics(topic))


def test_lost_offsets_fail_loudly_with_spark(kafka: Kafka, topic: str, database: str, tmp_path: Path):
    told = {
        "FORETAIL_KAFKA": kafka.address,
        "FORETAIL_WAREHOUSE": database,
        "FORETAIL_SPARK_JARS": str(spark_jars()[0].parent),
        "FORETAIL_HOME": str(tmp_path),
    }
    _, events = history(dt.datetime.now(dt.UTC))
    producer = EventProducer(kafka.address, topic)
    producer.send(events)
    producer.flush()
    first = foretail("stream", "ingest", "--topic", topic, "--json", **told)
    assert json.loads(first.stdout)["events"] == events.height, first.stderr
    producer.send(events)
    producer.flush()
    for partition in range(4):
        delete_until(kafka, topic, partition, -1)
    producer.send(events)
    producer.flush()
    second = foretail("stream", "ingest", "--topic", topic, **told)
    assert second.returncode == 3, second.stderr
    assert "were deleted before they were read" in second.stderr
    assert "delete the checkpoint" in second.stderr


def test_what_is_down_is_named(kafka: Kafka, topic: str, database: str, tmp_path: Path):
    nobody = f"127.0.0.1:{free_port()}"
    home = {"FORETAIL_HOME": str(tmp_path), "FORETAIL_WAREHOUSE": database}
    words = ("stream", "ingest", "--engine", "python", "--topic", topic)
    for verb in (words, ("stream", "produce", "synthetic", "--topic", topic)):
        down = foretail(*verb, "--brokers", nobody, **home)
        assert down.returncode == 1
        assert "Kafka does not answer" in down.stderr
        assert nobody in down.stderr
    gone = foretail(*words, "--brokers", kafka.address, **{**home, "FORETAIL_WAREHOUSE": f"postgresql://x@{nobody}/y"})
    assert gone.returncode == 1
    assert "the warehouse does not answer" in gone.stderr
    none = foretail("stream", "ingest", "--engine", "python", "--topic", "nothing", "--brokers", kafka.address, **home)
    assert none.returncode == 3
    assert "there is no topic 'nothing'" in none.stderr


def test_a_broker_that_goes_away_ends_the_patience(own_kafka: Kafka, database: str):
    own_kafka.create_topic("sales", 1)
    engine = open_warehouse(database)
    own_kafka_address = own_kafka.address
    ingest = Ingest(own_kafka_address, "sales", is_continuous=True, patience_s=1.0, trigger_s=0.2)
    metrics, stop = Metrics("sales"), Stop()
    producer = EventProducer(own_kafka_address, "sales")
    producer.send(history(dt.datetime.now(dt.UTC))[1])
    producer.flush()
    with pytest.raises(ServiceError, match="Kafka does not answer"):
        ingest_with_python(SalesSink(engine), ingest, metrics, lambda _: own_kafka.kill(), stop)
    engine.dispose()
    assert metrics.events > 0


def test_it_follows_answers_prometheus_and_ends_by_sigterm(
    kafka: Kafka, topic: str, database: str, ingests: Ingests, tmp_path: Path
):
    port = free_port()
    more = ("--continuous", "--trigger", "0.1", "--metrics-port", str(port), "--json")
    ingest = ingests.start(tmp_path, "python", kafka.address, topic, database, *more)
    _, events = history(dt.datetime.now(dt.UTC))
    producer = EventProducer(kafka.address, topic)
    for part in (events[:40], events[40:]):
        before = batches(database)
        producer.send(part)
        producer.flush()
        until(lambda before=before: ingest.check_alive() and batches(database) > before, "a batch")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert f'foretail_stream_dead_total{{topic="{topic}"}} 0' in text
    assert f'foretail_stream_lag{{topic="{topic}",partition="0"}} 0' in text
    os.kill(ingest.process.pid, signal.SIGTERM)
    assert ingest.wait() == 0
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM rossman_sales").fetchone() == (events.height,)


def test_two_readers_at_once_count_nothing_twice(
    kafka: Kafka, topic: str, database: str, ingests: Ingests, tmp_path: Path
):
    open_warehouse(database).dispose()
    send_sales(kafka.address, topic)
    truth = Truth.of(read_topic(kafka.address, topic))
    both = [ingests.start(tmp_path, "python", kafka.address, topic, database, "--batch", "700") for _ in range(2)]
    assert [ingest.wait() for ingest in both] == [0, 0], both[0].log.read_text(encoding="utf-8")[-2000:]
    check(database, truth)
