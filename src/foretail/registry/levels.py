"""What a model version knows of the levels above its series: their models, and how forecasts are made to agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foretail.models.contract import Forecaster
from foretail.models.reconcile import BOTTOM_UP, Covariance

__all__ = ["Levels", "read_levels", "write_levels"]

_DESCRIPTION = "levels.json"
_ARRAYS = "covariance.npz"


@dataclass(frozen=True)
class Levels:
    """The levels of a version.

    Attributes
    ----------
    names : levels as they were declared, the total apart.
    method : of reconciliation, see `foretail.models.reconcile.METHODS`; chosen by the backtest.
    families : ``{level: family}`` of the level's own model. models : ``{level: fitted forecaster}``; none of them for
        ``bottom_up``, which needs none.
    covariance : of the errors, groups first, in the order of the hierarchy of the panel in the bundle.
    accuracy : one row per level, as `foretail.backtest.levels` tells it.
    """

    names: tuple[str, ...]
    method: str = BOTTOM_UP
    families: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Forecaster] = field(default_factory=dict)
    covariance: Covariance | None = None
    accuracy: Sequence[Mapping[str, Any]] = ()


def write_levels(folder: Path, levels: Levels, save: Callable[[Path, str, Forecaster], None]) -> None:
    """Write a folder of levels.

    Parameters
    ----------
    folder : empty; made if it is not there. save : writes one forecaster with the name of its family into a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "names": list(levels.names),
        "method": levels.method,
        "families": dict(levels.families),
        "models": list(levels.models),
        "accuracy": [dict(row) for row in levels.accuracy],
    }
    text = json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    for position, (name, model) in enumerate(levels.models.items()):
        save(folder / f"model-{position}", levels.families[name], model)
    if levels.covariance is not None:
        np.savez(folder / _ARRAYS, allow_pickle=False, **levels.covariance.to_arrays())


def read_levels(folder: Path, load: Callable[[Path], Forecaster]) -> Levels | None:
    """Read what `write_levels` wrote; None where the version was made without levels.

    Parameters
    ----------
    load : reads one forecaster from its folder.

    Raises
    ------
    OSError, ValueError, KeyError : a damaged file.
    """
    if not (folder / _DESCRIPTION).exists():
        return None
    told = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    models = {name: load(folder / f"model-{position}") for position, name in enumerate(told["models"])}
    covariance = None
    if (folder / _ARRAYS).exists():
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            covariance = Covariance.from_arrays({name: arrays[name] for name in arrays.files})
    return Levels(tuple(told["names"]), told["method"], told["families"], models, covariance, tuple(told["accuracy"]))
