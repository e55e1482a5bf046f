"""The verb that lists days outside their interval."""

from __future__ import annotations

from pathlib import Path

import click

from foretail.cli.door import Door
from foretail.cli.options import comma_list, home_option, json_option, out_option
from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError, nearest

__all__ = ["anomalies"]

_SHOWN = 20  # days printed when JSON was not asked for; all of them are in the files


@click.command()
@click.argument("model")
@click.option("--table", metavar="TABLE", help="Sales told since, with their history; else the days of the backtest.")
@click.option("--cause", type=comma_list, metavar="A,B", help="Show these causes only; else all but chance.")
@out_option("foretail-out")
@home_option
@json_option
@click.pass_obj
def anomalies(
    door: Door,
    /,
    model: str,
    table: str | None,
    cause: tuple[str, ...] | None,
    out: Path,
    home: Path | None,
    as_json: bool,
) -> None:
    """List days outside their interval, with size and likely cause.

    MODEL is what foretail forecast takes. Causes: data error, closed, stockout, holiday, promotion, unknown, chance.
    """
    from foretail.backtest.causes import CAUSES, CHANCE
    from foretail.pipelines.anomalies import anomalies_version

    unknown = next((name for name in cause or () if name not in CAUSES), None)
    if unknown is not None:
        raise UsageError(f"{unknown!r} is no cause.\n  where: --cause\n  fix:   {nearest(unknown, CAUSES)}")
    settings = door.settings(home)
    with door.progress() as progress:
        found = anomalies_version(model, table=table, out=out, settings=settings, progress=progress)
    wanted = cause or tuple(name for name in CAUSES if name != CHANCE)
    if as_json:
        show_json(found.to_dict(wanted))
    else:
        shown = found.of(wanted).head(_SHOWN)
        click.echo(text_table(shown.columns, shown.rows()))
    told = ", ".join(f"{name} {n}" for name, n in found.counts.items()) or "none"
    among = "" if found.n_days is None else f" of {found.n_days}"
    click.echo(f"{found.frame.height}{among} days outside their 95 % interval: {told}", err=True)
    click.echo(f"next: all of them are in {out / 'anomalies.csv'}", err=True)
