"""What the report says of totals over the horizon: how often they lay inside their interval of joint samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foretail.report.wording import percent

__all__ = ["totals_words"]


def totals_words(summary: Mapping[str, Any]) -> str:
    """One sentence from the ``totals`` of ``run.json``; "" where nothing was measured."""
    found = summary.get("totals") or {}
    if not found.get("n"):
        return ""
    told = (
        f"Of {found['n']:,} totals of a series over a backtest window, {percent(found['joint'])} lay inside the 80% "
        f"interval of joint samples (foretail forecast --samples); adding up the quantiles of single steps would have "
        f"held {percent(found['summed'])}, steps drawn one by one {percent(found['independent'])}."
    )
    group = found.get("group")
    return told if group is None else f"{told} Of totals over groups of series, {percent(group)} lay inside theirs."
