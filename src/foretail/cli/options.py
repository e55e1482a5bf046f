"""Options that several verbs share, and how their texts are read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foretail.core.errors import UsageError
from foretail.core.locations import is_database
from foretail.core.quantiles import DEFAULT_QUANTILES, check_quantiles

if TYPE_CHECKING:
    from foretail.pipelines.request import Request

__all__ = [
    "budget_option",
    "data_option",
    "day",
    "hierarchy_option",
    "home_option",
    "job_options",
    "json_option",
    "key_words",
    "model_options",
    "models_option",
    "out_option",
    "request_from",
    "seed_option",
    "store_options",
    "table_options",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?", re.I)

_AGE = re.compile(r"(?:(?P<d>\d+(?:\.\d+)?)(?:d|$))?(?:(?P<h>\d+(?:\.\d+)?)h)?", re.I)


def comma_list(text: str) -> tuple[str, ...]:
    """Names between commas: ``store_id,dept_id``; an empty text is an empty list."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def model_list(text: str) -> tuple[str, ...]:
    """Names of models between commas; commas in brackets are a name's: ``theta,prophet[engine=stan,growth=flat]``."""
    return tuple(item.strip() for item in re.split(r",(?![^\[]*\])", text) if item.strip())


def quantile_levels(text: str) -> tuple[float, ...]:
    """Levels between commas, sorted and checked."""
    try:
        levels = [float(item) for item in comma_list(text)]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of numbers, e.g. 0.1,0.5,0.9") from error
    return check_quantiles(levels)


def duration(text: str) -> float:
    """Seconds of ``90s``, ``10m`` or ``1h30m``; a bare number is seconds."""
    match = _DURATION.fullmatch(text.strip())
    parts = {unit: float(number) for unit, number in match.groupdict().items() if number} if match else {}
    seconds = 3600 * parts.get("h", 0.0) + 60 * parts.get("m", 0.0) + parts.get("s", 0.0)
    if seconds <= 0:
        raise click.BadParameter(f"{text!r} is no length of time, e.g. 90s, 10m or 1h30m")
    return seconds


def age(text: str) -> dt.timedelta:
    """How old something may be: ``8d``, ``36h``, ``1d12h``; a bare number is days."""
    match = _AGE.fullmatch(text.strip())
    parts = {unit: float(number) for unit, number in match.groupdict().items() if number} if match else {}
    if not parts:
        raise click.BadParameter(f"{text!r} is no age, e.g. 8d, 36h or 1d12h")
    return dt.timedelta(days=parts.get("d", 0.0), hours=parts.get("h", 0.0))


def named_list(text: str) -> dict[str, str]:
    """Names with values between commas: ``train=0.7,validation=0.3``."""
    pairs = [item.partition("=") for item in comma_list(text)]
    read = {name.strip(): value.strip() for name, _, value in pairs}
    if not read or len(read) < len(pairs) or not all(name and value for name, value in read.items()):
        raise click.BadParameter(f"{text!r} is no list of names with values, e.g. train=0.7,validation=0.3")
    return read


def key_words(words: Iterable[str], verb: str, otherwise: str) -> dict[str, str]:
    """The key of ``--store_id 1 --dept_id=3``, values as text; ``otherwise`` ends the advice of the error.

    Raises
    ------
    UsageError : words that are no names with a value each.
    """
    left = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    names, values = left[::2], left[1::2]
    odd = next((name for name in names if not name.startswith("--")), None)
    if odd is not None or len(names) != len(values):
        raise UsageError(
            f"not a key with its value: {odd or left[-1]!r}.\n  where: {verb}\n"
            f"  fix:   --store_id 1 --dept_id 3, {otherwise}"
        )
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


def day(text: str) -> dt.date:
    """A date such as ``2012-10-26``."""
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no date, e.g. 2012-10-26") from error


def _several(*decorators: Decorator) -> Decorator:
    """Apply options so that the help lists them in this order."""
    return lambda command: reduce(lambda done, add: add(done), reversed(decorators), command)


def data_place(text: str) -> Path | str:
    """A folder or file as a path; the URL of a database as it is."""
    return text if is_database(text) else Path(text)


