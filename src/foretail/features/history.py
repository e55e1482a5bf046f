"""The rows of the feature store, computed from a panel and written as Parquet; a row never holds what came after it."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem, UsageError
from foretail.features.declaration import Declaration, Entity, Feature, View, holiday_reach, types_of
from foretail.features.moments import Moments, Told
from foretail.panel.panel import Panel

__all__ = ["feature_rows", "known_ahead", "store_frames", "write_store"]

IntArray = npt.NDArray[np.int64]

EVENT, CREATED = "event_timestamp", "created_timestamp"
_DTYPES = {"Int64": pl.Int64, "Float64": pl.Float64, "String": pl.String, "Bool": pl.Boolean}
_PART = "part-0.parquet"
_ROW_GROUP = 131_072  # rows: small enough to skip by key, large enough to compress


def store_frames(panel: Panel, declaration: Declaration) -> dict[str, pl.DataFrame]:
    """Every row of every stored view.

    A series has a row for each period from its first observation to the panel's end, closed series included: what is
    not known is null, and no older row stands in for it. Where sales were restated, the row of each as-of date that
    looks at them comes again, created when the restatement was made.

    Parameters
    ----------
    panel : sales up to the last as-of date; known covariates reach further where they are given.
    declaration : of the panel's spec.

    Returns
    -------
    Per view: the key columns, ``event_timestamp`` (midnight UTC of the as-of date), the features, and
    ``created_timestamp`` (midnight UTC of the date on which the row became known); sorted by keys, then times.

    Raises
    ------
    DataError : the panel is not the one that was declared: columns that are missing or of another type.
    """
    _check(panel, declaration)
    told = _told(panel)
    begin = _begin(panel, told)
    column = np.arange(panel.n_periods)
    row, at = np.nonzero(column[None, :] >= begin[:, None])
    moments = Moments(panel, row, at, panel.start + at, told, holiday_reach(declaration.spec))
    if told is not None:
        moments = _with_restatements(moments, told, _lags(declaration))
    return {view.name: _frame(view, declaration, moments, begin) for view in declaration.stored}


def feature_rows(panel: Panel, declaration: Declaration, at: dt.date) -> dict[str, pl.DataFrame]:
    """The rows of one as-of date, recomputed from the panel as it was known then and from nothing else.

    Parameters
    ----------
    at : the as-of date, a date of the panel's time line.

    Returns
    -------
    As `store_frames`; a row of a view that is not about time carries its own, earlier timestamp.

    Raises
    ------
    UsageError : a date that is not on the panel's time line.
    """
    _check(panel, declaration)
    n = _column_of(panel, at) + 1
    # as_of has put the sales as they were told then; later versions must not be looked up again
    seen = replace(panel.as_of(n, declaration.spec.horizon), revisions=None)
    begin = np.where(seen.observed.any(1), seen.first, n)
    row = np.flatnonzero(begin < n)
    last = np.full(len(row), n - 1)
    moments = Moments(seen, row, last, seen.start + last, None, holiday_reach(declaration.spec))
    first = _begin(panel, _told(panel))
    return {view.name: _frame(view, declaration, moments, first) for view in declaration.stored}


def known_ahead(panel: Panel, declaration: Declaration) -> pl.DataFrame:
    """What a request must give, for every series and as-of date: the known covariates of T + 1 step.

    Returns
    -------
    The key columns, ``event_timestamp`` and one column per request feature; without rows where nothing is requested.
    """
    requested = tuple(item for view in declaration.views for item in view.request)
    row, at = np.nonzero(np.ones((panel.n_series, panel.n_periods if requested else 0), dtype=np.bool_))
    moments = Moments(panel, row, at, panel.start + at, None, holiday_reach(declaration.spec))
    keys = _keys(declaration.entities, panel, row)
    return pl.DataFrame(
        [*keys, _stamps(panel, panel.start + at, EVENT), *(_values(item, moments) for item in requested)]
    )


def _column_of(panel: Panel, at: dt.date) -> int:
    day = np.asarray([np.datetime64(at, "D")])
    column = int(panel.frequency.to_index(day)[0]) - panel.start
    if not (0 <= column < panel.n_periods and panel.frequency.is_on_grid(day)[0]):
        first = panel.frequency.to_date(panel.start).item()
        raise UsageError(
            f"{at} is no as-of date of the table.\n  where: {first} to {panel.cutoff}, {panel.frequency.code}"
            "\n  fix:   ask for a date of the table"
        )
    return column


def _told(panel: Panel) -> Told | None:
    if panel.revisions is None:
        return None
    return Told(panel.revisions, panel.start, panel.n_series, panel.n_periods)


def _begin(panel: Panel, told: Told | None) -> IntArray:
    """``[N]`` the first column as of which anything is known of the series; T where nothing ever is."""
    known_from = np.where(panel.observed, np.arange(panel.n_periods), panel.n_periods)
    if told is not None and len(told.cell):
        row, column = np.divmod(told.cell, panel.n_periods)
        known_from[row, column] = np.clip(told.first_known - panel.start, column, panel.n_periods)
    begin: IntArray = known_from.min(1).astype(np.int64)
    return begin


def _with_restatements(moments: Moments, told: Told, lags: IntArray) -> Moments:
    """The rows and, behind them, those told again: once per time at which a value that they look at changed."""
    panel, n = moments.panel, moments.panel.n_periods
    cell, time = told.changes
    later = cell[:, None] % n + (lags - 1)[None, :]  # columns of the as-of dates that look at the cell
    again = (later < n) & (panel.start + later < time[:, None])
    which, _ = np.nonzero(again)
    found = np.stack([cell[which] // n, later[again], time[which]], axis=1)
    row, column, known_at = np.unique(found, axis=0).T
    return replace(
        moments,
        row=np.concatenate([moments.row, row]),
        column=np.concatenate([moments.column, column]),
        time=np.concatenate([moments.time, known_at]),
    )


def _lags(declaration: Declaration) -> IntArray:
    """Every lag of the target that a stored feature looks at."""
    target = declaration.spec.target
    windows = [item.window for view in declaration.stored for item in view.features if item.source == target]
    reached = {k for window in windows if window is not None for k in range(window.lag, window.last + 1)}
    return np.array(sorted(reached), dtype=np.int64)


# frames


def _frame(view: View, declaration: Declaration, moments: Moments, begin: IntArray) -> pl.DataFrame:
    entities = [item for item in declaration.entities if item.name in view.keys]
    panel = moments.panel
    if all(item.role == "static" for item in view.features):
        moments = _first_rows(view, moments, begin)
    columns = [
        *_keys(entities, panel, moments.row),
        _stamps(panel, panel.start + moments.column, EVENT),
        *(_values(item, moments) for item in view.features),
        _stamps(panel, np.maximum(panel.start + moments.column, moments.time), CREATED),
    ]
    return pl.DataFrame(columns).sort(*view.keys, EVENT, CREATED)


def _first_rows(view: View, moments: Moments, begin: IntArray) -> Moments:
    """One row per key, on the first date of its first series."""
    series = moments.panel.series
    alive = np.flatnonzero(begin < moments.panel.n_periods)
    order = alive[np.argsort(begin[alive], kind="stable")]
    first = np.unique(_codes(series, view.keys)[order], return_index=True)[1]
    order = order[first]
    return replace(moments, row=order, column=begin[order], time=moments.panel.start + begin[order])


def _codes(series: pl.DataFrame, keys: tuple[str, ...]) -> IntArray:
    """Equal numbers for series with equal keys."""
    if not keys:
        return np.zeros(series.height, dtype=np.int64)
    return series.select(pl.struct(keys).rank("dense").cast(pl.Int64)).to_series().to_numpy()


def _keys(entities: Sequence[Entity], panel: Panel, row: IntArray) -> list[pl.Series]:
    return [panel.series[item.name].cast(_DTYPES[item.dtype]).gather(row) for item in entities]


def _stamps(panel: Panel, period: IntArray, name: str) -> pl.Series:
    """Midnight UTC of the label of each period."""
    first = int(period.min(initial=panel.start))
    labels = panel.frequency.to_date(np.arange(first, int(period.max(initial=first)) + 1))
    return pl.Series(name, labels.astype("datetime64[us]")).gather(period - first).dt.replace_time_zone("UTC")


def _values(item: Feature, moments: Moments) -> pl.Series:
    """A feature as a column; what is not known is null."""
    values: Any = item.compute(moments)
    series = values.alias(item.name) if isinstance(values, pl.Series) else pl.Series(item.name, values)
    series = series.fill_nan(None) if series.dtype.is_float() else series
    return series.cast(_DTYPES[item.dtype])


# what was declared and what is there


def _check(panel: Panel, declaration: Declaration) -> None:
    """Refuse a panel that is not the declared one, with everything that is wrong at once."""
    spec, found = declaration.spec, _found(panel)
    problems = [
        Problem(f"the table has no {name!r}", "declared for the feature store", "declare the features of this table")
        for name in (*spec.keys, *spec.static, *(item.name for item in spec.past), *spec.known)
        if name not in found
    ]
    if panel.spec.target != spec.target or panel.spec.freq != spec.freq:
        is_, was = (f"{item.target} ({item.freq})" for item in (panel.spec, spec))
        problems.append(
            Problem(f"the table is about {is_}, not {was}", "the feature store", "declare its own features")
        )
    problems += [
        Problem(f"{name!r} holds {found[name]} and was declared {dtype}", "the feature store", _SEE)
        for name, dtype in declaration.types.items()
        if found.get(name, dtype) != dtype
    ]
    problems = problems or _not_depending(panel, declaration)
    if problems:
        raise DataError(problems)


_SEE = "declare(spec, panel) looks at the table; declare(spec) takes what is usual"


def _found(panel: Panel) -> dict[str, str]:
    return dict(types_of(panel)) | dict.fromkeys((item.name for item in panel.known), "")


def _not_depending(panel: Panel, declaration: Declaration) -> list[Problem]:
    return [
        Problem(
            f"{name!r} does not depend on {' and '.join(keys) or 'nothing'} alone", f"values within one {keys}", _SEE
        )
        for name, keys in declaration.static_keys.items()
        if panel.series.select(*keys, name).unique().height > max(panel.series.select(keys).unique().height, 1)
    ]


# files


def write_store(frames: Mapping[str, pl.DataFrame], folder: Path) -> dict[str, Path]:
    """Write each view as a file in ``<folder>/<view>``, with statistics; a file is replaced whole or not at all.

    Parameters
    ----------
    frames : what `store_frames` returned. folder : is made.

    Returns
    -------
    The folder of each view.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    drafts = {name: folder / f".{name}-{mark}" for name in frames}
    try:
        for name, frame in frames.items():
            frame.write_parquet(drafts[name], compression="zstd", statistics=True, row_group_size=_ROW_GROUP)
        for name, draft in drafts.items():
            (folder / name).mkdir(exist_ok=True)
            draft.replace(folder / name / _PART)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return {name: folder / name for name in frames}
