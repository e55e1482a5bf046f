"""The windows of the neutral splits as questions: the panel that the peers see, and the commands that foretail runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.job import Job, run_foretail
from benchmarks.neutral import Block, Split
from benchmarks.own_ends import Run, history_until, known_ahead, own_ends, runs
from benchmarks.peers import Answer, Question, matrix_frame
from foretail.core.columns import DS, UNIQUE_ID, Y_HAT
from foretail.panel.build import build_panel
from foretail.sources.open import open_table
from foretail.sources.table import Table

__all__ = ["Window", "answered", "run_window", "windows"]


@dataclass(frozen=True)
class Window:
    """One window of a split.

    Attributes
    ----------
    split : of which. cutoff : the one that its rows are named by. folder : of the layout's files.
    table : the layout's table, whole.
    """

    split: Split
    cutoff: dt.date
    folder: Path
    table: Table

    @cached_property
    def question(self) -> Question:
        """What the peers are asked: nothing after the cutoff (or after the end of each series) is in it."""
        split = self.split
        if not split.min_rows:
            panel = build_panel(self.table, cutoff=self.cutoff, horizon=split.horizon).panel
            return Question(panel, split.horizon, np.full(panel.n_series, panel.n_periods), intervals=True)
        ends = own_ends(self.table, split)
        future = known_ahead(self.table, ends.select(split.keys), self.cutoff, split.horizon)
        own = Table(history_until(self.table, ends), self.table.spec, future)
        panel = build_panel(own, horizon=split.horizon).panel
        last = panel.series.join(ends, on=split.keys, how="left", maintain_order="left")["own_end"].to_numpy()
        n_seen = panel.frequency.to_index(last.astype("datetime64[D]")) - panel.start + 1
        return Question(panel, split.horizon, n_seen, intervals=True)


def windows(split: Split, folder: Path, n_windows: int | None = None) -> Iterator[Window]:
    """The windows of a split, in order; the first ``n_windows`` only where that is given."""
    table = open_table(split.layout, data=folder.parent)
    return (Window(split, cutoff, folder, table) for cutoff in split.cutoffs[:n_windows])


def answered(window: Window, block: Block, found: Answer) -> pl.DataFrame:
    """A peer's answer for every row of the window's block; series without a history count as no sales."""
    question = window.question
    frame = matrix_frame(question.panel, found, question.ends)
    frame = frame.with_columns(_unique_id(window.split.keys)).rename({question.panel.spec.time: DS})
    values = [name for name in frame.columns if name == Y_HAT or name.startswith("q")]
    every = block.rows.select(UNIQUE_ID, DS, "cutoff")
    every = every.join(frame.select(UNIQUE_ID, DS, *values), on=[UNIQUE_ID, DS], how="left")
    return every.with_columns(pl.col(values).fill_null(0.0))


def run_window(window: Window, scratch: Path) -> tuple[pl.DataFrame, list[Job]]:
    """Run the command on one window, in its own defaults.

    On a split with one cutoff it is ``foretail run LAYOUT --cutoff DATE --horizon N`` on the original files; where each
    series has an end of its own, it is a run on a spec for each group of ends (see `benchmarks.own_ends`).

    Returns
    -------
    The forecasts with the ``cutoff`` of the window, and the jobs.

    Raises
    ------
    JobError : a run that ended with another exit code than 0.
    """
    split, scratch = window.split, scratch.resolve() / f"{window.split.name}-{window.cutoff}"
    if split.min_rows:
        return _run_groups(window, runs(window.table, split), scratch)
    given = [
        "--horizon",
        str(split.horizon),
        "--cutoff",
        window.cutoff.isoformat(),
        "--data",
        str(window.folder.parent),
    ]
    job = run_foretail([split.layout, *given], scratch)
    return job.forecasts.with_columns(cutoff=pl.lit(window.cutoff)), [job]


def _run_groups(window: Window, groups: Sequence[Run], scratch: Path) -> tuple[pl.DataFrame, list[Job]]:
    jobs = []
    for group in groups:
        folder = scratch / f"until-{group.cutoff}"
        spec = group.write(folder)
        jobs.append(run_foretail([str(spec), "--horizon", str(group.horizon)], folder))
    texts = [pl.col(key).cast(pl.String) for key in window.split.keys]
    frames = [job.forecasts.with_columns(*texts, cutoff=pl.lit(window.cutoff)) for job in jobs]
    return pl.concat(frames, how="diagonal_relaxed"), jobs


def _unique_id(keys: Sequence[str]) -> pl.Expr:
    return pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator="_").alias(UNIQUE_ID)
