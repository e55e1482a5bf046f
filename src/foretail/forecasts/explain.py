"""Why a forecast is what it is: additive parts in the unit of the target, by group, from the usual sales of the series.

What a plan adds (promotion, price, whatever else is known in advance) is measured: the same model forecasts the same
future with these columns at their usual values, and the difference is the part. Where several groups are unusual at
once, each gets the mean of what it adds when they are set one after the other, forwards and backwards; for two groups
that is their Shapley value. The forecast of the usual future is then taken apart by the family itself, see
`Forecaster.contributions`. The rule that turns logs into sales is in `foretail.models.contributions`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import UsageError
from foretail.features.asof import reaching
from foretail.features.frame import Outlook
from foretail.features.groups import CLOSED, FALLBACK, GROUPS, LEVEL, OTHER
from foretail.features.plan import Plan
from foretail.forecasts.policy import with_policies
from foretail.forecasts.usual import forecast_under, unusual, usual_future
from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster
from foretail.models.contributions import FLOOR, Contributions, Term, usual_sales
from foretail.panel.panel import Panel

__all__ = ["Explainer", "Explanation", "explain"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_ROUNDING = 1e-6  # share of a forecast up to which a remainder is rounding, and counts to the level
_REMAINDER = Term("not explained", OTHER)
_AS_USUAL = "known columns as usual"
_AGREEMENT = Term("agreement with the levels", OTHER)  # what heeding the levels above the series adds
_Columns = dict[Term, FloatArray]


@dataclass(frozen=True)
class Explanation:
    """Parts of n forecasts.

    Attributes
    ----------
    groups : the G groups, `foretail.features.groups.GROUPS`, always all of them and in this order.
    parts : ``[n, G]`` in the unit of the target. base : ``[n]`` usual sales of the series: the mean of its open periods
        of the last year. y_hat : ``[n]`` the forecast as it is answered; base and parts add up to it.
    reasons : n texts: "" for a forecast of the model itself, ``closed``, or ``fallback:why``; then the one part that is
        not 0 is that of its group.
    features : ``row`` (0..n-1), ``feature``, ``group``, ``part``: what the parts are sums of, largest first; parts of
        exactly 0 are left out.
    """

    groups: tuple[str, ...]
    parts: FloatArray
    base: FloatArray
    y_hat: FloatArray
    reasons: tuple[str, ...]
    features: pl.DataFrame


class Explainer:
    """Takes forecasts of one model from one panel apart; what rests on the history is computed once.

    May be shared by threads: the first call of each is slower.

    Parameters
    ----------
    model : fitted. panel : ends at the cutoff; its spec says the horizon.
    forecast : ``with_policies(panel, model.predict(panel, horizon))`` where it is known already; else it is made.
    point : what the model itself says, where ``forecast`` heeds levels above the series and is another.
    """

    def __init__(
        self, model: Forecaster, panel: Panel, forecast: Forecast | None = None, point: Forecast | None = None
    ):
        self._model, self._h = model, panel.spec.horizon
        self._panel = reaching(panel, self._h)
        self._forecast = forecast or with_policies(panel, model.predict(panel, self._h))
        self._point = point or self._forecast
        self._outlooks: list[tuple[Plan, Outlook]] = []

    def explain(self, rows: IntArray, steps: IntArray) -> Explanation:
        """Take some forecasts apart.

        Parameters
        ----------
        rows, steps : ``[n]`` series and step (1..horizon) of each forecast; any order, repetitions allowed.

        Raises
        ------
        UsageError : a series that is not in the panel, a step outside the horizon, or not as many steps as series.
        """
        panel = self._panel
        rows, steps = np.asarray(rows, dtype=np.int64), np.asarray(steps, dtype=np.int64)
        _check(panel, self._h, rows, steps)
        base = usual_sales(panel, rows)
        closed = np.asarray(panel.closed[rows, panel.n_periods - 1 + steps])
        made = self._forecast.y_hat[rows, steps - 1]
        y_hat = np.where(closed, 0.0, np.maximum(made, 0.0) if panel.spec.non_negative else made)
        reasons = _reasons(self._forecast, rows, closed)
        columns: _Columns = {}
        own = np.flatnonzero([not reason for reason in reasons])
        if len(own):
            asked = Asked(panel, self._h, rows[own], steps[own], outlooks=self._outlooks)
            said = self._point.y_hat[rows[own], steps[own] - 1]
            columns = _explained(self._model, asked, said)
            _add(columns, _AGREEMENT, made[own] - said)
            columns = _spread(columns, own, len(rows))
            _add(columns, FLOOR, np.where([bool(reason) for reason in reasons], 0.0, y_hat - made))
        for group in (CLOSED, FALLBACK):
            told = np.array([reason.partition(":")[0] == group for reason in reasons], dtype=np.bool_)
            _add(columns, Term(group, group), np.where(told, y_hat - base, 0.0))
        return _explanation(columns, base, y_hat, reasons)


def explain(
    model: Forecaster, panel: Panel, rows: IntArray, steps: IntArray, *, forecast: Forecast | None = None
) -> Explanation:
    """Take some forecasts apart, see `Explainer`.

    Raises
    ------
    UsageError : see `Explainer.explain`.
    """
    return Explainer(model, panel, forecast).explain(rows, steps)


def _check(panel: Panel, h: int, rows: IntArray, steps: IntArray) -> None:
    if rows.shape != steps.shape or rows.ndim != 1:
        raise UsageError(
            f"{rows.shape} series and {steps.shape} steps are no list of forecasts.\n  where: explain"
            "\n  fix:   one step per series, both as lists of the same length"
        )
    if ((rows < 0) | (rows >= panel.n_series)).any():
        raise UsageError(
            f"there is no such series: rows are 0 to {panel.n_series - 1}.\n  where: explain, rows {rows[:5].tolist()}"
            "\n  fix:   the position of a series in the panel"
        )
    if ((steps < 1) | (steps > h)).any():
        raise UsageError(
            f"a step outside the horizon: 1 to {h}.\n  where: explain, steps {steps[:5].tolist()}"
            "\n  fix:   a date within the horizon"
        )


def _reasons(forecast: Forecast, rows: IntArray, closed: BoolArray) -> tuple[str, ...]:
    told = [f"{FALLBACK}:{forecast.reasons[row]}" if row in forecast.reasons else "" for row in rows.tolist()]
    return tuple(CLOSED if shut else reason for shut, reason in zip(closed.tolist(), told, strict=True))


def _explained(model: Forecaster, told: Asked, y_hat: FloatArray) -> _Columns:
    """The parts ``[R]`` of forecasts ``y_hat [R]`` that the model itself made."""
    panel, series = told.panel, told.series
    plans = unusual(panel, series)

    def with_plans(groups: Collection[str]) -> Asked:
        """The columns of these groups as told, those of the others as usual."""
        others = [name for group, names in plans.items() if group not in groups for name in names]
        return told.with_future(usual_future(panel, series, others))

    usual = model.contributions(with_plans(()))
    columns = _columns(usual, frozenset(item.name for item in panel.known))
    added = _added(tuple(plans), y_hat, usual.y_hat, lambda groups: forecast_under(model, with_plans(groups)))
    for group, part in added.items():
        _add(columns, Term(", ".join(plans[group]), group), part)
    if not usual.fallback.any():
        return columns
    # where the model gives up on the usual future there is no difference to speak of
    return _replaced(columns, _columns(model.contributions(told), frozenset()), usual.fallback)


def _added(
    order: tuple[str, ...], told: FloatArray, usual: FloatArray, forecast: Callable[[frozenset[str]], FloatArray]
) -> dict[str, FloatArray]:
    """What each group adds to the usual forecast, ``[R]``: the mean over the order of the groups and its reverse."""
    added = {group: np.zeros_like(told) for group in order}
    values = {frozenset[str](): usual, frozenset(order): told}
    for way in (order, order[::-1]):
        before = usual
        for n, group in enumerate(way, start=1):
            key = frozenset(way[:n])
            if key not in values:
                values[key] = forecast(key)
            added[group] += _unless_rounding(values[key] - before, told) / 2
            before = values[key]
    return added


def _unless_rounding(difference: FloatArray, y_hat: FloatArray) -> FloatArray:
    return np.where(np.abs(difference) <= _ROUNDING * np.abs(y_hat), 0.0, difference)


def _columns(found: Contributions, known: frozenset[str]) -> _Columns:
    """Terms with their parts; those of ``known`` columns become one of the level, as they are at their usual values."""
    columns: _Columns = {}
    for position, term in enumerate(found.terms):
        _add(columns, Term(_AS_USUAL, LEVEL) if term.source in known else term, found.parts[:, position])
    return columns


def _add(columns: _Columns, term: Term, part: FloatArray) -> None:
    columns[term] = columns[term] + part if term in columns else part


def _replaced(columns: _Columns, others: _Columns, rows: BoolArray) -> _Columns:
    """Columns with some rows taken from others."""
    nothing = np.zeros(len(rows))
    return {
        term: np.where(rows, others.get(term, nothing), columns.get(term, nothing)) for term in {**columns, **others}
    }


def _spread(columns: _Columns, at: IntArray, n: int) -> _Columns:
    """Columns of some of n rows as columns of all, 0 elsewhere."""
    spread: _Columns = {}
    for term, part in columns.items():
        spread[term] = np.zeros(n)
        spread[term][at] = part
    return spread


def _explanation(columns: _Columns, base: FloatArray, y_hat: FloatArray, reasons: tuple[str, ...]) -> Explanation:
    """Close the sum, add up by group, and list the features."""
    rest = y_hat - base - sum(columns.values())
    is_rounding = np.abs(rest) <= _ROUNDING * np.maximum(np.abs(y_hat), np.abs(base))
    _add(columns, _REMAINDER, np.where(is_rounding, 0.0, rest))
    terms, parts = tuple(columns), np.column_stack([*columns.values()])
    by_group = np.column_stack([parts[:, [term.group == group for term in terms]].sum(axis=1) for group in GROUPS])
    by_group[:, GROUPS.index(LEVEL)] += np.where(is_rounding, rest, 0.0)
    return Explanation(GROUPS, by_group, base, y_hat, reasons, _features(terms, parts))


def _features(terms: tuple[Term, ...], parts: FloatArray) -> pl.DataFrame:
    row, column = np.nonzero(parts)
    return pl.DataFrame(
        {
            "row": row,
            "feature": np.array([term.name for term in terms])[column],
            "group": np.array([term.group for term in terms])[column],
            "part": parts[row, column],
        },
        schema={"row": pl.Int64, "feature": pl.String, "group": pl.String, "part": pl.Float64},
    ).sort("row", pl.col("part").abs(), descending=[False, True], maintain_order=True)
