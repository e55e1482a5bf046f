"""Batches into a warehouse of one file: applied once, patiently, counted; dead letters tried again; the status read."""

import datetime as dt
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import create_engine

sys.path.insert(0, str(Path(__file__).parent))
from stream_messages import event, messages

from foretail.core.errors import DataError, ServiceError
from foretail.stream.applying import Applier, Batch, next_offsets
from foretail.stream.dead import replay_dead
from foretail.stream.events import Rules
from foretail.stream.metrics import Metrics
from foretail.stream.options import Ingest, Stop, rules_now
from foretail.stream.status import read_status
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.sales import BatchId, SalesSink, committed_offsets

RULES = Rules(dt.datetime(2024, 3, 19, 12, tzinfo=dt.UTC), stores=frozenset({1, 2}))


@pytest.fixture
def sink(tmp_path):
    engine = open_warehouse(f"sqlite:///{tmp_path / 'warehouse.db'}")
    yield SalesSink(engine)
    engine.dispose()


def rows(sink, columns="store, sales"):
    with sink.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(f"SELECT {columns} FROM rossman_sales ORDER BY store")]


def applier(sink, metrics=None, **changes):
    ingest = Ingest("nowhere:1", late_after=100_000, stores=frozenset({1, 2}), **changes)
    return Applier(sink, ingest, metrics or Metrics("sales"))


def batch(work, *values, first=0):
    told = messages(*values, first=first)
    return Batch(work.parse(told), next_offsets(told))


def test_a_batch_is_applied_once(sink):
    metrics = Metrics("sales")
    work = applier(sink, metrics)
    told = batch(work, event(), event(), event(store=2), b"{", event(store=3))
    first = work.apply(told, BatchId("q", 0), "c")
    assert (first.events, first.dead, first.changed, first.duplicates, first.is_repeated) == (3, 2, 2, 1, False)
    again = work.apply(told, BatchId("q", 0), "c")
    assert (again.changed, again.is_repeated) == (0, True)
    assert rows(sink) == [(1, 5263), (2, 5263)]
    assert committed_offsets(sink.engine, "c") == {("sales", 0): 5}
    other = work.apply(told, BatchId("another checkpoint", 0), "c")
    assert (other.changed, other.duplicates) == (0, 3)
    assert rows(sink) == [(1, 5263), (2, 5263)]
    assert metrics.batches == 3


def test_the_newest_statement_counts_in_whatever_order(sink):
    work = applier(sink)
    late = event(sales=1, event_id="a", event_time="2024-03-18T20:00:00Z")
    newest = event(sales=3, event_id="c", event_time="2024-03-19T20:00:00Z")
    work.apply(batch(work, newest, event(sales=2)), BatchId("q", 0), "c")
    work.apply(batch(work, late, first=2), BatchId("q", 1), "c")
    assert rows(sink, "sales, event_id") == [(3, "c")]


def test_late_is_what_comes_before_the_watermark_of_its_partition(sink):
    metrics = Metrics("sales")
    work = applier(sink, metrics, watermark=dt.timedelta(hours=1))
    told = [event(event_id=str(n), event_time=f"2024-03-18T{hour:02}:00:00Z") for n, hour in enumerate((20, 10))]
    assert work.apply(batch(work, *told), BatchId("q", 0), "c").late == 0  # one batch has no order
    assert metrics.watermark == dt.datetime(2024, 3, 18, 19)
    told = [event(event_id=f"b{hour}", event_time=f"2024-03-18T{hour}:30:00Z") for hour in (18, 19, 21)]
    assert work.apply(batch(work, *told, first=2), BatchId("q", 1), "c").late == 1
    other = pl.DataFrame(messages(event(event_id="d", event_time="2024-03-18T12:00:00Z"))).with_columns(
        pl.lit(1, pl.Int32).alias("partition")
    )
    assert work.apply(Batch(work.parse(other), next_offsets(other)), BatchId("q", 2), "c").late == 0
    assert metrics.watermark == dt.datetime(2024, 3, 18, 11)  # of the partition that is behind


