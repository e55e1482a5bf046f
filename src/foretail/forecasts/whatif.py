"""What series would sell if something else were known of their future: exactly, and mostly without a second forecast.

Whatever way is taken, the answer is that of a forecast of the whole panel with the changed values in it. Families whose
forecast of a series rests on its own rows are asked for these rows alone; where nothing shorter is exact (a family that
looks across series, a series that a fallback or a policy answers) the whole panel is forecast again. Changes are looked
at one by one (`WhatIf.answers`), or all at once as one plan (`WhatIf.together`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foretail.features.asof import reaching
from foretail.features.frame import Outlook
from foretail.features.plan import Plan
from foretail.forecasts.cold import shut_values
from foretail.forecasts.frame import source_of, within_rules
from foretail.forecasts.heeding import Reconciler
from foretail.forecasts.policy import calibrated, policy_rows, with_intervals
from foretail.models.again import FromOutlook, Mixes
from foretail.models.contract import Forecast, Forecaster
from foretail.models.intervals import Conformal, Size
from foretail.panel.panel import Covariate, Panel

__all__ = ["Answer", "Change", "WhatIf", "Whole"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answer:
    """The forecast of one series.

    Attributes
    ----------
    values : float64 ``[H, 1 + Q]`` point forecast and quantiles, in the unit of the target.
    source : ``model``, or ``fallback:<why>``.
    """

    values: FloatArray
    source: str


@dataclass(frozen=True)
class Whole:
    """A panel and what it is answered with.

    Attributes
    ----------
    panel : N series. forecast : of all of them, policies applied. point : what the model itself says of them.
    """

    panel: Panel
    forecast: Forecast
    point: Forecast


@dataclass(frozen=True)
class Change:
    """Other futures of n series; a series may come several times.

    Attributes
    ----------
    rows : ``[n]`` of the panel. ahead : the changed covariates, float32 ``[n, H]``. closed : bool ``[n, H]``.
    """

    rows: IntArray
    ahead: tuple[Covariate, ...]
    closed: BoolArray

    def __len__(self) -> int:
        return len(self.rows)

    def of_whole(self, panel: Panel, i: int) -> Panel:
        """The whole panel with the i-th change in it."""
        row, t = int(self.rows[i]), panel.n_periods
        closed = panel.closed.copy()
        closed[row, t:] = self.closed[i]
        other = {item.name: item.values[i] for item in self.ahead}
        return replace(panel, closed=closed, known=tuple(_placed(item, row, t, other) for item in panel.known))

    def of_all(self, panel: Panel) -> Panel:
        """The whole panel with every change in it; a series comes once."""
        closed = panel.closed.copy()
        closed[self.rows, panel.n_periods :] = self.closed
        other = {item.name: item.values for item in self.ahead}
        known = tuple(_placed(item, self.rows, panel.n_periods, other) for item in panel.known)
        return replace(panel, closed=closed, known=known)

    def alone(self, panel: Panel) -> Panel:
        """The panel of the n changed series only."""
        t, part = panel.n_periods, replace(panel, revisions=None).select(self.rows)
        other = {item.name: item.values for item in self.ahead}
        known = tuple(_placed(item, slice(None), t, other) for item in part.known)
        return replace(part, known=known, closed=np.concatenate([part.closed[:, :t], self.closed], axis=1))


class WhatIf:
    """Answers what single series would sell under another future; may be shared by threads.

    Parameters
    ----------
    panel : N series that end at the cutoff. model : fitted. h : steps. intervals, levels : as for the forecast itself.
    reconciled : makes the forecasts of the series heed those of levels above them; then a change of one series is heard
        by others, and every answer is that of the whole panel.

    Attributes
    ----------
    panel : with exactly h future periods. point : of the model, for the panel as it is: ``[N, H]``.
    forecast : the same reconciled, with its intervals and policies.
    """

    def __init__(
        self,
        panel: Panel,
        model: Forecaster,
        h: int,
        intervals: Conformal,
        levels: tuple[float, ...],
        reconciled: Reconciler | None = None,
    ):
        self.panel = reaching(panel, h)
        self._reconciled = reconciled
        self._model, self._h, self._intervals, self._levels = model, h, intervals, levels
        self._way = _way(model, self.panel, h, [])
        self.point = self._way.point
        self._size = Size.of(self.panel)
        self._has_policy = policy_rows(self.panel)
        self._shut = {item.name: _shut(self.panel, item) for item in self.panel.known}
        self.forecast = self._answered(self.panel, self.point)

    def as_it_is(self) -> tuple[FloatArray, list[str]]:
        """The forecast for what is known: ``[N, H, 1 + Q]`` and who answered each series."""
        values = _values(self.forecast, self.panel.closed[:, self.panel.n_periods :], self.panel)
        return values, [source_of(self.forecast, row) for row in range(self.panel.n_series)]

    def change(self, rows: Sequence[int], values: Sequence[Mapping[str, Mapping[int, float]]]) -> Change:
        """Other futures.

        Parameters
        ----------
        rows : n of the panel.
        values : for each, per known covariate ``{step: value}``, steps from 1; texts as their place among the
            categories. A value with which shops are always shut closes the period, and the other way round.
        """
        index, t = np.asarray(rows, dtype=np.int64), self.panel.n_periods
        names = dict.fromkeys(name for given in values for name in given)
        ahead = {name: self.panel.covariate(name).values[index, t:] for name in names}
        for i, given in enumerate(values):
            for name, of_step in given.items():
                ahead[name][i, np.fromiter(of_step, np.int64, len(of_step)) - 1] = list(of_step.values())
        return self.change_to(index, ahead)

    def change_to(self, rows: IntArray, ahead: Mapping[str, Float32Array]) -> Change:
        """Other futures, as float32 ``[n, H]`` of each known covariate that is another than the one told."""
        items = tuple(replace(self.panel.covariate(name), values=item) for name, item in ahead.items())
        return Change(rows, items, self._closed(rows, ahead))

    def _closed(self, rows: IntArray, ahead: Mapping[str, Float32Array]) -> BoolArray:
        """Closed periods of the future: those that no covariate explains, and those that one explains now."""
        t = self.panel.n_periods
        closed = self.panel.closed[rows, t:]
        if not any(len(self._shut[name]) for name in ahead):
            return closed
        telling = [item for item in self.panel.known if len(self._shut[item.name])]
        for item in telling:
            closed &= ~np.isin(item.values[rows, t:], self._shut[item.name])
        for item in telling:
            closed |= np.isin(ahead.get(item.name, item.values[rows, t:]), self._shut[item.name])
        return closed

    def answers(self, change: Change) -> list[Answer]:
        """The forecasts of the changed series, in their order."""
        point, is_exact = self._way.changed(change)
        rows = change.rows
        forecast = with_intervals(
            point, self._size.take(rows), self._intervals, self._levels, self.panel.spec.non_negative
        )
        values = _values(forecast, change.closed, self.panel)
        by_whole = ~is_exact | self._has_policy[rows] | (self._reconciled is not None)
        return [
            self._by_whole(change, i, point if is_exact[i] else None)
            if by_whole[i]
            else Answer(values[i], source_of(forecast, i))
            for i in range(len(rows))
        ]

    def together(self, change: Change) -> tuple[Panel, Forecast]:
        """The whole panel with all changes in it at once, and its forecast with intervals and policies.

        Parameters
        ----------
        change : each series once.
        """
        panel = change.of_all(self.panel)
        point, is_exact = self._way.changed(change)
        whole = (
            _all_exchanged(self.point, change.rows, point) if is_exact.all() else self._model.predict(panel, self._h)
        )
        return panel, self._answered(panel, whole)

    def whole(self, change: Change, i: int) -> Whole:
        """The whole panel with the i-th change in it, and its forecast with the policies applied, rules not yet."""
        point, is_exact = self._way.changed(change)
        row = int(change.rows[i])
        if is_exact[i] and not self._has_policy[row] and self._reconciled is None:
            plain = replace(self.forecast, levels=(), quantiles=None)
            made = _exchanged(plain, row, point, i)
            return Whole(change.of_whole(self.panel, i), made, made)
        return self._again(change, i, point if is_exact[i] else None)

    def _by_whole(self, change: Change, i: int, point: Forecast | None) -> Answer:
        """By a forecast of the whole panel; only its intervals and policies where the model's own part is known."""
        found = self._again(change, i, point)
        row, t = int(change.rows[i]), found.panel.n_periods
        values = _values(found.forecast, found.panel.closed[:, t:], found.panel)[row]
        return Answer(values, source_of(found.forecast, row))

    def _again(self, change: Change, i: int, point: Forecast | None) -> Whole:
        panel, row = change.of_whole(self.panel, i), int(change.rows[i])
        whole = self._model.predict(panel, self._h) if point is None else _exchanged(self.point, row, point, i)
        return Whole(panel, self._answered(panel, whole), whole)

    def _answered(self, panel: Panel, point: Forecast) -> Forecast:
        """A forecast of the model as it is answered: reconciled, with intervals and policies."""
        heeded = point if self._reconciled is None else self._reconciled(panel, point)
        return calibrated(panel, heeded, self._intervals, self._levels)


