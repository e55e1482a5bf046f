"""Where a training stands, on disk: written by one process, whole or not at all, loadable without running code.

Imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foretail.core.errors import UsageError
from foretail.models.neural.recipe import Recipe

__all__ = ["Standing", "read_checkpoint", "write_checkpoint"]

State = dict[str, Any]


@dataclass
class Standing:
    """How far a training has come: everything that the next epoch depends on, after an epoch.

    Attributes
    ----------
    network : which of the networks is in work, from 0. epoch : passes it has made.
    epochs : passes that the newest rows said are best; 0 before they did.
    best_epoch, best_loss, best : of the network in work, on the newest rows, and its weights then.
    model, optimizer, schedule : states of the network in work; empty before its first epoch.
    random : uint8 ``[W, B]`` states of every process's random numbers.
    done : weights of the finished networks. history : one line per network and epoch.
    importance : (feature, share) found on the newest rows.
    """

    network: int = 0
    epoch: int = 0
    epochs: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    best: State = field(default_factory=dict)
    model: State = field(default_factory=dict)
    optimizer: State = field(default_factory=dict)
    schedule: State = field(default_factory=dict)
    random: Tensor | None = None
    done: list[State] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    importance: list[tuple[str, float]] = field(default_factory=list)

    def next_network(self) -> None:
        """Begin with another network."""
        self.network += 1
        self.epoch, self.best_epoch, self.best_loss, self.random = 0, 0, float("inf"), None
        self.best, self.model, self.optimizer, self.schedule = {}, {}, {}, {}


def write_checkpoint(path: Path, standing: Standing, recipe: Recipe, world: int) -> None:
    """Write by one rename, so that whoever is killed in the middle leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.writing")
    values = {item: getattr(standing, item) for item in standing.__dataclass_fields__}
    with draft.open("wb") as file:
        torch.save({"recipe": asdict(recipe), "world": world, "standing": values}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_checkpoint(path: Path, recipe: Recipe, world: int) -> Standing | None:
    """What `write_checkpoint` wrote; None where there is nothing.

    Raises
    ------
    UsageError : it belongs to another recipe or number of processes, with which the result would be another.
    """
    if not path.exists():
        return None
    try:
        values: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        standing = Standing(**values["standing"])
    except Exception as error:  # a damaged file fails in as many ways as torch has
        raise UsageError(
            f"the checkpoint cannot be read: {error}\n  where: {path}\n  fix:   remove {path.parent} to begin again"
        ) from error
    if values["recipe"] != asdict(recipe) or values["world"] != world:
        raise UsageError(
            f"the checkpoint is of another training: {values['world']} processes, {values['recipe']}.\n"
            f"  where: {path}\n  fix:   go on with those, or remove {path.parent} to begin again"
        )
    return standing
