"""The verbs that serve: serve kserve, serve api, serve worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretail.cli.door import Door
from foretail.cli.features import repo_option
from foretail.cli.options import duration, home_option, json_option, store_options
from foretail.cli.show import show_json

if TYPE_CHECKING:
    from foretail.serving.kserve import Addresses

__all__ = ["serve"]

_PORT = click.IntRange(0, 65535)


@click.group()
def serve() -> None:
    """Serve model versions to other programs."""


@serve.command()
@click.option("--model", "models", multiple=True, required=True, metavar="REF", help="What to serve; may be repeated.")
@click.option("--canary", metavar="ALIAS=N", help="N per cent of the requests go to that alias: challenger=10.")
@click.option("--shadow", default="", metavar="ALIAS", help="Mirror the requests to that alias, compare and count.")
@click.option("--http-port", type=_PORT, default=8080, show_default=True, metavar="N", help="V1 and V2 over HTTP.")
@click.option("--grpc-port", type=_PORT, default=8081, show_default=True, metavar="N", help="V2 over gRPC.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="0.0.0.0 in a container.")
@click.option("--poll", "poll_s", type=click.FloatRange(min=0.05), default=10.0, show_default=True, metavar="S",
              help="Seconds between looks at where the aliases stand.")  # fmt: skip
@click.option("--drain", "drain_s", type=click.FloatRange(min=0), default=2.0, show_default=True, metavar="S",
              help="Seconds it still answers after SIGTERM.")  # fmt: skip
@click.option("--request-log", default="", metavar="FILE", help="One JSON line a request; - for stderr.")
@click.option("--max-instances", type=click.IntRange(min=1), default=5_000, show_default=True, metavar="N",
              help="Instances and rows of one request.")  # fmt: skip
@repo_option
@home_option
@json_option
@click.pass_obj
def kserve(
    door: Door,
    /,
    models: tuple[str, ...],
    canary: str | None,
    shadow: str,
    http_port: int,
    grpc_port: int,
    host: str,
    poll_s: float,
    drain_s: float,
    request_log: str,
    max_instances: int,
    repo: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Answer KServe's protocols: V1 predict and explain, V2 over REST and gRPC.

    REF is NAME (its champion), NAME@alias, NAME/version, or NAME=FOLDER of a bundle. Versions of one name are served
    side by side. An alias that moves is followed without dropping a request. Runs until SIGTERM or Ctrl-C.
    """
    from foretail.core.errors import MissingExtraError

    settings = door.settings(home)
    try:
        from foretail.serving.kserve import Options, serve
        from foretail.serving.traffic import Canary
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "kserve", "serving") from error

    options = Options(
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        poll_s=poll_s,
        drain_s=drain_s,
        request_log=request_log,
        max_instances=max_instances,
    )
    serve(
        models,
        settings,
        options,
        lambda addresses: _tell(addresses, models, as_json),
        canary=Canary.parse(canary) if canary else None,
        shadow=shadow,
        repo=repo,
    )


_fleet_option = click.option("--fleet", required=True, metavar="NAME", help="The fleet, as `fleet train` named it.")


