"""A warehouse of an earlier foretail is brought up to date with what it holds, and back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sales_cases import file_url

from foretail.warehouse.database import open_warehouse
from foretail.warehouse.forecasts import read_forecasts

_OLD = """
INSERT INTO forecast_results (dataset, unique_id, forecast_date, forecast_value, model_name, model_version, created_on,
    run_id, cutoff, step, quantiles, source)
VALUES ('shops', '1', '2024-03-02', 7.5, 'theta', '1', '2024-03-01 00:00:00.000000', 'r', '2024-03-01', 1,
    '{"q10": 5.0}', 'model')
"""


def to_revision(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "foretail.warehouse:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    (command.upgrade if revision == "0001" else command.downgrade)(config, "0001")


def test_forecasts_of_an_earlier_foretail_are_kept(tmp_path: Path) -> None:
    old = sa.create_engine(file_url(tmp_path))
    with old.begin() as connection:
        to_revision(connection, "0001")
        connection.exec_driver_sql(_OLD)
    engine = open_warehouse(file_url(tmp_path))
    (row,) = read_forecasts(engine, "shops").iter_rows(named=True)
    assert (row["y_hat"], row["q10"], row["store"], row["ds"]) == (7.5, 5.0, None, dt.date(2024, 3, 2))
    with engine.begin() as connection:
        to_revision(connection, "back")
        assert sa.inspect(connection).get_table_names() == ["forecast_results", "foretail_version"]
        assert connection.exec_driver_sql("SELECT forecast_value FROM forecast_results").scalar() == 7.5
    assert read_forecasts(open_warehouse(file_url(tmp_path)), "shops").height == 1
