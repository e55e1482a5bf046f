"""Online Retail II: two files of dirty invoice lines to clean sales per product; whatever is left out is counted.

The rules, in the order in which they apply:

1. An invoice that a later file holds too is read from the later file (the files overlap by nine days).
2. A line that repeats another one in every column is one line.
3. A last day that ends an hour or more before the earliest end of any other day is incomplete and left out.
4. Products have codes of five digits and up to two letters (or ``DCGS`` and more), in any case; postage, fees,
   vouchers, samples and manual corrections are no products.
5. Lines at price 0 or less are no sales: write-offs, gifts, stock corrections. So are invoices that begin with a letter
   other than C (bad debt).
6. A cancellation (invoice ``C…``, negative quantity) takes its purchase back: the last open purchase before it by the
   same customer of the same product and quantity. The day of the purchase is restated; the restatement is known from
   the day of the cancellation on. A cancellation without such a purchase is left out.
7. Wholesale orders stay, however large, unless they were cancelled.
8. A product is worth forecasting when it was sold in at least 26 weeks.
9. A product's history begins with its first sale; days without a line are days without sales.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.core.frequency import Frequency
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.sources.files import read_frame
from foretail.sources.guess import DEFAULT_HORIZONS
from foretail.sources.invoices import match_cancellations
from foretail.sources.table import Table

__all__ = ["MIN_SELLING_WEEKS", "read_online_retail", "trading_days"]

MIN_SELLING_WEEKS = 26

_NAMES = {
    "Invoice": "invoice",
    "InvoiceNo": "invoice",
    "StockCode": "stock_code",
    "Description": "description",
    "Quantity": "quantity",
    "InvoiceDate": "at",
    "Price": "price",
    "UnitPrice": "price",
    "Customer ID": "customer",
    "CustomerID": "customer",
    "Country": "country",
}
_PRODUCT = r"^(?:\d{5}[A-Z]{0,2}|DCGS\w+)$"
_EARLY_END = dt.timedelta(hours=1)


@dataclass
class _Lines:
    """Invoice lines and what has been left out so far."""

    frame: pl.DataFrame
    notes: list[str] = field(default_factory=list)

    def drop(self, where: pl.Expr, what: str) -> None:
        """Leave lines out and say how many, and how many units."""
        self.keep(self.frame.filter(~where), what)

    def keep(self, rest: pl.DataFrame, what: str) -> None:
        """Go on with the rest and say how much smaller it is."""
        n_out = len(self.frame) - len(rest)
        units = int(self.frame["quantity"].sum()) - int(rest["quantity"].sum())
        self.frame = rest
        if n_out:
            self.notes.append(f"left out {n_out} lines ({units} units): {what}")


def read_online_retail(folder: Path, *, freq: str = "D", horizon: int | None = None) -> Table:
    """Sales per product from the original invoice lines, or from an extract of them.

    Parameters
    ----------
    folder : holds the Parquet files, in any number; their column names may differ as in the originals.
    freq : ``D`` (default), weekly or monthly. Periods that the data do not cover whole are left out.
    horizon : periods for which the trading calendar is given in ``future``; default 28 days, 8 weeks or 6 months.

    Returns
    -------
    A table with ``stock_code``, ``date``, ``quantity`` (units, net of cancellations), ``open`` (daily: 1 on trading
    days; else the number of trading days; 0 is closed), ``price`` (mean price of the last period with a sale, GBP) and
    ``recorded`` (the date on which the row was known; a later row restates an earlier one).

    Raises
    ------
    DataError : no such files, or other columns.
    """
    frequency = Frequency(freq)
    lines = _Lines(_read_lines(folder))
    _clean(lines)
    sales, cancelled = _match(lines)
    sales = _worth_forecasting(sales, lines)
    span = (lines.frame["day"].min(), lines.frame["day"].max())
    calendar = _calendar(lines.frame, frequency, span)  # type: ignore[arg-type]
    sales = _in_whole_periods(sales, calendar, frequency, lines)
    frame = _with_sales(_grid(sales, calendar), sales, cancelled, frequency)
    steps = horizon or DEFAULT_HORIZONS[frequency.noun]
    spec = DatasetSpec(
        keys=("stock_code",),
        time="date",
        target="quantity",
        freq=frequency.code,
        horizon=steps,
        name="online-retail",
        unit="pieces",
        known=("open",),
        past=(PastCovariate("price"),),
        open="open",
        recorded="recorded",
        duplicates="last",
        gaps="zero",
        country="GB",
    )
    return Table(frame, spec, _future(frame, frequency, steps), tuple(lines.notes))


def _read_lines(folder: Path) -> pl.DataFrame:
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if not files:
        raise DataError(
            Problem(
                "no invoice lines", f"no Parquet files in {folder}", "give the folder of Online Retail II by --data"
            )
        )
    frames = sorted((_read_file(path) for path in files), key=lambda frame: frame["at"].min())  # type: ignore[arg-type,return-value]
    return pl.concat([frame.with_columns(file=pl.lit(i)) for i, frame in enumerate(frames)])


def _read_file(path: Path) -> pl.DataFrame:
    frame = read_frame(str(path))
    frame = frame.rename({name: _NAMES[name] for name in frame.columns if name in _NAMES})
    missing = sorted(set(_NAMES.values()) - set(frame.columns))
    if missing:
        where = f"{path}: nothing for {', '.join(missing)}"
        raise DataError(
            Problem("the file holds no invoice lines of Online Retail II", where, "remove it from the folder")
        )
    return frame.select(
        pl.col("invoice").cast(pl.String),
        pl.col("stock_code").cast(pl.String).str.strip_chars().str.to_uppercase(),
        pl.col("description").cast(pl.String),
        pl.col("quantity").cast(pl.Int64),
        pl.col("at").cast(pl.Datetime("us")),
        pl.col("price").cast(pl.Float64),
        pl.col("customer").cast(pl.Int64),
        pl.col("country").cast(pl.String),
        day=pl.col("at").cast(pl.Date),
    )


def _clean(lines: _Lines) -> None:
    """Rules 1 to 5."""
    last_file = pl.col("file").max().over("invoice")
    lines.drop(pl.col("file") < last_file, "their invoices are in a later file too")
    lines.frame = lines.frame.drop("file")
    lines.keep(lines.frame.unique(keep="first", maintain_order=True), "they repeat another line in every column")
    partial = _incomplete_last_day(lines.frame)
    if partial is not None:
        lines.drop(pl.col("day") == partial, f"the last day, {partial}, is incomplete")
    lines.drop(~pl.col("stock_code").str.contains(_PRODUCT), "their stock codes are no products (postage, fees, …)")
    lines.drop(pl.col("invoice").str.contains(r"^[^C\d]"), "their invoices are corrections of the books")
    is_cancelled = pl.col("invoice").str.starts_with("C")
    lines.drop(~is_cancelled & (pl.col("quantity") <= 0), "write-offs and stock corrections")
    lines.drop(pl.col("price") <= 0, "their price is 0, so they are no sales")


def _incomplete_last_day(frame: pl.DataFrame) -> dt.date | None:
    ends = (
        frame.group_by("day").agg((pl.col("at") - pl.col("day").cast(pl.Datetime("us"))).max().alias("end")).sort("day")
    )
    if len(ends) < 3:
        return None
    last: dt.date = ends["day"].item(-1)
    is_early = ends["end"].item(-1) + _EARLY_END <= ends["end"][:-1].min()
    return last if is_early else None


def _match(lines: _Lines) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rule 6: purchases as invoiced, and the purchases that were taken back with the day on which that was known.

    Returns
    -------
    sales : ``stock_code, day, quantity, price``. cancelled : ``stock_code, day, known, quantity``.
    """
    frame = lines.frame.with_columns(is_cancelled=pl.col("invoice").str.starts_with("C"))
    sales = frame.filter(~pl.col("is_cancelled")).select("stock_code", "day", "quantity", "price")
    pairs = match_cancellations(frame)
    cancelled = pairs.select("stock_code", "day", "known", "quantity")
    n_all = int(frame["is_cancelled"].sum())
    units = -int(frame.filter(pl.col("is_cancelled"))["quantity"].sum())
    taken = int(cancelled["quantity"].sum())
    lines.notes.append(f"{len(cancelled)} cancellations ({taken} units) are subtracted from the day of their purchase")
    lines.notes.append(
        f"left out {n_all - len(cancelled)} cancellations ({units - taken} units): no purchase by the same customer of "
        "the same product and quantity comes before them"
    )
    largest = int(sales["quantity"].max() or 0)  # type: ignore[arg-type]
    n_large = int((sales["quantity"] >= 1000).sum())
    lines.notes.append(
        f"{n_large} order lines of 1000 pieces and more are kept unless they were cancelled, the largest of {largest}"
    )
    return sales, cancelled


