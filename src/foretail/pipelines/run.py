"""run: the main job: check, backtest, select, train, forecast, report; its files appear together or not at all."""

from __future__ import annotations

import datetime as dt
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import polars as pl

from foretail.backtest.result import Leaderboard
from foretail.backtest.run import NAIVE, Backtest
from foretail.backtest.runner import OUT_OF_TIME
from foretail.core.progress import Progress, Silent
from foretail.core.quantiles import DEFAULT_QUANTILES, check_quantiles, quantile_column
from foretail.core.settings import Settings
from foretail.forecasts.frame import user_frame
from foretail.forecasts.heeding import reconciler
from foretail.forecasts.output import Writer, write_outputs
from foretail.models.contract import Forecaster
from foretail.panel.segments import segments
from foretail.pipelines.answer import Wanted, answer
from foretail.pipelines.demand import demand_files, demand_notes
from foretail.pipelines.dependence import totals_coverage
from foretail.pipelines.documents import json_writer
from foretail.pipelines.fit import Learned, Registered, fit_chosen, register
from foretail.pipelines.hierarchy import fit_levels, level_files, level_notes, level_summary
from foretail.pipelines.prepare import Prepared, backtest_prepared, prepare
from foretail.pipelines.request import Request, command_of
from foretail.pipelines.stages import StageLog
from foretail.registry.levels import Levels
from foretail.warehouse.database import open_warehouse, opened_warehouse
from foretail.warehouse.forecasts import write_forecasts

__all__ = ["RunResult", "run", "run_request"]

_PACKAGES = ("foretail", "lightgbm", "mlflow-skinny", "numpy", "polars", "statsforecast")


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes
    ----------
    out : the folder with forecasts, leaderboard, run.json and report.html. summary : the content of run.json.
    leaderboard : models, best first. forecasts : the user's own key and time columns, then the forecast contract.
    notes : what was guessed, repaired or set aside, one sentence each.
    """

    out: Path
    summary: dict[str, Any]
    leaderboard: Leaderboard
    forecasts: pl.DataFrame
    notes: tuple[str, ...]


def run(
    table: str | Path,
    *,
    keys: Sequence[str] = (),
    time: str | None = None,
    target: str | None = None,
    horizon: int | None = None,
    freq: str | None = None,
    known: Sequence[str] = (),
    past: Sequence[str] = (),
    static: Sequence[str] = (),
    country: str | None = None,
    stockout: str | None = None,
    hierarchy: Sequence[str] = (),
    future: str | Path | None = None,
    spec: str | Path | None = None,
    cutoff: dt.date | str | None = None,
    quantiles: Sequence[float] = DEFAULT_QUANTILES,
    models: str | Sequence[str] = "auto",
    budget_s: float | None = None,
    seed: int = 7,
    name: str | None = None,
    data: str | Path | None = None,
    out: str | Path = "foretail-out",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Forecast a table of sales; the words are those of ``foretail run``, see `Request` and `DatasetSpec`.

    Raises
    ------
    UsageError, DataError, ForecastError : see `foretail.core.errors`.
    """
    request = Request(
        table=str(table),
        keys=tuple(keys),
        time=time,
        target=target,
        freq=freq,
        horizon=horizon,
        known=tuple(known),
        past=tuple(past),
        static=tuple(static),
        country=country,
        stockout=stockout,
        hierarchy=tuple(hierarchy),
        future=str(future) if future else None,
        spec=str(spec) if spec else None,
        cutoff=dt.date.fromisoformat(cutoff) if isinstance(cutoff, str) else cutoff,
        quantiles=check_quantiles(quantiles),
        models=(models,) if isinstance(models, str) else tuple(models),
        budget_s=budget_s,
        seed=seed,
        name=name,
        data=Path(data) if data else None,
    )
    return run_request(request, Path(out), settings or Settings.load(), progress or Silent())


def run_request(request: Request, out: Path, settings: Settings, progress: Progress) -> RunResult:
    """The main job."""
    log = StageLog(progress)
    run_id = secrets.token_hex(8)
    prepared = prepare(request, settings, log)
    open_warehouse(settings.warehouse).dispose()  # before the long work: one that does not answer shows at once
    result = backtest_prepared(prepared, settings, log)
    levels = fit_levels(prepared, result, settings, log)
    with log.stage("train"):
        model = fit_chosen(prepared, result, settings)
    with log.stage("register"):
        learned = Learned.of(prepared, result)
        registered = register(prepared, result, model, settings, levels=levels, learned=learned)
    with log.stage("forecast"):
        build = prepared.build
        wanted = Wanted(prepared.demand, build.requested, build.cold, build.cold_known)
        frame = answer(
            wanted,
            model,
            result.intervals,
            label=result.chosen,
            model_version=registered.version,
            levels=request.quantiles if levels is None else result.levels,
            reconciled=reconciler(levels, prepared.demand),
        )
        sums = level_files(levels, learned.arrays, wanted, frame, request.quantiles, result.levels)
        frame = frame.drop(map(quantile_column, set(result.levels) - set(request.quantiles)), strict=False)
        shown = user_frame(frame, prepared.panel.spec, wanted.series)
        with opened_warehouse(settings.warehouse) as warehouse:
            write_forecasts(warehouse, frame, dataset=prepared.panel.spec.name, run_id=run_id)
    summary = _summary(prepared, result, registered, frame, run_id, log, levels)
    with log.stage("report"):
        files = _files(prepared, result, model, learned.outside, frame, shown, summary)
        write_outputs(out, {**files, **sums})
    return RunResult(out, summary, result.leaderboard, shown, tuple(summary["notes"]))


