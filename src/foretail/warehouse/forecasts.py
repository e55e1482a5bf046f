"""Writes forecasts into ``forecast_results`` and reads them back; writing the same again changes nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, Engine, select

from foretail.core.columns import CUTOFF, DS, MODEL, MODEL_VERSION, SOURCE, STEP, UNIQUE_ID, Y_HAT
from foretail.core.errors import DataError, Problem
from foretail.core.quantiles import quantile_level
from foretail.sources.database import read_query, read_transaction
from foretail.warehouse.bulk import copy_rows, is_postgresql, one_of, upsert_rows, write_transaction
from foretail.warehouse.tables import forecast_results

__all__ = ["read_forecasts", "write_forecasts"]

_KEY = ("dataset", "unique_id", "forecast_date", "cutoff", "model_version")
_STORE = ("store", "productname")  # in the frame where the series are those of a store and a product
_MOST_IDS = 1_000  # ids that are sent to the database; with more, all are read and filtered here
_SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "forecast_date": pl.Date(),
    "cutoff": pl.Date(),
    "step": pl.Int32(),
    "forecast_sale": pl.Float64(),
    "quantiles": pl.String(),
    "model_name": pl.String(),
    "model_version": pl.String(),
    "source": pl.String(),
    "run_id": pl.String(),
    "created_on": pl.Datetime("us"),
    "store": pl.Int32(),
    "productname": pl.String(),
}
_PROBES = 3  # keys that are looked for to learn whether these forecasts were written before


def write_forecasts(
    engine: Engine, frame: pl.DataFrame, *, dataset: str, run_id: str, created_on: dt.datetime | None = None
) -> int:
    """Insert or update forecasts, all in one transaction.

    Parameters
    ----------
    frame : ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version, source``, as `forecast_frame` gives them;
        ``store`` and ``productname`` too where the keys are these.
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
    twice = rows.filter(_is_repeated(rows))
    if twice.height:
        where = ", ".join(twice.select(pl.format("{} on {}", UNIQUE_ID, "forecast_date")).to_series()[:5])
        raise DataError(Problem(f"{twice.height} forecasts share series and date", where, "keep one row of each"))
    with write_transaction(engine, "forecasts cannot be written") as connection:
        if not (is_postgresql(connection) and _add(connection, rows)):
            upsert_rows(connection, "forecast_results", rows, _KEY)
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
    ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version, source, run_id, created_on, store, productname``,
    sorted by series, date, cutoff and version; no row where nothing fits. A quantile that a row does not have is null.

    Raises
    ------
    ForetailError : the database refuses.
    """
    values = {
        "dataset": dataset,
        "first": first,
        "last": last,
        "cutoff": cutoff,
        "model_version": model_version,
        "run_id": run_id,
    }
    with read_transaction(engine, "forecasts cannot be read") as connection:
        where, parameters = _conditions(connection, values, unique_ids)
        query = f"SELECT {', '.join(_SCHEMA)} FROM forecast_results WHERE {where}"  # noqa: S608
        frame = _to_frame(read_query(connection, query, parameters, _SCHEMA))
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
        pl.col(Y_HAT).alias("forecast_sale"),
        _or_null("q2_5", frame, pl.Float64()).alias("lower_ci"),
        _or_null("q97_5", frame, pl.Float64()).alias("upper_ci"),
        pl.col(MODEL).alias("model_name"),
        pl.col(MODEL_VERSION).alias("model_version"),
        pl.lit(created_on).alias("created_on"),
        pl.lit(run_id).alias("run_id"),
        pl.col(CUTOFF).cast(pl.Date).alias("cutoff"),
        pl.col(STEP).alias("step"),
        quantiles.alias("quantiles"),
        pl.col(SOURCE).alias("source"),
        *(_or_null(name, frame, kind) for name, kind in zip(_STORE, (pl.Int32(), pl.String()), strict=True)),
    ).sort(_KEY)


def _or_null(column: str, frame: pl.DataFrame, kind: pl.DataType) -> pl.Expr:
    """A column of the frame, or nulls where it does not have it."""
    return (pl.col(column) if column in frame.columns else pl.lit(None)).cast(kind).alias(column)


def _is_repeated(rows: pl.DataFrame) -> pl.Series:
    """Rows that have the key of the one before them; rows are sorted by the key."""
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in _KEY)
    return rows.select(same.fill_null(False)).to_series()


def _add(connection: Connection, rows: pl.DataFrame) -> bool:
    """Append forecasts of which none was written before; False, and nothing is changed, where some were.

    A forecast is written far more often than it is rewritten, and appending is several times as fast.
    """
    if _is_known(connection, rows):
        return False
    try:
        with connection.begin_nested():
            copy_rows(connection, "forecast_results", rows)
    except connection.dialect.loaded_dbapi.IntegrityError as error:
        if "uq_forecast_results_forecast" not in str(error):
            raise
        return False
    return True


def _is_known(connection: Connection, rows: pl.DataFrame) -> bool:
    """Whether one of a few keys is there."""
    for row in rows.select(_KEY).gather_every(max(1, rows.height // _PROBES)).iter_rows(named=True):
        query = select(forecast_results.c.step)
        for name, value in row.items():
            query = query.where(forecast_results.c[name] == value)
        if connection.execute(query).first() is not None:
            return True
    return False


def _conditions(
    connection: Connection, values: dict[str, Any], unique_ids: Sequence[str] | None
) -> tuple[str, dict[str, Any]]:
    """What follows WHERE, and its parameters."""
    comparisons = {"first": "forecast_date >= :first", "last": "forecast_date <= :last"}
    parameters = {name: value for name, value in values.items() if value is not None}
    parts = [comparisons.get(name, f"{name} = :{name}") for name in parameters]
    if unique_ids is not None and len(unique_ids) <= _MOST_IDS:
        these, parameters["ids"] = one_of(connection, "unique_id", unique_ids)
        parts.append(these)
    return " AND ".join(parts), parameters


def _to_frame(frame: pl.DataFrame) -> pl.DataFrame:
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
        pl.col("forecast_sale").alias(Y_HAT),
        *levels,
        pl.col("model_name").alias(MODEL),
        MODEL_VERSION,
        SOURCE,
        "run_id",
        "created_on",
        *_STORE,
    )