data_option = click.option(
    "--data",
    type=data_place,
    metavar="DIR",
    help="Folder of the known layouts, else $FORETAIL_DATA; for synthetic, a JSON file; for warehouse, its URL.",
)

hierarchy_option = click.option(
    "--hierarchy", type=comma_list, metavar="A,B/C", help="Levels to sum to: keys and static columns; / crosses."
)

table_options = _several(
    click.argument("table"),
    click.option("--keys", type=comma_list, metavar="A,B", help="Columns that name a series."),
    click.option("--time", metavar="COLUMN", help="The date column."),
    click.option("--target", metavar="COLUMN", help="The column to forecast."),
    click.option("--freq", metavar="CODE", help="D, W-MON to W-SUN, MS or ME; guessed from the dates."),
    click.option("--horizon", type=click.IntRange(min=1), metavar="N", help="Periods to forecast."),
    click.option("--known", type=comma_list, metavar="A,B", help="Columns known in advance (promotion, price)."),
    click.option("--future", metavar="TABLE", help="Keys, dates to forecast and known columns, as a table."),
    click.option("--past", type=comma_list, metavar="A,B:1", help="Columns known afterwards; :1 = one period late."),
    click.option("--static", type=comma_list, metavar="A,B", help="Columns that do not change within a series."),
    click.option("--stockout", metavar="COLUMN", help="1 = the goods ran out; COLUMN:available = share they were in."),
    hierarchy_option,
    click.option("--country", metavar="CODE", help="Public holidays: DE, DE-BY, none; guessed from unusual sales."),
    click.option("--spec", metavar="FILE", help="A spec file (foretail init writes one); options override it."),
    click.option("--cutoff", type=day, metavar="DATE", help="Forget everything after this date."),
    click.option("--name", metavar="NAME", help="What the dataset is called in the registry and the report."),
    data_option,
)

models_option = click.option(
    "--models", type=model_list, default="auto", metavar="A,B", show_default=True, help="Families to compare."
)
budget_option = click.option("--budget", type=duration, metavar="TIME", help="Time to spend at most: 90s, 10m, 1h30m.")
seed_option = click.option("--seed", type=int, default=7, show_default=True, help="Seed of everything random.")

model_options = _several(
    click.option(
        "--quantiles",
        type=quantile_levels,
        default=",".join(f"{level:g}" for level in DEFAULT_QUANTILES),
        metavar="P,Q",
        help="Quantile levels of the forecast.",
        show_default=True,
    ),
    models_option,
    budget_option,
    seed_option,
)

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of registry, warehouse and snapshots; else $FORETAIL_HOME, else .foretail.",
)

store_options = _several(
    home_option,
    click.option(
        "--workers", type=click.IntRange(min=0), metavar="N", help="Processes for fits; 0 means one per core."
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")


def out_option(default: str) -> Decorator:
    """``--out DIR`` with a default."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=default,
        show_default=True,
        metavar="DIR",
        help="Where the results are written.",
    )


job_options = _several(
    table_options,
    model_options,
    out_option("foretail-out"),
    store_options,
    json_option,
    click.pass_obj,
)


def request_from(given: Mapping[str, Any]) -> Request:
    """The request that the options of `table_options` (and `model_options`, if the verb has them) describe."""
    from foretail.pipelines.request import Request

    return Request(
        table=given["table"],
        keys=given["keys"] or (),
        time=given["time"],
        target=given["target"],
        freq=given["freq"],
        horizon=given["horizon"],
        known=given["known"] or (),
        future=given["future"],
        past=given["past"] or (),
        static=given["static"] or (),
        country=given["country"],
        stockout=given.get("stockout"),
        hierarchy=given.get("hierarchy") or (),
        spec=given["spec"],
        cutoff=given["cutoff"],
        name=given["name"],
        data=given["data"],
        quantiles=given.get("quantiles", DEFAULT_QUANTILES),
        models=given.get("models", ("auto",)),
        budget_s=given.get("budget"),
        seed=given.get("seed", 7),
    )
