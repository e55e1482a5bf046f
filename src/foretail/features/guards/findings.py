"""What the guards found: a feature outside its limits in a split, as an error, a frame, or a table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["GuardFinding", "What", "guard_frame", "guard_table", "refuse"]

What = Literal["missing", "type", "null share", "infinite", "below", "above", "constant", "drift"]
_SCHEMA = {
    "feature": pl.String,
    "split": pl.String,
    "what": pl.String,
    "value": pl.Float64,
    "limit": pl.Float64,
    "is_error": pl.Boolean,
}
_FIXES: dict[What, str] = {
    "missing": "join a service that holds it",
    "type": "join it again from the store, which keeps the declared type",
    "null share": "add the rows that its view lacks, or allow a larger null_share; a null is never filled in silence",
    "infinite": "correct its source: look for a division by zero",
    "below": "correct its source, or declare another low",
    "above": "correct its source, or declare another high",
    "constant": "correct its source (filled values look like this), or allow constant = true",
    "drift": "train on newer periods, or allow a larger drift",
}


@dataclass(frozen=True)
class GuardFinding:
    """A feature that is outside one of its limits in one split.

    Attributes
    ----------
    feature, split : where; the split is ``all`` where the column itself is wrong.
    what : ``missing`` (no such column), ``type`` (not as declared), ``null share``, ``infinite`` (share of rows),
        ``below``, ``above``, ``constant``, ``drift`` (population stability index).
    value, limit : what was found and what is allowed, in the unit of the feature, or a share (0-1); NaN for none.
    is_error : whether `refuse` stops at it. It does not at drift, nor at a constant after the first split: sales do
        move, and a short split may hold one value.
    """

    feature: str
    split: str
    what: What
    value: float = math.nan
    limit: float = math.nan
    is_error: bool = True

    @property
    def said(self) -> str:
        """What was found, for people."""
        return _say(self.what, self.value, self.limit)

    @property
    def problem(self) -> Problem:
        """The finding in three parts."""
        return Problem(f"feature {self.feature!r} {self.said}", f"split {self.split!r}", _FIXES[self.what])


def refuse(findings: Sequence[GuardFinding], *, strict: bool = False) -> None:
    """Stop at findings that are errors.

    Parameters
    ----------
    strict : stop at every finding, drift too.

    Raises
    ------
    DataError : for each of them the feature, the split, what was found, the limit and what to do.
    """
    problems = [finding.problem for finding in findings if strict or finding.is_error]
    if problems:
        raise DataError(problems)


def guard_frame(findings: Sequence[GuardFinding]) -> pl.DataFrame:
    """Findings as a frame: ``feature, split, what, value, limit, is_error``; without rows when there are none."""
    return pl.DataFrame([asdict(finding) for finding in findings], schema=_SCHEMA)


def guard_table(findings: Sequence[GuardFinding]) -> str:
    """Findings as text, errors first; a sentence when there are none."""
    if not findings:
        return "Every feature is within its limits in every split."
    ordered = sorted(findings, key=lambda item: not item.is_error)
    rows = [("", "feature", "split", "found")]
    rows += [("error" if item.is_error else "note", item.feature, item.split, item.said) for item in ordered]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join((*(row[column].ljust(widths[column]) for column in range(3)), row[3])).rstrip() for row in rows
    )


def _say(what: What, value: float, limit: float) -> str:
    said: dict[What, str] = {
        "missing": "is not in the table",
        "type": "does not have the declared type",
        "null share": f"has no value in {value:.2%} of the rows, at most {limit:.2%} are allowed",
        "infinite": f"is infinite in {value:.2%} of the rows",
        "below": f"goes down to {value:g}, below {limit:g}",
        "above": f"goes up to {value:g}, above {limit:g}",
        "constant": "has one value only" + ("" if math.isnan(value) else f", {value:g}"),
        "drift": f"has a stability index of {value:.3f} against the first split, above {limit:g}",
    }
    return said[what]
