"""What lies after the cutoff: how many steps, which rows are asked for, and what is known of them in advance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import DS, STEP, UNIQUE_ID
from foretail.core.errors import DataError, Problem, nearest
from foretail.core.spec import DatasetSpec
from foretail.panel.quality import Finding
from foretail.panel.rows import Rows, as_dates, name_series, off_grid, periods_of

__all__ = ["Ahead", "from_future", "from_table", "future_keys", "requested_frame"]


@dataclass(frozen=True)
class Ahead:
    """The horizon.

    Attributes
    ----------
    h : steps.
    tables : rows after the cutoff with the known covariates, those that count most last.
    asked : series codes and steps to answer, int64 ``[R]`` each, by series and step.
    findings : what to tell.
    """

    h: int
    tables: tuple[Rows, ...]
    asked: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    findings: tuple[Finding, ...] = ()


def from_table(
    spec: DatasetSpec,
    tables: tuple[Rows, ...],
    end: int,
    h: int,
    requested: npt.NDArray[np.int64],
    longest_break: int,
) -> Ahead:
    """The horizon of a table that itself goes on after the cutoff, or simply ends.

    Parameters
    ----------
    tables : rows after the cutoff, those of the table itself last; their target is never read.
    end : period index of the cutoff.
    requested : series codes of the history; series that begin within the horizon are added.
    longest_break : periods without any row that the history has in a row (weekly closing days, for instance).

    Raises
    ------
    DataError : known covariates are declared but the table does not give them for the horizon.
    """
    tables = tuple(rows.where((rows.period > end) & (rows.period <= end + h)) for rows in tables)
    if spec.known:
        _check_reach(
            spec, max((int(rows.period.max()) - end for rows in tables if len(rows)), default=0), end, h, longest_break
        )
    series = np.union1d(requested, tables[-1].series).astype(np.int64)
    steps = np.arange(1, h + 1, dtype=np.int64)
    asked = (np.repeat(series, h), np.tile(steps, len(series)))
    return Ahead(h, tables, asked)


def _check_reach(spec: DatasetSpec, reach: int, end: int, h: int, longest_break: int) -> None:
    if reach + longest_break >= h and reach > 0:
        return
    names = ", ".join(spec.known)
    have = "no row after the cutoff" if not reach else f"rows for {reach} of {h} steps after the cutoff"
    raise DataError(
        Problem(
            f"the known covariates ({names}) are not given for the dates to forecast",
            f"the cutoff is {spec.frequency.to_date(end)}; the table has {have}",
            "give them with --future FUTURE.csv, shorten --horizon, set an earlier --cutoff, or leave out --known",
        )
    )


def future_keys(future: pl.DataFrame, frame: pl.DataFrame, spec: DatasetSpec) -> pl.DataFrame:
    """The future rows with the needed columns only, keys typed as in the history.

    Raises
    ------
    DataError : columns that are missing or that the history does not have, rows without keys or date, text as a date.
    """
    needed = list(dict.fromkeys([*spec.keys, spec.time, *spec.known]))
    problems = [
        Problem(f"the future rows lack the column {name!r}", "--future", nearest(name, future.columns))
        for name in needed
        if name not in future.columns
    ]
    problems += [
        Problem(
            f"the future rows have a column {name!r} that the table does not have",
            "--future",
            f"remove or rename it; {nearest(name, frame.columns)}",
        )
        for name in future.columns
        if name not in frame.columns and not _is_identifier(future[name])
    ]
    if not problems and future.is_empty():
        problems.append(Problem("the future table has no rows", "--future", "give one row per key and date"))
    if problems:
        raise DataError(problems)
    extra = [name for name in spec.static if name in future.columns]
    typed = future.select(*needed, *extra).with_columns(
        as_dates(future, spec.time).alias(spec.time), *(_like(future[key], frame[key]) for key in spec.keys)
    )
    bad = typed.select(n=pl.any_horizontal(pl.col(*spec.keys, spec.time).is_null()))["n"]
    if bad.any():
        lines = ", ".join(str(i + 2) for i in bad.arg_true().head(3))
        raise DataError(
            Problem(
                f"{bad.sum()} future rows lack a key or a date", f"--future, lines {lines}", "complete or remove them"
            )
        )
    return typed


def _is_identifier(values: pl.Series) -> bool:
    """A column that only numbers the rows."""
    return (values.dtype.is_integer() or values.dtype == pl.String) and values.n_unique() == len(values) > 1


def _like(values: pl.Series, history: pl.Series) -> pl.Series:
    if values.dtype == history.dtype:
        return values
    if values.dtype.is_float() and history.dtype == pl.String:
        values = values.cast(pl.Int64, strict=False)
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    return values.cast(history.dtype, strict=False)


def from_future(
    spec: DatasetSpec,
    future: pl.DataFrame,
    keys: pl.DataFrame,
    end: int,
    h: int | None,
    shut_weekdays: frozenset[int],
    gap_share: float,
) -> Ahead:
    """The horizon that a table of the future asks for: exactly its rows.

    Parameters
    ----------
    future : what `future_keys` returned.
    keys : ``unique_id`` and key columns by series code.
    h : steps asked for; None takes those of the spec, or fewer where the future rows end earlier.
    shut_weekdays : weekdays (Monday = 0) of a daily table on which the history never has a row.
    gap_share : share of dates inside the series of the history that have no row. Where the history has gaps, the future
        may have as many (up to twice the share); where it has none, a gap is an error.

    Raises
    ------
    DataError : dates off the time line or not after the cutoff, repeated rows, gaps, rows that end before the horizon,
        a known covariate without any value; all of them at once.
    """
    grid = off_grid(future[spec.time], spec.frequency)
    if grid is not None:
        raise DataError(grid)
    rows = Rows(future, name_series(future, keys, spec.keys), periods_of(future[spec.time], spec.frequency))
    step = rows.period.astype(np.int64) - end
    problems = [*_not_after(spec, rows, step, end), *_repeated(spec, rows, keys), *_without_values(spec, future)]
    if problems:
        raise DataError(problems)
    reach = int(step.max())
    findings = _note_reach(reach, h, spec)
    if h is not None and reach < _last_open(h, end, shut_weekdays):
        problems.append(_too_short(spec, reach, h, end))
    steps = min(reach, h or spec.horizon)
    inside = step <= steps
    rows, step = rows.where(inside), step[inside]
    gaps, share = _gaps(spec, rows, step, steps, end, keys, shut_weekdays)
    if gaps is not None and share <= 2 * gap_share:
        text = f"{gaps.what}; left unanswered, as the history has such gaps too"
        findings = (*findings, Finding("future_gaps", "warning", text, share=share))
    elif gaps is not None:
        problems.append(gaps)
    if problems:
        raise DataError(problems)
    order = np.lexsort((step, rows.series))
    return Ahead(steps, (rows,), (rows.series[order].astype(np.int64), step[order]), findings)


def _not_after(spec: DatasetSpec, rows: Rows, step: npt.NDArray[np.int64], end: int) -> list[Problem]:
    bad = step < 1
    if not bad.any():
        return []
    dates = spec.frequency.to_date(np.unique(rows.period[bad])[:3].astype(np.int64))
    return [
        Problem(
            f"{int(bad.sum())} future rows are not after the cutoff {spec.frequency.to_date(end)}",
            f"--future, {spec.time}: {', '.join(map(str, dates))}",
            "keep only dates after the last date of the table",
        )
    ]


def _repeated(spec: DatasetSpec, rows: Rows, keys: pl.DataFrame) -> list[Problem]:
    cell = np.stack([rows.series, rows.period], axis=1)
    cells, n = np.unique(cell, axis=0, return_counts=True)
    if (n == 1).all():
        return []
    names = keys[UNIQUE_ID]
    shown = [f"{names[int(s)]} on {spec.frequency.to_date(int(p))}" for s, p in cells[n > 1][:3]]
    text = f"{int((n > 1).sum())} keys and dates have several future rows"
    return [Problem(text, f"--future: {'; '.join(shown)}", "give one row per key and date")]


def _without_values(spec: DatasetSpec, future: pl.DataFrame) -> list[Problem]:
    return [
        Problem(
            f"the known covariate {name!r} has no value in any future row",
            "--future",
            "give it, or leave it out of --known",
        )
        for name in spec.known
        if future[name].null_count() == future.height
    ]


def _last_open(h: int, end: int, shut_weekdays: frozenset[int]) -> int:
    """The last step of the horizon on which a row can be expected."""
    return next((step for step in range(h, 0, -1) if (end + step + 3) % 7 not in shut_weekdays), h)


def _note_reach(reach: int, h: int | None, spec: DatasetSpec) -> tuple[Finding, ...]:
    asked = h or spec.horizon
    if reach > asked:
        text = f"the future rows reach {reach} steps ahead; those after step {asked}, the horizon, are ignored"
        return (Finding("future_beyond_horizon", "info", text, n=reach - asked),)
    if h is None and reach < asked:
        text = f"the future rows end {reach} steps ahead: the horizon is {reach}, not {asked}"
        return (Finding("future_ends_early", "warning", text, n=asked - reach),)
    return ()


def _too_short(spec: DatasetSpec, reach: int, h: int, end: int) -> Problem:
    last, needed = spec.frequency.to_date(end + reach), spec.frequency.to_date(end + h)
    return Problem(
        f"the future rows end {reach} steps after the cutoff, the horizon is {h}",
        f"--future ends on {last}; needed until {needed}",
        f"add the missing rows, or use --horizon {reach}",
    )


def _gaps(
    spec: DatasetSpec,
    rows: Rows,
    step: npt.NDArray[np.int64],
    h: int,
    end: int,
    keys: pl.DataFrame,
    shut_weekdays: frozenset[int],
) -> tuple[Problem | None, float]:
    """Steps of the horizon for which a series has no future row, and their share."""
    series, position = np.unique(rows.series, return_inverse=True)
    given = np.zeros((len(series), h), dtype=np.bool_)
    given[position, step - 1] = True
    expected = given.any(0) | ~np.isin((end + np.arange(1, h + 1) + 3) % 7, list(shut_weekdays))
    lacking = ~given & expected
    if not lacking.any():
        return None, 0.0
    names, which = keys[UNIQUE_ID], np.flatnonzero(lacking.any(1))
    dates = [spec.frequency.to_date(end + 1 + int(lacking[i].argmax())) for i in which[:3]]
    shown = [f"{names[int(series[i])]} lacks {date}" for i, date in zip(which[:3], dates, strict=True)]
    problem = Problem(
        f"future rows are missing: {int(lacking.sum())} of {lacking.size}, in {len(which)} of {len(series)} series",
        f"--future: {'; '.join(shown)}",
        "give one row per key and date for every step of the horizon",
    )
    return problem, float(lacking.mean())


def requested_frame(ahead: Ahead, keys: pl.DataFrame, spec: DatasetSpec, end: int) -> pl.DataFrame:
    """The rows to answer: ``unique_id``, the key columns, ``ds``, ``step``."""
    series, step = ahead.asked
    dates = spec.frequency.to_date(end + step)
    return keys[series].with_columns(pl.Series(DS, dates).cast(pl.Date), pl.Series(STEP, step))