def test_a_warehouse_that_is_busy_is_waited_for(sink, tmp_path):
    """Another writer holds SQLite for longer than a connection waits, less than the patience."""
    impatient = create_engine(sink.engine.url, connect_args={"timeout": 0.05})
    work = applier(SalesSink(impatient), patience_s=30.0)
    held, go = threading.Event(), threading.Event()

    def hold():
        with sink.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            held.set()
            go.wait(20)
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    go.set()
    work.apply(batch(work, event()), BatchId("q", 0), "c")
    thread.join()
    impatient.dispose()
    assert rows(sink) == [(1, 5263)]


def test_patience_ends(sink):
    impatient = create_engine(sink.engine.url, connect_args={"timeout": 0.05})
    work = applier(SalesSink(impatient), patience_s=0.3)
    with sink.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(ServiceError, match="sales cannot be stored"):
            work.apply(batch(work, event()), BatchId("q", 0), "c")
    impatient.dispose()
    assert rows(sink) == []
    assert committed_offsets(sink.engine, "c") == {}


def test_who_is_told_to_stop_is_not_patient(sink):
    stop = Stop()
    stop.set()
    impatient = create_engine(sink.engine.url, connect_args={"timeout": 0.05})
    work = Applier(SalesSink(impatient), Ingest("nowhere:1", late_after=100_000), Metrics("sales"), stop=stop)
    with sink.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(ServiceError):
            work.apply(batch(work, event()), BatchId("q", 0), "c")
    impatient.dispose()


def test_dead_letters_that_have_become_events_are_applied_once(sink):
    work = applier(sink)
    work.apply(batch(work, event(store=3), event(store=4), b"{"), BatchId("q", 0), "c")
    wider = Rules(RULES.now, stores=frozenset({1, 2, 3, 4}))
    done = replay_dead(sink, wider, reason="unknown store 3")
    assert (done.tried, done.applied, done.changed) == (1, 1, 1)
    done = replay_dead(sink, wider)
    assert (done.tried, done.applied, done.changed) == (2, 1, 1)
    done = replay_dead(sink, wider)
    assert (done.tried, done.applied, done.changed) == (1, 0, 0)
    assert rows(sink) == [(3, 5263), (4, 5263)]
    status = read_status(sink.engine)
    assert (status.dead, status.replayed) == (1, 2)


def test_only_letters_that_wait_can_be_named(sink):
    work = applier(sink)
    work.apply(batch(work, b"{"), BatchId("q", 0), "c")
    with pytest.raises(DataError, match="no dead letter"):
        replay_dead(sink, RULES, ids=[1, 77])


def test_the_status_of_an_empty_warehouse(sink):
    status = read_status(sink.engine).to_dict()
    expected = dict.fromkeys(("batches", "rows", "dead", "replayed"), 0) | {"rows_per_s": None, "last_batch": None}
    assert status == {**expected, "partitions": []}


def test_the_status_of_a_stream(sink):
    work = applier(sink)
    for number in range(3):
        told = batch(work, event(), event(store=2), first=2 * number)
        work.apply(told, BatchId("q", number), "c")
    status = read_status(sink.engine)
    assert (status.batches, status.rows, status.dead) == (3, 6, 0)
    assert [(item.consumer, item.partition, item.next_offset, item.lag) for item in status.partitions] == [
        ("c", 0, 6, None)
    ]
    assert status.rows_per_s > 0


def test_the_rules_of_now_follow_the_shops_clock():
    utc, ahead = (rules_now(None, 10, zone) for zone in ("UTC", "Pacific/Kiritimati"))  # 14 hours ahead
    assert ahead.last_day in (utc.last_day, utc.last_day + dt.timedelta(days=1))
    assert (ahead.last_day > utc.last_day) == (utc.now.hour >= 10)
