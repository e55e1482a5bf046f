"""The sales of a fleet: as much history as its models see, as one panel; series that ended before are named."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem
from foretail.core.locations import is_database
from foretail.core.settings import Settings
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Panel
from foretail.panel.quarantine import with_released
from foretail.panel.rows import as_dates, check_columns
from foretail.panel.snapshot import content_version
from foretail.pipelines.check import open_request
from foretail.pipelines.fleet_blocks import Built, build_in_blocks
from foretail.pipelines.fleet_request import FleetRequest, window_periods
from foretail.pipelines.forecast import stored
from foretail.pipelines.request import Request
from foretail.sources.table import Table

__all__ = ["FleetData", "read_fleet", "requested_rows", "table_signature", "with_usual_closures"]

_ALIKE = 4  # weekdays of a kind that decide whether the next one is closed
_WEEK = 7  # days that a fleet of daily sales is forecast, unless asked otherwise


@dataclass(frozen=True)
class FleetData:
    """What a fleet is trained on.

    Attributes
    ----------
    panel : the last periods of every series that has an observation there.
    built : what came up on the way, series that were asked for and never observed among it.
    gone : series without a row in it: ``unique_id``, the key columns, ``last`` (their last date).
    notes : to be told.
    """

    panel: Panel
    built: Built
    gone: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def h(self) -> int:
        return self.panel.spec.horizon

    @property
    def requested(self) -> pl.DataFrame:
        """The rows to answer: every series of the panel, and those that the table asks for though they never sold."""
        own = requested_rows(self.panel)
        return pl.concat([own, self.built.cold_requested.select(own.columns).cast(pl.Schema(own.schema))])


def read_fleet(request: FleetRequest, settings: Settings) -> FleetData:
    """Read the table of a fleet and lay out its last periods.

    Raises
    ------
    DataError : the table cannot be used as it is; every problem found is told.
    """
    lean, end, before = _read(request, settings)
    horizon = request.request.horizon or (_WEEK if lean.spec.frequency.is_daily else None)
    built = build_in_blocks(lean, cutoff=request.request.cutoff, end=end, horizon=horizon)
    panel = with_usual_closures(built.panel)
    panel = replace(panel, dataset_version=content_version(panel))
    built = replace(built, panel=panel)
    warnings = [finding.text for finding in built.findings if finding.level == "warning"]
    return FleetData(panel, built, _gone(before, built, lean.spec), (*lean.notes, *warnings))


def requested_rows(panel: Panel) -> pl.DataFrame:
    """``unique_id, ds, step``: every series of a panel, every step of its horizon."""
    return stored(panel, panel.spec.horizon).requested


def with_usual_closures(panel: Panel) -> Panel:
    """Where nobody says whether a shop will open, it is closed if it was so on the last four weekdays of the kind.

    Only tables of days that tell opening are looked at; what is told stays as it is.
    """
    if panel.spec.open is None or not panel.frequency.is_daily or panel.n_periods < _WEEK * _ALIKE:
        return panel
    n, told = panel.n_periods, panel.covariate(panel.spec.open).values
    weeks = panel.closed[:, n - _WEEK * _ALIKE : n].reshape(panel.n_series, _ALIKE, _WEEK)
    usual = np.asarray(weeks.all(axis=1))
    ahead = usual[:, np.arange(panel.n_future) % _WEEK]
    closed = panel.closed.copy()
    closed[:, n:] |= ahead & np.isnan(told[:, n : n + panel.n_future])
    return replace(panel, closed=closed)


def table_signature(request: FleetRequest, settings: Settings) -> str | None:
    """What changes when the files of a request do: names, sizes and times of change; None where that cannot be told."""
    asked = request.request
    files = _files_of(asked, settings)
    beside = [Path(item) for item in (asked.spec, asked.future) if item]
    if files is None or not all(item.is_file() for item in (*files, *beside)):
        return None
    told = [(str(item), item.stat().st_size, item.stat().st_mtime_ns) for item in (*files, *beside)]
    return hashlib.sha256(json.dumps([asked.table, told]).encode()).hexdigest()


def _files_of(asked: Request, settings: Settings) -> list[Path] | None:
    """The files that hold a table; None for what is not a file of this machine."""
    place = asked.data or settings.data or os.environ.get("FORETAIL_DATA")
    if "://" in asked.table or is_database(str(asked.data or "")):
        return None
    if asked.table.lower().endswith(".toml"):
        spec = Path(asked.table)
        named = tomllib.loads(spec.read_text(encoding="utf-8"))
        return [spec, *(spec.parent / str(named[key]) for key in ("table", "future") if key in named)]
    if asked.table.startswith("synthetic"):
        return [Path(asked.data)] if asked.data else []
    if Path(asked.table).is_file():
        return [Path(asked.table)]
    folder = Path(place or "") / asked.table.replace("-", "_")
    return sorted(item for item in folder.iterdir() if item.is_file()) if folder.is_dir() else None


def _read(request: FleetRequest, settings: Settings) -> tuple[Table, dt.date, pl.DataFrame | None]:
    """The rows of the last periods and those after them, the last date told, and each series' last date before them."""
    table = with_released(open_request(request.request, settings), settings.home)
    spec = _lean(table.spec)
    check_columns(table.frame, spec)
    numbers = [name for name in spec.known if table.frame[name].dtype.is_numeric()]
    frame = table.frame.select(*dict.fromkeys(spec.columns)).with_columns(
        as_dates(table.frame, spec.time).alias(spec.time),
        *(pl.col(name).cast(pl.Float32) for name in numbers),  # as the panel holds them
    )
    end = _end(frame, spec, request)
    kept, before = _last_rows(frame, spec, end, window_periods(request.last, spec.frequency))
    return Table(kept, spec, table.future, table.notes), end, before


