"""The population stability index: how far the distribution of a feature in one split lies from that in the first."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["bin_counts", "chance", "psi", "stability"]

_BINS = 10
_SAMPLE = 200_000  # values of the first split that the edges of the bins are taken from
_Z = 3.09  # one in a thousand

Counts = npt.NDArray[np.int64]


def psi(first: pl.Series, other: pl.Series) -> float:
    """Population stability index of two samples of one feature; 0 where they share one distribution.

    ``sum((q - p) * ln(q / p))`` over the bins, with p and q the shares of the first and of the other sample. Numbers
    fall into tenths of the first sample (fewer where a value is frequent), text and truth values are bins of their own.
    Half a row is added to every bin, so that an empty one has a logarithm.

    Parameters
    ----------
    first, other : values without null or NaN.

    Returns
    -------
    The index, at least 0; NaN where a sample is empty.
    """
    return stability(*bin_counts(first, other))


def stability(first: Counts, other: Counts) -> float:
    """The index of two samples counted into the same bins, int64 ``[bins]`` each; NaN where one is empty."""
    if not first.sum() or not other.sum():
        return math.nan
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (first, other))
    return float(np.sum((q - p) * np.log(q / p)))


def bin_counts(first: pl.Series, other: pl.Series) -> tuple[Counts, Counts]:
    """Rows per bin of the first and of the other sample, int64 ``[bins]`` each."""
    if not first.dtype.is_numeric():
        return _category_counts(first, other)
    p, q = (values.cast(pl.Float64).to_numpy() for values in (first, other))
    edges = _edges(p)
    return _histogram(p, edges), _histogram(q, edges)


def chance(first: int, other: int, bins: int) -> float:
    """The index that two samples of one distribution exceed once in a thousand times.

    ``(1 / first + 1 / other)`` times the quantile of a chi-squared distribution with ``bins - 1`` degrees of freedom
    (Wilson and Hilferty's approximation). Rows of one series are not independent, so that it is rather too small.
    """
    degrees = max(bins - 1, 1)
    spread = 2.0 / (9.0 * degrees)
    quantile = degrees * (1.0 - spread + _Z * math.sqrt(spread)) ** 3
    return (1.0 / first + 1.0 / other) * quantile


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Upper edges of all bins but the last: distinct tenths; a value equal to an edge lies below it."""
    if len(values) > _SAMPLE:
        values = np.random.default_rng(0).choice(values, _SAMPLE)
    if not len(values):
        return values
    tenths = np.quantile(values, np.arange(1, _BINS) / _BINS, method="lower")
    edges = np.unique(tenths)
    return cast(npt.NDArray[np.float64], edges[edges < values.max()])


def _histogram(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> Counts:
    place = np.searchsorted(edges, values, side="left")
    return np.bincount(place, minlength=len(edges) + 1).astype(np.int64)


def _category_counts(first: pl.Series, other: pl.Series) -> tuple[Counts, Counts]:
    names = pl.concat([first.unique(), other.unique()]).unique().sort().to_frame("name")
    counts = []
    for values in (first, other):
        held = values.to_frame("name").group_by("name").agg(n=pl.len())
        column = names.join(held, on="name", how="left", maintain_order="left")["n"].fill_null(0)
        counts.append(column.cast(pl.Int64).to_numpy())
    return counts[0], counts[1]
