"""Guards of a training set: nulls, constants, range and drift of every feature in every split against its limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.features.feature import Declaration, Dtype
from foretail.features.guards.drift import bin_counts, chance, stability
from foretail.features.guards.findings import GuardFinding
from foretail.features.guards.limits import GuardLimits, limits_of
from foretail.features.guards.splits import check_splits, split_masks

__all__ = ["check_counts", "check_frame", "measure"]

_MEASURED = {
    "feature": pl.String,
    "split": pl.String,
    "rows": pl.Int64,
    "null_share": pl.Float64,
    "infinite": pl.Int64,
    "low": pl.Float64,
    "high": pl.Float64,
    "is_constant": pl.Boolean,
    "drift": pl.Float64,
    "chance": pl.Float64,
}
_ENOUGH = 20  # fewer values may well be the same


def check_frame(
    frame: pl.DataFrame,
    declaration: Declaration,
    splits: Mapping[str, pl.Series | pl.Expr],
    *,
    limits: Mapping[str, Mapping[str, Any]] | None = None,
    features: Sequence[str] | None = None,
    time: str | None = "event_timestamp",
) -> list[GuardFinding]:
    """Compare the features of a training set with their limits, split by split.

    Parameters
    ----------
    frame : the training set; a feature's column is its name, or the names of view and feature joined by ``__``.
    declaration : says the limits.
    splits : a Boolean mask per split, oldest first, see `period_splits`; drift is measured against the first.
    limits : changes to the declared limits by feature, see `limits_of`.
    features : names of those that must be there; by default every declared feature that the frame has.
    time : the as-of column, by which the splits must follow each other; None for splits that are not by time.

    Returns
    -------
    What is outside its limits, in the order of the features and splits; empty when all is well.

    Raises
    ------
    UsageError : overlapping splits; an unknown feature, limit or time column.
    DataError : splits that are not by whole periods in order of time.
    """
    allowed = limits_of(declaration, limits)
    masks = split_masks(frame, splits)
    if time is not None:
        check_splits(_column(frame, time), masks)
    found, columns = _columns_of(frame, declaration, allowed, features)
    found += _wrong_types(frame, declaration, columns)
    by_column = {column: allowed[feature] for column, feature in columns.items()}
    first = next(iter(masks))
    for row in measure(frame, masks, by_column).iter_rows(named=True):
        found += _outside(row, by_column[row["feature"]], is_first=row["split"] == first)
    return found


def measure(frame: pl.DataFrame, splits: Mapping[str, pl.Series], limits: Mapping[str, GuardLimits]) -> pl.DataFrame:
    """What is found of each feature in each split, before it is compared with limits.

    Parameters
    ----------
    splits : Boolean masks, the first is what drift is measured against. limits : by column.

    Returns
    -------
    ``feature, split, rows, null_share`` (null or NaN), ``infinite`` (rows), ``low, high`` (of finite numbers),
    ``is_constant`` (twenty values or more, all the same), ``drift`` (null in the first split and where it is not
    limited), ``chance`` (what drift reaches by chance).
    """
    first = next(iter(splits))
    rows = []
    for name, allowed in limits.items():
        values = _without_nan(frame[name])
        base = None
        for split, mask in splits.items():
            part = values.filter(mask)
            held = _finite(part)
            rows.append((name, split, *_described(part, held), *_drift(base, held)))
            if split == first and allowed.drift is not None:
                base = held
    return pl.DataFrame(rows, schema=_MEASURED, orient="row")


def check_counts(n_in: int, n_out: int, where: str = "the join") -> None:
    """Refuse a join that lost or multiplied rows.

    Raises
    ------
    DataError : the counts differ.
    """
    if n_out == n_in:
        return
    more = "one row of a source per key, time and created time must win; look for duplicates in the sources"
    fewer = "an entity row without features keeps its place, with nulls; none may be dropped"
    what = f"{n_in:,} entity rows went in and {n_out:,} rows came out"
    raise DataError(Problem(what, where, more if n_out > n_in else fewer))


def _column(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise UsageError(f"no column {name!r}.\n  where: the training set\n  fix:   {nearest(name, frame.columns)}")
    return frame[name]


def _columns_of(
    frame: pl.DataFrame, declaration: Declaration, known: Mapping[str, GuardLimits], wanted: Sequence[str] | None
) -> tuple[list[GuardFinding], dict[str, str]]:
    """Findings for features that are not there, and the feature of each column that is one."""
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise UsageError(
            f"there is no feature {unknown[0]!r}.\n  where: the declaration\n  fix:   {nearest(unknown[0], known)}"
        )
    views = {item.name: view.name for view in declaration.views for item in (*view.request, *view.features)}
    places = {
        name: [column for column in (name, f"{views[name]}__{name}") if column in frame.columns] for name in known
    }
    absent = [GuardFinding(name, "all", "missing") for name in wanted or () if not places[name]]
    asked = known if wanted is None else wanted
    return absent, {column: name for name in asked for column in places[name]}


def _wrong_types(frame: pl.DataFrame, declaration: Declaration, columns: Mapping[str, str]) -> list[GuardFinding]:
    declared = {item.name: item.dtype for view in declaration.views for item in (*view.request, *view.features)}
    return [
        GuardFinding(column, "all", "type")
        for column, name in columns.items()
        if not _is_like(frame.schema[column], declared[name])
    ]


def _is_like(found: pl.DataType, declared: Dtype) -> bool:
    """Whether a column can hold such values. Whole numbers with nulls may be floats: pandas makes them so."""
    if found == pl.Null:
        return True
    if declared == "String":
        return found in (pl.String, pl.Categorical, pl.Enum)
    return found == pl.Boolean if declared == "Bool" else found.is_numeric()


def _without_nan(values: pl.Series) -> pl.Series:
    return values.fill_nan(None) if values.dtype.is_float() else values


def _finite(values: pl.Series) -> pl.Series:
    held = values.drop_nulls()
    return held.filter(held.is_finite()) if held.dtype.is_float() else held


def _described(values: pl.Series, held: pl.Series) -> tuple[Any, ...]:
    n_null = values.null_count()
    share = n_null / values.len() if values.len() else 0.0
    low, high = (held.cast(pl.Float64).min(), held.cast(pl.Float64).max()) if held.dtype.is_numeric() else (None, None)
    is_constant = held.len() >= _ENOUGH and not (held != held.first()).any()
    return values.len(), share, values.len() - n_null - held.len(), low, high, is_constant


def _drift(base: pl.Series | None, held: pl.Series) -> tuple[float | None, float | None]:
    if base is None or not base.len() or not held.len():
        return None, None
    counts = bin_counts(base, held)
    return stability(*counts), chance(base.len(), held.len(), len(counts[0]))


def _outside(row: Mapping[str, Any], allowed: GuardLimits, *, is_first: bool) -> list[GuardFinding]:
    name, split, low, high = row["feature"], row["split"], row["low"], row["high"]
    found = []
    if row["null_share"] > allowed.null_share:
        found.append(GuardFinding(name, split, "null share", row["null_share"], allowed.null_share))
    if row["infinite"]:
        found.append(GuardFinding(name, split, "infinite", row["infinite"] / row["rows"], 0.0))
    if allowed.low is not None and low is not None and low < allowed.low:
        found.append(GuardFinding(name, split, "below", low, allowed.low))
    if allowed.high is not None and high is not None and high > allowed.high:
        found.append(GuardFinding(name, split, "above", high, allowed.high))
    if row["is_constant"] and not allowed.constant:
        found.append(GuardFinding(name, split, "constant", math.nan if low is None else low, is_error=is_first))
    if allowed.drift is not None and row["drift"] is not None and row["drift"] > max(allowed.drift, row["chance"]):
        found.append(GuardFinding(name, split, "drift", row["drift"], allowed.drift, is_error=False))
    return found
