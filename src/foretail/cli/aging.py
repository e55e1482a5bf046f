"""`--refit`: a backtest that also says how fast the chosen model ages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretail.cli.show import text_table

if TYPE_CHECKING:
    from foretail.backtest.aging import Aging

__all__ = ["aging_lines", "refit_every", "refit_option", "show_aging"]

_EVERY = re.compile(r"(?:every[ :=-]?)?(\d+)", re.I)
_HEADER = ("refit", "age", "windows", "WAPE", "WAPE fresh", "loss")


def refit_every(text: str) -> int:
    """Windows between fits of ``never`` (0), ``every 4``, ``every:4`` or ``4``."""
    if text.strip().lower() == "never":
        return 0
    match = _EVERY.fullmatch(text.strip())
    if match is None or int(match[1]) < 1:
        raise click.BadParameter(f"{text!r} is no way to refit, e.g. never, 4 or 'every 4' (windows)")
    return int(match[1])


refit_option = click.option(
    "--refit",
    type=refit_every,
    metavar="never|K",
    help="How fast the chosen model ages: fitted once, or every K windows, beside always.",
)


def aging_lines(found: Aging) -> str:
    """A table of accuracy by age, for every way to refit but the freshest."""
    from foretail.backtest.aging import EVERY

    rows: list[Sequence[Any]] = []
    for way in found.windows:
        if way == EVERY:
            continue
        for row in (*found.by_age(way), found.overall(way)):
            age = "all" if row.age is None else f"{row.age} {found.noun}s"
            rows.append((way, age, row.n_windows, row.wape, row.fresh, f"{row.loss:+.1%}"))
    return text_table(_HEADER, rows)


def show_aging(found: Aging, out: Path, *, as_json: bool) -> None:
    """The table on stdout unless JSON stands there, the verdict on stderr."""
    if not as_json:
        click.echo(f"\n{aging_lines(found)}")
    if found.left_out:
        click.echo(f"windows left out, for which --budget leaves no time: {found.left_out}", err=True)
    click.echo(f"result: {found.verdict()}", err=True)
    click.echo(f"the picture is in {out / 'aging.html'}", err=True)
