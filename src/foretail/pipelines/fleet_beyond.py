"""Forecasts of some series of a fleet for other days than those that are stored; nothing is kept of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.result import NAIVE
from foretail.core.columns import DS, STEP, UNIQUE_ID
from foretail.core.frequency import Frequency
from foretail.forecasts.frame import forecast_frame
from foretail.models.contract import Forecast
from foretail.models.fallback import last_season
from foretail.models.families import make
from foretail.models.intervals import Size
from foretail.panel.panel import Panel
from foretail.pipelines.fleet_request import window_periods
from foretail.pipelines.fleet_walk import window_panel
from foretail.registry.fleet_bundle import FleetBundle

__all__ = ["Beyond", "fleet_beyond"]

_WEEKS = 8  # whose rhythm says which days a shop is shut
_USUAL = {"D": 28, "W": 52, "M": 12}  # periods after which what is known in advance is taken to come again


@dataclass(frozen=True)
class Beyond:
    """Forecasts, and what whoever reads them should know.

    Attributes
    ----------
    frame : ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version, source``.
    warnings : sentences.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...]


def fleet_beyond(bundle: FleetBundle, unique_ids: Sequence[str], until: dt.date) -> Beyond:
    """Forecast from the end of the bundle's sales up to a day.

    Parameters
    ----------
    unique_ids : of series that the bundle holds; others have no row in the answer.
    until : the last day, after the bundle's cutoff.
    """
    places = {name: row for row, name in enumerate(bundle.panel.unique_ids)}
    rows = np.array(sorted({places[name] for name in unique_ids if name in places}), dtype=np.int64)
    whole = bundle.panel.select(rows)
    h = int(whole.frequency.to_index(np.array(until, dtype="datetime64[D]"))) - whole.end
    panel = _reaching(whole, h)
    levels = bundle.info.levels
    forecast = _forecast(panel, bundle, bundle.answer[rows], h, levels)
    requested = pl.DataFrame(
        {
            UNIQUE_ID: panel.series[UNIQUE_ID].gather(np.repeat(np.arange(panel.n_series), h)),
            DS: np.tile(panel.future_dates(h), panel.n_series),
            STEP: np.tile(np.arange(1, h + 1), panel.n_series),
        }
    )
    frame = forecast_frame(panel, forecast, requested=requested, model="", model_version="", levels=levels)
    return Beyond(frame, _warnings(whole, bundle, h))


def _forecast(
    panel: Panel, bundle: FleetBundle, answer: npt.NDArray[np.int64], h: int, levels: tuple[float, ...]
) -> Forecast:
    """Every series by the recipe that answers it."""
    y_hat = np.zeros((panel.n_series, h))
    quantiles = np.zeros((panel.n_series, h, len(levels)))
    reasons: dict[int, str] = {}
    for code in np.unique(answer):
        rows = np.flatnonzero(answer == code)
        part, recipe = panel.select(rows), bundle.recipes[code]
        found = _of_recipe(part, recipe, h, bundle.info.seed)
        y_hat[rows] = found.y_hat
        quantiles[rows] = found.y_hat[..., None]
        intervals = bundle.intervals.get(recipe)
        if intervals is not None:
            laid = intervals.quantiles(found.y_hat, Size.of(part), found.width, non_negative=panel.spec.non_negative)
            index = [int(np.argmin(np.abs(np.array(intervals.levels) - level))) for level in levels]
            quantiles[rows] = laid[..., index]
        why = found.reasons if "@" in recipe else dict.fromkeys(range(len(rows)), recipe)
        reasons |= {int(rows[row]): reason for row, reason in why.items()}
    return Forecast(y_hat, levels, quantiles, reasons)


def _of_recipe(panel: Panel, recipe: str, h: int, seed: int) -> Forecast:
    """The forecast of a recipe such as ``prophet@120d``; the last season or nothing where no model answers."""
    family, at, last = recipe.rpartition("@")
    if not at:
        return Forecast(last_season(panel, h) if recipe == NAIVE else np.zeros((panel.n_series, h)))
    seen = window_panel(panel, window_periods(last, panel.frequency))
    seen = replace(seen, spec=seen.spec.but(horizon=h))
    return make(family, random_state=seed, n_threads=1).fit(seen, h).predict(seen, h)


def _reaching(panel: Panel, h: int) -> Panel:
    """The panel with so many future periods: shut as in the last weeks, covariates as they were some weeks before."""
    missing = h - panel.n_future
    if missing <= 0:
        return panel
    width = panel.closed.shape[1]
    closed = np.concatenate([panel.closed, _usually_closed(panel, missing)], axis=1)
    at = width + np.arange(missing)
    back = _usual(panel.frequency)
    source = np.clip(at - back * -(-(at - width + 1) // back), 0, width - 1)
    known = tuple(
        replace(item, values=np.concatenate([item.values, item.values[:, source]], axis=1)) for item in panel.known
    )
    return replace(panel, closed=closed, known=known)


def _usually_closed(panel: Panel, n: int) -> npt.NDArray[np.bool_]:
    """bool ``[N, n]``: shut on most of the last days like it; only daily sales know closed days by a rhythm."""
    width = panel.closed.shape[1]
    shut = np.zeros((panel.n_series, n), dtype=np.bool_)
    if not panel.frequency.is_daily or width < 7:
        return shut
    weeks = min(_WEEKS, width // 7)
    last = panel.closed[:, width - 7 * weeks :].reshape(panel.n_series, weeks, 7)
    result: npt.NDArray[np.bool_] = (last.mean(1) > 0.5)[:, np.arange(n) % 7]
    return result


def _usual(frequency: Frequency) -> int:
    return _USUAL[frequency.code[0]]


def _warnings(panel: Panel, bundle: FleetBundle, h: int) -> tuple[str, ...]:
    told = []
    names = [item.name for item in panel.known]
    if h > panel.n_future and names:
        reach = panel.dates(panel.n_periods + panel.n_future - 1, 1)[0]
        span = f"{_usual(panel.frequency)} {panel.frequency.noun}s"
        told.append(f"{', '.join(names)} after {reach}: taken as {span} before")
    if h > bundle.info.horizon:
        told.append(f"the interval beyond {bundle.info.horizon} steps is that of step {bundle.info.horizon}")
    return tuple(told)
