"""Which series are like which, by their keys and static columns, and what the level of one says of another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["Effects", "attribute_codes", "attribute_weights", "fit_effects", "likeness"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

UNTOLD, UNSEEN = -1, -2  # codes of attributes that nobody told, or that no series with history has
_SWEEPS = 10  # of the attributes in turn; effects settle within a few
_HUBER, _TO_SIGMA = 1.5, 1.4826  # of the median absolute residual, to the standard deviation of a normal one
_WITHIN = 0.8  # share of the residuals that the spread describes: that of the interval that planners use
_TIE = 0.01  # what sharing an attribute counts that explains nothing
_BOUND = 3.0  # times the mean of a series: shapes are cut here, or one peak of a sparse series decides


@dataclass(frozen=True)
class Effects:
    """Log levels as a mean plus one shrunk effect per value of each attribute.

    Attributes
    ----------
    mean : of the log levels. by_attribute : per attribute the effect of each code ``[codes]``.
    variance : per attribute what is not known of each effect ``[codes]``. between : of the effects of an attribute.
    spread : standard deviation of what the attributes leave open: 80 % of the log levels lie within 1.28 of it.
    """

    mean: float
    by_attribute: tuple[FloatArray, ...]
    variance: tuple[FloatArray, ...]
    between: tuple[float, ...]
    spread: float

    def predict(self, codes: IntArray) -> FloatArray:
        """Log levels ``[M]`` of series with attribute codes ``[M, A]``; a code that was not fitted says nothing."""
        return self.mean + _sum(self.by_attribute, codes)

    def spread_of(self, codes: IntArray) -> FloatArray:
        """Standard deviation ``[M]`` of the log level of a series about `predict`: its own, and that of the effects."""
        variance = np.full(len(codes), self.spread**2)
        for position, (own, between) in enumerate(zip(self.variance, self.between, strict=True)):
            known = _is_known(codes[:, position], len(own))
            variance += np.where(known, own[np.where(known, codes[:, position], 0)] if len(own) else 0.0, between)
        spread: FloatArray = np.sqrt(variance)
        return spread


def attribute_codes(series: pl.DataFrame, others: pl.DataFrame, names: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Integer codes of attributes ``[N, A]`` and ``[C, A]``, equal where the texts are.

    Parameters
    ----------
    series : N series with history. others : C series. names : columns of both.

    Returns
    -------
    (of series, of others) : -1 where a series does not tell, -2 where no series has what the other has.
    """
    codes = np.zeros((series.height + others.height, len(names)), dtype=np.int64)
    for position, name in enumerate(names):
        text = pl.concat([series[name].cast(pl.String), others[name].cast(pl.String)])
        codes[:, position] = text.rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
        unknown = text.is_null().to_numpy()
        own, other = codes[: series.height, position], codes[series.height :, position]
        own[unknown[: series.height]] = UNTOLD
        other[~np.isin(other, own) | unknown[series.height :]] = UNSEEN
    return codes[: series.height], codes[series.height :]


def fit_effects(log_level: FloatArray, codes: IntArray) -> Effects:
    """Random effects by sweeps over the attributes: each effect is a mean residual, shrunk by what its group can tell.

    The shrinkage n / (n + within / between) takes the variances from the residuals by the moments of one-way analysis
    of variance (Searle, Casella & McCulloch 1992, "Variance Components"), anew in each sweep.

    Parameters
    ----------
    log_level : ``[N]``, at least one. codes : ``[N, A]``, see `attribute_codes`.
    """
    mean = float(np.median(log_level))
    effects = [np.zeros(codes[:, position].max(initial=0) + 1) for position in range(codes.shape[1])]
    shares = [np.zeros(len(effect)) for effect in effects]
    between = np.zeros(len(effects))
    rest = log_level - mean
    for sweep in range(_SWEEPS):
        if sweep:
            rest = _pulled_in(log_level - mean - _sum(effects, codes))
        for position, effect in enumerate(effects):
            told = codes[:, position] >= 0
            code = codes[told, position]
            rest[told] += effect[code]
            effects[position], shares[position], between[position] = _shrunk(rest[told], code, len(effect))
            rest[told] -= effects[position][code]
    rest = np.abs(log_level - mean - _sum(effects, codes))
    free = max(len(rest) - sum(share.sum() for share in shares) - 1.0, 1.0)
    spread = float(np.quantile(rest, _WITHIN)) / NormalDist().inv_cdf(0.5 + _WITHIN / 2) * np.sqrt(len(rest) / free)
    variance = tuple(tau * (1.0 - share) for tau, share in zip(between, shares, strict=True))
    return Effects(mean, tuple(effects), variance, tuple(between.tolist()), float(spread))


