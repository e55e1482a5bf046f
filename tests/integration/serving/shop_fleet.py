"""A small trained fleet in a home of its own: two shops, three products, daily sales with a promotion."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.fleet import FleetRequest, fleet_train
from foretail.pipelines.request import Request

FLEET = "shops"
CUTOFF = "2024-06-30"
STORES, PRODUCTS = (1, 2), ("product_A", "product_B", "product_C")


@dataclass(frozen=True)
class FleetWorld:
    """A home whose warehouse holds version 1 of six series, and the table that they were trained on."""

    home: Path
    table: Path
    settings: Settings


def sales() -> pl.DataFrame:
    """140 days up to the cutoff; shut on Sundays, a promotion every other week that is known for four more weeks."""
    days = pl.date_range(pl.date(2024, 2, 12), pl.date(2024, 7, 28), eager=True)
    rng = np.random.default_rng(5)
    parts = []
    for store in STORES:
        for level, product in enumerate(PRODUCTS, start=2):
            weekday, promo = days.dt.weekday().to_numpy(), (np.arange(len(days)) // 7) % 2
            mean = 40.0 * level * store * (1 + 0.2 * (weekday == 5)) * (1 + 0.3 * promo)
            sold = np.where(weekday == 7, 0, rng.poisson(mean))
            values = {"date": days, "sales": sold, "promo": promo, "open": (weekday != 7).astype(int)}
            parts.append(pl.DataFrame(values).with_columns(store=pl.lit(store), productname=pl.lit(product)))
    frame = pl.concat(parts)
    return frame.with_columns(sales=pl.when(pl.col("date") <= pl.date(2024, 6, 30)).then("sales"))


def make_fleet(folder: Path, warehouse: str = "") -> FleetWorld:
    """Train it."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "sales.csv"
    sales().write_csv(table)
    settings = Settings(home=folder / "home", workers=1, warehouse=warehouse)
    request = Request(
        table=str(table),
        keys=("store", "productname"),
        time="date",
        target="sales",
        freq="D",
        known=("promo", "open"),
        country="none",
        name=FLEET,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own making
        fleet_train(FleetRequest(request, fleet=FLEET, n_windows=2), settings, Silent())
    return FleetWorld(settings.home, table, settings)
