"""The quality report: what the data look like, what was repaired, what was set aside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Finding", "QualityReport"]


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about the table.

    Attributes
    ----------
    name : a stable identifier, e.g. ``duplicates``, ``gaps``, ``negatives``, ``ended_series``.
    level : ``info`` (as expected), ``repaired`` (changed by a policy of the spec), ``warning`` (look at it).
    text : one sentence with the numbers in it.
    n : rows, cells or series concerned.
    share : ``n`` as a share (0-1) of what could be concerned.
    examples : the first few ids or rows.
    """

    name: str
    level: str
    text: str
    n: int = 0
    share: float = 0.0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class QualityReport:
    """Facts about a panel.

    Attributes
    ----------
    n_rows : rows read. n_series, n_periods : size of the panel. n_observed : cells with a value.
    first, last : ISO dates of the first and last period.
    total : sum of the target. zero_share : share of observed values that are 0.
    findings : what was found, most serious first.
    """

    n_rows: int
    n_series: int
    n_periods: int
    n_observed: int
    first: str
    last: str
    total: float
    zero_share: float
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
