"""Entity rows: keys and as-of dates that features are wanted for, read from a user's file or from the store itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.features.declaration import Declaration, Feature
from foretail.sources.files import parse_dates, read_frame

__all__ = ["CREATED_TIME", "EVENT_TIME", "key_rows", "read_entity_rows", "requested_columns", "stored_entity_rows"]

EVENT_TIME, CREATED_TIME = "event_timestamp", "created_timestamp"
_FIRST = 3  # examples shown in a message
_TYPES = {"Int64": pl.Int64(), "Float64": pl.Float64(), "String": pl.String(), "Bool": pl.Boolean()}


def requested_columns(declaration: Declaration, service: str) -> tuple[str, ...]:
    """Columns that whoever asks for a service must give beside the keys.

    Raises
    ------
    UsageError : there is no such service.
    """
    return tuple(item.name for item in _requested(declaration, service))


def read_entity_rows(
    location: str, time: str | None, declaration: Declaration, service: str
) -> tuple[pl.DataFrame, str]:
    """Entity rows of a CSV or Parquet file.

    Parameters
    ----------
    location : a path or an fsspec URL.
    time : the column of as-of dates; by default ``event_timestamp``, or the time column of the dataset.
    service : says which columns must be there beside the keys, see `requested_columns`.

    Returns
    -------
    The rows in the order of the file: keys of the declared type, the as-of time as ``event_timestamp`` (Datetime us,
    UTC; a date is its midnight, as in the store), other columns as they are. And the name that the time had.

    Raises
    ------
    UsageError : ``time`` is no column.
    DataError : a key column is missing or does not hold such keys, a date is missing or unreadable, a column has the
        name of a feature, no rows at all.
    """
    frame = read_frame(location)
    wanted = _asked_types(declaration, service)
    column = _time_column(frame, time, declaration, location)
    problems = list(_column_problems(frame, list(wanted), column, declaration, location))
    if problems:
        raise DataError(problems)
    frame = _typed(_dated(frame, column, location), wanted, location)
    stamped = frame.with_columns(_utc(frame.schema[column], column).alias(EVENT_TIME))
    return (stamped if column == EVENT_TIME else stamped.drop(column)), column


def stored_entity_rows(folder: Path, declaration: Declaration) -> pl.DataFrame:
    """Every key and as-of date that a view holds: the key columns and ``event_timestamp``, sorted.

    Parameters
    ----------
    folder : the Parquet files of the view, which has all keys.
    """
    columns = [*(entity.name for entity in declaration.entities), EVENT_TIME]
    return pl.scan_parquet(folder).select(columns).unique().sort(columns).collect()


def key_rows(given: pl.DataFrame, declaration: Declaration, service: str, where: str) -> pl.DataFrame:
    """What the online store is asked with: the key columns and those of the request, of the declared types.

    A table without keys is asked with one row, whatever it holds.

    Raises
    ------
    UsageError : there is no such service. DataError : a column is missing or of another type, or there are no rows.
    """
    wanted = _asked_types(declaration, service)
    if not wanted:
        return pl.DataFrame({"row": [0]})
    problems = list(_missing(given, list(wanted), where))
    if not problems and given.is_empty():
        problems = [Problem("there are no rows", where, "one row per key")]
    if problems:
        raise DataError(problems)
    return _typed(given.select(list(wanted)), wanted, where)


def _requested(declaration: Declaration, service: str) -> list[Feature]:
    views = {view for view, _ in declaration.service(service).features}
    return [item for view in declaration.views if view.name in views for item in view.request]


def _asked_types(declaration: Declaration, service: str) -> dict[str, pl.DataType]:
    """Columns that must be given to a service, keys first, with their types."""
    types = {item.name: item.dtype for item in declaration.entities}
    types |= {item.name: item.dtype for item in _requested(declaration, service)}
    return {name: _TYPES[dtype] for name, dtype in types.items()}


def _time_column(frame: pl.DataFrame, time: str | None, declaration: Declaration, where: str) -> str:
    candidates = (time,) if time else (EVENT_TIME, declaration.spec.time)
    found = next((name for name in candidates if name in frame.columns), None)
    if found is None:
        raise UsageError(
            f"no column of as-of dates: {' or '.join(map(repr, candidates))} is not there.\n  where: {where}\n"
            f"  fix:   --time; {nearest(candidates[0], frame.columns)}"
        )
    return found


def _column_problems(
    frame: pl.DataFrame, keys: Sequence[str], time: str, declaration: Declaration, where: str
) -> Iterator[Problem]:
    yield from _missing(frame, keys, where)
    if frame.is_empty():
        yield Problem("there are no rows", where, "one row per key and as-of date")
    features = {name for view in declaration.views for name in view.names}
    for name in sorted(features & set(frame.columns) - {*keys, time}):
        yield Problem(f"column {name!r} has the name of a feature", where, "rename it, or leave it out")
    if time != EVENT_TIME and EVENT_TIME in frame.columns:
        yield Problem(f"two time columns: {time!r} and {EVENT_TIME!r}", where, f"--time {EVENT_TIME}, or leave one out")


def _missing(frame: pl.DataFrame, keys: Sequence[str], where: str) -> Iterator[Problem]:
    for key in keys:
        if key not in frame.columns:
            yield Problem(f"the column {key!r} is missing", where, nearest(key, frame.columns))


def _dated(frame: pl.DataFrame, column: str, where: str) -> pl.DataFrame:
    frame = parse_dates(frame, column)
    missing = frame[column].null_count()
    if missing:
        rows = ", ".join(map(str, frame[column].is_null().arg_true().head(_FIRST) + 1))
        what = f"{missing} rows have no as-of date"
        raise DataError(Problem(what, f"{where}, column {column!r}, rows {rows}", "give a date, or remove these rows"))
    return frame


def _typed(frame: pl.DataFrame, wanted: Mapping[str, pl.DataType], where: str) -> pl.DataFrame:
    """The frame with these columns cast; keys must all be there, what a request gives may be unknown."""
    problems = []
    for name, dtype in wanted.items():
        cast = frame[name].cast(dtype, strict=False)
        if frame[name].dtype.is_float() and dtype == pl.Int64:
            cast = cast.set(cast.cast(frame[name].dtype) != frame[name], None)
        bad = frame[name].filter(cast.is_null() if dtype != pl.Float64 else cast.is_null() & frame[name].is_not_null())
        if bad.len():
            shown = ", ".join(map(repr, bad.head(_FIRST)))
            what = f"column {name!r} holds {bad.len()} values that are no {dtype}"
            problems.append(Problem(what, f"{where}: {shown}", "correct or remove these rows"))
    if problems:
        raise DataError(problems)
    return frame.with_columns(pl.col(name).cast(dtype) for name, dtype in wanted.items())


def _utc(dtype: pl.DataType, column: str) -> pl.Expr:
    """A column of dates or times as UTC microseconds; what has no zone is UTC."""
    stamp = pl.col(column).cast(pl.Datetime("us")) if dtype == pl.Date else pl.col(column).dt.cast_time_unit("us")
    zone = getattr(dtype, "time_zone", None)
    return stamp.dt.convert_time_zone("UTC") if zone else stamp.dt.replace_time_zone("UTC")
