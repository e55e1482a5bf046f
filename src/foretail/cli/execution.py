"""`--execution`: a verb runs its fits in processes or on a Ray, or the whole of it as a job of a Ray cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from foretail.core.settings import Settings

__all__ = ["WORDS", "executed"]

WORDS = "foretail.words"  # in the context: what was typed after `foretail`
_OPTION = "--execution"


def executed(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--execution`` to a verb, and run it there."""

    @click.option(
        _OPTION,
        metavar="WHERE",
        help="Where fits run: processes (as it is by default), ray, ray://HOST:PORT, HOST:PORT; or ray-jobs://URL.",
    )
    @functools.wraps(verb)
    def wrapped(*args: Any, execution: str | None, **given: Any) -> Any:
        from foretail.execution.ray_jobs import JOBS

        settings = Settings.load(execution=execution)
        if settings.execution.startswith(JOBS):
            context = click.get_current_context()
            context.exit(_as_job(settings.execution.removeprefix(JOBS), context.meta.get(WORDS, ())))
        from foretail.execution.ray import execution_of

        with execution_of(settings.execution, settings.n_workers):
            return verb(*args, **given)

    return wrapped


def _as_job(url: str, words: Sequence[str]) -> int:
    """Run the same words on the cluster, where fits run as its tasks."""
    from foretail.execution.ray_jobs import run_as_job, told

    environment, kept = told()
    if kept:
        click.echo(f"kept here, since whoever sees the job could read it: {', '.join(kept)}", err=True)
        click.echo("the nodes need these in their own environment", err=True)
    command = ["foretail", *_without_execution(words)]
    environment["FORETAIL_EXECUTION"] = "ray"
    return run_as_job(
        url, command, folder=str(Path.cwd()), environment=environment, say=lambda line: click.echo(line, err=True)
    )


def _without_execution(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith(f"{_OPTION}="):
            skip = False
        elif word == _OPTION:
            skip = True
        else:
            kept.append(word)
    return kept
