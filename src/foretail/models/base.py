"""The linear base forecast under the trees: a robust blend of simple forecasts, learned at past cutoffs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.features.frame import Rows

__all__ = ["LinearBase", "fit_base"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_RIDGE = 1e-3  # of the total weight: only enough to settle collinear regressors
_EFFECT = "effect_"  # regressors that say what a flag added before
_BELIEVED_ROWS = 300  # with the flag, that this weighs as much as
_ROUNDS = 12  # the weights no longer move after about ten
_NEAR = 0.02  # errors below this (2 % in logs) count alike, so that no row gets an infinite weight
_MAX_ROWS = 300_000  # more rows change the third digit of a weight and cost seconds
_BOUND = 5.0  # regressors are cut here, in units
_BORROWED_ROWS = 200  # how many rows the weights of both kinds of rows count as, for each kind
_SEASON = "profile"  # the regressor that says how far the season is from the recent level
_LIKE_SEASON = ("aligned", "profile", "year_own_1")  # regressors that say how the season of a year ago went
_SEEN = 0.99  # share of the season's values that count as seen; what lies beyond is believed as it is


@dataclass(frozen=True)
class LinearBase:
    """Weights of the base regressors, one set for rows that have a year behind them and one for the others.

    Attributes
    ----------
    names : features used. with_year, without_year : intercept first.
    seen : largest deviation of the season that was learned from, in units; 0 where none was.
    """

    names: tuple[str, ...]
    with_year: tuple[float, ...]
    without_year: tuple[float, ...]
    seen: float = 0.0

    def predict(self, rows: Rows) -> FloatArray:
        """Base forecast of each row, as a difference from the reference in units: ``[R]``.

        Most deviations of a season are small and partly noise, so their weights are well below 1. A peak beyond all
        that was learned from (Thanksgiving and Christmas in a history of two years) is no such noise: what exceeds the
        largest deviation seen is carried over in full.
        """
        design, has_year = _design(rows, self.names)
        base: FloatArray = np.where(has_year, design @ np.array(self.with_year), design @ np.array(self.without_year))
        if self.seen > 0:
            carried = sum(self.with_year[1 + self.names.index(name)] for name in _LIKE_SEASON if name in self.names)
            season = design[:, 1 + self.names.index(_SEASON)]
            base += max(0.0, 1.0 - carried) * (season - np.clip(season, -self.seen, self.seen))
        return base

    def parts(self, rows: Rows) -> FloatArray:
        """The summands of `predict`: ``[R, 1 + B]``, the intercept first, then one per regressor."""
        design, has_year = _design(rows, self.names)
        parts: FloatArray = np.where(
            has_year[:, None], design * np.array(self.with_year), design * np.array(self.without_year)
        )
        if _SEASON in self.names:
            parts[:, 1 + self.names.index(_SEASON)] += self.predict(rows) - parts.sum(axis=1)  # what is carried over
        return parts

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LinearBase:
        """Read what ``to_dict`` wrote, from JSON."""
        return cls(
            tuple(values["names"]), tuple(values["with_year"]), tuple(values["without_year"]), float(values["seen"])
        )


def fit_base(rows: Rows, weight: FloatArray, seed: int) -> LinearBase:
    """Least absolute deviations by iterated weighted ridge: for all rows, and from there for each kind of rows.

    Parameters
    ----------
    rows : training rows, at least one. weight : ``[R]``, positive. seed : of the sample when there are too many rows.
    """
    names = tuple(feature.name for feature in rows.features if feature.base)
    keep = np.arange(len(rows))
    if len(keep) > _MAX_ROWS:
        keep = np.sort(np.random.default_rng(seed).choice(len(keep), _MAX_ROWS, replace=False))
    design, has_year = _design(rows, names, keep)
    target, weight = rows.target[keep], weight[keep]
    believed = np.array([0.0, *(float(name.startswith(_EFFECT)) for name in names)])
    small = _ridge(design, believed)
    common = _least_absolute(design, target, weight, small * weight.sum(), believed)
    drawn = _BORROWED_ROWS * weight.mean() * np.maximum((design**2).mean(0), _RIDGE)
    sets = [
        _least_absolute(design[part], target[part], weight[part], drawn + small * weight[part].sum(), common)
        for part in (has_year, ~has_year)
    ]
    with_year, without_year = (tuple(float(item) for item in beta) for beta in sets)
    return LinearBase(names, with_year, without_year, _seen(rows, keep) if _SEASON in names else 0.0)


def _ridge(design: FloatArray, believed: FloatArray) -> FloatArray:
    """Strength of the draw to the prior, as a share of the total weight.

    A flag of few dates rests on few rows: what it added before is believed as it is until many rows say otherwise.
    """
    n_told = np.count_nonzero(design, axis=0)
    size = (design**2).sum(axis=0) / np.maximum(n_told, 1)
    small: FloatArray = np.where(believed > 0, _BELIEVED_ROWS * np.maximum(size, _RIDGE) / len(design), _RIDGE)
    small[0] = 0.0
    return small


def _seen(rows: Rows, keep: IntArray) -> float:
    """Size that hardly any deviation of the season exceeds; 0 where no season is known."""
    size = np.abs(rows.x[keep, rows.names.index(_SEASON)])
    size = np.minimum(size[np.isfinite(size)], _BOUND)
    return float(np.quantile(size, _SEEN)) if len(size) else 0.0


def _design(rows: Rows, names: tuple[str, ...], keep: IntArray | None = None) -> tuple[FloatArray, BoolArray]:
    """Intercept and regressors ``[R, 1 + B]``, and which rows have an observed year behind them."""
    index = np.array([rows.names.index(name) for name in names], dtype=np.int64)
    x = (rows.x[:, index] if keep is None else rows.x[np.ix_(keep, index)]).astype(np.float64)
    has_year = np.zeros(len(x), dtype=np.bool_)
    if "aligned" in names:
        has_year = np.isfinite(x[:, names.index("aligned")])
    x = np.clip(np.nan_to_num(x), -_BOUND, _BOUND)
    return np.concatenate([np.ones((len(x), 1)), x], axis=1), has_year


def _least_absolute(
    x: FloatArray, y: FloatArray, weight: FloatArray, penalty: FloatArray, prior: FloatArray
) -> FloatArray:
    """Weights that minimise the weighted absolute error, by iterated reweighting of squares, drawn to a prior.

    Parameters
    ----------
    penalty : ``[B]`` strength of the draw, in weight of rows. prior : ``[B]``; without any row it is the answer.
    """
    beta: FloatArray = prior
    robust = weight
    ridge = np.diag(penalty + 1e-12)
    for _ in range(_ROUNDS if len(y) else 0):
        xw = x * robust[:, None]
        beta = np.asarray(np.linalg.solve(xw.T @ x + ridge, xw.T @ y + ridge @ prior), dtype=np.float64)
        robust = weight / np.maximum(np.abs(y - x @ beta), _NEAR)
        robust *= weight.sum() / robust.sum()
    return beta
