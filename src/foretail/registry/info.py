"""What is known about a model version without loading it: the text part of a bundle."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from foretail.backtest.result import NAIVE, Leaderboard, LeaderboardRow
from foretail.core.errors import RegistryError
from foretail.core.spec import DatasetSpec
from foretail.registry.gate import Contender

__all__ = ["BundleInfo", "FamilyTree"]


@dataclass(frozen=True)
class FamilyTree:
    """A model and, for an ensemble, its members.

    Attributes
    ----------
    family : name in `foretail.models.families`.
    params : keyword arguments it was made with.
    weight : share in the ensemble it is a member of. measured : that share where the leaderboard's windows, on which
        the gate compares, were left out of its fit; the same where it is None.
    members : the members of an ensemble.
    """

    family: str
    params: Mapping[str, object] = field(default_factory=dict)
    weight: float = 1.0
    members: tuple[FamilyTree, ...] = ()
    measured: float | None = None

    @property
    def measured_weights(self) -> dict[str, float]:
        """``{family: share}`` with which it may be scored on windows of its own backtest."""
        parts = self.members or (self,)
        return {part.family: part.weight if part.measured is None else part.measured for part in parts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FamilyTree:
        """Read what ``asdict`` wrote."""
        members = tuple(cls.from_dict(member) for member in values["members"])
        return cls(values["family"], values["params"], values["weight"], members, values.get("measured"))


@dataclass(frozen=True)
class BundleInfo:
    """How a model version was made, and how good it is.

    Attributes
    ----------
    model : its name on the leaderboard. tree : what it is made of.
    spec : the dataset. dataset_version : content hash of the panel it learned from. code_version : foretail's.
    features : definitions of the features it uses, one string each, in order.
    seed : of everything random. cutoff : ISO date of the last period it saw. horizon : steps it answers.
    levels : quantile levels its intervals are calibrated for.
    leaderboard : every model's scores on the outer windows, seasonal naive's among them.
    """

    model: str
    tree: FamilyTree
    spec: DatasetSpec
    dataset_version: str
    code_version: str
    features: tuple[str, ...]
    seed: int
    cutoff: str
    horizon: int
    levels: tuple[float, ...]
    leaderboard: Leaderboard

    @property
    def row(self) -> LeaderboardRow:
        """Its row of the leaderboard."""
        return self.leaderboard.row(self.model)

    @property
    def metrics(self) -> dict[str, float]:
        """Its scores over all outer windows, by name."""
        return asdict(self.row.scores)

    def contender(self, label: str = "") -> Contender:
        """The version as the gate sees it."""
        return self._contender(self.model, label or self.model)

    def naive(self) -> Contender:
        """Seasonal naive on the same windows."""
        return self._contender(NAIVE, NAIVE)

    def _contender(self, model: str, label: str) -> Contender:
        keys = "/".join(self.spec.keys) or "one series"
        dataset = f"{self.spec.name}: {self.spec.target} by {keys}, {self.spec.freq}"
        return Contender(label, model, dataset, self.horizon, self._wape(model), self._wape(NAIVE))

    def _wape(self, model: str) -> dict[str, float]:
        """WAPE per outer window, keyed by cutoff and length; empty for a model that is not on the leaderboard."""
        length = {window.cutoff: window.h for window in self.leaderboard.windows if window.role == "outer"}
        rows = [row for row in self.leaderboard.rows if row.model == model]
        return {
            f"{cutoff}+{length[cutoff]}": scores.wape
            for row in rows
            for cutoff, scores in row.windows.items()
            if cutoff in length
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        plain = {name.name: getattr(self, name.name) for name in fields(self)}
        return {
            **plain,
            "tree": asdict(self.tree),
            "spec": json.loads(json.dumps(self.spec.to_dict(), default=dt.date.isoformat)),
            "leaderboard": self.leaderboard.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> BundleInfo:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        RegistryError : something is missing or has another form.
        """
        try:
            return cls(
                **{
                    **values,
                    "tree": FamilyTree.from_dict(values["tree"]),
                    "spec": DatasetSpec.from_dict(values["spec"], where),
                    "features": tuple(values["features"]),
                    "levels": tuple(values["levels"]),
                    "leaderboard": Leaderboard.from_dict(values["leaderboard"]),
                }
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise RegistryError(
                f"the bundle's description cannot be read: {type(error).__name__} {error}\n  where: {where}\n"
                "  fix:   it was changed by hand or written by another foretail; train the model again"
            ) from error
