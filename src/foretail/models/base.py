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
_ROUNDS = 12  # the weights no longer move after about ten
_NEAR = 0.02  # errors below this (2 % in logs) count alike, so that no row gets an infinite weight
_MAX_ROWS = 300_000  # more rows change the third digit of a weight and cost seconds
_BOUND = 5.0  # regressors are cut here, in units
_ROWS_PER_WEIGHT = 5  # fewer, and both kinds of rows share one set of weights


@dataclass(frozen=True)
class LinearBase:
    """Weights of the base regressors, one set for rows that have a year behind them and one for the others.

    Attributes
    ----------
    names : features used. with_year, without_year : intercept first.
    """

    names: tuple[str, ...]
    with_year: tuple[float, ...]
    without_year: tuple[float, ...]

    def predict(self, rows: Rows) -> FloatArray:
        """Base forecast of each row, as a difference from the reference in units: ``[R]``."""
        design, has_year = _design(rows, self.names)
        base: FloatArray = np.where(has_year, design @ np.array(self.with_year), design @ np.array(self.without_year))
        return base

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LinearBase:
        """Read what ``to_dict`` wrote, from JSON."""
        return cls(tuple(values["names"]), tuple(values["with_year"]), tuple(values["without_year"]))


def fit_base(rows: Rows, weight: FloatArray, seed: int) -> LinearBase:
    """Least absolute deviations by iterated weighted ridge.

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
    sets = []
    for part in (has_year, ~has_year):
        used = part if part.sum() >= _ROWS_PER_WEIGHT * design.shape[1] else np.ones_like(part)
        sets.append(tuple(float(item) for item in _least_absolute(design[used], target[used], weight[used])))
    return LinearBase(names, sets[0], sets[1])


def _design(rows: Rows, names: tuple[str, ...], keep: IntArray | None = None) -> tuple[FloatArray, BoolArray]:
    """Intercept and regressors ``[R, 1 + B]``, and which rows have an observed year behind them."""
    index = np.array([rows.names.index(name) for name in names], dtype=np.int64)
    x = (rows.x[:, index] if keep is None else rows.x[np.ix_(keep, index)]).astype(np.float64)
    has_year = np.zeros(len(x), dtype=np.bool_)
    if "aligned" in names:
        has_year = np.isfinite(x[:, names.index("aligned")])
    x = np.clip(np.nan_to_num(x), -_BOUND, _BOUND)
    return np.concatenate([np.ones((len(x), 1)), x], axis=1), has_year


def _least_absolute(x: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    """Weights that minimise the weighted absolute error, by iterated reweighting of squares."""
    penalty = _RIDGE * weight.sum() * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    beta = np.zeros(x.shape[1])
    robust = weight
    for _ in range(_ROUNDS):
        xw = x * robust[:, None]
        beta = np.linalg.solve(xw.T @ x + penalty + 1e-12 * np.eye(len(penalty)), xw.T @ y)
        robust = weight / np.maximum(np.abs(y - x @ beta), _NEAR)
        robust *= weight.sum() / robust.sum()
    return beta
