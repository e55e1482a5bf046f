"""Sales taken in by a real SQLite warehouse: exactly once, newest first, with their history."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from sales_cases import Event, clear, expected, file_url, frame, held, histories, write_all

from foretail.core.errors import DataError, ForetailError
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.dead_letters import list_dead, mark_replayed
from foretail.warehouse.reading import day_history
from foretail.warehouse.sales import Accepted, BatchId, SalesSink, committed_offsets, forget_offsets
from foretail.warehouse.tables import stream_batches


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    return open_warehouse(file_url(tmp_path_factory.mktemp("warehouse")))


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_warehouse(file_url(tmp_path))


def batches(engine: sa.Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(stream_batches))]


@given(told=histories())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_order_nor_repetition_nor_batches_matter(shared: sa.Engine, told: Any) -> None:
    wanted = expected(event for batch in told[0] for event in batch)
    for deliveries in told:
        clear(shared)
        write_all(shared, deliveries)
        assert held(shared) == wanted


def test_what_a_batch_did_is_told(engine: sa.Engine) -> None:
    sink = SalesSink(engine)
    first, second, third = Event(number=1, hour=1), Event(number=2, hour=2, sales=150), Event(number=3, hour=3, sales=9)
    assert sink.write(frame([first, first, Event(store=2, number=9)])) == Accepted(3, 2, 1, 0)
    assert sink.write(frame([third])) == Accepted(1, 1, 0, 0)
    assert sink.write(frame([second])) == Accepted(1, 0, 0, 0), "late: it goes into the history, the day stays"
    assert sink.write(frame([first, second, third])) == Accepted(3, 0, 3, 0)
    assert sink.write(frame([])) == Accepted()


def test_the_history_of_a_day_says_what_replaced_what(engine: sa.Engine) -> None:
    write_all(engine, [[Event(number=1, hour=1)], [Event(number=3, hour=3, sales=9)], [Event(number=2, hour=2)]])
    told = day_history(engine, 1, "product_A", dt.date(2024, 3, 1))
    assert told["event_id"].to_list() == ["e1", "e2", "e3"]
    assert told["sales"].to_list() == [100, 100, 9]
    assert [None if at is None else at.hour for at in told["replaced_at"]] == [14, 15, None]
    assert day_history(engine, 2, "product_A", dt.date(2024, 3, 1)).is_empty()


def test_sources_stand_beside_each_other(engine: sa.Engine) -> None:
    SalesSink(engine, "stream").write(frame([Event(number=1)]))
    SalesSink(engine, "tills").write(frame([Event(number=1, sales=7)]))
    current, told = held(engine)
    assert [row[3] for row in current] == [100, 7]
    assert len(told) == 2


def test_a_batch_is_applied_once(engine: sa.Engine) -> None:
    sink, batch = SalesSink(engine), BatchId("query", 0)
    events = frame([Event(number=1)]).with_columns(partition=pl.lit(0), offset=pl.lit(17))
    dead = dead_letters(offsets=(18, 19))
    assert sink.write(events, dead, batch=batch) == Accepted(1, 1, 0, 2)
    assert sink.write(frame([Event(store=5, number=5)]), batch=batch) == Accepted()
    assert len(held(engine)[0]) == 1
    assert sink.write(frame([Event(store=5, number=5)]), batch=BatchId("other", 0)).changed == 1
    (row,) = [row for row in batches(engine) if row[0] == "query"]
    assert row[1:5] == (0, 1, 1, 2)
    assert (json.loads(row[5]), json.loads(row[6])) == ({"0": 17}, {"0": 19})


def test_offsets_move_with_the_sales_and_never_back(engine: sa.Engine) -> None:
    sink = SalesSink(engine)
    sink.write(frame([Event()]), offsets={("sales", 0): 10, ("sales", 1): 4}, consumer="shop")
    sink.write(frame([]), offsets={("sales", 0): 7, ("sales", 1): 6}, consumer="shop")
    assert committed_offsets(engine, "shop") == {("sales", 0): 10, ("sales", 1): 6}
    assert committed_offsets(engine, "other") == {}
    assert forget_offsets(engine, "shop") == 2
    assert committed_offsets(engine, "shop") == {}


def dead_letters(offsets: tuple[int, ...] = (3, 4)) -> pl.DataFrame:
    n = len(offsets)
    return pl.DataFrame(
        {
            "topic": ["sales"] * n,
            "partition": [0] * n,
            "offset": list(offsets),
            "key": [None] * n,
            "value": [b"\x00\xff{", b'\\.\n"\t'][:n],
            "reason": ["not JSON: \0 at\n1", "no\tstore"][:n],
            "schema_version": ["1", None][:n],
        },
        schema_overrides={"key": pl.Binary},
    )


def test_dead_letters_are_kept_to_the_byte_and_once(engine: sa.Engine) -> None:
    sink = SalesSink(engine)
    assert sink.write(frame([]), dead_letters()).dead == 2
    assert sink.write(frame([]), dead_letters()).dead == 0
    listed = list_dead(engine)
    assert listed["value"].to_list() == [b"\x00\xff{", b'\\.\n"\t']
    assert listed["reason"].to_list() == ["not JSON: \\0 at\n1", "no\tstore"]
    assert listed["schema_version"].to_list() == ["1", None]
    first = listed["id"][0]
    assert mark_replayed(engine, [first]) == 1
    assert mark_replayed(engine, [first, 999]) == 0
    assert list_dead(engine)["offset"].to_list() == [4]
    assert list_dead(engine, is_replayed=True)["offset"].to_list() == [3]
    assert list_dead(engine, is_replayed=None, limit=1).height == 1
    assert list_dead(engine, topic="other").is_empty()


def test_nothing_of_a_batch_that_fails_is_kept(engine: sa.Engine) -> None:
    sink = SalesSink(engine)
    with pytest.raises(DataError, match="dead letters lack reason"):
        sink.write(
            frame([Event()]),
            dead_letters().drop("reason"),
            batch=BatchId("q", 1),
            offsets={("sales", 0): 1},
            consumer="shop",
        )
    with pytest.raises(ForetailError, match=r"NOT NULL[\s\S]*fix:"):
        sink.write(frame([Event()]), dead_letters().with_columns(topic=pl.lit(None, pl.String)), batch=BatchId("q", 1))
    assert held(engine) == ([], [])
    assert batches(engine) == []
    assert committed_offsets(engine, "shop") == {}


def test_events_that_cannot_be_placed_are_refused(engine: sa.Engine) -> None:
    sink = SalesSink(engine)
    with pytest.raises(DataError, match="lack the column 'promo'"):
        sink.write(frame([Event()]).drop("promo"))
    with pytest.raises(DataError, match="1 events have no event_id"):
        sink.write(frame([Event(), Event()]).with_columns(pl.Series("event_id", ["a", None])))


def test_times_with_a_zone_are_told_in_utc(engine: sa.Engine) -> None:
    zoned = frame([Event()]).with_columns(pl.col("event_time").dt.replace_time_zone("Europe/Berlin"))
    SalesSink(engine).write(zoned)
    assert held(engine)[0][0][-2] == dt.datetime(2024, 3, 1, 11)


def test_text_is_data_not_sql(engine: sa.Engine) -> None:
    name = "a'; DROP TABLE rossman_sales; --\t\\N"
    write_all(engine, [[Event(product=name)]])
    assert held(engine)[0][0][9] == name
