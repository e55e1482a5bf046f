"""The verbs of the feature store: features apply / materialize / join / get / serve."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from foretail.cli.door import Door
from foretail.cli.options import (
    Decorator,
    age,
    day,
    home_option,
    json_option,
    key_words,
    named_list,
    request_from,
    table_options,
)
from foretail.cli.show import show_json, text_table
from foretail.core.errors import UsageError

__all__ = ["features"]

_SHOWN_ROWS = 12
_PORT = 6566  # as Feast's own server

repo_option = click.option(
    "--repo",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="A Feast repository of yours with a feature_store.yaml; else the embedded one under --home.",
)


def service_option(default: str) -> Decorator:
    """``--service NAME`` with a default."""
    return click.option("--service", default=default, show_default=True, metavar="NAME", help="The feature service.")


@click.group()
def features() -> None:
    """Compute, register, join, materialise and serve features."""


@features.command()
@table_options
@repo_option
@click.option("--replace", is_flag=True, help="The repository may hold another dataset, which then goes.")
@home_option
@json_option
@click.pass_obj
def apply(
    door: Door,
    /,
    repo: Path | None,
    replace: bool,
    home: Path | None,
    data: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Compute the features of TABLE, write them and register them with Feast.

    If anything goes wrong, what was registered before stays as it is.
    """
    from foretail.pipelines.features import apply_features

    settings = door.settings(home, data)
    request = request_from({**given, "data": data})
    with door.progress() as progress:
        applied = apply_features(request, settings, progress, repo=repo, replace=replace)
    if as_json:
        show_json(applied.to_dict())
    else:
        contents = applied.contents
        click.echo(text_table(("view", "rows"), list(contents.rows.items())))
        click.echo(f"\n{text_table(('service', 'features'), list(applied.services.items()))}")
        click.echo(f"\nas-of dates {contents.first} to {contents.last}, in {contents.folder}")
    for note in applied.notes:
        click.echo(f"note: {note}", err=True)
    click.echo("next: foretail features materialize, or foretail features join --from-table", err=True)


@features.command()
@click.option("--to", type=day, metavar="DATE", help="Rows up to this as-of date; by default the last one applied.")
@click.option("--incremental", is_flag=True, help="Only what is newer than the last time.")
@repo_option
@home_option
@json_option
@click.pass_obj
def materialize(
    door: Door, /, to: dt.date | None, incremental: bool, repo: Path | None, home: Path | None, as_json: bool
) -> None:
    """Load the newest row of every key into the online store.

    May be repeated: older rows never replace newer ones.
    """
    from foretail.pipelines.features import materialize_features

    settings = door.settings(home)
    with door.progress() as progress:
        views = materialize_features(settings, progress, repo=repo, to=to, incremental=incremental)
    if as_json:
        show_json(views)
    else:
        click.echo(text_table(list(views[0]), [list(view.values()) for view in views]))
    click.echo("next: foretail features get, or foretail features serve", err=True)


@features.command()
@click.argument("entities", required=False)
@click.option("--from-table", is_flag=True, help="Every key and as-of date of the store instead of ENTITIES.")
@click.option("--time", metavar="COLUMN", help="The column of as-of dates in ENTITIES; guessed from its name.")
@service_option("training_features")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="training.parquet",
    show_default=True,
    metavar="FILE",
    help="The Parquet file to write; the findings go beside it.",
)
@click.option(
    "--known-at",
    type=click.Choice(("as-of", "now")),
    default="as-of",
    show_default=True,
    help="Values as they were known at each as-of date, or as restated since.",
)
@click.option(
    "--label",
    type=click.IntRange(min=1),
    metavar="N",
    help="Add the target N periods after each as-of date; inputs that give it away are refused.",
)
@click.option(
    "--split",
    type=named_list,
    metavar="A=X,B=Y",
    help="Parts that the guards compare, by shares of the periods or last dates; 70/15/15 by default.",
)
@click.option(
    "--limits",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A TOML file with other limits for the guards than those declared.",
)
@click.option("--allow-findings", is_flag=True, help="Write the file whatever the guards find.")
@repo_option
@home_option
@json_option
@click.pass_obj
def join(
    door: Door,
    /,
    entities: str | None,
    from_table: bool,
    time: str | None,
    service: str,
    out: Path,
    known_at: str,
    label: int | None,
    split: dict[str, str] | None,
    limits: Path | None,
    allow_findings: bool,
    repo: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Join features to keys and as-of dates: a training set.

    ENTITIES is a CSV or Parquet file with the key columns and a column of as-of dates. Guards look at the result;
    exit code 3 says that they refused it.
    """
    from foretail.pipelines.training_set import join_features

    if from_table == (entities is not None):
        what = "both ENTITIES and --from-table" if from_table else "neither ENTITIES nor --from-table"
        raise UsageError(f"{what} were given.\n  where: features join\n  fix:   one of the two")
    settings = door.settings(home)
    with door.progress() as progress:
        joined = join_features(
            entities,
            out,
            settings,
            progress,
            repo=repo,
            time=time,
            service=service,
            as_known=known_at == "as-of",
            label=label,
            split=split,
            limits=limits,
            allow_findings=allow_findings,
        )
    if as_json:
        show_json(joined.to_dict())
    else:
        click.echo(joined.to_text())
    click.echo(f"next: read {out} with polars, pandas or any tool that reads Parquet", err=True)


@features.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("keys", nargs=-1, type=click.UNPROCESSED, metavar="--KEY VALUE")
@click.option("--keys", "file", metavar="FILE", help="A CSV or Parquet file of the key columns, for many rows.")
@service_option("inference_features")
@click.option("--max-age", type=age, metavar="TIME", help="Refuse rows that are older: 8d, 36h.")
@repo_option
@home_option
@json_option
@click.pass_obj
def get(
    door: Door,
    /,
    keys: tuple[str, ...],
    file: str | None,
    service: str,
    max_age: dt.timedelta | None,
    repo: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Read feature rows from the online store, each with its as-of date.

    The key columns are options: foretail features get --store_id 1 --dept_id 3
    """
    from foretail.pipelines.features import read_features

    settings = door.settings(home)
    wanted: dict[str, list[str]] | str
    if file is None:
        wanted = {name: [value] for name, value in key_words(keys, "features get", "or --keys FILE").items()}
    else:
        wanted = file
    frame = read_features(wanted, settings, repo=repo, service=service, max_age=max_age)
    if as_json:
        show_json(frame.to_dicts())
    elif frame.height == 1:
        click.echo(text_table(("feature", "value"), list(frame.row(0, named=True).items())))
    else:
        shown = frame.head(_SHOWN_ROWS)
        click.echo(text_table(shown.columns, shown.rows()))
        click.echo(f"{frame.height} rows, {shown.height} shown", err=True)
    click.echo("next: foretail features serve answers the same over HTTP", err=True)


@features.command()
@click.option("--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True, metavar="N", help="The port.")
@repo_option
@home_option
@json_option
@click.pass_obj
def serve(door: Door, /, port: int, repo: Path | None, home: Path | None, as_json: bool) -> None:
    """Answer online reads over HTTP on this machine with Feast's own server.

    Runs until SIGTERM or Ctrl-C.
    """
    from foretail.pipelines.features import serve_features

    url = f"http://127.0.0.1:{port}"
    if as_json:
        show_json({"url": url, "health": f"{url}/health", "features": f"{url}/get-online-features"})
    click.echo(f"next: POST {url}/get-online-features; {url}/health says when it answers; Ctrl-C ends it", err=True)
    serve_features(door.settings(home), repo=repo, port=port)
