"""The warehouse in a real PostgreSQL: what SQLite cannot show of it, and that it says the same otherwise."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from polars.testing import assert_frame_equal
from scripts.services.postgres import Postgres

from foretail.core.errors import DataError, ForetailError, ServiceError, UsageError
from foretail.sources.database import connect, read_transaction
from foretail.sources.open import open_table
from foretail.warehouse.bulk import copy_rows
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.dead_letters import list_dead
from foretail.warehouse.forecasts import read_forecasts, write_forecasts
from foretail.warehouse.jobs import Jobs
from foretail.warehouse.partitions import ensure_partitions
from foretail.warehouse.reading import day_history, read_sales, table_counts
from foretail.warehouse.roles import grant_roles
from foretail.warehouse.sales import Accepted, BatchId, SalesSink, committed_offsets
from foretail.warehouse.tables import VERSION_TABLE, metadata
from foretail.warehouse.versions import FleetRun, latest_versions, write_fleet

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "warehouse"))
from sales_cases import Event, clear, expected, frame, held, histories, write_all

_PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'rossman_sales'::regclass ORDER BY 1"


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    engine = open_warehouse(database)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Iterator[sa.Engine]:
    engine = open_warehouse(postgres.create("warehouse_of_many"))
    yield engine
    engine.dispose()


def many(n_stores: int, n_days: int, number: int = 0, hour: int = 0) -> list[Event]:
    return [
        Event(store, day, sales=store * day, hour=hour, number=number)
        for store in range(1, n_stores + 1)
        for day in range(1, n_days + 1)
    ]


def partitions(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text(_PARTITIONS)).scalars())


def test_the_migrations_make_the_tables_that_the_code_means(engine: sa.Engine) -> None:
    write_all(engine, [[Event()]])

    def is_ours(_: Any, name: str | None, kind: str, *__: Any) -> bool:
        return kind != "table" or name in metadata.tables

    options = {"version_table": VERSION_TABLE, "compare_type": True, "include_object": is_ours}
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


@given(told=histories())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_order_nor_repetition_nor_batches_matter(shared: sa.Engine, told: Any) -> None:
    wanted = expected(event for batch in told[0] for event in batch)
    for deliveries in told:
        clear(shared)
        write_all(shared, deliveries)
        assert held(shared) == wanted


@given(told=histories())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_writers_at_once_come_to_the_same(shared: sa.Engine, told: Any) -> None:
    wanted = expected(event for batch in told[0] for event in batch)
    clear(shared)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda deliveries: write_all(shared, deliveries), told))
    assert held(shared) == wanted


def test_writers_of_large_batches_do_not_block_each_other_for_ever(engine: sa.Engine) -> None:
    events = [event for number in range(3) for event in many(40, 40, number, hour=number)]
    parts = [frame(events[i::4]) for i in range(4)] + [frame(events[i::3]) for i in range(3)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(SalesSink(engine).write, parts))
    assert held(engine) == expected(events)


def test_a_batch_is_applied_once_by_two_at_once(engine: sa.Engine) -> None:
    events = frame(many(20, 20))
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: SalesSink(engine).write(events, batch=BatchId("q", 1)), range(4)))
    assert sorted(accepted.rows for accepted in done) == [0, 0, 0, 400]


def test_each_month_that_is_written_has_its_partition(engine: sa.Engine) -> None:
    write_all(engine, [[Event(day=1), Event(day=40), Event(day=400)], [Event(day=2)]])
    assert partitions(engine) == ["rossman_sales_2024_03", "rossman_sales_2024_04", "rossman_sales_2025_04"]
    with engine.connect() as connection:
        plan = connection.execute(sa.text("EXPLAIN SELECT * FROM rossman_sales WHERE date = '2024-04-09'")).scalars()
        assert "rossman_sales_2025_04" not in " ".join(plan)


def test_partitions_are_made_once_by_many(engine: sa.Engine) -> None:
    months = [dt.date(2020, month, 5) for month in range(1, 7)]
    start = threading.Barrier(4)

    def make(_: int) -> int:
        start.wait()
        with engine.begin() as connection:
            return ensure_partitions(connection, months)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert len(partitions(engine)) == 6


@pytest.mark.parametrize(
    "values",
    [
        "(1, '2024-03-01', 'a', 'e', now(), 'stream', now())",  # the store-day twice
        "(NULL, '2024-03-02', 'a', 'e', now(), 'stream', now())",
        "(1, '2024-03-02', 'a', NULL, now(), 'stream', now())",
        "(1, '2031-03-02', 'a', 'e', now(), 'stream', now())",  # a month nobody has made
    ],
)
def test_the_table_itself_refuses_what_cannot_be(engine: sa.Engine, values: str) -> None:
    insert = "INSERT INTO rossman_sales (store, date, productname, event_id, event_time, source, ingested_at) VALUES "
    write_all(engine, [[Event(product="a")]])
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.exec_driver_sql(insert + values)


@pytest.fixture
def users(engine: sa.Engine, postgres: Postgres) -> dict[str, str]:
    """The URLs of two users, one with the rights of each role."""
    name = str(engine.url.database)
    roles = {"writer": f"w_{name}", "reader": f"r_{name}"}
    grant_roles(engine, **roles)
    assert len(grant_roles(engine, **roles)) > 10, "granting again changes nothing and does no harm"
    urls = {}
    with psycopg.connect(postgres.url.removesuffix("foretail") + name, autocommit=True) as connection:
        for role, granted in roles.items():
            user = f"u{role}_{name}"
            connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{postgres.password}'")
            connection.execute(f"GRANT {granted} TO {user}")
            urls[role] = f"postgresql://{user}:{postgres.password}@127.0.0.1:{postgres.port}/{name}"
    return urls


def test_the_writer_may_do_its_work(engine: sa.Engine, users: dict[str, str]) -> None:
    mine = open_warehouse(users["writer"])
    dead = pl.DataFrame({"topic": ["t"], "partition": [0], "offset": [1], "value": [b"x"], "reason": ["no"]})
    sink = SalesSink(mine)
    sink.write(frame(many(2, 40)), dead, batch=BatchId("q", 1), offsets={("t", 0): 2}, consumer="c")
    assert sink.write(frame(many(2, 40, number=1, hour=1)), batch=BatchId("q", 2)).changed == 80
    job = Jobs(mine).submit("train", 1, "product_A")
    assert Jobs(mine).take("w") is not None
    assert Jobs(mine).finish(job.job_id)
    write_fleet(mine, RUN, versions(3))
    for _ in range(2):
        write_forecasts(mine, forecasts(3), dataset="shops", run_id="r")
    assert read_forecasts(mine, "shops").height == 21
    mine.dispose()


_FORBIDDEN = {
    "writer": [
        "DELETE FROM rossman_sales",
        "DELETE FROM forecast_results",
        "DELETE FROM jobs",
        "TRUNCATE rossman_sales",
        "UPDATE rossman_sales_replaced SET sales = 1",
        "DELETE FROM rossman_sales_replaced",
        "UPDATE dead_letters SET value = 'x'",
        "UPDATE series_versions SET version = 9",
        "DROP TABLE rossman_sales",
        "CREATE TABLE mine (x integer)",
        f"UPDATE {VERSION_TABLE} SET version_num = '1'",
        "INSERT INTO rossman_sales_2024_03 SELECT * FROM rossman_sales",
        "CREATE ROLE friend",
    ],
    "reader": [
        "INSERT INTO jobs (job_id) VALUES ('x')",
        "UPDATE rossman_sales SET sales = 0",
        "DELETE FROM rossman_sales",
        "SELECT * FROM dead_letters",
        "SELECT rossman_sales_partition('2030-01-01')",
        "CREATE TABLE mine (x integer)",
        f"UPDATE {VERSION_TABLE} SET version_num = '1'",
    ],
}


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_what_a_role_may_not_is_refused(engine: sa.Engine, users: dict[str, str], role: str) -> None:
    write_all(engine, [[Event()]])
    with psycopg.connect(users[role], autocommit=True) as connection:
        for statement in _FORBIDDEN[role]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_reader_reads(engine: sa.Engine, users: dict[str, str]) -> None:
    write_all(engine, [many(2, 3), [Event(store=1, day=9, hour=300)]])
    mine = open_warehouse(users["reader"])
    assert read_sales(mine).height == 7
    assert day_history(mine, 1, "product_A", dt.date(2024, 3, 2)).height == 1
    assert latest_versions(mine, "shops").is_empty()
    assert Jobs(mine).list() == ()
    with pytest.raises(ForetailError, match=r"permission denied[\s\S]*fix:"):
        SalesSink(mine).write(frame([Event()]))
    mine.dispose()
    assert open_table(users["reader"]).frame.height == 7


def test_roles_need_names_and_a_server(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both roles"):
        grant_roles(engine, "same", "same")
    with pytest.raises(UsageError, match="no roles"):
        grant_roles(open_warehouse(f"sqlite:///{tmp_path / 'w.db'}"))
    grant_roles(engine, 'odd "name"; DROP TABLE jobs', f"reader_{engine.url.database}")
    assert {row["table"] for row in table_counts(engine)} >= {"jobs"}


def test_a_crash_before_the_commit_leaves_nothing(own_postgres: Postgres) -> None:
    engine = open_warehouse(own_postgres.url)
    sink = SalesSink(engine)
    sink.write(frame([Event(store=99)]), batch=BatchId("q", 0), offsets={("t", 0): 1}, consumer="c")

    class Crash(SalesSink):
        """Its server dies when all is copied and nothing committed."""

        def _take(self, connection: sa.Connection, told: pl.DataFrame) -> Accepted:
            super()._take(connection, told)
            own_postgres.kill()
            return Accepted()

    batch = {"batch": BatchId("q", 1), "offsets": {("t", 0): 7}, "consumer": "c"}
    with pytest.raises(ServiceError, match="sales cannot be stored"):
        Crash(engine).write(frame(many(50, 40)), **batch)
    with pytest.raises(ServiceError):
        read_sales(engine)
    own_postgres.start()
    assert len(held(engine)[0]) == 1
    assert partitions(engine) == ["rossman_sales_2024_03"]
    assert committed_offsets(engine, "c") == {("t", 0): 1}
    assert sink.write(frame(many(50, 40)), **batch).changed == 2000
    assert committed_offsets(engine, "c") == {("t", 0): 7}
    engine.dispose()


def test_a_reader_sees_one_moment(engine: sa.Engine) -> None:
    count = sa.text("SELECT count(*), max(sales) FROM rossman_sales")
    write_all(engine, [[Event(sales=1)]])
    with read_transaction(engine, "sales cannot be read") as connection:
        before = connection.execute(count).one()
        write_all(engine, [[Event(sales=2, number=1, hour=1), Event(day=2)]])
        assert connection.execute(count).one() == before == (1, 1)
        with pytest.raises(sa.exc.DBAPIError, match="read-only"):
            connection.execute(sa.text("DELETE FROM rossman_sales"))
    with read_transaction(engine, "sales cannot be read") as connection:
        assert connection.execute(count).one() == (2, 100)


def test_ten_workers_take_each_job_once(engine: sa.Engine) -> None:
    jobs = Jobs(engine)
    wanted = sorted(jobs.submit("train", store, "a").job_id for store in range(60))
    start = threading.Barrier(10)

    def work(number: int) -> list[str]:
        start.wait()
        taken = []
        while (job := jobs.take(f"w{number}")) is not None:
            taken.append(job.job_id)
            jobs.finish(job.job_id, worker=f"w{number}")
        return taken

    with ThreadPoolExecutor(10) as pool:
        taken = [job_id for mine in pool.map(work, range(10)) for job_id in mine]
    assert sorted(taken) == wanted
    assert jobs.counts()["SUCCEEDED"] == 60


def test_a_job_that_is_being_taken_is_passed_over(engine: sa.Engine) -> None:
    jobs = Jobs(engine)
    first, second = jobs.submit("train", 1, "a"), jobs.submit("train", 2, "a")
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT 1 FROM jobs WHERE job_id = :id FOR UPDATE"), {"id": first.job_id})
        taken = jobs.take("w")  # would wait here for ever
        assert taken is not None
        assert taken.job_id == second.job_id


def test_ten_at_once_hand_in_one_job(engine: sa.Engine) -> None:
    jobs = Jobs(engine)
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda i: jobs.submit("train", 1, "a", "key" if i % 2 else None).job_id, range(10)))
    assert len(set(found)) == 1


RUN = FleetRun("r1", "shops", "prophet", dt.date(2024, 3, 1), "7", 3, "done", dt.datetime(2024, 3, 2))


def versions(n: int) -> pl.DataFrame:
    return pl.DataFrame({"store": range(1, n + 1)}).select(
        pl.format("{}/product_A", "store").alias("unique_id"),
        pl.col("store").cast(pl.Int32),
        *(pl.lit(value).alias(name) for name, value in {"productname": "product_A", "bundle": "b"}.items()),
        *(pl.lit(value).alias(name) for name, value in {"status": "trained", "metrics": "{}"}.items()),
        pl.lit(True).alias("is_champion"),
    )


def test_writers_of_versions_never_give_one_number_twice(engine: sa.Engine) -> None:
    def write(_: int) -> list[int]:
        return write_fleet(engine, RUN, versions(3))["version"].to_list()

    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(write, range(8)))
    assert sorted(given) == [[i] * 3 for i in range(1, 9)]
    assert latest_versions(engine, "shops").select("store", "productname", "version", "is_champion").rows() == [
        (store, "product_A", 8, True) for store in (1, 2, 3)
    ]
    assert latest_versions(engine, "shops", ["2/product_A"], champions=True)["version"].to_list() == [8]


def forecasts(n: int, version: str = "1") -> pl.DataFrame:
    days = pl.DataFrame({"step": range(1, 8)}, schema={"step": pl.Int32})
    frame = versions(n).select("unique_id", "store", "productname").join(days, how="cross")
    value = pl.col("store") * 1000 + pl.col("step") / 3
    return frame.select(
        "unique_id",
        (pl.lit(dt.date(2024, 3, 1)) + pl.duration(days="step")).alias("ds"),
        pl.lit(dt.date(2024, 3, 1)).alias("cutoff"),
        "step",
        value.alias("y_hat"),
        *(value.mul(share).alias(name) for name, share in (("q2_5", 0.5), ("q50", 1.0), ("q97_5", 1.7))),
        *(pl.lit(text).alias(name) for name, text in (("model", "tab\t\\N"), ("model_version", version))),
        pl.lit("model", pl.String).alias("source"),
        "store",
        "productname",
    )


def test_forecasts_are_read_as_they_were_written(engine: sa.Engine) -> None:
    told = forecasts(200)
    assert write_forecasts(engine, told, dataset="shops", run_id="r1") == 1400
    order = told.sort("unique_id", "ds")
    assert_frame_equal(read_forecasts(engine, "shops").select(told.columns), order, check_exact=True)
    one = read_forecasts(engine, "shops", unique_ids=["7/product_A"], first=dt.date(2024, 3, 4), model_version="1")
    assert one["step"].to_list() == [3, 4, 5, 6, 7]


def test_writing_forecasts_again_changes_their_values_only(engine: sa.Engine) -> None:
    write_forecasts(engine, forecasts(5), dataset="shops", run_id="r1")
    changed = forecasts(9).with_columns(y_hat=pl.lit(1.5))
    for _ in range(2):
        write_forecasts(engine, changed, dataset="shops", run_id="r2")
    write_forecasts(engine, forecasts(5, "2"), dataset="shops", run_id="r3")
    read = read_forecasts(engine, "shops")
    assert read.filter(pl.col("model_version") == "1")["y_hat"].unique().to_list() == [1.5]
    assert read.height == 9 * 7 + 5 * 7


def test_one_known_forecast_among_many_new_ones(engine: sa.Engine) -> None:
    """None of the few keys that are looked at is known: the copy meets the known one and gives way."""
    every = forecasts(30)
    write_forecasts(engine, every.filter((pl.col("store") == 17) & (pl.col("step") == 4)), dataset="a", run_id="old")
    write_forecasts(engine, every, dataset="a", run_id="new")
    assert read_forecasts(engine, "a")["run_id"].unique().to_list() == ["new"]


def test_nothing_of_forecasts_that_fail_is_kept(engine: sa.Engine) -> None:
    broken = forecasts(5).with_columns(pl.when(pl.col("store") < 5).then("y_hat").alias("y_hat"))
    with pytest.raises(ForetailError, match=r"null value[\s\S]*fix:"):
        write_forecasts(engine, broken, dataset="a", run_id="r")
    with pytest.raises(DataError, match="share series and date"):
        write_forecasts(engine, pl.concat([forecasts(2), forecasts(1)]), dataset="a", run_id="r")
    assert read_forecasts(engine, "a").is_empty()


def test_what_looks_like_syntax_is_copied_as_it_is(engine: sa.Engine) -> None:
    texts = ["\\.", "\\N", "", "a\tb", "two\nlines", "back\\slash", "\r", '"', "ü€", "'; DROP TABLE jobs; --"]
    values = [b"\x00\xff", b"", b"\\x41", None]
    dead = pl.DataFrame(
        {
            "topic": texts,
            "partition": 0,
            "offset": range(len(texts)),
            "value": [values[i % 4] for i in range(len(texts))],
            "reason": texts,
        },
        schema_overrides={"value": pl.Binary},
    )
    SalesSink(engine).write(frame([]), dead)
    listed = list_dead(engine)
    assert listed["topic"].to_list() == texts
    assert listed["value"].to_list() == dead["value"].to_list()
    write_all(engine, [[Event(product=text, number=i) for i, text in enumerate(texts)], [Event(day=9, hour=300)]])
    assert sorted(read_sales(engine)["productname"]) == sorted([*texts, "product_A"])


def test_rows_copied_into_a_table_that_lacks_a_column(engine: sa.Engine) -> None:
    with pytest.raises(psycopg.errors.UndefinedColumn), engine.begin() as connection:
        copy_rows(connection, "jobs", pl.DataFrame({"nothing": [1]}))


def test_the_panel_is_that_of_the_file(engine: sa.Engine, database: str, tmp_path: Path) -> None:
    events = [many(3, 60), [Event(day=70, hour=24 * 75, number=5)], [Event(3, 5, 7, hour=50, number=9)]]
    small = open_warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    for warehouse in (engine, small):
        write_all(warehouse, events)
    of_server, of_file = open_table(database), open_table(f"sqlite:///{tmp_path / 'w.db'}")
    assert_frame_equal(of_server.frame, of_file.frame)
    assert of_server.future is not None
    assert of_file.future is not None
    assert_frame_equal(of_server.future, of_file.future)


def test_a_server_that_is_not_there(postgres: Postgres) -> None:
    url = f"postgresql://nobody:secret@127.0.0.1:{postgres.port}/none"
    start = time.monotonic()
    for call in (lambda: open_warehouse(url), lambda: read_sales(connect(url))):
        with pytest.raises(ForetailError) as error:
            call()
        assert "secret" not in str(error.value)
    assert time.monotonic() - start < 10
