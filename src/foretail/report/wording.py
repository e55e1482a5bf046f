"""Numbers as people read them: thousands separated, shares in percent, a dash where there is none."""

from __future__ import annotations

import datetime as dt
import math
from typing import TypeGuard

from foretail.backtest.result import Scores

__all__ = [
    "METRIC_HEADS",
    "amount",
    "decimal",
    "duration",
    "long_date",
    "memory",
    "metric_cells",
    "percent",
    "plural",
    "signed_percent",
]

NONE = "–"
_NBSP = "\u00a0"
_SCALES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def amount(value: float | None, unit: str = "") -> str:
    """A quantity: ``950.5``, ``12,345``, ``47.2 million EUR``."""
    if not _is_given(value):
        return NONE
    scale, word = next(((scale, word) for scale, word in _SCALES if abs(value) >= scale), (1.0, ""))
    scaled = value / scale
    digits = 1 if word or (abs(scaled) < 1000 and scaled != round(scaled)) else 0
    return _NBSP.join(part for part in (f"{scaled:,.{digits}f}", word, unit) if part)


def percent(share: float | None, digits: int = 1) -> str:
    """A share 0-1 in percent: ``9.1 %``."""
    return f"{_no_minus_zero(100 * share, digits):,.{digits}f}{_NBSP}%" if _is_given(share) else NONE


def signed_percent(share: float | None, digits: int = 1) -> str:
    """A share with its sign: ``+1.2 %``, ``−0.4 %``."""
    if not _is_given(share):
        return NONE
    value = _no_minus_zero(100 * share, digits)
    return f"{value:{'+' if value else ''},.{digits}f}{_NBSP}%".replace("-", "−")


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain number with fixed digits, so that a column lines up."""
    return f"{_no_minus_zero(value, digits):,.{digits}f}".replace("-", "−") if _is_given(value) else NONE


def duration(seconds: float | None) -> str:
    """Seconds as ``0.4 s``, ``37 s`` or ``2 min 05 s``."""
    if not _is_given(seconds):
        return NONE
    if round(seconds) >= 60:
        return f"{round(seconds) // 60}{_NBSP}min {round(seconds) % 60:02d}{_NBSP}s"
    return f"{seconds:.{1 if seconds < 10 else 0}f}{_NBSP}s"


def memory(mebibytes: float | None) -> str:
    """MiB as ``512 MiB`` or ``1.4 GiB``."""
    if not _is_given(mebibytes):
        return NONE
    return f"{mebibytes / 1024:.1f}{_NBSP}GiB" if mebibytes >= 1024 else f"{mebibytes:.0f}{_NBSP}MiB"


def plural(n: int, noun: str) -> str:
    """``1 day``, ``28 days``, ``3 series``."""
    ending = "" if n == 1 or noun.endswith("series") else "s"
    return f"{n:,}{_NBSP}{noun}{ending}"


def long_date(date: dt.date) -> str:
    """``1 August 2025``."""
    return f"{date.day} {date:%B %Y}"


def _is_given(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _no_minus_zero(value: float, digits: int) -> float:
    return 0.0 if round(value, digits) == 0 else value


METRIC_HEADS = ("WAPE", "Bias", "MASE", "RMSSE", "WQL", "Cov. 80", "Cov. 95", "IS 95", "Skill")  # of `metric_cells`


def metric_cells(scores: Scores) -> tuple[str, ...]:
    """The cells of a row of the leaderboard.

    WAPE, bias, MASE, RMSSE, WQL, coverage of 80 % and 95 %, interval score of 95 %, skill.
    """
    return (
        percent(scores.wape),
        signed_percent(scores.bias),
        decimal(scores.mase),
        decimal(scores.rmsse),
        decimal(scores.wql, 4),
        percent(scores.coverage_80, 0),
        percent(scores.coverage_95, 0),
        decimal(scores.interval_score),
        signed_percent(scores.skill),
    )
