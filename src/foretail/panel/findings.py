"""What the quality report says of a panel: totals, and the series and values worth a look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foretail.panel.panel import Panel
from foretail.panel.quality import Finding, QualityReport

__all__ = ["about_series", "quality_report"]

_SERIOUS = {"warning": 0, "repaired": 1, "info": 2}
_SHOWN = 5
_SILENT_DAYS = 60  # days without a row after which a series is said to have ended, if the horizon is shorter


def quality_report(n_rows: int, panel: Panel, findings: Sequence[Finding]) -> QualityReport:
    """Facts and findings, the most serious first.

    Parameters
    ----------
    n_rows : rows of the table as read.
    findings : in order of discovery; the order stays within a level.
    """
    observed = panel.observed
    n_observed = int(np.count_nonzero(observed))
    return QualityReport(
        n_rows=n_rows,
        n_series=panel.n_series,
        n_periods=panel.n_periods,
        n_observed=n_observed,
        first=str(panel.dates()[0]),
        last=str(panel.dates()[-1]),
        total=float(np.nansum(panel.y)),
        zero_share=np.count_nonzero(panel.y == 0) / max(n_observed, 1),
        findings=tuple(sorted(findings, key=lambda finding: _SERIOUS[finding.level])),
    )


def about_series(panel: Panel, last_row: npt.NDArray[np.int64], h: int) -> list[Finding]:
    """Short, ended, constant and all-zero series, and values far from the rest of their series.

    Parameters
    ----------
    last_row : int64 ``[N]``: column of the last row told by the table.
    h : the horizon.
    """
    season, noun = panel.frequency.season_length, panel.frequency.noun
    n_told = panel.observed.sum(1)
    silent = panel.n_periods - 1 - last_row
    low, high = np.nanmin(panel.y, axis=1), np.nanmax(panel.y, axis=1)
    limit = max(h, round(_SILENT_DAYS / panel.frequency.days))
    checks = [
        ("short_series", "warning", n_told < 2 * season, f"have fewer than {2 * season} {noun}s, two seasons"),
        (
            "ended_series",
            "warning",
            silent > limit,
            f"have no row in the last {limit} {noun}s or more: they may have ended",
        ),
        ("zero_series", "warning", (low == 0) & (high == 0), "have only zeros"),
        ("constant_series", "info", (low == high) & (low != 0) & (n_told > 1), "never change"),
    ]
    found = [_of_series(panel, name, level, which, text) for name, level, which, text in checks if which.any()]
    return [*found, *_outliers(panel)]


def _of_series(panel: Panel, name: str, level: str, which: npt.NDArray[np.bool_], text: str) -> Finding:
    n = int(which.sum())
    ids = [panel.unique_ids[i] for i in np.flatnonzero(which)[:_SHOWN]]
    return Finding(name, level, f"{n} of {panel.n_series} series {text}", n, n / panel.n_series, tuple(ids))


def _outliers(panel: Panel) -> list[Finding]:
    """Values ten times the 95th percentile of the positive values of their series; for information only."""
    y = panel.y
    peak = np.nanmax(y, axis=1)
    n_positive = (y > 0).sum(1)
    # a series whose peak is below ten times its mean positive value has no such value: most are left here
    mean = np.divide(np.where(y > 0, y, 0.0).sum(1), n_positive, out=np.full(len(y), np.inf), where=n_positive >= 20)
    rows = np.flatnonzero(peak > 5 * mean)
    if not len(rows):
        return []
    positive = np.where(y[rows] > 0, y[rows], np.nan)
    high = np.nanquantile(positive, 0.95, axis=1)
    which = positive > 10 * high[:, None]
    n = int(which.sum())
    if not n:
        return []
    hit = np.flatnonzero(which.any(1))
    ids = tuple(panel.unique_ids[rows[i]] for i in hit[:_SHOWN])
    text = f"{n} values in {len(hit)} series are more than ten times what is usual there; they are kept"
    return [Finding("outliers", "info", text, n, n / max(int(n_positive.sum()), 1), ids)]
