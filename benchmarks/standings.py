"""What came of each split: the tables of `benchmarks.accuracy`, its goals, and the published figures beside.

Each split has a file of its own under ``benchmarks/results/accuracy``, so that one can be run again alone; the page of
results is made from all that are there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from benchmarks.neutral import N_QUARTERS, SPLITS, Split
from benchmarks.published import METRICS, SOURCE, Published
from benchmarks.table import Measure
from foretail.cli.show import text_table

__all__ = ["GOALS", "OURS", "Entry", "Grid", "Outcome", "grids", "kept_outcomes", "measures", "merged"]

OURS = "foretail"
GOALS: dict[str, dict[str, float]] = {
    "walmart_block39": {"WAPE": 0.0892, "WMAE": 1430.0},
    "walmart_fev": {"fev_SQL": 0.630, "fev_WQL": 0.0708},
    "rossmann_block42": {"WAPE": 0.0770, "RMSPE": 0.1110},
    "rossmann_fev": {"fev_SQL": 0.215, "fev_WQL": 0.0715},
}
_COVERAGE = {"cov80": 0.80, "cov95": 0.95}
_OVERALL, _QUARTER = 0.02, 0.06  # how far coverage may be off, of the whole horizon and of each quarter
_SECONDS, _GB = 900.0, 8.0
_NAMES = {"fev_SQL": "SQL", "fev_WQL": "WQL", "fev_WAPE": "WAPE", "fev_MASE": "MASE", "WQL9": "WQL"}


@dataclass(frozen=True)
class Entry:
    """One model on one split.

    Attributes
    ----------
    model : what it is called. scores : by the neutral rules, over all windows.
    seconds : wall time of each window. peak_gb : the largest memory of a process; None where it was not measured.
    note : what to say of it.
    """

    model: str
    scores: dict[str, float]
    seconds: list[float]
    peak_gb: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a split.

    Attributes
    ----------
    split : its name. n_windows : how many windows were run. entries : ours first, then the peers.
    ran : machine and date.
    """

    split: str
    n_windows: int
    entries: list[Entry]
    ran: str = field(default_factory=lambda: f"{machine()}, {dt.date.today().isoformat()}")

    @property
    def is_whole(self) -> bool:
        """Whether every window of the split was run."""
        return self.n_windows == len(SPLITS[self.split].cutoffs)

    @property
    def ours(self) -> Entry:
        return self.entries[0]

    @property
    def peers(self) -> list[Entry]:
        return self.entries[1:]

    def write(self, folder: Path) -> None:
        """Keep it as ``folder/SPLIT.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.split}.json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Grid:
    """A table for the terminal and the page: a title, the cells, what to know of them."""

    title: str
    header: list[str]
    rows: list[list[str | float | None]]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """As text, columns side by side."""
        return "\n".join([self.title, text_table(self.header, self.rows), *self.notes]) + "\n"


def kept_outcomes(folder: Path) -> list[Outcome]:
    """The outcomes that are kept, in the order of the splits."""
    return [found for name in SPLITS if (found := _read(folder / f"{name}.json")) is not None]


def merged(now: Outcome, folder: Path) -> Outcome:
    """Now's outcome, with the peers that were not asked now as they were kept: they do not change when we do."""
    before = _read(folder / f"{now.split}.json")
    asked = {entry.model for entry in now.entries}
    kept = [] if before is None else [entry for entry in before.peers if entry.model not in asked]
    return replace(now, entries=now.entries + kept)


def grids(outcome: Outcome, published: Sequence[Published]) -> list[Grid]:
    """The tables of one split; the second one, on twins of fev-bench, holds the published figures."""
    split = SPLITS[outcome.split]
    n = f"{outcome.n_windows}" if outcome.is_whole else f"{outcome.n_windows} of {len(split.cutoffs)}"
    title = f"{split.name}: {n} {'window' if len(split.cutoffs) == 1 else 'windows'} of {split.horizon} steps"
    special = "WMAE" if split.layout == "walmart" else "RMSPE"
    metrics = _metrics(split, special)
    header = ["model", *(_NAMES.get(key, key) for key in metrics), "cov80", "cov95"]
    header += ["cov80 by quarter", "cov95 by quarter", "s a window", "slowest", "GB"]
    rows = [_row(entry, metrics) for entry in outcome.entries]
    notes = [f"{entry.model}: {entry.note}" for entry in outcome.entries if entry.note]
    tables = [Grid(title, header, rows, [f"ran on {outcome.ran}", *notes])]
    return [*tables, _beside(outcome, split, published)] if split.twin and published else tables


def _metrics(split: Split, special: str) -> list[str]:
    if split.twin:
        return ["fev_WAPE", special, "bias", "fev_MASE", "fev_WQL", "fev_SQL"]
    return ["WAPE", special, "bias", "MASE", "WQL9"]


