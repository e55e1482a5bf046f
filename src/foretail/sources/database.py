"""Opens databases by their URL and reads queries into frames: by COPY from PostgreSQL, row by row from SQLite."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from foretail.core.errors import ForetailError, ServiceError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

__all__ = ["connect", "read_query", "read_transaction", "told"]

_WAIT_S = 30  # how long SQLite waits for another writer
_CONNECT_S = 10  # how long a server may take to answer
_NAMED = re.compile(r"(?<!:):(\w+)")
_FIX = "check the database (FORETAIL_WAREHOUSE): is it there, is there space, may you"


def connect(url: str | URL) -> Engine:
    """A pool of connections to a database; nothing is asked of it yet.

    Parameters
    ----------
    url : ``postgresql://…``, which psycopg 3 serves, or ``sqlite:///path``.

    Raises
    ------
    sqlalchemy.exc.ArgumentError : not a URL.
    ImportError : its driver is not installed.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return create_engine(parsed, connect_args={"timeout": _WAIT_S})
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    wait = {"connect_timeout": _CONNECT_S} if parsed.get_backend_name() == "postgresql" else {}
    # idle connections are tried before they are used: the server may have restarted since
    return create_engine(parsed, pool_pre_ping=True, connect_args=wait)


@contextmanager
def told(engine: Engine, what: str, may: str = "read") -> Iterator[None]:
    """Turn the errors of SQLAlchemy, and of the driver below it, into ours.

    Parameters
    ----------
    what : what cannot be done where the database refuses, e.g. ``"sales cannot be read"``. may : what one must may.

    Raises
    ------
    ServiceError : the database does not answer or went away.
    ForetailError : it refuses.
    """
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (SQLAlchemyError, driver.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        is_away = isinstance(cause, driver.OperationalError | driver.InterfaceError)
        said = str(cause).strip().partition("\n")[0]
        where = engine.url.render_as_string(hide_password=True)
        raise (ServiceError if is_away else ForetailError)(
            f"{what}: {said}\n  where: {where}\n  fix:   {_FIX} {may}"
        ) from error


@contextmanager
def read_transaction(engine: Engine, what: str) -> Iterator[Connection]:
    """One transaction that only reads: everything in it is seen as of one moment.

    Raises
    ------
    ServiceError : the database does not answer or went away.
    ForetailError : it refuses.
    """
    with told(engine, what), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            connection.exec_driver_sql("BEGIN")
        yield connection


def read_query(
    connection: Connection, query: str, parameters: Mapping[str, Any], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The rows of a query.

    Parameters
    ----------
    query : with parameters as ``:name``. schema : names and types of its columns, in its order.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        return _copied(driver, query, parameters, schema)
    plain = {name: value.isoformat() if isinstance(value, dt.date) else value for name, value in parameters.items()}
    return _fetched(driver, query, plain, schema)


def _copied(driver: Any, query: str, parameters: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    import pyarrow.csv as pa_csv

    named = _NAMED.sub(r"%(\1)s", query.replace("%", "%%"))
    statement = f"COPY ({named}) TO STDOUT (FORMAT csv)"
    with driver.cursor() as cursor, cursor.copy(statement.encode(), dict(parameters)) as copy:
        content = b"".join(bytes(block) for block in copy)
    if not content:
        return pl.DataFrame(schema=dict(schema))
    # PostgreSQL quotes an empty text, and leaves NULL bare
    convert = pa_csv.ConvertOptions(
        column_types=pl.DataFrame(schema=dict(schema)).to_arrow(compat_level=pl.CompatLevel.oldest()).schema,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["t"],
        false_values=["f"],
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    read = pa_csv.ReadOptions(column_names=list(schema))
    table = pa_csv.read_csv(io.BytesIO(content), read, parse, convert)
    return pl.DataFrame(pl.from_arrow(table)).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _fetched(driver: Any, query: str, parameters: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    rows = driver.execute(query, dict(parameters)).fetchall()
    texts = {name for name, kind in schema.items() if kind == pl.Date or isinstance(kind, pl.Datetime)}
    truths = {name for name, kind in schema.items() if kind == pl.Boolean}
    raw: dict[str, Any] = {
        name: pl.String if name in texts else pl.Int64 if name in truths else kind for name, kind in schema.items()
    }
    frame = pl.DataFrame(rows, schema=raw, orient="row")
    return frame.with_columns(
        *(
            pl.col(name).str.to_date("%Y-%m-%d")
            if schema[name] == pl.Date
            else pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")
            for name in texts
        ),
        *(pl.col(name).cast(pl.Boolean) for name in truths),
    )
