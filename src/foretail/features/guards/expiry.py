"""Expiry: a view with a time to live is refused when it would null a feature of the rows asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import polars as pl

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.features.feature import Declaration, View
from foretail.features.guards.splits import split_masks
from foretail.features.offline.times import zoned

__all__ = ["check_ttl", "expiry"]

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "view": pl.String,
    "feature": pl.String,
    "split": pl.String,
    "rows": pl.Int64,
    "expired": pl.Int64,
    "share": pl.Float64,
    "oldest": pl.Duration("us"),
}
_STAMP, _FOUND = "__time", "__found"
Frames = Mapping[str, pl.DataFrame | pl.LazyFrame]
Ttls = Mapping[str, dt.timedelta | None]


def expiry(
    declaration: Declaration,
    frames: Frames,
    entities: pl.DataFrame,
    splits: Mapping[str, pl.Series | pl.Expr],
    ttls: Ttls | None = None,
    *,
    time: str = "event_timestamp",
) -> pl.DataFrame:
    """How many rows of each split would lose a feature because its row in the view has expired.

    A row is valid from its event time to the end of its time to live, both included, to the microsecond. Counted are
    entity rows for which the view does hold a value: without expiry they would have it.

    Parameters
    ----------
    frames : rows of each stored view with a time to live, by view: keys, ``event_timestamp``, features.
    entities : keys and the as-of time of the rows asked for.
    splits : masks of ``entities``.
    ttls : time to live by view; None and 0 mean that nothing expires. By default what the views declare.
    time : the as-of column of ``entities``. Times without a zone are UTC.

    Returns
    -------
    ``view, feature, split, rows`` (of the split), ``expired`` (rows), ``share``, ``oldest`` (largest age at which a
    value is asked for; null without one). One row per feature that can expire and split.

    Raises
    ------
    UsageError : an unknown view, or one whose rows are not given.
    """
    ttls = {view.name: view.ttl for view in declaration.stored} if ttls is None else ttls
    masks = split_masks(entities, splits)
    rows = []
    for name, ttl in ttls.items():
        view = declaration.view(name)
        if not ttl:
            continue
        if name not in frames:
            raise UsageError(
                f"the rows of view {name!r} are not given.\n  where: frames\n  fix:   {nearest(name, frames)}"
            )
        ages = _ages(view, frames[name], entities, time)
        for feature in view.names:
            asked = pl.select(pl.when(ages[feature]).then(ages["age"])).to_series()
            rows += [(name, feature, split, *_counted(asked.filter(mask), ttl)) for split, mask in masks.items()]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def check_ttl(
    declaration: Declaration,
    frames: Frames,
    entities: pl.DataFrame,
    splits: Mapping[str, pl.Series | pl.Expr],
    ttls: Ttls | None = None,
    *,
    time: str = "event_timestamp",
) -> None:
    """Refuse a time to live that would null a feature; parameters as in `expiry`.

    Raises
    ------
    DataError : per feature and split the share of rows that would lose it, and how old its row is.
    UsageError : an unknown view, or one whose rows are not given.
    """
    found = expiry(declaration, frames, entities, splits, ttls, time=time).filter(pl.col("expired") > 0)
    ttls = {view.name: view.ttl for view in declaration.stored} if ttls is None else ttls
    if not found.is_empty():
        raise DataError([_problem(row, ttls[row["view"]]) for row in found.iter_rows(named=True)])


def _ages(view: View, frame: pl.DataFrame | pl.LazyFrame, entities: pl.DataFrame, time: str) -> pl.DataFrame:
    """``[n]`` in the order of the entities: age of the latest row up to each, and whether it holds each feature."""
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    keys = list(view.keys)
    right = (
        lazy.select(
            *keys,
            zoned("event_timestamp", schema["event_timestamp"], view.name).dt.cast_time_unit("us").alias(_STAMP),
            *(pl.col(name).is_not_null() for name in view.names),
        )
        .drop_nulls([*keys, _STAMP])
        .with_columns(pl.col(_STAMP).alias(_FOUND))
        .sort(_STAMP)
    )
    left = (
        entities.lazy()
        .select(
            *(pl.col(key).cast(schema[key]) for key in keys),
            zoned(time, entities.schema[time], "the entity rows").dt.cast_time_unit("us").alias(_STAMP),
        )
        .with_row_index("__row")
        .sort(_STAMP, nulls_last=True)
    )
    joined = left.join_asof(right, on=_STAMP, by=keys or None, strategy="backward", check_sortedness=False)
    ages = joined.sort("__row").select((pl.col(_STAMP) - pl.col(_FOUND)).alias("age"), *view.names)
    return ages.collect()


def _counted(asked: pl.Series, ttl: dt.timedelta) -> tuple[int, int, float, dt.timedelta | None]:
    expired = int((asked > ttl).sum())
    return asked.len(), expired, expired / asked.len() if asked.len() else 0.0, asked.max()  # type: ignore[return-value]


def _problem(row: Mapping[str, Any], ttl: dt.timedelta | None) -> Problem:
    what = f"feature {row['feature']!r} would be null in {row['share']:.2%} of the rows: the rows of its view expire"
    where = (
        f"split {row['split']!r}, {row['expired']:,} of {row['rows']:,} rows; view {row['view']!r} with a ttl of "
        f"{_days(ttl)}, asked for values up to {_days(row['oldest'])} old"
    )
    return Problem(what, where, "no ttl on this view, or a longer one; refuse stale rows where they are read (max age)")


def _days(span: dt.timedelta | None) -> str:
    whole = span or dt.timedelta()
    return f"{whole.days} days" if whole == dt.timedelta(days=whole.days) else str(whole)
