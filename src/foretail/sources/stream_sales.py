"""Sales that a stream keeps in a database, read as a table of whole days: the day still being sold is left out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from foretail.core.errors import DataError, MissingExtraError, Problem
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.sources.database import connect, read_query, read_transaction
from foretail.sources.table import Table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["SALES_SPEC", "open_sales", "read_sales", "sales_table"]

SALES_SPEC = DatasetSpec(
    keys=("store", "productname"),
    time="date",
    target="sales",
    freq="D",
    horizon=7,
    name="rossman_sales",
    unit="EUR",
    known=("open", "promo", "stateholiday", "schoolholiday"),
    past=(PastCovariate("customers"),),
    open="open",
    gaps="missing",
    country="DE",
)

_SCHEMA: dict[str, pl.DataType] = {
    "store": pl.Int32(),
    "productname": pl.String(),
    "date": pl.Date(),
    "sales": pl.Int32(),
    "customers": pl.Int32(),
    "dayofweek": pl.Int32(),
    "open": pl.Int32(),
    "promo": pl.Int32(),
    "stateholiday": pl.String(),
    "schoolholiday": pl.Int32(),
    "source": pl.String(),
    "event_id": pl.String(),
    "event_time": pl.Datetime("us"),
}
_SHOWN = tuple(_SCHEMA)[:10]
_SERIES = ("store", "productname")
_DAY = (*_SERIES, "date")
_AHEAD = 42  # days to come that are told
_BACK = 28  # days before whose promotion is taken to come again: whole weeks, and two turns of a fortnightly one
_RECENT = 56  # days whose rhythm says which weekdays are open


def read_sales(
    engine: Engine,
    *,
    first: dt.date | None = None,
    last: dt.date | None = None,
    sources: Sequence[str] | None = None,
    closed_before: dt.date | None = None,
) -> pl.DataFrame:
    """Read whole days of sales, all as of one moment.

    Parameters
    ----------
    first, last : days to read, both inclusive.
    sources : whose statements count, None for all; where several tell of a store-day, the newest one that has a figure
        counts.
    closed_before : days before this one are over. By default a day is over once sales came (by their event time, in
        UTC) on a later day: while a shop sells, its sums grow, and half a day is no day.

    Returns
    -------
    ``store, productname, date, sales, customers, dayofweek, open, promo, stateholiday, schoolholiday``, by series and
    date.

    Raises
    ------
    ServiceError : the database does not answer or went away.
    ForetailError : it refuses, or has no such table.
    """
    with read_transaction(engine, "sales cannot be read") as connection:
        frame, open_day = _read(connection, first, last, sources)
    open_day = closed_before or open_day
    return frame.clear() if open_day is None else frame.filter(pl.col("date") < open_day)


def _read(
    connection: Connection, first: dt.date | None, last: dt.date | None, sources: Sequence[str] | None
) -> tuple[pl.DataFrame, dt.date | None]:
    """What is held of every day, and the day that is being sold: that of the newest statement; None where is none."""
    of_sources, parameters = _of_sources(sources)
    newest = read_query(
        connection,
        f"SELECT max(event_time) AS newest FROM rossman_sales WHERE {of_sources} AND sales IS NOT NULL",  # noqa: S608
        parameters,
        {"newest": pl.Datetime("us")},
    )
    parts = [of_sources]
    for sign, name, day in ((">=", "first", first), ("<=", "last", last)):
        if day is not None:
            parts.append(f"date {sign} :{name}")
            parameters[name] = day
    query = f"SELECT {', '.join(_SCHEMA)} FROM rossman_sales WHERE {' AND '.join(parts)}"  # noqa: S608
    frame = read_query(connection, query, parameters, _SCHEMA)
    if frame["source"].n_unique() > 1:
        told = pl.col("sales").is_not_null()
        frame = frame.sort(told, "event_time", "event_id", "source").unique(_DAY, keep="last", maintain_order=True)
    return frame.select(_SHOWN).sort(_DAY), cast("dt.date | None", newest["newest"].dt.date().max())


def _of_sources(sources: Sequence[str] | None) -> tuple[str, dict[str, Any]]:
    if sources is None:
        return "1 = 1", {}
    names = {f"source{i}": source for i, source in enumerate(sources)}
    return f"source IN ({', '.join(f':{name}' for name in names) or 'NULL'})", names


def sales_table(frame: pl.DataFrame, where: str, planned: pl.DataFrame | None = None) -> Table:
    """Whole days of sales with their meaning, and what can be said of the days to come.

    Columns that nobody ever filled are left out. Days without a figure are kept: nobody knows what was sold. A day to
    come is as planned; where nothing is planned, open as most days like it in the last eight weeks, with the promotion
    and the school holidays of four weeks before, and no holiday.

    Parameters
    ----------
    frame : as `read_sales` gives it. where : where it comes from, for the message.
    planned : rows like it of days that are not over.

    Raises
    ------
    DataError : there is no whole day.
    """
    if frame["sales"].null_count() == frame.height:
        fix = "let the stream run until a day is over: foretail stream ingest"
        raise DataError(Problem("no day of sales is over yet", f"{where}: rossman_sales", fix))
    known = tuple(name for name in SALES_SPEC.known if frame[name].null_count() < frame.height)
    past = tuple(item for item in SALES_SPEC.past if frame[item.name].null_count() < frame.height)
    spec = SALES_SPEC.but(known=known, past=past, open="open" if "open" in known else None)
    last = cast(dt.date, frame["date"].max())
    notes = [f"whole days of sales up to {last}; the day that is being sold is not among them"]
    if not known:
        return Table(frame, spec, notes=tuple(notes))
    future, n_planned = _future(frame, known, frame.clear() if planned is None else planned)
    if n_planned < future.height:
        notes.append(
            f"{', '.join(known)} are planned for {n_planned} of {future.height} store-days after that; the others are "
            "taken as usual (foretail warehouse plan)"
        )
    return Table(frame, spec, future, tuple(notes))


def _future(frame: pl.DataFrame, known: tuple[str, ...], planned: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """What is known, or usual, of each series and day to come; and how many of them are planned."""
    last = cast(dt.date, frame["date"].max())
    ahead = pl.DataFrame({"ahead": range(1, _AHEAD + 1)}).select(
        date=pl.lit(last) + pl.duration(days=pl.col("ahead")),
        before=pl.lit(last) + pl.duration(days=pl.col("ahead") - (pl.col("ahead") + _BACK - 1) // _BACK * _BACK),
    )
    days = frame.select(_SERIES).unique(maintain_order=True).join(ahead, how="cross", maintain_order="left_right")
    recent = frame.filter(pl.col("date") > last - dt.timedelta(_RECENT))
    usual = days.join(
        recent.select(*_SERIES, pl.col("date").alias("before"), *known),
        on=[*_SERIES, "before"],
        how="left",
        maintain_order="left",
    )
    if "open" in known:
        weekday = pl.col("date").dt.weekday().alias("weekday")
        by_weekday = recent.group_by(*_SERIES, weekday).agg((pl.col("open").mean() >= 0.5).cast(pl.Int32))
        usual = usual.drop("open").with_columns(weekday)
        usual = usual.join(by_weekday, on=[*_SERIES, "weekday"], how="left", maintain_order="left")
    if "stateholiday" in known:
        plain = frame["stateholiday"].drop_nulls().mode().sort()[0]
        usual = usual.with_columns(pl.lit(plain).alias("stateholiday"))
    told = planned.select(
        *_DAY, *(pl.col(name).alias(f"{name}_planned") for name in known), pl.lit(1).alias("is_planned")
    )
    both = usual.join(told, on=list(_DAY), how="left", maintain_order="left")
    values = [pl.coalesce(f"{name}_planned", name).alias(name) for name in known]
    return both.select(*_DAY, *values), int(both["is_planned"].count())


def open_sales(url: str) -> Table:
    """Read the sales of a warehouse by its URL.

    Raises
    ------
    DataError : no URL of a database, no such table, or no whole day in it.
    MissingExtraError : the driver of PostgreSQL is not installed.
    ServiceError : the database does not answer.
    """
    from sqlalchemy.exc import ArgumentError

    try:
        engine = connect(url)
        file = engine.url.database if engine.dialect.name == "sqlite" else None
    except ImportError as error:
        raise MissingExtraError("psycopg", "postgres") from error
    except (ArgumentError, ValueError) as error:
        fix = "postgresql://user@host/database, or sqlite:///path"
        raise DataError(Problem("this is no URL of a database", "TABLE", fix)) from error
    if file is not None and not Path(file).exists():
        raise DataError(Problem("there is no such warehouse", file, "foretail warehouse init, or check the path"))
    try:
        where = engine.url.render_as_string(hide_password=True)
        with read_transaction(engine, "sales cannot be read") as connection:
            frame, open_day = _read(connection, None, None, None)
        is_over = pl.lit(False) if open_day is None else pl.col("date") < open_day
        return sales_table(frame.filter(is_over), where, frame.filter(~is_over))
    finally:
        engine.dispose()
