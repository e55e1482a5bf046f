"""A small fleet: nine series, of which one has ended, one never sold and one is five days old; and what trains it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.fleet import FleetRequest, FleetResult, fleet_train
from foretail.pipelines.request import Request
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

FLEET = "corner-shops"
DAYS, H = 150, 7
ENDED, NEVER, SHORT, GONE = "1/1", "1/2", "1/3", "2/1"
NOWHERE = "http://127.0.0.1:9"  # the discard port, on which nothing listens


def world() -> SyntheticWorld:
    """Nine series, complete, shut on Sundays."""
    return generate(
        SyntheticConfig(
            start_date=dt.date(2024, 1, 1),
            periods=DAYS,
            stores=3,
            products=3,
            horizon=H,
            opening_share=0.0,
            closing_share=0.0,
            intermittent_share=0.0,
        )
    )


def write_sales(folder: Path) -> Path:
    """``sales.parquet``, ``future.parquet`` and their spec; gives the spec's path."""
    made = world()
    last = made.frame["date"].max()
    assert isinstance(last, dt.date)
    series = pl.concat_str("store_id", "product_id", separator="/")
    age = (pl.lit(last) - pl.col("date")).dt.total_days()
    units = pl.when(series == NEVER).then(0).when((series == ENDED) & (age < 90)).then(0).otherwise("units")
    frame = made.frame.with_columns(units.cast(pl.Int64).alias("units"))
    frame = frame.filter(((series != SHORT) | (age < 5)) & ((series != GONE) | (age >= 130)))
    future = made.future.filter(series != GONE)
    frame.write_parquet(folder / "sales.parquet")
    future.write_parquet(folder / "future.parquet")
    spec = made.spec.but(name=FLEET).to_toml()
    path = folder / "spec.toml"
    path.write_text(f'table = "sales.parquet"\nfuture = "future.parquet"\n{spec}', encoding="utf-8")
    return path


def settings_of(home: Path) -> Settings:
    """A home without a registry: what it holds is tested in the registry's own tests."""
    return Settings(home=home, tracking_uri=NOWHERE, workers=1)


def request_of(spec: Path, family: str = "prophet") -> FleetRequest:
    """The fleet of the files."""
    return FleetRequest(Request(str(spec)), family=family)


def train(spec: Path, home: Path, family: str = "prophet") -> FleetResult:
    """Train it."""
    return fleet_train(request_of(spec, family), settings_of(home), Silent())


def later(spec: Path, days: int) -> None:
    """Let some days pass: the sales of the last weeks come again that much later, and so does the future."""
    folder, shift = spec.parent, pl.duration(days=days)
    sales = pl.read_parquet(folder / "sales.parquet")
    last = sales["date"].max()
    more = sales.with_columns((pl.col("date") + shift).cast(pl.Date)).filter(pl.col("date") > last)
    pl.concat([sales, more]).write_parquet(folder / "sales.parquet")
    future = pl.read_parquet(folder / "future.parquet")
    future.with_columns((pl.col("date") + shift).cast(pl.Date)).write_parquet(folder / "future.parquet")


__all__ = [
    "DAYS",
    "ENDED",
    "FLEET",
    "GONE",
    "NEVER",
    "SHORT",
    "H",
    "later",
    "request_of",
    "settings_of",
    "train",
    "world",
    "write_sales",
]
