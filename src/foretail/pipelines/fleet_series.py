"""Trains some series of a fleet again: a new version of each and a small bundle of their own; the fleet's stays."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from sqlalchemy import Engine

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem
from foretail.core.progress import Progress, Silent
from foretail.core.settings import Settings
from foretail.panel.panel import Panel
from foretail.pipelines.fleet_answer import forecast_rows
from foretail.pipelines.fleet_data import read_fleet, requested_rows, table_signature
from foretail.pipelines.fleet_judge import panel_rows
from foretail.pipelines.fleet_request import FleetRequest, SeriesVersion, named_series
from foretail.pipelines.fleet_serve import bundle_place
from foretail.pipelines.fleet_train import Clock, Trained, packed, served, train_panel
from foretail.pipelines.fleet_view import last_training, request_of, series_version, unique_id_of
from foretail.registry.fleet_bundle import FleetBundle, delta_folder, open_fleet_bundle, place_of, write_fleet_bundle
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.forecasts import write_forecasts
from foretail.warehouse.versions import FleetRun, latest_versions, write_fleet

__all__ = ["fleet_retry", "retrain_series"]


def retrain_series(fleet: str, store: str, product: str, settings: Settings) -> SeriesVersion:
    """Train one series again, on the newest sales of the fleet's table.

    One new row, one small bundle, its forecasts; nothing else of the fleet is touched. The sales that the fleet was
    trained on are taken from its bundle where the table has not changed since.

    Returns
    -------
    The new version; it answers from now on where ``is_champion``.

    Raises
    ------
    UsageError : no such fleet or series.
    DataError : the series has no sales in the history that its model would see.
    """
    with opened_warehouse(settings.warehouse) as engine:
        run = last_training(engine, fleet)
        return _retrained(engine, run, [unique_id_of(engine, run.fleet, store, product)], settings, Silent())[0]


def fleet_retry(
    settings: Settings, progress: Progress, fleet: str | None = None, *, statuses: Sequence[str] = ("failed",)
) -> list[SeriesVersion]:
    """Train again the series whose newest version has one of these statuses, all at once.

    Returns
    -------
    Their new versions; none where there is nothing to try again.
    """
    with opened_warehouse(settings.warehouse) as engine:
        run = last_training(engine, fleet)
        wanted = latest_versions(engine, run.fleet).filter(pl.col("status").is_in(list(statuses)))
        if wanted.is_empty():
            return []
        return _retrained(engine, run, wanted[UNIQUE_ID].to_list(), settings, progress)


def _retrained(
    engine: Engine, run: FleetRun, unique_ids: list[str], settings: Settings, progress: Progress
) -> list[SeriesVersion]:
    clock, started = Clock(progress), _now()
    request = request_of(run, settings)
    with clock.stage("read"):
        whole = open_fleet_bundle(bundle_place(run, settings), settings)
        panel = _newest(run, request, whole, unique_ids, settings)
    champions = latest_versions(engine, run.fleet, unique_ids, champions=True)
    trained = train_panel(request, panel, champions, settings, clock, pooled=whole.intervals)
    again = replace(
        run,
        run_id=secrets.token_hex(8),
        cutoff=panel.cutoff,
        n_series=panel.n_series,
        started=started,
        status="done",
        summary={"series": unique_ids[:100]},
    )
    with clock.stage("store"):
        rows = _rows(request, panel, trained, _delta(request, again, panel, trained, settings))
        numbered = rows.join(write_fleet(engine, replace(again, ended=_now()), rows), on=UNIQUE_ID)
        frame = forecast_rows(panel, requested_rows(panel), trained.answers, served(numbered, champions))
        write_forecasts(engine, frame, dataset=run.fleet, run_id=again.run_id)
    made = latest_versions(engine, run.fleet, panel.unique_ids)
    return [series_version(run.fleet, row) for row in made.to_dicts()]


def _newest(
    run: FleetRun, request: FleetRequest, whole: FleetBundle, unique_ids: list[str], settings: Settings
) -> Panel:
    """The newest sales of some series."""
    signature = table_signature(request, settings)
    is_same = signature is not None and signature == run.summary.get("signature")
    panel = whole.panel if is_same else read_fleet(request, settings).panel
    rows = np.flatnonzero(panel.series[UNIQUE_ID].is_in(unique_ids).to_numpy())
    if not len(rows):
        raise DataError(
            Problem(
                f"no sales to train on in the history that a model sees ({request.last})",
                f"{len(unique_ids)} series: {', '.join(unique_ids[:5])}",
                "foretail fleet train with --last all, or bring newer sales",
            )
        )
    return panel.select(rows)


def _delta(request: FleetRequest, run: FleetRun, panel: Panel, trained: Trained, settings: Settings) -> str:
    """Write the bundle of these series alone; gives its place."""
    folder: Path = delta_folder(settings, run.fleet, run.run_id)
    write_fleet_bundle(folder, packed(request, panel, trained))
    return place_of(folder, settings)


def _rows(request: FleetRequest, panel: Panel, trained: Trained, bundle: str) -> pl.DataFrame:
    named = named_series(panel.series, panel.spec.keys, request.model, request.product)
    return panel_rows(trained.judged, named=named, bundle=bundle)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
