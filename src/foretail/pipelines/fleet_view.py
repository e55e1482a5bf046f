"""Looks at a fleet in the warehouse: its last training, its versions, one series with its history and forecast."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import Engine

from foretail.core.columns import CUTOFF, DS, MODEL_VERSION, UNIQUE_ID
from foretail.core.errors import UsageError, nearest
from foretail.core.locations import without_password
from foretail.core.settings import Settings
from foretail.pipelines.fleet_request import FleetRequest, SeriesVersion
from foretail.warehouse.database import opened_warehouse
from foretail.warehouse.forecasts import read_forecasts
from foretail.warehouse.versions import (
    STATUSES,
    FleetRun,
    fleet_run_list,
    latest_versions,
    version_history,
)

__all__ = [
    "fleet_request",
    "fleet_show",
    "fleet_status",
    "kept_request",
    "last_training",
    "request_of",
    "series_names",
    "series_version",
    "served_versions",
    "stored_forecasts",
    "unique_id_of",
]

_MOST_TOLD = 20  # series that are not trained, told one by one


def fleet_status(settings: Settings, fleet: str | None = None) -> dict[str, Any]:
    """How a fleet stands.

    Parameters
    ----------
    fleet : its name; the one trained last by default.

    Returns
    -------
    ``fleet, family, cutoff, model_version, run_id, started, ended, n_series, counts`` (series by the status of their
    newest version), ``n_served`` (series with a version that answers), ``forecast_cutoff, forecast_until``, ``wape,
    naive_wape, coverage_80, coverage_95`` of the last training, and ``not_trained``: the first series that are not,
    with the reason.

    Raises
    ------
    UsageError : no fleet of that name.
    """
    with opened_warehouse(settings.warehouse) as engine:
        run = last_training(engine, fleet)
        newest, champions = latest_versions(engine, run.fleet), latest_versions(engine, run.fleet, champions=True)
        stored = stored_forecasts(engine, run, served_versions(newest, champions))
    counts = dict(newest["status"].value_counts().iter_rows())
    told = run.summary.get("result", {})
    wanting = newest.filter(pl.col("status") != "trained").sort("status", UNIQUE_ID).head(_MOST_TOLD)
    return {
        "fleet": run.fleet,
        "family": run.family,
        "cutoff": run.cutoff.isoformat(),
        "model_version": run.model_version,
        "run_id": run.run_id,
        "status": run.status,
        "started": run.started.isoformat(timespec="seconds"),
        "ended": None if run.ended is None else run.ended.isoformat(timespec="seconds"),
        "n_series": newest.height,
        "counts": {status: int(counts.get(status, 0)) for status in STATUSES},
        "n_served": champions.height,
        "forecast_cutoff": _text(stored[CUTOFF].max()),
        "forecast_until": _text(stored[DS].max()),
        **{name: told.get(name) for name in ("wape", "naive_wape", "coverage_80", "coverage_95")},
        "not_trained": wanting.select(UNIQUE_ID, "status", "reason", "version").to_dicts(),
    }


def fleet_show(settings: Settings, store: str, product: str, fleet: str | None = None) -> dict[str, Any]:
    """One series: every version, newest first, and the stored forecast of the one that answers.

    Raises
    ------
    UsageError : no such fleet or series.
    """
    with opened_warehouse(settings.warehouse) as engine:
        run = last_training(engine, fleet)
        unique_id = unique_id_of(engine, run.fleet, store, product)
        history = version_history(engine, run.fleet, unique_id)
        champions = latest_versions(engine, run.fleet, [unique_id], champions=True)
        answers = served_versions(latest_versions(engine, run.fleet, [unique_id]), champions)
        stored = stored_forecasts(engine, run, answers, [unique_id])
    versions = [series_version(run.fleet, row) for row in history.to_dicts()]
    served = next((item for item in versions if item.is_champion), versions[0])
    return {
        "fleet": run.fleet,
        "store": served.store,
        "product": served.product,
        "model_id": served.model_id,
        "served_version": served.version,
        "versions": [item.to_dict() for item in versions],
        "forecast": stored.to_dicts(),
    }


def fleet_request(settings: Settings, fleet: str | None = None) -> FleetRequest:
    """What a fleet was trained with last, to be asked again.

    Raises
    ------
    UsageError : no fleet of that name.
    """
    with opened_warehouse(settings.warehouse) as engine:
        return request_of(last_training(engine, fleet), settings)


def request_of(run: FleetRun, settings: Settings) -> FleetRequest:
    """What a run was asked; the warehouse's password, which is never stored, comes from the settings."""
    values = dict(run.summary["request"])
    shown = without_password(settings.warehouse)
    places = {key: values["request"][key] for key in ("table", "data")}
    known = {key: settings.warehouse for key, place in places.items() if place == shown}
    return FleetRequest.from_dict({**values, "request": {**values["request"], **known}})


