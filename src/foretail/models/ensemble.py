"""Weighted mean of other families; the weights come from outside (a backtest's inner windows) or are equal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.contributions import Contributions, averaged
from foretail.models.families import family_class, make
from foretail.models.mixture import Mixture
from foretail.panel.panel import Panel

__all__ = ["Ensemble"]


class Ensemble(Forecaster):
    """Weighted mean of the point forecasts of its members, and of the widths of their intervals where they have some.

    Parameters
    ----------
    weights : ``{family: weight}``, positive; scaled to sum to 1. Members of weight 0 are left out.
    mixture : weights that differ between series or steps; instead of ``weights``.
    params : ``{family: keyword arguments}`` for members that need some.
    random_state, n_threads : handed to every member.
    """

    tags = Tags(local=False, covariates=True)

    def __init__(
        self,
        *,
        weights: Mapping[str, float] | None = None,
        mixture: Mixture | None = None,
        params: Mapping[str, Mapping[str, Any]] | None = None,
        random_state: int = 7,
        n_threads: int = 2,
    ):
        mixture = mixture or Mixture.flat(weights or {"theta": 1.0, "profile": 1.0, "boosting": 1.0})
        self.mixture = mixture.without_idle()
        self.params = {name: dict((params or {}).get(name, {})) for name in self.mixture.members}
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:
        """Fit every member."""
        common = {"random_state": self.random_state, "n_threads": self.n_threads}
        self.members_ = {name: make(name, **{**common, **self.params[name]}).fit(panel, h) for name in self.params}
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        """The members' forecasts, mixed; a series counts as answered by a fallback only when no member answered it."""
        return self.mixed({name: member.predict(panel, h) for name, member in self.members_.items()}, panel)

    def mixed(self, found: Mapping[str, Forecast], panel: Panel) -> Forecast:
        """The forecast that the members' forecasts of the series of a panel make together."""
        reasons: dict[int, list[str]] = {}
        for forecast in found.values():
            for row, why in forecast.reasons.items():
                reasons.setdefault(row, []).append(why)
        groups = self.mixture.groups(panel.unique_ids)
        y_hat = self.mixture.mixed({name: forecast.y_hat for name, forecast in found.items()}, groups)
        widths = {name: forecast.width for name, forecast in found.items() if forecast.width is not None}
        width = self.mixture.known(widths, groups)
        alone = {row: whys[0] for row, whys in reasons.items() if len(whys) == len(found)}
        if width is None:
            return Forecast(y_hat, reasons=alone)
        around = np.stack([y_hat - width / 2, y_hat + width / 2], axis=2)
        return Forecast(y_hat, (0.1, 0.9), around, alone)

    def contributions(self, asked: Asked) -> Contributions:
        """The members' contributions, weighted as their forecasts are."""
        groups = self.mixture.groups([asked.panel.unique_ids[row] for row in asked.series.tolist()])
        weight = self.mixture.weights_at(groups[asked.place], asked.steps)
        found = [self.members_[name].contributions(asked) for name in self.mixture.members]
        return averaged([(item, weight[:, position]) for position, item in enumerate(found)])

    def save(self, folder: Path) -> None:
        """Write ``ensemble.json`` and a folder per member, in their order."""
        stored = {
            "mixture": self.mixture.to_dict(),
            "params": self.params,
            "random_state": self.random_state,
            "n_threads": self.n_threads,
        }
        (folder / "ensemble.json").write_text(json.dumps(stored), encoding="utf-8")
        for position, member in enumerate(self.members_.values()):
            (folder / f"member-{position}").mkdir()
            member.save(folder / f"member-{position}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        stored = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        model = cls(**{**stored, "mixture": Mixture.from_dict(stored["mixture"])})
        model.members_ = {
            name: family_class(name).load(folder / f"member-{position}")
            for position, name in enumerate(model.mixture.members)
        }
        return model

    def importance(self) -> Sequence[tuple[str, float]]:
        """The members' shares, each spread over what the member uses where it says so."""
        shares: dict[str, float] = {}
        weights = self.mixture.shares()
        for name, member in self.members_.items():
            inside = member.importance() or [(name, 1.0)]
            for feature, share in inside:
                shares[feature] = shares.get(feature, 0.0) + weights[name] * share
        return sorted(shares.items(), key=lambda item: (-item[1], item[0]))
