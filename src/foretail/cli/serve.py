"""The verbs that serve: serve kserve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretail.cli.door import Door
from foretail.cli.features import repo_option
from foretail.cli.options import home_option, json_option
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


def _tell(addresses: Addresses, models: tuple[str, ...], as_json: bool) -> None:
    """Say where it answers, once it does."""
    if as_json:
        show_json({"http": addresses.http, "grpc": addresses.grpc, "models": list(models)})
    click.echo(f"serving {', '.join(models)} at {addresses.http} and grpc {addresses.grpc}", err=True)
    click.echo(f"next: curl {addresses.http}/v1/models; Ctrl-C ends it", err=True)
