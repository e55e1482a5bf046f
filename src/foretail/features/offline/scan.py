"""Reading the rows behind a feature view: which columns, which span of time, and the shape in which they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import polars as pl
import pyarrow as pa

from foretail.core.errors import DataError, Problem, nearest
from foretail.features.offline.join import CREATED, TIME
from foretail.features.offline.times import is_instant, microseconds

__all__ = [
    "ALL_TIME",
    "BATCH_ROWS",
    "Columns",
    "Source",
    "Span",
    "as_arrow",
    "as_polars",
    "check_columns",
    "shaped",
    "within",
]

BATCH_ROWS = 262_144


@dataclass(frozen=True)
class Columns:
    """What to read of a source.

    Attributes
    ----------
    wanted : pairs (name in the result, column of the source); None = every column under its own name.
    timestamp : column that becomes `TIME` in the result; rows without it are left out. None = no `TIME`.
    created : column that becomes `CREATED`.
    """

    wanted: tuple[tuple[str, str], ...] | None
    timestamp: str | None = None
    created: str | None = None

    def physical(self, schema: pl.Schema) -> list[str]:
        """Columns of the source, each once."""
        wanted = [column for _, column in self.wanted] if self.wanted is not None else list(schema)
        return list(dict.fromkeys([*wanted, *filter(None, (self.timestamp, self.created))]))


@dataclass(frozen=True)
class Span:
    """Event times to read, in microseconds, both ends included; None = open."""

    since: int | None = None
    until: int | None = None


ALL_TIME = Span()


class Source(Protocol):
    """Rows behind one feature view."""

    @property
    def view(self) -> str:
        """The feature view, for messages."""

    @property
    def where(self) -> str:
        """The view and where its rows lie, for messages."""

    def schema(self) -> pl.Schema:
        """Every column that can be read."""

    def n_rows(self) -> int:
        """How many rows there are, or about how many."""

    def read(self, columns: Columns, span: Span = ALL_TIME) -> pl.DataFrame:
        """All rows of a span at once."""

    def read_split(
        self, index: Columns, features: Columns, span: Span = ALL_TIME
    ) -> tuple[pl.DataFrame, Iterator[pl.DataFrame]]:
        """The same rows, first what finds them and then some features at a time, row for row beside it.

        Rows outside the span, and rows without a time, may be among them.
        """

    def batches(self, columns: Columns, span: Span = ALL_TIME) -> Iterator[pl.DataFrame]:
        """The same rows in the same order, some hundred thousand at a time; at least one frame, if an empty one."""


def check_columns(schema: pl.Schema, names: list[str], columns: Columns, where: str) -> None:
    """Refuse columns that a source lacks, and times that are none.

    Raises
    ------
    DataError : every column at once.
    """
    problems = [
        Problem(f"the source has no column {name!r}", where, nearest(name, schema))
        for name in names
        if name not in schema
    ]
    problems += [
        Problem(f"column {name!r} holds {schema[name]}, not times", where, "give it dates or timestamps, best in UTC")
        for name in filter(None, (columns.timestamp, columns.created))
        if name in schema and not is_instant(schema[name])
    ]
    if problems:
        raise DataError(problems)


def shaped(frame: pl.DataFrame, columns: Columns, where: str) -> pl.DataFrame:
    """The columns under their names in the result, the times in microseconds."""
    schema = frame.schema
    wanted = columns.wanted if columns.wanted is not None else tuple((name, name) for name in schema)
    made = [pl.col(column).alias(name) for name, column in wanted]
    for column, name in ((columns.timestamp, TIME), (columns.created, CREATED)):
        if column:
            made.append(microseconds(column, schema[column], where, late=True).alias(name))
    return frame.select(made)


def within(frame: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The rows whose `TIME` is there and in the span; all rows of a frame without `TIME`."""
    if TIME not in frame.columns or not frame.height:
        return frame
    inside = _inside(frame[TIME], span)
    return frame if inside.all() else frame.filter(inside)


def _inside(time: pl.Series, span: Span) -> pl.Series:
    inside = time.is_not_null()
    if span.since is not None:
        inside &= (time >= span.since).fill_null(False)
    if span.until is not None:
        inside &= (time <= span.until).fill_null(False)
    return inside


def as_arrow(column: pl.Series) -> pa.ChunkedArray:
    """The same column, in the same pieces; text with short offsets, as Feast's other stores give it."""
    found = column.to_frame().to_arrow()[0]
    is_short = pa.types.is_large_string(found.type) and all(piece.nbytes < 2**31 for piece in found.chunks)
    return found.cast(pa.string()) if is_short else found


def as_polars(table: pa.Table) -> pl.DataFrame:
    """The same rows, not copied where that can be."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  (a table never becomes a series)
    return frame
