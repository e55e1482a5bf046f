"""Sales that are no demand: periods in which the goods ran out are withheld, and what was sold there is kept aside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.core.spec import DatasetSpec
from foretail.panel.covariates import Grid
from foretail.panel.duplicates import Cells
from foretail.panel.panel import Revisions, Withheld
from foretail.panel.quality import Finding

__all__ = ["AVAILABLE", "Censored", "on_grid", "withhold"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

AVAILABLE = 0.95  # share of a period from which its sales count as its demand: what is missing is within the noise
_MANY = 0.5  # share of withheld cells from which the column probably means something else
_SHOWN = 3


@dataclass(frozen=True)
class Censored:
    """Cells without the sales that are no demand.

    Attributes
    ----------
    cells : as they were, ``y`` NaN where the goods ran out; restatements of such a cell are gone.
    withheld : what is known of these cells, ``row`` being a series code like ``cells.rows.series``; None for none.
    findings : what to tell.
    """

    cells: Cells
    withheld: Withheld | None = None
    findings: tuple[Finding, ...] = ()


def withhold(cells: Cells, spec: DatasetSpec) -> Censored:
    """Take out what was sold in periods in which the goods ran out, as the spec's ``stockout`` column tells it.

    Under a flag these are the cells with 1; under ``:available`` those in which the goods could be bought in less than
    95 % of the period. A cell that tells nothing had its goods.

    Raises
    ------
    DataError : values that are no flag or no share; goods that ran out in every period of every series.
    """
    column = spec.stockout_column
    if column is None:
        return Censored(cells)
    told = _numbers(cells.rows.frame[column])
    available = told if spec.tells_available else 1.0 - told
    _check(cells.rows.frame[column], told, spec)
    short = available < AVAILABLE  # False where nothing is told
    if short[np.isfinite(cells.y)].all():
        raise DataError(_never_there(spec, column, len(short)))
    if not short.any():
        return Censored(cells)
    rows = cells.rows
    withheld = Withheld(
        row=rows.series[short].astype(np.int64),
        period=rows.period[short].astype(np.int64),
        sold=cells.y[short],
        available=available[short] if spec.tells_available else np.full(int(short.sum()), np.nan),
    )
    left = replace(cells, y=np.where(short, np.nan, cells.y), revisions=_without(cells.revisions, withheld))
    return Censored(left, withheld, (_found(withheld, len(short), column),))


def on_grid(withheld: Withheld | None, grid: Grid) -> Withheld | None:
    """The entries inside a panel, by its rows."""
    if withheld is None:
        return None
    column = withheld.period - grid.start
    row = grid.row[withheld.row]
    inside = (row >= 0) & (column >= 0) & (column < grid.n_periods)
    order = np.lexsort((withheld.period[inside], row[inside]))
    kept = replace(withheld, row=row).where(inside)
    return Withheld(kept.row[order], kept.period[order], kept.sold[order], kept.available[order])


def _numbers(values: pl.Series) -> FloatArray:
    """float64 ``[n]``, NaN where nothing is told, infinite where it is no number."""
    numbers = values.cast(pl.Float64, strict=False)
    unread = numbers.is_null() & values.is_not_null()
    found: FloatArray = numbers.fill_null(float("nan")).to_numpy()
    return np.where(unread.to_numpy(), np.inf, found)


def _check(values: pl.Series, told: FloatArray, spec: DatasetSpec) -> None:
    """Refuse a column that does not hold what the spec says of it."""
    with np.errstate(invalid="ignore"):
        good = (told >= 0) & (told <= 1) if spec.tells_available else (told == 0) | (told == 1)
    bad = ~(good | np.isnan(told))
    if not bad.any():
        return
    shown = ", ".join(map(str, values.filter(pl.Series(bad)).unique(maintain_order=True).head(_SHOWN).to_list()))
    meaning = "no share between 0 and 1" if spec.tells_available else "neither 0 nor 1"
    raise DataError(
        Problem(
            f"{int(bad.sum())} values of the stockout column are {meaning}",
            f"column {values.name!r}: {shown}",
            _remedy(values.name, told, spec),
        )
    )


def _remedy(column: str, told: FloatArray, spec: DatasetSpec) -> str:
    if spec.tells_available:
        return "0 = nothing to buy all period, 1 = always; divide percentages by 100"
    within = bool(np.all((told[~np.isnan(told)] >= 0) & (told[~np.isnan(told)] <= 1)))
    share = f'stockout = "{column}:available" if it is the share of the period in which goods were there'
    return share if within else "1 = the goods ran out, 0 = they did not; correct the others or leave them empty"


def _never_there(spec: DatasetSpec, column: str, n: int) -> Problem:
    other = column if spec.tells_available else f"{column}:available"
    return Problem(
        "the goods ran out in every period, so nothing is left to learn from",
        f"column {column!r}, {n} rows up to the cutoff",
        f'stockout = "{other}" if it means the opposite; else leave stockout out',
    )


def _without(told: Revisions | None, withheld: Withheld) -> Revisions | None:
    """Restatements of other cells: of one that is withheld, no version is demand."""
    if told is None:
        return None
    start = int(min(told.period.min(initial=0), withheld.period.min(initial=0)))
    span = int(max(told.period.max(initial=0), withheld.period.max(initial=0))) - start + 1
    kept = ~np.isin(told.row * span + told.period - start, withheld.row * span + withheld.period - start)
    return Revisions(told.row[kept], told.period[kept], told.known_at[kept], told.y[kept]) if kept.any() else None


def _found(withheld: Withheld, n_cells: int, column: str) -> Finding:
    n = len(withheld.row)
    share = n / n_cells
    text = f"the goods ran out in {n} periods ({share:.1%}): their sales are no demand, neither learned from nor scored"
    if share > _MANY:
        text += f"; is {column!r} really the column of stockouts?"
    return Finding("stockouts", "warning" if share > _MANY else "info", text, n, share)
