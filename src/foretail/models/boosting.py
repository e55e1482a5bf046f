"""LightGBM across series, direct multi-horizon: trees correct a linear base, learned at past cutoffs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from foretail.features.asof import Plan, plan_features
from foretail.features.frame import Rows, forecast_rows, training_cutoffs, training_rows
from foretail.features.space import Space
from foretail.models.base import LinearBase, fit_base
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.fallback import answered
from foretail.panel.panel import Panel

if TYPE_CHECKING:
    import lightgbm

__all__ = ["Boosting"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# periods between training cutoffs (three weeks is no multiple of a month), and age at which a row counts half
_STRIDE = {"D": 21, "W": 3, "M": 1}
_HALF_LIFE = {"D": 400, "W": 40, "M": 24}
_CLIP = {"log": 3.0, "level": 20.0}  # differences from the base are cut here: a factor of 20, or 20 times the series
_ZERO_SHARE = 0.15  # with more open periods without sales than this, logs describe a series badly
_FEWEST_ROWS = 50  # fewer training rows than this teach nothing that the last season does not say
_MOST_WEIGHT = 50.0  # times the median size: one giant series must not teach all the others
_EXPLODED = 20.0  # times the largest value of a series: nobody would believe it

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


class Boosting(Forecaster):
    """Global gradient boosting on as-of features.

    Parameters
    ----------
    space : ``log``, ``level`` or ``auto`` (logs unless many open days sold nothing).
    rounds, leaves, learning_rate : size of the ensemble of trees.
    objective : LightGBM objective on the difference from the base; ``auto`` is ``l2`` for days, ``l1`` otherwise.
    max_rows : training rows at most (a seeded sample).
    lightgbm : further LightGBM parameters, over the defaults of this module.
    random_state : seed of the sample and of the trees.
    n_threads : LightGBM threads; the same result for any number.

    Attributes
    ----------
    plan_ : decisions about the features. base_ : the linear base. booster_ : the trees; base and trees are None after
    a fit on too little history. names_ : features of the trees, in their order.
    """

    tags = Tags(local=False, covariates=True)

    def __init__(
        self,
        *,
        space: str = "auto",
        rounds: int = 300,
        leaves: int = 63,
        learning_rate: float = 0.05,
        objective: str = "auto",
        max_rows: int = 600_000,
        lightgbm: Mapping[str, Any] | None = None,
        random_state: int = 7,
        n_threads: int = 2,
    ):
        self.space = space
        self.rounds = rounds
        self.leaves = leaves
        self.learning_rate = learning_rate
        self.objective = objective
        self.max_rows = max_rows
        self.lightgbm = dict(lightgbm or {})
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:
        """Learn the base and the trees; with too little history nothing, and `predict` answers the last season."""
        letter = panel.frequency.code[0]
        self.plan_ = plan_features(panel, Space(_choose_space(panel) if self.space == "auto" else self.space))
        self.base_: LinearBase | None = None
        self.booster_: lightgbm.Booster | None = None
        cutoffs = training_cutoffs(panel, h, _STRIDE[letter])
        rows = training_rows(panel, self.plan_, h, cutoffs, self.max_rows, self.random_state)
        self.names_ = (*rows.names, "base")
        if len(rows) >= _FEWEST_ROWS:
            weight = _weights(rows, panel.n_periods, _HALF_LIFE[letter])
            self.base_ = fit_base(rows, weight, self.random_state)
            self.booster_ = self._grow(rows, weight, self.base_, "l2" if letter == "D" else "l1")
        return self

    def _grow(self, rows: Rows, weight: FloatArray, linear: LinearBase, objective: str) -> lightgbm.Booster:
        """Trees on what the base leaves over."""
        lightgbm = _library()
        base = linear.predict(rows)
        bound = _CLIP[self.plan_.space]
        params = _TREES | {
            "objective": objective if self.objective == "auto" else self.objective,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "seed": self.random_state,
            "num_threads": self.n_threads,
            **self.lightgbm,
        }
        data = lightgbm.Dataset(
            _with_base(rows, base),
            np.clip(rows.target - base, -bound, bound),
            weight=weight,
            # positions: LightGBM refuses many characters that a column may have
            feature_name=[f"f{position}" for position in range(len(self.names_))],
            categorical_feature=[position for position, feature in enumerate(rows.features) if feature.is_category],
            params={key: params[key] for key in ("max_bin", "verbosity", "num_threads")},
        )
        return lightgbm.train(params, data, self.rounds)

    def predict(self, panel: Panel, h: int) -> Forecast:
        """Base plus trees; series without a believable forecast get the last season and the reason."""
        if self.booster_ is None or self.base_ is None:
            reasons = dict.fromkeys(range(panel.n_series), "too little history for boosting")
            return answered(np.zeros((panel.n_series, h)), panel, reasons)
        rows = forecast_rows(panel, self.plan_, h)
        base = self.base_.predict(rows)
        found = self.booster_.predict(_with_base(rows, base), num_threads=self.n_threads)
        with np.errstate(over="ignore", invalid="ignore"):
            z = rows.reference + rows.unit * (base + found)
            y_hat = Space(self.plan_.space).inverse(z, rows.scale).reshape(panel.n_series, h)
        return answered(y_hat, panel, _unbelievable(y_hat, panel, rows))

    def importance(self) -> Sequence[tuple[str, float]]:
        """Share of the trees' gain per feature, largest first; features without any gain are left out."""
        if self.booster_ is None:
            return ()
        gain = self.booster_.feature_importance("gain")
        total = float(gain.sum())
        found = [(name, float(item) / total) for name, item in zip(self.names_, gain, strict=True) if item > 0]
        return tuple(sorted(found, key=lambda pair: (-pair[1], pair[0])))

    def save(self, folder: Path) -> None:
        """Write ``boosting.json`` and, where there are trees, ``trees.txt`` in LightGBM's own format."""
        names = ("space", "rounds", "leaves", "learning_rate", "objective", "max_rows", "lightgbm", "random_state")
        stored = {
            "params": {name: getattr(self, name) for name in (*names, "n_threads")},
            "plan": self.plan_.to_dict(),
            "base": None if self.base_ is None else self.base_.to_dict(),
            "names": self.names_,
        }
        (folder / "boosting.json").write_text(json.dumps(stored), encoding="utf-8")
        if self.booster_ is not None:
            (folder / "trees.txt").write_text(self.booster_.model_to_string(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        lightgbm = _library()
        stored = json.loads((folder / "boosting.json").read_text(encoding="utf-8"))
        model = cls(**stored["params"])
        model.plan_ = Plan.from_dict(stored["plan"])
        model.names_ = tuple(stored["names"])
        model.base_ = None if stored["base"] is None else LinearBase.from_dict(stored["base"])
        model.booster_ = None if model.base_ is None else lightgbm.Booster(model_file=str(folder / "trees.txt"))
        return model


def _library() -> Any:
    """LightGBM, whose idle threads are told to sleep early: by default they spin on cores that other work waits for.

    One fit on two threads beside two busy processes took half the time with it; alone it took the same.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    import lightgbm  # heavy, and reads the variable when it is loaded

    return lightgbm


def _choose_space(panel: Panel) -> str:
    open_y = panel.y[panel.observed & ~panel.closed[:, : panel.n_periods]]
    return "level" if np.count_nonzero(open_y <= 0) > _ZERO_SHARE * len(open_y) else "log"


def _weights(rows: Rows, n_periods: int, half_life: float) -> FloatArray:
    """Big series and recent targets count more; mean 1."""
    age = n_periods - 1 - (rows.cutoff + rows.step)
    size = np.minimum(rows.scale, _MOST_WEIGHT * np.median(rows.scale))
    weight = size * 0.5 ** (age / half_life)
    normalised: FloatArray = weight / weight.mean()
    return normalised


def _with_base(rows: Rows, base: FloatArray) -> Float32Array:
    return np.concatenate([rows.x, base[:, None].astype(np.float32)], axis=1)


def _unbelievable(y_hat: FloatArray, panel: Panel, rows: Rows) -> dict[int, str]:
    """Series whose forecast is no number, or far beyond anything they ever sold."""
    nothing = ~np.isfinite(rows.reference.reshape(y_hat.shape)).all(axis=1)
    largest = np.where(panel.observed, np.abs(panel.y), 0.0).max(axis=1)
    bound = _EXPLODED * np.maximum(largest, rows.scale.reshape(y_hat.shape)[:, 0])
    sane = np.isfinite(y_hat).all(axis=1) & (np.abs(np.nan_to_num(y_hat)).max(axis=1) <= bound)
    reasons = {int(row): "boosting exploded" for row in np.flatnonzero(~sane)}
    return reasons | {int(row): "no open period observed" for row in np.flatnonzero(nothing)}
