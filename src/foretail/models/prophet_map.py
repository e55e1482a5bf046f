"""The maximum of the posterior of the Prophet model for many series at once.

Scaled y is trend + X b + noise or trend (1 + X b) + noise, trend = k t + m + sum of d_j (t - c_j)+; k, m ~ N(0, 5),
d ~ Laplace(0, tau), b ~ N(0, prior), noise ~ N(0, sigma), sigma ~ N+(0, 0.5). Additive: exact, see `prophet_lasso`.
Multiplicative: Gauss-Newton on the product with a line search on the true posterior, and an exact move along the valley
in which trend and seasons trade a common factor.

Source: Taylor and Letham (2018), *Forecasting at scale*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from foretail.models.prophet_lasso import Prior, State, apply, combine, log_posterior, maximise, noise_variance

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Block", "Fit", "Sums", "fit_product", "fit_sum", "joined"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
T = TypeVar("T", bound="DataclassInstance")

_TOLERANCE = 1e-7  # of the logarithm of the noise variance
_LOOSE = 1e-4  # the same inside Gauss-Newton, which asks again
_MOST_STEPS = 60  # of Gauss-Newton; three to six are needed
_HALVINGS = 12
_GAIN = 1e-4  # stop when the log posterior gains less
_ROUNDING = 1e-9  # a log posterior this much lower is no worse
_FACTORS = np.linspace(-1.2, 1.2, 49)  # logarithms of the factor that trend and seasons may trade in one move
_ZOOMS = (1.0, 1 / 16, 1 / 256)


@dataclass(frozen=True)
class Block:
    """Observations of B series on T periods, and what explains them.

    Attributes
    ----------
    y : ``[B, T]`` scaled; 0 where not used. used : bool ``[B, T]``.
    columns : ``[B, 2 + K + S, T]`` time, 1, seasons and regressors, time since the changepoints; 0 where not used.
    """

    y: FloatArray
    used: BoolArray
    columns: FloatArray

    @property
    def n(self) -> FloatArray:
        """``[B]`` observations."""
        n: FloatArray = self.used.sum(1).astype(np.float64)
        return n


@dataclass(frozen=True)
class Fit:
    """Maxima of the posteriors, in scaled units.

    Attributes
    ----------
    slope, level : ``[B]`` k and m. beta : ``[B, K]``. delta : ``[B, S]`` changes of the slope. sigma : ``[B]``.
    objective : ``[B]`` log posterior, constants dropped.
    """

    slope: FloatArray
    level: FloatArray
    beta: FloatArray
    delta: FloatArray
    sigma: FloatArray
    objective: FloatArray


@dataclass(frozen=True)
class Sums:
    """All that the fit of trend plus seasons must know of B series; their columns may go.

    Attributes
    ----------
    gram : ``[B, p, p]`` Z'Z. moment : ``[B, p]`` Z'y. square : ``[B]`` y'y. n : ``[B]`` observations.
    variance : ``[B]`` of the values used.
    """

    gram: FloatArray
    moment: FloatArray
    square: FloatArray
    n: FloatArray
    variance: FloatArray

    @classmethod
    def of(cls, block: Block) -> Sums:
        """One pass over the data."""
        return cls(*_statistics(block.columns, block.y), (block.y**2).sum(1), block.n, _variance(block))


def joined(parts: Sequence[T]) -> T:
    """Series of several blocks, one block after the other; what is no array is the same in all."""
    arrays = {name for name, value in vars(parts[0]).items() if isinstance(value, np.ndarray)}
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays})


def fit_sum(sums: Sums, prior: Prior) -> Fit:
    """Fit trend plus seasons, exactly.

    Parameters
    ----------
    sums : every series has at least two different values. prior : with ``2 + K`` ridges.
    """
    state = _start(sums.variance, sums.moment.shape[1], prior)
    maximise(sums.gram, sums.moment, sums.square, sums.n, prior, state, _TOLERANCE)
    w = state.w
    rss = np.maximum(sums.square + (w * (apply(sums.gram, w) - 2 * sums.moment)).sum(1), 0.0)
    return _fit(state, rss, sums.n, prior)


def fit_product(block: Block, prior: Prior) -> Fit:
    """Fit trend times (1 + seasons); parameters as in `fit_sum`."""
    search = _Product(block, prior)
    state = search.run()
    return _fit(state, search.rss(state), block.n, prior)


def _fit(state: State, rss: FloatArray, n: FloatArray, prior: Prior) -> Fit:
    w, n_free = state.w, prior.n_free
    objective = log_posterior(rss, n, w, state.v, prior)
    return Fit(w[:, 0], w[:, 1], w[:, 2:n_free], w[:, n_free:], np.sqrt(state.v), objective)


@dataclass
class _Point:
    """A trial of the product: coefficients with the trend, the factor of the seasons and the residuals they leave."""

    w: FloatArray
    v: FloatArray
    trend: FloatArray
    factor: FloatArray
    residual: FloatArray
    value: FloatArray

    def take(self, rows: IntArray | BoolArray) -> _Point:
        return _Point(*(item[rows] for item in vars(self).values()))

    def put(self, rows: IntArray | BoolArray, other: _Point) -> None:
        for name, item in vars(other).items():
            getattr(self, name)[rows] = item


@dataclass(frozen=True)
class _Factors:
    """A block with the columns of its two factors apart: ``trend [B, 2 + S, T]`` and ``x [B, K, T]``."""

    block: Block
    trend: FloatArray
    x: FloatArray
    n: FloatArray

    @classmethod
    def of(cls, block: Block, n_free: int) -> _Factors:
        trend = np.concatenate([block.columns[:, :2], block.columns[:, n_free:]], axis=1)
        return cls(block, trend, block.columns[:, 2:n_free], block.n)

    def take(self, rows: IntArray) -> _Factors:
        whole = self.block
        part = Block(whole.y[rows], whole.used[rows], whole.columns[rows])
        return _Factors(part, self.trend[rows], self.x[rows], self.n[rows])


class _Product:
    """Trend times (1 + seasons), by Gauss-Newton."""

    def __init__(self, block: Block, prior: Prior):
        self.prior = prior
        self.all = _Factors.of(block, prior.n_free)
        self.constant = _nearest_constant(self.all)

    def run(self) -> State:
        """The maximum, from the line through the first and the last point as the library starts."""
        state = _start(_variance(self.all.block), self.all.block.columns.shape[1], self.prior)
        first, last = _ends(self.all.block)
        state.w[:, 0], state.w[:, 1] = last - first, first
        rows = np.arange(len(first))
        best = self._point(self.all, state.w)
        live = rows
        for _ in range(_MOST_STEPS):
            live = self._step(state, best, live)
            if not len(live):
                break
        state.w, state.v = best.w, best.v
        return state

    def rss(self, state: State) -> FloatArray:
        """``[B]`` residual sum of squares."""
        rss: FloatArray = (self._point(self.all, state.w).residual ** 2).sum(1)
        return rss

    def _step(self, state: State, best: _Point, live: IntArray) -> IntArray:
        """One linearisation, line search and valley move; gives the series that still gain."""
        factors, old = self.all.take(live), best.take(live)
        trial = self._searched(factors, old, self._linearised(factors, old, state, live))
        moved = self._point(factors, self._along_valley(trial, live))
        trial.put(moved.value > trial.value, moved.take(moved.value > trial.value))
        is_better = trial.value >= old.value - _ROUNDING
        best.put(live[is_better], trial.take(is_better))
        lasso = best.w[live][:, self.prior.n_free :]
        state.active[live], state.sign[live] = lasso != 0, np.sign(lasso)
        return live[is_better & (trial.value - old.value >= _GAIN)]

    def _point(self, factors: _Factors, w: FloatArray) -> _Point:
        n_free = self.prior.n_free
        trend = combine(np.concatenate([w[:, :2], w[:, n_free:]], axis=1), factors.trend)
        factor = 1 + combine(w[:, 2:n_free], factors.x)
        residual = factors.block.y - trend * factor
        rss = (residual**2).sum(1)
        v = noise_variance(rss, factors.n)
        return _Point(w, v, trend, factor, residual, log_posterior(rss, factors.n, w, v, self.prior))

    def _linearised(self, factors: _Factors, old: _Point, state: State, live: IntArray) -> FloatArray:
        """Coefficients ``[live, p]`` that are best for the mean linearised at the old ones."""
        n_free = self.prior.n_free
        design = factors.block.columns.copy()
        design[:, :2] *= old.factor[:, None]
        design[:, 2:n_free] *= old.trend[:, None]
        design[:, n_free:] *= old.factor[:, None]
        target = old.residual + combine(old.w, design)
        gram, moment = _statistics(design, target)
        trial = replace(state.take(live), w=old.w.copy(), v=old.v.copy())
        maximise(gram, moment, (target**2).sum(1), factors.n, self.prior, trial, _LOOSE)
        return trial.w

    def _searched(self, factors: _Factors, old: _Point, goal: FloatArray) -> _Point:
        """Go to the goal; halve the way where the true posterior is lower there."""
        trial = self._point(factors, goal.copy())
        length = np.ones(len(goal))
        for _ in range(_HALVINGS):
            bad = np.flatnonzero(trial.value < old.value - _ROUNDING)
            if not len(bad):
                break
            length[bad] *= 0.5
            way = length[bad, None] * (goal[bad] - old.w[bad])
            trial.put(bad, self._point(factors.take(bad), old.w[bad] + way))
        return trial

    def _along_valley(self, point: _Point, live: IntArray) -> FloatArray:
        """Coefficients after the best trade of a factor between the trend and 1 + seasons.

        Columns that nearly add up to a constant on the observed periods (a shop shut on Sundays) make trend c and
        (1 + seasons) / c the same mean: a curved valley, in which linearised steps crawl.
        """
        b0, short = self.constant
        b0, w, trend, residual = b0[live], point.w, point.trend, point.residual
        for zoom in _ZOOMS:
            lost = trend * short[live]
            factor = np.exp(zoom * _FACTORS)
            best = self._traded_value(w, b0, residual, lost, self.all.n[live], factor).argmax(1)
            chosen = factor[best, None]
            w = self._traded(w, b0, chosen)
            residual = residual - (chosen - 1) * lost
            trend = trend * chosen
        return w

    def _traded(self, w: FloatArray, b0: FloatArray, c: FloatArray) -> FloatArray:
        n_free = self.prior.n_free
        beta = w[:, 2:n_free] / c + (1 / c - 1) * b0
        return np.concatenate([c * w[:, :2], beta, c * w[:, n_free:]], axis=1)

    def _traded_value(
        self, w: FloatArray, b0: FloatArray, residual: FloatArray, lost: FloatArray, n: FloatArray, c: FloatArray
    ) -> FloatArray:
        """Log posterior ``[live, factors]`` after a trade, the noise profiled out (near enough to propose a move)."""
        n_free, ridge, beta = self.prior.n_free, self.prior.ridge, w[:, 2 : self.prior.n_free]
        rss = _quadratic((residual**2).sum(1), -(residual * lost).sum(1), (lost**2).sum(1), c - 1)
        trend = c**2 * (w[:, :2] ** 2 * ridge[:2]).sum(1)[:, None] / 2
        bends = c * (np.abs(w[:, n_free:]).sum(1) / self.prior.tau)[:, None]
        inner = ((beta * beta * ridge[2:]).sum(1), (beta * b0 * ridge[2:]).sum(1), (b0 * b0 * ridge[2:]).sum(1))
        seasons = 0.5 * _quadratic(*inner, 1 - c) / c**2
        fit = -0.5 * n[:, None] * np.log(np.maximum(rss, 1e-12) / n[:, None])
        value: FloatArray = fit - trend - bends - seasons
        return value


def _quadratic(a: FloatArray, b: FloatArray, c: FloatArray, x: FloatArray) -> FloatArray:
    """``a + 2 b x + c x^2`` for every series and x."""
    value: FloatArray = a[:, None] + 2 * b[:, None] * x + c[:, None] * x**2
    return value


def _statistics(design: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Z'Z ``[B, p, p]`` and Z'y ``[B, p]``."""
    return design @ design.transpose(0, 2, 1), apply(design, y)


