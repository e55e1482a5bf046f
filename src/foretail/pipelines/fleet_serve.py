"""Forecasts of a fleet: those that are stored, and the weekly batch on newer sales that stores them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Engine

from foretail.backtest.result import NAIVE
from foretail.core.columns import UNIQUE_ID
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.models.contract import Forecast
from foretail.models.fallback import last_season
from foretail.models.intervals import Conformal, Size
from foretail.panel.panel import Panel
from foretail.pipelines.fleet_answer import Answers, forecast_rows
from foretail.pipelines.fleet_data import read_fleet, requested_rows
from foretail.pipelines.fleet_view import last_training, request_of, served_versions, stored_forecasts
from foretail.pipelines.fleet_walk import walk
from foretail.registry.fleet_bundle import FleetBundle, open_fleet_bundle
from foretail.registry.fleet_gate import ZERO_RECIPE
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.forecasts import write_forecasts
from foretail.warehouse.versions import FleetRun, latest_versions

__all__ = ["bundle_place", "fleet_forecast"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Known:
    """The fleet now: its last training, the versions that answer, and the intervals of that training."""

    run: FleetRun
    served: pl.DataFrame
    whole: FleetBundle


def fleet_forecast(
    settings: Settings, progress: Progress, fleet: str | None = None, *, refresh: bool = False
) -> pl.DataFrame:
    """The forecast of every series: as stored, or made anew on the newest sales and stored.

    Until it is refreshed, the same week shows the same forecast. A refresh trains nothing: the versions that answer
    forecast from the sales up to now. Their rows replace those of the same cutoff and version, in one transaction.

    Parameters
    ----------
    fleet : its name; the one trained last by default. refresh : read the fleet's table again.

    Returns
    -------
    ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version, source`` and more, by series and date; with the
    default horizon 7 days are 7 rows per series.

    Raises
    ------
    UsageError : no fleet of that name. DataError : the table cannot be used any more.
    """
    with opened_warehouse(settings.warehouse) as engine:
        run = last_training(engine, fleet)
        champions = latest_versions(engine, run.fleet, champions=True)
        served = served_versions(latest_versions(engine, run.fleet), champions)
        found = stored_forecasts(engine, run, served)
        if refresh or found.is_empty():
            with progress.stage("refresh"):
                whole = open_fleet_bundle(bundle_place(run, settings), settings)
                _refresh(engine, _Known(run, served, whole), settings)
                found = stored_forecasts(engine, run, served)
    return found


def bundle_place(run: FleetRun, settings: Settings) -> str:
    """Where the bundle of a training is: the copy below home where it is still there, else the registered version."""
    kept = str(run.summary.get("kept", ""))
    return kept if kept and (settings.home / kept.removeprefix("home:")).is_dir() else run.model_version


def _refresh(engine: Engine, known: _Known, settings: Settings) -> None:
    request = request_of(known.run, settings)
    data = read_fleet(request, settings)
    rows = requested_rows(data.panel).join(
        known.served.select(UNIQUE_ID), on=UNIQUE_ID, how="semi", maintain_order="left"
    )
    frame = _answered(data.panel, rows, known.served, known.whole.intervals, settings)
    write_forecasts(engine, frame, dataset=known.run.fleet, run_id=secrets.token_hex(8))


def _answered(
    panel: Panel, requested: pl.DataFrame, served: pl.DataFrame, intervals: Mapping[str, Conformal], settings: Settings
) -> pl.DataFrame:
    """Forecasts of the versions that answer the series of a panel, each by its own recipe."""
    told = pl.col("metrics").str.json_path_match("$.recipe").fill_null(NAIVE).alias("recipe")
    recipes = panel.series.select(UNIQUE_ID).join(
        served.select(UNIQUE_ID, "status", "reason", told), on=UNIQUE_ID, how="left", maintain_order="left"
    )
    size, h = Size.of(panel), panel.spec.horizon
    levels = next(iter(intervals.values())).levels if intervals else ()
    y_hat, quantiles = np.zeros((panel.n_series, h)), np.zeros((panel.n_series, h, len(levels)))
    reasons: dict[int, str] = {}
    for (recipe,), group in recipes.with_row_index("row").group_by("recipe", maintain_order=True):
        rows = group["row"].to_numpy().astype(np.int64)
        if recipe == ZERO_RECIPE:
            continue
        values, width, fallen = _predicted(panel.select(rows), str(recipe), settings)
        y_hat[rows] = values
        reasons |= {int(rows[row]): why for row, why in fallen.items()}
        found = intervals.get(str(recipe))
        quantiles[rows] = values[..., None]
        if found is not None:
            quantiles[rows] = found.quantiles(values, size.take(rows), width, non_negative=panel.spec.non_negative)
    plain = recipes.with_row_index("row").filter(pl.col("recipe").is_in([NAIVE, ZERO_RECIPE]))
    reasons |= {row: why or "no model" for row, why in plain.select("row", "reason").iter_rows()}
    answers = Answers((), np.zeros(0, dtype=np.int64), intervals, Forecast(y_hat, levels, quantiles, reasons))
    return forecast_rows(panel, requested, answers, served)


def _predicted(panel: Panel, recipe: str, settings: Settings) -> tuple[FloatArray, FloatArray | None, dict[int, str]]:
    """``[n, h]`` of one recipe, its widths, and the rows that the last season answers after all."""
    naive = last_season(panel, panel.spec.horizon)
    if "@" not in recipe:
        return naive, None, {}
    found = walk(panel, recipe.rpartition("@")[0], (), seed=7, n_workers=settings.n_workers)
    values = found.y_hat[:, 0]
    lost = np.asarray(~np.isfinite(values).all(axis=1))
    width = None if found.width is None else found.width[:, 0]
    reasons = {**dict.fromkeys(np.flatnonzero(lost).tolist(), "the model could not answer"), **found.reasons}
    return np.where(lost[:, None], naive, values), width, {**reasons, **found.failed}
