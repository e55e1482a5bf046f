"""train: choose by backtest, fit on everything, register; the gate decides whether the version becomes champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foretail.core.errors import PromotionRefused, RegistryError
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.output import write_outputs
from foretail.pipelines.documents import json_writer
from foretail.pipelines.fit import fit_chosen, register
from foretail.pipelines.prepare import backtest_prepared, prepare
from foretail.pipelines.request import Request

__all__ = ["train_request"]


def train_request(request: Request, out: Path, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Train a version.

    Returns
    -------
    ``model, weights, model_version, promoted, gate, dataset_version, cutoff, wape, skill``.

    Raises
    ------
    RegistryError : the version cannot be registered; its bundle is on disk.
    PromotionRefused : the version is registered and stays a challenger; ``leaderboard.json`` is written all the same.
    """
    prepared = prepare(request, settings, progress)
    result = backtest_prepared(prepared, settings, progress)
    write_outputs(out, {"leaderboard.json": json_writer(result.leaderboard.to_dict())})
    with progress.stage("train"):
        model = fit_chosen(prepared, result, settings)
    with progress.stage("register"):
        registered = register(prepared, result, model, settings)
    if not registered.is_registered:
        raise RegistryError(registered.decision)
    if registered.is_refused:
        raise PromotionRefused(registered.decision)
    scores = result.leaderboard.chosen.scores
    return {
        "model": result.chosen,
        "weights": result.weights,
        "model_version": registered.version,
        "promoted": registered.promoted,
        "gate": registered.decision,
        "dataset_version": prepared.panel.dataset_version,
        "cutoff": prepared.panel.cutoff.isoformat(),
        "wape": scores.wape,
        "skill": scores.skill,
    }
