"""A weighted average of XGBoost, LightGBM and Prophet, weighted by their errors on held-out periods.

The history is split 70/15/15 by whole periods: the members learn from the first part, their WAPE on the second gives
the weights (its inverse), the third is measured and reported but decides nothing. Then the members learn from
everything. A member that fails is left out with its reason, one that is not installed is an error; where the split is
too short the weights are equal.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from foretail.core.errors import ForecastError, UsageError
from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.contributions import Contributions, averaged
from foretail.models.fallback import answered
from foretail.models.families import family_class, make
from foretail.panel.panel import Panel

__all__ = ["EnsembleC"]

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
T = TypeVar("T")

_MEMBERS = ("xgboost", "boosting", "prophet")
_SHARES = (70, 85)  # per cent of the periods at which the second and the third part begin
_FEWEST_PERIODS, _FEWEST_HELD = 20, 3  # a shorter first part, or shorter others, say nothing about a member
_MOST_CUTOFFS = 8  # forecasts of each held-out part: more cost time and change the second digit of a weight
_LEAST_WAPE = 1e-6  # a member without any error does not get all the weight
_ALL = "ensemble"


class EnsembleC(Forecaster):
    """Inverse-error weighted average of its members' point forecasts.

    A series that some members answer only by a fallback is averaged over the others.

    Parameters
    ----------
    members : families, as a sequence or as text ``xgboost;boosting``; a name may carry parameters.
    params : ``{member: keyword arguments}`` for members that need some.
    random_state, n_threads : handed to every member.

    Attributes
    ----------
    members_ : fitted forecasters by name. weights_ : of each, adding up to 1. why_equal_ : why the weights are equal;
    "" where they were measured. left_out_ : ``{member: reason}``. validation_ : WAPE of each member on the second part.
    test_ : WAPE on the third part of each member and of the ``ensemble``. Both are empty where nothing was measured.

    Raises
    ------
    UsageError : no member, one twice, an unknown family, or a parameter that it does not have.
    MissingExtraError : the package of a member is not installed.
    """

    tags = Tags(local=False, covariates=True)

    def __init__(
        self,
        *,
        members: Sequence[str] | str = _MEMBERS,
        params: Mapping[str, Mapping[str, Any]] | None = None,
        random_state: int = 7,
        n_threads: int = 2,
    ):
        self.members = tuple(part.strip() for part in members.split(";")) if isinstance(members, str) else (*members,)
        if not self.members or len(set(self.members)) < len(self.members):
            raise UsageError(
                f"an ensemble needs members, each once.\n  where: members = {list(self.members)}"
                f"\n  fix:   members={';'.join(_MEMBERS)}"
            )
        self.params = {name: dict((params or {}).get(name, {})) for name in self.members}
        self.random_state = random_state
        self.n_threads = n_threads
        for name in self.members:
            self._made(name)  # what cannot be made is told now, and not as a member that failed

    def fit(self, panel: Panel, h: int) -> Self:
        """Measure the members on the split, then let those that did not fail learn from the whole panel.

        Raises
        ------
        ForecastError : every member failed.
        """
        self.left_out_: dict[str, str] = {}
        self.validation_: dict[str, float] = {}
        self.test_: dict[str, float] = {}
        self.why_equal_ = self._measure(panel, h)
        fitted = {name: self._tried(name, partial(self._whole, name, panel, h)) for name in self._able()}
        self.members_ = {name: member for name, member in fitted.items() if member is not None}
        if not self.members_:
            raise ForecastError(_every_member(self.left_out_))
        self.weights_ = _weights(tuple(self.members_), self.validation_)
        return self

    def _able(self) -> tuple[str, ...]:
        return tuple(name for name in self.members if name not in self.left_out_)

    def _made(self, name: str) -> Forecaster:
        return make(name, **{"random_state": self.random_state, "n_threads": self.n_threads, **self.params[name]})

    def _whole(self, name: str, panel: Panel, h: int) -> Forecaster:
        return self._made(name).fit(panel, h)

    def _early(self, name: str, panel: Panel, n_periods: int, h: int) -> Forecaster:
        return self._made(name).fit(panel.as_of(n_periods, h), h)

    def _tried(self, name: str, work: Callable[[], T]) -> T | None:
        """What a member did, or None; its reason is kept and told."""
        done, reason = _attempt(work)
        if reason:
            self.left_out_[name] = reason
            logger.warning("ensemble-c goes on without %s: %s", name, reason)
        return done

    # the split

    def _measure(self, panel: Panel, h: int) -> str:
        """Fill ``validation_`` and ``test_``; why the weights must be equal, or "" where they were measured."""
        second, third = (panel.n_periods * share // 100 for share in _SHARES)
        if second < _FEWEST_PERIODS or third - second < _FEWEST_HELD:
            return f"too short to split: {panel.n_periods} periods"
        seen = panel.select(np.flatnonzero(panel.as_of(second, 0).observed.any(1)))
        if not seen.n_series:
            return "no series had begun in the first 70 % of the periods"
        models = {name: self._tried(name, partial(self._early, name, seen, second, h)) for name in self.members}
        early = {name: model for name, model in models.items() if model is not None}
        held = self._held_out(early, seen, h, second, third)
        silent = [name for name, forecasts in held.items() if not any(np.isfinite(item).any() for item in forecasts)]
        if silent:
            return f"too short to compare: {', '.join(silent)} answered no series after 70 % of the periods"
        self.validation_ = _wapes(seen, h, second, third, held) if held else {}
        if not self.validation_:
            return "nothing to compare was sold in the periods between 70 % and 85 %"
        tested = self._held_out({name: early[name] for name in held}, seen, h, third, panel.n_periods)
        self.validation_ = {name: wape for name, wape in self.validation_.items() if name in tested}
        weights = _weights(tuple(tested), self.validation_)
        if tested:
            self.test_ = _wapes(seen, h, third, panel.n_periods, {**tested, _ALL: _blends(tested, weights)})
        return ""

    def _held_out(
        self, models: Mapping[str, Forecaster], panel: Panel, h: int, first: int, end: int
    ) -> dict[str, list[FloatArray]]:
        """Forecasts ``[N, h]`` of each model from every cutoff of a part, NaN where a fallback answered."""
        origins = _origins(first, end, h)
        found = {
            name: self._tried(name, partial(_from_each, model, panel, h, origins)) for name, model in models.items()
        }
        return {name: forecasts for name, forecasts in found.items() if forecasts is not None}

    # forecasting

    def predict(self, panel: Panel, h: int) -> Forecast:
        """The weighted average; a member that fails now is left out of this forecast and told.

        Raises
        ------
        ForecastError : every member failed.
        """
        failed: dict[str, str] = {}
        forecasts: dict[str, Forecast] = {}
        for name, member in self.members_.items():
            forecast, reason = _attempt(partial(_asked, member, panel, h))
            if forecast is None:
                failed[name] = reason
                logger.warning("ensemble-c forecasts without %s: %s", name, reason)
            else:
                forecasts[name] = forecast
        if not forecasts:
            raise ForecastError(_every_member(failed))
        return self.mixed(forecasts, panel)

    def mixed(self, found: Mapping[str, Forecast], panel: Panel) -> Forecast:
        """The forecast that the members' forecasts of the series of a panel make together."""
        own = {name: _without_fallback(forecast) for name, forecast in found.items()}
        y_hat = _blend(own, self.weights_)
        unanswered = np.flatnonzero(~np.isfinite(y_hat).all(1)).tolist()
        first = next(iter(found.values()))
        return answered(np.nan_to_num(y_hat), panel, {row: first.reasons[row] for row in unanswered})

    def contributions(self, asked: Asked) -> Contributions:
        """The contributions of the members that answer a series, weighted as their forecasts are.

        Raises
        ------
        ForecastError : every member failed.
        """
        failed: dict[str, str] = {}
        found: dict[str, Contributions] = {}
        for name, member in self.members_.items():
            parts, reason = _attempt(partial(member.contributions, asked))
            if parts is None:
                failed[name] = reason
                logger.warning("ensemble-c explains without %s: %s", name, reason)
            else:
                found[name] = parts
        if not found:
            raise ForecastError(_every_member(failed))
        return _mixed(found, self.weights_)

    def importance(self) -> Sequence[tuple[str, float]]:
        """The members' shares, each spread over what the member uses where it says so."""
        shares: dict[str, float] = {}
        for name, member in self.members_.items():
            for feature, share in member.importance() or [(name, 1.0)]:
                shares[feature] = shares.get(feature, 0.0) + self.weights_[name] * share
        return sorted(shares.items(), key=lambda item: (-item[1], item[0]))

    # on disk

    def save(self, folder: Path) -> None:
        """Write ``ensemble-c.json`` and a folder ``member-0`` … for each fitted member."""
        stored = {
            "params": {name: getattr(self, name) for name in ("members", "params", "random_state", "n_threads")},
            "weights": self.weights_,
            "why_equal": self.why_equal_,
            "left_out": self.left_out_,
            "validation": self.validation_,
            "test": self.test_,
        }
        (folder / "ensemble-c.json").write_text(json.dumps(stored), encoding="utf-8")
        for position, member in enumerate(self.members_.values()):
            (folder / f"member-{position}").mkdir()
            member.save(folder / f"member-{position}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "ensemble-c.json").read_text(encoding="utf-8"))
        model = cls(**stored["params"])
        model.weights_ = stored["weights"]
        model.why_equal_ = stored["why_equal"]
        model.left_out_, model.validation_, model.test_ = (stored[key] for key in ("left_out", "validation", "test"))
        model.members_ = {
            name: family_class(name).load(folder / f"member-{position}") for position, name in enumerate(model.weights_)
        }
        return model


def _origins(first: int, end: int, h: int) -> list[int]:
    """Periods known at each cutoff of a part: every h periods, or fewer cutoffs spread evenly."""
    n = -(-(end - first) // h)
    if n <= _MOST_CUTOFFS:
        return list(range(first, end, h))
    return [first + (end - first - h) * position // (_MOST_CUTOFFS - 1) for position in range(_MOST_CUTOFFS)]


def _attempt(work: Callable[[], T]) -> tuple[T | None, str]:
    """What came of it, or None and the reason in one line."""
    try:
        return work(), ""
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except Exception as failure:  # a member that fails costs itself, never the others
        return None, f"{type(failure).__name__}: {failure}".splitlines()[0][:160]


def _asked(model: Forecaster, panel: Panel, h: int) -> Forecast:
    forecast = model.predict(panel, h)
    if not np.isfinite(forecast.y_hat).all():
        raise ForecastError("a forecast is no number")
    return forecast


def _from_each(model: Forecaster, panel: Panel, h: int, origins: Sequence[int]) -> list[FloatArray]:
    """Forecasts ``[N, h]`` from each cutoff; NaN where a fallback answered."""
    return [_without_fallback(_asked(model, panel.as_of(origin, h), h)) for origin in origins]


def _without_fallback(forecast: Forecast) -> FloatArray:
    y_hat = forecast.y_hat.copy()
    y_hat[sorted(forecast.reasons)] = np.nan
    return y_hat


def _blend(own: Mapping[str, FloatArray], weights: Mapping[str, float]) -> FloatArray:
    """Average over the members that answered a series themselves; NaN where none did."""
    total = np.zeros_like(next(iter(own.values())))
    weight = np.zeros((len(total), 1))
    for name, y_hat in own.items():
        answers = np.isfinite(y_hat).all(1, keepdims=True)
        total += np.where(answers, weights[name] * y_hat, 0.0)
        weight += np.where(answers, weights[name], 0.0)
    average: FloatArray = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)
    return average


def _mixed(found: Mapping[str, Contributions], weights: Mapping[str, float]) -> Contributions:
    """Average over the members that answered a forecast themselves; the first one's fallback where none did."""
    own = {name: np.where(item.fallback, 0.0, weights[name]) for name, item in found.items()}
    total = sum(own.values())
    first = next(iter(found))
    own[first] = np.where(total > 0, own[first], 1.0)
    total = np.where(total > 0, total, 1.0)
    return averaged([(item, own[name] / total) for name, item in found.items()])


def _blends(held: Mapping[str, list[FloatArray]], weights: Mapping[str, float]) -> list[FloatArray]:
    names = tuple(held)
    return [_blend(dict(zip(names, own, strict=True)), weights) for own in zip(*held.values(), strict=True)]


def _wapes(panel: Panel, h: int, first: int, end: int, held: Mapping[str, list[FloatArray]]) -> dict[str, float]:
    """WAPE of each over open observed periods of a part that all of them answered; empty without any sales there."""
    origins = _origins(first, end, h)
    y = np.concatenate([_actual(panel, origin, h, end) for origin in origins])
    stacked = {name: np.concatenate(forecasts) for name, forecasts in held.items()}
    used = np.isfinite(y) & np.logical_and.reduce([np.isfinite(item) for item in stacked.values()])
    sold = float(np.abs(y[used]).sum())
    if not sold > 0:
        return {}
    return {name: float(np.abs(item[used] - y[used]).sum()) / sold for name, item in stacked.items()}


def _actual(panel: Panel, origin: int, h: int, end: int) -> FloatArray:
    """``[N, h]`` open observed sales after a cutoff; NaN beyond the end of the part."""
    columns = slice(origin, min(origin + h, end))
    y = np.where(panel.closed[:, columns], np.nan, panel.y[:, columns])
    return np.pad(y, ((0, 0), (0, h - y.shape[1])), constant_values=np.nan)


def _weights(names: Sequence[str], wape: Mapping[str, float]) -> dict[str, float]:
    """Inverse of the WAPE, adding up to 1; equal where nothing was measured."""
    raw = {name: 1.0 / max(wape[name], _LEAST_WAPE) if wape else 1.0 for name in names}
    total = sum(raw.values())
    return {name: value / total for name, value in raw.items()}


def _every_member(reasons: Mapping[str, str]) -> str:
    lines = "\n".join(f"    {name}: {why}" for name, why in reasons.items())
    return f"every member of ensemble-c failed.\n  where:\n{lines}\n  fix:   members=theta;profile, or see above"
