"""One row per series and period: repeated rows are refused, summed, or the last restatement wins, as the spec says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Revisions
from foretail.panel.quality import Finding
from foretail.panel.rows import Rows, as_dates

__all__ = ["Cells", "to_cells"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_CELL, _Y, _WRITTEN, _KNOWN_AT = "__cell", "__y", "__written", "__known_at"


@dataclass(frozen=True)
class Cells:
    """Rows of the history, at most one per series and period.

    Attributes
    ----------
    rows : the rows; covariates of a repeated cell are those first told (``last``) or the largest (``sum``).
    y : float64 ``[n]``; NaN where a row told no value.
    revisions : restated or late cells; ``row`` is a series code like ``rows.series``. None if there are none.
    findings : what was done.
    """

    rows: Rows
    y: FloatArray
    revisions: Revisions | None = None
    findings: tuple[Finding, ...] = ()


def to_cells(rows: Rows, y: FloatArray, spec: DatasetSpec, names: list[str]) -> Cells:
    """Apply the duplicate policy of the spec.

    Parameters
    ----------
    rows, y : rows of the history and their target, float64 ``[n]``.
    names : ``unique_id`` by series code, for messages.

    Raises
    ------
    DataError : repeated cells under ``duplicates="error"``; differing ones under ``last`` without ``recorded``.
    """
    if not len(rows):
        return Cells(rows, y)
    start, span = int(rows.period.min()), int(rows.period.max()) - int(rows.period.min()) + 1
    cell = rows.series.astype(np.int64) * span + (rows.period - start)
    repeated = _repeated(cell, len(names) * span)
    if repeated is None:
        return Cells(rows, y, *_late(rows, y, spec))
    many = _candidates(rows.where(repeated), y[repeated], cell[repeated], spec)
    n_cells = many[_CELL].n_unique()
    if spec.duplicates == "error":
        raise DataError(_refused(many, n_cells, spec, names, start, span))
    if spec.duplicates == "sum":
        one, revisions = _summed(many, spec), None
        text = f"{many.height} rows share their keys and date: summed into {n_cells} (covariates: the largest value)"
    else:
        one, revisions = _last_told(many, spec, names, start, span)
        text = f"{many.height} rows tell {n_cells} cells more than once: the last told value counts"
    finding = Finding("duplicates", "repaired", text, n=many.height, share=many.height / len(rows))
    return _joined(rows.where(~repeated), y[~repeated], one, revisions, finding, spec, start, span)


def _repeated(cell: IntArray, size: int) -> npt.NDArray[np.bool_] | None:
    """Which rows share their cell with another; None if none does."""
    seen = np.zeros(size, dtype=np.bool_)
    seen[cell] = True
    if np.count_nonzero(seen) == len(cell):
        return None
    repeated: npt.NDArray[np.bool_] = np.bincount(cell, minlength=size)[cell] > 1
    return repeated


def _candidates(rows: Rows, y: FloatArray, cell: IntArray, spec: DatasetSpec) -> pl.DataFrame:
    """The repeated rows in an order that does not depend on that of the table."""
    frame = rows.frame.with_columns(pl.Series(_CELL, cell), pl.Series(_Y, y).fill_nan(None))
    order = [_CELL]
    if spec.recorded is not None:
        written = _written(rows.frame, spec.recorded)
        frame = frame.with_columns(written.alias(_WRITTEN), pl.Series(_KNOWN_AT, rows.known_at))
        order.append(_WRITTEN)
    covariates = [name for name in dict.fromkeys(spec.columns) if name not in (spec.target, spec.recorded)]
    return frame.sort([*order, _Y, *covariates])


def _written(frame: pl.DataFrame, recorded: str) -> pl.Series:
    """When each row was written, as finely as the table says it."""
    values = frame[recorded]
    if values.dtype == pl.String:
        fine = values.str.to_datetime(strict=False)
        return fine if fine.null_count() == values.null_count() else as_dates(frame, recorded)
    return values if values.dtype.is_temporal() else as_dates(frame, recorded)


def _refused(many: pl.DataFrame, n_cells: int, spec: DatasetSpec, names: list[str], start: int, span: int) -> Problem:
    shown = _examples(many[_CELL].unique().sort().head(3).to_numpy(), spec, names, start, span)
    exact = many.height - many.unique().height
    note = f", {exact} of them exact repetitions" if exact else ""
    return Problem(
        "two rows or more for the same keys and date",
        f"{n_cells} cells, {many.height} rows{note}; first: {'; '.join(shown)}",
        'say what they mean: duplicates = "sum" (lines of a day) or "last" (restatements; the column `recorded`)',
    )


def _examples(cells: IntArray, spec: DatasetSpec, names: list[str], start: int, span: int) -> list[str]:
    dates = spec.frequency.to_date(start + cells % span)
    return [f"{names[cell // span]} on {date}" for cell, date in zip(cells, dates, strict=True)]


def _summed(many: pl.DataFrame, spec: DatasetSpec) -> pl.DataFrame:
    cell = many[_CELL].to_numpy()
    first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    values = many[_Y].fill_null(float("nan")).to_numpy()
    told = np.isfinite(values)
    total = np.add.reduceat(np.where(told, values, 0.0), first)
    any_told = np.logical_or.reduceat(told, first)
    one = many.group_by(_CELL, maintain_order=True).agg(_of_lines(name, spec) for name in _covariates(spec))
    return one.with_columns(pl.Series(_Y, np.where(any_told, total, np.nan)))


def _of_lines(name: str, spec: DatasetSpec) -> pl.Expr:
    """What several lines of a day say together: the largest value, or of goods on the shelf the least."""
    is_share = spec.tells_available and name == spec.stockout_column
    return pl.col(name).min() if is_share else pl.col(name).max()


def _covariates(spec: DatasetSpec) -> list[str]:
    told = (spec.stockout_column,) if spec.stockout_column else ()
    past = (item.name for item in spec.past)
    return list(dict.fromkeys([*spec.keys, spec.time, *spec.static, *spec.known, *past, *told]))


def _last_told(
    many: pl.DataFrame, spec: DatasetSpec, names: list[str], start: int, span: int
) -> tuple[pl.DataFrame, Revisions | None]:
    by_cell = many.group_by(_CELL, maintain_order=True)
    if spec.recorded is None:
        _check_exact(many, spec, names, start, span)
        return by_cell.first(), None
    one = by_cell.agg(pl.col(_covariates(spec)).drop_nulls().first(), pl.col(_Y).last())
    cell = many[_CELL].to_numpy()
    told = Revisions(
        row=cell // span,
        period=cell % span + start,
        known_at=many[_KNOWN_AT].cast(pl.Int64).to_numpy(),
        y=many[_Y].fill_null(float("nan")).to_numpy(),
    )
    return one, told


def _check_exact(many: pl.DataFrame, spec: DatasetSpec, names: list[str], start: int, span: int) -> None:
    different = many.unique()
    different = different.filter(pl.col(_CELL).is_duplicated())
    if different.is_empty():
        return
    shown = _examples(different[_CELL].unique().sort().head(3).to_numpy(), spec, names, start, span)
    raise DataError(
        Problem(
            "rows of the same keys and date differ, and nothing says which was told last",
            f"{different[_CELL].n_unique()} cells; first: {'; '.join(shown)}",
            "name the column that says when a row was written: recorded = ...",
        )
    )


def _late(rows: Rows, y: FloatArray, spec: DatasetSpec) -> tuple[Revisions | None, tuple[Finding, ...]]:
    """Cells told once, but only after their own period: an earlier cutoff did not know them."""
    if rows.known_at is None or spec.duplicates == "sum":
        return None, ()
    late = rows.known_at > rows.period
    return _revisions_of(rows, y, late, None, float(late.mean()))


def _revisions_of(
    rows: Rows, y: FloatArray, late: npt.NDArray[np.bool_], told: Revisions | None, share: float
) -> tuple[Revisions | None, tuple[Finding, ...]]:
    """Join restated cells and late ones, unless being late is the rule in this table."""
    findings: tuple[Finding, ...] = ()
    if share > 0.5:
        findings = (
            Finding(
                "recorded_late",
                "info",
                f"{share:.0%} of the cells were first written after their own period: for backtests each first "
                "value counts as known at its own period, only restatements count later",
                share=share,
            ),
        )
        return (None if told is None else _first_in_time(told)), findings
    assert rows.known_at is not None  # noqa: S101  (late cells exist only where it is known when rows were written)
    single = Revisions(
        rows.series[late].astype(np.int64),
        rows.period[late].astype(np.int64),
        rows.known_at[late].astype(np.int64),
        y[late],
    )
    both = single if told is None else _merged(told, single)
    return (both if len(both.row) else None), findings


def _merged(first: Revisions, second: Revisions) -> Revisions:
    return Revisions(
        np.r_[first.row, second.row],
        np.r_[first.period, second.period],
        np.r_[first.known_at, second.known_at],
        np.r_[first.y, second.y],
    )


def _first_in_time(told: Revisions) -> Revisions:
    """The first version of each cell counted as known at its own period (versions are sorted by cell and time)."""
    first = np.r_[True, (told.row[1:] != told.row[:-1]) | (told.period[1:] != told.period[:-1])]
    return Revisions(told.row, told.period, np.where(first, told.period, told.known_at), told.y)


def _joined(
    rest: Rows,
    y: FloatArray,
    one: pl.DataFrame,
    told: Revisions | None,
    finding: Finding,
    spec: DatasetSpec,
    start: int,
    span: int,
) -> Cells:
    """The rows that were single and those made one, and when their values were told."""
    cell = one[_CELL].to_numpy()
    series, period = (cell // span).astype(np.int32), (cell % span + start).astype(np.int32)
    columns = _covariates(spec)
    rows = Rows(
        pl.concat([rest.frame.select(columns), one.select(columns)]),
        np.r_[rest.series, series],
        np.r_[rest.period, period],
    )
    values = np.r_[y, one[_Y].fill_null(float("nan")).to_numpy()]
    if told is None or rest.known_at is None:
        return Cells(rows, values, None, (finding,))
    first = np.r_[True, (told.row[1:] != told.row[:-1]) | (told.period[1:] != told.period[:-1])]
    late = rest.known_at > rest.period
    n_late = int(late.sum()) + int((told.known_at[first] > told.period[first]).sum())
    revisions, more = _revisions_of(rest, y, late, told, n_late / max(len(rows), 1))
    return Cells(rows, values, revisions, (finding, *more))
