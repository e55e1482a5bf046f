"""The verbs of a fleet of per-series models: fleet train, status, retry, forecast, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretail.cli.door import Door
from foretail.cli.execution import executed
from foretail.cli.options import home_option, json_option, request_from, seed_option, store_options, table_options
from foretail.cli.show import show_json, text_table

if TYPE_CHECKING:
    from foretail.pipelines.fleet import SeriesVersion

__all__ = ["fleet"]

_SHOWN_ROWS = 12  # forecasts printed when JSON was not asked for
_STATUSES = click.Choice(("fallback", "failed", "stale", "skipped"))

fleet_option = click.option("--fleet", metavar="NAME", help="The fleet; by default the one trained last.")


@click.group()
def fleet() -> None:
    """Train and forecast one model per series, all at once."""


@fleet.command()
@table_options
@click.option(
    "--family", default="prophet", show_default=True, metavar="NAME", help="A family of one model per series."
)
@click.option("--last", default="120d", show_default=True, metavar="120d|all", help="History that a model sees.")
@click.option(
    "--windows", type=click.IntRange(min=1), default=5, show_default=True, metavar="N", help="Windows of walk-forward."
)
@click.option("--yearly", is_flag=True, help="Fit a yearly season on less than two years too, with a warning.")
@click.option("--fleet", metavar="NAME", help="What the fleet is called; by default as the dataset.")
@click.option(
    "--product", default="product_A", show_default=True, metavar="NAME", help="The product of a table of shops alone."
)
@seed_option
@store_options
@json_option
@click.pass_obj
@executed
def train(
    door: Door, /, home: Path | None, data: Path | None, workers: int | None, as_json: bool, **given: Any
) -> None:
    """Train every series of TABLE, and store versions and forecasts.

    Each series gets a version that counts up, measured by walk-forward, judged against its own champion and seasonal
    naive. Yearly seasons are not fitted on less than two years of history.
    """
    from foretail.pipelines.fleet import FleetRequest, fleet_train

    settings = door.settings(home, data, workers)
    request = FleetRequest(
        request_from({**given, "data": data}),
        family=given["family"],
        last=given["last"],
        n_windows=given["windows"],
        fleet=given["fleet"],
        product=given["product"],
        yearly=given["yearly"],
    )
    with door.progress() as progress:
        result = fleet_train(request, settings, progress)
    if as_json:
        show_json(result.to_dict())
    else:
        told = {**result.to_dict(), **result.counts, "seconds": round(sum(result.seconds.values()), 2)}
        click.echo(text_table(("what", "value"), [(key, told[key]) for key in told if key not in ("counts", "notes")]))
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"next: foretail fleet status --fleet {result.fleet}, then foretail fleet forecast", err=True)


@fleet.command()
@fleet_option
@home_option
@json_option
@click.pass_obj
def status(door: Door, /, fleet: str | None, home: Path | None, as_json: bool) -> None:
    """Show how a fleet stands: series by status, forecasts, and which series are not trained and why."""
    from foretail.pipelines.fleet import fleet_status

    found = fleet_status(door.settings(home), fleet)
    if as_json:
        show_json(found)
    else:
        wanting = found.pop("not_trained")
        counts = found.pop("counts")
        click.echo(text_table(("what", "value"), [*found.items(), *counts.items()]))
        if wanting:
            click.echo()
            header = ("unique_id", "status", "version", "reason")
            click.echo(text_table(header, [[item[name] for name in header] for item in wanting]))
    click.echo("next: foretail fleet show STORE PRODUCT, or foretail fleet retry", err=True)


@fleet.command()
@fleet_option
@click.option(
    "--status", "statuses", type=_STATUSES, multiple=True, default=("failed",), show_default=True,
    help="Try these again; may be repeated.",
)  # fmt: skip
@store_options
@json_option
@click.pass_obj
@executed
def retry(
    door: Door, /, fleet: str | None, statuses: tuple[str, ...], home: Path | None, workers: int | None, as_json: bool
) -> None:
    """Train the series again that failed; the rest of the fleet stays as it is."""
    from foretail.pipelines.fleet import fleet_retry

    with door.progress() as progress:
        made = fleet_retry(door.settings(home, workers=workers), progress, fleet, statuses=statuses)
    if as_json:
        show_json([item.to_dict() for item in made])
    else:
        click.echo(text_table(_VERSION_COLUMNS, [_version_row(item) for item in made]))
    click.echo(f"{len(made)} series were trained again\nnext: foretail fleet status", err=True)


@fleet.command()
@fleet_option
@click.option("--refresh", is_flag=True, help="Forecast anew from the newest sales, and store that.")
@store_options
@json_option
@click.pass_obj
@executed
def forecast(
    door: Door, /, fleet: str | None, refresh: bool, home: Path | None, workers: int | None, as_json: bool
) -> None:
    """Show the stored forecast of every series; it stays the same until it is refreshed."""
    from foretail.pipelines.fleet import fleet_forecast

    with door.progress() as progress:
        frame = fleet_forecast(door.settings(home, workers=workers), progress, fleet, refresh=refresh)
    if as_json:
        show_json(frame.to_dicts())
    else:
        columns = ("unique_id", "ds", "cutoff", "step", "y_hat", "q2_5", "q97_5", "model", "model_version", "source")
        shown = frame.head(_SHOWN_ROWS).select(name for name in columns if name in frame.columns)
        click.echo(text_table(shown.columns, shown.rows()))
        click.echo(f"{frame.height} rows, {shown.height} shown", err=True)
    click.echo("next: foretail fleet show STORE PRODUCT", err=True)


@fleet.command()
@click.argument("store")
@click.argument("product")
@fleet_option
@home_option
@json_option
@click.pass_obj
def show(door: Door, /, store: str, product: str, fleet: str | None, home: Path | None, as_json: bool) -> None:
    """Show one series: its versions, newest first, and the forecast of the one that answers."""
    from foretail.pipelines.fleet import SeriesVersion, fleet_show

    found = fleet_show(door.settings(home), store, product, fleet)
    if as_json:
        show_json(found)
    else:
        click.echo(f"{found['model_id']}, version {found['served_version']} answers\n")
        versions = [SeriesVersion(**item) for item in found["versions"]]
        click.echo(text_table(_VERSION_COLUMNS, [_version_row(item) for item in versions]))
        rows = [
            (row["ds"], row["step"], row["y_hat"], row.get("q2_5"), row.get("q97_5"), row["source"])
            for row in found["forecast"]
        ]
        click.echo("\n" + text_table(("ds", "step", "y_hat", "q2_5", "q97_5", "source"), rows))
    click.echo("next: foretail fleet forecast, or foretail fleet train to train all again", err=True)


_VERSION_COLUMNS = ("unique_id", "version", "status", "champion", "wape", "skill", "coverage_80", "created", "reason")


def _version_row(item: SeriesVersion) -> tuple[object, ...]:
    scores = [item.metrics.get(name) for name in ("wape", "skill", "coverage_80")]
    created = None if item.created_on is None else item.created_on.isoformat(" ", "seconds")
    return (item.unique_id, item.version, item.status, "*" if item.is_champion else "", *scores, created, item.reason)