def _lean(spec: DatasetSpec) -> DatasetSpec:
    """The spec without what models of single series cannot use."""
    return spec.but(static=(), past=(), hierarchy=())


def _end(frame: pl.DataFrame, spec: DatasetSpec, request: FleetRequest) -> dt.date:
    """The last date with an observation."""
    cutoff = request.request.cutoff
    told = pl.col(spec.target).is_not_null() & (pl.lit(True) if cutoff is None else _until(spec, cutoff))
    end = frame.lazy().filter(told).select(pl.col(spec.time).max()).collect()[spec.time][0]
    if not isinstance(end, dt.date):
        where = f"column {spec.target!r}" + (f" up to {cutoff}" if cutoff else "")
        raise DataError(Problem("the target has no value", where, "name the right column with --target"))
    return end


def _last_rows(
    frame: pl.DataFrame, spec: DatasetSpec, end: dt.date, n_periods: int | None
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The rows of the last periods and those after them; and, of rows before, each series with its last date."""
    if n_periods is None:
        return frame, None
    first = spec.frequency.shift(end, 1 - n_periods)
    kept = pl.col(spec.time).is_null() | (pl.col(spec.time) >= first)
    before = frame.lazy().filter(~kept).group_by(spec.keys).agg(pl.col(spec.time).max().alias("last"))
    return frame.filter(kept), before.collect()


def _until(spec: DatasetSpec, cutoff: dt.date) -> pl.Expr:
    return pl.col(spec.time) <= cutoff


def _gone(before: pl.DataFrame | None, built: Built, spec: DatasetSpec) -> pl.DataFrame:
    """Series that have rows before the last periods, and neither an observation in them nor a request."""
    empty = built.panel.series.clear().select(UNIQUE_ID, *(key for key in spec.keys if key != UNIQUE_ID))
    if before is None or not spec.keys:
        return empty.with_columns(pl.lit(None, dtype=pl.Date).alias("last"))
    names = pl.concat_str([pl.col(key).cast(pl.String) for key in spec.keys], separator="/").alias(UNIQUE_ID)
    named = before.drop_nulls(spec.keys).with_columns(names)
    for present in (built.panel.series, built.cold):
        named = named.join(present.select(UNIQUE_ID), on=UNIQUE_ID, how="anti")
    return named.select(*empty.columns, "last").sort(UNIQUE_ID)
