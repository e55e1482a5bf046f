"""Small tables whose right answer can be read off, and the comparison of panels bit for bit."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.panel.build import PanelBuild
from foretail.panel.panel import Panel
from foretail.panel.quality import Finding

FIRST = dt.date(2024, 1, 1)


def spec(**changes: Any) -> DatasetSpec:
    """A daily spec of stores, changed as asked."""
    base: dict[str, Any] = {"keys": ("store",), "time": "date", "target": "sales", "freq": "D", "horizon": 5}
    return DatasetSpec(**{**base, **changes})


def days(n: int) -> list[dt.date]:
    """The first n days of 2024, a leap year."""
    return [FIRST + dt.timedelta(days=i) for i in range(n)]


def daily(n_series: int, n_days: int) -> pl.DataFrame:
    """Stores 1..n with a positive value on each day."""
    store, day = np.repeat(np.arange(n_series), n_days), np.tile(np.arange(n_days), n_series)
    dates = np.datetime64(FIRST) + day.astype("timedelta64[D]")
    return pl.DataFrame({"store": store + 1, "date": dates, "sales": 10 + store + day % 7 + day % 5})


def weekly(n_series: int, n_weeks: int, weekday: int) -> pl.DataFrame:
    """The same by week, labelled by a weekday (Monday = 0)."""
    frame = daily(n_series, n_weeks)
    days_since = (pl.col("date") - FIRST).dt.total_days()
    return frame.with_columns((pl.lit(FIRST) + pl.duration(days=days_since * 7 + weekday)).cast(pl.Date).alias("date"))


def names_of(built: PanelBuild) -> dict[str, Finding]:
    """Findings by name."""
    return {finding.name: finding for finding in built.quality.findings}


def same_panel(first: Panel, second: Panel) -> None:
    """Fail unless two panels are equal bit for bit."""
    assert first.spec == second.spec
    assert first.series.equals(second.series)
    assert first.start == second.start
    assert_same(first.y, second.y)
    assert_same(first.closed, second.closed)
    for ours, theirs in ((first.known, second.known), (first.past, second.past)):
        assert [(a.name, a.categories, a.delay) for a in ours] == [(b.name, b.categories, b.delay) for b in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a.values, b.values)
    assert (first.revisions is None) == (second.revisions is None)
    if first.revisions is not None and second.revisions is not None:
        for name in ("row", "period", "known_at", "y"):
            assert_same(getattr(first.revisions, name), getattr(second.revisions, name))


def assert_same(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> None:
    """Fail unless two arrays have the same type, shape and bytes."""
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert first.tobytes() == second.tobytes()
