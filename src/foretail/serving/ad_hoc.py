"""Days that are not stored: the fleet's own models are asked, from the bundle that the newest version names."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import polars as pl
from sqlalchemy import Engine

from foretail.core.columns import DS, SOURCE, UNIQUE_ID, Y_HAT
from foretail.core.errors import ForetailError
from foretail.core.settings import Settings
from foretail.pipelines.fleet_beyond import fleet_beyond
from foretail.registry.fleet_bundle import FleetBundle, open_fleet_bundle
from foretail.serving.errors import RequestProblem
from foretail.serving.forecast_store import Ask, Found, Row
from foretail.warehouse.versions import fleet_run_list, latest_versions

__all__ = ["AdHoc", "Lacking"]

logger = logging.getLogger(__name__)

_KEPT = 4  # bundles that stay in memory
MOST_STEPS = 731  # after the cutoff


class Lacking(NamedTuple):
    """Days of a series that are not stored, and what is known of it."""

    ask: Ask
    found: Found


class _Made(NamedTuple):
    """Where the newest version of a series is, and whence."""

    bundle: str
    run_id: str
    created_on: dt.datetime


class AdHoc:
    """Asks the models of a fleet.

    Parameters
    ----------
    engine : of the warehouse. fleet : its name there. settings : where the bundles are.
    """

    def __init__(self, engine: Engine, fleet: str, settings: Settings):
        self._engine, self._fleet, self._settings = engine, fleet, settings
        self._bundles: OrderedDict[str, FleetBundle] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, lacking: Sequence[Lacking]) -> list[Found | RequestProblem]:
        """Forecasts of the days, in the order given; a problem where the model cannot know a day.

        Raises
        ------
        RegistryError : a bundle is gone. ForetailError : the warehouse does not answer, or a model fails.
        """
        ids = sorted({item.found.unique_id for item in lacking})
        told = latest_versions(self._engine, self._fleet, ids).select(UNIQUE_ID, "bundle", "run_id", "created_on")
        made = {name: _Made(*values) for name, *values in told.iter_rows()}
        answers: dict[int, Found | RequestProblem] = {}
        for where in sorted({item.bundle for item in made.values()}):
            mine = {i: item for i, item in enumerate(lacking) if _place(made, item) == where}
            answers |= self._of_bundle(self._bundle(where), mine, made)
        return [answers.get(i, _gone(item)) for i, item in enumerate(lacking)]

    def warm_up(self) -> None:
        """Load the bundle that was trained last, so that the first who asks need not wait for it."""
        try:
            run = next((run for run in fleet_run_list(self._engine, self._fleet) if "request" in run.summary), None)
            if run is not None:
                self._bundle(run.model_version)
        except ForetailError as error:
            logger.warning("the models are not loaded yet: %s", error)

    def _of_bundle(
        self, bundle: FleetBundle, lacking: dict[int, Lacking], made: dict[str, _Made]
    ) -> dict[int, Found | RequestProblem]:
        cutoff = bundle.panel.cutoff
        answers: dict[int, Found | RequestProblem] = {}
        asked: dict[int, Lacking] = {}
        for i, item in lacking.items():
            problem = _problem(item.ask, bundle)
            if problem is None:
                asked[i] = item
            else:
                answers[i] = problem
        if not asked:
            return answers
        until = max(
            item.ask.end or bundle.panel.frequency.shift(cutoff, bundle.info.horizon) for item in asked.values()
        )
        beyond = fleet_beyond(bundle, sorted({item.found.unique_id for item in asked.values()}), until)
        parts = {name: part for (name,), part in beyond.frame.group_by(UNIQUE_ID, maintain_order=True)}
        for i, item in asked.items():
            part = parts.get(item.found.unique_id)
            name = item.found.unique_id
            answers[i] = _gone(item) if part is None else _found(item, part, beyond.warnings, cutoff, made[name])
        return answers

    def _bundle(self, where: str) -> FleetBundle:
        with self._lock:
            if where not in self._bundles:
                self._bundles[where] = open_fleet_bundle(where, self._settings)
                if len(self._bundles) > _KEPT:
                    self._bundles.popitem(last=False)
            self._bundles.move_to_end(where)
            return self._bundles[where]


def _problem(ask: Ask, bundle: FleetBundle) -> RequestProblem | None:
    """Why the model cannot say anything of these days."""
    cutoff = bundle.panel.cutoff
    if ask.begin is not None and ask.begin <= cutoff:
        what = f"there is no stored forecast of every day from {ask.begin} on, and the model saw those up to {cutoff}"
        return RequestProblem(422, what, "begin_date", f"begin after {cutoff}, or leave the dates out")
    last = bundle.panel.frequency.shift(cutoff, MOST_STEPS)
    if ask.end is not None and ask.end > last:
        what = f"{ask.end} is more than {MOST_STEPS} {bundle.panel.frequency.noun}s after the cutoff {cutoff}"
        return RequestProblem(422, what, "end_date", f"end on {last} or before")
    return None


def _place(made: dict[str, _Made], item: Lacking) -> str:
    version = made.get(item.found.unique_id)
    return "" if version is None else version.bundle


def _gone(item: Lacking) -> RequestProblem:
    pair = item.ask.pair
    where = f"store {pair.store}, product {pair.product}"
    return RequestProblem(
        422, f"the series has no model to ask: {item.found.standing}", where, "train it when there are sales of it"
    )


def _found(item: Lacking, part: pl.DataFrame, warnings: tuple[str, ...], cutoff: dt.date, made: _Made) -> Found:
    """Rows of one series; they are as old as the version that makes them."""
    bounds = [name if name in part.columns else None for name in ("q2_5", "q97_5")]
    lower, upper = (part[name].to_list() if name else [None] * part.height for name in bounds)
    days, values, sources = part[DS].to_list(), part[Y_HAT].to_list(), part[SOURCE].to_list()
    version = item.found.version
    rows = tuple(
        Row(day, value, low, high, version, cutoff, made.created_on, made.run_id, source)
        for day, value, low, high, source in zip(days, values, lower, upper, sources, strict=True)
    )
    return replace(item.found, rows=rows, warnings=warnings)
