"""The main job on two years of real invoices that come with foretail: `make demo`.

Lines of invoices become daily sales per product, then forecasts for four weeks, with a report. The network is not
needed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from foretail.cli.main import main as foretail

_HERE = Path(__file__).resolve().parent
_OUT = Path("foretail-demo")
_COMMAND = ["run", "online-retail", "--freq", "D", "--horizon", "28"]
_PLACES = ["--data", str(_HERE), "--out", str(_OUT), "--home", str(_OUT / ".foretail")]


def main() -> int:
    """Run the demo and say where to look; gives the exit code."""
    click.echo(f"foretail {' '.join(_COMMAND)}\n", err=True)
    code = _run([*_COMMAND, *_PLACES])
    if code == 0:
        click.echo(_where_to_look(), err=True)
    return code


def _run(arguments: list[str]) -> int:
    try:
        foretail(arguments)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)


def _where_to_look() -> str:
    command = Path(sys.executable).with_name("foretail")
    shown = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return f"""
Look at
  {_OUT / "report.html"}        the data, the scores, the forecasts, in a browser
  {_OUT / "forecasts.csv"}      the next 28 days of every product, with intervals
  {_OUT / "leaderboard.json"}   every model on the same windows

Try next
  {shown} leaderboard {_OUT}
  {shown} models list --home {_OUT / ".foretail"}
  {shown} run YOUR_SALES.csv --horizon 28
  {shown} run YOUR_SALES.csv --keys store,item --time date --target units --known promo --horizon 28

Invoices: Online Retail II, Chen, D. (2012), UCI Machine Learning Repository, CC BY 4.0."""


if __name__ == "__main__":
    sys.exit(main())
