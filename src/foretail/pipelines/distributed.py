"""train in many processes: the backtest and the shards here, the networks under ``torchrun``, then the gate as always.

On a cluster every node runs the same command with the same ``--out`` on a shared folder: node 0 prepares and concludes,
the others wait for the job, train with it, and leave.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from foretail.backtest.run import Backtest
from foretail.core.errors import ForecastError, UsageError
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.output import write_outputs
from foretail.models.families import make
from foretail.pipelines.documents import json_writer
from foretail.pipelines.fit import Registered, register, trained_summary
from foretail.pipelines.prepare import Prepared, backtest_prepared, prepare
from foretail.pipelines.request import Request
from foretail.pipelines.torchrun import Nodes, torchrun
from foretail.registry.trace import Trace

__all__ = ["MODEL_NAME", "train_distributed"]

MODEL_NAME = "sales-forecast"
_EXPERIMENTS = ("sales-forecasting", "sales-forecasting-ddp")  # one process, several
_FAMILY = "neural"
_FOLDER, _IDENTITY, _CURVES, _TRACE = "training", "identity.json", "curves.html", "trace.json"
_PATIENCE_S, _POLL_S = 24 * 3600.0, 1.0  # of a node for the first one, which backtests meanwhile


def train_distributed(
    request: Request,
    out: Path,
    settings: Settings,
    progress: Progress,
    nodes: Nodes,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Train a version of the neural family in many processes and register it as ``sales-forecast``.

    The job lies under ``out/training``: the same command goes on where a broken one stopped, and begins again for other
    data or another recipe.

    Parameters
    ----------
    request : ``models`` names the neural family, alone. nodes : machines and processes.
    environ : ``NUM_EPOCHS``, ``BATCH_SIZE``, ``LEARNING_RATE``, ``EARLY_STOP_PATIENCE``, ``MLFLOW_TRACKING_URI``,
        ``MLFLOW_EXPERIMENT_NAME``.

    Returns
    -------
    As `train_request`, with ``epochs, world, backend, device``; from another node than the first, where it lies.

    Raises
    ------
    UsageError : another family than neural, or more than one. ForecastError : the training failed.
    RegistryError : the version cannot be registered; its bundle is on disk.
    PromotionRefused : the version is registered and stays a challenger.
    """
    name = _only_family(request)
    settings = _tracked(settings, environ)
    prepared = prepare(request, settings, progress)
    identity = _identity(prepared, name, nodes, environ)
    folder = out / _FOLDER
    if not nodes.is_first:
        with progress.stage("train") as stage:
            _await(folder, identity)
            torchrun(folder, nodes, stage.describe, environ)
        return {"model": name, "node": nodes.rank, "job": str(folder)}
    result = backtest_prepared(prepared, settings, progress).alone(name, prepared.panel, prepared.h)
    write_outputs(out, {"leaderboard.json": json_writer(result.leaderboard.to_dict())})
    with progress.stage("shard"):
        _begin(folder, identity, prepared, name, nodes, settings)
    with progress.stage("train") as stage:
        torchrun(folder, nodes, stage.describe, environ)
    with progress.stage("register"):
        registered, outcome = _conclude(folder, out, prepared, result, settings, environ)
    return trained_summary(prepared, result, registered) | outcome


def _only_family(request: Request) -> str:
    names = request.models
    if len(names) != 1 or names[0].partition("[")[0] != _FAMILY:
        raise UsageError(
            "only the neural family trains in many processes.\n"
            f"  where: --models {','.join(names)}\n  fix:   --models neural, or leave --nproc out"
        )
    return names[0]


def _tracked(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with ``MLFLOW_TRACKING_URI`` where foretail's own setting is left as it comes."""
    uri = environ.get("MLFLOW_TRACKING_URI")
    untouched = Settings(home=settings.home).tracking_uri
    return replace(settings, tracking_uri=uri) if uri and settings.tracking_uri == untouched else settings


def _identity(prepared: Prepared, name: str, nodes: Nodes, environ: Mapping[str, str]) -> str:
    """What makes a job the same: data, model, recipe, number of processes."""
    recipe = _model(prepared, name, 1).recipe().with_environment(environ)  # threads are each machine's own affair
    facts = [prepared.panel.dataset_version, prepared.h, name, asdict(recipe), nodes.world]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def _model(prepared: Prepared, name: str, n_threads: int) -> Any:
    return make(name, random_state=prepared.request.seed, n_threads=n_threads)


def _begin(folder: Path, identity: str, prepared: Prepared, name: str, nodes: Nodes, settings: Settings) -> None:
    """Write the job, unless this very one is there already."""
    from foretail.models.neural.outcome import begin_job

    if _is_there(folder, identity):
        return
    shutil.rmtree(folder, ignore_errors=True)
    model = _model(prepared, name, settings.n_workers)
    begin_job(folder, model, prepared.demand, prepared.h, nodes.world)
    (folder / _IDENTITY).write_text(json.dumps(identity), encoding="utf-8")


def _is_there(folder: Path, identity: str) -> bool:
    path = folder / _IDENTITY
    return path.is_file() and path.read_text(encoding="utf-8") == json.dumps(identity)


def _await(folder: Path, identity: str) -> None:
    """Wait until the first node has written the job."""
    deadline = time.monotonic() + _PATIENCE_S
    while not _is_there(folder, identity):
        if time.monotonic() > deadline:
            raise ForecastError(
                f"the first node wrote no job.\n  where: {folder}\n  fix:   --out must be a folder that all nodes share"
            )
        time.sleep(_POLL_S)


def _conclude(
    folder: Path, out: Path, prepared: Prepared, result: Backtest, settings: Settings, environ: Mapping[str, str]
) -> tuple[Registered, dict[str, Any]]:
    """The trained model as a version, with its curves."""
    from foretail.models.neural.outcome import read_outcome
    from foretail.report.training_plots import write_curves

    outcome = read_outcome(folder)
    write_outputs(out, {_CURVES: lambda path: write_curves(outcome.history, path)})
    facts = {"epochs": outcome.epochs, "world": outcome.world, "backend": outcome.backend, "device": outcome.device}
    trace = Trace(
        experiment=environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENTS[outcome.world > 1],
        points=_points(outcome.history),
        params={f"train.{key}": value for key, value in (asdict(outcome.recipe) | facts).items()},
        files=(out / _CURVES,),
    ).write(folder / _TRACE)
    return register(prepared, result, outcome.model, settings, name=MODEL_NAME, trace=trace), facts


def _points(history: tuple[Mapping[str, Any], ...]) -> tuple[tuple[str, int, float, int], ...]:
    """Every figure of every epoch; those of the network that found the number of epochs bear no number."""
    shown = {
        "train_loss": "train_loss",
        "validation_loss": "validation_loss",
        "wape": "validation_wape",  # "wape" itself is the version's, over the backtest
        "learning_rate": "learning_rate",
        "seconds": "epoch_seconds",
    }
    return tuple(
        (
            f"member_{line['network']}.{name}" if line["network"] else name,
            line["epoch"],
            line[key],
            round(1e3 * line["at"]),
        )
        for line in history
        for key, name in shown.items()
        if line[key] is not None
    )
