"""Versions of a fleet in a real SQLite warehouse: counted for each series, never rewritten."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from sales_cases import file_url

from foretail.core.errors import DataError
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.versions import (
    FleetRun,
    fleet_run_list,
    latest_versions,
    model_id,
    version_history,
    write_fleet,
)

RUN = FleetRun("r1", "shops", "prophet", dt.date(2024, 3, 1), "7", 2, "done", dt.datetime(2024, 3, 2), summary={"a": 1})


def rows(*stores: int, **changes: object) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "unique_id": [f"{store}/product_A" for store in stores],
            "store": list(stores),
            "productname": ["product_A"] * len(stores),
            "bundle": ["bundles/7"] * len(stores),
            "status": ["trained"] * len(stores),
            "metrics": [{"wape": store / 10} for store in stores],
            "is_champion": [True] * len(stores),
        },
        schema_overrides={"store": pl.Int32},
    )
    return frame.with_columns(pl.lit(value).alias(name) for name, value in changes.items())


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_warehouse(file_url(tmp_path))


def test_each_series_counts_its_own_versions(engine: sa.Engine) -> None:
    assert write_fleet(engine, RUN, rows(1, 2)).sort("unique_id").rows() == [("1/product_A", 1), ("2/product_A", 1)]
    again = replace(RUN, run_id="r2", n_series=1)
    assert write_fleet(engine, again, rows(2)).rows() == [("2/product_A", 2)]
    newest = latest_versions(engine, "shops")
    assert newest["version"].to_list() == [1, 2]
    assert newest["run_id"].to_list() == ["r1", "r2"]
    assert newest["model_id"].to_list() == [model_id(1, "product_A"), "prophet-retail-forecaster-store-2-product_A"]
    assert [json.loads(text) for text in newest["metrics"]] == [{"wape": 0.1}, {"wape": 0.2}]
    assert latest_versions(engine, "shops", ["2/product_A", "9/x"])["version"].to_list() == [2]
    assert latest_versions(engine, "shops", [f"{i}/x" for i in range(3000)] + ["1/product_A"]).height == 1
    assert latest_versions(engine, "others").is_empty()


def test_a_version_that_failed_its_gate_is_newest_but_not_served(engine: sa.Engine) -> None:
    write_fleet(engine, RUN, rows(1))
    write_fleet(engine, replace(RUN, run_id="r2"), rows(1, is_champion=False, status="failed", reason="worse"))
    newest, served = latest_versions(engine, "shops"), latest_versions(engine, "shops", champions=True)
    assert newest.select("version", "status", "reason", "is_champion").rows() == [(2, "failed", "worse", False)]
    assert served.select("version", "status", "reason", "is_champion").rows() == [(1, "trained", None, True)]
    assert version_history(engine, "shops", "1/product_A")["version"].to_list() == [2, 1]


def test_series_of_other_keys_have_no_store(engine: sa.Engine) -> None:
    write_fleet(engine, RUN, rows(1).drop("store", "productname"))
    assert latest_versions(engine, "shops").select("store", "productname", "model_id").rows() == [
        (None, None, "1/product_A")
    ]


def test_a_run_is_written_once_and_brought_up_to_date(engine: sa.Engine) -> None:
    write_fleet(engine, replace(RUN, status="running"), rows(1, 2).clear())
    ended = replace(RUN, ended=dt.datetime(2024, 3, 2, 1))
    write_fleet(engine, ended, rows(1, 2).clear())
    later = replace(RUN, run_id="r2", started=dt.datetime(2024, 3, 9))
    write_fleet(engine, later, rows(1))
    assert fleet_run_list(engine, "shops") == [later, ended]
    assert fleet_run_list(engine, limit=1) == [later]
    assert fleet_run_list(engine, "others") == []


def test_writers_at_once_never_give_one_number_twice(engine: sa.Engine) -> None:
    def write(i: int) -> list[int]:
        return write_fleet(engine, replace(RUN, run_id=f"r{i}"), rows(1, 2))["version"].to_list()

    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(write, range(8)))
    assert sorted(given) == [[i, i] for i in range(1, 9)]


def test_what_cannot_be_written(engine: sa.Engine) -> None:
    with pytest.raises(DataError, match=r"lack the column 'bundle'[\s\S]*lack the column 'status'"):
        write_fleet(engine, RUN, rows(1).drop("bundle", "status"))
    with pytest.raises(DataError, match=r"unknown status great[\s\S]*1 series occur more than once"):
        write_fleet(engine, RUN, rows(1, 1, status="great"))
    assert fleet_run_list(engine) == []
