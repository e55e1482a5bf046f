"""A version made from the warehouse forecasts from what has been ingested since, and is not fitted again."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from sales_cases import Event, file_url, frame

from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.models.profile import Profile
from foretail.pipelines.anomalies import anomalies_version
from foretail.pipelines.forecast import forecast_version
from foretail.pipelines.request import Request
from foretail.pipelines.train import train_request
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.sales import SalesSink

H = 7


def days(first: int, last: int, level: int = 100) -> list[Event]:
    """A statement a day of two stores; Sundays are closed."""
    return [
        Event(
            day=day,
            hour=24 * (day - 1),
            number=day,
            store=store,
            sales=0 if day % 7 == 3 else level * store + 20 * (day % 7) + 9 * (day * store % 5),
        )
        for store in (1, 2)
        for day in range(first, last + 1)
    ]


def ingest(engine: sa.Engine, events: list[Event]) -> None:
    SalesSink(engine).write(frame(events).with_columns(open=(pl.col("sales") > 0).cast(pl.Int32)))


def test_what_was_ingested_moves_the_forecast_of_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = file_url(tmp_path)
    settings = Settings.load(home=tmp_path / "home", warehouse=url, workers=1)
    engine = open_warehouse(url)
    ingest(engine, days(1, 120))
    request = Request("warehouse", horizon=H, models=("profile",), name="shops")
    train_request(request, tmp_path / "out", settings, Silent())

    def refused(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(Profile, "fit", refused)

    def ask(table: str) -> pl.DataFrame:
        out = tmp_path / "answers"
        return forecast_version(
            "shops", table=table, future=None, horizon=None, out=out, settings=settings, progress=Silent()
        )

    before = ask("warehouse")
    ingest(engine, days(121, 135, level=200))
    after = ask("warehouse")
    assert after["cutoff"].unique().item() == before["cutoff"].unique().item() + dt.timedelta(days=15)
    assert after["y_hat"].sum() > 1.15 * before["y_hat"].sum()
    assert after.height == before.height == 2 * H
    assert ask(url).drop("model_version").equals(after.drop("model_version"))
    found = anomalies_version("shops", table="warehouse", out=tmp_path / "days", settings=settings, progress=Silent())
    assert found.frame.filter(pl.col("size") > 0).height > 10
