"""LightGBM across series, direct multi-horizon: trees correct a linear base, learned at past cutoffs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.models.monotone import Monotone
from foretail.models.sample import Sample
from foretail.models.trees import HUBER, Trees, calm_threads

__all__ = ["Boosting"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# LightGBM practice for many noisy rows: large leaves, a third of the features and most of the rows per tree, ridge on
# the leaves, and categories (stores, cells) that must earn their split
_TREES: dict[str, Any] = {
    "min_data_in_leaf": 200,
    "feature_fraction": 0.33,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "cat_smooth": 40,
    "cat_l2": 25,
    "max_cat_threshold": 24,
    "max_bin": 127,
    "deterministic": True,
    "force_col_wise": True,
    "verbosity": -1,
}
_ROUNDING = 0.1  # of the median absolute difference, below which the absolute error is nearly squared


class Boosting(Trees):
    """LightGBM on as-of features over a linear base; see `Trees` for the parameters.

    Parameters
    ----------
    lightgbm : further LightGBM parameters, over the defaults of this module.
    """

    family = "boosting"
    suffix = ".txt"

    def __init__(
        self,
        *,
        space: str = "auto",
        rounds: int = 150,
        leaves: int = 63,
        learning_rate: float = 0.08,
        objective: str = "auto",
        monotone: Monotone = None,
        early_stopping: int = 0,
        bags: int = 3,
        heads: str = "auto",
        max_rows: int = 600_000,
        lightgbm: Mapping[str, Any] | None = None,
        random_state: int = 7,
        n_threads: int = 2,
    ):
        super().__init__(
            space=space,
            rounds=rounds,
            leaves=leaves,
            learning_rate=learning_rate,
            objective=objective,
            monotone=monotone,
            early_stopping=early_stopping,
            bags=bags,
            heads=heads,
            max_rows=max_rows,
            random_state=random_state,
            n_threads=n_threads,
        )
        self.lightgbm = dict(lightgbm or {})

    def _grow(self, data: Any, objective: Mapping[str, Any], signs: list[int], rounds: int, valid: Any = None) -> Any:
        lightgbm = _library()
        params = {**self._common(), **objective, **self.lightgbm}
        if params["objective"] == "l1" and _can_split(data):
            params = {"metric": "l1"} | params | {"objective": _absolute_error(data.get_label())}
        if any(signs):
            params |= {"monotone_constraints": signs, "monotone_constraints_method": "intermediate"}
        if valid is None:
            return lightgbm.train(params, data, rounds)
        stop = lightgbm.early_stopping(self.early_stopping, verbose=False)
        return lightgbm.train(params, data, rounds, valid_sets=[valid], callbacks=[stop])

    def _common(self) -> dict[str, Any]:
        return _TREES | {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "seed": self.random_state,
            "num_threads": self.n_threads,
        }

    def _data(self, sample: Sample, reference: Any = None) -> Any:
        return _library().Dataset(
            sample.x,
            sample.y,
            weight=sample.weight,
            reference=reference,
            # positions: LightGBM refuses many characters that a column may have
            feature_name=[f"f{position}" for position in range(sample.x.shape[1])],
            categorical_feature=sample.categories,
            params={**self._common(), **self.lightgbm},
        )

    def _objective(self, name: str) -> dict[str, Any]:
        return {"objective": name} | ({"alpha": HUBER} if name == "huber" else {})

    def _quantile(self, level: float) -> dict[str, Any]:
        return {"objective": "quantile", "alpha": level}

    def _best_rounds(self, booster: Any) -> int:
        return int(booster.best_iteration)

    def _ask(self, booster: Any, x: Float32Array) -> FloatArray:
        found: FloatArray = booster.predict(x, num_threads=self.n_threads)
        return found

    def _shapley(self, booster: Any, x: Float32Array) -> FloatArray:
        found: FloatArray = booster.predict(x, pred_contrib=True, num_threads=self.n_threads)
        return found

    def _gain(self, booster: Any) -> FloatArray:
        gain: FloatArray = booster.feature_importance("gain")
        return gain

    def _write(self, booster: Any, path: Path) -> None:
        path.write_text(booster.model_to_string(), encoding="utf-8")

    def _read(self, path: Path) -> Any:
        return _library().Booster(model_file=str(path))


def _can_split(data: Any) -> bool:
    """Whether any column is left to split by: without one LightGBM grows constants, by its own objectives only."""
    data.construct()
    return any(data.feature_num_bin(column) > 0 for column in range(data.num_feature()))


def _absolute_error(y: Float32Array) -> Callable[[FloatArray, Any], tuple[FloatArray, FloatArray]]:
    """The absolute error with a rounded tip, as LightGBM asks for an objective: gradient and curvature of a bound.

    LightGBM's own ``l1`` sorts the rows of every leaf for their median, which is slow. The bound
    is the parabola that touches the error from above, so a leaf steps towards its median. Source: Hunter and Lange
    (2000), *Quantile regression via an MM algorithm*.

    Parameters
    ----------
    y : ``[R]`` what is learned, around 0.
    """
    size = np.abs(y)
    tip = _ROUNDING * float(np.median(size) or size.mean() or 1.0)

    def bound(score: FloatArray, data: Any) -> tuple[FloatArray, FloatArray]:
        error = score - y
        curvature, weight = tip / np.hypot(error, tip), data.get_weight()
        if weight is not None:  # LightGBM forgets weights that are all 1
            curvature *= weight
        return error * curvature, curvature

    return bound


def _library() -> Any:
    """LightGBM; heavy, so loaded when it is needed."""
    calm_threads()
    import lightgbm

    return lightgbm
