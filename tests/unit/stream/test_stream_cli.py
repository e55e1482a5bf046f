"""What the verbs of the stream refuse before anything is started, and what they show of a warehouse of one file."""

import json

import pytest
from click.testing import CliRunner

from foretail.cli.main import cli


@pytest.fixture
def foretail(tmp_path, monkeypatch):
    monkeypatch.delenv("FORETAIL_KAFKA", raising=False)
    monkeypatch.delenv("FORETAIL_SPARK_JARS", raising=False)
    monkeypatch.setenv("FORETAIL_WAREHOUSE", f"sqlite:///{tmp_path / 'warehouse.db'}")
    monkeypatch.setenv("FORETAIL_HOME", str(tmp_path))
    return lambda *words: CliRunner().invoke(cli, ["stream", *words])


@pytest.mark.parametrize("engine", ["python", "spark"])
def test_somebody_has_to_say_where_kafka_is(foretail, engine):
    done = foretail("ingest", "--engine", engine)
    assert done.exit_code == 2
    assert "--brokers HOST:PORT" in done.output


def test_produce_has_to_be_told_too(foretail):
    done = foretail("produce", "synthetic")
    assert done.exit_code == 2
    assert "FORETAIL_KAFKA" in done.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ingest", "--timezone", "Mars/Olympus"), 2, "unknown time zone"),
        (("ingest", "--stores", "nothing.csv"), 3, "nothing.csv"),
        (("ingest", "--engine", "flink"), 2, "flink"),
        (("produce", "synthetic:weekly-5k", "--brokers", "127.0.0.1:1"), 2, "only daily sales"),
        (("produce", "synthetic", "--restated", "1.5"), 2, "1.5"),
        (("dead", "replay", "seventeen"), 2, "seventeen"),
        (("dead", "replay", "17"), 3, "no dead letter that waits has this id"),
    ],
)
def test_refused(foretail, words, code, said):
    done = foretail(*words)
    assert done.exit_code == code
    assert said in done.output


def test_a_checkpoint_stands_against_beginning_anew(foretail, tmp_path):
    checkpoint = tmp_path / "here"
    checkpoint.mkdir()
    done = foretail("ingest", "--brokers", "127.0.0.1:1", "--from-start", "--checkpoint", str(checkpoint))
    assert done.exit_code == 2
    assert f"delete {checkpoint}" in done.output
    assert checkpoint.exists()


def test_a_new_warehouse_has_an_empty_status(foretail):
    done = foretail("status", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["partitions"] == []
    assert "0 batches" in foretail("status").stdout


def test_a_new_warehouse_has_no_dead_letters(foretail):
    done = foretail("dead", "list", "--json")
    assert json.loads(done.stdout) == []
    assert json.loads(foretail("dead", "replay", "--json").stdout) == {"tried": 0, "applied": 0, "changed": 0}