def _row(entry: Entry, metrics: Iterable[str]) -> list[str | float | None]:
    cells: list[str | float | None] = [entry.scores.get(key) for key in metrics]
    coverage: list[str | float | None] = [entry.scores.get(key) for key in _COVERAGE]
    quarters: list[str | float | None] = [" ".join(f"{v:.2f}" for v in _quarters(entry, key)) for key in _COVERAGE]
    seconds = [round(sum(entry.seconds) / len(entry.seconds), 1), round(max(entry.seconds), 1)]
    peak_gb = None if entry.peak_gb is None else round(entry.peak_gb, 2)
    return [entry.model, *cells, *coverage, *quarters, *seconds, peak_gb]


def _quarters(entry: Entry, key: str) -> list[float]:
    names = [f"{key}_q{number}" for number in range(1, N_QUARTERS + 1)]
    return [entry.scores[name] for name in names if name in entry.scores]


def _beside(outcome: Outcome, split: Split, published: Sequence[Published]) -> Grid:
    """Our figures among the published ones, best SQL first; models without quantiles have no SQL and stand last."""
    ours = [
        (
            f"{entry.model} (this run)",
            {metric: entry.scores[f"fev_{metric}"] for metric in METRICS if f"fev_{metric}" in entry.scores},
            sum(entry.seconds),
        )
        for entry in outcome.entries
    ]
    lines = [*ours, *((line.model, line.scores, line.seconds) for line in published)]
    lines.sort(key=lambda line: line[1].get("SQL", float("inf")))
    rows: list[list[str | float | None]] = [
        [model, *(scores.get(metric) for metric in METRICS), round(seconds, 1)] for model, scores, seconds in lines
    ]
    title = f"{split.name} beside the published figures of {split.twin}"
    part = [] if outcome.is_whole else [f"ours: {outcome.n_windows} windows only, theirs: all {len(split.cutoffs)}"]
    return Grid(title, ["model", *METRICS, "seconds"], rows, [f"published: {SOURCE}", *part])


def measures(outcome: Outcome, published: Sequence[Published]) -> list[Measure]:
    """The metrics beside the best peer on each (and the best published figure), coverage, time and memory."""
    split = SPLITS[outcome.split]
    what = split.name if outcome.is_whole else f"{split.name} ({outcome.n_windows} of {len(split.cutoffs)} windows)"
    special = "WMAE" if split.layout == "walmart" else "RMSPE"
    lines = []
    for key in _metrics(split, special):
        if key in outcome.ours.scores:
            lines += _compared(what, key, outcome, published if split.twin else ())
    return [*lines, *_coverage(what, outcome.ours), *_cost(what, outcome.ours)]


def _compared(what: str, key: str, outcome: Outcome, published: Sequence[Published]) -> list[Measure]:
    value, goal = outcome.ours.scores[key], GOALS.get(outcome.split, {}).get(key)
    work, unit = f"{what}: {_NAMES.get(key, key)}", "share" if key.endswith(("WAPE", "bias", "WQL", "WQL9")) else ""
    rivals = [(entry.scores[key], entry.model) for entry in outcome.peers if key in entry.scores and key != "bias"]
    best = min(rivals, default=None)
    score, rival = best or (None, "")
    found = [Measure(work, value, unit, rival, score, at_most=goal)]
    name = key.removeprefix("fev_")
    if published and key.startswith("fev_"):
        line = min(published, key=lambda line: line.scores[name])
        found.append(Measure(work, value, unit, f"{line.model} (published)", line.scores[name]))
    return found


def _coverage(what: str, ours: Entry) -> list[Measure]:
    """Overall, and in the quarter of the horizon that is furthest off."""
    found = []
    for key, share in _COVERAGE.items():
        quarters = _quarters(ours, key)
        if key not in ours.scores or not quarters:
            continue
        off = int(np.argmax(np.abs(np.array(quarters) - share)))
        work = f"{what}: {share:.0%} interval covers"
        worst = f"{work} in quarter {off + 1}, the furthest off"
        found += [_near(work, ours.scores[key], share, _OVERALL), _near(worst, quarters[off], share, _QUARTER)]
    return found


def _near(work: str, covered: float, share: float, by: float) -> Measure:
    low, high = round(share - by, 4), round(min(share + by, 1.0), 4)
    return Measure(work, covered, "share", at_least=low, at_most=high)


def _cost(what: str, ours: Entry) -> list[Measure]:
    found = [Measure(f"{what}: time of the slowest window", max(ours.seconds), "s", at_most=_SECONDS)]
    if ours.peak_gb is not None:
        found.append(Measure(f"{what}: peak memory", ours.peak_gb, "GB", at_most=_GB))
    return found


def _read(path: Path) -> Outcome | None:
    if not path.is_file():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(**{**kept, "entries": [Entry(**entry) for entry in kept["entries"]]})
