"""PostgreSQL behind a feature view: columns and time range picked in SQL, rows copied out as text into Arrow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from foretail.core.errors import DataError, MissingExtraError, Problem, ServiceError
from foretail.features.offline.scan import ALL_TIME, BATCH_ROWS, Columns, Span, as_polars, check_columns, shaped, within
from foretail.features.offline.times import to_datetime

if TYPE_CHECKING:
    import psycopg

__all__ = ["Database", "PostgresSource"]

_BLOCK = 1 << 22  # bytes of text turned into columns at a time
# types by the numbers that PostgreSQL's own catalogue gives them
_TYPES: dict[int, tuple[str, pa.DataType]] = {
    16: ("bool", pa.bool_()),
    20: ("int8", pa.int64()),
    21: ("int2", pa.int16()),
    23: ("int4", pa.int32()),
    700: ("float4", pa.float32()),
    701: ("float8", pa.float64()),
    1700: ("numeric", pa.float64()),
    18: ("char", pa.string()),
    19: ("name", pa.string()),
    25: ("text", pa.string()),
    114: ("json", pa.string()),
    1042: ("bpchar", pa.string()),
    1043: ("varchar", pa.string()),
    2950: ("uuid", pa.string()),
    3802: ("jsonb", pa.string()),
    1082: ("date", pa.date32()),
    1114: ("timestamp", pa.timestamp("us")),
    1184: ("timestamptz", pa.timestamp("us", "UTC")),
}
_FINE = {1114, 1184}


@dataclass(frozen=True)
class Database:
    """A PostgreSQL database.

    Attributes
    ----------
    url : ``postgresql://user:password@host:port/database``; never shown.
    schema : where tables without a schema are looked for.
    """

    url: str = field(repr=False)
    schema: str = "public"

    def query(self, text: str) -> pl.DataFrame:
        """All rows of a query.

        Raises
        ------
        DataError : the query fails. ServiceError : the database does not answer.
        """
        body = text.strip().rstrip(";")
        return PostgresSource("the entity rows", self, f"({body})").read(Columns(None))

    @contextmanager
    def connect(self, where: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection in UTC, its errors told in the house's words.

        Raises
        ------
        DataError : a statement fails. ServiceError : the database does not answer or went away.
        """
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("psycopg", "postgres") from error
        options = f"-c timezone=UTC -c search_path={self.schema}"
        try:
            with psycopg.connect(self.url, options=options, connect_timeout=10) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise ServiceError(
                f"the database does not answer: {_first_line(error)}\n  where: {where}"
                "\n  fix:   check that it runs and that url under offline_store is right, then run it again"
            ) from error
        except psycopg.Error as error:
            raise DataError(
                Problem(f"the database refused a statement: {_first_line(error)}", where, "check the source's query")
            ) from error


