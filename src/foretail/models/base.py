"""The linear base forecast under the trees: a robust blend of simple forecasts, learned at past cutoffs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.features.frame import Rows

__all__ = ["LinearBase", "fit_base"]

FloatArray = npt.NDArray[np.float64]

_RIDGE = 1e-3
_ROUNDS = 12
_MAX_ROWS = 300_000


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
        return np.where(has_year, design @ np.array(self.with_year), design @ np.array(self.without_year))

    def to_dict(self) -> dict[str, Any]:
        return {"names": self.names, "with_year": self.with_year, "without_year": self.without_year}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LinearBase:
        """Read what ``to_dict`` wrote, from JSON."""
        return cls(tuple(values["names"]), tuple(values["with_year"]), tuple(values["without_year"]))


def fit_base(rows: Rows, weight: FloatArray, seed: int) -> LinearBase:
    """Least absolute deviations by iterated weighted ridge.

    Parameters
    ----------
    rows : training rows. weight : ``[R]``.
    """
    names = tuple(feature.name for feature in rows.features if feature.base)
    keep = np.arange(len(rows.target))
    if len(keep) > _MAX_ROWS:
        keep = np.sort(np.random.default_rng(seed).choice(len(keep), _MAX_ROWS, replace=False))
    design, has_year = _design(rows, names, keep)
    target, weight = rows.target[keep], weight[keep]
    sets = []
    for part in (has_year, ~has_year):
        if part.sum() < 5 * design.shape[1]:
            part = np.ones_like(part)
        sets.append(tuple(float(item) for item in _least_absolute(design[part], target[part], weight[part])))
    return LinearBase(names, sets[0], sets[1])


def _design(rows: Rows, names: tuple[str, ...], keep: npt.NDArray[np.int64] | None = None) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    index = [rows.names.index(name) for name in names]
    x = rows.x[:, index] if keep is None else rows.x[np.ix_(keep, index)]
    x = x.astype(np.float64)
    own_year = names.index("aligned") if "aligned" in names else None
    has_year = np.isfinite(x[:, own_year]) if own_year is not None else np.zeros(len(x), dtype=np.bool_)
    bound = 5.0 if names else 1.0
    x = np.clip(np.nan_to_num(x), -bound, bound)
    return np.concatenate([np.ones((len(x), 1)), x], axis=1), has_year


def _least_absolute(x: FloatArray, y: FloatArray, weight: FloatArray) -> FloatArray:
    penalty = _RIDGE * weight.sum() * np.eye(x.shape[1])
    penalty[0, 0] = 0.0
    beta = np.zeros(x.shape[1])
    robust = weight
    for _ in range(_ROUNDS):
        xw = x * robust[:, None]
        beta = np.linalg.solve(xw.T @ x + penalty + 1e-12 * np.eye(len(penalty)), xw.T @ y)
        robust = weight / np.maximum(np.abs(y - x @ beta), 0.02)
        robust *= weight.sum() / robust.sum()
    return beta
