"""Versions of a fleet's models, one row per series and version: each series counts its own, nothing is rewritten."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, Row, select
from sqlalchemy.dialects import postgresql, sqlite

from foretail.core.errors import DataError, Problem
from foretail.sources.database import read_query, read_transaction
from foretail.warehouse.bulk import copy_rows, is_postgresql, write_transaction
from foretail.warehouse.tables import fleet_runs

__all__ = [
    "STATUSES",
    "FleetRun",
    "fleet_run_list",
    "latest_versions",
    "model_id",
    "version_history",
    "write_fleet",
]

STATUSES = ("trained", "fallback", "failed", "stale", "skipped")
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('foretail fleet ' || :fleet, 0))"
_GIVEN: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "store": pl.Int32(),
    "productname": pl.String(),
    "model_id": pl.String(),
    "bundle": pl.String(),
    "status": pl.String(),
    "reason": pl.String(),
    "metrics": pl.String(),
    "is_champion": pl.Boolean(),
}
_MOST_IDS = 2_000  # ids that are sent to the database
_OPTIONAL = ("store", "productname", "model_id", "reason")


@dataclass(frozen=True)
class FleetRun:
    """One training of a fleet, or of some of its series.

    Attributes
    ----------
    run_id : names it. fleet : the fleet it belongs to. family : what was fitted.
    cutoff : the last date the models saw. model_version : of the bundle in the registry.
    n_series : series that took part. status : ``running``, ``done`` or ``failed``.
    started, ended : naive UTC. summary : what else is to be kept, as JSON can hold it.
    """

    run_id: str
    fleet: str
    family: str
    cutoff: dt.date
    model_version: str
    n_series: int
    status: str
    started: dt.datetime
    ended: dt.datetime | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)


def model_id(store: int | str, product: str) -> str:
    """The name of a series' model: ``prophet-retail-forecaster-store-1-product_A``."""
    return f"prophet-retail-forecaster-store-{store}-{product}"


def write_fleet(engine: Engine, run: FleetRun, rows: pl.DataFrame) -> pl.DataFrame:
    """Write a run and a new version of each of its series, all in one transaction.

    Parameters
    ----------
    run : written, or replaced where it is there.
    rows : ``unique_id, bundle, status, metrics, is_champion`` and, where they apply, ``store, productname, model_id,
        reason``; ``metrics`` is JSON text or a struct. One row per series. Not champion means: the version that was
        served goes on being served. May be empty.

    Returns
    -------
    ``unique_id, version``: the versions given, each one more than the series had.

    Raises
    ------
    DataError : a column is missing, a status is unknown, a series occurs twice.
    ForetailError : the database does not answer or refuses; nothing was written.
    """
    frame = _checked(rows)
    with write_transaction(engine, "versions cannot be written") as connection:
        if is_postgresql(connection):
            connection.exec_driver_sql(_LOCK.replace(":fleet", "%s"), (run.fleet,))
        _write_run(connection, run)
        if frame.is_empty():
            return frame.select("unique_id", pl.lit(0, pl.Int32).alias("version"))
        numbered = frame.join(_next(connection, run.fleet, frame["unique_id"]), on="unique_id", how="left")
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        full = numbered.sort("unique_id").with_columns(
            pl.lit(run.fleet).alias("fleet"), pl.lit(run.run_id).alias("run_id"), pl.lit(now).alias("created_on")
        )
        copy_rows(connection, "series_versions", full)
    return numbered.select("unique_id", "version")


def latest_versions(
    engine: Engine, fleet: str, unique_ids: Sequence[str] | None = None, *, champions: bool = False
) -> pl.DataFrame:
    """The newest version of each series.

    Parameters
    ----------
    unique_ids : these series only. champions : the newest one that passed its gate, which is the one served.

    Returns
    -------
    ``unique_id, store, productname, version, model_id, run_id, bundle, status, reason, metrics`` (JSON)
    ``, is_champion, created_on``, by series; a series without any version has no row.

    Raises
    ------
    ForetailError : the database does not answer or refuses.
    """
    passed = "AND is_champion " if champions else ""
    newest = (
        f"SELECT unique_id, max(version) AS version FROM series_versions WHERE fleet = :fleet {passed}"  # noqa: S608
        "{these} GROUP BY 1"
    )
    columns = ", ".join(f"v.{name}" for name in _READ)
    query = (
        f"SELECT {columns} FROM series_versions v JOIN ({newest}) AS n ON v.unique_id = n.unique_id "  # noqa: S608
        "AND v.version = n.version WHERE v.fleet = :fleet"
    )
    with read_transaction(engine, "versions cannot be read") as connection:
        return _read(connection, query, fleet, unique_ids).sort("unique_id")


def version_history(engine: Engine, fleet: str, unique_id: str) -> pl.DataFrame:
    """Every version of one series, newest first; columns as of `latest_versions`.

    Raises
    ------
    ForetailError : the database does not answer or refuses.
    """
    query = f"SELECT {', '.join(_READ)} FROM series_versions WHERE fleet = :fleet {{these}}"  # noqa: S608
    with read_transaction(engine, "versions cannot be read") as connection:
        return _read(connection, query, fleet, [unique_id]).sort("version", descending=True)


