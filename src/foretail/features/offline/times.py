"""Instants as int64 microseconds since 1970 in UTC: dates are their midnight, and what names no zone is UTC."""

from __future__ import annotations

import datetime as dt

import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["EPOCH", "is_instant", "microseconds", "to_datetime", "to_microseconds", "zoned"]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def is_instant(dtype: pl.DataType) -> bool:
    """Whether a column of this type can say when a row counts: a date, a timestamp or a text of one."""
    return isinstance(dtype, pl.Date | pl.Datetime | pl.String)


def zoned(column: str, dtype: pl.DataType, where: str) -> pl.Expr:
    """A column as timestamps in UTC; the unit of a timestamp is kept, dates and texts become microseconds.

    Raises
    ------
    DataError : the column holds no instants.
    """
    value = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        return value.dt.convert_time_zone("UTC") if dtype.time_zone else value.dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Date):
        return value.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.String):
        return value.str.to_datetime(time_unit="us", time_zone="UTC")
    raise DataError(
        Problem(f"column {column!r} holds {dtype}, not times", where, "give it dates or timestamps, best in UTC")
    )


def microseconds(column: str, dtype: pl.DataType, where: str, *, late: bool = False) -> pl.Expr:
    """A column as int64 microseconds.

    Parameters
    ----------
    late : round nanoseconds up instead of down. Source rows are rounded up and entity rows down, so that a row
        never counts before its time.

    Raises
    ------
    DataError : the column holds no instants.
    """
    value = zoned(column, dtype, where)
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
        nanoseconds = value.to_physical()
        return -((-nanoseconds) // 1000) if late else nanoseconds // 1000
    return value.dt.epoch("us")


def to_microseconds(moment: dt.datetime) -> int:
    """One instant; without a zone it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (aware - EPOCH) // _MICROSECOND


def to_datetime(instant: int) -> dt.datetime:
    """The timestamp in UTC of so many microseconds."""
    return EPOCH + instant * _MICROSECOND
