"""Forecasts of some series by the Prophet model: values, design, fit, law of the future, and back to sales."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.models.fallback import EXPLODED
from foretail.models.prophet_design import Design, Values, build_design, values_of
from foretail.models.prophet_lasso import Prior, combine
from foretail.models.prophet_law import deviations
from foretail.models.prophet_layout import Layout
from foretail.models.prophet_library import LibraryError, forecast_series
from foretail.models.prophet_map import Block, Fit, Sums, fit_product, fit_sum, joined

__all__ = ["MIN_PERIODS", "Answer", "constant_series", "fit_rows", "forecast_rows", "groups", "trend_of"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

MIN_PERIODS = 10  # a slope, a level and a noise cannot be told from less
_GROUP = 128  # series done at once
_BLOCK_BYTES = 8e6  # of their columns that are there at once: more leaves the cache, fewer wastes calls
_TREND_PRECISION = 1 / 25  # of slope and level, N(0, 5)


@dataclass(frozen=True)
class Answer:
    """Forecasts of B series.

    Attributes
    ----------
    y_hat : ``[B, H]``. quantiles : ``[B, H, Q]``; both 0 on closed periods. reasons : why a row was not answered.
    """

    y_hat: FloatArray
    quantiles: FloatArray
    reasons: dict[int, str]


def forecast_rows(
    y: FloatArray,
    closed: BoolArray,
    cap: FloatArray,
    *known: Float32Array,
    layout: Layout,
    levels: tuple[float, ...],
    seed: int,
) -> Answer:
    """Fit and forecast series, a group at a time.

    Parameters
    ----------
    y : ``[B, T]``. closed : bool ``[B, T + H]``. cap : ``[B, T + H]`` for logistic growth, else ``[B, 0]``.
    known : float32 ``[B, T + H]`` for each of ``layout.covariates``.
    """
    y_hat = np.zeros((len(y), layout.h))
    quantiles = np.zeros((len(y), layout.h, len(levels)))
    reasons: dict[int, str] = {}
    for part in groups(len(y)):
        task = _Task(y[part], closed[part], cap[part], tuple(item[part] for item in known), layout, levels, seed)
        answer = task.answer()
        y_hat[part], quantiles[part] = answer.y_hat, answer.quantiles
        reasons |= {part.start + row: why for row, why in answer.reasons.items()}
    return Answer(y_hat, quantiles, reasons)


def groups(n: int, size: int = _GROUP) -> list[slice]:
    """Series ``0..n - 1`` in groups."""
    return [slice(first, min(first + size, n)) for first in range(0, n, size)]


def fit_rows(values: Values, known: tuple[Float32Array, ...], layout: Layout) -> tuple[Fit, Design]:
    """Fit series that each have two different values; gives the design of the horizon too, ``[B, 2 + K + S, H]``.

    The columns of the history are there for a few series at a time. A sum needs only its sufficient statistics of
    them, and many such series are solved together; a product needs them again and again.
    """
    options = layout.options
    prior = Prior(np.concatenate([[_TREND_PRECISION] * 2, layout.prior_scales**-2]), options.changepoint_prior_scale)
    fits, sums, ahead = [], [], []
    for part, design in _designs(values, known, layout):
        block = Block(values.z[part], values.used[part], design.columns[..., : layout.n_periods])
        if options.is_multiplicative:
            fits.append(fit_product(block, prior))
        else:
            sums.append(Sums.of(block))
        ahead.append(design.after(layout.n_periods))
    return joined(fits) if options.is_multiplicative else fit_sum(joined(sums), prior), joined(ahead)


def _designs(values: Values, known: tuple[Float32Array, ...], layout: Layout) -> Iterator[tuple[slice, Design]]:
    bytes_per_row = 8 * len(layout.days) * (2 + layout.n_columns + layout.options.n_changepoints)
    for part in groups(len(values.z), max(1, int(_BLOCK_BYTES / bytes_per_row))):
        yield part, build_design(values.take(part), tuple(item[part] for item in known), layout)


@dataclass(frozen=True)
class _Task:
    y: FloatArray
    closed: BoolArray
    cap: FloatArray
    known: tuple[Float32Array, ...]
    layout: Layout
    levels: tuple[float, ...]
    seed: int

    def answer(self) -> Answer:
        """Forecasts of the block; short series get a reason, constant ones their value, shut periods 0."""
        n_periods = self.layout.n_periods
        shut = self.closed[:, n_periods:]
        values = values_of(self.y, self.closed[:, :n_periods], self.layout.options)
        reasons = {int(row): "too short for prophet" for row in np.flatnonzero(values.n < MIN_PERIODS)}
        z, spread = np.zeros(shut.shape), np.zeros((*shut.shape, len(self.levels)))
        constant, first = constant_series(values)
        z[constant] = first[constant, None]
        rows = np.flatnonzero((values.n >= MIN_PERIODS) & ~constant)
        if len(rows):
            z[rows], spread[rows], failed = self._modelled(values.take(rows), rows)
            reasons |= failed
        y_hat = np.where(shut, 0.0, values.restored(z))
        quantiles = np.where(shut[..., None], 0.0, values.restored(z[..., None] + spread))
        return Answer(y_hat, _finite(quantiles), reasons | self._unbelievable(y_hat, values))

    def _modelled(self, values: Values, rows: IntArray) -> tuple[FloatArray, FloatArray, dict[int, str]]:
        """Mean ``[rows, H]``, quantiles as distances from it ``[rows, H, Q]``, and the rows that failed; scaled."""
        known = tuple(item[rows] for item in self.known)
        if self.layout.options.needs_library:
            return self._by_library(values, known, rows)
        fit, ahead = fit_rows(values, known, self.layout)
        mean, factor = _means(fit, ahead, self.layout)
        sigma = fit.sigma[:, None]
        ratio, chance = _changes(fit, ahead)
        distance = deviations(ratio[:, None] * np.abs(factor) / sigma, chance, self.levels)
        return mean, distance * sigma[..., None], {}

    def _by_library(
        self, values: Values, known: tuple[Float32Array, ...], rows: IntArray
    ) -> tuple[FloatArray, FloatArray, dict[int, str]]:
        mean = np.zeros((len(rows), self.layout.h))
        spread = np.zeros((*mean.shape, len(self.levels)))
        failed: dict[int, str] = {}
        for part, design in _designs(values, known, self.layout):
            some = values.take(part)
            for place, row in enumerate(rows[part].tolist()):
                i, cap = part.start + place, self.cap[row] if self.cap.shape[1] else None
                try:
                    mean[i], quantiles = forecast_series(place, some, design, self.layout, cap, self.levels, self.seed)
                except LibraryError as error:
                    failed[row] = f"prophet failed: {error}"
                    continue
                spread[i] = quantiles - mean[i][:, None]
        return mean, spread, failed

    def _unbelievable(self, y_hat: FloatArray, values: Values) -> dict[int, str]:
        largest = np.where(values.used, np.abs(np.nan_to_num(self.y)), 0.0).max(1, initial=0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            sane = (np.abs(y_hat) <= EXPLODED * largest[:, None]).all(1)
        return {int(row): "prophet exploded" for row in np.flatnonzero(~sane & (values.n >= MIN_PERIODS))}


def _means(fit: Fit, ahead: Design, layout: Layout) -> tuple[FloatArray, FloatArray]:
    """Mean ``[B, H]`` of the horizon, and the factor ``[B, H]`` by which a change of the trend moves it."""
    trend = trend_of(fit, ahead)
    seasons = combine(fit.beta, ahead.x)
    if layout.options.is_multiplicative:
        return trend * (1 + seasons), 1 + seasons
    return trend + seasons, np.ones_like(trend)


def trend_of(fit: Fit, design: Design) -> FloatArray:
    """``[B, T]`` scaled trend in the periods of a design."""
    hinges = design.columns[:, 2 + design.n_regressors :]
    trend: FloatArray = combine(fit.delta, hinges)
    return trend + design.columns[:, 0] * fit.slope[:, None] + fit.level[:, None]


def _changes(fit: Fit, design: Design) -> tuple[FloatArray, FloatArray]:
    """Changes of the slope to come, as the library draws them: mean size per step ``[B]`` and chance ``[B]``."""
    n_points = np.maximum(design.n_changepoints, 1)
    size = np.abs(fit.delta).sum(1) / n_points + 1e-8
    return size * design.step, np.minimum(n_points * design.step, 1.0)


def constant_series(values: Values) -> tuple[BoolArray, FloatArray]:
    """Which series hold one value only ``[B]``, or none, and the first value of each ``[B]``, scaled."""
    low = np.where(values.used, values.z, np.inf).min(1, initial=np.inf)
    high = np.where(values.used, values.z, -np.inf).max(1, initial=-np.inf)
    return low >= high, values.z[np.arange(len(values.z)), values.used.argmax(1)]


def _finite(quantiles: FloatArray) -> FloatArray:
    return np.nan_to_num(quantiles, nan=0.0)
