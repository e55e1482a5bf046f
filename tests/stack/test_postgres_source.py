"""PostgreSQL as a source of features: every type to the bit, what looks like nothing or like syntax, and pruning."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg import sql

from foretail.core.errors import DataError, ServiceError
from foretail.features.offline.join import CREATED, TIME
from foretail.features.offline.postgres import Database, PostgresSource
from foretail.features.offline.scan import Columns, Span, within
from foretail.features.offline.times import to_microseconds

T0 = dt.datetime(2024, 3, 1, 12, 30, 0, 123_457, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
TEXTS = ["plain", "", None, "a,b", 'say "no"', "two\nlines", "back\\slash", "\\.", "NULL", " ", "ü€"]
DOUBLES = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf, None, -0.0, 2.0**53 + 2, 1e22]
COLUMNS = {
    "small": ("smallint", [-32768, 32767, None], pl.Int16),
    "whole": ("integer", [-(2**31), 2**31 - 1, None], pl.Int32),
    "large": ("bigint", [-(2**63), 2**63 - 1, None], pl.Int64),
    "single": ("real", [0.5, None, -1.25], pl.Float32),
    "exact": ("numeric(20, 4)", [1.25, None, -3.5], pl.Float64),
    "truth": ("boolean", [True, False, None], pl.Boolean),
    "words": ("varchar(9)", ["x", None, ""], pl.String),
    "day": ("date", [dt.date(1, 1, 1), dt.date(2024, 2, 29), None], pl.Date),
    "zoned": ("timestamptz", [T0, None, T0 - 700_000 * DAY], pl.Datetime("us", "UTC")),
    "naive": ("timestamp", [T0.replace(tzinfo=None), None, dt.datetime(1970, 1, 1)], pl.Datetime("us")),
}


def filled(url: str, columns: dict[str, tuple[str, list[Any]]]) -> PostgresSource:
    """A table of these columns with a key and a time."""
    n = max(len(values) for _, values in columns.values())
    types = {"id": "bigint", "at": "timestamptz", **{name: kind for name, (kind, _) in columns.items()}}
    make = sql.SQL("CREATE TABLE rows ({})").format(
        sql.SQL(", ").join(sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in types.items())
    )
    with psycopg.connect(url) as connection:
        connection.execute(make)
        put = sql.SQL("INSERT INTO rows VALUES ({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(types)))
        for i in range(n):
            row = [values[i % len(values)] for _, values in columns.values()]
            connection.execute(put, [i, T0 + DAY * i, *row])
    return PostgresSource("sales_features", Database(url), "rows")


@pytest.mark.parametrize("name", COLUMNS)
def test_values_of_every_type_arrive_to_the_bit(database: str, name: str) -> None:
    kind, values, dtype = COLUMNS[name]
    got = filled(database, {name: (kind, values)}).read(Columns(((name, name),)))
    assert_frame_equal(got, pl.DataFrame({name: values}, schema={name: dtype}))


@pytest.mark.parametrize(("kind", "values"), [("text", TEXTS), ("double precision", DOUBLES)])
@pytest.mark.parametrize("more", [(), (("id", "id"),)], ids=["alone", "beside another"])
def test_what_looks_like_nothing_or_like_syntax_is_kept(database: str, kind: str, values: Any, more: Any) -> None:
    got = filled(database, {"x": (kind, values)}).read(Columns((("x", "x"), *more)))["x"]
    assert_frame_equal(got.to_frame(), pl.DataFrame({"x": values}))


def test_names_in_need_of_quotes_are_quoted(database: str) -> None:
    name = 'Größe "m²"'
    got = filled(database, {name: ("integer", [7])}).read(Columns((("size", name),), "at"))
    assert got.rows() == [(7, to_microseconds(T0))]


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_spans_are_cut_in_the_database_and_both_ends_count(database: str, kind: str) -> None:
    times = [T0 + DAY * i if kind == "timestamptz" else (T0 + DAY * i).replace(tzinfo=None) for i in range(6)]
    source = filled(database, {"when": (kind, times)})
    first = to_microseconds(T0.replace(hour=0, minute=0, second=0, microsecond=0) if kind == "date" else T0)
    day = 86_400_000_000
    columns = Columns((("id", "id"),), "when", "at")
    span = Span(first + day, first + 3 * day)
    got = source.read(columns, span)
    assert got["id"].to_list() == [1, 2, 3]
    assert got[TIME].to_list() == [first + day * i for i in (1, 2, 3)] and got[CREATED].null_count() == 0
    assert source.read(columns, Span(first + day + 1, first + 3 * day - 1))["id"].to_list() == [2]
    index, features = source.read_split(Columns((), "when", "at"), Columns((("id", "id"),)), span)
    split = within(pl.concat([index, *features], how="horizontal"), span)
    assert_frame_equal(split.select(got.columns), got)
    statement = source._statement(["id"], source._types(), "when", span)
    with psycopg.connect(database) as connection:
        inner = statement.removeprefix("COPY (").partition(") TO STDOUT")[0]
        assert connection.execute(sql.SQL("SELECT count(*) FROM ({}) AS x").format(sql.SQL(inner))).fetchone() == (3,)


def test_many_rows_come_in_batches(database: str) -> None:
    query = "(SELECT i AS id, now() AS at, repeat('x', 20) AS text FROM generate_series(1, 600000) AS i)"
    source = PostgresSource("sales_features", Database(database), query)
    heights = [batch.height for batch in source.batches(Columns((("id", "id"), ("text", "text")), "at"))]
    assert sum(heights) == source.n_rows() == 600_000 and len(heights) > 3
    assert source.read(Columns((("id", "id"),)))["id"].to_list() == list(range(1, 600_001))


def test_a_table_without_rows_has_its_columns(database: str) -> None:
    source = PostgresSource("sales_features", Database(database), "(SELECT 1 AS id, now() AS at WHERE false)")
    got = source.read(Columns((("id", "id"),), "at"))
    assert (got.height, got.columns) == (0, ["id", TIME])


def test_what_is_wrong_is_told_with_the_view(database: str) -> None:
    source = filled(database, {"x": ("integer", [1])})
    with pytest.raises(DataError, match=r"no column 'y'[^$]*sales_features, rows"):
        source.read(Columns((("y", "y"),), "at"))
    with pytest.raises(DataError, match=r"refused a statement[^$]*sales_features, nothing"):
        PostgresSource("sales_features", Database(database), "nothing").schema()
    with pytest.raises(DataError, match=r"type that is not read: a[^$]*casts them"):
        PostgresSource("sales_features", Database(database), "(SELECT ARRAY[1] AS a)").schema()
    halfway = "(SELECT 1 / (i - 1) AS a FROM generate_series(1, 2) i)"
    with pytest.raises(DataError, match=r"refused a statement: division by zero[^$]*sales_features"):
        PostgresSource("sales_features", Database(database), halfway).read(Columns((("a", "a"),)))


def test_a_database_that_is_not_there_is_a_service_error_without_the_password() -> None:
    database = Database("postgresql://me:s3cret@127.0.0.1:1/none")
    with pytest.raises(ServiceError, match=r"does not answer[^$]*sales_features, rows") as caught:
        PostgresSource("sales_features", database, "rows").schema()
    assert "s3cret" not in str(caught.value)
