"""Attributes that do not change within a series: one value each, contradictions told."""

from __future__ import annotations

import numpy as np
import polars as pl

from foretail.panel.quality import Finding
from foretail.panel.rows import Rows

__all__ = ["static_columns"]

_SERIES, _PERIOD = "__series", "__period"


def static_columns(names: tuple[str, ...], rows: Rows, n_series: int) -> tuple[pl.DataFrame, list[Finding]]:
    """The earliest value of each static column.

    Parameters
    ----------
    rows : rows up to the cutoff.
    n_series : number of series codes.

    Returns
    -------
    (frame, findings) : one row per series code; null where no row has a value.
    """
    columns, findings = [], []
    for name in names:
        pairs = _pairs(rows, name)
        n = pairs[_SERIES].n_unique()
        if n < pairs.height:
            changed = int(pairs[_SERIES].is_duplicated().sum())
            n_changed = pairs.filter(pl.Series(pairs[_SERIES].is_duplicated()))[_SERIES].n_unique()
            text = f"{name} changes within {n_changed} series ({changed} values): the earliest value is used"
            findings.append(Finding("static_changes", "warning", text, n_changed, n_changed / max(n, 1), (name,)))
        columns.append(_first(pairs, name, n_series))
    return pl.DataFrame(columns) if columns else pl.DataFrame(height=n_series), findings


def _pairs(rows: Rows, name: str) -> pl.DataFrame:
    """Each value of each series with the period in which it first stands."""
    frame = rows.frame.lazy().select(pl.col(name))
    frame = frame.with_columns(pl.lit(pl.Series(_SERIES, rows.series)), pl.lit(pl.Series(_PERIOD, rows.period)))
    if rows.frame[name].dtype.is_float():
        frame = frame.with_columns(pl.col(name).fill_nan(None))
    found = frame.drop_nulls(name).group_by(_SERIES, name).agg(pl.col(_PERIOD).min())
    return found.sort(_SERIES, _PERIOD, name).collect()


def _first(pairs: pl.DataFrame, name: str, n_series: int) -> pl.Series:
    first = pairs.unique(_SERIES, keep="first", maintain_order=True)
    every = pl.DataFrame({_SERIES: np.arange(n_series, dtype=np.int32)})
    return every.join(first, on=_SERIES, how="left", maintain_order="left")[name]
