"""`foretail run` on plain CSV files of other tables, beside the best of four peers; the goal is their geometric mean.

Each table of `benchmarks.cases` is cut at its cutoff and written as CSV; the command runs as a process of its own and
sees that file (and the known covariates of the horizon) and nothing else; the rows held back are scored by WAPE.

    python -m benchmarks.tables [--only NAME,…] [--board] [--families] [--keep DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.cases import CASES, Case
from benchmarks.job import Job, JobError, run_foretail
from benchmarks.peers import PEERS, answer, matrix_frame
from benchmarks.table import RESULTS, Measure, publish
from foretail.cli.show import text_table
from foretail.core.errors import DataError, Problem
from foretail.models.families import FAMILIES, make
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.open import open_table

__all__ = ["Outcome", "geometric_mean", "held_back_wape", "main", "outcome_of"]

_GOAL = 0.95


@dataclass(frozen=True)
class Outcome:
    """What came of one table.

    Attributes
    ----------
    case : the table. wape, bias : of foretail on the rows held back. peers : WAPE by peer. job : the run.
    families : WAPE of each family fitted directly, where that was asked for.
    """

    case: Case
    wape: float
    bias: float
    peers: dict[str, float]
    job: Job
    families: dict[str, float] = field(default_factory=dict)

    @property
    def best_peer(self) -> str:
        return min(self.peers, key=lambda peer: self.peers[peer])

    @property
    def ratio(self) -> float:
        """Ours to the best peer's."""
        return self.wape / self.peers[self.best_peer]


def held_back_wape(case: Case, forecast: pl.DataFrame) -> tuple[float, float]:
    """WAPE and bias on the rows held back.

    Parameters
    ----------
    forecast : the key columns, the time column and ``y_hat``.

    Raises
    ------
    DataError : rows without a forecast.
    """
    on = [*case.keys, case.time]
    texts = [pl.col(key).cast(pl.String) for key in case.keys]
    answers = forecast.select(*texts, pl.col(case.time).cast(pl.Date), "y_hat")
    frame = case.actual.with_columns(texts).join(answers, on=on, how="left")
    missing = frame["y_hat"].null_count()
    if missing:
        first = frame.filter(pl.col("y_hat").is_null()).select(on).row(0)
        where = f"{case.name}: {missing} of {frame.height} rows, e.g. {', '.join(map(str, first))}"
        raise DataError(Problem("rows were held back that have no forecast", where, "answer every row"))
    y, y_hat = (frame[name].cast(pl.Float64).to_numpy() for name in (case.target, "y_hat"))
    total = float(np.abs(y).sum())
    return float(np.abs(y - y_hat).sum()) / total, float((y_hat - y).sum()) / total