def _sum(effects: Sequence[FloatArray], codes: IntArray) -> FloatArray:
    total = np.zeros(len(codes))
    for position, effect in enumerate(effects):
        known = _is_known(codes[:, position], len(effect))
        total[known] += effect[codes[known, position]]
    return total


def _is_known(code: IntArray, n_codes: int) -> BoolArray:
    return (code >= 0) & (code < n_codes)


def _pulled_in(rest: FloatArray) -> FloatArray:
    """Residuals within 1.5 robust standard deviations of 0 (Huber 1964): a slow seller in a group is not its level."""
    bound = _HUBER * _TO_SIGMA * float(np.median(np.abs(rest)))
    return np.clip(rest, -bound, bound) if bound > 0 else rest


def _shrunk(rest: FloatArray, code: IntArray, n_codes: int) -> tuple[FloatArray, FloatArray, float]:
    """Shrunk means by code, how much of each mean is kept (both ``[codes]``), and the variance between the codes."""
    n = np.bincount(code, minlength=n_codes).astype(np.float64)
    mean = np.bincount(code, rest, minlength=n_codes) / np.maximum(n, 1.0)
    nothing = np.zeros(n_codes), np.zeros(n_codes), 0.0
    n_groups, total = np.count_nonzero(n), n.sum()
    if n_groups < 2 or total <= n_groups:
        return nothing
    within = float(((rest - mean[code]) ** 2).sum() / (total - n_groups))
    squares = (n * (mean - rest.mean()) ** 2).sum()
    between = float((squares - (n_groups - 1) * within) / (total - (n**2).sum() / total))
    if between <= 0:
        return nothing
    share = n / (n + within / between)
    return share * mean, share, between


def attribute_weights(shapes: FloatArray, codes: IntArray) -> FloatArray:
    """What sharing each attribute is worth, ``[A]``: the share of the differences in shape that it explains.

    Parameters
    ----------
    shapes : ``[N, H]`` forecasts in units of the level of their series. codes : ``[N, A]``.

    Returns
    -------
    1 - (within / its degrees of freedom) / (total / its), at least 0, plus a little that lets the number of shared
    attributes decide where none explains anything.
    """
    mean = shapes.mean(1, keepdims=True)
    z = np.minimum(shapes / np.where(mean > 0, mean, 1.0), _BOUND)
    z = z - z.mean(0)
    total = (z**2).sum() / max(len(z) - 1, 1)
    weights = np.full(codes.shape[1], _TIE)
    for position in range(codes.shape[1]):
        _, group, n = np.unique(codes[:, position], return_inverse=True, return_counts=True)
        if total <= 0 or len(n) < 2 or len(n) >= len(z):
            continue
        member = np.zeros((len(n), len(z)))
        member[group, np.arange(len(z))] = 1.0 / n[group]
        within = ((z - (member @ z)[group]) ** 2).sum() / (len(z) - len(n))
        weights[position] += max(0.0, 1.0 - within / total)
    return weights


def likeness(wanted: IntArray, codes: IntArray, weights: FloatArray, n_like: int) -> FloatArray:
    """Equal weights ``[M, N]`` over the series most like each wanted one: ``n_like`` of them, and all as like as those.

    Parameters
    ----------
    wanted : codes ``[M, A]``. codes : ``[N, A]`` of those to choose from. weights : ``[A]``.
    """
    shared = np.zeros((len(wanted), len(codes)), dtype=np.float32)
    for position, weight in enumerate(weights):
        shared += np.float32(weight) * (wanted[:, position, None] == codes[None, :, position])
    place = max(len(codes) - n_like, 0)
    least = np.partition(shared, place, axis=1)[:, place : place + 1]
    chosen = (shared >= least).astype(np.float64)
    result: FloatArray = chosen / chosen.sum(axis=1, keepdims=True)
    return result
