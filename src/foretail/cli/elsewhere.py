"""`foretail train --on kubeflow`: the options that say where a model trains, and the answer when it is not here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError

if TYPE_CHECKING:
    from foretail.core.settings import Settings
    from foretail.pipelines.request import Request

__all__ = ["place_from", "place_options", "train_elsewhere"]

_OPTIONS = (
    click.option(
        "--on",
        type=click.Choice(["here", "kubeflow", "kubeflow-local"]),
        default="here",
        show_default=True,
        help="Where to train: here, as a Kubeflow TrainJob on the cluster, or in a local process of Kubeflow's SDK.",
    ),
    click.option("--nodes", type=click.IntRange(min=1), metavar="N", help="With --on kubeflow: nodes of the job."),
    click.option("--namespace", metavar="NAME", help="With --on kubeflow: of the job; else the current context's."),
    click.option("--runtime", metavar="NAME", help="With --on kubeflow: the runtime on the cluster."),
    click.option("--wait", is_flag=True, help="With --on kubeflow: return when the job has ended."),
)


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--on``, ``--nodes``, ``--namespace``, ``--runtime``, ``--wait``."""
    return reduce(lambda done, add: add(done), reversed(_OPTIONS), command)


def place_from(given: dict[str, Any]) -> dict[str, Any] | None:
    """Take the values of `place_options` out of a verb's options; None where the model trains here.

    Raises
    ------
    UsageError : an option that only a job elsewhere has, without a job elsewhere.
    """
    place = {name: given.pop(name) for name in ("on", "nodes", "namespace", "runtime", "wait")}
    if place["on"] != "here":
        return place
    alone = [name for name, value in place.items() if name != "on" and value]
    if alone:
        raise UsageError(
            f"--{alone[0]} says nothing about training here.\n  where: --{alone[0]}\n"
            "  fix:   add --on kubeflow, or leave it out"
        )
    return None


def train_elsewhere(
    request: Request, out: Path, settings: Settings, place: Mapping[str, Any], *, nproc: int | None, as_json: bool
) -> None:
    """Train where ``--on`` says, and tell what became of it.

    Parameters
    ----------
    place : the values of `place_options`.
    nproc : processes per node, None for the runtime's own number.
    """
    from foretail.pipelines.kubeflow import RUNTIME, Place, train_on_kubeflow

    where = Place(
        local=place["on"] == "kubeflow-local",
        nodes=place["nodes"],
        processes=nproc,
        namespace=place["namespace"],
        runtime=place["runtime"] or RUNTIME,
    )
    result = train_on_kubeflow(
        request, out, where, settings, wait=place["wait"], tell=lambda line: click.echo(line, err=True)
    )
    if as_json:
        show_json(result)
    else:
        click.echo(text_table(("what", "value"), [(key, value) for key, value in result.items() if value is not None]))
    click.echo(_next(result), err=True)


def _next(result: Mapping[str, Any]) -> str:
    if result["status"] == "Complete":
        return "next: foretail models list, then foretail forecast MODEL"
    return f"next: kubectl get trainjob {result['job']} -n {result['namespace']}, then foretail models list"