def _placed(item: Covariate, row: int | slice | IntArray, first: int, other: Mapping[str, Float32Array]) -> Covariate:
    """A covariate with other values of some series after the cutoff, if there are any."""
    if item.name not in other:
        return item
    values = item.values.copy()
    values[row, first:] = other[item.name]
    return replace(item, values=values)


def _shut(panel: Panel, item: Covariate) -> FloatArray:
    """Values with which a shop is always shut; of the column that says so, the one that says shut."""
    values = shut_values(panel, item.name)
    if item.name != panel.spec.open:
        return values
    told = item.categories.index("0") if "0" in item.categories else -1 if item.categories else 0
    return np.union1d(values, [float(told)])


def _values(forecast: Forecast, closed: BoolArray, panel: Panel) -> FloatArray:
    """``[n, H, 1 + Q]`` within the rules that no model can break."""
    assert forecast.quantiles is not None  # noqa: S101  (intervals were laid around it)
    values = np.concatenate([forecast.y_hat[..., None], forecast.quantiles], axis=2)
    return within_rules(values, closed, panel.spec)


def _exchanged(whole: Forecast, row: int, part: Forecast, i: int) -> Forecast:
    """The forecast of all series with that of one of them exchanged for the i-th of others."""
    y_hat, quantiles = whole.y_hat.copy(), whole.quantiles
    y_hat[row] = part.y_hat[i]
    if quantiles is not None and part.quantiles is not None:
        quantiles = quantiles.copy()
        quantiles[row] = part.quantiles[i]
    reasons = {other: why for other, why in whole.reasons.items() if other != row}
    if i in part.reasons:
        reasons[row] = part.reasons[i]
    return replace(whole, y_hat=y_hat, quantiles=quantiles, reasons=reasons)


