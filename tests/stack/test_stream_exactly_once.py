"""Whatever is killed in the middle of whatever: in the end every store-day is what an independent count makes of it."""

import shutil
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from scripts.services.kafka import Kafka
from scripts.services.postgres import Postgres
from scripts.services.spark import spark_jars
from stack_stream import BAD, Ingest, Ingests, Truth, batches, check, read_topic, send_sales, until, waiting

TOPIC = "sales"
BATCH = ("--batch", "1500", "--trigger", "0.2", "--patience", "120")


@contextmanager
def held(database: str, table: str):
    """No transaction gets past its first write to the table meanwhile."""
    with closing(psycopg.connect(database)) as connection:
        connection.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


@pytest.fixture
def ingests():
    with closing(Ingests()) as started:
        yield started


@pytest.fixture
def told(own_kafka: Kafka) -> Truth:
    """The topic is filled; what it comes to."""
    own_kafka.create_topic(TOPIC, 3)
    sent = send_sales(own_kafka.address, TOPIC)
    messages = read_topic(own_kafka.address, TOPIC)
    assert len(messages) == sent > 14_000
    truth = Truth.of(messages)
    assert len(truth.dead) == len(BAD)
    assert len(truth.sales) < len(truth.statements) < sent - len(BAD)  # restated ones and repeated ones are there
    return truth


def killed_in_transaction(ingest: Ingest, table: str) -> None:
    """Killed, Python and Java together, while the batch's transaction is open and has written."""
    with held(ingest.database, table):
        until(lambda: ingest.check_alive() and waiting(ingest.database), "a transaction in the middle")
        before = batches(ingest.database)
        ingest.kill()
    until(lambda: not waiting(ingest.database), "the end of what was killed")
    assert batches(ingest.database) == before


def java_killed_in_transaction(ingest: Ingest, table: str) -> None:
    """Only Spark's Java is killed: Python has to notice, and to end with an error; its transaction may yet be done."""
    with held(ingest.database, table):
        until(lambda: ingest.check_alive() and waiting(ingest.database), "a transaction in the middle")
        ingest.kill_java()
    assert ingest.wait() == 1
    log = ingest.log.read_text(encoding="utf-8", errors="replace").splitlines()  # Spark's own threads may speak last
    assert [line for line in log if line.startswith("error: ")][-1].startswith("error: Spark's Java has ended")


def killed_after_commit(ingest: Ingest, checkpoint: Path | None) -> None:
    """Killed when the warehouse has committed, and Spark not yet."""
    before = batches(ingest.database)
    until(lambda: ingest.check_alive() and batches(ingest.database) > before, "a commit")
    ingest.kill()
    if checkpoint is not None:
        last = max(int(path.name) for path in (checkpoint / "offsets").iterdir() if path.name.isdigit())
        for path in (checkpoint / "commits").glob(f"*{last}*"):
            path.unlink()  # where the kill was a moment late
        assert not (checkpoint / "commits" / str(last)).exists()


@pytest.mark.parametrize("engine", ["python", "spark"])
def test_nothing_is_lost_and_nothing_counts_twice(
    engine: str,
    own_kafka: Kafka,
    own_postgres: Postgres,
    told: Truth,
    ingests: Ingests,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    if engine == "spark":
        monkeypatch.setenv("FORETAIL_SPARK_JARS", str(spark_jars()[0].parent))
    url = own_postgres.url
    checkpoint = tmp_path / "checkpoints" / f"{TOPIC}-foretail" if engine == "spark" else None

    def start(*more: str) -> Ingest:
        return ingests.start(tmp_path, engine, own_kafka.address, TOPIC, url, *BATCH, *more)

    first = start("--continuous")
    until(lambda: first.check_alive() and batches(url), "the first batch")
    killed_in_transaction(first, "rossman_sales")

    kill = java_killed_in_transaction if engine == "spark" else killed_in_transaction
    kill(start("--continuous"), "rossman_sales_replaced")

    third = start("--continuous")
    killed_after_commit(third, checkpoint)

    fourth = start("--continuous")
    with held(url, "rossman_sales"):
        until(lambda: fourth.check_alive() and waiting(url), "a transaction in the middle")
        own_postgres.kill()
    own_postgres.start()
    after = batches(url)
    until(lambda: fourth.check_alive() and batches(url) > after, "a batch after the database came back")
    own_kafka.kill()
    own_kafka.start()
    if batches(url) * 1_500 < 14_000:  # it was not through before the broker died
        after = batches(url)
        until(lambda: fourth.check_alive() and batches(url) > after, "a batch after the broker came back")
    fourth.kill()

    assert start("--once").wait() == 0
    check(url, told)

    if checkpoint is None:
        again = start("--once", "--from-start")
    else:
        shutil.rmtree(checkpoint)
        again = start("--once")
    assert again.wait() == 0
    check(url, told)
    with psycopg.connect(url) as connection:
        seen = connection.execute("SELECT sum(rows) FROM stream_batches").fetchone()
    assert seen[0] >= 2 * (len(told.statements))  # it was all read twice
