"""Features made on demand from other features of the same row: one function for training, serving and a request.

Each takes columns as lists (None = not known) and answers a list, row by row and without state, so that one row online
and a million rows offline come out the same to the bit. None of them can reach the value being forecast: they see what
the view declares as its inputs, which hang on a lag, and what is known in advance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foretail.core.errors import DataError, Problem

__all__ = ["STEPS", "Derivation", "derive", "momentum", "product", "ratio", "scaled", "season"]

Values = Sequence[Any]
Step = tuple[str, str, tuple[str, ...], tuple[float, ...]]


def season(values: Values, kind: float, length: float) -> list[float | None]:
    """Sine (kind 0) or cosine (kind 1) of a place 1, 2, … in a season of ``length`` places."""
    wave = math.cos if kind else math.sin
    return [None if x is None else wave(2.0 * math.pi * (x - 1.0) / length) for x in values]


def scaled(values: Values, low: float, high: float) -> list[float | None]:
    """Values from declared bounds to 0-1; what lies outside the bounds is at their end."""
    return [None if x is None else min(max((x - low) / (high - low), 0.0), 1.0) for x in values]


def ratio(top: Values, bottom: Values) -> list[float | None]:
    """One against the other; not known where the other is 0."""
    return [None if x is None or y is None or not y else x / y for x, y in zip(top, bottom, strict=True)]


def product(first: Values, second: Values) -> list[float | None]:
    """One times the other."""
    return [None if x is None or y is None else float(x * y) for x, y in zip(first, second, strict=True)]


def momentum(newer: Values, older: Values) -> list[float | None]:
    """Change against the size of both values, -1 to 1; 0 where both are 0."""
    return [None if x is None or y is None else _change(x, y) for x, y in zip(newer, older, strict=True)]


def _change(newer: float, older: float) -> float:
    size = abs(newer) + abs(older)
    return (newer - older) / size if size else 0.0


STEPS: dict[str, Callable[..., list[float | None]]] = {
    "season": season,
    "scaled": scaled,
    "ratio": ratio,
    "product": product,
    "momentum": momentum,
}


@dataclass(frozen=True)
class Derivation:
    """How one feature is made: a function of `STEPS`, the columns it reads, and numbers declared with it."""

    step: str
    columns: tuple[str, ...]
    numbers: tuple[float, ...] = ()

    def __call__(self, inputs: Mapping[str, Values]) -> list[float | None]:
        """The feature of some rows, from their columns."""
        return derive(inputs, [("it", self.step, self.columns, self.numbers)])["it"]


def derive(inputs: Mapping[str, Values], steps: Sequence[Step]) -> dict[str, list[float | None]]:
    """Run steps on the columns of some rows.

    Parameters
    ----------
    inputs : columns by name. steps : per feature its name, the function in `STEPS`, the input columns, the numbers.

    Raises
    ------
    DataError : an input column is not there.
    """
    read: dict[str, Values] = {}
    for _, _, columns, _ in steps:
        lacking = [column for column in columns if column not in inputs]
        if lacking:
            where = f"columns given: {', '.join(inputs)}"
            raise DataError(Problem(f"an on-demand feature lacks its input {lacking[0]!r}", where, "give that column"))
        read |= {column: _column(inputs[column]) for column in columns if column not in read}
    return {name: STEPS[step](*(read[c] for c in columns), *numbers) for name, step, columns, numbers in steps}


def _column(values: Values) -> Values:
    """Unknown values as None: a frame from pandas says NaN."""
    return [None if x != x else x for x in values]
