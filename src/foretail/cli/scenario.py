"""The option of forecast that asks what would be sold under other prices, promotions and opening days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from foretail.cli.door import Door
from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError

__all__ = ["forecast_under", "scenario_option"]

_SHOWN_ROWS = 12

scenario_option = click.option(
    "--scenario", metavar="TABLE", help="Keys (empty for all), date or from and to, and new values of known columns."
)


def forecast_under(
    door: Door,
    model: str,
    scenario: str,
    *,
    beside: bool,
    home: Path | None,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Run ``foretail forecast MODEL --scenario TABLE`` and show what comes of it.

    Parameters
    ----------
    beside : whether other options that change the kind of forecast were given. given : table, future, horizon.

    Raises
    ------
    UsageError : the scenario is asked for beside such options.
    """
    if beside:
        raise UsageError(
            "a scenario is compared with the plain forecast only.\n  where: --scenario with --samples or --hierarchy"
            "\n  fix:   ask twice: once for the scenario, once for the other"
        )
    from foretail.pipelines.scenario import forecast_scenario

    settings = door.settings(home)
    with door.progress() as progress:
        found = forecast_scenario(model, scenario, out=out, settings=settings, progress=progress, **given)
    summary = found.summary
    if as_json:
        show_json({**summary, "rows": found.frame.to_dicts()})
    else:
        _show(found.frame, summary)
    for warning in summary["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"next: open {out / 'scenario.html'}; the rows are in {out / 'scenario.csv'}", err=True)


def _show(frame: Any, summary: dict[str, Any]) -> None:
    ends = [name for name in ("difference_q10", "difference_q90") if name in frame.columns]
    rows = [
        ("as planned", summary["y_hat_base"]),
        ("in the scenario", summary["y_hat"]),
        ("difference", summary["difference"]),
        *((f"difference, {name.removeprefix('difference_q')} %", summary[name]) for name in ends),
    ]
    click.echo(text_table(("total", "value"), rows))
    first = frame.columns[: frame.columns.index("step") + 1]
    shown = frame.select(*first, "y_hat_base", "y_hat", "difference", *ends).head(_SHOWN_ROWS)
    click.echo(f"\n{text_table(shown.columns, shown.rows())}")
    click.echo(f"{frame.height} rows of {summary['n_series']} series, {shown.height} rows shown", err=True)
    click.echo(f"the interval of the difference is by {summary['interval']}", err=True)
