"""Dates without a row: what they mean, and the matrix of sales with that meaning made explicit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foretail.core.spec import DatasetSpec
from foretail.panel.quality import Finding

__all__ = ["fill_gaps"]

FloatMatrix = npt.NDArray[np.float64]
BoolMatrix = npt.NDArray[np.bool_]
_FEW_ZEROS = 0.001  # share of explicit zeros up to which a table is taken to write down sales only
_MANY_GAPS = 0.2  # share of cells without a row from which gaps are taken to be the rule, not an accident


def fill_gaps(y: FloatMatrix, has_row: BoolMatrix, spec: DatasetSpec) -> tuple[str, tuple[Finding, ...]]:
    """Give cells without a row their meaning, in place.

    Under ``zero``, a cell after the first row of its series is 0 until the series has been silent for a year (two
    seasons, or the horizon, if longer): from there on nobody knows whether it still exists. Cells whose row told no
    value stay missing.

    Parameters
    ----------
    y : float64 ``[N, T]``, NaN where not observed.
    has_row : bool ``[N, T]``: a row was there, with or without a value.

    Returns
    -------
    (policy, findings) : ``zero`` or ``missing``, and what to tell.
    """
    n_periods = y.shape[1]
    first = has_row.argmax(1)
    last = n_periods - 1 - has_row[:, ::-1].argmax(1)
    n_cells = int((last - first + 1).sum())
    n_gaps = n_cells - int(np.count_nonzero(has_row))
    n_observed = int(np.count_nonzero(np.isfinite(y)))
    zero_share = np.count_nonzero(y == 0) / max(n_observed, 1)
    share = n_gaps / n_cells
    policy = spec.gaps
    if policy == "auto":
        policy = "zero" if zero_share <= _FEW_ZEROS and share > _MANY_GAPS else "missing"
    if policy == "zero":
        n_gaps = _zeros(y, has_row, _silence(spec))
    return policy, _told(spec, policy, n_gaps, n_gaps / y.size if policy == "zero" else share, zero_share)


def _silence(spec: DatasetSpec) -> int:
    frequency = spec.frequency
    return max(frequency.year_length, 2 * frequency.season_length, spec.horizon)


def _zeros(y: FloatMatrix, has_row: BoolMatrix, silence: int) -> int:
    """Fill, and say how many cells."""
    column = np.arange(y.shape[1], dtype=np.int32)
    # column of the latest row at or before each cell; far in the past where there is none
    latest = np.where(has_row, column, np.int32(-(2**30)))
    np.maximum.accumulate(latest, axis=1, out=latest)
    np.subtract(column, latest, out=latest)
    silent = (latest > 0) & (latest <= silence)
    y[silent] = 0.0
    return int(np.count_nonzero(silent))


def _why_missing(zero_share: float) -> str:
    return f"zeros are written ({zero_share:.1%})" if zero_share > _FEW_ZEROS else "gaps are rare"


def _told(spec: DatasetSpec, policy: str, n_gaps: int, share: float, zero_share: float) -> tuple[Finding, ...]:
    if not n_gaps:
        return ()
    why = "as the spec says"
    if spec.gaps == "auto":
        why = "the table writes no zeros" if policy == "zero" else _why_missing(zero_share)
    meaning = "no sales (0)" if policy == "zero" else "not known"
    place = "after the first row of their series" if policy == "zero" else "inside the series"
    text = f"{n_gaps} dates {place} have no row ({share:.1%}): taken as {meaning}; {why}"
    return (Finding("gaps", "repaired" if policy == "zero" else "info", text, n=n_gaps, share=share),)
