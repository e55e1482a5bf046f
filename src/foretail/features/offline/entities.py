"""The entity rows of a training set: a frame of any kind, a Parquet address, or a query; kept in number and order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from foretail.core.errors import DataError, Problem, UsageError
from foretail.features.offline.join import TIME
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.scan import BATCH_ROWS, Columns
from foretail.features.offline.times import microseconds, zoned

__all__ = ["EVENT_TIMESTAMP", "EntityRows", "FileRows", "FrameRows", "entity_rows", "is_query", "with_time"]

EVENT_TIMESTAMP = "event_timestamp"
"""Feast's name for the column with the time of an entity row."""
_WHERE = "the entity rows"
_QUERY = re.compile(r"\s*(\(|with\b|select\b|table\b|values\b)", re.IGNORECASE)


class EntityRows(Protocol):
    """Rows to join features to.

    Attributes
    ----------
    time : column with the time as of which a row is asked, in UTC.
    schema : columns in order.
    """

    @property
    def time(self) -> str: ...
    @property
    def schema(self) -> pl.Schema: ...

    def n_rows(self) -> int:
        """How many rows."""

    def span(self) -> tuple[int | None, int | None]:
        """Earliest and latest time, microseconds; None if no row has one."""

    def frame(self) -> pl.DataFrame:
        """All rows at once."""

    def batches(self) -> Iterator[pl.DataFrame]:
        """The same rows in the same order, some hundred thousand at a time."""


@dataclass(frozen=True)
class FrameRows:
    """Entity rows in memory; see `entity_rows`."""

    rows: pl.DataFrame
    time: str

    @property
    def schema(self) -> pl.Schema:
        return self.rows.schema

    def n_rows(self) -> int:
        return self.rows.height

    def span(self) -> tuple[int | None, int | None]:
        time = with_time(self.rows.select(self.time), self.time)[TIME]
        return time.min(), time.max()  # type: ignore[return-value]

    def frame(self) -> pl.DataFrame:
        return self.rows

    def batches(self) -> Iterator[pl.DataFrame]:
        yield from self.rows.iter_slices(BATCH_ROWS)


@dataclass(frozen=True)
class FileRows:
    """Entity rows in Parquet, read as they are needed; see `entity_rows`."""

    source: ParquetSource
    time: str
    schema: pl.Schema

    def n_rows(self) -> int:
        return self.source.n_rows()

    def span(self) -> tuple[int | None, int | None]:
        ends: list[int] = []
        for batch in self.source.batches(Columns(((self.time, self.time),))):
            time = with_time(_zoned(batch, self.time), self.time)[TIME].drop_nulls()
            if len(time):
                ends += [time.min(), time.max()]  # type: ignore[list-item]
        return (min(ends), max(ends)) if ends else (None, None)

    def frame(self) -> pl.DataFrame:
        return _zoned(self.source.read(Columns(None)), self.time)

    def batches(self) -> Iterator[pl.DataFrame]:
        return (_zoned(batch, self.time) for batch in self.source.batches(Columns(None)))


def entity_rows(given: Any, query: Callable[[str], pl.DataFrame] | None = None) -> EntityRows:
    """Take entity rows as they come.

    Parameters
    ----------
    given : a pandas, Polars or Arrow frame, the address of Parquet files, or a query. Its time column is
        ``event_timestamp`` or else the only column of dates or timestamps; without a zone it is UTC.
    query : runs a query; None where there is no database.

    Raises
    ------
    DataError : no time column, or one that cannot be read as times.
    UsageError : something else than a frame, an address or a query.
    """
    if isinstance(given, str) and not is_query(given):
        source = ParquetSource(_WHERE, given)
        time = _time_column(source.schema())
        return FileRows(source, time, _zoned(pl.DataFrame(schema=source.schema()), time).schema)
    if isinstance(given, str):
        if query is None:
            raise UsageError(
                "the entity rows are a query, and no database is known.\n  where: feature_store.yaml"
                "\n  fix:   set url: postgresql://… under offline_store, or give a frame or the path of a Parquet file"
            )
        return in_memory(query(given))
    return in_memory(_frame(given))


def in_memory(frame: pl.DataFrame) -> FrameRows:
    """Entity rows from a Polars frame.

    Raises
    ------
    DataError : as `entity_rows`.
    """
    time = _time_column(frame.schema)
    return FrameRows(_zoned(frame, time), time)


def is_query(text: str) -> bool:
    """Whether a text is SQL rather than an address."""
    return _QUERY.match(text) is not None


def with_time(frame: pl.DataFrame, time: str) -> pl.DataFrame:
    """The rows with `TIME` beside them."""
    return frame.with_columns(microseconds(time, frame.schema[time], _WHERE).alias(TIME))


def _zoned(frame: pl.DataFrame, time: str) -> pl.DataFrame:
    try:
        return frame.with_columns(zoned(time, frame.schema[time], _WHERE))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            Problem(f"column {time!r} cannot be read as times: {error}", _WHERE, "give it dates or timestamps")
        ) from error


def _frame(given: Any) -> pl.DataFrame:
    """A Polars frame of what was given; the index of a pandas frame says nothing and is left out."""
    if isinstance(given, pl.DataFrame):
        return given
    if isinstance(given, pl.LazyFrame):
        return given.collect()
    try:
        frame = pl.from_arrow(given) if isinstance(given, pa.Table) else pl.from_pandas(given)
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise DataError(
            Problem(f"a column mixes types: {error}", _WHERE, "give every column one type, e.g. frame.astype(…)")
        ) from error
    except TypeError as error:
        raise UsageError(
            f"entity rows of type {type(given).__name__} cannot be joined.\n  where: entity_df"
            "\n  fix:   give a pandas, Polars or Arrow frame, the path of a Parquet file, or a query"
        ) from error
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  (a table never becomes a series)
    return frame


def _time_column(schema: pl.Schema) -> str:
    if EVENT_TIMESTAMP in schema:
        return EVENT_TIMESTAMP
    found = [name for name, dtype in schema.items() if isinstance(dtype, pl.Date | pl.Datetime)]
    if len(found) == 1:
        return found[0]
    raise DataError(
        Problem(
            f"the entity rows have {'no' if not found else 'more than one'} column of times",
            ", ".join(found or schema),
            f"call the time as of which each row is asked {EVENT_TIMESTAMP!r}",
        )
    )
