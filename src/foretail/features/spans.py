"""How far back features look, by frequency: days, weeks or months, always counted from the cutoff."""

from __future__ import annotations

from dataclasses import dataclass

from foretail.core.frequency import Frequency

__all__ = ["Spans", "spans_of"]


@dataclass(frozen=True)
class Spans:
    """Window lengths in periods.

    Attributes
    ----------
    recent : of the recent level, shortest first; the last one is a year, the one before it half a year.
    cells : of weekday x flag effects, longest first.
    year_reach : periods on either side of the same season a year ago.
    cycles : lengths of cycles that shops keep (a week, a fortnight, four weeks) and no calendar tells.
    event : a flag that is further away than this says nothing.
    """

    recent: tuple[int, ...]
    cells: tuple[int, ...]
    year_reach: tuple[int, ...]
    cycles: tuple[int, ...]
    event: int


# halvings of a year down to the short season, in whole weeks
_SPANS = {
    "D": Spans((7, 14, 28, 56, 91, 182, 364), (364, 182, 84, 28), (0, 3, 7, 14), (7, 14, 28), 42),
    "W": Spans((1, 2, 4, 8, 13, 26, 52), (52, 26, 13), (0, 1, 2), (4, 13), 8),
    "M": Spans((1, 2, 3, 6, 12), (24, 12), (0, 1), (3, 6), 4),
}


def spans_of(frequency: Frequency) -> Spans:
    """The windows of a frequency."""
    return _SPANS[frequency.code[0]]
