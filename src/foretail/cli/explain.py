"""The verb that says why a forecast is what it is."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from foretail.cli.door import Door
from foretail.cli.options import day, home_option, json_option, key_words
from foretail.cli.show import show_json, text_table

__all__ = ["explain"]

_SHOWN_FEATURES = 8  # of the largest; all of them are in the JSON


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("model")
@click.argument("keys", nargs=-1, type=click.UNPROCESSED, metavar="--KEY VALUE")
@click.option(
    "--date", type=day, metavar="DATE", help="The date to explain; the first one after the cutoff if left out."
)
@click.option("--table", metavar="TABLE", help="Newer sales to forecast from; else those the version was fitted on.")
@click.option("--future", metavar="TABLE", help="Keys, dates to forecast and known columns, as a table.")
@home_option
@json_option
@click.pass_obj
def explain(
    door: Door,
    /,
    model: str,
    keys: tuple[str, ...],
    date: dt.date | None,
    table: str | None,
    future: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Explain one forecast of a version, in parts that add up.

    MODEL is what foretail forecast takes. The key columns are options: foretail explain sales --store_id 1 --dept_id 3
    """
    from foretail.pipelines.explain import explain_version

    settings = door.settings(home)
    wanted = key_words(keys, "explain", "as the key columns of the table are called")
    with door.progress() as progress:
        found = explain_version(
            model, wanted, date=date, table=table, future=future, settings=settings, progress=progress
        )
    if as_json:
        show_json(found.to_dict())
    else:
        click.echo(found.sentence())
        click.echo(f"\n{text_table(('what', 'part', 'total'), found.waterfall())}")
        largest = [(item["feature"], item["group"], item["part"]) for item in found.features[:_SHOWN_FEATURES]]
        click.echo(f"\n{text_table(('feature', 'group', 'part'), largest)}")
    click.echo("next: foretail forecast makes all forecasts; --json lists every feature", err=True)
