"""Small Parquet sources, and plans over them, for the tests of the offline store."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl

from foretail.features.offline.entities import EntityRows, entity_rows
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.plan import JoinPlan, ViewJoin

T0 = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def sales(n_stores: int = 7, n_days: int = 12, seed: int = 0) -> pl.DataFrame:
    """Rows of every store and day, some restated later, of numbers, texts, truths, dates and gaps."""
    rng = np.random.default_rng(seed)
    n = n_stores * n_days
    frame = pl.DataFrame(
        {
            "store_id": np.repeat(np.arange(n_stores), n_days),
            "event_timestamp": [T0 + DAY * day for day in range(n_days)] * n_stores,
            "created_timestamp": [T0 + DAY * day for day in range(n_days)] * n_stores,
            "amount": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "count": pl.Series(rng.integers(0, 9, n)).set(pl.Series(rng.random(n) < 0.2), None),
            "label": [f"label {i % 5}" for i in range(n)],
            "is_open": rng.random(n) < 0.8,
            "day": [(T0 + DAY * day).date() for day in range(n_days)] * n_stores,
        }
    )
    again = frame.filter(pl.Series(rng.random(n) < 0.3)).with_columns(
        pl.col("created_timestamp") + DAY * 3, pl.col("amount") + 100
    )
    return pl.concat([frame, again])


def stores(n_stores: int = 7) -> pl.DataFrame:
    """One row per store."""
    return pl.DataFrame(
        {"store_id": range(n_stores), "event_timestamp": [T0] * n_stores, "size": [10.0 * i for i in range(n_stores)]}
    )


def asked(n: int = 60, seed: int = 1) -> pl.DataFrame:
    """Entity rows in no order, some twice: known, unknown and no stores, before, within and after the days."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "note": [f"row {i}" for i in range(n)],
            "store_id": pl.Series(rng.integers(-1, 9, n)).set(pl.Series(rng.random(n) < 0.1), None),
            "event_timestamp": [T0 + dt.timedelta(hours=int(hour)) for hour in rng.integers(-48, 400, n)],
        }
    )
    return pl.concat([frame, frame.head(n // 4)])


def plan(folder: Path, entities: object = None, *, ttl: dt.timedelta | None = None, as_known: bool = False) -> JoinPlan:
    """Both views joined to entity rows."""
    sales().write_parquet(folder / "sales.parquet", row_group_size=20)
    stores().write_parquet(folder / "stores.parquet")
    names = ("amount", "count", "label", "is_open", "day")
    life = None if ttl is None else ttl // dt.timedelta(microseconds=1)
    return JoinPlan(
        rows(asked() if entities is None else entities),
        (
            ViewJoin(
                ParquetSource("sales_features", str(folder / "sales.parquet")),
                "event_timestamp",
                "created_timestamp",
                (("store_id", "store_id"),),
                tuple((name, name) for name in names),
                life,
            ),
            ViewJoin(
                ParquetSource("store_features", str(folder / "stores.parquet")),
                "event_timestamp",
                None,
                (("store_id", "store_id"),),
                (("size", "size"),),
                None,
            ),
        ),
        as_known,
    )


def rows(given: object) -> EntityRows:
    """Entity rows of a frame or an address."""
    return entity_rows(given)
