"""A split whose series are each cut at an end of their own, for a command that has one cutoff for all.

Most series share one end; the others stop some weeks earlier. Shifting them until all end together would tear them from
the calendar, and one run per end would be dear. So the ends are cut into at most `N_RUNS` neighbouring groups, such
that the weeks lost are fewest (the majority's group is then its own end alone), and each group is answered by one run:

* the run's table holds the series of the split only, ends at the earliest end of its group, and no series has a row
  after its own end in it, in no run: what is scored is not in any table;
* a series of the group that ends later is forecast from the group's cutoff all the same, so further ahead than it
  needs: it is at a disadvantage, never at an advantage; the steps taken are those of its own dates;
* the future holds every period of the horizon for every series asked for, with the covariates known in advance.

The peers need no groups: they take the end of each series as it is (see `benchmarks.peers`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.neutral import Split
from foretail.core.spec import DatasetSpec
from foretail.sources.table import Table

__all__ = ["N_RUNS", "Run", "group_ends", "history_until", "known_ahead", "own_ends", "runs"]

N_RUNS = 3


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes
    ----------
    cutoff : last date of its history. horizon : steps until the last date asked for.
    history : rows of every series of the split up to the cutoff, none after the series' own end.
    future : key columns, time column and known covariates of the rows asked for.
    spec : the meaning of the columns, its horizon included.
    """

    cutoff: dt.date
    horizon: int
    history: pl.DataFrame
    future: pl.DataFrame
    spec: DatasetSpec

    def write(self, folder: Path) -> Path:
        """Write history, future and spec; gives the path of the spec, which names the others."""
        folder.mkdir(parents=True, exist_ok=True)
        self.history.write_parquet(folder / "history.parquet")
        self.future.write_parquet(folder / "future.parquet")
        path = folder / "spec.toml"
        places = 'table = "history.parquet"\nfuture = "future.parquet"\n'
        path.write_text(places + self.spec.to_toml(), encoding="utf-8")
        return path


def own_ends(table: Table, split: Split) -> pl.DataFrame:
    """The key columns and ``own_end`` (last date of the history) of the series that take part in the split."""
    spec = table.spec
    span = dt.timedelta(days=split.days * split.horizon)
    series = table.frame.group_by(spec.keys, maintain_order=True).agg(
        pl.len().alias("rows"), (pl.col(spec.time).max() - span).alias("own_end")
    )
    return series.filter(pl.col("rows") >= split.min_rows).drop("rows")


def group_ends(n_series: Mapping[dt.date, int], n_groups: int = N_RUNS) -> list[list[dt.date]]:
    """Cut ends into neighbouring groups, newest first, with the fewest series-days lost to the earliest of each group.

    Parameters
    ----------
    n_series : how many series have each end.
    """
    ends = sorted(n_series, reverse=True)
    n_groups = min(n_groups, len(ends))

    def groups(marks: Sequence[int]) -> list[list[dt.date]]:
        edges = [0, *marks, len(ends)]
        return [ends[low:high] for low, high in pairwise(edges)]

    def lost(marks: Sequence[int]) -> int:
        return sum(n_series[end] * (end - group[-1]).days for group in groups(marks) for end in group)

    return groups(min(combinations(range(1, len(ends)), n_groups - 1), key=lost))


def history_until(table: Table, ends: pl.DataFrame) -> pl.DataFrame:
    """The rows of the series in ``ends``, none after its own end."""
    rows = table.frame.join(ends, on=table.spec.keys, how="inner", maintain_order="left")
    return rows.filter(pl.col(table.spec.time) <= pl.col("own_end")).drop("own_end")


def runs(table: Table, split: Split, n_groups: int = N_RUNS) -> list[Run]:
    """The runs that answer the split together, the majority's first."""
    ends = own_ends(table, split)
    counts = dict(ends["own_end"].value_counts().iter_rows())
    history = history_until(table, ends)
    return [_run(table, split, ends, history, group) for group in group_ends(counts, n_groups)]


def _run(table: Table, split: Split, ends: pl.DataFrame, history: pl.DataFrame, group: Sequence[dt.date]) -> Run:
    spec, cutoff = table.spec, min(group)
    horizon = split.horizon + (max(group) - cutoff).days // split.days
    asked = ends.filter(pl.col("own_end").is_in(list(group))).select(spec.keys)
    return Run(
        cutoff,
        horizon,
        history.filter(pl.col(spec.time) <= cutoff),
        known_ahead(table, asked, cutoff, horizon),
        spec.but(horizon=horizon),
    )


def known_ahead(table: Table, asked: pl.DataFrame, cutoff: dt.date, horizon: int) -> pl.DataFrame:
    """Every period of the horizon for every series asked for, with the known covariates.

    They are those of the first key column (a store): a series that has no row in some week has its store's.
    """
    spec = table.spec
    first = spec.frequency.to_index(np.asarray(np.datetime64(cutoff)))
    dates = spec.frequency.to_date(int(first) + 1 + np.arange(horizon))
    cells = asked.join(pl.DataFrame({spec.time: dates}).cast(pl.Date), how="cross", maintain_order="left_right")
    place = [spec.keys[0], spec.time]
    told = [table.frame.select(*place, *spec.known)]
    told += [] if table.future is None else [table.future.select(*place, *spec.known)]
    known = pl.concat(told).unique(place, keep="first", maintain_order=True)
    return cells.join(known, on=place, how="left", maintain_order="left")
