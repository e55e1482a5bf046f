"""Known public layouts, read from their original files: Walmart and Rossmann; the one place that knows them by name."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.sources.files import read_frame
from foretail.sources.parsing import parse_dates
from foretail.sources.table import Table

__all__ = ["FILES", "read_rossmann", "read_walmart"]

# the files that make a folder the layout's folder
FILES: dict[str, tuple[str, ...]] = {
    "walmart": ("train.csv", "features.csv", "stores.csv"),
    "rossmann": ("train.csv", "store.csv"),
}

_MARKDOWNS = tuple(f"MarkDown{i}" for i in range(1, 6))
_WALMART_PAST = ("Temperature", "Fuel_Price", "CPI", "Unemployment")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept", "Oct", "Nov", "Dec")
# a competitor open for two years is no news any more
_COMPETITION_MONTHS = 24


def read_walmart(folder: Path) -> Table:
    """Weekly sales of 45 stores x departments, weeks that end on Friday.

    ``stores.csv`` ends its lines in a bare CR, missing values are ``NA``, markdowns are told only from November 2011
    on, and returns make some weeks negative: all of this is kept as told.

    Parameters
    ----------
    folder : holds ``train.csv``, ``features.csv``, ``stores.csv`` and, for the weeks to forecast, ``test.csv``.

    Raises
    ------
    DataError : files or columns that are missing.
    """
    features = _read(
        folder, "features.csv", ("Store", "Date", "IsHoliday", *_WALMART_PAST, *_MARKDOWNS), ("Store", "Date")
    )
    features = features.with_columns(pl.col(*_MARKDOWNS).cast(pl.Float64))
    stores = _read(folder, "stores.csv", ("Store", "Type", "Size"), ("Store",))
    train = _read(folder, "train.csv", ("Store", "Dept", "Date", "Weekly_Sales", "IsHoliday"))
    frame = train.join(features.drop("IsHoliday"), on=["Store", "Date"], how="left", maintain_order="left")
    frame = frame.join(stores, on="Store", how="left", maintain_order="left")
    spec = DatasetSpec(
        keys=("Store", "Dept"),
        time="Date",
        target="Weekly_Sales",
        freq="W-FRI",
        horizon=39,
        name="walmart",
        unit="USD",
        static=("Type", "Size"),
        known=("IsHoliday", *_MARKDOWNS),
        past=tuple(PastCovariate(name) for name in _WALMART_PAST),
        gaps="missing",
        country="US",
    )
    return Table(frame, spec, _walmart_future(folder, features), tuple(_walmart_notes(frame)))


def _walmart_future(folder: Path, features: pl.DataFrame) -> pl.DataFrame | None:
    """Every week of ``test.csv`` for every series of it: the file leaves weeks out whose covariates are known."""
    if not (folder / "test.csv").exists():
        return None
    test = _read(folder, "test.csv", ("Store", "Dept", "Date"))
    series = test.select("Store", "Dept").unique(maintain_order=True)
    weeks = test.select("Date").unique().sort("Date")
    known = features.select("Store", "Date", "IsHoliday", *_MARKDOWNS)
    every = series.join(weeks, how="cross", maintain_order="left_right")
    return every.join(known, on=["Store", "Date"], how="left", maintain_order="left")


def _walmart_notes(frame: pl.DataFrame) -> list[str]:
    negative = int((frame["Weekly_Sales"] < 0).sum())
    told = frame.filter(pl.any_horizontal(pl.col(*_MARKDOWNS).is_not_null()))["Date"].min()
    return [
        f"{negative} of {len(frame)} weeks have negative sales (more returns than sales); they are kept",
        f"markdowns are told from {told!s} on; before that they are unknown, not zero",
    ]


def read_rossmann(folder: Path) -> Table:
    """Daily sales of 1,115 stores.

    Closed days are told by ``Open`` (their sales are 0); 180 stores have no rows for half a year in 2014, which is a
    closure and not a run of zeros; ``StateHoliday`` mixes 0, "0", a, b, c and is text here; ``Open`` is missing for
    some rows of ``test.csv`` and means open there.

    Parameters
    ----------
    folder : holds ``train.csv``, ``store.csv`` and, for the days to forecast, ``test.csv``.

    Raises
    ------
    DataError : files or columns that are missing.
    """
    days = ("Store", "Date", "Open", "Promo", "StateHoliday", "SchoolHoliday")
    stores = _read(folder, "store.csv", _ROSSMANN_STORE, ("Store",))
    train = _read(folder, "train.csv", (*days, "Sales", "Customers"))
    frame = _with_store(_clean_days(train), stores)
    test = _read(folder, "test.csv", days) if (folder / "test.csv").exists() else None
    future = None if test is None else _with_store(_clean_days(test), stores).select(*_ROSSMANN_FUTURE)
    spec = DatasetSpec(
        keys=("Store",),
        time="Date",
        target="Sales",
        freq="D",
        horizon=42,
        name="rossmann",
        unit="EUR",
        static=("StoreType", "Assortment", "CompetitionDistance", "Promo2"),
        known=_ROSSMANN_KNOWN,
        past=(PastCovariate("Customers"),),
        open="Open",
        gaps="missing",
        country="DE",
    )
    return Table(frame, spec, future, tuple(_rossmann_notes(frame, test)))


_ROSSMANN_STORE = (
    "Store",
    "StoreType",
    "Assortment",
    "CompetitionDistance",
    "CompetitionOpenSinceYear",
    "CompetitionOpenSinceMonth",
    "Promo2",
    "Promo2SinceYear",
    "Promo2SinceWeek",
    "PromoInterval",
)
_ROSSMANN_KNOWN = ("Open", "Promo", "StateHoliday", "SchoolHoliday", "CompetitionMonths", "Promo2Month")
_ROSSMANN_FUTURE = ("Store", "Date", *_ROSSMANN_KNOWN)


def _clean_days(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("Open").fill_null(1), pl.col("StateHoliday").cast(pl.String))


def _with_store(days: pl.DataFrame, stores: pl.DataFrame) -> pl.DataFrame:
    joined = days.join(stores, on="Store", how="left", maintain_order="left")
    months = pl.col("Date").dt.year() * 12 + pl.col("Date").dt.month()
    opened = pl.col("CompetitionOpenSinceYear") * 12 + pl.col("CompetitionOpenSinceMonth")
    return joined.with_columns(
        (months - opened).clip(0, _COMPETITION_MONTHS).cast(pl.Float64).alias("CompetitionMonths"),
        _is_promo2_month().cast(pl.Int8).alias("Promo2Month"),
    ).drop(
        "CompetitionOpenSinceYear", "CompetitionOpenSinceMonth", "Promo2SinceYear", "Promo2SinceWeek", "PromoInterval"
    )


def _is_promo2_month() -> pl.Expr:
    """Whether a round of the continuing promotion begins in the month of the row, once the store takes part in it."""
    month = pl.col("Date").dt.month().replace_strict(range(1, 13), list(_MONTHS), return_dtype=pl.String)
    year, week = pl.col("Date").dt.iso_year(), pl.col("Date").dt.week()
    since = pl.col("Promo2SinceYear") * 100 + pl.col("Promo2SinceWeek")
    in_round = pl.col("PromoInterval").str.split(",").list.contains(month)
    started = year.cast(pl.Int64) * 100 + week.cast(pl.Int64) >= since
    return ((pl.col("Promo2") == 1) & in_round & started).fill_null(False)


def _rossmann_notes(frame: pl.DataFrame, test: pl.DataFrame | None) -> list[str]:
    closed = int((frame["Open"] == 0).sum())
    per_store = frame.group_by("Store").len()["len"]
    short = int((per_store < per_store.max()).sum())
    notes = [
        f"{closed} of {len(frame)} days are closed; they are told by Open, not learned",
        f"{short} stores have days without rows; those days are unknown, not zero",
    ]
    if test is not None and test["Open"].null_count():
        notes.append(f"Open is missing in {test['Open'].null_count()} rows to forecast and is taken as open")
    return notes


def _read(folder: Path, name: str, columns: tuple[str, ...], key: tuple[str, ...] = ()) -> pl.DataFrame:
    """One original file with its dates read; refuses a file that lacks the layout's columns or repeats its key."""
    frame = read_frame(str(folder / name))
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        where = f"{folder / name}: no {', '.join(missing)}"
        raise DataError(Problem("the file is not the layout's original", where, "unpack the original files again"))
    if key and frame.select(key).is_duplicated().any():
        first = frame.filter(frame.select(key).is_duplicated()).select(key).row(0)
        where = f"{folder / name}: {', '.join(map(str, first))}"
        raise DataError(Problem(f"a {' and '.join(key)} is there more than once", where, "keep one line of it"))
    return parse_dates(frame, "Date") if "Date" in columns else frame
