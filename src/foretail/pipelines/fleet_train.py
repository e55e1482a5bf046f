"""Trains a fleet: one recipe on every series in one go, judged series by series, packed, registered, stored."""

from __future__ import annotations

import datetime as dt
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Engine

import foretail
from foretail.backtest.result import NAIVE, Leaderboard
from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem, RegistryError
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.cold import Cold
from foretail.models.families import make, parse
from foretail.models.intervals import Conformal
from foretail.panel.panel import Panel
from foretail.pipelines.fleet_answer import Answers, answer_fleet, forecast_rows
from foretail.pipelines.fleet_data import FleetData, read_fleet, table_signature
from foretail.pipelines.fleet_judge import Judged, judge_fleet, version_rows
from foretail.pipelines.fleet_measure import Ground, ground_of, leaderboard_of
from foretail.pipelines.fleet_request import FleetRequest, FleetResult, named_series
from foretail.pipelines.fleet_view import kept_request
from foretail.pipelines.fleet_walk import Walk, naive_walk, origins, walk
from foretail.registry.fleet_bundle import FleetBundle, fleet_folder, place_of, registered_name, write_fleet_bundle
from foretail.registry.info import BundleInfo, FamilyTree
from foretail.registry.versions import Registry
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.forecasts import write_forecasts
from foretail.warehouse.versions import STATUSES, FleetRun, latest_versions, write_fleet

__all__ = ["UNREGISTERED", "Clock", "Trained", "fleet_train", "packed", "served", "train_panel"]

UNREGISTERED = "unregistered"


