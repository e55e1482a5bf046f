"""Forecasts in a real SQLite database: written once, however often, and read back as they were."""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError, ForetailError, UsageError
from foretail.warehouse.database import migrate, open_warehouse
from foretail.warehouse.forecasts import read_forecasts, write_forecasts
from foretail.warehouse.tables import REVISION, VERSION_TABLE, forecast_results, metadata

CUTOFF = dt.date(2024, 2, 27)


def some_forecasts(n: int = 3, h: int = 4, cutoff: dt.date = CUTOFF, version: str = "1", seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.gamma(3, 5, (n * h, 4)), axis=1)
    steps = np.tile(np.arange(1, h + 1), n)
    return pl.DataFrame(
        {
            "unique_id": [f"store'{i}/é" for i in range(n) for _ in range(h)],
            "ds": [cutoff + dt.timedelta(int(step)) for step in steps],
            "cutoff": cutoff,
            "step": pl.Series(steps, dtype=pl.Int32),
            "y_hat": values[:, 1],
            "q2_5": values[:, 0],
            "q50": values[:, 2],
            "q97_5": values[:, 3],
            "model": "boosting",
            "model_version": version,
            "source": "model",
        }
    )


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_warehouse(f"sqlite:///{tmp_path / 'deep' / 'warehouse.db'}")


def count(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(forecast_results)).scalar_one()


def test_what_was_written_is_read(engine: sa.Engine) -> None:
    frame = some_forecasts()
    assert write_forecasts(engine, frame, dataset="sales", run_id="r1") == 12
    read = read_forecasts(engine, "sales")
    assert_frame_equal(read.select(frame.columns), frame, check_exact=True)
    assert read["run_id"].unique().to_list() == ["r1"]
    assert (dt.datetime.now(dt.UTC).replace(tzinfo=None) - read["created_on"][0]).total_seconds() < 60


def test_the_columns_that_the_outside_world_knows(engine: sa.Engine) -> None:
    frame = some_forecasts(1, 1)
    write_forecasts(engine, frame, dataset="sales", run_id="r1")
    with sqlite3.connect(engine.url.database or "") as connection:
        connection.row_factory = sqlite3.Row
        row = dict(connection.execute("SELECT * FROM forecast_results").fetchone())
    connection.close()
    assert list(row) == [
        *("dataset", "unique_id", "forecast_date", "forecast_sale", "lower_ci", "upper_ci", "model_name"),
        *("model_version", "created_on", "run_id", "cutoff", "step", "quantiles", "source", "store", "productname"),
    ]
    assert (row["forecast_date"], row["cutoff"], row["step"]) == ("2024-02-28", "2024-02-27", 1)
    assert (row["lower_ci"], row["upper_ci"]) == (frame["q2_5"][0], frame["q97_5"][0])
    assert row["quantiles"].startswith('{"q2_5":')


def test_writing_again_changes_nothing_but_the_values(engine: sa.Engine) -> None:
    write_forecasts(engine, some_forecasts(seed=1), dataset="sales", run_id="r1")
    again = some_forecasts(seed=2)
    for _ in range(2):
        write_forecasts(engine, again, dataset="sales", run_id="r2")
    read = read_forecasts(engine, "sales")
    assert_frame_equal(read.select(again.columns), again)
    assert read["run_id"].unique().to_list() == ["r2"]


def test_other_cutoffs_versions_and_datasets_stand_beside(engine: sa.Engine) -> None:
    earlier = CUTOFF - dt.timedelta(1)
    for dataset, cutoff, version in (("a", CUTOFF, "1"), ("a", earlier, "1"), ("a", CUTOFF, "2"), ("b", CUTOFF, "1")):
        write_forecasts(
            engine, some_forecasts(cutoff=cutoff, version=version), dataset=dataset, run_id=f"{cutoff}{version}"
        )
    assert count(engine) == 48
    assert read_forecasts(engine, "a").height == 36
    assert read_forecasts(engine, "a", cutoff=CUTOFF).height == 24
    assert read_forecasts(engine, "a", model_version="2").height == 12
    assert read_forecasts(engine, "a", run_id=f"{earlier}1").height == 12
    assert read_forecasts(engine, "a", unique_ids=["store'1/é"]).height == 12
    assert read_forecasts(engine, "a", unique_ids=["store'1/é"] + [f"x{i}" for i in range(2000)]).height == 12
    assert read_forecasts(engine, "a", unique_ids=[]).height == 0
    assert read_forecasts(engine, "c").height == 0
    within = read_forecasts(engine, "a", first=dt.date(2024, 2, 28), last=dt.date(2024, 2, 29), cutoff=CUTOFF)
    assert within["ds"].unique().sort().to_list() == [dt.date(2024, 2, 28), dt.date(2024, 2, 29)]
    assert within.height == 12


