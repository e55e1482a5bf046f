"""The `foretail` command: finds the verb, and turns whatever goes wrong into a message and an exit code.

Nothing heavy is imported here or in the modules of the verbs; a verb imports its pipeline when it runs.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

import click

from foretail import __version__
from foretail.cli.door import Door
from foretail.cli.execution import WORDS
from foretail.core.errors import DataError, ForetailError, Problem, nearest

__all__ = ["VerbGroup", "cli", "main"]

_VERBS = {
    "run": "foretail.cli.forecasting:run",
    "init": "foretail.cli.tables:init",
    "check": "foretail.cli.tables:check",
    "backtest": "foretail.cli.forecasting:backtest",
    "tune": "foretail.cli.tuning:tune",
    "train": "foretail.cli.forecasting:train",
    "forecast": "foretail.cli.forecasting:forecast",
    "explain": "foretail.cli.explain:explain",
    "anomalies": "foretail.cli.anomalies:anomalies",
    "leaderboard": "foretail.cli.versions:leaderboard",
    "models": "foretail.cli.versions:models",
    "features": "foretail.cli.features:features",
    "fleet": "foretail.cli.fleet:fleet",
    "warehouse": "foretail.cli.warehouse:warehouse",
    "stream": "foretail.cli.stream:stream",
    "serve": "foretail.cli.serve:serve",
    "doctor": "foretail.cli.doctor:doctor",
}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_EPILOG = "Exit codes: 0 done, 1 failed, 2 usage, 3 data error, 4 promotion refused."


class VerbGroup(click.Group):
    """A group whose verbs are imported when they are asked for.

    Parameters
    ----------
    verbs : verb -> ``module:command``, in the order of the help.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.verbs = dict(verbs or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table."""
        return [*self.verbs, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in self.verbs:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.verbs[cmd_name].partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember what was typed: a verb may have to say it again elsewhere."""
        ctx.meta.setdefault(WORDS, tuple(args))
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; an unknown one is answered with those that exist."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"unknown verb {args[0]!r}: {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # click's own is overloaded on standalone_mode, which is not ours to choose
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and leave with its exit code; every error becomes a message on stderr."""
        given = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in given
        try:
            code = super().main(given, prog_name, **{**extra, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            _tell_json(as_json, "UsageError", error.format_message(), error.exit_code)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted: what an earlier run wrote is as it was", err=True)
            sys.exit(_INTERRUPTED)
        except Exception as error:
            sys.exit(_tell(error, as_json=as_json, debug="--debug" in given))
        sys.exit(code if isinstance(code, int) else 0)


def _tell(error: Exception, *, as_json: bool, debug: bool) -> int:
    """Show an error and give its exit code."""
    known = _as_known(error)
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if known is None:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(f"error: unexpected {text} (foretail --debug … shows where)", err=True)
        _tell_json(as_json, type(error).__name__, str(error), 1)
        return 1
    click.echo(f"error: {known}", err=True)
    problems = known.problems if isinstance(known, DataError) else ()
    _tell_json(as_json, type(known).__name__, str(known), known.exit_code, problems)
    return known.exit_code


def _as_known(error: Exception) -> ForetailError | None:
    """The error as one of ours: itself, or a disk that is full; None for a surprise."""
    if isinstance(error, ForetailError):
        return error
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or "No space left on device" in str(error) or "database or disk is full" in str(error):
        where = str(getattr(error, "filename", None) or error)
        fix = "free some space, or write elsewhere with --out and --home"
        return DataError(Problem("no space left on the disk", where, fix))
    return None


def _tell_json(as_json: bool, title: str, detail: str, exit_code: int, problems: Sequence[Problem] = ()) -> None:
    """The error as a problem (RFC 9457 members) on stdout, for those who asked for JSON."""
    if not as_json:
        return
    listed = [{"what": item.what, "where": item.where, "fix": item.fix} for item in problems]
    problem = {"type": "about:blank", "title": title, "detail": detail, "exit_code": exit_code, "problems": listed}
    click.echo(json.dumps(problem, indent=2))


@click.group(cls=VerbGroup, verbs=_VERBS, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="foretail")
@click.option("--verbose", "-v", is_flag=True, help="Log what is done, on stderr.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool, debug: bool) -> None:
    """Forecast retail demand: from a table of sales to forecasts with measured intervals.

    Start with: foretail run SALES.csv --horizon 28
    """
    ctx.obj = Door(verbose=verbose, debug=debug)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the `foretail` script."""
    logging.captureWarnings(True)
    cli.main(args, prog_name="foretail")


if __name__ == "__main__":
    main()
