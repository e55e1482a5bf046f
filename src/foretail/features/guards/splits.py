"""Splits of a training set by whole periods: no date lies in two of them, and a later split holds later dates only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import polars as pl

from foretail.core.errors import DataError, Problem, UsageError
from foretail.features.offline.times import zoned

__all__ = ["check_splits", "period_splits", "split_masks"]

_NAMES = ("train", "validation", "test")
_SHARES = (0.70, 0.15, 0.15)


def period_splits(
    times: pl.Series,
    shares: Sequence[float] = _SHARES,
    *,
    names: Sequence[str] = _NAMES,
    ends: Mapping[str, dt.date] | None = None,
) -> dict[str, pl.Series]:
    """Which rows belong to which split, by date: the oldest periods train, the newest test.

    Parameters
    ----------
    times : the as-of time of every row, ``[n]``; rows of one date stay together.
    shares : share of the distinct dates per split, oldest first; they sum to 1. A split asked for gets one date at
        least, as long as there are enough.
    names : one per share.
    ends : instead of shares: the last date of each split, oldest first; rows after the last one are in no split.

    Returns
    -------
    Per split a Boolean series ``[n]``; a row without a date is in none.

    Raises
    ------
    UsageError : shares that do not sum to 1, another number of names, ends that do not rise.
    DataError : no times, fewer dates than splits, or a split of ``ends`` without a row.
    """
    days = _dates_of(times)
    if ends is None:
        ends = _ends_by_share(days, shares, names)
    elif any(later <= earlier for earlier, later in pairwise(ends.values())):
        told = ", ".join(f"{name}={end}" for name, end in ends.items())
        raise UsageError(f"the splits do not follow each other.\n  where: {told}\n  fix:   give rising dates")
    masks, after = {}, dt.date.min
    for name, end in ends.items():
        masks[name] = ((days > after) & (days <= end)).fill_null(False).rename(name)
        after = end
    _refuse_empty(masks, days)
    return masks


def split_masks(frame: pl.DataFrame, splits: Mapping[str, pl.Series | pl.Expr]) -> dict[str, pl.Series]:
    """Splits given as masks or expressions, as Boolean series of the length of the frame; null is False.

    Raises
    ------
    UsageError : no split, a mask of another length or type, a row in two splits.
    """
    if not splits:
        raise UsageError("there are no splits.\n  where: splits\n  fix:   period_splits(frame[time]) makes three")
    masks = {
        name: frame.with_columns(mask.alias(name))[name] if isinstance(mask, pl.Expr) else mask
        for name, mask in splits.items()
    }
    for name, mask in masks.items():
        if mask.len() != frame.height or mask.dtype != pl.Boolean:
            raise UsageError(
                f"split {name!r} is no mask of the rows.\n  where: {mask.len()} values of {mask.dtype} "
                f"for {frame.height} rows\n  fix:   one Boolean per row"
            )
    masks = {name: mask.fill_null(False) for name, mask in masks.items()}
    twice = int((np.sum([mask.to_numpy() for mask in masks.values()], axis=0) > 1).sum())
    if twice:
        raise UsageError(f"splits overlap.\n  where: {twice} rows in two of {', '.join(masks)}\n  fix:   split by date")
    return masks


def check_splits(times: pl.Series, masks: Mapping[str, pl.Series]) -> None:
    """Refuse splits that are not by whole periods in order of time.

    Parameters
    ----------
    times : as-of times ``[n]``. masks : Boolean ``[n]`` per split, oldest first.

    Raises
    ------
    DataError : a later split begins at or before the end of an earlier one, as a random split does.
    """
    days = _dates_of(times)
    held = {name: days.filter(mask).drop_nulls() for name, mask in masks.items()}
    spans = {name: _span(found) for name, found in held.items() if found.len()}
    problems = [
        Problem(
            f"split {late!r} begins on {spans[late][0]}, before split {early!r} has ended",
            f"{early}: {spans[early][0]} to {spans[early][1]}; {late}: {spans[late][0]} to {spans[late][1]}",
            "split by whole periods: period_splits, or --split with rising dates",
        )
        for early, late in pairwise(spans)
        if spans[late][0] <= spans[early][1]
    ]
    if problems:
        raise DataError(problems)


def _dates_of(times: pl.Series) -> pl.Series:
    """Dates in UTC, as as-of dates are."""
    return times.to_frame("time").select(zoned("time", times.dtype, "the as-of column").dt.date()).to_series()


def _span(days: pl.Series) -> tuple[dt.date, dt.date]:
    return cast(dt.date, days.min()), cast(dt.date, days.max())


def _ends_by_share(days: pl.Series, shares: Sequence[float], names: Sequence[str]) -> dict[str, dt.date]:
    """The last date of each split."""
    if len(shares) != len(names) or min(shares, default=0) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise UsageError(
            f"these are no shares of a whole: {', '.join(map(str, shares))}.\n  where: {', '.join(names)}\n"
            "  fix:   positive shares that sum to 1, one per split"
        )
    dates = days.drop_nulls().unique().sort()
    if dates.len() < len(shares):
        raise DataError(
            Problem(
                f"{dates.len()} dates cannot be split into {len(shares)}",
                " to ".join(map(str, _span(dates))) if dates.len() else "no dates",
                "more history, or fewer splits",
            )
        )
    last = np.rint(np.cumsum(shares) * dates.len()).astype(int)
    count = len(shares)
    for i in range(count):  # every split holds one date at least
        last[i] = min(max(last[i], (last[i - 1] if i else 0) + 1), dates.len() - (count - 1 - i))
    return {name: dates[int(end) - 1] for name, end in zip(names, last, strict=True)}


def _refuse_empty(masks: Mapping[str, pl.Series], days: pl.Series) -> None:
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        raise DataError(
            Problem(
                f"no row lies in split {', '.join(empty)}",
                "dates {} to {}".format(*_span(days.drop_nulls())),
                "move its end",
            )
        )
