"""Gives two roles of PostgreSQL what they need and no more: one that writes, one that reads."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text
from sqlalchemy.sql import quoted_name

from foretail.core.errors import UsageError
from foretail.warehouse.bulk import write_transaction
from foretail.warehouse.tables import VERSION_TABLE

__all__ = ["READER", "WRITER", "grant_roles", "role_statements"]

WRITER, READER = "foretail_writer", "foretail_reader"
_TAKE = "SELECT, INSERT, UPDATE"
_ADD = "SELECT, INSERT"  # what has been told is not told otherwise
_WRITES = {
    "rossman_sales": _TAKE,
    "rossman_sales_replaced": _ADD,
    "rossman_sales_history": "SELECT",
    "dead_letters": "SELECT, INSERT, UPDATE (replayed_at)",
    "stream_batches": "SELECT, INSERT, UPDATE (changed)",
    "stream_offsets": f"{_TAKE}, DELETE",
    "forecast_results": _TAKE,
    "fleet_runs": _TAKE,
    "series_versions": _ADD,
    "jobs": _TAKE,
    VERSION_TABLE: "SELECT",
}
_READS = (
    *("rossman_sales", "rossman_sales_history", "forecast_results", "fleet_runs", "series_versions", "jobs"),
    *("stream_batches", "stream_offsets", VERSION_TABLE),
)


def grant_roles(engine: Engine, writer: str = WRITER, reader: str = READER) -> tuple[str, ...]:
    """Make the roles where they are missing, without a log-in of their own, and grant them their rights.

    The writer may take in sales, forecasts, versions and jobs, but neither delete them nor change the history, make
    tables or drop any. The reader reads all but the dead letters, which hold whatever was sent. People and services log
    in as users of their own, to whom these roles are granted: ``GRANT foretail_reader TO anna``.

    Returns
    -------
    The statements that were run.

    Raises
    ------
    UsageError : the warehouse is not PostgreSQL; one name for both roles.
    ForetailError : the database does not answer, or refuses; nothing was granted.
    """
    if engine.dialect.name != "postgresql":
        raise UsageError(
            "an SQLite file has no roles.\n  where: FORETAIL_WAREHOUSE\n"
            "  fix:   a PostgreSQL warehouse; for a file, the rights of the file system"
        )
    if writer == reader:
        raise UsageError(f"both roles are called {writer!r}.\n  where: --writer, --reader\n  fix:   two names")
    with write_transaction(engine, "rights cannot be granted") as connection:
        statements = (*_missing_roles(connection, writer, reader), *role_statements(connection, writer, reader))
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    return statements


def _missing_roles(connection: Connection, *names: str) -> list[str]:
    there = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    return [f"CREATE ROLE {_quoted(connection, name)} NOLOGIN" for name in names if name not in there]


def role_statements(connection: Connection, writer: str, reader: str) -> tuple[str, ...]:
    """What grants the rights; the same again takes back whatever else the roles had on these tables."""
    schema = _quoted(connection, str(connection.execute(text("SELECT current_schema()")).scalar_one()))
    database = _quoted(connection, str(connection.execute(text("SELECT current_database()")).scalar_one()))
    writes, reads = _quoted(connection, writer), _quoted(connection, reader)
    every = ", ".join(f"{schema}.{table}" for table in _WRITES)
    return (
        f"REVOKE ALL ON {every} FROM PUBLIC, {writes}, {reads}",
        f"GRANT CONNECT ON DATABASE {database} TO {writes}, {reads}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {writes}",
        f"GRANT USAGE ON SCHEMA {schema} TO {writes}, {reads}",
        *(f"GRANT {rights} ON {schema}.{table} TO {writes}" for table, rights in _WRITES.items()),
        f"GRANT USAGE ON SEQUENCE {schema}.dead_letters_id_seq TO {writes}",
        f"GRANT EXECUTE ON FUNCTION {schema}.rossman_sales_partition(date) TO {writes}",
        *(f"GRANT SELECT ON {schema}.{table} TO {reads}" for table in _READS),
    )


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(quoted_name(name, quote=True))
