"""The promotion gate: a candidate must beat the champion and seasonal naive, on the same windows of the same data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foretail.backtest.result import NAIVE

__all__ = ["Contender", "Decision", "GateRow", "decide"]

_SAME = 1e-6  # relative difference below which two figures come from the same data


@dataclass(frozen=True)
class Contender:
    """A model version with its scores, as the gate sees it.

    Attributes
    ----------
    label : how the table calls it, e.g. ``version 3 (boosting)``.
    model : its name on the leaderboard.
    dataset : what it forecasts: dataset, keys, target and frequency. horizon : how far, in steps.
    wape : WAPE per outer window (sum of absolute errors / sum of absolute values, lower is better), keyed by cutoff and
        length. naive : WAPE of seasonal naive on the same windows of the same run; it tells whether two versions were
        scored on the same data.
    """

    label: str
    model: str
    dataset: str
    horizon: int
    wape: Mapping[str, float]
    naive: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GateRow:
    """One comparison.

    Attributes
    ----------
    against : ``champion`` or ``seasonal naive``. label : which version that is.
    n_windows : windows that both were scored on.
    candidate, other : mean WAPE over those windows; NaN without a window.
    is_better : the candidate's is lower.
    """

    against: str
    label: str
    n_windows: int
    candidate: float
    other: float

    @property
    def is_better(self) -> bool:
        return self.candidate < self.other


@dataclass(frozen=True)
class Decision:
    """What the gate says, why, and on which figures."""

    allowed: bool
    reason: str
    table: tuple[GateRow, ...] = ()

    def to_text(self) -> str:
        """The reason and the table, for a terminal."""
        head = ("against", "version", "windows", "WAPE candidate", "WAPE other", "better")
        rows = [
            (row.against, row.label, str(row.n_windows), _figure(row.candidate), _figure(row.other), _word(row))
            for row in self.table
        ]
        verdict = "allowed" if self.allowed else "refused"
        return "\n".join([f"{verdict}: {self.reason}", *(_aligned([head, *rows]) if rows else [])])


def decide(candidate: Contender, champion: Contender | None, naive: Contender) -> Decision:
    """Decide whether a candidate may become champion.

    Parameters
    ----------
    candidate : the version that wants to be champion.
    champion : the version that is; None for a first version. Re-scored on the candidate's windows where its own are
        others.
    naive : seasonal naive on the candidate's windows.

    Returns
    -------
    Allowed when the candidate's mean WAPE is below seasonal naive's, and below the champion's over the windows both
    have. A candidate that *is* seasonal naive needs only the second. A champion of another dataset or horizon answers
    another question: it is replaced without comparison, and the reason says so.
    """
    is_naive = candidate.model == NAIVE
    rows = [] if is_naive else [_compare("seasonal naive", candidate, naive)]
    if rows and not rows[0].n_windows:
        return _refused("the candidate has no window that seasonal naive was scored on: backtest it first", rows)
    if rows and not rows[0].is_better:
        return _refused("the candidate is no better than seasonal naive", rows)
    over_naive = "nothing beat seasonal naive, which is the candidate" if is_naive else "better than seasonal naive"
    if champion is None:
        return Decision(True, f"{over_naive}; there is no champion yet", tuple(rows))
    other = _other_question(candidate, champion)
    if other:
        return Decision(True, f"{over_naive}; the champion {other}, so they cannot be compared", tuple(rows))
    rows.append(_compare("champion", candidate, champion))
    if not rows[-1].n_windows:
        return _refused("no window in common with the champion: score the champion on the candidate's windows", rows)
    if not rows[-1].is_better:
        return _refused("the candidate is no better than the champion", rows)
    return Decision(True, f"{over_naive}; better than the champion", tuple(rows))


def _refused(reason: str, rows: Sequence[GateRow]) -> Decision:
    return Decision(False, reason, tuple(rows))


def _other_question(candidate: Contender, champion: Contender) -> str:
    """Say how the champion's question differs; empty where it does not."""
    if champion.dataset != candidate.dataset:
        return f"forecasts other data ({champion.dataset}, not {candidate.dataset})"
    if champion.horizon != candidate.horizon:
        return f"forecasts {champion.horizon} steps, not {candidate.horizon}"
    return ""


def _compare(against: str, candidate: Contender, other: Contender) -> GateRow:
    windows = [
        window
        for window, wape in candidate.wape.items()
        if math.isfinite(wape)
        and math.isfinite(other.wape.get(window, math.nan))
        and _same_data(candidate, other, window)
    ]
    return GateRow(against, other.label, len(windows), _mean(candidate.wape, windows), _mean(other.wape, windows))


def _same_data(one: Contender, two: Contender, window: str) -> bool:
    """Whether seasonal naive, which depends on nothing but the data, scored alike in both runs (where both tell)."""
    first, second = one.naive.get(window, math.nan), two.naive.get(window, math.nan)
    if math.isnan(first) or math.isnan(second):
        return True
    return math.isclose(first, second, rel_tol=_SAME, abs_tol=_SAME)


def _mean(wape: Mapping[str, float], windows: Sequence[str]) -> float:
    return math.fsum(wape[window] for window in windows) / len(windows) if windows else math.nan


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _word(row: GateRow) -> str:
    return "-" if not row.n_windows else "yes" if row.is_better else "no"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if position < 2 else text.rjust(width)
            for position, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