def _worth_forecasting(sales: pl.DataFrame, lines: _Lines) -> pl.DataFrame:
    """Rule 8."""
    weeks = sales.group_by("stock_code").agg(pl.col("day").dt.truncate("1w").n_unique().alias("weeks"))
    kept = weeks.filter(pl.col("weeks") >= MIN_SELLING_WEEKS)
    if kept.is_empty():
        most = int(weeks["weeks"].max() or 0)  # type: ignore[arg-type]
        raise DataError(
            Problem(
                "no product is worth forecasting", f"the best one was sold in {most} weeks", "give a longer history"
            )
        )
    rest = sales.join(kept, on="stock_code", how="anti")
    lines.notes.append(
        f"left out {len(weeks) - len(kept)} of {len(weeks)} products ({rest['quantity'].sum()} units): sold in fewer "
        f"than {MIN_SELLING_WEEKS} weeks"
    )
    return sales.join(kept, on="stock_code", how="semi")


def trading_days(first: dt.date, last: dt.date) -> pl.DataFrame:
    """The shop's calendar by rule: shut on Saturdays, on England's public holidays and Easter Sunday, 24 Dec to 3 Jan.

    Returns
    -------
    ``day, open`` (0 or 1), every day from ``first`` to ``last``.
    """
    import holidays

    years = range(first.year, last.year + 1)
    public = holidays.country_holidays("GB", subdiv="ENG", years=years)
    easter = [day + dt.timedelta(days=2) for day, name in public.items() if "Good Friday" in name]
    day = pl.col("day")
    in_break = ((day.dt.month() == 12) & (day.dt.day() >= 24)) | ((day.dt.month() == 1) & (day.dt.day() <= 3))
    shut = (day.dt.weekday() == 6) | in_break | day.is_in(pl.Series([*public, *easter], dtype=pl.Date).implode())
    days = pl.DataFrame({"day": pl.date_range(first, last, eager=True)})
    return days.with_columns((~shut).cast(pl.Int8).alias("open"))