def fleet_run_list(engine: Engine, fleet: str | None = None, *, limit: int | None = None) -> list[FleetRun]:
    """Runs, the newest first.

    Raises
    ------
    ForetailError : the database does not answer or refuses.
    """
    query = select(fleet_runs).order_by(fleet_runs.c.started.desc(), fleet_runs.c.run_id).limit(limit)
    query = query if fleet is None else query.where(fleet_runs.c.fleet == fleet)
    with read_transaction(engine, "runs cannot be read") as connection:
        return [_run_of(row) for row in connection.execute(query)]


_READ: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "store": pl.Int32(),
    "productname": pl.String(),
    "version": pl.Int32(),
    "model_id": pl.String(),
    "run_id": pl.String(),
    "bundle": pl.String(),
    "status": pl.String(),
    "reason": pl.String(),
    "metrics": pl.String(),
    "is_champion": pl.Boolean(),
    "created_on": pl.Datetime("us"),
}


def _checked(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of the table, typed."""
    problems = [
        Problem(f"the versions lack the column {name!r}", f"columns: {', '.join(rows.columns)}", "add it")
        for name in _GIVEN
        if name not in rows.columns and name not in _OPTIONAL
    ]
    if not problems:
        problems = [*_unknown_statuses(rows), *_repeated(rows)]
    if problems:
        raise DataError(problems)
    if isinstance(rows.schema["metrics"], pl.Struct):
        rows = rows.with_columns(pl.col("metrics").struct.json_encode())
    frame = rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in _GIVEN.items()
    )
    named = pl.format("prophet-retail-forecaster-store-{}-{}", "store", "productname")
    return frame.with_columns(pl.coalesce("model_id", named, "unique_id"))


def _unknown_statuses(rows: pl.DataFrame) -> list[Problem]:
    found = rows["status"].cast(pl.String).unique().sort().fill_null("none").to_list()
    unknown = ", ".join(status for status in found if status not in STATUSES)
    if not unknown:
        return []
    return [Problem(f"unknown status {unknown}", "column status", f"known: {', '.join(STATUSES)}")]


def _repeated(rows: pl.DataFrame) -> list[Problem]:
    twice = rows.filter(pl.col("unique_id").is_duplicated())["unique_id"].unique().sort()
    if twice.is_empty():
        return []
    where = ", ".join(twice.head(5).to_list())
    return [Problem(f"{len(twice)} series occur more than once", where, "give one row per series")]


def _write_run(connection: Connection, run: FleetRun) -> None:
    row = {**vars(run), "summary": json.dumps(dict(run.summary), default=str)}
    insert = postgresql.insert if is_postgresql(connection) else sqlite.insert
    statement = insert(fleet_runs).values(row)
    others = {name: statement.excluded[name] for name in row if name != "run_id"}
    connection.execute(statement.on_conflict_do_update(index_elements=["run_id"], set_=others))


def _run_of(row: Row[Any]) -> FleetRun:
    values = dict(row._mapping)
    return FleetRun(**{**values, "summary": json.loads(values["summary"])})


def _next(connection: Connection, fleet: str, unique_ids: pl.Series) -> pl.DataFrame:
    query = "SELECT unique_id, max(version) AS version FROM series_versions WHERE fleet = :fleet {these} GROUP BY 1"
    schema: dict[str, pl.DataType] = {"unique_id": pl.String(), "version": pl.Int32()}
    found = _read(connection, query, fleet, unique_ids.to_list(), schema)
    wanted = unique_ids.alias("unique_id").to_frame()
    return wanted.join(found, on="unique_id", how="left", maintain_order="left").with_columns(
        (pl.col("version").fill_null(0) + 1).cast(pl.Int32)
    )


def _read(
    connection: Connection,
    query: str,
    fleet: str,
    unique_ids: Sequence[str] | None,
    schema: Mapping[str, pl.DataType] = _READ,
) -> pl.DataFrame:
    """Rows of a fleet, of these series where ``{these}`` stands; many series are filtered here, not there."""
    parameters: dict[str, Any] = {"fleet": fleet}
    these = ""
    if unique_ids is not None and len(unique_ids) <= _MOST_IDS:
        in_list = (
            "= ANY(CAST(:ids AS text[]))" if is_postgresql(connection) else "IN (SELECT value FROM json_each(:ids))"
        )
        these = f"AND unique_id {in_list}"
        parameters["ids"] = list(unique_ids) if is_postgresql(connection) else json.dumps(list(unique_ids))
    frame = read_query(connection, query.format(these=these), parameters, schema)
    if unique_ids is not None and not these:
        frame = frame.join(pl.DataFrame({"unique_id": list(unique_ids)}).unique(), on="unique_id", how="semi")
    return frame
