"""A fleet on disk: one bundle for all series, and a small one beside it for each series that was trained again.

It is a bundle like any other (`foretail.registry.bundle`): the recipe, the sales it learned from, the intervals. Its
arrays say more: which answer each series has, and the intervals of each kind of answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.core.settings import Settings
from foretail.models.contract import Forecaster
from foretail.models.intervals import Conformal
from foretail.panel.panel import Panel
from foretail.registry.bundle import Bundle, read_bundle, write_bundle
from foretail.registry.info import BundleInfo
from foretail.registry.versions import Registry

__all__ = [
    "FleetBundle",
    "delta_folder",
    "fleet_folder",
    "open_fleet_bundle",
    "place_of",
    "registered_name",
    "write_fleet_bundle",
]

_RECIPES, _ANSWER = "fleet_recipes", "fleet_answer"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True)
class FleetBundle:
    """The models of N series.

    Attributes
    ----------
    info : the recipe, the dataset, the walk-forward of the whole fleet. model : the forecaster of that recipe.
    panel : the sales of the N series up to the cutoff.
    recipes : the recipes that answer. answer : int ``[N]``, which of them answers each series.
    intervals : of each recipe that has any.
    """

    info: BundleInfo
    model: Forecaster
    panel: Panel
    recipes: tuple[str, ...]
    answer: npt.NDArray[np.int64]
    intervals: Mapping[str, Conformal]


def write_fleet_bundle(folder: Path, fleet: FleetBundle) -> None:
    """Write a fleet's bundle, whole or not at all.

    Raises
    ------
    RegistryError : the folder is not empty, or the disk refuses.
    """
    arrays: dict[str, npt.NDArray[Any]] = {_RECIPES: np.array(fleet.recipes), _ANSWER: fleet.answer}
    for i, recipe in enumerate(fleet.recipes):
        if recipe in fleet.intervals:
            arrays |= {f"{i}_{name}": values for name, values in fleet.intervals[recipe].to_arrays().items()}
    own = next(iter(fleet.intervals.values()), None)
    if own is not None:  # what reads it as a bundle of one model finds the intervals of the recipe here
        arrays |= own.to_arrays()
    write_bundle(folder, Bundle(fleet.info, fleet.model, fleet.panel, arrays))


def open_fleet_bundle(where: str, settings: Settings) -> FleetBundle:
    """Read a fleet's bundle.

    Parameters
    ----------
    where : as a version row says: ``name/number`` of the registry, or a folder below home.

    Raises
    ------
    RegistryError : it is gone, changed, or the registry does not answer.
    """
    bundle = read_bundle(_located(where, settings))
    arrays = bundle.calibration
    recipes = tuple(str(name) for name in arrays[_RECIPES])
    intervals = {}
    for i, recipe in enumerate(recipes):
        own = {name.removeprefix(f"{i}_"): values for name, values in arrays.items() if name.startswith(f"{i}_")}
        if own:
            intervals[recipe] = Conformal.from_arrays(own)
    return FleetBundle(bundle.info, bundle.model, bundle.panel, recipes, arrays[_ANSWER], intervals)


def registered_name(family: str, fleet: str) -> str:
    """The name of the fleet's model in the registry: ``prophet-retail-forecaster-rossmann``."""
    return f"{family}-retail-forecaster-{_safe(fleet)}"


def fleet_folder(settings: Settings, fleet: str) -> Path:
    """Where a fleet keeps what is not in the registry."""
    return settings.home / "fleets" / _safe(fleet)


def delta_folder(settings: Settings, fleet: str, run_id: str) -> Path:
    """Where the bundle of series that were trained again goes."""
    return fleet_folder(settings, fleet) / "series" / run_id


def place_of(folder: Path, settings: Settings) -> str:
    """A folder below home as a version row names it, so that home may move."""
    return f"home:{folder.absolute().relative_to(settings.home.absolute()).as_posix()}"


def _located(where: str, settings: Settings) -> Path:
    if where.startswith("home:"):
        return settings.home / where.removeprefix("home:")
    name, _, number = where.rpartition("/")
    return Registry(settings).fetch(name, number)


def _safe(name: str) -> str:
    """A plain file name: the name itself where it is one, else spelled so and told apart by a hash."""
    if _NAME.fullmatch(name):
        return name
    spelled = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or "fleet"
    return f"{spelled}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