def _calendar(lines: pl.DataFrame, frequency: Frequency, span: tuple[dt.date, dt.date]) -> pl.DataFrame:
    """``date, open`` of every whole period of the history: days on which anything at all was sold.

    The days around the history that its first and last period need are taken from the rule: a period is whole when the
    shop was shut on all of its days that are missing.
    """
    traded = lines.filter(~pl.col("invoice").str.starts_with("C"))["day"].unique()
    margin = dt.timedelta(days=31)
    days = trading_days(span[0] - margin, span[1] + margin).with_columns(
        inside=pl.col("day").is_between(*span), traded=pl.col("day").is_in(traded.implode())
    )
    labelled = _label(days, frequency)
    periods = labelled.group_by("date").agg(
        pl.col("traded").sum().cast(pl.Int8).alias("open"),
        pl.col("inside").any().alias("begun"),
        (pl.col("inside") | (pl.col("open") == 0)).all().alias("whole"),
    )
    return periods.filter(pl.col("begun") & pl.col("whole")).select("date", "open").sort("date")


def _label(frame: pl.DataFrame, frequency: Frequency, column: str = "day", name: str = "date") -> pl.DataFrame:
    """Add the label of the period that holds each day."""
    days = frame[column].to_numpy().astype("datetime64[D]")
    labels = frequency.to_date(frequency.to_index(days))
    return frame.with_columns(pl.Series(name, labels).cast(pl.Date))


