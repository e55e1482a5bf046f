"""The table of the levels: sums of the series' forecasts, and quantiles of the sums of their joint samples.

Every number is a sum over rows of the forecast table, so that what is told of a group agrees with its series, and
groups agree with one another, whatever was done to the series before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import CUTOFF, MODEL, MODEL_VERSION, STEP, UNIQUE_ID, Y_HAT
from foretail.core.quantiles import quantile_column
from foretail.core.spec import DatasetSpec
from foretail.forecasts.samples import Sampler, group_codes
from foretail.models.dependence import Dependence
from foretail.panel.hierarchy import Hierarchy, Level, hierarchy_of

__all__ = ["LEVEL", "N_SAMPLES", "levels_frame", "sample_sums"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL, N_SERIES, METHOD = "level", "n_series", "method"
N_SAMPLES, SEED = 200, 7  # of `foretail forecast --samples`: the totals are then sums of the samples written there
_CHUNK = 1024  # series whose quantiles are held at a time


def levels_frame(
    frame: pl.DataFrame,
    series: pl.DataFrame,
    spec: DatasetSpec,
    *,
    names: Sequence[str],
    levels: Sequence[float],
    sampled: Sequence[float],
    dependence: Dependence,
    method: str,
) -> pl.DataFrame:
    """One row per level, group and date.

    Parameters
    ----------
    frame : the forecast table in the house's columns, with the quantiles ``sampled``.
    series : key and static columns of the series of ``frame``, or of more. spec : names the columns.
    names : levels as in ``spec.hierarchy``. levels : quantile levels to answer.
    sampled : quantile levels that samples are drawn from, at least two. dependence : how errors go together.
    method : how the series' forecasts were reconciled; told in every row.

    Returns
    -------
    ``level``, the columns of the levels (null where a level has none), the time column, then ``cutoff, step, y_hat``,
    the quantiles, ``n_series`` (that were asked for), ``model, model_version, method``. A name that the user has too
    becomes ``forecast_<name>``.

    Raises
    ------
    UsageError, DataError : see `foretail.panel.hierarchy.hierarchy_of`.
    """
    asked = series.join(frame.select(UNIQUE_ID).unique(), on=UNIQUE_ID, how="semi", maintain_order="left")
    hierarchy = hierarchy_of(asked, spec, names)
    row = _rows(frame, asked, spec.horizon)
    points = hierarchy.sums(np.where(row >= 0, frame[Y_HAT].to_numpy()[np.maximum(row, 0)], 0.0))
    table = frame.select(map(quantile_column, sampled)).to_numpy()
    codes = group_codes(asked, dependence.columns)
    sampler = Sampler(dependence, spec.horizon, N_SAMPLES, SEED, codes)
    sums = sample_sums(hierarchy, sampler, table, row, sampled, non_negative=spec.non_negative)
    quantiles = np.moveaxis(np.quantile(sums, levels, axis=2), 0, 2)
    counts = hierarchy.sums(row >= 0).astype(np.int64)
    values = np.concatenate([points[..., None], quantiles], axis=2)
    return _frame(hierarchy, frame, spec, values, counts, levels, method)


def sample_sums(
    hierarchy: Hierarchy,
    sampler: Sampler,
    table: FloatArray,
    row: IntArray,
    sampled: Sequence[float],
    *,
    non_negative: bool,
) -> FloatArray:
    """Sums ``[U, H, S]`` of joint samples, some series at a time: the samples are never held all at once.

    Parameters
    ----------
    sampler : of all N series. table : quantiles ``[R, Q]`` of R cells. row : ``[N, H]`` the cell of each series and
        step; -1 where nothing was asked, which counts as 0.
    """
    sums: FloatArray | None = None
    for first in range(0, len(row), _CHUNK):
        part = row[first : first + _CHUNK]
        quantiles = np.where((part >= 0)[..., None], table[np.maximum(part, 0)], 0.0)
        for low, high, paths in sampler.blocks(quantiles, sampled, first=first, non_negative=non_negative):
            if sums is None:
                sums = np.zeros((hierarchy.n_groups, *paths.shape[1:]))
            for level, place in zip(hierarchy.levels, hierarchy.parts, strict=True):
                _add(sums[place], level, first + low, first + high, paths)
    assert sums is not None  # noqa: S101  (a hierarchy has series)
    return sums


def _add(sums: FloatArray, level: Level, low: int, high: int, paths: npt.NDArray[np.float32]) -> None:
    """Add the samples of some series, those from ``low`` to ``high``, to the groups of a level."""
    member = level.member[low:high]
    order = np.argsort(member, kind="stable")
    groups, starts = np.unique(member[order], return_index=True)
    sums[groups] += np.add.reduceat(paths[order], starts, axis=0, dtype=np.float64)


def _rows(frame: pl.DataFrame, asked: pl.DataFrame, h: int) -> IntArray:
    """``[N, H]`` the row of the forecast table; -1 where nothing was asked."""
    place = asked.select(UNIQUE_ID).with_row_index("place")
    places = frame.select(UNIQUE_ID).join(place, on=UNIQUE_ID, how="left", maintain_order="left")["place"]
    row = np.full((asked.height, h), -1, dtype=np.int64)
    row[places.to_numpy(), frame[STEP].to_numpy() - 1] = np.arange(frame.height)
    return row


def _frame(
    hierarchy: Hierarchy,
    frame: pl.DataFrame,
    spec: DatasetSpec,
    values: FloatArray,
    counts: IntArray,
    levels: Sequence[float],
    method: str,
) -> pl.DataFrame:
    """The rows of every group and step of which something was asked; values ``[U, H, 1 + Q]``, counts ``[U, H]``."""
    first = frame.row(0, named=True)
    end = int(spec.frequency.to_index(np.array(first[CUTOFF], dtype="datetime64[D]")))
    group, column = np.nonzero(counts)
    numbers = {name: values[group, column, i] for i, name in enumerate([Y_HAT, *map(quantile_column, levels)])}
    labels = pl.concat([pl.DataFrame({LEVEL: [level.name] * level.n_groups}) for level in hierarchy.levels])
    columns = list(dict.fromkeys(name for level in hierarchy.levels for name in level.columns))
    # an extra column keeps the row of the total, which has none of its own
    groups = [level.groups.drop(UNIQUE_ID).with_columns(pl.lit(0).alias("")) for level in hierarchy.levels]
    keys = pl.concat(groups, how="diagonal").select(columns)
    ours: dict[str, pl.Expr | pl.Series] = {
        CUTOFF: pl.lit(first[CUTOFF]),
        STEP: pl.Series((column + 1).astype(np.int32)),
        **{name: pl.Series(column_values) for name, column_values in numbers.items()},
        N_SERIES: pl.Series(counts[group, column]),
        **{name: pl.lit(first[name]) for name in (MODEL, MODEL_VERSION)},
        METHOD: pl.lit(method),
    }
    taken = {*columns, spec.time}
    dates = pl.Series(spec.time, spec.frequency.to_date(end + 1 + column))
    named = {f"forecast_{name}" if name in taken else name: values for name, values in ours.items()}
    level = labels[group].rename({LEVEL: f"forecast_{LEVEL}"} if LEVEL in taken else {})
    return level.hstack(keys[group]).with_columns(dates).with_columns(**named)
