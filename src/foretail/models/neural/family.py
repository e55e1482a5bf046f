"""A network across series, direct multi-horizon: quantiles around a linear base, learned at past cutoffs.

An MLP with embeddings for what has no order (series keys, cells, texts). The median is the forecast. Its rows are those
of the training frame, or with ``features="store"`` those of the feature store, which a server looks up or is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from foretail.core.errors import UsageError
from foretail.core.frequency import Frequency
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.features.asof import Plan, plan_features
from foretail.features.frame import Outlook, Rows, training_cutoffs, training_rows
from foretail.features.space import Space
from foretail.models.asked import Asked
from foretail.models.attribution import over_a_base
from foretail.models.base import LinearBase
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.contributions import Contributions
from foretail.models.fallback import EXPLODED, answered, believable, unbelievable
from foretail.models.heads import with_quantiles
from foretail.models.neural.forward import Forward, quantiles
from foretail.models.neural.inputs import Inputs
from foretail.models.neural.lesson import Curriculum, Lens, curriculum_of, in_units, newest_rows, to_sales
from foretail.models.neural.recipe import Recipe
from foretail.models.neural.store_inputs import StoreInputs
from foretail.models.parameters import at_least, one_of, share_above_0
from foretail.models.sample import row_weights
from foretail.models.trees import calm_threads
from foretail.panel.panel import Panel

if TYPE_CHECKING:
    from foretail.models.neural.network import QuantileNetwork

if find_spec("torch") is None:  # importing torch takes seconds: it waits for the first network
    raise ModuleNotFoundError("No module named 'torch'", name="torch")

__all__ = ["Neural"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# periods between training cutoffs; days that are no whole weeks: a network that saw cutoffs on one weekday only goes
# astray on every other, because it goes on along a line where a tree stays where it was
_STRIDE = {"D": 10, "W": 3, "M": 1}
_HALF_LIFE = {"D": 400, "W": 40, "M": 24}  # age at which a row counts half
_ZERO_SHARE = 0.15  # with more open periods without sales than this, logs describe a series badly
_FEWEST_ROWS = 50  # fewer training rows than this teach nothing that the last season does not say
_SPACES = ("auto", "log", "level")
_FEATURES = ("asof", "store")
_PARAMS = (
    "features",
    "space",
    "epochs",
    "batch_size",
    "learning_rate",
    "members",
    "max_rows",
    "random_state",
    "n_threads",
)


class Neural(Forecaster):
    """Global multi-layer perceptron on as-of features.

    Parameters
    ----------
    features : ``asof``, the features of the training frame, or ``store``, what the feature store holds of the as-of
        date and the calendar of the date to forecast; see `predict_rows`.
    space : ``log``, ``level`` or ``auto`` (logs unless many open days sold nothing).
    epochs : passes over the rows, at most; the best number is found on the newest targets, then all rows are learned.
    batch_size, learning_rate : of AdamW; small panels get smaller batches.
    members : networks whose quantiles are averaged.
    max_rows : training rows at most (a seeded sample).
    random_state : seed of everything random.
    n_threads : threads of torch on a CPU; another number may change the last bits.

    Attributes
    ----------
    plan_ : decisions about the features of the training frame; None for those of the store. store_ : the same of the
        store, else None. space_ : ``log`` or ``level``. base_ : the linear base. inputs_ : how features are presented.
    spread_ : unit of the networks' answers. networks_ : the members; empty after a fit on too little history.
    importance_ : (feature, share 0-1).

    Raises
    ------
    UsageError : a value that makes no network.
    """

    tags = Tags(local=False, covariates=True, extra="neural")

    def __init__(
        self,
        *,
        features: str = "asof",
        space: str = "auto",
        epochs: int = 6,
        batch_size: int = 4096,
        learning_rate: float = 2e-3,
        members: int = 2,
        max_rows: int = 150_000,
        random_state: int = 7,
        n_threads: int = 2,
    ):
        self.features = one_of("neural", "features", features, _FEATURES)
        self.space = one_of("neural", "space", space, _SPACES)
        self.epochs = at_least("neural", "epochs", epochs, 1)
        self.batch_size = at_least("neural", "batch_size", batch_size, 1)
        self.learning_rate = share_above_0("neural", "learning_rate", learning_rate)
        self.members = at_least("neural", "members", members, 1)
        self.max_rows = at_least("neural", "max_rows", max_rows, 1)
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:
        """Learn the base and the networks; with too little history nothing, and `predict` answers the last season."""
        rows = self._rows(panel, h)
        if len(rows) >= _FEWEST_ROWS:
            self._learn(rows, _weighed(rows, panel), newest_rows(rows, h))
        return self

    def curriculum(self, panel: Panel, h: int) -> Curriculum | None:
        """Everything that `fit` does before the first network, for training elsewhere; None with too little history.

        The model is then as `fit` leaves it, except that it has no networks yet.
        """
        rows = self._rows(panel, h)
        if len(rows) < _FEWEST_ROWS:
            return None
        y = panel.y[rows.series, rows.cutoff + rows.step]
        found = curriculum_of(rows, partial(_weighed, panel=panel), y, h, self.space_, self.random_state)
        self._look_through(found.lens)
        return found

    def _rows(self, panel: Panel, h: int) -> Rows:
        """Training rows, after a fresh start."""
        self.space_ = _choose_space(panel) if self.space == "auto" else self.space
        self.plan_: Plan | None = None
        self.store_: StoreInputs | None = None
        self.base_: LinearBase | None = None
        self.inputs_: Inputs | None = None
        self.spread_ = 1.0
        self._take(())
        self.importance_: tuple[tuple[str, float], ...] = ()
        cutoffs = training_cutoffs(panel, h, _STRIDE[panel.frequency.code[0]], self.max_rows)
        if self.features == "store":
            self.store_ = StoreInputs.of(panel, self.space_)
            return self.store_.training(panel, h, cutoffs, self.max_rows, self.random_state)
        self.plan_ = plan_features(panel, Space(self.space_))
        return training_rows(panel, self.plan_, h, cutoffs, self.max_rows, self.random_state)

    def _learn(self, rows: Rows, weight: FloatArray, newest: BoolArray) -> None:
        """The base, and networks on what it leaves over."""
        calm_threads()
        from foretail.models.neural.fit import learn

        lens = Lens.of(rows, weight, self.space_, self.random_state)
        self._look_through(lens)
        shown = lens.lesson(rows, weight, rows.target)
        found = learn(lens.inputs, shown.numbers, shown.codes, shown.target, weight, newest, self.recipe())
        self._take(found.networks)
        self.importance_ = found.importance

    def _take(self, networks: tuple[QuantileNetwork, ...]) -> None:
        """Answer by these networks from now on."""
        self.networks_ = networks
        self._forwards = tuple(map(Forward.of, networks))

    def _look_through(self, lens: Lens) -> None:
        self.base_, self.inputs_, self.spread_ = lens.base, lens.inputs, lens.spread

    def recipe(self) -> Recipe:
        """How its networks are made."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            members=self.members,
            seed=self.random_state,
            n_threads=self.n_threads,
        )

    def predict(self, panel: Panel, h: int) -> Forecast:
        """Base plus networks; series without a believable forecast get the last season and the reason."""
        plan = self.outlook_plan()
        if self.store_ is not None and self.inputs_ is not None:
            return self._believed(self.store_.ahead(panel, h), panel, h)
        if plan is None:
            reasons = dict.fromkeys(range(panel.n_series), "too little history for neural")
            return answered(np.zeros((panel.n_series, h)), panel, reasons)
        return self.predict_from(Outlook.of(panel, plan, h))

    def outlook_plan(self) -> Plan | None:
        """What an outlook is made by; None where nothing was learned, or rows of the store are asked for."""
        return None if self.base_ is None or self.inputs_ is None else self.plan_

    def predict_from(self, outlook: Outlook) -> Forecast:
        """As `predict`, of the series of an outlook."""
        panel, asof = outlook.panel, outlook.asof
        found = np.concatenate([self._quantiles(part.rows()) for part in outlook.parts()])
        found = found.reshape(panel.n_series, outlook.h, len(DEFAULT_QUANTILES))
        limit = believable(panel, asof.cube.scale)
        y_hat = found[:, :, DEFAULT_QUANTILES.index(0.5)]
        forecast = answered(y_hat, panel, unbelievable(y_hat, limit, asof.reference, "neural"))
        return with_quantiles(forecast, np.clip(found, -limit[:, None, None], limit[:, None, None]), panel)

    def predict_rows(
        self, features: Mapping[str, npt.NDArray[Any]], as_of: npt.NDArray[np.datetime64], step: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Forecasts of rows of the feature store, the same as `predict` makes of the same rows.

        Parameters
        ----------
        features : by name ``[n]``: the features of ``inference_features`` and the keys; numbers as float64, NaN = not
            known, texts as objects, None = not known.
        as_of : datetime64[D] ``[n]``, the as-of date T of each row. step : ``[n]`` steps from T, 1 on.

        Returns
        -------
        The forecast ``[n]`` and ``[n, Q]`` at `DEFAULT_QUANTILES`; NaN for a row that tells nothing of past sales, or
        whose forecast nobody would believe.

        Raises
        ------
        UsageError : the model has no rows of the store to answer.
        """
        if self.store_ is None or self.inputs_ is None:
            raise UsageError(
                "the model does not take rows of the feature store.\n  where: neural\n"
                "  fix:   train neural[features=store], with more history if it already is"
            )
        rows = self.store_.rows(features, Frequency(self.store_.freq).to_index(as_of), step)
        found, limit = self._quantiles(rows), EXPLODED * rows.scale
        y_hat = found[:, DEFAULT_QUANTILES.index(0.5)]
        least = 0.0 if self.store_.non_negative else -np.inf
        good = np.isfinite(y_hat) & (np.abs(np.nan_to_num(y_hat)) <= limit)
        quantiles = np.clip(found, np.maximum(-limit, least)[:, None], limit[:, None])
        return np.where(good, np.maximum(y_hat, least), np.nan), np.where(good[:, None], quantiles, np.nan)

    def _believed(self, rows: Rows, panel: Panel, h: int) -> Forecast:
        """As `predict_from`, of rows of the store, which tell themselves what can be believed."""
        found = self._quantiles(rows)
        y_hat, limit = found[:, DEFAULT_QUANTILES.index(0.5)].reshape(-1, h), EXPLODED * rows.scale
        reference = rows.reference.reshape(-1, h)
        reasons = unbelievable(y_hat, limit.reshape(-1, h)[:, 0], reference, "neural", "no recent sales known")
        bounded = np.clip(found, -limit[:, None], limit[:, None]).reshape(panel.n_series, h, -1)
        return with_quantiles(answered(y_hat, panel, reasons), bounded, panel)

    def _quantiles(self, rows: Rows) -> FloatArray:
        """``[R, Q]`` in the unit of the target; not finite where a row has no reference."""
        assert self.base_ is not None and self.inputs_ is not None  # noqa: S101  (both or none)
        base = self.base_.predict(rows)
        found = quantiles(self._forwards, self.inputs_.numeric(rows, base), self.inputs_.codes(rows))
        y = to_sales(found, self.spread_, self.space_, base, rows.reference, rows.unit, rows.scale)
        ascending: FloatArray = np.maximum.accumulate(y, axis=1)
        return ascending

    def contributions(self, asked: Asked) -> Contributions:
        """The reference, the terms of the base, and integrated gradients of the median, as parts of sales."""
        if self.plan_ is None or self.base_ is None or self.inputs_ is None:
            return super().contributions(asked)
        return over_a_base(asked, self.plan_, self.base_, self.predict_from, self._learned)

    def _learned(self, rows: Rows, base: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What each feature and the base add ``[R, F + 1]``, and what the networks answer ``[R]``, in units.

        What the sum of the gradients misses, and what is cut from a wild answer, is shared by size.
        """
        from foretail.models.neural.attribution import integrated_gradients

        assert self.inputs_ is not None  # noqa: S101  (there is a base)
        numbers, codes = self.inputs_.numeric(rows, base), self.inputs_.codes(rows)
        found = quantiles(self._forwards, numbers, codes)[:, DEFAULT_QUANTILES.index(0.5)]
        answer = in_units(found, self.spread_, self.space_)
        parts, start = integrated_gradients(self.networks_, self.inputs_, numbers, codes, self.n_threads)
        parts *= self.spread_
        size = np.abs(parts).sum(axis=1)
        missed = answer - start * self.spread_ - parts.sum(axis=1)
        parts += np.abs(parts) * (missed / np.where(size > 0, size, 1.0))[:, None]
        learned = np.zeros((len(rows), len(rows.names) + 1))
        learned[:, [[*rows.names, "base"].index(name) for name in self.inputs_.names]] = parts
        return learned, answer

    def importance(self) -> Sequence[tuple[str, float]]:
        """Share of the loss that each feature saves on the newest targets, largest first."""
        return self.importance_

    def save(self, folder: Path) -> None:
        """Write ``neural.json`` and, where there are networks, their weights as arrays, ``networks.npz``."""
        stored = {
            "params": {name: getattr(self, name) for name in _PARAMS},
            "space": self.space_,
            "plan": None if self.plan_ is None else self.plan_.to_dict(),
            "store": None if self.store_ is None else self.store_.to_dict(),
            "base": None if self.base_ is None else self.base_.to_dict(),
            "inputs": None if self.inputs_ is None else self.inputs_.to_dict(),
            "spread": self.spread_,
            "importance": self.importance_,
        }
        (folder / "neural.json").write_text(json.dumps(stored), encoding="utf-8")
        if self.networks_:
            from foretail.models.neural.fit import save_networks

            save_networks(self.networks_, folder / "networks.npz")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "neural.json").read_text(encoding="utf-8"))
        model = cls(**stored["params"])
        model.plan_ = None if stored["plan"] is None else Plan.from_dict(stored["plan"])
        model.store_ = None if stored.get("store") is None else StoreInputs.from_dict(stored["store"])
        model.space_ = stored["space"] if model.plan_ is None else model.plan_.space
        model.base_ = None if stored["base"] is None else LinearBase.from_dict(stored["base"])
        model.inputs_ = None if stored["inputs"] is None else Inputs.from_dict(stored["inputs"])
        model.spread_ = stored["spread"]
        model.importance_ = tuple((name, share) for name, share in stored["importance"])
        model._take(())
        if model.inputs_ is not None:
            calm_threads()
            from foretail.models.neural.fit import load_networks

            model._take(load_networks(folder / "networks.npz", model.inputs_, model.members))
        return model


def _weighed(rows: Rows, panel: Panel) -> FloatArray:
    return row_weights(rows, panel.n_periods, _HALF_LIFE[panel.frequency.code[0]])


def _choose_space(panel: Panel) -> str:
    return "level" if panel.idle_share > _ZERO_SHARE else "log"