@serve.command()
@_fleet_option
@click.option("--trainer", is_flag=True, help="The trainer alone; both services by default.")
@click.option("--forecaster", is_flag=True, help="The forecaster alone; both services by default.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="0.0.0.0 in a container.")
@click.option("--port", type=_PORT, default=8001, show_default=True, metavar="N", help="HTTP; 0 takes a free one.")
@click.option("--token", envvar="FORETAIL_TOKEN", default="", metavar="TEXT",
              help="Needed to train; else $FORETAIL_TOKEN, which no list of processes shows.")  # fmt: skip
@click.option("--root-path", default="", metavar="PATH", help="Where a proxy shows it: /api/trainers.")
@click.option("--proxies", default="127.0.0.1", show_default=True, metavar="A,B",
              help="Proxies whose word on the client's address counts.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0), default=100.0, show_default=True, metavar="N",
              help="Requests a second from one address; 0 for no limit.")  # fmt: skip
@click.option("--max-pairs", type=click.IntRange(min=1), default=10_000, show_default=True, metavar="N",
              help="Pairs of one request.")  # fmt: skip
@click.option("--series-timeout", type=duration, default="2m", show_default=True, metavar="TIME",
              help="A series that is not trained then has failed.")  # fmt: skip
@click.option("--fleet-timeout", type=duration, default="6h", show_default=True, metavar="TIME",
              help="The same for the whole fleet.")  # fmt: skip
@click.option("--request-log", default="", metavar="FILE", help="One JSON line a request; - for stderr.")
@home_option
@json_option
@click.pass_obj
def api(
    door: Door,
    /,
    fleet: str,
    trainer: bool,
    forecaster: bool,
    host: str,
    port: int,
    token: str,
    root_path: str,
    proxies: str,
    rate: float,
    max_pairs: int,
    series_timeout: float,
    fleet_timeout: float,
    request_log: str,
    home: Path | None,
    as_json: bool,
) -> None:
    """Train and forecast on demand: POST /train, /STORE/PRODUCT/train and /forecast, GET /health and /metrics.

    Jobs are done by `foretail serve worker`. Runs until SIGTERM or Ctrl-C.
    """
    settings = door.settings(home)
    try:
        from foretail.serving.api_server import ApiOptions, serve_api
        from foretail.serving.trainer import TrainerOptions
    except ModuleNotFoundError as error:
        raise _missing(error) from error

    options = ApiOptions(
        fleet=fleet,
        trainer=trainer or not forecaster,
        forecaster=forecaster or not trainer,
        host=host,
        port=port,
        token=token,
        root_path=root_path,
        proxies=proxies,
        rate=rate,
        max_pairs=max_pairs,
        request_log=request_log,
        run_id=door.run_id,
        jobs=TrainerOptions(series_timeout, fleet_timeout),
    )
    serve_api(settings, options, lambda address: _tell_api(address, fleet, as_json))


@serve.command()
@_fleet_option
@click.option("--grace", "grace_s", type=duration, default="25s", show_default=True, metavar="TIME",
              help="What the job under way gets after SIGTERM; then another worker does it.")  # fmt: skip
@store_options
@json_option
@click.pass_obj
def worker(door: Door, /, fleet: str, grace_s: float, home: Path | None, workers: int | None, as_json: bool) -> None:
    """Do the jobs that `serve api` takes: train a series, or the whole fleet as it was trained before.

    Start as many as jobs are to run at once. Runs until SIGTERM or Ctrl-C.
    """
    settings = door.settings(home, workers=workers)
    try:
        from foretail.serving.job_kinds import JobKinds
        from foretail.serving.worker import Worker, WorkerOptions
        from foretail.warehouse.database import opened_warehouse
        from foretail.warehouse.jobs import Jobs
    except ModuleNotFoundError as error:
        raise _missing(error) from error

    told = {
        "kinds": JobKinds(fleet, settings).to_plain(),
        "run_id": door.run_id,
        "verbose": door.verbose,
        "log_format": settings.log_format,
    }
    command = [sys.executable, "-m", "foretail.cli.job_process"]
    with opened_warehouse(settings.warehouse) as engine:
        worker = Worker(Jobs(engine), command, told, WorkerOptions(grace_s=grace_s))
        worker.run(lambda name: _tell_worker(name, fleet, as_json))


def _missing(error: ModuleNotFoundError) -> Exception:
    from foretail.core.errors import MissingExtraError

    return MissingExtraError(error.name or "fastapi", "serving")


def _tell_api(address: str, fleet: str, as_json: bool) -> None:
    if as_json:
        show_json({"http": address, "fleet": fleet})
    click.echo(f"serving the fleet {fleet} at {address}", err=True)
    click.echo(f"next: foretail serve worker --fleet {fleet}; curl {address}/health; Ctrl-C ends it", err=True)


def _tell_worker(name: str, fleet: str, as_json: bool) -> None:
    if as_json:
        show_json({"worker": name, "fleet": fleet})
    click.echo(f"worker {name} waits for jobs of the fleet {fleet}; Ctrl-C ends it", err=True)


def _tell(addresses: Addresses, models: tuple[str, ...], as_json: bool) -> None:
    """Say where it answers, once it does."""
    if as_json:
        show_json({"http": addresses.http, "grpc": addresses.grpc, "models": list(models)})
    click.echo(f"serving {', '.join(models)} at {addresses.http} and grpc {addresses.grpc}", err=True)
    click.echo(f"next: curl {addresses.http}/v1/models; Ctrl-C ends it", err=True)