def _all_exchanged(whole: Forecast, rows: IntArray, part: Forecast) -> Forecast:
    """The forecast of all series with those of some of them exchanged."""
    y_hat, quantiles = whole.y_hat.copy(), whole.quantiles
    y_hat[rows] = part.y_hat
    if quantiles is not None and part.quantiles is not None:
        quantiles = quantiles.copy()
        quantiles[rows] = part.quantiles
    changed = frozenset(rows.tolist())
    reasons = {row: why for row, why in whole.reasons.items() if row not in changed}
    reasons |= {int(rows[i]): why for i, why in part.reasons.items()}
    return replace(whole, y_hat=y_hat, quantiles=quantiles, reasons=reasons)


# how a model is asked again


class _Way(Protocol):
    """A model that can be asked again.

    ``point`` is its forecast of the panel as it is. ``changed`` is that of n changed series, and bool ``[n]`` which of
    them are exactly what a forecast of the whole panel would hold.
    """

    point: Forecast

    def changed(self, change: Change) -> tuple[Forecast, BoolArray]: ...


class _ByRows:
    """The rows of the series alone, from the outlook of the whole panel."""

    def __init__(self, model: FromOutlook, outlook: Outlook):
        self._model, self._outlook = model, outlook
        self.point = model.predict_from(outlook)

    def changed(self, change: Change) -> tuple[Forecast, BoolArray]:
        found = self._model.predict_from(self._outlook.only(change.rows, change.ahead, change.closed))
        is_exact = np.ones(len(change), dtype=np.bool_)
        is_exact[list(found.reasons)] = False  # the spread of a fallback's series is borrowed from all others
        return found, is_exact


