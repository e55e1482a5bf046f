"""From a trained job back to a model: the outline that the job began with, and the networks that it ended with."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretail.core.errors import ForecastError
from foretail.models.neural.family import Neural
from foretail.models.neural.recipe import Recipe
from foretail.models.neural.shards import Job, write_job
from foretail.panel.panel import Panel

__all__ = ["Outcome", "begin_job", "read_outcome"]

_MODEL = "model"


@dataclass(frozen=True)
class Outcome:
    """What processes trained together.

    Attributes
    ----------
    model : fitted. recipe : by which. epochs : passes of each network. world : processes.
    backend : what carried the gradients. device : ``cpu`` or ``cuda``.
    history : one line per network and epoch: ``network`` (0 found the number of epochs on the newest rows),
        ``epoch, train_loss, validation_loss, wape, learning_rate, rows, seconds, at``.
    """

    model: Neural
    recipe: Recipe
    epochs: int
    world: int
    backend: str
    device: str
    history: tuple[Mapping[str, Any], ...]


def begin_job(folder: Path, model: Neural, panel: Panel, h: int, n_shards: int) -> Job:
    """Write a job that trains a model of the neural family on a panel.

    Raises
    ------
    UsageError : fewer than two training rows a shard. ForecastError : too little history to train anything.
    """
    curriculum = model.curriculum(panel, h)
    if curriculum is None:
        raise ForecastError(
            f"too little history for the neural family.\n  where: {panel.n_series} series, {panel.n_periods} periods\n"
            "  fix:   --models auto, which knows families for short histories"
        )
    (folder / _MODEL).mkdir(parents=True, exist_ok=True)
    model.save(folder / _MODEL)
    return write_job(folder, curriculum, model.recipe(), n_shards)


def read_outcome(folder: Path) -> Outcome:
    """The model that a finished job trained.

    Raises
    ------
    ForecastError : the job is not finished.
    """
    try:
        found = json.loads((folder / "result" / "result.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ForecastError(
            f"the training has not ended.\n  where: {folder}\n"
            f"  fix:   torchrun -m foretail.models.neural.train {folder} goes on from its last checkpoint"
        ) from error
    outline = json.loads((folder / _MODEL / "neural.json").read_text(encoding="utf-8"))
    recipe = Recipe(**found["recipe"])
    outline["importance"] = found["importance"]
    outline["params"] |= {name: getattr(recipe, name) for name in ("epochs", "batch_size", "learning_rate")}
    with tempfile.TemporaryDirectory(prefix="foretail-") as name:
        whole = Path(name)
        (whole / "neural.json").write_text(json.dumps(outline), encoding="utf-8")
        shutil.copy(folder / "result" / "networks.npz", whole)
        model = Neural.load(whole)
    history = tuple(found["history"])
    return Outcome(model, recipe, found["epochs"], found["world"], found["backend"], found["device"], history)