def test_the_latest_answer_for_each_date(engine: sa.Engine) -> None:
    earlier = CUTOFF - dt.timedelta(1)
    at = dt.datetime(2024, 3, 1)
    write_forecasts(engine, some_forecasts(version="2"), dataset="a", run_id="new", created_on=at + dt.timedelta(1))
    write_forecasts(engine, some_forecasts(version="10"), dataset="a", run_id="newest", created_on=at + dt.timedelta(2))
    write_forecasts(engine, some_forecasts(cutoff=earlier), dataset="a", run_id="old", created_on=at + dt.timedelta(3))
    latest = read_forecasts(engine, "a", latest=True)
    assert not latest.select("unique_id", "ds").is_duplicated().any()
    assert latest.filter(pl.col("ds") > CUTOFF)["run_id"].unique().to_list() == ["newest"]
    assert latest.filter(pl.col("ds") == CUTOFF)["run_id"].unique().to_list() == ["old"]


def test_rows_with_other_quantiles_or_none(engine: sa.Engine) -> None:
    write_forecasts(engine, some_forecasts(1, 2).drop("q2_5", "q97_5"), dataset="a", run_id="r")
    write_forecasts(engine, some_forecasts(1, 2, version="2").drop("q2_5", "q50", "q97_5"), dataset="a", run_id="r")
    write_forecasts(engine, some_forecasts(1, 2, version="3"), dataset="a", run_id="r")
    read = read_forecasts(engine, "a")
    assert [name for name in read.columns if name[0] == "q"] == ["q2_5", "q50", "q97_5"]
    assert read.group_by("model_version").agg(pl.col("q50").count(), pl.col("q2_5").count()).sort(
        "model_version"
    ).rows() == [
        ("1", 2, 0),
        ("2", 0, 0),
        ("3", 2, 2),
    ]
    assert read_forecasts(engine, "a", model_version="2").columns[5] == "model"


def test_nothing_of_a_batch_that_fails_is_kept(engine: sa.Engine) -> None:
    frame = some_forecasts(3, 4)
    broken = frame.with_columns(pl.when(pl.int_range(pl.len()) < 11).then(pl.col("y_hat")).alias("y_hat"))
    with pytest.raises(ForetailError, match=r"NOT NULL[\s\S]*where: sqlite[\s\S]*fix:"):
        write_forecasts(engine, broken, dataset="a", run_id="r")
    assert count(engine) == 0


def test_two_answers_in_one_frame_are_refused(engine: sa.Engine) -> None:
    frame = some_forecasts()
    with pytest.raises(DataError, match="share series and date"):
        write_forecasts(engine, pl.concat([frame, frame[:1]]), dataset="a", run_id="r")
    assert count(engine) == 0


def test_many_rows_go_in_batches(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foretail.warehouse.bulk._SLICE", 7)
    frame = some_forecasts(10, 5)
    assert write_forecasts(engine, frame, dataset="a", run_id="r") == count(engine) == 50


def test_text_is_data_not_sql(engine: sa.Engine) -> None:
    name = "a'; DROP TABLE forecast_results; --"
    write_forecasts(engine, some_forecasts(1, 1), dataset=name, run_id=name)
    assert read_forecasts(engine, name, run_id=name).height == 1


def test_the_migrations_make_the_tables_that_the_code_means(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
    folder = Path(sys.modules["foretail.warehouse"].__path__[0]) / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == REVISION


def test_a_current_warehouse_needs_no_alembic(engine: sa.Engine) -> None:
    script = (
        "import sys; from foretail.warehouse.database import open_warehouse\n"
        "open_warehouse(sys.argv[1]); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(engine.url)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_migrating_is_quiet_and_leaves_logging_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    level = logging.getLogger().level
    with caplog.at_level(logging.WARNING):
        open_warehouse(f"sqlite:///{tmp_path / 'new.db'}")
    assert caplog.records == []
    assert logging.getLogger().level == level


def test_several_processes_open_a_new_warehouse_at_once(tmp_path: Path) -> None:
    script = "import sys; from foretail.warehouse.database import open_warehouse; open_warehouse(sys.argv[1])"
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    talk = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, talk
    assert count(open_warehouse(url)) == 0


def test_a_warehouse_of_the_future_is_refused(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(ForetailError, match="does not know"):
        migrate(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == "9999"


@pytest.mark.parametrize("url", ["nonsense", "foo://x/y", "mysql+nodriver://x/y"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        open_warehouse(url)


def test_a_place_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, and long enough to be seen as something else" * 20)
    for path in (tmp_path / "file", tmp_path / "file" / "below.db"):
        with pytest.raises(ForetailError, match=r"does not answer[\s\S]*fix:"):
            open_warehouse(f"sqlite:///{path}")
