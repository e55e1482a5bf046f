"""Tables of sales as plain CSV files, made from data at hand that is not the block the accuracy benchmark reports.

Daily and weekly, 7 to some thousand series, dense and sparse, with and without covariates. Every cutoff lies before the
last block of its source, so a choice made on these tables has not seen what `benchmarks.accuracy` prints.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.data import layout_folder
from foretail.core.frequency import Frequency
from foretail.sources.online_retail import read_online_retail, trading_days
from foretail.sources.synthetic import SyntheticConfig, generate

__all__ = ["CASES", "Case", "cut"]

_STORES = 100


@dataclass(frozen=True)
class Case:
    """One table, cut at a date.

    Attributes
    ----------
    name : what it is called.
    history : what the CSV holds, up to the cutoff.
    actual : the key columns, the time column and the target of the rows to score.
    future : the key columns, the time column and the known columns of the horizon; None without covariates.
    keys, time, target, horizon, known : as on the command line.
    """

    name: str
    history: pl.DataFrame
    actual: pl.DataFrame
    future: pl.DataFrame | None
    keys: tuple[str, ...]
    time: str
    target: str
    horizon: int
    known: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """The meaning of the columns in the words of `foretail.sources.open.open_table`."""
        return {
            "keys": self.keys,
            "time": self.time,
            "target": self.target,
            "horizon": self.horizon,
            "known": self.known,
        }

    def write(self, folder: Path) -> tuple[Path, Path | None]:
        """Write the CSV files; gives the paths of the history and of the future."""
        folder.mkdir(parents=True, exist_ok=True)
        sales = folder / "sales.csv"
        self.history.write_csv(sales)
        if self.future is None:
            return sales, None
        self.future.write_csv(folder / "future.csv")
        return sales, folder / "future.csv"

    def arguments(self, sales: Path, future: Path | None) -> list[str]:
        """What follows ``foretail run``: the file and the roles of its columns, no tuning."""
        roles = ["--keys", ",".join(self.keys), "--time", self.time, "--target", self.target]
        covariates = ["--known", ",".join(self.known)] if self.known else []
        ahead = ["--future", str(future)] if future is not None else []
        return [str(sales), *roles, "--horizon", str(self.horizon), *covariates, *ahead]


def cut(
    name: str,
    frame: pl.DataFrame,
    *,
    keys: tuple[str, ...],
    time: str,
    target: str,
    freq: str,
    horizon: int,
    cutoff: dt.date,
    known: tuple[str, ...] = (),
) -> Case:
    """Cut a table of sales at a date; rows to score are those of series that were seen before."""
    frame = frame.select(*keys, time, target, *known).sort(*keys, time)
    end = Frequency(freq).shift(cutoff, horizon)
    history = frame.filter(pl.col(time) <= cutoff)
    later = frame.filter((pl.col(time) > cutoff) & (pl.col(time) <= end))
    later = later.join(history.select(keys).unique(), on=keys, how="semi", maintain_order="left")
    future = later.select(*keys, time, *known) if known else None
    return Case(name, history, later.select(*keys, time, target), future, keys, time, target, horizon, known)


def online_retail_daily() -> Case | None:
    """Units a day per product of a gift shop: thousands of sparse series, the trading calendar known."""
    return _online_retail("online retail, daily", "D", 28, dt.date(2011, 9, 30), with_calendar=True)


def online_retail_weekly() -> Case | None:
    """Units a week per product of a gift shop: thousands of series of a year or two, no covariates."""
    return _online_retail("online retail, weekly", "W-SUN", 8, dt.date(2011, 9, 25), with_calendar=False)


def _online_retail(name: str, freq: str, horizon: int, cutoff: dt.date, *, with_calendar: bool) -> Case | None:
    folder = layout_folder("online_retail")
    if folder is None:
        return None
    told = read_online_retail(folder, freq=freq).frame
    keys = ("stock_code",)
    final = _last_told(told, keys)
    at_cutoff = _last_told(told.filter(pl.col("recorded") <= cutoff), keys).filter(pl.col("date") <= cutoff)
    frame = pl.concat([at_cutoff, final.filter(pl.col("date") > cutoff)])
    if with_calendar:
        by_rule = trading_days(cutoff + dt.timedelta(days=1), frame["date"].max()).rename({"day": "date"})  # type: ignore[arg-type]
        frame = frame.join(by_rule, on="date", how="left", suffix="_by_rule").with_columns(
            pl.coalesce("open_by_rule", "open").alias("open")
        )
    return cut(
        name,
        frame,
        keys=keys,
        time="date",
        target="quantity",
        freq=freq,
        horizon=horizon,
        cutoff=cutoff,
        known=("open",) if with_calendar else (),
    )


def _last_told(told: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """One row per cell: the version written last."""
    return told.sort("recorded").unique([*keys, "date"], keep="last", maintain_order=True)


def online_retail_countries() -> Case | None:
    """Revenue a day of a gift shop in the seven countries abroad that buy most often: few, erratic series."""
    folder = layout_folder("online_retail")
    if folder is None:
        return None
    lines = pl.concat([_lines(path, place) for place, path in enumerate(sorted(folder.glob("*.parquet")))])
    lines = lines.filter(pl.col("file") == pl.col("file").max().over("invoice")).unique()
    lines = lines.filter((pl.col("quantity") > 0) & (pl.col("price") > 0) & (pl.col("country") != "United Kingdom"))
    per_day = lines.group_by("country", "date").agg(
        (pl.col("quantity") * pl.col("price")).sum().round(2).alias("sales")
    )
    often = per_day.group_by("country").len().sort("len", "country", descending=[True, False]).head(7)
    span = per_day.group_by("country").agg(pl.col("date").min().alias("first"))
    days = pl.DataFrame({"date": pl.date_range(per_day["date"].min(), per_day["date"].max(), eager=True)})  # type: ignore[arg-type]
    grid = (
        often.select("country")
        .join(span, on="country")
        .join(days, how="cross")
        .filter(pl.col("date") >= pl.col("first"))
    )
    frame = grid.join(per_day, on=["country", "date"], how="left").with_columns(pl.col("sales").fill_null(0.0))
    cutoff = dt.date(2011, 10, 2)
    return cut(
        "online retail, countries",
        frame,
        keys=("country",),
        time="date",
        target="sales",
        freq="D",
        horizon=28,
        cutoff=cutoff,
    )


def _lines(path: Path, place: int) -> pl.DataFrame:
    """Invoice lines under one set of names, whichever of the two files they are from."""
    names = {"Invoice": "invoice", "InvoiceNo": "invoice", "Price": "price", "UnitPrice": "price"}
    frame = pl.read_parquet(path)
    frame = frame.rename({name: names[name] for name in frame.columns if name in names})
    return frame.select(
        pl.col("invoice").cast(pl.String),
        pl.col("StockCode").cast(pl.String),
        pl.col("Quantity").cast(pl.Int64).alias("quantity"),
        pl.col("price").cast(pl.Float64),
        pl.col("Country").cast(pl.String).alias("country"),
        pl.col("InvoiceDate").cast(pl.Datetime("us")).alias("at"),
        pl.col("InvoiceDate").cast(pl.Date).alias("date"),
        pl.lit(place).alias("file"),
    ).filter(~pl.col("invoice").str.starts_with("C"))


def walmart_stores() -> Case | None:
    """Weekly totals of 45 stores, 8 weeks of autumn."""
    return _walmart("walmart, store totals", "Store", dt.date(2011, 9, 30))


def walmart_departments() -> Case | None:
    """Weekly totals of 81 departments, 8 weeks around Christmas."""
    return _walmart("walmart, department totals", "Dept", dt.date(2011, 11, 25))


def _walmart(name: str, key: str, cutoff: dt.date) -> Case | None:
    folder = layout_folder("walmart")
    if folder is None:
        return None
    sales = pl.read_csv(folder / "train.csv", try_parse_dates=True)
    frame = sales.group_by(key, "Date").agg(pl.col("Weekly_Sales").sum().round(2))
    return cut(name, frame, keys=(key,), time="Date", target="Weekly_Sales", freq="W-FRI", horizon=8, cutoff=cutoff)


def rossmann_plain() -> Case | None:
    """Daily sales of 100 stores with nothing but the date known: closed days must be found in the history."""
    folder = layout_folder("rossmann")
    if folder is None:
        return None
    frame = _rossmann(folder)
    stores = frame["Store"].unique().sort().sample(_STORES, seed=7)
    return cut(
        "rossmann, 100 stores, sales alone",
        frame.filter(pl.col("Store").is_in(stores.implode())),
        keys=("Store",),
        time="Date",
        target="Sales",
        freq="D",
        horizon=28,
        cutoff=dt.date(2015, 4, 30),
    )


def rossmann_weekly() -> Case | None:
    """Weekly sales of 1,115 stores, the days open and the days on promotion known."""
    folder = layout_folder("rossmann")
    if folder is None:
        return None
    week = pl.col("Date").dt.truncate("1w") + pl.duration(days=6)
    frame = (
        _rossmann(folder)
        .group_by("Store", week.alias("week"))
        .agg(
            pl.col("Sales").sum(),
            pl.col("Promo").sum().alias("promo_days"),
            pl.col("Open").sum().alias("open_days"),
            pl.len(),
        )
    )
    return cut(
        "rossmann, weekly",
        frame.filter(pl.col("len") == 7),
        keys=("Store",),
        time="week",
        target="Sales",
        freq="W-SUN",
        horizon=8,
        cutoff=dt.date(2015, 4, 19),
        known=("promo_days", "open_days"),
    )


def _rossmann(folder: Path) -> pl.DataFrame:
    return pl.read_csv(folder / "train.csv", schema_overrides={"StateHoliday": pl.String}, try_parse_dates=True)


def synthetic_intermittent() -> Case:
    """Daily pieces of 400 made-up series, most of which sell now and then; promotion, price and opening known."""
    world = generate(SyntheticConfig(stores=10, products=40, intermittent_share=0.8, horizon=28, seed=11))
    spec = world.spec
    cutoff = world.frame[spec.time].max()
    later = world.truth.filter(pl.col(spec.time) > cutoff).with_columns(pl.col("sales").alias(spec.target))
    history = world.frame.select(*spec.keys, spec.time, spec.target, *spec.known)
    future = world.future.select(*spec.keys, spec.time, *spec.known)
    actual = later.select(*spec.keys, spec.time, spec.target).join(history, on=spec.keys, how="semi")
    return Case("synthetic, intermittent", history, actual, future, spec.keys, spec.time, spec.target, 28, spec.known)


CASES: dict[str, Callable[[], Case | None]] = {
    "walmart-stores": walmart_stores,
    "walmart-departments": walmart_departments,
    "rossmann-plain": rossmann_plain,
    "rossmann-weekly": rossmann_weekly,
    "retail-countries": online_retail_countries,
    "retail-weekly": online_retail_weekly,
    "retail-daily": online_retail_daily,
    "synthetic": synthetic_intermittent,
}
