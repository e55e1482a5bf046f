"""Writes forecasts into ``forecast_results`` and reads them back; writing the same again changes nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl
from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from foretail.core.columns import CUTOFF, DS, MODEL, MODEL_VERSION, SOURCE, STEP, UNIQUE_ID, Y_HAT
from foretail.core.errors import DataError, ForetailError, Problem
from foretail.core.quantiles import quantile_level
from foretail.warehouse.tables import forecast_results

__all__ = ["read_forecasts", "write_forecasts"]

_KEY = ("dataset", "unique_id", "forecast_date", "cutoff", "model_version")
_BATCH = 50_000  # rows that are Python objects at once
_MOST_IDS = 1_000  # ids that are sent to the database; with more, all are read and filtered here


def write_forecasts(
    engine: Engine, frame: pl.DataFrame, *, dataset: str, run_id: str, created_on: dt.datetime | None = None
) -> int:
    """Insert or update forecasts, all in one transaction.

    Parameters
    ----------
    frame : ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version, source``, as `forecast_frame` gives them.
    dataset, run_id : stored with every row.
    created_on : naive UTC; now by default.

    Returns
    -------
    The number of rows written.

    Raises
    ------
    DataError : two rows for one series, date, cutoff and model version.
    ForetailError : the database refuses; nothing was written.
    """
    rows = _to_rows(frame, dataset, run_id, created_on or dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0))
    twice = rows.filter(rows.select(_KEY).is_duplicated())
    if twice.height:
        where = ", ".join(twice.select(pl.format("{} on {}", UNIQUE_ID, "forecast_date")).to_series()[:5])
        raise DataError(Problem(f"{twice.height} forecasts share series and date", where, "keep one row of each"))
    statement = _upsert(engine.dialect.name)
    try:
        with engine.begin() as connection:
            for batch in rows.iter_slices(_BATCH):
                connection.execute(statement, batch.to_dicts())
    except SQLAlchemyError as error:
        raise _refused(engine, "written", error) from error
    return rows.height


def read_forecasts(
    engine: Engine,
    dataset: str,
    *,
    unique_ids: Sequence[str] | None = None,
    first: dt.date | None = None,
    last: dt.date | None = None,
    cutoff: dt.date | None = None,
    model_version: str | None = None,
    run_id: str | None = None,
    latest: bool = False,
) -> pl.DataFrame:
    """Read forecasts back.

    Parameters
    ----------
    dataset : as written. unique_ids : these series only. first, last : dates forecast, both inclusive.
    cutoff, model_version, run_id : only these.
    latest : of several forecasts for a series and date only the one with the newest cutoff, written last.

    Returns
    -------
    ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version, source, run_id, created_on``, sorted by series,
    date, cutoff and version; no row where nothing fits. A quantile that a row does not have is null.

    Raises
    ------
    ForetailError : the database refuses.
    """
    table = forecast_results.c
    query = select(forecast_results).where(table.dataset == dataset)
    for column, value in ((table.cutoff, cutoff), (table.model_version, model_version), (table.run_id, run_id)):
        query = query if value is None else query.where(column == value)
    query = query if first is None else query.where(table.forecast_date >= first)
    query = query if last is None else query.where(table.forecast_date <= last)
    if unique_ids is not None and len(unique_ids) <= _MOST_IDS:
        query = query.where(table.unique_id.in_(list(unique_ids)))
    try:
        with engine.connect() as connection:
            found = connection.execute(query).fetchall()
    except SQLAlchemyError as error:
        raise _refused(engine, "read", error) from error
    frame = _to_frame([tuple(row) for row in found])
    if unique_ids is not None and len(unique_ids) > _MOST_IDS:
        frame = frame.join(pl.DataFrame({UNIQUE_ID: list(unique_ids)}).unique(), on=UNIQUE_ID, how="semi")
    if latest:
        newest = frame.sort(CUTOFF, "created_on", MODEL_VERSION)
        frame = newest.unique([UNIQUE_ID, DS], keep="last", maintain_order=True)
    return frame.sort(UNIQUE_ID, DS, CUTOFF, MODEL_VERSION)


def _to_rows(frame: pl.DataFrame, dataset: str, run_id: str, created_on: dt.datetime) -> pl.DataFrame:
    levels = [column for column in frame.columns if column[:1] == "q" and column[1:2].isdigit()]
    quantiles = pl.struct(levels).struct.json_encode() if levels else pl.lit("{}")
    return frame.select(
        pl.lit(dataset).alias("dataset"),
        pl.col(UNIQUE_ID),
        pl.col(DS).cast(pl.Date).alias("forecast_date"),
        pl.col(Y_HAT).alias("forecast_value"),
        _bound("q2_5", levels).alias("lower_ci"),
        _bound("q97_5", levels).alias("upper_ci"),
        pl.col(MODEL).alias("model_name"),
        pl.col(MODEL_VERSION).alias("model_version"),
        pl.lit(created_on).alias("created_on"),
        pl.lit(run_id).alias("run_id"),
        pl.col(CUTOFF).cast(pl.Date).alias("cutoff"),
        pl.col(STEP).alias("step"),
        quantiles.alias("quantiles"),
        pl.col(SOURCE).alias("source"),
    )


def _bound(column: str, levels: Sequence[str]) -> pl.Expr:
    return pl.col(column) if column in levels else pl.lit(None, dtype=pl.Float64)


def _upsert(dialect: str) -> Any:
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](forecast_results)
    others = {column.name: insert.excluded[column.name] for column in forecast_results.c if column.name not in _KEY}
    return insert.on_conflict_do_update(index_elements=list(_KEY), set_=others)


def _to_frame(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    kinds = {"Date": pl.Date, "DateTime": pl.Datetime("us"), "Double": pl.Float64, "Integer": pl.Int32}
    schema: dict[str, Any] = {
        column.name: kinds.get(type(column.type).__name__, pl.String) for column in forecast_results.c
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    names = frame["quantiles"].str.extract_all(r"q[0-9_]+").explode(empty_as_null=False).unique().drop_nulls().to_list()
    levels = sorted(names, key=quantile_level)
    if levels:
        kind = pl.Struct(dict.fromkeys(levels, pl.Float64))
        frame = frame.with_columns(pl.col("quantiles").str.json_decode(kind)).unnest("quantiles")
    return frame.select(
        UNIQUE_ID,
        pl.col("forecast_date").alias(DS),
        CUTOFF,
        STEP,
        pl.col("forecast_value").alias(Y_HAT),
        *levels,
        pl.col("model_name").alias(MODEL),
        MODEL_VERSION,
        SOURCE,
        "run_id",
        "created_on",
    )


def _refused(engine: Engine, done: str, error: SQLAlchemyError) -> ForetailError:
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return ForetailError(
        f"forecasts cannot be {done}: {said}\n  where: {engine.url.render_as_string(hide_password=True)}\n"
        "  fix:   check the database (FORETAIL_WAREHOUSE): is it there, is there space, may you write"
    )
