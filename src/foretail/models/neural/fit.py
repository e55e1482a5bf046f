"""The networks of the neural family as a whole: how many epochs, the members on all rows, what they use, their file.

Imports torch: import this module where networks are needed, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.models.neural.inputs import Inputs
from foretail.models.neural.lesson import target_quantiles
from foretail.models.neural.network import QuantileNetwork
from foretail.models.neural.recipe import Recipe
from foretail.models.neural.training import Examples, mean_loss, seeded, threads, train

__all__ = ["Learned", "importance_of", "learn", "load_networks", "save_networks", "untrained"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_HIDDEN = (256, 128, 64)
_DROPOUT = 0.2
_FEWEST_ROWS = 50  # on either side of the split in time; fewer decide nothing
_IMPORTANCE_ROWS = 4096
_NOTHING: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes
    ----------
    networks : the members. epochs : passes each of them made.
    importance : (feature, share 0-1) of the loss that shuffling it adds, largest first.
    """

    networks: tuple[QuantileNetwork, ...]
    epochs: int
    importance: tuple[tuple[str, float], ...]


def learn(
    inputs: Inputs,
    numbers: Float32Array,
    codes: IntArray,
    target: FloatArray,
    weight: FloatArray,
    newest: BoolArray,
    recipe: Recipe,
) -> Learned:
    """Find the number of epochs on the newest rows, then train the members on all rows.

    Parameters
    ----------
    numbers, codes : see `Inputs`. target : ``[R]`` of size about 1. weight : ``[R]``. newest : bool ``[R]``, the rows
        whose targets are later than those of all others; too few on a side, and half the epochs are made.
    """
    rows = Examples.of(numbers, codes, target, weight)
    epochs, importance = max(1, recipe.epochs // 2), _NOTHING
    with threads(recipe.n_threads):
        if min(int(newest.sum()), int((~newest).sum())) >= _FEWEST_ROWS:
            older, held = (rows.take(torch.from_numpy(np.flatnonzero(part))) for part in (~newest, newest))
            network, epochs = _network(inputs, older, held, recipe.epochs, recipe, recipe.seed)
            importance = importance_of(network, inputs, held, recipe.seed)
        members = [
            _network(inputs, rows, None, epochs, recipe, recipe.seed + member)[0] for member in range(recipe.members)
        ]
    return Learned(tuple(network.cpu().eval() for network in members), epochs, importance)


def save_networks(networks: Sequence[QuantileNetwork], path: Path) -> None:
    """Write the weights as plain arrays, ``MEMBER.NAME``."""
    states = {
        f"{i}.{name}": value.numpy() for i, item in enumerate(networks) for name, value in item.state_dict().items()
    }
    np.savez(path, **states)


def load_networks(path: Path, inputs: Inputs, members: int) -> tuple[QuantileNetwork, ...]:
    """Read what `save_networks` wrote."""
    networks = tuple(untrained(inputs, [0.0] * len(DEFAULT_QUANTILES)) for _ in range(members))
    with np.load(path, allow_pickle=False) as stored:
        for i, network in enumerate(networks):
            network.load_state_dict({name: torch.from_numpy(stored[f"{i}.{name}"]) for name in network.state_dict()})
    return tuple(network.eval() for network in networks)


def _network(
    inputs: Inputs, rows: Examples, held: Examples | None, epochs: int, recipe: Recipe, seed: int
) -> tuple[QuantileNetwork, int]:
    """One trained network and after how many epochs it was as it is."""
    start = target_quantiles(rows.target.numpy(), rows.weight.numpy())
    with seeded(seed):
        network = untrained(inputs, start.tolist())
        history = train(network, rows, recipe.training(len(rows), epochs, seed), held)
    return network, max(1, history.best_epoch)


def untrained(inputs: Inputs, start: Sequence[float]) -> QuantileNetwork:
    """A network before its first step; ``start [Q]`` is what it answers."""
    return QuantileNetwork(inputs.width, inputs.sizes, _HIDDEN, DEFAULT_QUANTILES, _DROPOUT, start)


def importance_of(network: QuantileNetwork, inputs: Inputs, held: Examples, seed: int) -> tuple[tuple[str, float], ...]:
    """How much worse the held rows are forecast when one feature is taken from another row, as shares of the sum."""
    generator = torch.Generator().manual_seed(seed)
    held = held.take(torch.randperm(len(held), generator=generator)[:_IMPORTANCE_ROWS])
    other = torch.randperm(len(held), generator=generator)
    whole = mean_loss(network, held)
    lost = {}
    for column, name in enumerate((*inputs.numbers, *inputs.categories)):
        changed = Examples(held.numbers.clone(), held.codes.clone(), held.target, held.weight)
        if column < len(inputs.numbers):
            marks = [len(inputs.numbers) + inputs.marked.index(name)] if name in inputs.marked else []
            changed.numbers[:, [column, *marks]] = held.numbers[other][:, [column, *marks]]
        else:
            changed.codes[:, column - len(inputs.numbers)] = held.codes[other, column - len(inputs.numbers)]
        lost[name] = mean_loss(network, changed) - whole
    total = sum(loss for loss in lost.values() if loss > 0)
    shares = [(name, loss / total) for name, loss in lost.items() if loss > 0 and loss / total > 0]
    return tuple(sorted(shares, key=lambda pair: (-pair[1], pair[0])))
