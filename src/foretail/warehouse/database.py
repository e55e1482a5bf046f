"""Opens the warehouse by its URL and brings its tables up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from foretail.core.errors import ForetailError, UsageError
from foretail.sources.database import connect
from foretail.warehouse.tables import REVISION, VERSION_TABLE

__all__ = ["migrate", "open_warehouse", "opened_warehouse"]

_LOCK = 7_305_166_021  # an arbitrary number that names the migration lock in PostgreSQL


def open_warehouse(url: str) -> Engine:
    """Open a warehouse; a new SQLite file is made with its folder, old tables are migrated.

    Parameters
    ----------
    url : SQLAlchemy URL, ``sqlite:///path`` or ``postgresql://…``, which psycopg 3 serves.

    Raises
    ------
    UsageError : not a URL, or its driver is not installed.
    ForetailError : the database does not answer, or was written by a newer foretail.
    """
    try:
        parsed = make_url(url)
        embedded = parsed.get_backend_name() == "sqlite"
        if embedded and parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = connect(parsed)
    except (ArgumentError, ImportError) as error:
        raise UsageError(
            f"the warehouse cannot be opened: {error}\n  where: FORETAIL_WAREHOUSE\n"
            "  fix:   an SQLAlchemy URL such as sqlite:///sales.db, with its driver installed"
        ) from error
    except OSError as error:
        raise _unusable(url, error) from error
    migrate(engine)
    return engine


@contextmanager
def opened_warehouse(url: str) -> Iterator[Engine]:
    """`open_warehouse`, whose connections are closed at the end."""
    engine = open_warehouse(url)
    try:
        yield engine
    finally:
        engine.dispose()


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest revision; one cheap query when they are there already.

    Raises
    ------
    ForetailError : the database does not answer, or was written by a newer foretail.
    """
    try:
        with engine.connect() as connection:
            if _revision(connection) == REVISION:
                return
        with engine.connect() as connection, connection.begin():
            _lock(connection)
            if _revision(connection) != REVISION:
                _upgrade(connection)
    except SQLAlchemyError as error:
        raise _unusable(engine.url.render_as_string(hide_password=True), error) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  (a constant)
    return None if found is None else str(found)


def _lock(connection: Connection) -> None:
    """Let one process migrate at a time, until its transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "foretail.warehouse:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ForetailError(
            f"the warehouse has tables of a foretail that this one does not know: {error}\n"
            f"  where: {connection.engine.url.render_as_string(hide_password=True)}\n"
            "  fix:   use the newer foretail, or another warehouse (FORETAIL_WAREHOUSE)"
        ) from error


def _unusable(where: str, error: Exception) -> ForetailError:
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    shown = make_url(where).render_as_string(hide_password=True)
    return ForetailError(
        f"the warehouse does not answer: {said}\n  where: {shown}\n"
        "  fix:   check that the database runs and FORETAIL_WAREHOUSE names it"
    )
