"""Trees over a linear base: what gradient boosting families share, whatever library grows the trees.

Rows are made at past cutoffs, a linear base is fitted to them, and trees learn what it leaves over, all steps in one
direct model. A subclass says how its library grows, asks, keeps and reads trees.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from foretail.core.quantiles import quantile_column
from foretail.features.asof import Plan
from foretail.features.frame import Outlook, Rows, training_cutoffs, training_rows
from foretail.features.space import Space
from foretail.models.asked import Asked
from foretail.models.attribution import over_a_base
from foretail.models.base import LinearBase, fit_base
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.contributions import Contributions
from foretail.models.fallback import answered, believable, unbelievable
from foretail.models.heads import ALL_HEADS, INTERVAL_HEADS, filled_levels, with_quantiles
from foretail.models.monotone import Monotone, check_monotone, check_together, constraints, monotone_plan, read_monotone
from foretail.models.parameters import at_least, one_of, share_above_0
from foretail.models.sample import Sample, row_weights, taken, with_base, young_features
from foretail.panel.panel import Panel

__all__ = ["HUBER", "Trees", "calm_threads"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HUBER = 0.3  # errors above this (30 %, in logs) count in proportion, below it squared
# periods between training cutoffs (three weeks is no multiple of a month), and age at which a row counts half
_STRIDE = {"D": 21, "W": 3, "M": 1}
_HALF_LIFE = {"D": 400, "W": 40, "M": 24}
_CLIP = {"log": 3.0, "level": 20.0}  # differences from the base are cut here: a factor of 20, or 20 times the series
_ZERO_SHARE = 0.15  # of open periods: with more of them without sales, a mean says little of any one period
_REST_SHARE = 0.01  # with fewer, it does not matter when they are
_TELL_DATES = 5  # series from which on a date is more than the luck of one of them
_FEWEST_ROWS = 50  # fewer training rows than this teach nothing that the last season does not say

_SPACES = ("auto", "log", "level", "backtest")
_HEADS = ("auto", "none", "interval", "quantile")
_TRIED_CUTOFFS = 3  # held-out cutoffs on which the spaces are compared, as far as a quarter of the history reaches
_TRIED_ROWS = 150_000  # training rows of that comparison: enough to tell the spaces apart
_ASKED_ROWS = 100_000  # training rows that say where the middle of the sales lies
_HEAD_SHARE = 0.3  # of the rounds, for a quantile head: more of them overfit the tails and cost in proportion


class Trees(Forecaster):
    """Global gradient boosting on as-of features.

    Parameters
    ----------
    space : ``log``, ``level``, ``auto`` (logs; levels where days without sales follow the weekday or the date, or many
        weeks or months sell nothing) or ``backtest`` (the one with the smaller WAPE on the last held-out cutoffs,
        before the final fit).
    rounds, leaves, learning_rate : size of an ensemble of trees.
    bags : ensembles of the point forecast, grown from other seeds and averaged: what one of them learned by chance,
        say from the only Christmas it saw, weighs less.
    objective : ``l2``, ``l1``, ``huber`` or a name of the library's own, on the difference from the base; ``auto`` is
        ``l2`` for days, unless many of them sold nothing or shops rest on some; otherwise ``l1``, or ``huber`` where a
        constraint must hold.
    monotone : known covariate -> -1 or 1, or ``price:-1;promo:1``: for one date, everything else equal, a higher value
        never sells more (-1) or less (1).
    early_stopping : rounds without gain on later targets after which growing stops; the trees are then grown again on
        all rows with the best number of rounds. 0 = off.
    heads : trees for quantiles too, each with three tenths of the rounds: ``interval`` for two, ``quantile`` for seven,
        ``none``; ``auto`` is ``interval``, or ``none`` where a constraint must hold.
    max_rows : training rows at most (a seeded sample).
    random_state : seed of the sample and of the trees.
    n_threads : threads; the same result for any number.

    Attributes
    ----------
    plan_ : decisions about the features. base_ : the linear base. boosters_ : the trees, one booster per bag; there is
    no base and no tree after a fit on too little history. names_ : features of the trees, in their order.
    hidden_ : those whose values they are not shown, see `young_features`. rounds_ : rounds of the point forecast.
    shift_ : what the middle of the sales lies above that, in logs. heads_ : quantile level -> trees.

    Raises
    ------
    UsageError : an unknown space or kind of heads; quantile heads or an l1 objective under a monotone constraint.
    """

    tags = Tags(local=False, covariates=True)
    family: ClassVar[str]
    suffix: ClassVar[str]

    def __init__(
        self,
        *,
        space: str,
        rounds: int,
        leaves: int,
        learning_rate: float,
        objective: str,
        monotone: Monotone,
        early_stopping: int,
        bags: int,
        heads: str,
        max_rows: int,
        random_state: int,
        n_threads: int,
    ):
        self.space = one_of(self.family, "space", space, _SPACES)
        self.rounds = at_least(self.family, "rounds", rounds, 1)
        self.leaves = at_least(self.family, "leaves", leaves, 2)
        self.learning_rate = share_above_0(self.family, "learning_rate", learning_rate)
        self.objective = objective
        self.monotone = read_monotone(monotone)
        self.early_stopping = at_least(self.family, "early_stopping", early_stopping, 0)
        self.bags = at_least(self.family, "bags", bags, 1)
        self.heads = one_of(self.family, "heads", heads, _HEADS)
        self.max_rows = at_least(self.family, "max_rows", max_rows, 1)
        self.random_state = random_state
        self.n_threads = n_threads
        check_together(self.monotone, self.objective, self.heads)

    # what a library must be able to do

    @abstractmethod
    def _data(self, sample: Sample, reference: Any = None) -> Any:
        """The library's own form of a sample; a validation sample is binned like its ``reference``."""

    @abstractmethod
    def _grow(self, data: Any, objective: Mapping[str, Any], signs: list[int], rounds: int, valid: Any = None) -> Any:
        """Trees; ``objective`` may hold another seed.

        With ``valid`` growing stops after ``early_stopping`` rounds without gain there.
        """

    @abstractmethod
    def _objective(self, name: str) -> dict[str, Any]:
        """Library parameters of ``l2``, ``l1``, ``huber`` or an objective of its own."""

    @abstractmethod
    def _quantile(self, level: float) -> dict[str, Any]:
        """Library parameters of the pinball loss."""

    @abstractmethod
    def _best_rounds(self, booster: Any) -> int:
        """Rounds after which a stopped fit was best."""

    @abstractmethod
    def _ask(self, booster: Any, x: Float32Array) -> FloatArray:
        """Predictions ``[R]``."""

    @abstractmethod
    def _shapley(self, booster: Any, x: Float32Array) -> FloatArray:
        """``[R, F + 1]`` Shapley values of the features by TreeSHAP, what is expected without any of them last."""

    @abstractmethod
    def _gain(self, booster: Any) -> FloatArray:
        """``[F]`` gain of each feature."""

    @abstractmethod
    def _write(self, booster: Any, path: Path) -> None:
        """Write trees in the library's own format."""

    @abstractmethod
    def _read(self, path: Path) -> Any:
        """Read what ``_write`` wrote."""

    # learning

    def fit(self, panel: Panel, h: int) -> Self:
        """Learn the base and the trees; with too little history nothing, and `predict` answers the last season.

        Raises
        ------
        UsageError : a monotone constraint on something that is no known covariate, or on text.
        """
        check_monotone(panel, self.monotone)
        letter = panel.frequency.code[0]
        self.plan_ = monotone_plan(panel, Space(self._choose_space(panel, h)), self.monotone)
        self.base_: LinearBase | None = None
        self.boosters_: list[Any] = []
        self.heads_: dict[float, Any] = {}
        self.rounds_ = 0
        self.shift_ = 0.0
        cutoffs = training_cutoffs(panel, h, _STRIDE[letter], self.max_rows)
        rows = training_rows(panel, self.plan_, h, cutoffs, self.max_rows, self.random_state)
        self.names_ = (*rows.names, "base")
        self.hidden_ = young_features(rows, panel.frequency) if len(rows) else ()
        if len(rows) >= _FEWEST_ROWS:
            weight = row_weights(rows, panel.n_periods, _HALF_LIFE[letter], self.hidden_)
            self._learn(rows, weight, self._objective_name(panel), panel.n_periods - 1 - h)
        return self

    def _learn(self, rows: Rows, weight: FloatArray, name: str, last: int) -> None:
        """Base, trees by an objective, and heads; ``last`` is the newest cutoff whose whole horizon is observed."""
        objective = self._objective(name)
        self.rounds_ = self._stop(rows, weight, objective, last) if self.early_stopping else self.rounds
        self.base_ = fit_base(rows, weight, self.random_state)
        sample = self._sample(rows, weight, self.base_)
        data = self._data(sample)
        self.boosters_ = [
            self._grow(data, objective | {"seed": self.random_state + bag}, sample.signs, self.rounds_)
            for bag in range(self.bags)
        ]
        if self.plan_.space == "log" and name == "l2":
            self.shift_ = self._below_middle(sample)
        rounds = max(1, round(_HEAD_SHARE * self.rounds_))
        self.heads_ = {
            level: self._grow(data, self._quantile(level), sample.signs, rounds) for level in self._head_levels()
        }

    def _below_middle(self, sample: Sample) -> float:
        """How far the mean of the logs, which squares of errors lead to, lies below the middle of the sales.

        Few pieces a day have logs with a long lower tail, and their mean would be short of every second day by far.
        """
        few = slice(None, None, -(-len(sample.y) // _ASKED_ROWS))
        left = sample.y[few] - self._mean(sample.x[few])
        order = np.argsort(left, kind="stable")
        weight = np.cumsum(sample.weight[few][order])
        return float(left[order][np.searchsorted(weight, weight[-1] / 2)])

    def _head_levels(self) -> tuple[float, ...]:
        if self.heads == "none" or (self.heads == "auto" and self.monotone):
            return ()
        return ALL_HEADS if self.heads == "quantile" else INTERVAL_HEADS

    def _stop(self, rows: Rows, weight: FloatArray, objective: Mapping[str, Any], last: int) -> int:
        """The best number of rounds on targets that lie after every target learned from.

        Validation rows are those of the newest cutoff with a whole horizon behind it and of later ones; rows of earlier
        cutoffs are learned from while their target is not after that cutoff. The base is fitted without the others too.
        """
        whole = rows.cutoff[rows.cutoff <= last]
        boundary = int(whole.max()) if len(whole) else -1
        later, earlier = rows.cutoff >= boundary, rows.cutoff + rows.step <= boundary
        if min(int(later.sum()), int(earlier.sum())) < _FEWEST_ROWS:
            logger.info("%s: too little history to stop early; all %d rounds are grown", self.family, self.rounds)
            return self.rounds
        old, new = taken(rows, earlier), taken(rows, later)
        base = fit_base(old, weight[earlier], self.random_state)
        sample = self._sample(old, weight[earlier], base)
        data = self._data(sample)
        valid = self._data(self._sample(new, weight[later], base), data)
        return max(1, self._best_rounds(self._grow(data, objective, sample.signs, self.rounds, valid)))

    def _sample(self, rows: Rows, weight: FloatArray, linear: LinearBase) -> Sample:
        base = linear.predict(rows)
        bound = _CLIP[self.plan_.space]
        return Sample(
            with_base(rows, base, self.hidden_),
            np.clip(rows.target - base, -bound, bound),
            weight,
            [position for position, feature in enumerate(rows.features) if feature.is_category],
            [*constraints(rows.features, self.monotone), 0],
        )

    def _objective_name(self, panel: Panel) -> str:
        if self.objective != "auto":
            return self.objective
        is_calm = panel.frequency.is_daily and panel.idle_share <= _ZERO_SHARE and not _rests(panel)
        return "l2" if is_calm else "huber" if self.monotone else "l1"

    # the space

    def _choose_space(self, panel: Panel, h: int) -> str:
        if self.space == "backtest":
            return self._backtest_space(panel, h)
        return _usual_space(panel) if self.space == "auto" else self.space

    def _backtest_space(self, panel: Panel, h: int) -> str:
        """The space with the smaller absolute error on held-out cutoffs; the usual one where there is too little."""
        usual = _usual_space(panel)
        n = min(_TRIED_CUTOFFS, panel.n_periods // (4 * h))
        origins = [panel.n_periods - h * back for back in range(n, 0, -1)]
        if not origins:
            return usual
        panel = panel.select(np.flatnonzero(panel.as_of(origins[0], 0).observed.any(1)))
        errors = {}
        for space in dict.fromkeys((usual, "log", "level")):
            model = self._but(space=space, bags=1, heads="none", max_rows=min(self.max_rows, _TRIED_ROWS))
            errors[space] = model._held_out_error(panel, h, origins)
        return min(errors, key=lambda space: errors[space])  # the usual one comes first and wins a tie

    def _held_out_error(self, panel: Panel, h: int, origins: Sequence[int]) -> float:
        """Absolute error over open observed periods, fitted once at the first origin; infinite where nothing can be."""
        if not panel.n_series or not self.fit(panel.as_of(origins[0], h), h).boosters_:
            return float("inf")
        error = 0.0
        for origin in origins:
            y = np.where(panel.closed[:, origin : origin + h], np.nan, panel.y[:, origin : origin + h])
            error += float(np.nansum(np.abs(self.predict(panel.as_of(origin, h), h).y_hat - y)))
        return error

    def _but(self, **changes: Any) -> Self:
        """A new forecaster with some parameters changed."""
        return type(self)(**{**self._params(), **changes})

    def _params(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    # forecasting

    def predict(self, panel: Panel, h: int) -> Forecast:
        """Base plus trees; series without a believable forecast get the last season and the reason."""
        plan = self.outlook_plan()
        if plan is None:
            reasons = dict.fromkeys(range(panel.n_series), f"too little history for {self.family}")
            return answered(np.zeros((panel.n_series, h)), panel, reasons)
        return self.predict_from(Outlook.of(panel, plan, h))

    def outlook_plan(self) -> Plan | None:
        """What an outlook is made by; None where nothing was learned."""
        return None if self.base_ is None else self.plan_

    def predict_from(self, outlook: Outlook) -> Forecast:
        """As `predict`, of the series of an outlook."""
        points, quantiles = zip(*(self._sold(part, self.heads_) for part in outlook.parts()), strict=True)
        forecast = self._answered(np.concatenate(points), outlook)
        return with_quantiles(forecast, np.concatenate(quantiles), outlook.panel) if self.heads_ else forecast

    def _point(self, outlook: Outlook) -> Forecast:
        return self._answered(self._sold(outlook, {})[0], outlook)

    def _answered(self, y_hat: FloatArray, outlook: Outlook) -> Forecast:
        panel, asof = outlook.panel, outlook.asof
        limit = believable(panel, asof.cube.scale)
        return answered(y_hat, panel, unbelievable(y_hat, limit, asof.reference, self.family))

    def _sold(self, outlook: Outlook, heads: Mapping[float, Any]) -> tuple[FloatArray, FloatArray]:
        """Sales of every series and step ``[N, H]``, and ``[N, H, Q]`` at the default levels where there are heads."""
        assert self.base_ is not None  # noqa: S101  (there is an outlook only where something was learned)
        rows = outlook.rows()
        base = self.base_.predict(rows)
        x = with_base(rows, base, self.hidden_)
        y_hat = self._sales(rows, base + self._mean(x) + self.shift_).reshape(-1, outlook.h)
        if not heads:
            return y_hat, np.empty((*y_hat.shape, 0))
        found = np.stack([self._ask(booster, x) for booster in heads.values()], axis=1)
        levels = base[:, None] + filled_levels(found, tuple(heads))
        # quantiles of sales are the sales of quantiles
        return y_hat, np.stack([self._sales(rows, level).reshape(y_hat.shape) for level in levels.T], axis=2)

    def _mean(self, x: Float32Array) -> FloatArray:
        """``[R]`` mean of the bags."""
        return sum((self._ask(booster, x) for booster in self.boosters_), np.zeros(len(x))) / len(self.boosters_)

    def _sales(self, rows: Rows, difference: FloatArray) -> FloatArray:
        """Differences from the reference, ``[R]``, as sales."""
        with np.errstate(over="ignore", invalid="ignore"):
            z = rows.reference + rows.unit * difference
            return Space(self.plan_.space).inverse(z, rows.scale)

    def contributions(self, asked: Asked) -> Contributions:
        """The reference, the terms of the base, and TreeSHAP averaged over the bags, as parts of sales.

        Source: Lundberg et al. (2020), *From local explanations to global understanding with explainable AI for trees*.
        """
        if self.base_ is None:
            return super().contributions(asked)
        return over_a_base(asked, self.plan_, self.base_, self._point, self._learned)

    def _learned(self, rows: Rows, base: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean Shapley values of the features and the base ``[R, F + 1]``, and what the trees answer ``[R]``."""
        x = with_base(rows, base, self.hidden_)
        shapley = np.mean([self._shapley(booster, x) for booster in self.boosters_], axis=0)
        return shapley[:, :-1], self._mean(x) + self.shift_

    def importance(self) -> Sequence[tuple[str, float]]:
        """Share of the trees' gain per feature, largest first; features without any gain are left out."""
        if not self.boosters_:
            return ()
        gain = sum((self._gain(booster) for booster in self.boosters_), np.zeros(len(self.names_)))
        total = float(gain.sum())
        found = [(name, float(item) / total) for name, item in zip(self.names_, gain, strict=True) if item > 0]
        return tuple(sorted(found, key=lambda pair: (-pair[1], pair[0])))

    # on disk

    def save(self, folder: Path) -> None:
        """Write ``<family>.json`` and, in the library's format, ``trees``, ``trees_bag1`` … and ``trees_q10`` …"""
        stored = {
            "params": self._params(),
            "plan": self.plan_.to_dict(),
            "base": None if self.base_ is None else self.base_.to_dict(),
            "names": self.names_,
            "hidden": self.hidden_,
            "rounds": self.rounds_,
            "shift": self.shift_,
            "heads": list(self.heads_),
        }
        (folder / f"{self.family}.json").write_text(json.dumps(stored), encoding="utf-8")
        for bag, booster in enumerate(self.boosters_):
            self._write(booster, self._file(folder, bag))
        for level, booster in self.heads_.items():
            self._write(booster, self._file(folder, level))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / f"{cls.family}.json").read_text(encoding="utf-8"))
        model = cls(**stored["params"])
        model.plan_ = Plan.from_dict(stored["plan"])
        model.names_ = tuple(stored["names"])
        model.hidden_ = tuple(stored.get("hidden", ()))
        model.base_ = None if stored["base"] is None else LinearBase.from_dict(stored["base"])
        bags = 0 if model.base_ is None else model.bags
        model.boosters_ = [model._read(model._file(folder, bag)) for bag in range(bags)]
        model.shift_ = stored.get("shift", 0.0)
        model.rounds_ = stored.get("rounds", 0 if model.base_ is None else model.rounds)
        model.heads_ = {level: model._read(model._file(folder, level)) for level in stored.get("heads", ())}
        return model

    def _file(self, folder: Path, which: int | float) -> Path:
        """The file of a bag (an integer) or of a quantile head (its level)."""
        name = quantile_column(which) if isinstance(which, float) else f"bag{which}" if which else ""
        return folder / f"trees{'_' if name else ''}{name}{self.suffix}"


def calm_threads() -> None:
    """Tell idle OpenMP threads to sleep early: by default they spin on cores that other work waits for.

    One LightGBM fit on two threads beside two busy processes took half the time with it; alone it took the same. The
    variable is read when a library is loaded, so call this before.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def _usual_space(panel: Panel) -> str:
    """Logs, unless periods without sales are many, or days without them can be foreseen: then levels, which reach 0."""
    if _rests(panel):
        return "level"
    by_chance = panel.frequency.is_daily and panel.spec.non_negative
    return "level" if panel.idle_share > _ZERO_SHARE and not by_chance else "log"


def _rests(panel: Panel) -> bool:
    """Whether its weekday, or the date, says more of whether a day of a series sells than all else does."""
    if not panel.frequency.is_daily or panel.idle_share <= _REST_SHARE:
        return False
    is_open = panel.observed & ~panel.closed[:, : panel.n_periods]
    is_idle, week = is_open & (panel.y <= 0), panel.frequency.season_length

    def says_most(idle: IntArray, days: IntArray) -> bool:
        """Of kinds of days ``[K, G]`` in groups of series: their share of the variance within these."""
        every = float((idle.sum(0) ** 2 / np.maximum(days.sum(0), 1)).sum())
        return float((idle**2 / np.maximum(days, 1)).sum()) - every > 0.5 * (float(idle.sum()) - every)

    by_weekday = (np.stack([item[:, day::week].sum(1) for day in range(week)]) for item in (is_idle, is_open))
    by_date = (item.sum(0)[:, None] for item in (is_idle, is_open))
    return says_most(*by_weekday) or (panel.n_series >= _TELL_DATES and says_most(*by_date))