def kept_request(request: FleetRequest) -> dict[str, Any]:
    """A request as it is stored with its run: passwords are stars."""
    values = request.to_dict()
    texts = {key: without_password(text) for key, text in values["request"].items() if isinstance(text, str)}
    return {**values, "request": {**values["request"], **texts}}


def series_names(settings: Settings, fleet: str | None = None) -> list[tuple[str, str]]:
    """Store and product of every series of a fleet.

    Raises
    ------
    UsageError : no fleet of that name.
    """
    with opened_warehouse(settings.warehouse) as engine:
        every = latest_versions(engine, last_training(engine, fleet).fleet)
    return every.select(_store().alias("store"), "productname").rows()


def last_training(engine: Engine, fleet: str | None) -> FleetRun:
    """The newest run that trained a whole fleet.

    Raises
    ------
    UsageError : there is none.
    """
    runs = [run for run in fleet_run_list(engine, fleet) if "request" in run.summary]
    if runs:
        return runs[0]
    known = sorted({run.fleet for run in fleet_run_list(engine)})
    what = f"no fleet {fleet!r}" if fleet else "no fleet was trained"
    where = engine.url.render_as_string(hide_password=True)
    raise UsageError(f"{what}.\n  where: {where}\n  fix:   {_or_train(fleet, known)}")


def unique_id_of(engine: Engine, fleet: str, store: str, product: str) -> str:
    """The series of a store and a product.

    Raises
    ------
    UsageError : the fleet has none.
    """
    for name in (f"{store}/{product}", store):
        found = _named(latest_versions(engine, fleet, [name]), store, product)
        if found.height:
            return str(found[UNIQUE_ID][0])
    every = latest_versions(engine, fleet)  # keys of more than two columns, which a name joins otherwise
    found = _named(every, store, product)
    if found.height:
        return str(found[UNIQUE_ID][0])
    pairs = every.select(pl.concat_str(_store(), "productname", separator=" ").alias("pair"))["pair"].drop_nulls()
    fix = nearest(f"{store} {product}", pairs) if len(pairs) <= 20 else f"one of its {len(pairs)} series"
    raise UsageError(f"no series of store {store!r}, product {product!r}.\n  where: fleet {fleet}\n  fix:   {fix}")


def served_versions(newest: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    """The version that answers each series: the newest that passed its gate, else the newest.

    Parameters
    ----------
    newest, champions : as `latest_versions` gives them.
    """
    others = newest.join(champions.select(UNIQUE_ID), on=UNIQUE_ID, how="anti")
    return pl.concat([champions, others]).sort(UNIQUE_ID)


def stored_forecasts(
    engine: Engine, run: FleetRun, served: pl.DataFrame, unique_ids: list[str] | None = None
) -> pl.DataFrame:
    """The stored forecasts of the versions that answer, those of each series' newest cutoff.

    Parameters
    ----------
    run : the last training. served : see `served_versions`. unique_ids : these series only.
    """
    rows = read_forecasts(engine, run.fleet, unique_ids=unique_ids, first=run.cutoff + dt.timedelta(days=1))
    version = pl.col("version").cast(pl.String).alias(MODEL_VERSION)
    mine = rows.join(served.select(UNIQUE_ID, version), on=[UNIQUE_ID, MODEL_VERSION], how="semi")
    return mine.filter(pl.col(CUTOFF) == pl.col(CUTOFF).max().over(UNIQUE_ID)).sort(UNIQUE_ID, DS)


def series_version(fleet: str, row: Mapping[str, Any]) -> SeriesVersion:
    """A row of the warehouse as a `SeriesVersion`."""
    store = row["store"] if row["store"] is not None else str(row["unique_id"]).split("/")[0]
    return SeriesVersion(
        fleet=fleet,
        unique_id=row["unique_id"],
        store=str(store),
        product=row["productname"] or "",
        model_id=row["model_id"],
        version=row["version"],
        status=row["status"],
        reason=row["reason"],
        metrics=json.loads(row["metrics"]),
        is_champion=row["is_champion"],
        bundle=row["bundle"],
        run_id=row["run_id"],
        created_on=row["created_on"],
    )


def _named(versions: pl.DataFrame, store: str, product: str) -> pl.DataFrame:
    return versions.filter((_store() == store) & (pl.col("productname") == product))


def _store() -> pl.Expr:
    """The store's key as text, whatever the type of the key."""
    return pl.coalesce(pl.col("store").cast(pl.String), pl.col(UNIQUE_ID).str.split("/").list.first())


def _or_train(fleet: str | None, known: list[str]) -> str:
    if not known:
        return "foretail fleet train TABLE"
    return nearest(fleet or "", known)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