@dataclass(frozen=True)
class PostgresSource:
    """A table or a query.

    Attributes
    ----------
    view : feature view that reads it, for messages.
    database : where.
    relation : table name, or a query in brackets, as SQL.
    """

    view: str
    database: Database
    relation: str

    @property
    def where(self) -> str:
        return f"{self.view}, {self.relation}"

    def schema(self) -> pl.Schema:
        """Columns and types.

        Raises
        ------
        DataError : no such table, a query that fails, or a type that is not read.
        """
        return pl.Schema(as_polars(_arrow_schema(self._types(), self.where).empty_table()).schema)

    def n_rows(self) -> int:
        """Rows counted; the planner's guess would do, but is missing for tables never analysed."""
        with self.database.connect(self.where) as connection:
            found = connection.execute(f"SELECT count(*) FROM {self.relation} AS source").fetchone()  # noqa: S608
        return int(found[0]) if found else 0

    def read(self, columns: Columns, span: Span = ALL_TIME) -> pl.DataFrame:
        """Rows of a span, only the columns asked for.

        Raises
        ------
        DataError : a column is missing, or the query fails. ServiceError : the database went away.
        """
        return pl.concat(self.batches(columns, span), rechunk=True)

    def read_split(
        self, index: Columns, features: Columns, span: Span = ALL_TIME
    ) -> tuple[pl.DataFrame, Iterator[pl.DataFrame]]:
        """All columns in one statement, since a second one may see other rows or another order.

        Raises
        ------
        DataError, ServiceError : as `read`.
        """
        found, asked = index.wanted or (), features.wanted or ()
        rows = self.read(Columns((*found, *asked), index.timestamp, index.created), span)
        names = [name for name, _ in asked]
        return rows.drop(names), iter([rows.select(names)])

    def batches(self, columns: Columns, span: Span = ALL_TIME) -> Iterator[pl.DataFrame]:
        """The same rows some at a time.

        Raises
        ------
        DataError, ServiceError : as `read`.
        """
        types = self._types()
        schema = _arrow_schema(types, self.where)
        nothing = as_polars(schema.empty_table())
        names = columns.physical(nothing.schema)
        check_columns(nothing.schema, names, columns, self.where)
        yield shaped(nothing, columns, self.where)
        wanted = pa.schema([schema.field(name) for name in names])
        statement = self._statement(names, types, columns.timestamp, span)
        pending, n_pending = [], 0
        for table in self._copied(statement, wanted):
            pending.append(within(shaped(as_polars(table), columns, self.where), span))
            n_pending += pending[-1].height
            if n_pending >= BATCH_ROWS:
                yield pl.concat(pending, rechunk=True)
                pending, n_pending = [], 0
        if pending:
            yield pl.concat(pending, rechunk=True)

    def _types(self) -> dict[str, int]:
        with self.database.connect(self.where) as connection:
            cursor = connection.execute(f"SELECT * FROM {self.relation} AS source LIMIT 0")  # noqa: S608
            return {column.name: column.type_code for column in cursor.description or ()}

    def _statement(self, names: list[str], types: dict[str, int], timestamp: str | None, span: Span) -> str:
        """Timestamps leave as microseconds, which every version writes the same; the range is on the bare column."""
        picked = ", ".join(
            f"(extract(epoch from {_quoted(name)}) * 1000000)::bigint" if types[name] in _FINE else _quoted(name)
            for name in names
        )
        bounds = []
        if timestamp is not None and types[timestamp] in (*_FINE, 1082):
            column = _quoted(timestamp)
            bounds = [
                f"{column} {sign} '{to_datetime(moment):%Y-%m-%d %H:%M:%S.%f}+00'::timestamptz"
                for sign, moment in ((">=", span.since), ("<=", span.until))
                if moment is not None
            ]
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        return f"COPY (SELECT {picked} FROM {self.relation} AS source{where}) TO STDOUT (FORMAT csv)"  # noqa: S608

    def _copied(self, statement: str, schema: pa.Schema) -> Iterator[pa.Table]:
        plain = pa.schema([pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in schema])
        convert = pa_csv.ConvertOptions(
            column_types=plain,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )
        read = pa_csv.ReadOptions(column_names=plain.names, block_size=_BLOCK)
        # a row whose only column is null is an empty line
        parse = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        with (
            self.database.connect(self.where) as connection,
            connection.cursor() as cursor,
            cursor.copy(statement.encode()) as copy,
        ):
            text = _CopyText(copy)
            if not text.has_more():
                return
            for batch in pa_csv.open_csv(text, read, parse, convert):
                table = pa.Table.from_batches([batch])
                arrays = [column.cast(f.type) for column, f in zip(table.columns, schema, strict=True)]
                yield pa.Table.from_arrays(arrays, schema=schema)


class _CopyText(io.RawIOBase):
    """What COPY sends, as a file that can be read."""

    def __init__(self, copy: Any):
        super().__init__()
        self._blocks = iter(copy)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def has_more(self) -> bool:
        """Whether there is any text; asked once, before reading."""
        self._rest = bytes(next(self._blocks, b""))
        return bool(self._rest)

    def read(self, size: int = -1) -> bytes:
        parts, held = [self._rest], len(self._rest)
        while size < 0 or held < size:
            block = bytes(next(self._blocks, b""))
            if not block:
                break
            parts.append(block)
            held += len(block)
        whole = b"".join(parts)
        size = len(whole) if size < 0 else size
        self._rest = whole[size:]
        return whole[:size]


def _arrow_schema(types: dict[str, int], where: str) -> pa.Schema:
    strange = [name for name, code in types.items() if code not in _TYPES]
    if strange:
        raise DataError(
            Problem(
                f"columns of a type that is not read: {', '.join(strange)}",
                where,
                f"make the source a query that casts them to one of {', '.join(name for name, _ in _TYPES.values())}",
            )
        )
    return pa.schema([(name, _TYPES[code][1]) for name, code in types.items()])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
