"""Weights of an ensemble: one set for all, or one per group of series and part of the horizon; sets sum to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Mixture"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Mixture:
    """How members are mixed.

    Attributes
    ----------
    members : M names. weights : ``[G, S, M]``, not negative; each ``[g, s]`` sums to 1.
    first_steps : ``[S]`` first step of each part of the horizon, ascending from 1.
    group_of : ``{unique_id: g}``; series that are not in it belong to group 0.
    """

    members: tuple[str, ...]
    weights: FloatArray
    first_steps: IntArray
    group_of: Mapping[str, int]

    @classmethod
    def flat(cls, weights: Mapping[str, float]) -> Self:
        """One set of weights for every series and step; scaled to sum to 1."""
        total = sum(weights.values())
        values = np.array([[[weight / total for weight in weights.values()]]])
        return cls(tuple(weights), values, np.ones(1, dtype=np.int64), {})

    def groups(self, unique_ids: Sequence[str]) -> IntArray:
        """``[N]`` group of each series."""
        return np.array([self.group_of.get(name, 0) for name in unique_ids], dtype=np.int64)

    def mixed(self, parts: Mapping[str, FloatArray], groups: IntArray) -> FloatArray:
        """Weighted mean of the members' forecasts.

        Parameters
        ----------
        parts : ``[N, H]`` per member. groups : ``[N]``.
        """
        h = next(iter(parts.values())).shape[1]
        part = np.searchsorted(self.first_steps, np.arange(1, h + 1), side="right") - 1
        result = np.zeros((len(groups), h))
        for position, name in enumerate(self.members):
            result += self.weights[groups[:, None], part[None, :], position] * parts[name]
        return result

    def weights_at(self, groups: IntArray, steps: IntArray) -> FloatArray:
        """``[R, M]`` weights of the members for the group and the step of each of R forecasts."""
        part = np.searchsorted(self.first_steps, steps, side="right") - 1
        found: FloatArray = self.weights[groups, part]
        return found

    def known(self, parts: Mapping[str, FloatArray], groups: IntArray) -> FloatArray | None:
        """Weighted mean of something that only some members have, over those; plain where none of them has weight.

        Parameters
        ----------
        parts : ``[N, H]`` per member that has it. groups : ``[N]``.
        """
        having = {name: parts[name] for name in self.members if name in parts}
        if not having:
            return None
        ones = np.ones_like(next(iter(having.values())))
        others = {name: np.zeros_like(ones) for name in self.members if name not in having}
        share = self.mixed(dict.fromkeys(having, ones) | others, groups)
        plain = sum(having.values()) / len(having)
        mixed = self.mixed(having | others, groups) / np.where(share > 0, share, 1.0)
        return np.asarray(np.where(share > 0, mixed, plain))

    def shares(self) -> dict[str, float]:
        """Mean weight of each member over groups and parts of the horizon; groups count by their series."""
        codes = np.fromiter(self.group_of.values(), dtype=np.int64)
        count = np.bincount(codes, minlength=len(self.weights)) if len(codes) else np.ones(len(self.weights))
        mean = (self.weights.mean(1) * count[:, None]).sum(0) / count.sum()
        return {name: float(share) for name, share in zip(self.members, mean, strict=True)}

    def without_idle(self) -> Self:
        """Members that have no weight anywhere are dropped."""
        used = self.weights.max((0, 1)) > 0
        members = tuple(name for name, is_used in zip(self.members, used, strict=True) if is_used)
        return type(self)(members, self.weights[..., used], self.first_steps, self.group_of)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON can hold them."""
        return {
            "members": list(self.members),
            "weights": self.weights.tolist(),
            "first_steps": self.first_steps.tolist(),
            "group_of": dict(self.group_of),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote."""
        return cls(
            tuple(values["members"]),
            np.array(values["weights"], dtype=np.float64),
            np.array(values["first_steps"], dtype=np.int64),
            dict(values["group_of"]),
        )
