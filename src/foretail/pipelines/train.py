"""train: choose by backtest, fit on everything, register; the gate decides whether the version becomes champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.output import write_outputs
from foretail.pipelines.documents import json_writer
from foretail.pipelines.fit import fit_chosen, register, trained_summary
from foretail.pipelines.hierarchy import fit_levels
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
    levels = fit_levels(prepared, result, settings, progress)
    with progress.stage("train"):
        model = fit_chosen(prepared, result, settings)
    with progress.stage("register"):
        registered = register(prepared, result, model, settings, levels=levels)
    told = trained_summary(prepared, result, registered)
    return {"model": result.chosen, "weights": result.weights, **told}
