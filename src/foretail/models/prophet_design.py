"""What Prophet fits: scaled values, scaled time, changepoints, and the columns of seasons, holidays and covariates.

Follows the library column by column: Fourier terms of the day number, 0/1 columns per holiday name, regressors
standardised unless they are 0/1, changepoints on evenly spaced observations. What differs is said in `Prophet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foretail.models.prophet_layout import WEEKDAYS, Layout
from foretail.models.prophet_options import Options

__all__ = ["Design", "Values", "build_design", "values_of"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_WEEKLY_DAYS = 14  # the library's bound below which a series has no weekly terms
_FEW_ZEROS = 0.01  # share of open periods without sales up to which logs are taken and the zeros left out
_ABSENT = 2.0  # scaled time of a changepoint that a short series does not have: after the end


@dataclass(frozen=True)
class Values:
    """The values to fit of B series on T periods.

    Attributes
    ----------
    z : ``[B, T]`` what the model explains, scaled by its largest absolute value; 0 where not used.
    used : bool ``[B, T]``. is_log : bool ``[B]``. unit : ``[B]`` median sales, 1 without logs. scale : ``[B]``.
    """

    z: FloatArray
    used: BoolArray
    is_log: BoolArray
    unit: FloatArray
    scale: FloatArray

    @property
    def n(self) -> IntArray:
        """``[B]`` observations used."""
        n: IntArray = self.used.sum(1)
        return n

    def take(self, rows: IntArray | slice) -> Values:
        """Some series only."""
        return Values(*(item[rows] for item in vars(self).values()))

    def restored(self, z: FloatArray) -> FloatArray:
        """Scaled values ``[B, ...]`` in the unit of the target; with logs a mean becomes a median."""
        shape = (-1,) + (1,) * (z.ndim - 1)
        scaled = z * self.scale.reshape(shape)
        with np.errstate(over="ignore"):
            sales: FloatArray = np.where(self.is_log.reshape(shape), np.exp(scaled), scaled)
            return sales * self.unit.reshape(shape)


@dataclass(frozen=True)
class Design:
    """The columns of B series on T + H periods.

    Attributes
    ----------
    columns : ``[B, 2 + K + S, T + H]``: time (0 at the first and 1 at the last observation; 0 for flat growth), 1, then
        yearly and weekly terms, holidays and covariates (0 where they say nothing in the history of a series), then
        time since each changepoint. All are 0 in the periods of the history that are not used.
    n_regressors : K. n_changepoints : ``[B]`` that exist; the others lie after the end.
    step : ``[B]`` scaled time per period of the horizon.
    """

    columns: FloatArray
    n_regressors: int
    n_changepoints: IntArray
    step: FloatArray

    @property
    def x(self) -> FloatArray:
        """``[B, K, T + H]`` all but the trend."""
        return self.columns[:, 2 : 2 + self.n_regressors]

    def after(self, n_periods: int) -> Design:
        """A copy with the columns of the horizon alone, ``[B, 2 + K + S, H]``."""
        return replace(self, columns=self.columns[..., n_periods:].copy())


def values_of(y: FloatArray, closed: BoolArray, options: Options) -> Values:
    """Open, observed periods, in logs where that suits the series.

    Parameters
    ----------
    y : ``[B, T]``, NaN = not observed. closed : bool ``[B, T]``, left out of the fit.
    """
    used = np.isfinite(y) & ~closed
    n = used.sum(1)
    is_log = _suits_logs(y, used, n, options)
    used &= ~is_log[:, None] | (np.nan_to_num(y) > 0)
    unit = np.where(is_log, _median(y, used), 1.0)
    z = np.where(used, y, 1.0) / unit[:, None]
    z = np.where(is_log[:, None], np.log(np.where(is_log[:, None], z, 1.0)), z)
    z = np.where(used, z, 0.0)
    scale = np.abs(z).max(1, initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)
    return Values(z / scale[:, None], used, is_log, unit, scale)


def _suits_logs(y: FloatArray, used: BoolArray, n: IntArray, options: Options) -> BoolArray:
    if not options.may_use_logs:
        return np.zeros(len(y), dtype=np.bool_)
    known = np.where(used, y, 0.0)
    n_positive = (known > 0).sum(1)
    suits: BoolArray = (n_positive > 0) & (known >= 0).all(1)
    if options.transform == "auto":
        suits &= n - n_positive <= _FEW_ZEROS * n
    return suits


def _median(y: FloatArray, used: BoolArray) -> FloatArray:
    """Median ``[B]`` of the values used; 1 where there are none. One of the values, so that nothing overflows."""
    ordered = np.sort(np.where(used, y, np.inf), axis=1)
    middle = np.maximum(used.sum(1) - 1, 0) // 2
    median: FloatArray = np.take_along_axis(ordered, middle[:, None], 1)[:, 0]
    return np.where(np.isfinite(median), median, 1.0)


def build_design(values: Values, known: tuple[Float32Array, ...], layout: Layout) -> Design:
    """The design of series that each have at least two observations.

    Parameters
    ----------
    known : float32 ``[B, T + H]`` for each of ``layout.covariates``.
    """
    order = np.argsort(~values.used, axis=1, kind="stable")  # the columns used come first, in order
    row, n = np.arange(len(order)), values.n
    first, last = layout.days[order[:, 0]], layout.days[order[row, n - 1]]
    span = np.maximum(last - first, 1).astype(np.float64)
    t = (layout.days - first[:, None]) / span[:, None]
    points, n_points = _changepoints(t, order, n, layout.options)
    end = 2 + layout.n_columns
    columns = np.empty((len(t), end + points.shape[1], t.shape[1]))
    columns[:, 0] = 0.0 if layout.options.growth == "flat" else t
    columns[:, 1] = 1.0
    _fill_regressors(columns[:, 2:end], values, known, layout, last - first)
    np.subtract(t[:, None], points[..., None], out=columns[:, end:])
    np.maximum(columns[:, end:], 0.0, out=columns[:, end:])
    columns[..., : layout.n_periods] *= values.used[:, None]
    return Design(columns, layout.n_columns, n_points, layout.step_days / span)


def _fill_regressors(
    x: FloatArray, values: Values, known: tuple[Float32Array, ...], layout: Layout, span: IntArray
) -> None:
    """Write seasons, holidays and covariates into ``[B, K, T + H]``, in this order."""
    weekly, holidays = 2 * layout.yearly, 2 * (layout.yearly + layout.weekly)
    x[:, :holidays] = layout.seasons.T
    x[span < layout.options.yearly_from_days, :weekly] = 0.0
    x[~_has_weeks(values, span, layout), weekly:holidays] = 0.0
    column = holidays + len(layout.holiday_names)
    x[:, holidays:column] = layout.holidays.T
    for item, (_, n_texts) in zip(known, layout.covariates, strict=True):
        for part in _covariate(item, n_texts, values.used, layout):
            x[:, column] = _standardised(part, values.used)
            column += 1


def _has_weeks(values: Values, span: IntArray, layout: Layout) -> BoolArray:
    """Whether a series gets weekly terms: always when asked for, else with two weeks of days less than a week apart."""
    if layout.options.weekly_seasonality != "auto":
        return np.ones(len(span), dtype=np.bool_)
    return (span >= _WEEKLY_DAYS) & _has_near_days(values.used)


def _has_near_days(used: BoolArray) -> BoolArray:
    """Whether two observations are less than a week apart."""
    near = np.zeros(len(used), dtype=np.bool_)
    for lag in range(1, 7):
        near |= (used[:, lag:] & used[:, : used.shape[1] - lag]).any(1)
    return near


def _covariate(item: Float32Array, n_texts: int, used: BoolArray, layout: Layout) -> Iterator[FloatArray]:
    """A number as one column, and by weekday where it is a flag; a text as a flag for each of its values.

    ``[B, T + H]`` each; 0 for the weekdays of a series whose number is no flag.
    """
    for code in range(n_texts):
        yield np.asarray(item == np.float32(code)).astype(np.float64)
    if n_texts:
        return
    column = item.astype(np.float64)
    yield column
    if len(layout.weekday):
        flag = np.where(_is_flag(column[:, : used.shape[1]], used)[:, None], column, 0.0)
        for weekday in range(WEEKDAYS):
            yield flag * (layout.weekday == weekday)


def _is_flag(history: FloatArray, used: BoolArray) -> BoolArray:
    """Whether every known value of the history is 0 or 1."""
    told = used & np.isfinite(history)
    flag: BoolArray = (~told | (history == 0) | (history == 1)).all(1)
    return flag


def _standardised(column: FloatArray, used: BoolArray) -> FloatArray:
    """Mean 0 and deviation 1 over the history unless 0/1; unknown values are the mean, constants become 0."""
    n_periods = used.shape[1]
    history = column[:, :n_periods]
    if not column.any():  # the weekdays of a number that is no flag
        return np.zeros_like(column)
    if np.isfinite(column).all() and _is_flag(history, used).all():  # most columns: the same, without the moments
        is_on = history > 0
        varies: BoolArray = np.logical_and((used & is_on).any(1), (used & ~is_on).any(1)).reshape(-1, 1)
        return np.where(varies, column, 0.0)
    told = used & np.isfinite(history)
    n = np.maximum(told.sum(1), 1)
    kept = np.where(told, history, 0.0)
    mean = kept.sum(1) / n
    # a constant has no deviation, whatever rounding says
    low, high = np.where(told, history, np.inf).min(1), np.where(told, history, -np.inf).max(1)
    deviation = np.sqrt((np.where(told, history - mean[:, None], 0.0) ** 2).sum(1) / np.maximum(n - 1, 1))
    is_flag = _is_flag(history, used)
    centre = np.where(is_flag, 0.0, mean)
    spread = np.where(is_flag | (deviation == 0), 1.0, deviation)
    filled = np.where(np.isfinite(column), column, mean[:, None])
    return np.where((high > low)[:, None], (filled - centre[:, None]) / spread[:, None], 0.0)


def _changepoints(t: FloatArray, order: IntArray, n: IntArray, options: Options) -> tuple[FloatArray, IntArray]:
    """Evenly spaced observations of the first part of the history, fewer in a short one; none for flat growth."""
    most = 0 if options.growth == "flat" else options.n_changepoints
    n_first = np.floor(n * options.changepoint_range).astype(np.int64)
    count = np.clip(n_first - 1, 0, most)
    place = np.arange(1, most + 1)
    position = np.rint(place * ((n_first - 1) / np.maximum(count, 1))[:, None]).astype(np.int64)
    column = np.take_along_axis(order, np.clip(position, 0, (n - 1)[:, None]), 1)
    return np.where(place <= count[:, None], np.take_along_axis(t, column, 1), _ABSENT), count
