"""The table that every benchmark prints and the JSON it writes: what was measured, beside what, against which goal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import note_machine
from foretail.cli.show import text_table

__all__ = ["RESULTS", "Measure", "growth", "publish", "show", "write"]

RESULTS = Path(__file__).parent / "results"
_LINEAR = 1.2  # times as long per series as a smaller table: what is still called linear


@dataclass(frozen=True)
class Measure:
    """One line of a benchmark.

    Attributes
    ----------
    work : what was done, e.g. ``walmart, 39 weeks: WAPE``.
    value : what it came to, in ``unit``.
    unit : ``s``, ``GB``, ``share``, ``WAPE``, …
    peer : what it stands beside, e.g. ``seasonal naive``; "" for none.
    peer_value : what the peer came to in the same run, in ``unit``.
    at_most, at_least : the goal, either or both; None for no goal.
    """

    work: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's; None without a peer or where the peer's is 0."""
        return self.value / self.peer_value if self.peer_value else None

    @property
    def goal(self) -> str:
        """The goal in words: ``<= 0.6``, ``0.76 to 0.84``; "" for none."""
        if self.at_least is not None and self.at_most is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal. A value that is not a number reaches none."""
        if not self.goal:
            return None
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.value <= high

    def to_dict(self) -> dict[str, object]:
        """The line as the JSON file holds it."""
        kept = {key: value for key, value in asdict(self).items() if not key.startswith("at_")}
        return {**kept, "ratio": self.ratio, "goal": self.goal, "met": self.met}


def growth(n_large: int, each_large_s: float, n_small: int, each_small_s: float) -> Measure:
    """The time per series of a table over that of a smaller one; ``each_…`` are seconds per series."""
    work = f"{n_large:,} series: time per series over {n_small:,}'s"
    return Measure(work, each_large_s / each_small_s, "ratio", at_most=_LINEAR)


def publish(name: str, measures: Sequence[Measure], folder: Path = RESULTS) -> Path:
    """`show` the measures and `write` them; gives the path."""
    show(measures)
    return write(name, measures, folder)


def show(measures: Sequence[Measure]) -> None:
    """Print the measures as a table."""
    header = ("work", "value", "unit", "peer", "peer_value", "ratio", "goal", "met")
    lines = [measure.to_dict() for measure in measures]
    print(text_table(header, [[_shown(line[key]) for key in header] for line in lines]))


def write(name: str, measures: Sequence[Measure], folder: Path = RESULTS) -> Path:
    """Write the measures to ``folder/NAME.json`` and note the machine beside; gives the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps([measure.to_dict() for measure in measures], indent=2) + "\n", encoding="utf-8")
    note_machine(name, folder)
    return path


def _shown(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else value
