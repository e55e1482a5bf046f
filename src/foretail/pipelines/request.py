"""What a user asks for: the table, the meaning of its columns, and how to forecast; the same words at every door."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from foretail.core.quantiles import DEFAULT_QUANTILES

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """One job. What is None or empty is guessed from the table, or comes from its spec or layout.

    Attributes
    ----------
    table : path or URL of a CSV, Parquet or spec file, or a layout name. data : folder of the layouts.
    keys, time, target, freq, horizon, known, past, static, name : see `foretail.core.spec.DatasetSpec`; ``past`` may
        carry a publication delay (``cpi:4``).
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
    future: str | None = None
    spec: str | None = None
    cutoff: dt.date | None = None
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    models: tuple[str, ...] = ("auto",)
    budget_s: float | None = None
    seed: int = 7
    name: str | None = None
    data: Path | None = None