@dataclass
class Clock:
    """Wall seconds by stage, shown as they pass."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Callable[[int], None]]:
        """Time a stage; gives the function that says how many of ``total`` parts are done."""
        begun = time.perf_counter()
        with self.progress.stage(name, total) as stage:
            yield stage.advance
        self.seconds[name] = round(time.perf_counter() - begun, 3)


@dataclass(frozen=True)
class Trained:
    """A recipe on every series of a panel, measured and judged; nothing is stored yet.

    Attributes
    ----------
    board : whole-fleet scores of the recipe and of seasonal naive. judged : series by series. answers : who forecasts.
    """

    ground: Ground
    board: Leaderboard
    judged: Judged
    answers: Answers


def fleet_train(request: FleetRequest, settings: Settings, progress: Progress) -> FleetResult:
    """Train every series of a table, and store what comes of it.

    Read, fit, walk forward, judge, pack, register, write versions and forecasts. A series that fails costs itself; a
    registry that does not answer costs the registered version, and the bundle stays below home.

    Returns
    -------
    Counts by status, scores of the whole fleet, seconds by stage.

    Raises
    ------
    UsageError : a family that is not local, or that the sales do not suit.
    DataError : the table cannot be used, or is too short for a single window.
    ForetailError : the warehouse does not answer; nothing was written there.
    """
    clock = Clock(progress)
    with opened_warehouse(settings.warehouse) as engine:
        result = _trained(engine, request, settings, clock)
    return result.but(seconds=dict(clock.seconds))


def _trained(engine: Engine, request: FleetRequest, settings: Settings, clock: Clock) -> FleetResult:
    started = _now()
    with clock.stage("read"):
        signature = table_signature(request, settings)  # before the reading: a later change is then seen as one
        data = read_fleet(request, settings)
    name = request.fleet or data.panel.spec.name
    champions = latest_versions(engine, name, champions=True)
    trained = train_panel(request, data.panel, champions, settings, clock)
    run_id = secrets.token_hex(8)
    with clock.stage("register"):
        version, where, told = _register(request, name, run_id, data.panel, trained, settings)
    kept = place_of(fleet_folder(settings, name) / "bundles" / run_id, settings)
    summary = {"request": kept_request(request), "horizon": data.h, "signature": signature, "kept": kept}
    run = FleetRun(
        run_id, name, request.model, data.panel.cutoff, version, _count(data), "running", started, summary=summary
    )
    with clock.stage("store"):
        rows = version_rows(data, trained.judged, named=_named(data, request), bundle=where)
        n_forecasts = _store(engine, run, rows, data, trained, champions)
        notes = (*_warned(request, data), *data.notes, *told)
        result = _result(request, run, rows, trained, n_forecasts, clock, notes)
        done = {**summary, "result": {**result.to_dict(), "notes": list(notes)}}
        write_fleet(engine, replace(run, status="done", ended=_now(), summary=done), rows.clear())
        in_use = latest_versions(engine, name, champions=True)["bundle"].unique().to_list()
        _forget_older(settings, name, {kept, *in_use})
    return result


def train_panel(
    request: FleetRequest,
    panel: Panel,
    champions: pl.DataFrame,
    settings: Settings,
    clock: Clock,
    pooled: Mapping[str, Conformal] = MappingProxyType({}),
) -> Trained:
    """Fit, walk forward, measure and judge; see `fleet_train`.

    Parameters
    ----------
    champions : the versions that answer now, as `latest_versions` gives them.
    pooled : intervals by recipe from many more series; measured on this panel where there are none.
    """
    ends = origins(panel, request.n_windows)
    if not ends:
        least = 2 * panel.frequency.season_length
        raise DataError(
            Problem(
                f"the history is too short to measure a forecast of {panel.spec.horizon} steps",
                f"{panel.n_periods} {panel.frequency.noun}s, about {least + panel.spec.horizon} are needed",
                "bring more history (--last all), or forecast fewer steps (--horizon)",
            )
        )
    for end in (ends[0], panel.n_periods):  # what does not suit the sales is said once, not by every series
        make(request.model).fit(panel.as_of(end, panel.spec.horizon), panel.spec.horizon)
    with clock.stage("fit", panel.n_series) as advance:
        own = _walk(panel, request.model, ends, request, settings, advance)
    with clock.stage("measure"):
        naive = naive_walk(panel, ends)
        ground = ground_of(panel, ends)
        walks = {request.recipe: own, NAIVE: naive, **_champion_walks(request, panel, ends, champions, settings)}
        judged = judge_fleet(request, panel, ground, walks, champions)
        board, inside = leaderboard_of(
            panel,
            ground,
            {request.model: own, NAIVE: naive},
            {request.model: clock.seconds["fit"]},
            request.model,
            {request.model: pooled[request.recipe], **pooled} if request.recipe in pooled else pooled,
        )
        judged = judged.with_coverage({request.recipe: inside[request.model], NAIVE: inside[NAIVE]})
        answers = answer_fleet(panel, ground, walks, judged, request.request.quantiles, pooled)
    return Trained(ground, board, judged, answers)


def _walk(
    panel: Panel,
    family: str,
    ends: tuple[int, ...],
    request: FleetRequest,
    settings: Settings,
    advance: Callable[[int], None] = lambda _: None,
) -> Walk:
    return walk(panel, family, ends, seed=request.request.seed, n_workers=settings.n_workers, advance=advance)


def _champion_walks(
    request: FleetRequest, panel: Panel, ends: tuple[int, ...], champions: pl.DataFrame, settings: Settings
) -> dict[str, Walk]:
    """Recipes of champions that are others than the request's, on the series that have them; NaN elsewhere."""
    found: dict[str, Walk] = {}
    for (recipe,), group in _with_recipe(champions).group_by("recipe", maintain_order=True):
        name = str(recipe)
        if name in (request.recipe, NAIVE) or "@" not in name:
            continue
        rows = np.flatnonzero(panel.series[UNIQUE_ID].is_in(group[UNIQUE_ID].implode()).to_numpy())
        if len(rows):
            part = _walk(panel.select(rows), name.rpartition("@")[0], ends, request, settings)
            found[name] = _spread(part, rows, panel.n_series)
    return found


def _with_recipe(champions: pl.DataFrame) -> pl.DataFrame:
    return champions.with_columns(pl.col("metrics").str.json_path_match("$.recipe").alias("recipe")).drop_nulls(
        "recipe"
    )


