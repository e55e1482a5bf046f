"""A trained network as plain arrays: what it answers, in float64, whatever the number of rows asked at once.

The scale of each BatchNorm is folded into the layer before it, so that a row costs four small products. Torch takes
longer for one row, and answers it a little differently alone than among others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from foretail.models.neural.network import QuantileNetwork

__all__ = ["Forward", "quantiles"]

FloatArray = npt.NDArray[np.float64]

_BATCH = 16_384  # rows at once: bounds the memory of the widest layer


@dataclass(frozen=True, eq=False)
class Forward:
    """The way through one network.

    Attributes
    ----------
    tables : per category ``[codes, columns]`` embeddings. layers : weights ``[inputs, units]`` and biases ``[units]``;
        the last pair is the head's. median : its column.
    """

    tables: tuple[FloatArray, ...]
    layers: tuple[tuple[FloatArray, FloatArray], ...]
    median: int

    @classmethod
    def of(cls, network: QuantileNetwork) -> Self:
        """Fold a trained network."""
        state = {name: value.detach().cpu().double().numpy() for name, value in network.state_dict().items()}
        norms = {i: block for i, block in enumerate(network.blocks) if hasattr(block, "running_var")}
        layers = [_folded(state, i - 1, float(cast(Any, norm).eps)) for i, norm in norms.items()]
        head = state["head.weight"].T.copy(), state["head.bias"]
        tables = tuple(state[f"embeddings.{i}.weight"] for i in range(len(network.embeddings)))
        return cls(tables, (*layers, head), network.median)

    def __call__(self, numbers: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]) -> FloatArray:
        """Quantiles ``[R, Q]``, ascending, of ``numbers [R, D]`` and ``codes [R, K]``."""
        starts = range(0, max(len(numbers), 1), _BATCH)
        return np.concatenate([self._batch(numbers[at : at + _BATCH], codes[at : at + _BATCH]) for at in starts])

    def _batch(self, numbers: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]) -> FloatArray:
        x = np.concatenate([numbers, *(table[codes[:, i]] for i, table in enumerate(self.tables))], axis=1)
        *hidden, (weight, bias) = self.layers
        for each, shift in hidden:
            x = np.maximum(x @ each + shift, 0.0)
        raw = x @ weight + bias
        m = self.median
        steps = np.logaddexp(0.0, raw)  # softplus: never negative, so quantiles cannot cross
        below = np.cumsum(steps[:, :m][:, ::-1], axis=1)[:, ::-1]
        above = np.cumsum(steps[:, m + 1 :], axis=1)
        middle = raw[:, m : m + 1]
        return np.concatenate([middle - below, middle, middle + above], axis=1)


def quantiles(
    forwards: Sequence[Forward], numbers: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]
) -> FloatArray:
    """Mean of the members' quantiles, ``[R, Q]``, ascending as those of each member are."""
    mean: FloatArray = np.mean([forward(numbers, codes) for forward in forwards], axis=0)
    return mean


def _folded(state: dict[str, FloatArray], block: int, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Weights and biases of a Linear at a place among the blocks and of the BatchNorm behind it, as one."""
    norm = f"blocks.{block + 1}."
    scale = state[f"{norm}weight"] / np.sqrt(state[f"{norm}running_var"] + epsilon)
    weight = (state[f"blocks.{block}.weight"] * scale[:, None]).T.copy()
    return weight, (state[f"blocks.{block}.bias"] - state[f"{norm}running_mean"]) * scale + state[f"{norm}bias"]
