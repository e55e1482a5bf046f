"""The warehouse through the command line, in a file."""

import datetime as dt
import json
import sqlite3

import polars as pl
import pytest

from foretail.warehouse.database import open_warehouse
from foretail.warehouse.sales import EVENT_SCHEMA, SalesSink

FIRST = dt.date(2024, 1, 1)


@pytest.fixture
def filled(elsewhere):
    """Ten weeks of two shops in the warehouse of the default home."""
    rows = [
        {
            **dict.fromkeys(EVENT_SCHEMA, None),
            "store": store,
            "productname": "a",
            "date": FIRST + dt.timedelta(day),
            "sales": 10 * store + day % 7,
            "open": 1,
            "promo": day % 2,
            "event_id": f"{store}-{day}",
            "event_time": dt.datetime(2024, 1, 1, 20) + dt.timedelta(day),
        }
        for store in (1, 2)
        for day in range(70)
    ]
    SalesSink(open_warehouse(f"sqlite:///{elsewhere}/.foretail/warehouse.db")).write(
        pl.DataFrame(rows, schema=EVENT_SCHEMA)
    )
    return elsewhere


def test_init_makes_the_tables_and_may_be_repeated(foretail, elsewhere):
    for _ in range(2):
        result = foretail("warehouse", "init", "--json")
        assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["warehouse"].endswith(".foretail/warehouse.db")
    with sqlite3.connect(elsewhere / ".foretail" / "warehouse.db") as connection:
        assert connection.execute("SELECT version_num FROM foretail_version").fetchall() == [(told["revision"],)]
    connection.close()


def test_a_password_is_not_shown(foretail, monkeypatch):
    monkeypatch.setenv("FORETAIL_WAREHOUSE", "postgresql://anna:secret@127.0.0.1:1/none")
    result = foretail("warehouse", "init")
    assert result.exit_code == 1
    assert "secret" not in result.stdout + result.stderr
    assert "anna" in result.stderr
    result = foretail("check", "postgresql://anna:secret@127.0.0.1:1/none")
    assert result.exit_code == 1
    assert "secret" not in result.stdout + result.stderr


def test_status_counts(foretail, filled):
    counts = {row["table"]: row for row in json.loads(foretail("warehouse", "status", "--json").stdout)}
    assert counts["rossman_sales"] == {
        "table": "rossman_sales",
        "rows": 140,
        "first": "2024-01-01",
        "last": "2024-03-10",
    }
    assert "rossman_sales" in foretail("warehouse", "status").stdout


def test_roles_are_refused_for_a_file(foretail, elsewhere):
    result = foretail("warehouse", "roles")
    assert result.exit_code == 2
    assert "an SQLite file has no roles" in result.stderr


def test_the_warehouse_is_a_table_like_others(foretail, filled):
    result = foretail("check", "warehouse", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["n_series"], report["n_periods"], report["last"]) == (2, 69, "2024-03-09")
    elsewhere = foretail("check", "rossmann", "--data", f"sqlite:///{filled}/.foretail/warehouse.db", "--json")
    assert json.loads(elsewhere.stdout) == report


def test_a_plan_is_taken_in(foretail, filled):
    days = [FIRST + dt.timedelta(day) for day in range(70, 74)]
    pl.DataFrame({"store": 1, "productname": "a", "date": days, "promo": 1}).write_csv("plan.csv")
    assert json.loads(foretail("warehouse", "plan", "plan.csv", "--json").stdout) == {"rows": 4, "changed": 4}
    assert "4 store-days planned, 4 of them new" in foretail("warehouse", "plan", "plan.csv").stdout
    result = foretail("check", "warehouse", "--json")
    assert "are planned for 6 of 84" in result.stdout
    pl.DataFrame({"store": ["x"], "productname": "a", "date": days[:1], "promo": 1}).write_csv("plan.csv")
    assert foretail("warehouse", "plan", "plan.csv").exit_code == 3


def test_what_was_told_about_a_day_is_shown(foretail, filled):
    told = pl.DataFrame(
        [
            {
                **dict.fromkeys(EVENT_SCHEMA, None),
                "store": 1,
                "productname": "a",
                "date": FIRST,
                "sales": 99,
                "event_id": "restated",
                "event_time": dt.datetime(2024, 1, 5),
            }
        ],
        schema=EVENT_SCHEMA,
    )
    SalesSink(open_warehouse(f"sqlite:///{filled}/.foretail/warehouse.db")).write(told)
    rows = json.loads(foretail("warehouse", "history", "1", "a", "2024-01-01", "--json").stdout)
    assert [(row["sales"], row["replaced_at"] is None) for row in rows] == [(10, False), (99, True)]
    assert "99" in foretail("warehouse", "history", "1", "a", "2024-01-01").stdout
    refused = foretail("warehouse", "history", "1", "a", "2031-01-01")
    assert refused.exit_code == 2 and "nothing was told about that day" in refused.stderr