def _spread(part: Walk, rows: npt.NDArray[np.int64], n: int) -> Walk:
    """A walk of some rows as one of all n, NaN elsewhere."""

    def wide(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        placed = np.full((n, *values.shape[1:]), np.nan)
        placed[rows] = values
        return placed

    return Walk(
        wide(part.y_hat),
        None if part.width is None else wide(part.width),
        {int(rows[row]): why for row, why in part.reasons.items()},
        {int(rows[row]): why for row, why in part.failed.items()},
    )


def _register(
    request: FleetRequest, name: str, run_id: str, panel: Panel, trained: Trained, settings: Settings
) -> tuple[str, str, tuple[str, ...]]:
    """Write the fleet's bundle and log it: the registered version, where the bundle is, and what is to be told.

    The bundle of the newest training stays below home as well: series that are trained again begin there.
    """
    folder = fleet_folder(settings, name) / "bundles" / run_id
    write_fleet_bundle(folder, packed(request, panel, trained))
    family = registered_name(parse(request.model)[0], name)
    counts = {f"n_{status}": float(trained.judged.count(status)) for status in STATUSES}
    try:
        version = Registry(settings).log(folder, family, metrics=counts, tags={"foretail.fleet": name})
    except RegistryError as error:
        return UNREGISTERED, place_of(folder, settings), (f"the version is not registered: {error}",)
    return f"{family}/{version.version}", f"{family}/{version.version}", ()


def _forget_older(settings: Settings, name: str, kept: set[str]) -> None:
    """Remove the copies of registered bundles of earlier trainings."""
    for folder in (fleet_folder(settings, name) / "bundles").iterdir():
        if folder.is_dir() and place_of(folder, settings) not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def packed(request: FleetRequest, panel: Panel, trained: Trained) -> FleetBundle:
    """The bundle of a training."""
    family = parse(request.model)[0]
    info = BundleInfo(
        model=request.model,
        tree=FamilyTree(family, params=dict(parse(request.model)[1])),
        spec=panel.spec,
        dataset_version=panel.dataset_version,
        code_version=foretail.__version__,
        features=(),
        seed=request.request.seed,
        cutoff=panel.cutoff.isoformat(),
        horizon=panel.spec.horizon,
        levels=request.request.quantiles,
        leaderboard=trained.board,
    )
    model = make(request.model, random_state=request.request.seed).fit(panel, panel.spec.horizon)
    answers = trained.answers
    return FleetBundle(info, model, panel, answers.recipes, answers.answer, answers.intervals)


def _store(
    engine: Engine, run: FleetRun, rows: pl.DataFrame, data: FleetData, trained: Trained, champions: pl.DataFrame
) -> int:
    """Versions, then forecasts of the versions that answer; each in one transaction."""
    numbered = rows.join(write_fleet(engine, run, rows), on=UNIQUE_ID)
    frame = forecast_rows(
        data.panel,
        data.requested,
        trained.answers,
        served(numbered, champions),
        Cold(data.built.cold, data.built.cold_known),
    )
    return write_forecasts(engine, frame, dataset=run.fleet, run_id=run.run_id)


def served(numbered: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    """``unique_id, store, productname, model_id, version`` of the version of each series that answers.

    Parameters
    ----------
    numbered : the new versions. champions : those that answered before.
    """
    before = champions.select(UNIQUE_ID, pl.col("version").alias("before"))
    version = pl.when("is_champion").then("version").otherwise(pl.coalesce("before", "version")).alias("version")
    joined = numbered.join(before, on=UNIQUE_ID, how="left", maintain_order="left")
    return joined.select(UNIQUE_ID, "store", "productname", "model_id", version)


def _named(data: FleetData, request: FleetRequest) -> pl.DataFrame:
    keys = data.panel.spec.keys
    columns = [UNIQUE_ID, *(key for key in keys if key != UNIQUE_ID)]
    every = pl.concat([item.select(columns) for item in (data.panel.series, data.built.cold, data.gone)])
    return named_series(every, keys, request.model, request.product)


def _count(data: FleetData) -> int:
    return data.panel.n_series + data.built.cold.height + data.gone.height


def _warned(request: FleetRequest, data: FleetData) -> tuple[str, ...]:
    days = data.panel.n_periods * data.panel.frequency.days
    if not request.yearly or days >= 730:
        return ()
    return (f"a yearly season is fitted on {days:.0f} days: what it says of the rest of the year is a guess",)


def _result(
    request: FleetRequest,
    run: FleetRun,
    rows: pl.DataFrame,
    trained: Trained,
    n_forecasts: int,
    clock: Clock,
    notes: tuple[str, ...],
) -> FleetResult:
    own, naive = trained.board.row(request.model).scores, trained.board.row(NAIVE).scores
    counts = dict(rows["status"].value_counts().iter_rows())
    return FleetResult(
        fleet=run.fleet,
        run_id=run.run_id,
        family=request.model,
        cutoff=run.cutoff.isoformat(),
        model_version=run.model_version,
        n_series=rows.height,
        counts={status: int(counts.get(status, 0)) for status in STATUSES},
        n_champions=int(rows["is_champion"].sum()),
        n_forecasts=n_forecasts,
        wape=own.wape,
        naive_wape=naive.wape,
        coverage_80=own.coverage_80,
        coverage_95=own.coverage_95,
        seconds=dict(clock.seconds),
        notes=notes,
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
