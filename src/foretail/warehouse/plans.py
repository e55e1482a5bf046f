"""What is known of days to come, kept beside the sales as the statements of a source of its own."""

from __future__ import annotations

import datetime as dt

import polars as pl
from sqlalchemy import Engine

from foretail.core.errors import DataError, Problem, nearest
from foretail.sources.parsing import parse_dates
from foretail.warehouse.sales import EVENT_SCHEMA, Accepted, SalesSink

__all__ = ["PLAN", "write_plan"]

PLAN = "plan"
_KEYS = ("store", "productname", "date")
_KNOWN = ("open", "promo", "stateholiday", "schoolholiday")


def write_plan(engine: Engine, plan: pl.DataFrame, *, where: str, now: dt.datetime | None = None) -> Accepted:
    """Take in a plan: it replaces what was planned before, and is replaced by what a day turns out to be.

    Parameters
    ----------
    plan : ``store, productname, date`` and any of ``open, promo, stateholiday, schoolholiday``; one row per store-day.
    where : where it comes from, for the message. now : when it was made, naive UTC.

    Raises
    ------
    DataError : columns that are missing or hold something else; a store-day twice.
    ForetailError : the database does not answer or refuses; nothing was written.
    """
    problems = [
        Problem(f"the plan lacks the column {name!r}", where, nearest(name, plan.columns))
        for name in _KEYS
        if name not in plan.columns
    ]
    if not problems and not set(_KNOWN) & set(plan.columns):
        problems = [Problem("the plan says nothing", where, f"give one of the columns {', '.join(_KNOWN)}")]
    if problems:
        raise DataError(problems)
    typed = _typed(parse_dates(plan, "date"), where)
    if typed.select(_KEYS).is_duplicated().any():
        first = typed.filter(typed.select(_KEYS).is_duplicated()).row(0)[:3]
        raise DataError(Problem("a store-day is planned twice", f"{where}: {first}", "keep one row of each"))
    made = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    events = typed.with_columns(
        pl.lit(made).alias("event_time"), pl.format("plan {} {}/{} {}", pl.lit(made), *_KEYS).alias("event_id")
    )
    empty = [pl.lit(None, kind).alias(name) for name, kind in EVENT_SCHEMA.items() if name not in events.columns]
    return SalesSink(engine, PLAN).write(events.with_columns(empty))


def _typed(plan: pl.DataFrame, where: str) -> pl.DataFrame:
    columns = [name for name in (*_KEYS, *_KNOWN) if name in plan.columns]
    typed = plan.select(pl.col(name).cast(EVENT_SCHEMA[name], strict=False) for name in columns)
    problems = [
        Problem(f"{n} values of {name} cannot be read", where, f"{name} is {_words(EVENT_SCHEMA[name])}")
        for name in columns
        if (n := typed[name].null_count() - (0 if name in _KEYS else plan[name].null_count()))
    ]
    if problems:
        raise DataError(problems)
    return typed


def _words(kind: pl.DataType) -> str:
    return "a whole number" if kind.is_integer() else "a date" if kind == pl.Date else "a text"
