"""Closed days told from zero sales: from the column that says so, or from a rule that the history shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Covariate
from foretail.panel.quality import Finding

__all__ = ["closed_days"]

FloatMatrix = npt.NDArray[np.float64]
BoolMatrix = npt.NDArray[np.bool_]
_MAX_VALUES = 10
_MIN_CASES = 30
_ALWAYS = 0.999
_ELSEWHERE = 0.5
_WEEKS = 8
_MAX_SHUT = 2  # a table with rows on fewer than five weekdays is sparse, not shut
_DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def closed_days(
    spec: DatasetSpec, known: tuple[Covariate, ...], y: FloatMatrix, has_row: BoolMatrix, start: int, h: int
) -> tuple[BoolMatrix, tuple[Finding, ...]]:
    """Which days the shop is known to be shut.

    Parameters
    ----------
    known : covariates, float32 ``[N, T + H]``.
    y : float64 ``[N, T]`` as told (before gaps are filled).
    has_row : bool ``[N, T]``.
    start : period index of column 0.

    Returns
    -------
    (closed, findings) : bool ``[N, T + H]``; every rule that was found rather than told is a finding.
    """
    closed = np.zeros((y.shape[0], y.shape[1] + h), dtype=np.bool_)
    if spec.open is not None:
        item = next(item for item in known if item.name == spec.open)
        closed |= item.values == _shut_code(item)
        return closed, _sold_though_closed(spec.open, closed, y)
    findings: list[Finding] = []
    for item in known:
        for value in _rules(item, y):
            closed |= item.values == value
            findings.append(_rule_found(item, value, y))
    weekdays, more = _shut_weekdays(spec, has_row, start, h)
    closed |= weekdays
    return closed, (*findings, *more)


def _shut_code(item: Covariate) -> float:
    """The value that says shut: 0, or the text "0"."""
    if not item.categories:
        return 0.0
    return float(item.categories.index("0")) if "0" in item.categories else -1.0


def _sold_though_closed(name: str, closed: BoolMatrix, y: FloatMatrix) -> tuple[Finding, ...]:
    shut = closed[:, : y.shape[1]]
    n = int(np.count_nonzero(shut & (np.nan_to_num(y) != 0)))
    if not n:
        return ()
    share = n / int(np.count_nonzero(shut))
    text = f"{n} days that {name} calls closed have sales: the values stay, forecasts on closed days are 0"
    return (Finding("sales_when_closed", "warning", text, n=n, share=share),)


def _rules(item: Covariate, y: FloatMatrix) -> list[float]:
    """Values of a covariate on which the target is always 0 though it seldom is otherwise."""
    values = item.values[:, : y.shape[1]]
    told = np.isfinite(values) & np.isfinite(y)
    zero = told & (y == 0)
    n_told, n_zero = int(np.count_nonzero(told)), int(np.count_nonzero(zero))
    if n_zero < _MIN_CASES * _ALWAYS:
        return []
    candidates = pl.Series(values[zero]).unique().sort().to_list()
    if len(candidates) > _MAX_VALUES or pl.Series(values[told]).n_unique() > _MAX_VALUES:
        return []
    found = []
    for value in candidates:
        here: BoolMatrix = np.asarray(values == np.float32(value)) & told
        n_here, n_shut = int(np.count_nonzero(here)), int(np.count_nonzero(here & zero))
        n_elsewhere = n_told - n_here
        if n_here < _MIN_CASES or n_shut < _ALWAYS * n_here or not n_elsewhere:
            continue
        if (n_zero - n_shut) / n_elsewhere < _ELSEWHERE:
            found.append(float(value))
    return found


def _rule_found(item: Covariate, value: float, y: FloatMatrix) -> Finding:
    n = int(np.count_nonzero((item.values[:, : y.shape[1]] == np.float32(value)) & np.isfinite(y)))
    label = item.categories[int(value)] if item.categories else f"{value:g}"
    text = f"sales are 0 in all {n} rows where {item.name} is {label}: these days are taken as closed"
    return Finding("closed_rule", "info", f"{text} (say it with open = ... in the spec)", n=n, examples=(item.name,))


def _shut_weekdays(
    spec: DatasetSpec, has_row: BoolMatrix, start: int, h: int
) -> tuple[BoolMatrix, tuple[Finding, ...]]:
    """Weekdays on which no series of a daily table ever has a row, while nearly all other dates have some."""
    n_periods = has_row.shape[1]
    none = np.zeros((1, n_periods + h), dtype=np.bool_)
    if not spec.frequency.is_daily or n_periods < 7 * _WEEKS:
        return none, ()
    weekday = (start + np.arange(n_periods + h) + 3) % 7  # 1970-01-01 was a Thursday; Monday = 0
    traded = np.asarray(has_row.any(axis=0))
    shut = [day for day in range(7) if not traded[weekday[:n_periods] == day].any()]
    others = traded[~np.isin(weekday[:n_periods], shut)]
    if not 1 <= len(shut) <= _MAX_SHUT or others.mean() < 0.9:
        return none, ()
    names = ", ".join(_DAYS[day] for day in shut)
    text = f"no series has a row on {names}: taken as closed"
    return np.isin(weekday, shut)[None, :], (Finding("closed_weekdays", "info", text, n=len(shut)),)
