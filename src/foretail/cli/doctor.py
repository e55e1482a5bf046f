"""The verb doctor: what is installed, what answers, what is missing and how to get it."""

from __future__ import annotations

from pathlib import Path

import click

from foretail.cli.door import Door
from foretail.cli.options import data_option, home_option, json_option
from foretail.cli.show import show_json, text_table

__all__ = ["doctor"]


@click.command()
@home_option
@data_option
@json_option
@click.pass_obj
def doctor(door: Door, /, home: Path | None, data: Path | None, as_json: bool) -> None:
    """Say what is installed, what answers and what is missing.

    What is missing comes with how to get it. Leaves with 1 only if something that the core needs is broken.
    """
    from foretail.pipelines.doctor import diagnose

    diagnosis = diagnose(door.settings(home, data))
    if as_json:
        show_json(diagnosis.to_dict())
    else:
        rows = [(sign.state, sign.group, sign.name, sign.found, sign.fix) for sign in diagnosis.signs]
        click.echo(text_table(("state", "group", "what", "found", "fix"), rows))
    broken = [sign.name for sign in diagnosis.signs if sign.state == "broken"]
    if broken:
        click.echo(f"next: mend {', '.join(broken)}", err=True)
        click.get_current_context().exit(1)
    click.echo("next: foretail run SALES.csv --horizon 28", err=True)