def geometric_mean(values: Sequence[float]) -> float:
    """exp of the mean log; NaN of nothing."""
    return float(np.exp(np.mean(np.log(values)))) if len(values) else float("nan")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every table, print ratios, write ``benchmarks/results/tables.json``; those named are printed alone."""
    asked = _asked(arguments)
    with tempfile.TemporaryDirectory(prefix="foretail-tables-") as scratch:
        folder = (asked.keep or Path(scratch)).resolve()
        outcomes: list[Outcome] = []
        n_tried = 0
        for name in asked.only.split(",") if asked.only else CASES:
            case = CASES[name]()
            if case is not None:
                n_tried += 1
                outcomes += _tried(case, folder, asked)
        if outcomes:
            print(_summary(outcomes))
            publish("tables", _measures(outcomes, n_tried), Path(scratch) if asked.only else RESULTS)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--only", default="", metavar="A,B", help=f"of {', '.join(CASES)}")
    parser.add_argument("--board", action="store_true", help="show the leaderboard of each run")
    parser.add_argument("--families", action="store_true", help="also fit each family directly and score it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the CSV files and the outputs here")
    return parser.parse_args(arguments)


def _tried(case: Case, folder: Path, asked: argparse.Namespace) -> list[Outcome]:
    """The outcome of one table; a run that fails is said and leaves the others alone."""
    try:
        outcome = outcome_of(case, folder / case.name.replace(", ", "-").replace(" ", "-"), asked.families)
    except JobError as error:
        print(f"{case.name}: FAILED, {error}")
        return []
    print(_line(outcome), flush=True)
    if asked.board:
        print(_board(outcome), flush=True)
    return [outcome]


def outcome_of(case: Case, folder: Path, with_families: bool = False) -> Outcome:
    """Ask the peers and run the command in a folder.

    Raises
    ------
    JobError : the run failed. DataError : it left out a row.
    """
    sales, future = case.write(folder)
    panel = _panel(case, sales, future)
    peers = {}
    for peer in PEERS:
        found = answer(peer, panel, case.horizon)
        peers[peer] = held_back_wape(case, matrix_frame(panel, found.y_hat))[0]
    families = _families(case, panel) if with_families else {}
    job = run_foretail(case.arguments(sales, future), folder)
    wape, bias = held_back_wape(case, job.forecasts)
    return Outcome(case, wape, bias, peers, job, families)


def _panel(case: Case, sales: Path, future: Path | None) -> Panel:
    """The history that the peers see: the same file read by the same door."""
    table = open_table(str(sales), future=None if future is None else str(future), **case.given)
    return build_panel(table, horizon=case.horizon).panel


def _families(case: Case, panel: Panel) -> dict[str, float]:
    """WAPE of each family of foretail fitted on the whole history, past every selection."""
    found = {}
    for name in FAMILIES:
        begun = time.perf_counter()
        y_hat = make(name, n_threads=1).fit(panel, case.horizon).predict(panel, case.horizon).y_hat
        closed = panel.closed[:, panel.n_periods : panel.n_periods + case.horizon]
        if closed.shape == y_hat.shape:
            y_hat = np.where(closed, 0.0, y_hat)
        found[name] = held_back_wape(case, matrix_frame(panel, y_hat))[0]
        print(f"  {case.name}: {name} {found[name]:.4f} ({time.perf_counter() - begun:.1f} s)", flush=True)
    return found


def _line(outcome: Outcome) -> str:
    peers = ", ".join(f"{name} {value:.4f}" for name, value in outcome.peers.items())
    return (
        f"{outcome.case.name}: {outcome.wape:.4f} ({outcome.job.chosen}) beside {peers}: ratio {outcome.ratio:.3f}, "
        f"{outcome.job.seconds:.0f} s"
    )


def _board(outcome: Outcome) -> str:
    """The run's own leaderboard (its backtest, not the rows held back)."""
    header = ("model", "wape", "inner", "bias", "cov80", "seconds", "used")
    rows = [
        (
            row["model"],
            *(row["scores"]["wape"], row["inner_wape"], row["scores"]["bias"], row["scores"]["coverage_80"]),
            round(row["seconds"], 1),
            "*" if row["chosen"] else "",
        )
        for row in outcome.job.leaderboard["rows"]
    ]
    return text_table(header, rows) + "\n"


def _summary(outcomes: Sequence[Outcome]) -> str:
    header = (
        "table",
        "series",
        "rows",
        "foretail",
        "model",
        *PEERS,
        "best",
        "ratio",
        "bias",
        "cov80",
        "seconds",
        "GB",
    )
    rows = [
        (
            item.case.name,
            item.case.history.select(item.case.keys).n_unique(),
            item.case.history.height,
            item.wape,
            item.job.chosen,
            *(item.peers[peer] for peer in PEERS),
            item.best_peer,
            item.ratio,
            item.bias,
            _coverage(item),
            round(item.job.seconds, 1),
            round(item.job.peak_gb, 2),
        )
        for item in outcomes
    ]
    return text_table(header, rows)


def _coverage(outcome: Outcome) -> float:
    """Share of rows held back with sales inside the 80 % interval."""
    on = [*outcome.case.keys, outcome.case.time]
    texts = [pl.col(key).cast(pl.String) for key in outcome.case.keys]
    bounds = outcome.job.forecasts.select(*texts, pl.col(outcome.case.time).cast(pl.Date), "q10", "q90")
    frame = outcome.case.actual.with_columns(texts).join(bounds, on=on, how="left")
    inside = pl.col(outcome.case.target).is_between(pl.col("q10"), pl.col("q90"))
    return float(frame.select(inside.mean()).item())


def _measures(outcomes: Sequence[Outcome], n_tried: int) -> list[Measure]:
    """One line per table and the goal, which a table that failed does not let be met."""
    lines = [
        Measure(f"{item.case.name}: WAPE", item.wape, "share", item.best_peer, item.peers[item.best_peer])
        for item in outcomes
    ]
    lines += [Measure(f"{item.case.name}: time", item.job.seconds, "s") for item in outcomes]
    mean = geometric_mean([item.ratio for item in outcomes]) if len(outcomes) == n_tried else float("nan")
    what = f"{n_tried} tables"
    lines.append(Measure(f"{what}: geometric mean of the ratios to the best peer", mean, "ratio", at_most=_GOAL))
    return lines


if __name__ == "__main__":
    main()