class _Alone:
    """A model per series: the panel of the series alone."""

    def __init__(self, model: Forecaster, panel: Panel, h: int):
        self._model, self._panel, self._h = model, panel, h
        self.point = model.predict(panel, h)

    def changed(self, change: Change) -> tuple[Forecast, BoolArray]:
        found = self._model.predict(change.alone(self._panel), self._h)
        return found, np.ones(len(change), dtype=np.bool_)


class _Unmoved:
    """A model that does not look at what is known of the future."""

    def __init__(self, model: Forecaster, panel: Panel, h: int):
        self.point = model.predict(panel, h)

    def changed(self, change: Change) -> tuple[Forecast, BoolArray]:
        return _of_rows(self.point, change.rows), np.ones(len(change), dtype=np.bool_)


class _Whole:
    """A model that is asked for everything or not at all."""

    def __init__(self, model: Forecaster, panel: Panel, h: int):
        self.point = model.predict(panel, h)

    def changed(self, change: Change) -> tuple[Forecast, BoolArray]:
        return _of_rows(self.point, change.rows), np.zeros(len(change), dtype=np.bool_)


class _Mixed:
    """A mixture, each member its own way."""

    def __init__(self, model: Mixes, ways: Mapping[str, _Way], panel: Panel):
        self._model, self._ways, self._panel = model, ways, panel
        self.point = model.mixed({name: way.point for name, way in ways.items()}, panel)

    def changed(self, change: Change) -> tuple[Forecast, BoolArray]:
        found = {name: way.changed(change) for name, way in self._ways.items()}
        is_exact = np.logical_and.reduce([exact for _, exact in found.values()])
        panel = replace(self._panel, revisions=None).select(change.rows)
        return self._model.mixed({name: part for name, (part, _) in found.items()}, panel), is_exact


def _of_rows(forecast: Forecast, rows: IntArray) -> Forecast:
    """The forecasts of some series, of which one may come several times."""
    reasons = {i: forecast.reasons[row] for i, row in enumerate(rows.tolist()) if row in forecast.reasons}
    quantiles = None if forecast.quantiles is None else forecast.quantiles[rows]
    return replace(forecast, y_hat=forecast.y_hat[rows], quantiles=quantiles, reasons=reasons)


def _way(model: Forecaster, panel: Panel, h: int, outlooks: list[tuple[Plan, Outlook]]) -> _Way:
    """The shortest exact way to ask a model again; members with the same plan share an outlook."""
    if isinstance(model, Mixes):
        return _mixed(model, panel, h, outlooks)
    if not model.tags.covariates:
        return _Unmoved(model, panel, h)
    plan = model.outlook_plan() if isinstance(model, FromOutlook) else None
    if isinstance(model, FromOutlook) and plan is not None:
        outlook = next((made for known, made in outlooks if known == plan), None)
        if outlook is None:
            outlook = Outlook.of(panel, plan, h)
            outlooks.append((plan, outlook))
        return _ByRows(model, outlook)
    return _Alone(model, panel, h) if model.tags.local else _Whole(model, panel, h)


def _mixed(model: Mixes, panel: Panel, h: int, outlooks: list[tuple[Plan, Outlook]]) -> _Way:
    """Each member its own way; where one fails, the mixture itself says what becomes of that."""
    try:
        ways = {name: _way(member, panel, h, outlooks) for name, member in model.members_.items()}
    except Exception as failure:  # a member may fail in any way of its own, and a mixture may go on without it
        logger.warning("a member of the mixture failed, what-ifs forecast everything again: %s", failure)
        return _Whole(_forecaster(model), panel, h)
    return _Mixed(model, ways, panel)


def _forecaster(model: Mixes) -> Forecaster:
    if not isinstance(model, Forecaster):
        raise TypeError(f"{type(model).__name__} is no Forecaster")
    return model
