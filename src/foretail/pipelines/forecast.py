"""forecast: answer from a registered version or a bundle, on the sales it was fitted on or on newer ones."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from foretail.core.columns import DS, STEP, UNIQUE_ID
from foretail.core.errors import UsageError
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.features.demand import as_demanded
from foretail.forecasts.frame import user_frame
from foretail.forecasts.heeding import reconciler
from foretail.forecasts.output import Writer, write_outputs
from foretail.models.intervals import Conformal
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.pipelines.answer import Wanted, answer
from foretail.pipelines.hierarchy import LevelsAsked
from foretail.pipelines.newer import newer_sales
from foretail.pipelines.samples import SamplesAsked, Sampling
from foretail.registry.bundle import Bundle, read_bundle
from foretail.registry.versions import Registry
from foretail.sources.files import read_frame
from foretail.sources.table import Table
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.forecasts import write_forecasts

__all__ = ["forecast_version", "keep_forecasts", "open_version", "stored"]

logger = logging.getLogger(__name__)


def forecast_version(
    model: str,
    *,
    table: str | None,
    future: str | None,
    horizon: int | None,
    out: Path,
    settings: Settings,
    progress: Progress,
    samples: SamplesAsked | None = None,
    hierarchy: Sequence[str] = (),
    tell: Callable[[str], object] | None = None,
) -> pl.DataFrame:
    """Forecast without fitting anything.

    Parameters
    ----------
    model : ``name`` (its champion), ``name@alias``, ``name/version``, or the folder of a bundle.
    table : newer sales with the columns of the version's spec; None forecasts from those in the bundle.
    future : keys, dates and known covariates, with ``table``. horizon : steps, at most those it was fitted for.
    samples : joint samples and their totals, written beside (`foretail.pipelines.samples`); none when None.
    hierarchy : levels to sum to, written to ``levels.parquet`` and ``.csv``; those of the version when empty.
    tell : takes each note.

    Returns
    -------
    The user's own key and time columns, then the forecast contract; also ``forecasts.parquet`` and ``.csv`` in ``out``,
    and in the warehouse.
    """
    with progress.stage("load"):
        bundle, label, wanted = open_version(model, table=table, future=future, horizon=horizon, settings=settings)
        levels = LevelsAsked(bundle.levels, bundle.calibration, wanted, hierarchy)
        sampling = None if samples is None else Sampling.of(bundle, wanted, samples)
    with progress.stage("forecast"):
        frame = answer(
            wanted,
            bundle.model,
            Conformal.from_arrays(bundle.calibration),
            label=bundle.info.model,
            model_version=label,
            levels=bundle.info.levels,
            reconciled=reconciler(bundle.levels, bundle.panel),
        )
        shown, files = keep_forecasts(frame, wanted, settings)
        sampled = {} if sampling is None else sampling.files(frame, shown)
        sampled = {**sampled, **levels.files(frame, bundle.info.levels, bundle.info.levels)}
        write_outputs(out, {**files, **sampled})
    for note in levels.notes:
        (tell or logger.info)(note)
    return shown


def open_version(
    model: str, *, table: str | None, future: str | None, horizon: int | None, settings: Settings
) -> tuple[Bundle, str, Wanted]:
    """The bundle of a version, the version's label, and what it is asked; see `forecast_version`."""
    folder, label = _locate(model, settings)
    bundle = read_bundle(folder)
    return bundle, label, _wanted(bundle, table, future, horizon, settings)


def keep_forecasts(frame: pl.DataFrame, wanted: Wanted, settings: Settings) -> tuple[pl.DataFrame, dict[str, Writer]]:
    """Forecasts in the user's own columns and the files that hold them, once they are in the warehouse.

    Parameters
    ----------
    frame : the forecast table in the house's columns.
    """
    spec = wanted.panel.spec
    shown = user_frame(frame, spec, wanted.series)
    with opened_warehouse(settings.warehouse) as warehouse:
        write_forecasts(warehouse, frame, dataset=spec.name, run_id=secrets.token_hex(8))
    return shown, {"forecasts.parquet": shown.write_parquet, "forecasts.csv": shown.write_csv}


def _locate(model: str, settings: Settings) -> tuple[Path, str]:
    """The bundle's folder and the version's label."""
    if (Path(model) / "bundle.json").exists():
        return Path(model), Path(model).name
    name, at, version = model.partition("@")
    if not at:
        name, _, version = model.partition("/")
    registry = Registry(settings)
    number = registry.show(name, version or "champion").version
    return registry.fetch(name, number), f"{name}/{number}"


def _wanted(bundle: Bundle, table: str | None, future: str | None, horizon: int | None, settings: Settings) -> Wanted:
    spec = bundle.info.spec
    h = horizon or spec.horizon
    if h > bundle.info.horizon:
        raise UsageError(
            f"the version answers {bundle.info.horizon} steps, not {h}.\n  where: --horizon\n"
            f"  fix:   --horizon {bundle.info.horizon} or fewer, or train with the longer horizon"
        )
    spec = spec.but(horizon=h)
    if table is None:
        if future:
            raise UsageError("--future goes with --table.\n  where: --future\n  fix:   give the sales up to now too")
        return stored(replace(bundle.panel, spec=spec), h)
    sales, ahead = newer_sales(table, settings)
    build = build_panel(Table(sales, spec, read_frame(future) if future else ahead), horizon=h)
    return Wanted(as_demanded(build.panel), build.requested, build.cold, build.cold_known)


def stored(panel: Panel, h: int) -> Wanted:
    """The sales in the bundle, every series asked for h steps."""
    n = panel.n_series
    requested = pl.DataFrame(
        {
            UNIQUE_ID: panel.series[UNIQUE_ID].gather(np.repeat(np.arange(n), h)),
            DS: np.tile(panel.future_dates(h), n),
            STEP: np.tile(np.arange(1, h + 1), n),
        }
    )
    return Wanted(panel, requested, panel.series.clear())
