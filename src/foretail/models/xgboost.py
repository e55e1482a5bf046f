"""XGBoost across series, direct multi-horizon: rows, base and options as for LightGBM, trees of another library."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.core.errors import MissingExtraError
from foretail.models.monotone import Monotone
from foretail.models.sample import Sample
from foretail.models.trees import HUBER, Trees, calm_threads

__all__ = ["XGBoost"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# the same regularisation as LightGBM's. Categories stay ordered codes: splits by sets of categories took three times
# as long, and the effect of a series or a cell is in the base and in the as-of features
_TREES: dict[str, Any] = {
    "tree_method": "hist",
    "grow_policy": "lossguide",
    "max_depth": 0,
    "min_child_weight": 200.0,
    "colsample_bytree": 0.33,
    "subsample": 0.7,
    "reg_lambda": 10.0,
    "max_bin": 128,
    "verbosity": 0,
}
_OBJECTIVES: dict[str, dict[str, Any]] = {
    "l2": {"objective": "reg:squarederror"},
    "l1": {"objective": "reg:absoluteerror"},
    "huber": {"objective": "reg:pseudohubererror", "huber_slope": HUBER},
}
_LARGEST = np.finfo(np.float32).max  # XGBoost refuses infinite values


class XGBoost(Trees):
    """XGBoost on as-of features over a linear base; see `Trees` for the parameters.

    Parameters
    ----------
    xgboost : further XGBoost parameters, over the defaults of this module.

    Raises
    ------
    MissingExtraError : XGBoost is not installed.
    """

    family = "xgboost"
    suffix = ".json"

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
        xgboost: Mapping[str, Any] | None = None,
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
        if importlib.util.find_spec("xgboost") is None:
            raise MissingExtraError("xgboost", "xgboost")
        self.xgboost = dict(xgboost or {})

    def _grow(self, data: Any, objective: Mapping[str, Any], signs: list[int], rounds: int, valid: Any = None) -> Any:
        params = {**self._common(), **objective, **self.xgboost}
        if any(signs):
            params["monotone_constraints"] = tuple(signs)
        stop: dict[str, Any] = {}
        if valid is not None:
            stop = {"evals": [(valid, "later")], "early_stopping_rounds": self.early_stopping}
        return _library().train(params, data, rounds, verbose_eval=False, **stop)

    def _common(self) -> dict[str, Any]:
        return _TREES | {
            "learning_rate": self.learning_rate,
            "max_leaves": self.leaves,
            "seed": self.random_state,
            "nthread": self.n_threads,
        }

    def _data(self, sample: Sample, reference: Any = None) -> Any:
        params = {**self._common(), **self.xgboost}
        return _library().QuantileDMatrix(
            _finite(sample.x),
            label=sample.y,
            weight=sample.weight,
            ref=reference,
            max_bin=params["max_bin"],
            nthread=self.n_threads,
        )

    def _objective(self, name: str) -> dict[str, Any]:
        return _OBJECTIVES.get(name, {"objective": name})

    def _quantile(self, level: float) -> dict[str, Any]:
        return {"objective": "reg:quantileerror", "quantile_alpha": level}

    def _best_rounds(self, booster: Any) -> int:
        return int(booster.best_iteration) + 1

    def _ask(self, booster: Any, x: Float32Array) -> FloatArray:
        booster.set_param({"nthread": self.n_threads})
        data = _library().DMatrix(_finite(x), nthread=self.n_threads)
        return np.asarray(booster.predict(data), dtype=np.float64)

    def _shapley(self, booster: Any, x: Float32Array) -> FloatArray:
        booster.set_param({"nthread": self.n_threads})
        data = _library().DMatrix(_finite(x), nthread=self.n_threads)
        return np.asarray(booster.predict(data, pred_contribs=True), dtype=np.float64)

    def _gain(self, booster: Any) -> FloatArray:
        gain = booster.get_score(importance_type="total_gain")
        return np.array([gain.get(f"f{position}", 0.0) for position in range(len(self.names_))])

    def _write(self, booster: Any, path: Path) -> None:
        booster.save_model(path)

    def _read(self, path: Path) -> Any:
        booster = _library().Booster()
        booster.load_model(path)
        return booster


def _library() -> Any:
    """XGBoost; heavy, so loaded when it is needed."""
    calm_threads()
    import xgboost

    return xgboost


def _finite(x: Float32Array) -> Float32Array:
    """Infinite values at the edge of what float32 holds; missing ones stay missing."""
    return np.clip(x, -_LARGEST, _LARGEST) if np.isinf(x).any() else x