def _files(
    prepared: Prepared,
    result: Backtest,
    model: Forecaster,
    outside: pl.DataFrame,
    frame: pl.DataFrame,
    shown: pl.DataFrame,
    summary: dict[str, Any],
) -> Mapping[str, Writer]:
    def report(path: Path) -> None:
        from foretail.report.data import ReportData
        from foretail.report.page import write_report

        panel = prepared.panel
        title = f"{panel.spec.name}: {prepared.h} {panel.frequency.noun}s after {panel.cutoff}"
        write_report(
            path,
            ReportData(
                title=title,
                spec=panel.spec,
                panel=panel,
                anomalies=outside,
                quality=prepared.build.quality,
                leaderboard=result.leaderboard,
                backtest=result.frame,
                forecasts=frame,
                importance=tuple(model.importance()),
                permuted=tuple(summary["importance"].items()),
                summary=summary,
            ),
        )

    return {
        "forecasts.parquet": shown.write_parquet,
        "forecasts.csv": shown.write_csv,
        "leaderboard.json": json_writer(result.leaderboard.to_dict()),
        "backtest.parquet": result.frame.write_parquet,
        "anomalies.parquet": user_frame(outside, prepared.panel.spec, prepared.panel.series).write_parquet,
        "report.html": report,
        **demand_files(prepared.panel),
        "run.json": json_writer(summary),
    }


def _summary(
    prepared: Prepared,
    result: Backtest,
    registered: Registered,
    frame: pl.DataFrame,
    run_id: str,
    log: StageLog,
    levels: Levels | None,
) -> dict[str, Any]:
    panel = prepared.panel
    return {
        "run_id": run_id,
        "verdict": _verdict(result, registered),
        "model": result.chosen,
        "weights": result.weights,
        "model_version": registered.version,
        "promoted": registered.promoted,
        "gate": registered.decision,
        "dataset_version": panel.dataset_version,
        "cutoff": panel.cutoff.isoformat(),
        "horizon": prepared.h,
        "n_series": panel.n_series,
        "segments": segments(panel).counts(),
        "n_cold_series": prepared.build.cold.height,
        "n_forecasts": frame.height,
        "n_fallbacks": frame.filter(pl.col("source") != "model").height,
        "seed": prepared.request.seed,
        "scores": next(row for row in result.leaderboard.to_dict()["rows"] if row["chosen"])["scores"],
        "importance": dict(result.importance(panel)),
        "spec": panel.spec.to_dict(),
        "hierarchy": level_summary(levels),
        "totals": totals_coverage(panel, prepared.h, result).to_dict(),
        "notes": [*_notes(prepared, result, registered), *level_notes(levels)],
        "command": command_of(prepared.request),
        "versions": {"python": platform.python_version(), **{name: installed_version(name) for name in _PACKAGES}},
        "stages": log.stages,  # filled as stages end, up to the moment it is written
    }


def _notes(prepared: Prepared, result: Backtest, registered: Registered) -> list[str]:
    late = [row.model for row in result.leaderboard.rows if OUT_OF_TIME in row.failures]
    notes = [*prepared.notes, *demand_notes(prepared.panel)]
    if late:
        notes.append(f"left out, since the time of --budget was up: {', '.join(late)}")
    return notes if registered.is_registered else [*notes, registered.decision]


def _verdict(result: Backtest, registered: Registered) -> str:
    scores = result.leaderboard.chosen.scores
    if result.chosen == NAIVE:
        text = "nothing beat seasonal naive, so the forecast is seasonal naive"
    else:
        text = f"{result.chosen} with {scores.skill:.0%} less error than seasonal naive (WAPE {scores.wape:.3f})"
    if not registered.is_registered:
        return f"{text}; the model could not be registered"
    place = "now the champion" if registered.promoted else "not the champion: the gate refused it"
    return f"{text}; version {registered.version} is {place}"
