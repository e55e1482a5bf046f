"""The verbs that look at results and versions: leaderboard, models list / show / promote / rollback."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from foretail.cli.door import Door
from foretail.cli.options import home_option, json_option
from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError

if TYPE_CHECKING:
    from foretail.registry.versions import ModelVersion

__all__ = ["leaderboard", "models"]

_ENSEMBLE = "ensemble"  # of the families on the board: not one to ask for by its own name


@click.command()
@click.argument("folder", metavar="DIR", default="foretail-out", type=click.Path(path_type=Path))
@json_option
def leaderboard(folder: Path, as_json: bool) -> None:
    """Show the leaderboard that run or backtest wrote.

    DIR is the --out folder of that run; foretail-out if left out.
    """
    from foretail.backtest.result import Leaderboard
    from foretail.report.text import leaderboard_text

    path = folder / "leaderboard.json" if folder.is_dir() else folder
    try:
        board = Leaderboard.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        fix = "the --out folder of foretail run or foretail backtest"
        raise UsageError(f"there is no leaderboard to read: {error}\n  where: {path}\n  fix:   {fix}") from error
    except (ValueError, KeyError, TypeError) as error:
        fix = "run foretail backtest again"
        raise UsageError(f"not a leaderboard: {error!r}\n  where: {path}\n  fix:   {fix}") from error
    if as_json:
        show_json(board.to_dict())
    else:
        click.echo(leaderboard_text(board))
    best = next(row.model for row in board.rows if row.model != _ENSEMBLE)
    click.echo(f"next: foretail run or foretail train with --models {shlex.quote(best)} to use that alone", err=True)


@click.group()
def models() -> None:
    """List, show, promote and roll back model versions."""


@models.command("list")
@click.argument("name", required=False)
@home_option
@json_option
@click.pass_obj
def list_models(door: Door, /, name: str | None, home: Path | None, as_json: bool) -> None:
    """List the registered versions, of all models or of NAME."""
    from foretail.registry.versions import Registry

    versions = Registry(door.settings(home)).list_versions(name)
    if as_json:
        show_json([asdict(version) for version in versions])
    else:
        rows = [(item.name, item.version, ", ".join(item.aliases), item.created, item.run_id) for item in versions]
        click.echo(text_table(("name", "version", "aliases", "created", "run_id"), rows))
    next_step = (
        "foretail models show NAME VERSION, or foretail forecast NAME@champion" if versions else "foretail train"
    )
    click.echo(f"next: {next_step}", err=True)


@models.command()
@click.argument("model")
@click.argument("version", required=False)
@home_option
@json_option
@click.pass_obj
def show(door: Door, /, model: str, version: str | None, home: Path | None, as_json: bool) -> None:
    """Show everything about one version.

    MODEL VERSION, or MODEL/VERSION, or MODEL@ALIAS; the champion if no version is named.
    """
    from foretail.registry.versions import Registry

    name, which = _reference(model, version, "champion")
    found = Registry(door.settings(home)).show(name, which)
    if as_json:
        show_json(asdict(found))
    else:
        click.echo(text_table(("what", "value"), _facts(found)))
    click.echo(
        f"next: foretail forecast {name}/{found.version}, or foretail models promote {name} {found.version}", err=True
    )


@models.command()
@click.argument("model")
@click.argument("version", required=False)
@click.option("--force", is_flag=True, help="Whatever the gate says; recorded with the version.")
@home_option
@json_option
@click.pass_obj
def promote(door: Door, /, model: str, version: str | None, force: bool, home: Path | None, as_json: bool) -> None:
    """Make a version the champion if the gate agrees.

    MODEL VERSION, or MODEL/VERSION, or MODEL@ALIAS; the candidate if no version is named. A refusal is exit code 4.
    """
    from foretail.registry.versions import Registry

    name, which = _reference(model, version, "candidate")
    decision = Registry(door.settings(home)).promote(name, which, force=force)
    if as_json:
        show_json(asdict(decision))
    else:
        click.echo(decision.to_text())
    click.echo(f"next: foretail forecast {name}@champion; to undo, foretail models rollback {name}", err=True)


@models.command()
@click.argument("name")
@home_option
@json_option
@click.pass_obj
def rollback(door: Door, /, name: str, home: Path | None, as_json: bool) -> None:
    """Give the title back to the champion before this one."""
    from foretail.registry.versions import Registry

    now = Registry(door.settings(home)).rollback(name)
    if as_json:
        show_json(asdict(now))
    else:
        click.echo(f"{name} version {now.version} is the champion again")
    click.echo(f"next: foretail forecast {name}@champion", err=True)


def _reference(model: str, version: str | None, default: str) -> tuple[str, str]:
    """Name and version (or alias) of ``NAME VERSION``, ``NAME/VERSION`` or ``NAME@ALIAS``."""
    name, mark, which = model.partition("@") if "@" in model else model.partition("/")
    if mark and version is not None:
        raise UsageError(
            f"two versions are named.\n  where: {model} and {version}\n  fix:   MODEL VERSION or MODEL/VERSION"
        )
    return name, which or version or default


def _facts(version: ModelVersion) -> list[tuple[str, object]]:
    head = asdict(version)
    parts = [head.pop(key) for key in ("metrics", "params", "tags")]
    head["aliases"] = ", ".join(version.aliases)
    return [(key, value) for values in (head, *parts) for key, value in values.items()]
