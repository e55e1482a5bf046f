"""Covariates of a panel as float32 matrices: numbers, coded texts, and values that every series shares on a date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.panel.panel import Covariate
from foretail.panel.rows import Rows

__all__ = ["Grid", "encode", "known_covariate", "past_covariate"]

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
_TEXT = (pl.String, pl.Categorical, pl.Enum)
_TRUE = ("true", "yes", "1", "1.0")


@dataclass(frozen=True)
class Grid:
    """Where the cells of a panel lie.

    Attributes
    ----------
    row : int64 ``[K]``: row of the panel of each series code; -1 for series that are not in it.
    n_series, n_periods, h : its size, future periods apart.
    start : period index of column 0.
    groups : per level of sharing, int64 ``[N]``: which series share (all of them first, then those with the same value
        of one key).
    """

    row: IntArray
    n_series: int
    n_periods: int
    h: int
    start: int
    groups: tuple[IntArray, ...]

    def place(self, rows: Rows, width: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Flat index into a ``[N, width]`` matrix of the rows inside it, and which rows those are."""
        row = self.row[rows.series]
        column = rows.period.astype(np.int64) - self.start
        inside = (row >= 0) & (column >= 0) & (column < width)
        flat = row * width + column
        return (flat if inside.all() else flat[inside]), inside


def encode(values: pl.Series, like: pl.DataType, categories: tuple[str, ...]) -> Float32Array:
    """Values as float32 ``[n]``: numbers as they are, truth as 0/1, text as its place among the categories; NaN else.

    Parameters
    ----------
    values : a column, possibly of another type than in the history.
    like : the type of the column in the history.
    categories : the texts of the history, sorted; empty for numbers.
    """
    if isinstance(like, _TEXT):
        codes = values.cast(pl.String).cast(pl.Enum(categories), strict=False).to_physical()
        numbers = codes.cast(pl.Float32)
    elif values.dtype == pl.String and like == pl.Boolean:
        numbers = values.str.to_lowercase().is_in(_TRUE).cast(pl.Float32)
    elif values.dtype.is_temporal():
        numbers = values.cast(pl.Date).to_physical().cast(pl.Float32)
    else:
        numbers = values.cast(pl.Float32, strict=False)
    array = numbers.fill_null(float("nan")).to_numpy()
    return array if np.isfinite(array).all() else np.where(np.isfinite(array), array, np.float32("nan"))


def past_covariate(name: str, delay: int, history: Rows, grid: Grid) -> Covariate:
    """A covariate known up to the cutoff: float32 ``[N, T]``."""
    values, categories = _of_history(name, history, grid, grid.n_periods)
    return Covariate(name, values, categories, delay)


def known_covariate(name: str, history: Rows, ahead: Sequence[Rows], grid: Grid) -> tuple[Covariate, int]:
    """A covariate known in advance: float32 ``[N, T + H]``.

    Parameters
    ----------
    history : rows up to the cutoff, one per cell.
    ahead : tables of rows after the cutoff, the one that counts most last.

    Returns
    -------
    (covariate, n) : n values after the cutoff were texts that the history does not have; they are NaN.
    """
    width = grid.n_periods + grid.h
    values, categories = _of_history(name, history, grid, width)
    like = history.frame[name].dtype
    unseen = 0
    for rows in ahead:
        found = encode(rows.frame[name], like, categories)
        if categories:
            unseen += int((np.isnan(found) & rows.frame[name].is_not_null().to_numpy()).sum())
        _put_ahead(values, found, rows, grid)
    _fill_shared(values, grid)
    return Covariate(name, values, categories), unseen


def _of_history(name: str, history: Rows, grid: Grid, width: int) -> tuple[Float32Array, tuple[str, ...]]:
    column = history.frame[name]
    flat, inside = grid.place(history, width)
    if isinstance(column.dtype, _TEXT):
        texts = column if inside.all() else column.filter(pl.Series(inside))
        categories = tuple(texts.cast(pl.String).drop_nulls().unique().sort().to_list())
    else:
        categories = ()
    found = encode(column, column.dtype, categories)
    values = np.full((grid.n_series, width), np.nan, dtype=np.float32)
    values.ravel()[flat] = found if inside.all() else found[inside]
    return values, categories


def _put_ahead(values: Float32Array, found: Float32Array, rows: Rows, grid: Grid) -> None:
    """Write values after the cutoff; of several for one cell the first told, then the smallest, counts."""
    width = values.shape[1]
    flat, inside = grid.place(rows, width)
    found = found[inside]
    written = np.zeros(len(found)) if rows.known_at is None else rows.known_at[inside]
    order = np.lexsort((-found, -written))
    order = order[np.isfinite(found[order]) & (flat[order] % width >= grid.n_periods)]
    values.ravel()[flat[order]] = found[order]


def _fill_shared(values: Float32Array, grid: Grid) -> None:
    """Fill cells that were not given where the history shows that the series share one value on every date."""
    for groups in grid.groups:
        order = np.argsort(groups, kind="stable")
        first = np.flatnonzero(np.r_[True, groups[order][1:] != groups[order][:-1]])
        ordered = values[order]
        low = np.fmin.reduceat(ordered, first, axis=0)
        high = np.fmax.reduceat(ordered, first, axis=0)
        n_told = np.add.reduceat(np.isfinite(ordered), first, axis=0, dtype=np.int64)[:, : grid.n_periods]
        agree = (low == high)[:, : grid.n_periods]
        told, several = n_told > 0, n_told > 1
        # shared on every date, and seen to be so on at least half of them
        if told.any() and agree[told].all() and several.sum() * 2 >= told.sum():
            which = np.cumsum(np.r_[0, np.diff(groups[order]) != 0])
            shared = np.where(low == high, low, np.float32("nan"))[which]
            values[order] = np.where(np.isnan(ordered), shared, ordered)
            return
