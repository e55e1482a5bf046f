"""From a table of sales to a panel: nothing after the cutoff is read, nothing is repaired or dropped in silence."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem
from foretail.core.spec import DatasetSpec
from foretail.panel.ahead import Ahead, from_future, from_table, future_keys, requested_frame
from foretail.panel.censored import on_grid, withhold
from foretail.panel.closed import closed_days
from foretail.panel.covariates import Grid, known_covariate, past_covariate
from foretail.panel.duplicates import Cells, to_cells
from foretail.panel.findings import about_series, quality_report
from foretail.panel.gaps import fill_gaps
from foretail.panel.panel import Covariate, Panel, Revisions, Withheld
from foretail.panel.quality import Finding, QualityReport
from foretail.panel.rows import (
    Rows,
    check_columns,
    finite_target,
    last_period,
    name_series,
    numeric_target,
    off_grid,
    periods_of,
    place,
    set_aside,
    with_reason,
)
from foretail.panel.statics import static_columns
from foretail.sources.table import Table

__all__ = ["PanelBuild", "build_panel"]

IntArray = npt.NDArray[np.int64]
FloatMatrix = npt.NDArray[np.float64]
BoolMatrix = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PanelBuild:
    """A panel and what came up on the way to it.

    Attributes
    ----------
    panel : validated sales up to the cutoff.
    quality : what the data look like, what was repaired and set aside.
    quarantine : the user's rows that could not be used, with their ``reason``.
    requested : the rows to answer: ``unique_id``, the key columns, ``ds``, ``step``.
    cold : requested series without any observation up to the cutoff: ``unique_id``, the key and the static columns.
    cold_known : known covariates of the cold series, float32 ``[C, T + H]`` each, coded as those of the panel.
    """

    panel: Panel
    quality: QualityReport
    quarantine: pl.DataFrame
    requested: pl.DataFrame
    cold: pl.DataFrame
    cold_known: tuple[Covariate, ...] = ()

    @property
    def series(self) -> pl.DataFrame:
        """Key and static columns of every series, those without any observation last."""
        return pl.concat([self.panel.series, self.cold], how="diagonal_relaxed")


@dataclass(frozen=True)
class _History:
    """What the table says up to the cutoff, and the rows after it."""

    cells: Cells
    set_aside: Rows
    later: Rows
    keys: pl.DataFrame
    end: int
    quarantine: pl.DataFrame
    future: pl.DataFrame | None
    findings: tuple[Finding, ...]
    withheld: Withheld | None = None


def build_panel(table: Table, *, cutoff: dt.date | None = None, horizon: int | None = None) -> PanelBuild:
    """Validate a table and lay it out as a panel.

    Parameters
    ----------
    table : rows as read, with the spec that says what they mean.
    cutoff : forget everything after this date, as if the table ended there; rows after it supply known covariates and
        say which series are asked for. By default the last date with an observation.
    horizon : steps to forecast; by default those of the spec (fewer if the table of the future ends earlier).

    Raises
    ------
    DataError : the table cannot be used as it is; every message says what, where and how to fix it.
    """
    spec = table.spec if horizon is None else table.spec.but(horizon=horizon)
    history = _read(table, spec, cutoff)
    ahead = _look_ahead(spec, history, cutoff, horizon)
    spec = spec.but(horizon=ahead.h)
    return _assemble(table, spec, history, ahead)


def _read(table: Table, spec: DatasetSpec, cutoff: dt.date | None) -> _History:
    check_columns(table.frame, spec)
    kept, without_place = set_aside(numeric_target(table.frame, spec, cutoff), spec, table.frame)
    future = None if table.future is None else future_keys(table.future, kept, spec)
    rows, keys = place(kept, spec, future)
    now, later = _split(rows, spec, cutoff)
    now, y, infinite = finite_target(now, spec)
    end = _end_of(now, y, spec, cutoff)
    if cutoff is None:
        inside = now.period <= end
        later, now, y = now.where(~inside), now.where(inside), y[inside]
    grid = off_grid(now.frame[spec.time], spec.frequency)
    if grid is not None:
        raise DataError(grid)
    censored = withhold(to_cells(now, y, spec, keys[UNIQUE_ID].to_list()), spec)
    cells = censored.cells
    quarantine = pl.concat([without_place, _without_number(infinite, spec, without_place)])
    findings = tuple(Finding("note", "info", note) for note in table.notes)
    findings = (*findings, *_set_aside(quarantine, table), *_weekly_after_all(cells.rows, spec), *censored.findings)
    return _History(cells, infinite, later, keys, end, quarantine, future, findings, censored.withheld)


def _split(rows: Rows, spec: DatasetSpec, cutoff: dt.date | None) -> tuple[Rows, Rows]:
    """Rows known at the cutoff, and rows after it; restatements written later are in neither."""
    if cutoff is None:
        return rows, rows.where(np.zeros(len(rows), dtype=np.bool_))
    limit = last_period(cutoff, spec.frequency)
    known = rows.period <= limit
    later = rows.where(~known)
    if rows.known_at is not None:
        known &= rows.known_at <= limit
    if not known.any():
        dates = rows.frame[spec.time]
        raise DataError(
            Problem(
                f"the table has no row at or before the cutoff {cutoff}",
                f"{spec.time}: {dates.min()!s} to {dates.max()!s}"
                + (f"; {spec.recorded} says when rows were written" if spec.recorded else ""),
                "choose a later --cutoff",
            )
        )
    return rows.where(known), later


def _end_of(rows: Rows, y: npt.NDArray[np.float64], spec: DatasetSpec, cutoff: dt.date | None) -> int:
    """The period of the cutoff: the last one observed, or the one asked for if the break before it is a usual one."""
    periods = np.unique(rows.period[np.isfinite(y)]).astype(np.int64)
    if not len(periods):
        raise DataError(
            Problem(
                "the target has no value" + (f" at or before the cutoff {cutoff}" if cutoff else ""),
                f"column {spec.target!r}, {len(rows)} rows",
                "name the right column with --target" + (", or choose a later --cutoff" if cutoff else ""),
            )
        )
    last = int(periods[-1])
    if cutoff is None:
        return last
    limit = last_period(cutoff, spec.frequency)
    return limit if limit - last <= _longest_break(periods) else last


def _longest_break(periods: IntArray) -> int:
    return int(np.diff(periods).max(initial=1)) - 1


def _weekly_after_all(rows: Rows, spec: DatasetSpec) -> tuple[Finding, ...]:
    periods = np.unique(rows.period).astype(np.int64)
    if not spec.frequency.is_daily or len(periods) < 8 or (np.diff(periods) % 7).any():
        return ()
    weekday = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"][(int(periods[0]) + 3) % 7]
    text = f"every date of this daily table falls on one weekday: --freq W-{weekday} is probably meant"
    return (Finding("frequency", "warning", text, len(periods), 1.0),)


def _without_number(infinite: Rows, spec: DatasetSpec, like: pl.DataFrame) -> pl.DataFrame:
    reasons = pl.Series([f"{spec.target} is not a finite number"] * len(infinite), dtype=pl.String)
    return with_reason(infinite.frame, reasons).select(like.columns).cast(pl.Schema(like.schema))


def _set_aside(quarantine: pl.DataFrame, table: Table) -> tuple[Finding, ...]:
    if quarantine.is_empty():
        return ()
    counts = quarantine[quarantine.columns[-1]].value_counts(sort=True, name="n").rows()
    reasons = "; ".join(f"{why}: {n}" for why, n in counts)
    n = quarantine.height
    text = f"{n} rows were set aside ({reasons}); they are kept and can be released once corrected"
    return (Finding("quarantined_rows", "warning", text, n, n / table.frame.height),)


def _look_ahead(spec: DatasetSpec, history: _History, cutoff: dt.date | None, horizon: int | None) -> Ahead:
    rows, end = history.cells.rows, history.end
    periods = np.unique(rows.period).astype(np.int64)
    n_periods = end - int(periods[0]) + 1
    if horizon is not None and n_periods < horizon:
        raise DataError(_too_long(horizon, n_periods, spec, end))
    ahead = _horizon(spec, history, cutoff, horizon, periods)
    if n_periods < ahead.h:
        raise DataError(_too_long(ahead.h, n_periods, spec, end))
    return ahead


def _horizon(
    spec: DatasetSpec, history: _History, cutoff: dt.date | None, horizon: int | None, periods: IntArray
) -> Ahead:
    end = history.end
    if history.future is not None and (cutoff is None or not len(history.later)):
        traded = frozenset(((periods + 3) % 7).tolist()) if spec.frequency.is_daily else frozenset(range(7))
        shut = frozenset(range(7)) - traded
        return from_future(spec, history.future, history.keys, end, horizon, shut, _gap_share(history.cells.rows))
    tables = [history.later]
    if history.future is not None:
        codes = name_series(history.future, history.keys, spec.keys)
        tables.insert(0, Rows(history.future, codes, periods_of(history.future[spec.time], spec.frequency)))
    usable = tuple(rows.where(_on_grid(rows, spec)) for rows in tables)
    h = spec.horizon
    if cutoff is None and horizon is None and spec.known and len(history.later):
        h = min(h, max(1, int(history.later.period.max()) - end))
    asked = np.unique(history.cells.rows.series).astype(np.int64)
    return from_table(spec, usable, end, h, asked, _longest_break(periods))


def _gap_share(rows: Rows) -> float:
    """Share of the dates between the first and the last row of each series that have no row."""
    n_series = int(rows.series.max()) + 1
    first, last = np.full(n_series, 2**31 - 1), np.full(n_series, -(2**31))
    np.minimum.at(first, rows.series, rows.period)
    np.maximum.at(last, rows.series, rows.period)
    spans = np.maximum(last - first + 1, 0)
    return 1.0 - len(rows) / int(spans.sum())


def _on_grid(rows: Rows, spec: DatasetSpec) -> npt.NDArray[np.bool_]:
    return spec.frequency.is_on_grid(rows.frame[spec.time].to_numpy().astype("datetime64[D]"))


def _too_long(h: int, n_periods: int, spec: DatasetSpec, end: int) -> Problem:
    return Problem(
        f"the horizon ({h}) is longer than the history ({n_periods} {spec.frequency.noun}s)",
        f"the history ends on {spec.frequency.to_date(end)}",
        f"use --horizon {max(1, n_periods // 3)} or less, or give a longer history",
    )


def _assemble(table: Table, spec: DatasetSpec, history: _History, ahead: Ahead) -> PanelBuild:
    rows, keys = history.cells.rows, history.keys
    grid = _grid(spec, history, ahead.h)
    y, has_row = _matrices(rows, history.cells.y, grid)
    # a row that was set aside is no gap: nobody knows its value
    has_row.ravel()[grid.place(history.set_aside, grid.n_periods)[0]] = True
    findings = [*history.findings, *history.cells.findings, *ahead.findings, *_negatives(y, spec)]
    known, about_known = _known(spec, rows, ahead, grid)
    findings += about_known
    past = tuple(past_covariate(item.name, item.delay, rows, grid) for item in spec.past)
    closed, about_closed = closed_days(spec, known, y, has_row, grid.start, ahead.h)
    withheld = on_grid(history.withheld, grid)
    findings += [*about_closed, *_nulls(rows, history.cells.y, history.withheld)]
    told = np.isfinite(y)
    if withheld is not None:
        told[withheld.row, withheld.period - grid.start] = True
    last_row = grid.n_periods - 1 - told[:, ::-1].argmax(1)
    _, about_gaps = fill_gaps(y, has_row, spec)
    statics, about_statics = static_columns(spec.static, rows, keys.height)
    findings += [*about_gaps, *about_statics]
    inside = np.flatnonzero(grid.row >= 0)
    panel = Panel(
        spec=spec,
        series=keys[inside].hstack(statics[inside]),
        start=grid.start,
        y=y,
        closed=closed,
        known=known,
        past=past,
        revisions=_revisions(history.cells.revisions, grid, spec),
        withheld=withheld,
    )
    codes = _cold_codes(grid, ahead)
    cold = _cold(spec, keys, codes, ahead, history)
    findings += [*_cold_found(cold), *about_series(panel, last_row.astype(np.int64), ahead.h)]
    return PanelBuild(
        panel=panel,
        quality=quality_report(table.frame.height, panel, findings),
        quarantine=history.quarantine,
        requested=requested_frame(ahead, keys, spec, history.end),
        cold=cold,
        cold_known=_cold_known(spec, keys, codes, grid, ahead, rows),
    )


def _grid(spec: DatasetSpec, history: _History, h: int) -> Grid:
    rows, keys = history.cells.rows, history.keys
    told = np.isfinite(history.cells.y)
    n_told = np.bincount(rows.series[told], minlength=keys.height)
    row = np.where(n_told > 0, np.cumsum(n_told > 0) - 1, -1).astype(np.int64)
    start = int(rows.period[told].min())
    inside = keys.filter(pl.Series(row >= 0))
    groups = [np.zeros(inside.height, dtype=np.int64)]
    if len(spec.keys) > 1:
        groups += [inside[key].rank("dense").cast(pl.Int64).to_numpy() for key in spec.keys]
    return Grid(row, inside.height, history.end - start + 1, h, start, tuple(groups))


def _matrices(rows: Rows, values: npt.NDArray[np.float64], grid: Grid) -> tuple[FloatMatrix, BoolMatrix]:
    flat, inside = grid.place(rows, grid.n_periods)
    y = np.full((grid.n_series, grid.n_periods), np.nan)
    has_row = np.zeros(y.shape, dtype=np.bool_)
    y.ravel()[flat] = values if inside.all() else values[inside]
    has_row.ravel()[flat] = True
    return y, has_row


def _negatives(y: FloatMatrix, spec: DatasetSpec) -> list[Finding]:
    negative = y < 0
    n = int(np.count_nonzero(negative))
    if not n:
        return []
    share = n / int(np.count_nonzero(np.isfinite(y)))
    if spec.negatives == "clip":
        y[negative] = 0.0
        return [Finding("negatives", "repaired", f"{n} negative values were set to 0 ({share:.2%})", n, share)]
    return [Finding("negatives", "info", f"{n} values are negative ({share:.2%}); they are kept", n, share)]


def _nulls(rows: Rows, values: npt.NDArray[np.float64], withheld: Withheld | None) -> list[Finding]:
    n = int(np.count_nonzero(np.isnan(values))) - (0 if withheld is None else len(withheld.row))
    if not n:
        return []
    text = f"{n} rows up to the cutoff tell no value: missing observations"
    return [Finding("missing_values", "info", text, n, n / len(rows))]


def _known(spec: DatasetSpec, rows: Rows, ahead: Ahead, grid: Grid) -> tuple[tuple[Covariate, ...], list[Finding]]:
    known, findings = [], []
    for name in spec.known:
        item, unseen = known_covariate(name, rows, ahead.tables, grid)
        known.append(item)
        findings += _unknown_ahead(item, unseen, grid, ahead)
    return tuple(known), findings


def _unknown_ahead(item: Covariate, unseen: int, grid: Grid, ahead: Ahead) -> list[Finding]:
    findings = []
    if unseen:
        text = f"{unseen} values of {item.name} after the cutoff never occur before it: taken as not given"
        findings.append(Finding("unseen_values", "warning", text, unseen, examples=(item.name,)))
    series, step = ahead.asked
    row = grid.row[series]
    values = item.values[row[row >= 0], grid.n_periods - 1 + step[row >= 0]]
    n = int(np.count_nonzero(np.isnan(values)))
    share = n / max(len(values), 1)
    history = item.values[:, : grid.n_periods]
    # a covariate that often has no value means something by that; only an unusual lack is worth a warning
    if n and share > 2 * np.count_nonzero(np.isnan(history)) / history.size + 0.01:
        text = f"{item.name} is not given for {n} of the rows to forecast ({share:.1%})"
        findings.append(Finding("unknown_ahead", "warning", text, n, share, (item.name,)))
    return findings


def _revisions(told: Revisions | None, grid: Grid, spec: DatasetSpec) -> Revisions | None:
    if told is None:
        return None
    row = grid.row[told.row]
    keep = (row >= 0) & (told.period >= grid.start)
    y = np.maximum(told.y, 0.0) if spec.negatives == "clip" else told.y
    order = np.lexsort((np.arange(len(row))[keep], told.known_at[keep], told.period[keep], row[keep]))
    return Revisions(row[keep][order], told.period[keep][order], told.known_at[keep][order], y[keep][order])


def _cold_codes(grid: Grid, ahead: Ahead) -> IntArray:
    """Codes of the requested series that the panel does not hold."""
    asked = np.unique(ahead.asked[0])
    return asked[grid.row[asked] < 0]


def _cold(spec: DatasetSpec, keys: pl.DataFrame, cold: IntArray, ahead: Ahead, history: _History) -> pl.DataFrame:
    """Requested series that the panel does not hold, with what is said of them anywhere in the table."""
    tables = [history.cells.rows, history.later, *ahead.tables]
    statics = keys.select(UNIQUE_ID)
    for name in spec.static:
        found = [static_columns((name,), rows, keys.height)[0][name] for rows in tables if name in rows.frame.columns]
        statics = statics.with_columns(pl.coalesce(found).alias(name))
    return keys[cold].hstack(statics.drop(UNIQUE_ID)[cold])


def _cold_known(
    spec: DatasetSpec, keys: pl.DataFrame, cold: IntArray, grid: Grid, ahead: Ahead, rows: Rows
) -> tuple[Covariate, ...]:
    """What is known in advance of the requested series that the panel does not hold, values shared with it included."""
    if not len(cold):
        return ()
    row = grid.row.copy()
    row[cold] = grid.n_series + np.arange(len(cold))
    order = np.concatenate([np.flatnonzero(grid.row >= 0), cold])
    groups = [np.zeros(len(order), dtype=np.int64)]
    if len(spec.keys) > 1:
        groups += [keys[order][key].rank("dense").cast(pl.Int64).to_numpy() for key in spec.keys]
    wide = Grid(row, len(order), grid.n_periods, grid.h, grid.start, tuple(groups))
    every = (known_covariate(name, rows, ahead.tables, wide)[0] for name in spec.known)
    return tuple(Covariate(item.name, item.values[grid.n_series :], item.categories) for item in every)


def _cold_found(cold: pl.DataFrame) -> list[Finding]:
    if cold.is_empty():
        return []
    ids = tuple(cold[UNIQUE_ID].head(5).to_list())
    text = f"{cold.height} series asked for have no observation up to the cutoff"
    return [Finding("cold_series", "warning", text, cold.height, examples=ids)]
