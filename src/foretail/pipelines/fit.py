"""Fits the chosen model on the whole panel, makes it a version, and lets the gate decide on it."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy.typing as npt
import polars as pl

import foretail
from foretail.backtest.anomalies import anomalies, to_arrays
from foretail.backtest.run import ENSEMBLE, NAIVE, Backtest
from foretail.core.errors import PromotionRefused, RegistryError
from foretail.core.settings import Settings
from foretail.features.asof import Plan
from foretail.features.catalogue import catalogue
from foretail.models.contract import Forecaster
from foretail.models.families import make
from foretail.panel.panel import Panel
from foretail.pipelines.dependence import calibration_of
from foretail.pipelines.prepare import Prepared
from foretail.registry.bundle import Bundle, read_info, write_bundle
from foretail.registry.gate import Contender
from foretail.registry.info import BundleInfo, FamilyTree
from foretail.registry.levels import Levels
from foretail.registry.trace import Trace
from foretail.registry.versions import Registry

__all__ = ["Learned", "Registered", "fit_chosen", "model_name", "register", "trained_summary"]

_UNREGISTERED = "unregistered"


@dataclass(frozen=True)
class Registered:
    """What became of a fitted model.

    Attributes
    ----------
    version : ``name/number``, or ``unregistered`` when the registry could not be reached.
    promoted : it is the champion now. is_refused : the gate said no.
    decision : what the gate (or the registry's failure) said, one line or more.
    """

    version: str
    promoted: bool
    decision: str
    is_refused: bool = False

    @property
    def is_registered(self) -> bool:
        """The registry took it."""
        return self.version != _UNREGISTERED


@dataclass(frozen=True)
class Learned:
    """What a backtest leaves a version beside its model.

    Attributes
    ----------
    arrays : of its calibration: intervals, joint errors, how far days lie out of range.
    outside : days of the backtest outside their interval, see `anomalies`.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    outside: pl.DataFrame

    @classmethod
    def of(cls, prepared: Prepared, result: Backtest) -> Self:
        """From the backtest of a prepared request."""
        outside = anomalies(prepared.panel, result.frame)
        calibration = calibration_of(prepared.panel, prepared.h, result)
        return cls({**calibration, **to_arrays(prepared.panel, outside)}, outside)


def fit_chosen(prepared: Prepared, result: Backtest, settings: Settings, panel: Panel | None = None) -> Forecaster:
    """The model that a backtest chose, on all of the history of the series, or of another panel such as a level's."""
    model = make(result.chosen, random_state=prepared.request.seed, n_threads=settings.n_workers, **result.params)
    return model.fit(prepared.demand if panel is None else panel, prepared.h)


def register(
    prepared: Prepared,
    result: Backtest,
    model: Forecaster,
    settings: Settings,
    *,
    name: str = "",
    trace: Trace | None = None,
    levels: Levels | None = None,
    learned: Learned | None = None,
) -> Registered:
    """Write the bundle, log it, ask the gate; a registry that cannot be reached costs the version, not the run.

    Parameters
    ----------
    name : of the registered model; the dataset's by default. trace : the course of its training, logged with it.
    levels : those above the series, if it has some. learned : of the backtest, where it is at hand already.
    """
    name = name or model_name(prepared.panel.spec.name)
    folder = settings.home / "unlogged" / f"{name}-{secrets.token_hex(6)}"
    arrays = (learned or Learned.of(prepared, result)).arrays
    write_bundle(folder, Bundle(_info(prepared, result, model), model, prepared.demand, arrays, levels))
    registry = Registry(settings)
    try:
        version = registry.log(folder, name, trace=trace)
    except RegistryError as error:
        kept = "" if str(folder) in str(error) else f"; the bundle is on disk at {folder.absolute()}"
        return Registered(_UNREGISTERED, False, f"{error}{kept}")
    shutil.rmtree(folder, ignore_errors=True)
    label = f"{name}/{version.version}"
    try:
        decision = registry.promote(name, version.version, rescored=_champion_rescored(registry, name, result))
    except PromotionRefused as error:
        return Registered(label, False, str(error), is_refused=True)
    return Registered(label, True, decision.to_text())


def trained_summary(prepared: Prepared, result: Backtest, registered: Registered) -> dict[str, Any]:
    """What `foretail train` answers of a version.

    Raises
    ------
    RegistryError : it could not be registered. PromotionRefused : the gate said no.
    """
    if not registered.is_registered:
        raise RegistryError(registered.decision)
    if registered.is_refused:
        raise PromotionRefused(registered.decision)
    scores = result.leaderboard.chosen.scores
    return {
        "model": result.chosen,
        "model_version": registered.version,
        "promoted": registered.promoted,
        "gate": registered.decision,
        "dataset_version": prepared.panel.dataset_version,
        "cutoff": prepared.panel.cutoff.isoformat(),
        "wape": scores.wape,
        "skill": scores.skill,
    }


def model_name(dataset: str) -> str:
    """A registry name for a dataset: letters, digits, dot, dash and underscore."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-._")
    return (cleaned or "sales")[:100]


def _info(prepared: Prepared, result: Backtest, model: Forecaster) -> BundleInfo:
    panel = prepared.panel
    plan = _plan_of(model)
    features = tuple(f"{item.name}: {item.about}" for item in catalogue(panel, plan)) if plan is not None else ()
    return BundleInfo(
        model=result.chosen,
        tree=_tree(result),
        spec=panel.spec,
        dataset_version=panel.dataset_version,
        code_version=foretail.__version__,
        features=features,
        seed=prepared.request.seed,
        cutoff=panel.cutoff.isoformat(),
        horizon=prepared.h,
        levels=result.levels,
        leaderboard=result.leaderboard,
    )


def _tree(result: Backtest) -> FamilyTree:
    if result.chosen != ENSEMBLE:
        return FamilyTree(result.chosen)
    members = (
        FamilyTree(name, weight=weight, measured=result.measured[name]) for name, weight in result.weights.items()
    )
    return FamilyTree(ENSEMBLE, members=tuple(members))


def _plan_of(model: Forecaster) -> Plan | None:
    members = getattr(model, "members_", {"": model}).values()
    return next((member.plan_ for member in members if hasattr(member, "plan_")), None)


def _champion_rescored(registry: Registry, name: str, result: Backtest) -> Contender | None:
    """The champion's recipe on this backtest's windows, if its families took part."""
    champion = registry.champion(name)
    if champion is None:
        return None
    info = read_info(registry.fetch(name, champion.version))
    weights = info.tree.measured_weights
    if not set(weights) <= set(result.results[0].forecasts):
        return None
    return replace(info.contender(), wape=result.wape_of(weights), naive=result.wape_of({NAIVE: 1.0}))
