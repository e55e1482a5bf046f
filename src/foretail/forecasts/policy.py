"""What is done with series that no model can know: ended, never sold, too short; the only place that decides it.

| series | point forecast and quantiles | source |
|---|---|---|
| ended (`foretail.panel.segments`), unless what is known in advance says that it is back | 0 | ``fallback:ended`` |
| never sold anything, for longer than a new series can be that | 0 | ``fallback:never sold`` |
| fewer than 14 open days, 8 weeks or 3 months observed | model and borrowed, mixed | ``fallback:short history`` |
| never observed | borrowed | ``fallback:no history`` |
| all others | the model | ``model``, or the family's own fallback |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from foretail.forecasts.cold import ENOUGH, borrowed, own_periods, widened
from foretail.models.contract import Forecast
from foretail.models.intervals import Conformal, Size
from foretail.panel.panel import Panel
from foretail.panel.segments import segments

__all__ = [
    "ENDED",
    "MODEL_SHARE",
    "NEVER_SOLD",
    "SHORT",
    "calibrated",
    "is_back",
    "is_ended",
    "policy_rows",
    "with_intervals",
    "with_policies",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ENDED = "ended"
NEVER_SOLD = "never sold"
SHORT = "short history"
MODEL_SHARE = 0.75  # of the model in the answer of a short series; see `with_policies`


def calibrated(panel: Panel, point: Forecast, intervals: Conformal, levels: Sequence[float]) -> Forecast:
    """A model's forecast with calibrated intervals around it and the policies applied.

    Parameters
    ----------
    panel : N series that end at the cutoff. point : of the model. levels : of the answer, among those calibrated.
    """
    return with_policies(panel, with_intervals(point, Size.of(panel), intervals, levels, panel.spec.non_negative))


def with_intervals(
    point: Forecast, size: Size, intervals: Conformal, levels: Sequence[float], non_negative: bool
) -> Forecast:
    """A forecast with calibrated intervals in place of its own, at some levels of those calibrated."""
    every = intervals.quantiles(point.y_hat, size, point.width, non_negative=non_negative)
    index = [int(np.argmin(np.abs(np.array(intervals.levels) - level))) for level in levels]
    return replace(point, levels=tuple(levels), quantiles=every[..., index])


def policy_rows(panel: Panel) -> BoolArray:
    """bool ``[N]``: series whose answer may be another than the model's, whatever is known of their future."""
    return segments(panel).of("ended") | _is_short(panel)


def _is_short(panel: Panel) -> BoolArray:
    is_short: BoolArray = own_periods(panel) < ENOUGH[panel.frequency.code[0]]
    return is_short


def with_policies(panel: Panel, forecast: Forecast) -> Forecast:
    """A model's forecast with every ended, never sold and short series answered by its policy.

    A global model has seen other series begin, so it keeps three quarters of the answer of a short one; what the series
    itself sold weighs n / (n + k) in the level of the borrowed quarter (`foretail.forecasts.cold.borrowed`), and all of
    the answer is borrowed where the model gave up. ``python -m benchmarks.cold`` measures it.

    Parameters
    ----------
    panel : N series that end at the cutoff.
    forecast : of the model, with quantiles or without.

    Returns
    -------
    Forecast of the same shape; ``reasons`` name the policy of each series that has one.
    """
    ended = is_ended(panel)
    short = _is_short(panel) & ~ended
    return _none_sold(panel, _mixed(panel, forecast, np.flatnonzero(short)), np.flatnonzero(ended))


def _mixed(panel: Panel, forecast: Forecast, rows: IntArray) -> Forecast:
    if not len(rows):
        return forecast
    parts = [forecast.y_hat[:, :, None]]
    if forecast.quantiles is not None:
        parts.append(forecast.quantiles)
    values = np.concatenate(parts, axis=2)
    lent = borrowed(panel, values, rows)
    if lent is None:
        return forecast
    share = np.where(np.isin(rows, list(forecast.reasons)), 0.0, MODEL_SHARE)[:, None, None]
    mixed = share * values[rows] + (1.0 - share) * lent.values
    values[rows] = widened(mixed, lent.spread, forecast.levels) if forecast.quantiles is not None else mixed
    return _replaced(forecast, values, dict.fromkeys(rows.tolist(), SHORT))


def _none_sold(panel: Panel, forecast: Forecast, rows: IntArray) -> Forecast:
    if not len(rows):
        return forecast
    has_sold: BoolArray = np.any(np.abs(panel.y[rows]) > 0, axis=1, keepdims=True)
    names = np.where(has_sold[:, 0], ENDED, NEVER_SOLD).tolist()
    reasons = dict(zip(rows.tolist(), names, strict=True))
    y_hat = forecast.y_hat.copy()
    y_hat[rows] = 0.0
    quantiles = None if forecast.quantiles is None else forecast.quantiles.copy()
    if quantiles is not None:
        quantiles[rows] = 0.0
    return replace(forecast, y_hat=y_hat, quantiles=quantiles, reasons={**forecast.reasons, **reasons})


def _replaced(forecast: Forecast, values: FloatArray, reasons: dict[int, str]) -> Forecast:
    quantiles = None if forecast.quantiles is None else values[:, :, 1:]
    return replace(forecast, y_hat=values[:, :, 0], quantiles=quantiles, reasons={**forecast.reasons, **reasons})


def is_ended(panel: Panel) -> BoolArray:
    """bool ``[N]``: series that are answered with 0, since they ended and nothing says that they are back."""
    return segments(panel).of("ended") & ~is_back(panel)


def is_back(panel: Panel) -> BoolArray:
    """Series of which the future is told again after periods at the end of which nothing was told.

    A shop under repair has no rows; that a known covariate is given for it after the cutoff says that it opens again.
    """
    t = panel.n_periods
    back = np.zeros(panel.n_series, dtype=np.bool_)
    is_silent = panel.last < t - 1
    for item in panel.known:
        last = item.values[:, t - 1]
        back |= is_silent & np.isnan(last) & np.isfinite(item.values[:, t:]).any(1)
    return back
