"""What a training left behind besides its model, to be logged with the version: curves point by point, and files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foretail.core.errors import RegistryError

__all__ = ["Trace"]

_BATCH = 500  # points a request; the server takes at most 1000
_FOLDER = "training"


@dataclass(frozen=True)
class Trace:
    """The course of a training.

    Attributes
    ----------
    experiment : the MLflow experiment of the run; "" for the one named after the model.
    points : (metric, step, value, milliseconds since 1970), in order of time.
    params, tags : of the run. files : that go with it, below ``training/``.
    path : where `write` put it; None before.
    """

    experiment: str = ""
    points: tuple[tuple[str, int, float, int], ...] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    path: Path | None = None

    def write(self, path: Path) -> Trace:
        """Keep it as JSON, so that a version can be logged later as it would have been."""
        values = {
            "experiment": self.experiment,
            "points": self.points,
            "params": {name: str(value) for name, value in self.params.items()},
            "tags": dict(self.tags),
            "files": [str(file.absolute()) for file in self.files],
        }
        path.write_text(json.dumps(values), encoding="utf-8")
        return Trace(self.experiment, self.points, self.params, self.tags, self.files, path.absolute())

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read what `write` wrote.

        Raises
        ------
        RegistryError : it is not there, or something else.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            points = tuple((str(name), int(step), float(value), int(at)) for name, step, value, at in values["points"])
            files = tuple(Path(file) for file in values["files"])
            return cls(values["experiment"], points, values["params"], values["tags"], files, path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"the course of a training cannot be read: {error}\n  where: {path}\n  fix:   log without it"
            ) from error

    def log(self, client: Any, run_id: str) -> None:
        """Log points, params, tags and files with a run."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(name, value, at, step) for name, step, value, at in self.points if math.isfinite(value)]
        params = [Param(name, str(value)[:500]) for name, value in self.params.items()]
        client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in self.tags.items()])
        for first in range(0, len(metrics), _BATCH):
            client.log_batch(run_id, metrics=metrics[first : first + _BATCH])
        for file in self.files:
            client.log_artifact(run_id, str(file), _FOLDER)
