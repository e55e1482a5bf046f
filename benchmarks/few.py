"""`foretail run` on tables of seven series, cut at several dates, beside the best of four peers.

Few short series are where a choice by backtest is most easily luck. Stores and departments are drawn at random from the
tables of `benchmarks.cases`.

    python -m benchmarks.few [--draws 2]
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.cases import CASES, Case, cut
from benchmarks.table import Measure, publish
from benchmarks.tables import Outcome, geometric_mean, outcome_of

__all__ = ["drawn", "main"]

_SERIES = 7
_GOAL = 0.95


@dataclass(frozen=True)
class Few:
    """Where to draw from and when to cut; ``freq`` is that of the table."""

    table: str
    freq: str
    cutoffs: tuple[dt.date, ...]


FEW = (
    Few("rossmann-plain", "D", (dt.date(2014, 3, 3), dt.date(2014, 8, 4), dt.date(2015, 2, 2))),
    Few("walmart-stores", "W-FRI", (dt.date(2011, 4, 1), dt.date(2011, 7, 1), dt.date(2011, 9, 30))),
    Few("walmart-departments", "W-FRI", (dt.date(2011, 4, 1), dt.date(2011, 7, 1), dt.date(2011, 11, 25))),
    Few("rossmann-weekly", "W-SUN", (dt.date(2014, 2, 23), dt.date(2014, 9, 28), dt.date(2015, 4, 19))),
)


def drawn(case: Case, few: Few, seed: int) -> Iterator[Case]:
    """Seven series of a table, cut at every date."""
    key = case.keys[0]
    told = case.actual if case.future is None else case.actual.join(case.future, on=[key, case.time])
    whole = pl.concat([case.history, told.select(case.history.columns)], how="vertical_relaxed")
    chosen = whole[key].unique().sort().sample(_SERIES, seed=seed)
    frame = whole.filter(pl.col(key).is_in(chosen.implode()))
    for cutoff in few.cutoffs:
        yield cut(
            f"{case.name}, draw {seed}, {cutoff}",
            frame,
            keys=case.keys,
            time=case.time,
            target=case.target,
            freq=few.freq,
            horizon=case.horizon,
            cutoff=cutoff,
            known=case.known,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every draw, print ratios, write ``benchmarks/results/few.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few", description=__doc__)
    parser.add_argument("--draws", type=int, default=2, help="of each table")
    given = parser.parse_args(arguments)
    lines, ratios = [], []
    for few in FEW:
        case = CASES[few.table]()
        if case is None:
            continue
        outcomes = [_outcome(item) for seed in range(given.draws) for item in drawn(case, few, seed)]
        ratios += [item.ratio for item in outcomes]
        work = f"{case.name}, {len(outcomes)} cuts of {_SERIES} series: geometric mean of the ratios to the best peer"
        lines.append(Measure(work, geometric_mean([item.ratio for item in outcomes]), "ratio"))
    if not lines:
        return
    every = f"{len(ratios)} tables of {_SERIES} series: geometric mean of the ratios to the best peer"
    lines.append(Measure(every, geometric_mean(ratios), "ratio", at_most=_GOAL))
    publish("few", lines)


def _outcome(case: Case) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="foretail-few-") as folder:
        outcome = outcome_of(case, Path(folder))
        print(f"{case.name}: {outcome.wape:.4f}, {outcome.ratio:.3f} times {outcome.best_peer}", flush=True)
    return outcome


if __name__ == "__main__":
    main()
