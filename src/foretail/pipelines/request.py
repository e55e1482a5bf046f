"""What a user asks for: the table, the meaning of its columns, and how to forecast; the same words at every door."""

from __future__ import annotations

import datetime as dt
import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from foretail.core.locations import without_password
from foretail.core.quantiles import DEFAULT_QUANTILES

__all__ = ["Request", "command_of"]


@dataclass(frozen=True)
class Request:
    """One job. What is None or empty is guessed from the table, or comes from its spec or layout.

    Attributes
    ----------
    table : path or URL of a CSV, Parquet or spec file, or a layout name. data : folder of the layouts, or
        the URL of the warehouse.
    keys, time, target, freq, horizon, known, past, static, country, stockout, hierarchy, name : see
        `foretail.core.spec.DatasetSpec`; ``past`` may carry a publication delay (``cpi:4``); the country ``none``
        switches its guess off.
    future : table of keys, dates and known covariates. spec : a spec file.
    cutoff : everything after it is forgotten, known covariates excepted.
    quantiles : levels of the forecast. models : families, or ``("auto",)``.
    budget_s : seconds the job may take; None for no limit. seed : of everything random.
    """

    table: str
    keys: tuple[str, ...] = ()
    time: str | None = None
    target: str | None = None
    freq: str | None = None
    horizon: int | None = None
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    country: str | None = None
    stockout: str | None = None
    hierarchy: tuple[str, ...] = ()
    future: str | None = None
    spec: str | None = None
    cutoff: dt.date | None = None
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    models: tuple[str, ...] = ("auto",)
    budget_s: float | None = None
    seed: int = 7
    name: str | None = None
    data: Path | str | None = None


def command_of(request: Request, verb: str = "run") -> str:
    """The command that asks for the same again, ready for a shell; a password in a URL is not shown."""
    words = ["foretail", verb, without_password(request.table)]
    for field in fields(Request):
        value = getattr(request, field.name)
        default = field.default
        if field.name == "table" or value == default or value in (None, ()):
            continue
        name = "budget" if field.name == "budget_s" else field.name
        text = (
            ",".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}s" if name == "budget" else str(value)
        )
        words += [f"--{name}", without_password(text)]
    return shlex.join(words)
