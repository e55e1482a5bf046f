"""A raw table of sales with the meaning of its columns: what every source returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from foretail.core.spec import DatasetSpec

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """A table as read, not yet validated.

    Attributes
    ----------
    frame : the user's own columns, one row per key and date (or several, see ``spec.duplicates``).
    spec : what the columns mean.
    future : key columns, dates to forecast and known covariates after the last date of ``frame``; None if not given.
    notes : what was guessed or dropped on the way, one sentence each, to be told to the user.
    """

    frame: pl.DataFrame
    spec: DatasetSpec
    future: pl.DataFrame | None = None
    notes: tuple[str, ...] = field(default=())
