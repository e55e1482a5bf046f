"""Sales read from a real SQLite warehouse: whole days only, and what can be said of the days to come."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from sales_cases import Event, file_url, frame, write_all

from foretail.core.errors import DataError, ForetailError, UsageError
from foretail.panel.build import build_panel
from foretail.panel.snapshot import content_version
from foretail.sources.open import open_table
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.plans import PLAN, write_plan
from foretail.warehouse.reading import read_sales, table_counts
from foretail.warehouse.sales import SalesSink

FIRST = dt.date(2024, 3, 1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return file_url(tmp_path)


@pytest.fixture
def engine(url: str) -> sa.Engine:
    return open_warehouse(url)


def on_the_day(day: int, **values: int) -> Event:
    """A statement of the day itself, at noon."""
    return Event(day=day, hour=24 * (day - 1), number=day, **values)


def ten_weeks(n_stores: int = 2) -> list[Event]:
    """A statement a day; Sundays are closed."""
    return [
        on_the_day(day, store=store, sales=0 if day % 7 == 3 else 100 + day)
        for store in range(1, n_stores + 1)
        for day in range(1, 71)
    ]


def written(engine: sa.Engine, events: list[Event]) -> None:
    SalesSink(engine).write(frame(events).with_columns(open=(pl.col("sales") > 0).cast(pl.Int32)))


def test_the_day_being_sold_is_left_out(engine: sa.Engine) -> None:
    write_all(engine, [[on_the_day(1), on_the_day(2)]])
    assert read_sales(engine)["date"].to_list() == [FIRST]
    write_all(engine, [[Event(day=2, hour=30, number=9, sales=180)]])
    assert read_sales(engine)["date"].to_list() == [FIRST], "its sums may still grow"
    write_all(engine, [[on_the_day(3)]])
    assert read_sales(engine).select("date", "sales").rows() == [(FIRST, 100), (FIRST + dt.timedelta(1), 180)]


def test_days_can_be_closed_by_hand(engine: sa.Engine) -> None:
    write_all(engine, [[on_the_day(1), on_the_day(2)]])
    assert read_sales(engine, closed_before=dt.date(2024, 3, 3)).height == 2
    assert read_sales(engine, closed_before=FIRST).is_empty()


def test_part_of_the_days_and_of_the_sources(engine: sa.Engine) -> None:
    write_all(engine, [[on_the_day(day) for day in range(1, 8)]])
    span = read_sales(engine, first=dt.date(2024, 3, 3), last=dt.date(2024, 3, 5))
    assert span["date"].dt.day().to_list() == [3, 4, 5]
    assert read_sales(engine, sources=["tills"]).is_empty()
    assert read_sales(engine, sources=[]).is_empty()
    assert read_sales(engine, sources=["tills", "stream"]).height == 6


def test_of_two_sources_the_newest_figure_counts(engine: sa.Engine) -> None:
    write_all(engine, [[on_the_day(day) for day in range(1, 4)]])
    SalesSink(engine, "tills").write(frame([Event(day=1, hour=30, sales=7, number=50)]))
    SalesSink(engine, "audit").write(frame([Event(day=2, hour=0, sales=8, number=51)]))
    assert read_sales(engine)["sales"].to_list() == [7, 100]


def test_an_empty_warehouse_has_no_days(engine: sa.Engine, url: str) -> None:
    assert read_sales(engine).is_empty()
    with pytest.raises(DataError, match="no day of sales is over yet"):
        open_table(url)


def test_the_table_is_forecast_as_it_is(engine: sa.Engine, url: str) -> None:
    written(engine, ten_weeks())
    table = open_table(url)
    assert (table.spec.keys, table.spec.target, table.spec.open) == (("store", "productname"), "sales", "open")
    assert table.spec.known == ("open", "promo", "stateholiday"), "nobody told of school holidays"
    panel = build_panel(table).panel
    assert (panel.n_series, panel.n_periods, panel.n_future) == (2, 69, 7)
    assert panel.cutoff == dt.date(2024, 5, 8)
    assert panel.closed[:, panel.n_periods :].tolist() == [[False, False, False, True, False, False, False]] * 2, (
        "Sundays stay closed"
    )


def test_the_same_sales_have_the_same_version_however_they_came(tmp_path: Path) -> None:
    events, versions = ten_weeks(), []
    for name, told in (("a", [events]), ("b", [events[50:], events[:60]])):
        url = f"sqlite:///{tmp_path / name}.db"
        for batch in told:
            written(open_warehouse(url), batch)
        versions.append(content_version(build_panel(open_table(url)).panel))
    assert versions[0] == versions[1]
    written(open_warehouse(url), [Event(day=3, hour=24 * 69, number=99, sales=1)])
    assert content_version(build_panel(open_table(url)).panel) != versions[0]


def test_a_plan_says_what_comes(engine: sa.Engine, url: str) -> None:
    written(engine, ten_weeks(1))
    days = [dt.date(2024, 5, 10), dt.date(2024, 5, 11), dt.date(2024, 5, 13)]
    plan = pl.DataFrame(
        {"store": 1, "productname": "product_A", "date": days, "open": [1, 0, 1], "promo": [1, 1, None]}
    )
    assert write_plan(engine, plan, where="plan.csv").changed == 3
    future = open_table(url).future
    assert future is not None
    assert future.filter(pl.col("date").is_in(days)).select("open", "promo").rows() == [(1, 1), (0, 1), (1, 0)]
    assert write_plan(engine, plan.with_columns(open=0), where="plan.csv").changed == 3
    future = open_table(url).future
    assert future is not None
    assert future.filter(pl.col("date").is_in(days))["open"].to_list() == [0, 0, 0]


def test_a_plan_neither_closes_a_day_nor_hides_its_sales(engine: sa.Engine) -> None:
    write_all(engine, [[on_the_day(1), on_the_day(2)]])
    plan = pl.DataFrame({"store": 1, "productname": "product_A", "date": [FIRST, dt.date(2024, 3, 9)], "promo": 1})
    write_plan(engine, plan, where="plan.csv")
    assert read_sales(engine).select("date", "sales", "promo").rows() == [(FIRST, 100, 0)]
    assert read_sales(engine, sources=[PLAN]).is_empty()


def test_plans_that_cannot_be_used(engine: sa.Engine) -> None:
    plan = pl.DataFrame({"store": [1], "productname": ["a"], "date": [FIRST], "promo": ["much"]})
    with pytest.raises(DataError, match=r"1 values of promo cannot be read[\s\S]*whole number"):
        write_plan(engine, plan, where="plan.csv")
    with pytest.raises(DataError, match="says nothing"):
        write_plan(engine, plan.drop("promo"), where="plan.csv")
    with pytest.raises(DataError, match="lacks the column 'store'"):
        write_plan(engine, plan.drop("store"), where="plan.csv")
    with pytest.raises(DataError, match="planned twice"):
        write_plan(engine, pl.concat([plan, plan]).with_columns(promo=1), where="plan.csv")


def test_where_the_warehouse_is(engine: sa.Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written(engine, ten_weeks(1))
    wanted = open_table(url).frame
    assert open_table("rossmann", data=url).frame.equals(wanted)
    assert open_table("warehouse", data=url, horizon=14).spec.horizon == 14
    monkeypatch.setenv("FORETAIL_WAREHOUSE", url)
    assert open_table("warehouse").frame.equals(wanted)
    monkeypatch.delenv("FORETAIL_WAREHOUSE")
    with pytest.raises(UsageError, match=r"not said where the warehouse is[\s\S]*FORETAIL_WAREHOUSE"):
        open_table("warehouse")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such warehouse"):
        open_table(f"sqlite:///{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DataError, match="no URL of a database"):
        open_table("postgresql://host:port/x")
    (tmp_path / "empty.db").touch()
    with pytest.raises(ForetailError, match="no such table"):
        open_table(f"sqlite:///{tmp_path / 'empty.db'}")


def test_what_the_tables_hold(engine: sa.Engine) -> None:
    write_all(engine, [[on_the_day(1), on_the_day(5)]])
    counts = {row["table"]: row for row in table_counts(engine)}
    assert counts["rossman_sales"] == {"table": "rossman_sales", "rows": 2, "first": FIRST, "last": dt.date(2024, 3, 5)}
    assert counts["jobs"] == {"table": "jobs", "rows": 0, "first": None, "last": None}
