"""How networks are trained, in numbers: what a job carries between processes. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from foretail.core.errors import UsageError

__all__ = ["Recipe", "Training"]

_WEIGHT_DECAY = 0.01
_PATIENCE = 3
_BATCHES = 64  # an epoch of fewer steps than this gets smaller batches
_SMALLEST_BATCH = 64

_ENVIRONMENT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "NUM_EPOCHS": ("epochs", int),
    "BATCH_SIZE": ("batch_size", int),
    "LEARNING_RATE": ("learning_rate", float),
    "EARLY_STOP_PATIENCE": ("patience", int),
}


@dataclass(frozen=True)
class Training:
    """How one network is trained.

    Attributes
    ----------
    epochs : passes over the examples, at most. batch_size : examples a step. learning_rate : its peak.
    weight_decay : of AdamW. patience : epochs without a better validation loss after which training ends.
    seed : of the order of the examples and of dropout.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    seed: int


@dataclass(frozen=True)
class Recipe:
    """How all networks of a model are made.

    Attributes
    ----------
    epochs : passes over the rows, at most. batch_size, learning_rate : of each step, all processes together.
    members : networks, which differ by their seed. seed : of the first. n_threads : of torch on a CPU, in all processes
        of a machine together. patience : epochs without a better validation loss after which training ends.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    members: int
    seed: int
    n_threads: int
    patience: int = _PATIENCE

    def training(self, n_rows: int, epochs: int, seed: int) -> Training:
        """The training of one network on so many rows."""
        batch_size = min(self.batch_size, max(_SMALLEST_BATCH, n_rows // _BATCHES))
        return Training(epochs, batch_size, self.learning_rate, _WEIGHT_DECAY, self.patience, seed)

    def with_environment(self, environ: Mapping[str, str]) -> Recipe:
        """The recipe as NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE and EARLY_STOP_PATIENCE change it, where they are set.

        Raises
        ------
        UsageError : one of them is no number above 0.
        """
        given = {name: environ[name] for name in _ENVIRONMENT if environ.get(name)}
        changes: dict[str, Any] = {_ENVIRONMENT[name][0]: _read(name, text) for name, text in given.items()}
        return replace(self, **changes)


def _read(name: str, text: str) -> int | float:
    kind = _ENVIRONMENT[name][1]
    try:
        value: int | float = kind(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        word = "a whole number" if kind is int else "a number"
        raise UsageError(f"{name} is not {word} above 0.\n  where: the environment, {name}={text}\n  fix:   unset it")
    return value
