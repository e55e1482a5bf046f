"""A training job on disk: presented rows in Parquet shards, and beside them in JSON all that a process must know.

::

    job.json               recipe, parts, number of shards
    model/neural.json      the model without its networks
    older/, held/, whole/  00000-of-00002.parquet, …: one row of the training frame each
    checkpoints/, result/  what `foretail.models.neural.train` writes

Rows are dealt to the shards once, in a seeded order, so that every shard is a fair sample of all rows; a process reads
its own shards and never the others. With one shard the rows keep their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem, UsageError
from foretail.models.neural.inputs import Inputs
from foretail.models.neural.lesson import Curriculum, Lens, Lesson, target_quantiles
from foretail.models.neural.recipe import Recipe

__all__ = ["Job", "Part", "read_job", "read_shard", "write_job"]

IntArray = npt.NDArray[np.int64]

_FORMAT = 1
_JOB = "job.json"
_FACTS = ("target", "weight", "base", "reference", "unit", "scale", "y")
_FEWEST_A_SHARD = 2  # BatchNorm has no spread of one row


@dataclass(frozen=True)
class Part:
    """Rows of a job.

    Attributes
    ----------
    rows : how many, in all shards. inputs : names and sizes of the columns. spread : unit of the answers.
    start : ``[Q]`` quantiles of all targets, what an untrained network answers.
    """

    rows: int
    inputs: Inputs
    spread: float
    start: tuple[float, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Part:
        """Read what ``asdict`` wrote, from JSON."""
        return cls(values["rows"], Inputs.from_dict(values["inputs"]), values["spread"], tuple(values["start"]))


@dataclass(frozen=True)
class Job:
    """What processes train together.

    Attributes
    ----------
    recipe : how. space : in which the targets are, ``log`` or ``level``. n_shards : files per part.
    parts : ``whole``, and ``older`` and ``held`` where the newest rows decide how long to train.
    """

    recipe: Recipe
    space: str
    n_shards: int
    parts: Mapping[str, Part]


def write_job(folder: Path, curriculum: Curriculum, recipe: Recipe, n_shards: int) -> Job:
    """Write the shards and ``job.json``, the latter last.

    Parameters
    ----------
    folder : made if it is not there. n_shards : as many as processes, or a multiple.

    Raises
    ------
    UsageError : fewer than two rows a shard.
    """
    taught = {"whole": (curriculum.whole, curriculum.lens)}
    if curriculum.older is not None and curriculum.held is not None and curriculum.older_lens is not None:
        taught |= {
            "older": (curriculum.older, curriculum.older_lens),
            "held": (curriculum.held, curriculum.older_lens),
        }
    fewest = min(len(lesson) for lesson, _ in taught.values())
    if fewest < _FEWEST_A_SHARD * n_shards:
        raise UsageError(
            f"too few training rows for {n_shards} processes.\n  where: {fewest} rows\n"
            f"  fix:   at most {fewest // _FEWEST_A_SHARD} processes"
        )
    parts = {name: _write_part(folder / name, *pair, n_shards, recipe.seed) for name, pair in taught.items()}
    job = Job(recipe, curriculum.lens.space, n_shards, parts)
    plain = {
        "format": _FORMAT,
        "recipe": asdict(recipe),
        "space": job.space,
        "n_shards": n_shards,
        "parts": {name: asdict(part) for name, part in parts.items()},
    }
    (folder / _JOB).write_text(json.dumps(plain), encoding="utf-8")
    return job


def read_job(folder: Path) -> Job:
    """Read ``job.json``.

    Raises
    ------
    UsageError : there is none, or one of another format.
    """
    path = folder / _JOB
    fix = "  fix:   give the folder of a job; `foretail train TABLE --models neural --nproc 2` writes one"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != _FORMAT:
            raise UsageError(f"a job of format {values['format']}, not {_FORMAT}.\n  where: {path}\n{fix}")
        parts = {name: Part.from_dict(part) for name, part in values["parts"].items()}
        return Job(Recipe(**values["recipe"]), values["space"], values["n_shards"], parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"no training job: {error}\n  where: {path}\n{fix}") from error


def read_shard(folder: Path, job: Job, name: str, rank: int, world: int) -> Lesson:
    """The rows of one process among ``world``.

    Raises
    ------
    UsageError : the shards cannot be dealt evenly to so many processes.
    DataError : a shard is missing or damaged.
    """
    if job.n_shards % world:
        raise UsageError(
            f"{job.n_shards} shards cannot be dealt to {world} processes.\n  where: {folder}\n"
            f"  fix:   as many processes as shards, or write the job again for {world}"
        )
    paths = [_path(folder / name, shard, job.n_shards) for shard in range(rank, job.n_shards, world)]
    try:
        frame = pl.concat([pl.read_parquet(path) for path in paths])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            Problem(f"a shard cannot be read: {error}", str(paths[0].parent), "write the job again")
        ) from error
    return _lesson(frame, job.parts[name].inputs)


def _write_part(folder: Path, lesson: Lesson, lens: Lens, n_shards: int, seed: int) -> Part:
    folder.mkdir(parents=True, exist_ok=True)
    frame = _frame(lesson, lens.inputs)
    rng = np.random.default_rng(seed)
    order = np.arange(len(lesson)) if n_shards == 1 else rng.permutation(len(lesson))
    for shard in range(n_shards):
        frame[order[shard::n_shards]].write_parquet(_path(folder, shard, n_shards), compression="lz4")
    return Part(len(lesson), lens.inputs, lens.spread, tuple(target_quantiles(lesson.target, lesson.weight).tolist()))


def _path(folder: Path, shard: int, n_shards: int) -> Path:
    return folder / f"{shard:05d}-of-{n_shards:05d}.parquet"


def _columns(inputs: Inputs) -> tuple[list[str], list[str]]:
    numbers = [*(f"x:{name}" for name in inputs.numbers), *(f"missing:{name}" for name in inputs.marked)]
    return numbers, [f"code:{name}" for name in inputs.categories]


def _frame(lesson: Lesson, inputs: Inputs) -> pl.DataFrame:
    numbers, codes = _columns(inputs)
    return pl.DataFrame(
        {name: lesson.numbers[:, i] for i, name in enumerate(numbers)}
        | {name: lesson.codes[:, i] for i, name in enumerate(codes)}
        | {name: getattr(lesson, name) for name in _FACTS}
    )


def _lesson(frame: pl.DataFrame, inputs: Inputs) -> Lesson:
    numbers, codes = _columns(inputs)
    return Lesson(
        numbers=_matrix(frame, numbers, np.float32),
        codes=_matrix(frame, codes, np.int64),
        **{name: np.array(frame[name].to_numpy()) for name in _FACTS},
    )


def _matrix(frame: pl.DataFrame, names: list[str], kind: type[Any]) -> npt.NDArray[Any]:
    """Columns side by side, row after row in memory."""
    matrix = np.empty((frame.height, len(names)), dtype=kind)
    for column, name in enumerate(names):
        matrix[:, column] = frame[name].to_numpy()
    return matrix