def _in_whole_periods(sales: pl.DataFrame, calendar: pl.DataFrame, frequency: Frequency, lines: _Lines) -> pl.DataFrame:
    """Sales with the ``date`` of their period, without the first and last period where those are not whole."""
    labelled = _label(sales, frequency)
    inside = labelled.join(calendar, on="date", how="semi")
    if len(inside) < len(labelled):
        units = int(labelled["quantity"].sum()) - int(inside["quantity"].sum())
        lines.notes.append(
            f"left out {len(labelled) - len(inside)} lines ({units} units): the data do not cover the whole "
            f"{frequency.noun} they are in"
        )
    return inside


def _grid(sales: pl.DataFrame, calendar: pl.DataFrame) -> pl.DataFrame:
    """Rule 9: every period of each product from its first sale on, with the calendar."""
    first = sales.group_by("stock_code").agg(pl.col("date").min().alias("first"))
    every = first.sort("stock_code").join(calendar, how="cross")
    return every.filter(pl.col("date") >= pl.col("first")).select("stock_code", "date", "open")


def _with_sales(grid: pl.DataFrame, sales: pl.DataFrame, cancelled: pl.DataFrame, frequency: Frequency) -> pl.DataFrame:
    """Fill the grid with sales and prices and add one row per restatement."""
    keys = ["stock_code", "date"]
    value = pl.col("price") * pl.col("quantity")
    sold = sales.group_by(keys).agg(
        pl.col("quantity").sum(), (value.sum() / pl.col("quantity").sum()).round(4).alias("price")
    )
    frame = grid.join(sold, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("quantity").fill_null(0), pl.col("price").forward_fill().over("stock_code"), recorded=pl.col("date")
    )
    back = _label(_label(cancelled, frequency), frequency, "known", "recorded")
    back = back.group_by(*keys, "recorded").agg(pl.col("quantity").sum().alias("back")).sort(*keys, "recorded")
    back = back.with_columns(pl.col("back").cum_sum().over(keys))
    at_once = back.filter(pl.col("recorded") == pl.col("date"))
    later = back.filter(pl.col("recorded") > pl.col("date")).rename({"recorded": "known"})
    gross = pl.col("quantity")
    restated = later.join(frame, on=keys, how="inner").with_columns(gross - pl.col("back"), recorded=pl.col("known"))
    told = frame.join(at_once, on=[*keys, "recorded"], how="left", maintain_order="left")
    told = told.with_columns(gross - pl.col("back").fill_null(0))
    columns = ["stock_code", "date", "quantity", "open", "price", "recorded"]
    return pl.concat([told.select(columns), restated.select(columns)]).sort(*keys, "recorded")


def _future(frame: pl.DataFrame, frequency: Frequency, steps: int) -> pl.DataFrame:
    """``stock_code, date, open`` of the periods to forecast."""
    last: dt.date = frame["date"].max()  # type: ignore[assignment]
    index = frequency.to_index(np.asarray(np.datetime64(last, "D"))) + np.arange(1, steps + 1)
    labels = pl.DataFrame({"date": pl.Series(frequency.to_date(index)).cast(pl.Date)})
    end: dt.date = labels["date"].max()  # type: ignore[assignment]
    days = _label(trading_days(last + dt.timedelta(days=1), end + dt.timedelta(days=31)), frequency)
    calendar = labels.join(days.group_by("date").agg(pl.col("open").sum().cast(pl.Int8)), on="date", how="left")
    codes = frame.select("stock_code").unique().sort("stock_code")
    return codes.join(calendar.sort("date"), how="cross")
