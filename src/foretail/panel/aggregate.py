"""The panel of a level: one series per group, whose sales are the sums of its series, known when theirs were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.panel.hierarchy import Level
from foretail.panel.panel import Covariate, Float32Matrix, Panel, Revisions

__all__ = ["level_panel", "summed"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def level_panel(panel: Panel, level: Level) -> Panel:
    """One series per group of a level.

    Sales are summed over the series that have a value; a period is closed when it is for every series. A covariate is
    the mean over the series that have it; a text, what all of them say. Static columns of which every group has one
    value are kept. Where the goods ran out and the demand was not estimated, what was sold counts.

    Parameters
    ----------
    panel : N series. level : over the same N series.

    Returns
    -------
    G series over the same periods, whose keys are the columns of the level.
    """
    series, static = _series(panel, level)
    spec = panel.spec.but(keys=level.columns, static=static, hierarchy=(), stockout=None)
    return replace(
        panel,
        spec=spec,
        series=series,
        y=summed(level, _sold(panel)),
        closed=level.reduced(panel.closed, np.logical_and),
        known=tuple(_shared(item, level) for item in panel.known),
        past=tuple(_shared(item, level) for item in panel.past),
        revisions=_revisions(panel, level),
        withheld=None,
    )


def summed(level: Level, y: FloatArray) -> FloatArray:
    """Sums ``[G, T]`` of the values there are; NaN where no series of the group has one."""
    is_told = np.isfinite(y)
    found = level.sums(np.where(is_told, y, 0.0))
    return np.where(level.reduced(is_told, np.logical_or), found, np.nan)


def _series(panel: Panel, level: Level) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The groups with the static columns that each of them has one value of, and the names of those."""
    able = [name for name in panel.spec.static if name not in level.columns]
    rows = pl.DataFrame({"__group": level.member}).hstack(panel.series.select(able))
    found = rows.group_by("__group").agg(
        *(pl.col(name).drop_nulls().first() for name in able),
        *(pl.col(name).drop_nulls().n_unique().alias(f"__n {name}") for name in able),
    )
    found = found.sort("__group")
    kept = tuple(name for name in able if (found[f"__n {name}"] <= 1).all())
    return level.groups.select(UNIQUE_ID, *level.columns).hstack([found[name] for name in kept]), kept


def _sold(panel: Panel) -> FloatArray:
    """``[N, T]`` sales, and what was sold where the goods ran out and no demand is told."""
    told = panel.withheld
    if told is None:
        return panel.y
    column = told.period - panel.start
    inside = (column >= 0) & (column < panel.n_periods)
    sold = np.full(panel.y.shape, np.nan)
    sold[told.row[inside], column[inside]] = told.sold[inside]
    return np.where(panel.observed, panel.y, sold)


def _shared(item: Covariate, level: Level) -> Covariate:
    is_told = np.isfinite(item.values)
    if item.categories:
        low, high = level.reduced(item.values, np.fmin), level.reduced(item.values, np.fmax)
        values = np.where(low == high, low, np.float32("nan"))
    else:
        n = level.sums(is_told)
        values = level.sums(np.where(is_told, item.values, 0.0)) / np.where(n > 0, n, np.nan)
    told: Float32Matrix = values.astype(np.float32)
    return replace(item, values=told)


def _revisions(panel: Panel, level: Level) -> Revisions | None:
    """Each version of a cell of a group: a new one whenever one of its series restates the period."""
    told = panel.revisions
    if told is None:
        return None
    steps = _steps(told)
    group, period = level.member[told.row], told.period
    base = _unrevised(panel, level, told)
    key, first = np.unique(np.stack([group, period]), axis=1, return_index=True)
    # what series without a restatement sold is known at the close of the period itself
    every = Revisions(
        np.concatenate([group, key[0]]),
        np.concatenate([period, key[1]]),
        np.concatenate([told.known_at, key[1]]),
        np.concatenate([steps, base[first]]),
    )
    return _running(every)


def _steps(told: Revisions) -> FloatArray:
    """What each version of a cell adds to the one before."""
    order = np.lexsort((np.arange(len(told.row)), told.known_at, told.period, told.row))
    row, period, y = told.row[order], told.period[order], np.nan_to_num(told.y[order])
    is_first = np.r_[True, (row[1:] != row[:-1]) | (period[1:] != period[:-1])]
    steps = np.empty(len(y))
    steps[order] = np.where(is_first, y, y - np.r_[0.0, y[:-1]])
    return steps


def _unrevised(panel: Panel, level: Level, told: Revisions) -> FloatArray:
    """Per version, what the series of its group that never restated that period sold in it."""
    y = np.nan_to_num(_sold(panel))
    column = told.period - panel.start
    y[told.row, column] = 0.0
    return level.sums(y)[level.member[told.row], column]


def _running(steps: Revisions) -> Revisions:
    """Versions from what each adds; those of one cell and moment are one."""
    order = np.lexsort((steps.known_at, steps.period, steps.row))
    row, period, known_at = (part[order] for part in (steps.row, steps.period, steps.known_at))
    added = steps.y[order]
    is_first = np.r_[True, (row[1:] != row[:-1]) | (period[1:] != period[:-1])]
    total = np.cumsum(added)
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(row)), 0))
    y = total - (total - added)[first]
    is_last = np.r_[is_first[1:] | (known_at[1:] != known_at[:-1]), True]
    return Revisions(row[is_last], period[is_last], known_at[is_last], y[is_last])