def _variance(block: Block) -> FloatArray:
    """``[B]`` of the values used."""
    mean = block.y.sum(1) / block.n
    variance: FloatArray = ((block.y - mean[:, None]) ** 2 * block.used).sum(1) / block.n
    return variance


def _start(variance: FloatArray, p: int, prior: Prior) -> State:
    """All coefficients zero, the noise a third of the variance of the values."""
    none = np.zeros((len(variance), p - prior.n_free))
    return State(np.zeros((len(variance), p)), none.astype(np.bool_), none, np.maximum(0.3 * variance, 1e-8))


def _ends(block: Block) -> tuple[FloatArray, FloatArray]:
    """The first and the last value used of each series."""
    row = np.arange(len(block.y))
    first = block.used.argmax(1)
    last = block.used.shape[1] - 1 - block.used[:, ::-1].argmax(1)
    return block.y[row, first], block.y[row, last]


def _nearest_constant(factors: _Factors) -> tuple[FloatArray, FloatArray]:
    """Coefficients ``[B, K]`` whose seasons come nearest to 1 on the used periods, and what they lack ``[B, T]``."""
    used, n_columns = factors.block.used, factors.x.shape[1]
    gram, moment = _statistics(factors.x, used.astype(np.float64))
    diagonal = np.arange(n_columns)
    gram[:, diagonal, diagonal] += 1e-8
    b0: FloatArray = np.linalg.solve(gram, moment[..., None])[..., 0].astype(np.float64)
    return b0, used - combine(b0, factors.x)
