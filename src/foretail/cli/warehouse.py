"""The verbs of the warehouse: warehouse init / roles / status / plan / history."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from foretail.cli.door import Door
from foretail.cli.options import home_option, json_option
from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError
from foretail.core.locations import without_password

__all__ = ["warehouse"]


@click.group()
def warehouse() -> None:
    """Set up and look at the tables of sales and forecasts.

    FORETAIL_WAREHOUSE says where they are: postgresql://user@host/database, or an SQLite file.
    """


@warehouse.command()
@home_option
@json_option
@click.pass_obj
def init(door: Door, /, home: Path | None, as_json: bool) -> None:
    """Make the tables, or bring them up to date.

    May be repeated. Every verb that writes does so too; on PostgreSQL it takes the rights of an owner.
    """
    from foretail.warehouse.database import open_warehouse
    from foretail.warehouse.tables import REVISION

    where = door.settings(home).warehouse
    open_warehouse(where).dispose()
    if as_json:
        show_json({"warehouse": without_password(where), "revision": REVISION})
    else:
        click.echo(f"{without_password(where)} is at revision {REVISION}")
    click.echo("next: foretail warehouse roles, then foretail stream ingest", err=True)


@warehouse.command()
@click.option("--writer", default="foretail_writer", show_default=True, metavar="NAME", help="The role that writes.")
@click.option("--reader", default="foretail_reader", show_default=True, metavar="NAME", help="The role that reads.")
@home_option
@json_option
@click.pass_obj
def roles(door: Door, /, writer: str, reader: str, home: Path | None, as_json: bool) -> None:
    """Make two roles in PostgreSQL and grant them what they need, no more.

    They cannot log in; grant them to users who can. May be repeated.
    """
    from foretail.warehouse.database import opened_warehouse
    from foretail.warehouse.roles import grant_roles

    with opened_warehouse(door.settings(home).warehouse) as engine:
        statements = grant_roles(engine, writer, reader)
    if as_json:
        show_json({"writer": writer, "reader": reader, "statements": statements})
    else:
        click.echo("\n".join(f"{statement};" for statement in statements))
    click.echo(f"next: GRANT {writer} TO a user of your own, in psql", err=True)


@warehouse.command()
@home_option
@json_option
@click.pass_obj
def status(door: Door, /, home: Path | None, as_json: bool) -> None:
    """Say how many rows each table holds, and what days it covers."""
    from foretail.warehouse.database import opened_warehouse
    from foretail.warehouse.reading import table_counts

    with opened_warehouse(door.settings(home).warehouse) as engine:
        rows = table_counts(engine)
    if as_json:
        show_json(rows)
    else:
        click.echo(text_table(list(rows[0]), [list(row.values()) for row in rows]))
    click.echo("next: foretail run warehouse, or foretail fleet train warehouse", err=True)


@warehouse.command()
@click.argument("table")
@home_option
@json_option
@click.pass_obj
def plan(door: Door, /, table: str, home: Path | None, as_json: bool) -> None:
    """Take in what is known of days to come: opening, promotion, holidays.

    TABLE is a CSV or Parquet file with store, productname, date and any of open, promo, stateholiday, schoolholiday.
    A later plan replaces an earlier one; sales are never taken from it.
    """
    from foretail.sources.files import read_frame
    from foretail.warehouse.database import opened_warehouse
    from foretail.warehouse.plans import write_plan

    settings = door.settings(home)
    with opened_warehouse(settings.warehouse) as engine:
        accepted = write_plan(engine, read_frame(table), where=table)
    if as_json:
        show_json({"rows": accepted.rows, "changed": accepted.changed})
    else:
        click.echo(f"{accepted.rows} store-days planned, {accepted.changed} of them new or changed")
    click.echo("next: foretail run warehouse", err=True)


@warehouse.command()
@click.argument("store", type=int)
@click.argument("product")
@click.argument("day", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE")
@home_option
@json_option
@click.pass_obj
def history(door: Door, /, store: int, product: str, day: dt.datetime, home: Path | None, as_json: bool) -> None:
    """Say what was told about the sales of PRODUCT in STORE on DATE, by whom and when; the last row is what counts."""
    from foretail.warehouse.database import opened_warehouse
    from foretail.warehouse.reading import day_history

    with opened_warehouse(door.settings(home).warehouse) as engine:
        told = day_history(engine, store, product, day.date())
    if told.is_empty():
        raise UsageError(
            f"nothing was told about that day.\n  where: store {store}, {product}, {day.date()}"
            "\n  fix:   foretail warehouse status shows which days there are"
        )
    if as_json:
        show_json(told.to_dicts())
    else:
        shown = told.select("source", "event_time", "sales", "customers", "open", "promo", "ingested_at", "replaced_at")
        click.echo(text_table(shown.columns, shown.rows()))
