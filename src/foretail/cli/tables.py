"""The verbs that look at a table before anything is fitted: init, check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretail.cli.door import Door
from foretail.cli.options import home_option, json_option, request_from, table_options
from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError
from foretail.core.locations import without_password

if TYPE_CHECKING:
    from foretail.panel.quality import QualityReport

__all__ = ["check", "init"]


@click.command()
@table_options
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it here; else on stdout.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@home_option
@click.pass_obj
def init(door: Door, /, out: Path | None, force: bool, home: Path | None, data: Path | None, **given: Any) -> None:
    """Guess what the columns of TABLE mean and write a spec.

    The spec is TOML, to be corrected and given to --spec; what was guessed stands above it.
    """
    from foretail.pipelines.init import init_table

    if out is not None and out.exists() and not force:
        raise UsageError(f"there is a file already.\n  where: {out}\n  fix:   another --out, or --force")
    text = init_table(request_from({**given, "data": data}), door.settings(home, data))
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    name, table = out or "FILE", without_password(given["table"])
    click.echo(f"next: read {name}, correct it, then foretail run {table} --spec {name}", err=True)


@click.command()
@table_options
@home_option
@json_option
@click.pass_obj
def check(door: Door, /, home: Path | None, data: Path | None, as_json: bool, **given: Any) -> None:
    """Say what TABLE looks like and what would be repaired.

    Rows that cannot be used are counted with their reason; nothing is written.
    """
    from foretail.pipelines.check import check_request

    settings = door.settings(home, data)
    request = request_from({**given, "data": data})
    with door.progress() as progress:
        report = check_request(request, settings, progress)
    if as_json:
        show_json(report.to_dict())
    else:
        click.echo(_facts(report))
        click.echo(_findings(report))
    click.echo(f"next: foretail run {without_password(given['table'])} with the same options", err=True)


def _facts(report: QualityReport) -> str:
    return (
        f"{report.n_rows} rows: {report.n_series} series x {report.n_periods} periods, "
        f"{report.first} to {report.last}\n"
        f"{report.n_observed} values, {report.zero_share:.1%} of them zero, total {report.total:,.2f}\n"
    )


def _findings(report: QualityReport) -> str:
    rows = [(item.level, item.name, item.n, item.text) for item in report.findings]
    return text_table(("level", "finding", "n", "what"), rows) if rows else "nothing found that needs a look"
