"""The verbs that forecast: run, backtest, train, forecast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from foretail.cli.aging import refit_option, show_aging
from foretail.cli.door import Door
from foretail.cli.elsewhere import place_from, place_options, train_elsewhere
from foretail.cli.execution import executed
from foretail.cli.options import hierarchy_option, home_option, job_options, json_option, out_option, request_from
from foretail.cli.samples import sample_options, samples_from
from foretail.cli.scenario import forecast_under, scenario_option
from foretail.cli.show import show_json, text_table
from foretail.core.locations import without_password

__all__ = ["backtest", "forecast", "run", "train"]

_SHOWN_ROWS = 12  # forecasts printed when JSON was not asked for; all of them are in the files


@click.command()
@executed
@job_options
def run(
    door: Door, /, out: Path, home: Path | None, data: Path | None, workers: int | None, as_json: bool, **given: Any
) -> None:
    """Check, backtest, select, train, forecast and report on TABLE.

    TABLE is a CSV or Parquet file (or an fsspec URL), a spec file, or a known layout: walmart, rossmann,
    online-retail, synthetic. Keys, time, target and frequency are guessed when left out, and the guess is said.
    """
    from foretail.pipelines.run import run_request
    from foretail.report.text import leaderboard_text

    settings = door.settings(home, data, workers)
    request = request_from({**given, "data": data})
    with door.progress() as progress:
        result = run_request(request, out, settings, progress)
    if as_json:
        show_json(result.summary)
    else:
        click.echo(leaderboard_text(result.leaderboard))
    _tell(result.notes)
    click.echo(f"result: {result.summary['verdict']}", err=True)
    click.echo(
        f"next: open {result.out / 'report.html'}; the forecasts are in {result.out / 'forecasts.csv'}", err=True
    )


@click.command()
@executed
@refit_option
@job_options
def backtest(
    door: Door, /, out: Path, home: Path | None, data: Path | None, workers: int | None, as_json: bool, **given: Any
) -> None:
    """Compare model families on TABLE over rolling windows.

    Writes leaderboard.json and backtest.parquet under --out.
    """
    from foretail.pipelines.aging import aging_request
    from foretail.pipelines.backtest import backtest_request
    from foretail.report.text import leaderboard_text

    settings = door.settings(home, data, workers)
    request = request_from({**given, "data": data})
    refit, found = given["refit"], None
    with door.progress() as progress:
        if refit is None:
            board = backtest_request(request, out, settings, progress)
        else:
            board, found = aging_request(request, refit or None, out, settings, progress)
    if as_json:
        show_json(board.to_dict() if found is None else {**board.to_dict(), "aging": found.to_dict()})
    else:
        click.echo(leaderboard_text(board))
    if found is not None:
        show_aging(found, out, as_json=as_json)
    table = without_password(given["table"])
    click.echo(f"next: foretail train {table} with the same options; scores are in {out}", err=True)


@click.command()
@executed
@click.option("--nproc", type=click.IntRange(min=1), metavar="N", help="Processes that train the neural family (DDP).")
@place_options
@job_options
def train(
    door: Door, /, out: Path, home: Path | None, data: Path | None, workers: int | None, as_json: bool, **given: Any
) -> None:
    """Select, fit and register a model; the gate decides on it.

    The model that a backtest on TABLE selects becomes a version; it is champion if it beats the present champion and
    seasonal naive on the same windows. With --models neural --nproc N the networks train in N processes.
    """
    from foretail.pipelines.torchrun import Nodes
    from foretail.pipelines.train import train_request

    settings = door.settings(home, data, workers)
    place = place_from(given)
    request = request_from({**given, "data": data})
    if place:
        train_elsewhere(request, out, settings, place, nproc=given.get("nproc"), as_json=as_json)
        return
    nodes = Nodes.of(os.environ, given["nproc"])
    with door.progress() as progress:
        if nodes is None:
            result = train_request(request, out, settings, progress)
        else:
            from foretail.pipelines.distributed import train_distributed

            result = train_distributed(request, out, settings, progress, nodes)
    if as_json:
        show_json(result)
    else:
        rows = [(key, _short(value)) for key, value in result.items() if key != "gate"]
        click.echo(text_table(("what", "value"), rows))
        click.echo(f"\n{result['gate']}" if "gate" in result else "")
    click.echo("next: foretail models list, then foretail forecast MODEL", err=True)


@click.command()
@click.argument("model")
@click.option("--table", metavar="TABLE", help="Newer sales to forecast from; else those the version was fitted on.")
@click.option("--future", metavar="TABLE", help="Keys, dates to forecast and known columns, as a table.")
@click.option("--horizon", type=click.IntRange(min=1), metavar="N", help="Periods to forecast; else as fitted.")
@hierarchy_option
@sample_options
@scenario_option
@out_option("foretail-out")
@home_option
@json_option
@click.pass_obj
def forecast(
    door: Door,
    /,
    model: str,
    table: str | None,
    future: str | None,
    horizon: int | None,
    hierarchy: tuple[str, ...] | None,
    scenario: str | None,
    samples: int | None,
    lead_time: tuple[int, ...],
    total_by: tuple[tuple[str, ...], ...] | None,
    sample_seed: int,
    out: Path,
    home: Path | None,
    as_json: bool,
) -> None:
    """Forecast with a registered version.

    MODEL is NAME, NAME@ALIAS or NAME/VERSION (see foretail models list), or the folder of a bundle.
    """
    if scenario is not None:
        given: dict[str, Any] = {"table": table, "future": future, "horizon": horizon}
        beside = samples is not None or bool(hierarchy)
        forecast_under(door, model, scenario, beside=beside, home=home, out=out, as_json=as_json, **given)
        return
    from foretail.pipelines.forecast import forecast_version

    settings = door.settings(home)
    asked = samples_from(samples, lead_time, total_by, sample_seed)
    notes: list[str] = []
    with door.progress() as progress:
        frame = forecast_version(
            model,
            table=table,
            future=future,
            horizon=horizon,
            out=out,
            settings=settings,
            progress=progress,
            samples=asked,
            hierarchy=hierarchy or (),
            tell=notes.append,
        )
    _tell(tuple(notes))
    if as_json:
        show_json(frame.to_dicts())
    else:
        shown = frame.head(_SHOWN_ROWS)
        click.echo(text_table(shown.columns, shown.rows()))
        click.echo(f"{frame.height} rows, {shown.height} shown", err=True)
    if asked is not None:
        _tell(asked.notes)
        click.echo(f"{asked.n_samples} joint samples are in {out / 'samples.parquet'}", err=True)
        click.echo(f"their totals are in {out / 'totals.csv'}", err=True)
    click.echo(f"next: all forecasts are in {out}", err=True)


def _tell(notes: tuple[str, ...]) -> None:
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _short(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{key} {share:.3g}" for key, share in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
