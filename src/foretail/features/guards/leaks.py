"""Leaks: a training set is refused when it holds anything later than its as-of time, or its label among its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.features.feature import Declaration
from foretail.features.offline.times import zoned

__all__ = ["check_leaks", "label_ahead"]

_ENDINGS = ("event_timestamp", "created_timestamp")
_SAMPLE = 20_000  # rows on which inputs are compared with the label
_ENOUGH = 20  # rows, or rows of one series, below which nothing can be said
_SHARE = 0.99  # of the rows in which an input gives the label
_CORRELATION = 0.99999
_CLOSE = 1e-9

Floats = npt.NDArray[np.float64]


def check_leaks(
    frame: pl.DataFrame,
    declaration: Declaration,
    *,
    label: str,
    label_time: str | None = None,
    as_of: str = "event_timestamp",
    times: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    allowed: Sequence[str] = (),
) -> None:
    """Refuse a training set that knows more than could be known at its as-of time.

    The row stamped T holds what was known at the close of T: ``lag_1`` is the sales of T. The target of the same row is
    therefore no label for its inputs; the label is a later one, see `label_ahead`.

    An input gives the label away when it equals it, is a rising or falling function of it, moves with it in every
    series (correlation 1), or when two inputs give it by a sum, difference, product or quotient. Rows in which the
    label has its most frequent value (0 of a slow seller) say nothing about that; fewer than 20 others are too few.

    Parameters
    ----------
    frame : the training set.
    label : what is to be forecast. label_time : the column of its date, if there is one.
    as_of : the as-of column.
    times : columns that say when a value happened or became known; by default those that end in ``event_timestamp`` or
        ``created_timestamp``.
    inputs : columns that a model would see; by default all declared features of the frame but the target.
    allowed : inputs that may give the label, because a formula says so.

    Raises
    ------
    DataError : times later than the as-of time, labels not later than it, inputs that give the label; all of them.
    UsageError : no such column.
    """
    times = _times_of(frame, as_of) if times is None else times
    names = _inputs_of(frame, declaration, label) if inputs is None else inputs
    for name in (label, as_of, *times, *names, *((label_time,) if label_time else ())):
        if name not in frame.columns:
            raise UsageError(f"no column {name!r}.\n  where: the training set\n  fix:   {nearest(name, frame.columns)}")
    problems = list(_later(frame, as_of, times))
    if label_time:
        problems += _too_early(frame, as_of, label_time)
    keys = [key for key in declaration.spec.keys if key in frame.columns]
    problems += _given_away(frame, [name for name in names if name not in allowed], label, keys)
    if problems:
        raise DataError(problems)


def label_ahead(
    frame: pl.DataFrame, declaration: Declaration, step: int = 1, *, as_of: str = "event_timestamp"
) -> pl.DataFrame:
    """The label of every row: the target ``step`` periods after its as-of date, from the row that holds it.

    Parameters
    ----------
    frame : a joined training set with the keys, the as-of time and the target.
    step : periods ahead, from 1.

    Returns
    -------
    The frame, rows as they were, with ``label`` and ``label_time`` (date); null where no row holds the value.

    Raises
    ------
    UsageError : a step below 1, which would be what the row itself knows; a column that is missing.
    """
    if step < 1:
        raise UsageError(
            f"a label lies after its as-of date.\n  where: step = {step}\n  fix:   step = 1 is the next period"
        )
    spec, target = declaration.spec, declaration.target[1]
    for name in (*spec.keys, as_of, target):
        if name not in frame.columns:
            raise UsageError(f"no column {name!r}.\n  where: the training set\n  fix:   {nearest(name, frame.columns)}")
    frequency = spec.frequency
    dates = frame.select(_utc(frame, as_of).dt.date()).to_series()
    period = pl.Series("__period", frequency.to_index(dates.to_numpy()))
    held = frame.select(*spec.keys, pl.col(target).alias("label"), period - step)
    held = held.drop_nulls().unique([*spec.keys, "__period"], keep="first", maintain_order=True)
    ahead = pl.Series("label_time", frequency.to_date(period.to_numpy() + step))
    joined = frame.with_columns(period, ahead).join(
        held, on=[*spec.keys, "__period"], how="left", maintain_order="left"
    )
    return joined.select(*frame.columns, "label", "label_time")


def _utc(frame: pl.DataFrame, name: str) -> pl.Expr:
    return zoned(name, frame.schema[name], "the training set").dt.cast_time_unit("us").alias(name)


def _times_of(frame: pl.DataFrame, as_of: str) -> list[str]:
    return [
        name
        for name, dtype in frame.schema.items()
        if dtype.is_temporal() and name != as_of and name.endswith(_ENDINGS)
    ]


def _inputs_of(frame: pl.DataFrame, declaration: Declaration, label: str) -> list[str]:
    roles = {
        column: item.role
        for view in declaration.views
        for item in (*view.request, *view.features)
        for column in (item.name, f"{view.name}__{item.name}")
    }
    return [name for name in frame.columns if name != label and roles.get(name, "target") != "target"]


def _later(frame: pl.DataFrame, as_of: str, times: Sequence[str]) -> Iterator[Problem]:
    stamps = frame.select(_utc(frame, name) for name in dict.fromkeys((as_of, *times)))
    for name in times:
        late = stamps.filter(pl.col(name) > pl.col(as_of))
        if late.height:
            yield Problem(
                f"{late.height:,} of {frame.height:,} rows hold what was not there at their as-of time",
                f"column {name!r}: {late[name][0]} in a row of {late[as_of][0]}",
                "join by the as-of time (get_historical_features), created times honoured",
            )


def _too_early(frame: pl.DataFrame, as_of: str, label_time: str) -> Iterator[Problem]:
    stamps = frame.select(_utc(frame, name) for name in dict.fromkeys((as_of, label_time)))
    early = stamps.filter(pl.col(label_time) <= pl.col(as_of)).height
    if early:
        yield Problem(
            f"{early:,} of {frame.height:,} labels are not later than the as-of time of their row",
            f"column {label_time!r}",
            "take the target of a later period: label_ahead(frame, declaration, step=1)",
        )


def _given_away(frame: pl.DataFrame, inputs: Sequence[str], label: str, keys: Sequence[str]) -> Iterator[Problem]:
    """Inputs from which the label of their own row can be read."""
    numbers = [name for name in inputs if frame.schema[name].is_numeric() and name not in keys]
    known = _informative(frame.select(*keys, *dict.fromkeys((label, *numbers))), label)
    if known.height < _ENOUGH:
        return
    columns = {name: known[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in (label, *numbers)}
    y = columns.pop(label)
    guilty = set()
    for name, x in columns.items():
        how = _how_alone(known, name, label, keys, x, y)
        if how:
            guilty.add(name)
            yield _leak(f"input {name!r} {how}", label)
    for first, second in combinations([name for name in columns if name not in guilty], 2):
        sign = _how_together(columns[first], columns[second], y)
        if sign:
            yield _leak(f"inputs {first!r} and {second!r} give the label of their own row: {sign}", label)


def _informative(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    """Rows with a label other than the most frequent one; a sample where there are many."""
    values = frame[label].fill_nan(None) if frame[label].dtype.is_float() else frame[label]
    held = frame.filter(values.is_not_null())
    counts = held[label].value_counts(sort=True)
    if counts.height and counts["count"][0] > 1:
        held = held.filter(pl.col(label) != counts[label][0])
    return held.sample(_SAMPLE, seed=0) if held.height > _SAMPLE else held


def _how_alone(known: pl.DataFrame, name: str, label: str, keys: Sequence[str], x: Floats, y: Floats) -> str | None:
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < _ENOUGH:
        return None
    if np.mean(_close(x[both], y[both])) >= _SHARE:
        return "is the label of its own row"
    ranks = pl.select(pl.corr(pl.Series(x[both]), pl.Series(y[both]), method="spearman")).item()
    if ranks is not None and abs(ranks) >= _CORRELATION:
        return "rises or falls with the label of its own row, always"
    if keys and _within(known.filter(pl.Series(both)), name, label, keys) >= _CORRELATION:
        return "has correlation 1 with the label of its own row within the series"
    return None


def _within(known: pl.DataFrame, name: str, label: str, keys: Sequence[str]) -> float:
    """Median over the series of the absolute correlation; 0 where no series is long enough."""
    found = known.group_by(keys).agg(r=pl.corr(name, label).abs(), n=pl.len()).filter(pl.col("n") >= _ENOUGH)
    r = found["r"].fill_nan(None).drop_nulls()
    return float(r.median()) if r.len() else 0.0  # type: ignore[arg-type]


def _how_together(a: Floats, b: Floats, y: Floats) -> str | None:
    both = np.isfinite(a) & np.isfinite(b) & np.isfinite(y)
    if both.sum() < _ENOUGH:
        return None
    a, b, y = a[both], b[both], y[both]
    with np.errstate(divide="ignore", invalid="ignore"):
        made = {"sum": a + b, "difference": a - b, "negative difference": b - a, "product": a * b,
                "quotient": a / b, "inverse quotient": b / a}  # fmt: skip
        return next((sign for sign, value in made.items() if np.mean(_close(value, y)) >= _SHARE), None)


def _close(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    return np.isclose(a, b, rtol=_CLOSE, atol=0.0)


def _leak(what: str, label: str) -> Problem:
    fix = "take the target of a later period as the label (label_ahead), or leave the input out"
    return Problem(what, f"label {label!r}", fix)
