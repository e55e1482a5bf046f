"""The same future without anything unusual, no promotion and the usual price: to measure what a plan adds."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from foretail.features.groups import covariate_groups
from foretail.models.again import FromOutlook, Mixes
from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster
from foretail.panel.panel import Covariate, Panel

__all__ = ["forecast_under", "unusual", "usual_future"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MAX_VALUES = 6  # with more values in the last year of a series a number is a quantity, and the median is usual


def unusual(panel: Panel, series: IntArray) -> dict[str, tuple[str, ...]]:
    """Known covariates that differ from their usual value somewhere in the future of some series, by group.

    Parameters
    ----------
    series : rows of the panel.
    """
    groups = covariate_groups(panel)
    found: dict[str, list[str]] = {}
    for item in panel.known:
        told = item.values[series, panel.n_periods :]
        if (np.isfinite(told) & (told != _usual(item, panel, series)[:, None])).any():
            found.setdefault(groups[item.name], []).append(item.name)
    return {group: tuple(names) for group, names in found.items()}


def usual_future(panel: Panel, series: IntArray, names: Collection[str]) -> tuple[Covariate, ...]:
    """Some known covariates at their usual value in the whole future of some series.

    The usual value of a series is the most frequent one of its open periods of the last year; the median where the
    covariate is a quantity. What is not known of the future stays unknown, and what has no usual value as it is told.

    Parameters
    ----------
    series : S rows of the panel. names : of known covariates.

    Returns
    -------
    The covariates with float32 ``[S, H]`` values after the cutoff.
    """
    return tuple(_as_usual(item, panel, series) for item in panel.known if item.name in names)


def forecast_under(model: Forecaster, asked: Asked) -> FloatArray:
    """``[R]`` what a model forecasts under the future that is asked about, by the shortest way that it knows."""
    try:
        y_hat = _forecast(model, asked).y_hat
    except Exception as failure:  # a member may fail in any way of its own, and its mixture may go on without it
        if not isinstance(model, Mixes):
            raise
        logger.warning("a member of the mixture failed, everything is forecast again: %s", failure)
        y_hat = model.predict(asked.whole, asked.h).y_hat[asked.series]
    return y_hat[asked.place, asked.steps - 1]


def _forecast(model: Forecaster, asked: Asked) -> Forecast:
    """Of the S series."""
    if isinstance(model, Mixes):
        return model.mixed({name: _forecast(member, asked) for name, member in model.members_.items()}, asked.alone)
    plan = model.outlook_plan() if isinstance(model, FromOutlook) else None
    if isinstance(model, FromOutlook) and plan is not None:
        return model.predict_from(asked.outlook(plan))
    if model.tags.local:
        return model.predict(asked.alone, asked.h)
    return model.predict(asked.whole, asked.h).select(asked.series)


def _as_usual(item: Covariate, panel: Panel, series: IntArray) -> Covariate:
    told = item.values[series, panel.n_periods :]
    return replace(item, values=np.where(np.isfinite(told), _usual(item, panel, series)[:, None], told))


def _usual(item: Covariate, panel: Panel, series: IntArray) -> Float32Array:
    """``[series]``; what is told of the first step where the last year says nothing."""
    t = panel.n_periods
    year = slice(max(0, t - panel.frequency.year_length), t)
    values = np.where(panel.closed[series, year], np.float32(np.nan), item.values[series, year])
    ordered = np.sort(values, axis=1)  # NaN last
    known = np.isfinite(ordered)
    is_new = known & (np.diff(ordered, axis=1, prepend=np.float32(np.nan)) != 0)
    few = is_new.sum(axis=1) <= _MAX_VALUES
    usual = np.where(few | bool(item.categories), _most_frequent(ordered, is_new, known), _median(ordered, known))
    told = item.values[series, t] if item.values.shape[1] > t else usual
    return np.asarray(np.where(known.any(axis=1), usual, told), dtype=np.float32)


def _most_frequent(ordered: Float32Array, is_new: BoolArray, known: BoolArray) -> Float32Array:
    """``[N]`` the value with the longest run in each ascending row, the smaller one of two."""
    position = np.arange(ordered.shape[1])
    begin = np.maximum.accumulate(np.where(is_new, position, 0), axis=1)
    run = np.where(known, position - begin + 1, 0)
    found: Float32Array = ordered[np.arange(len(ordered)), run.argmax(axis=1)]
    return found


def _median(ordered: Float32Array, known: BoolArray) -> Float32Array:
    """``[N]`` lower median of each ascending row, one of its values."""
    middle = np.maximum(known.sum(axis=1) - 1, 0) // 2
    median: Float32Array = ordered[np.arange(len(ordered)), middle]
    return median
