"""A weighted mean of other families; the weights come from outside (a backtest's inner windows) or are equal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.families import family_class, make
from foretail.panel.panel import Panel

__all__ = ["Ensemble"]


class Ensemble(Forecaster):
    """Weighted mean of the point forecasts of its members.

    Parameters
    ----------
    weights : ``{family: weight}``, positive; scaled to sum to 1. Members of weight 0 are left out.
    params : ``{family: keyword arguments}`` for members that need some.
    random_state, n_threads : handed to every member.
    """

    tags = Tags(local=False, covariates=True)

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        params: Mapping[str, Mapping[str, Any]] | None = None,
        random_state: int = 7,
        n_threads: int = 2,
    ):
        weights = weights or {"theta": 1.0, "profile": 1.0, "boosting": 1.0}
        total = sum(weights.values())
        self.weights = {name: weight / total for name, weight in weights.items() if weight > 0}
        self.params = {name: dict((params or {}).get(name, {})) for name in self.weights}
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:
        common = {"random_state": self.random_state, "n_threads": self.n_threads}
        self.members_ = {name: make(name, **{**common, **self.params[name]}).fit(panel, h) for name in self.weights}
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        y_hat = np.zeros((panel.n_series, h))
        reasons: dict[int, list[str]] = {}
        for name, member in self.members_.items():
            forecast = member.predict(panel, h)
            y_hat += self.weights[name] * forecast.y_hat
            for row, why in forecast.reasons.items():
                reasons.setdefault(row, []).append(why)
        # a series is answered by a fallback only when no member really answered it
        alone = {row: whys[0] for row, whys in reasons.items() if len(whys) == len(self.members_)}
        return Forecast(y_hat, reasons=alone)

    def save(self, folder: Path) -> None:
        (folder / "ensemble.json").write_text(json.dumps({"weights": self.weights}))
        for name, member in self.members_.items():
            (folder / name).mkdir()
            member.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        stored = json.loads((folder / "ensemble.json").read_text())
        model = cls(weights=stored["weights"])
        model.weights = stored["weights"]  # bit for bit, not scaled again
        model.members_ = {name: family_class(name).load(folder / name) for name in model.weights}
        return model

    def importance(self) -> Sequence[tuple[str, float]]:
        """The members' shares, each spread over what the member uses where it says so."""
        shares: dict[str, float] = {}
        for name, member in self.members_.items():
            inside = member.importance() or [(name, 1.0)]
            for feature, share in inside:
                shares[feature] = shares.get(feature, 0.0) + self.weights[name] * share
        return sorted(shares.items(), key=lambda item: (-item[1], item[0]))
