"""The verb tune: look for better parameters than the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretail.cli.door import Door
from foretail.cli.options import (
    budget_option,
    json_option,
    models_option,
    out_option,
    request_from,
    seed_option,
    store_options,
    table_options,
)
from foretail.cli.show import show_json, text_table

__all__ = ["tune"]


@click.command()
@table_options
@models_option
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Trials per family, earlier ones included.")
@budget_option
@seed_option
@out_option("foretail-out")
@store_options
@json_option
@click.pass_obj
def tune(
    door: Door,
    /,
    trials: int | None,
    out: Path,
    home: Path | None,
    data: Path | None,
    workers: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Look for better parameters of the families on TABLE.

    Only what beats the defaults by more than noise is recommended. Windows that a backtest reports are not looked at.
    The same question asked again goes on where it stopped. Writes tuning.json under --out.
    """
    from foretail.pipelines.tune import tune_request

    settings = door.settings(home, data, workers)
    request = request_from({**given, "data": data})
    with door.progress() as progress:
        result = tune_request(request, trials, out, settings, progress)
    if as_json:
        show_json(result.summary)
    else:
        click.echo(_table(result.summary["families"]))
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    for item in result.tunings:
        click.echo(f"result: {item.verdict}", err=True)
    click.echo(f"next: {result.next_command}", err=True)
    if all(item.default is None for item in result.tunings):
        click.get_current_context().exit(1)


def _table(families: list[dict[str, Any]]) -> str:
    header = ("family", "trials", "stopped", "failed", "WAPE default", "WAPE best", "gain", "noise", "recommended")
    names = ("family", "n_trials", "n_stopped", "n_failed", "wape_default", "wape_best", "gain", "noise", "recommended")
    return text_table(header, [[item[name] for name in names] for item in families])
