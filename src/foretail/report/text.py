"""The leaderboard as plain text for a terminal."""

from __future__ import annotations

from foretail.backtest.result import Leaderboard, LeaderboardRow
from foretail.report.wording import decimal, metric_cells

__all__ = ["leaderboard_text"]

# what every terminal and every pipe can take
_PLAIN = str.maketrans({"\u00a0": " ", "−": "-", "–": "-"})
_HEADS = ("model", "WAPE", "bias", "MASE", "RMSSE", "WQL", "cov 80", "cov 95", "IS 95", "skill", "seconds", "failures")


def leaderboard_text(leaderboard: Leaderboard) -> str:
    """Lay the leaderboard out in columns, best first; ``*`` marks the chosen model.

    Skill is 1 minus the ratio to seasonal naive: above 0 is better than it. A dash means that a metric is not defined,
    e.g. coverage of a point forecast.

    Returns
    -------
    Lines joined by newlines, without a newline at the end.
    """
    rows = [_HEADS, *(_cells(row) for row in leaderboard.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = [_line(row, widths) for row in rows]
    marks = [" ", *("*" if row.chosen else " " for row in leaderboard.rows)]
    table = [f"{mark} {line}".rstrip() for mark, line in zip(marks, lines, strict=True)]
    rule = "  " + "  ".join("-" * width for width in widths)
    return "\n".join([table[0], rule, *table[1:]]).translate(_PLAIN)


def _cells(row: LeaderboardRow) -> tuple[str, ...]:
    failures = f"{sum(row.failures.values()):,}"
    return (_printable(row.model), *metric_cells(row.scores), decimal(row.seconds, 1), failures)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *others = cells
    return "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True))])


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
