"""The tables of the warehouse, in SQL that SQLite and PostgreSQL both speak."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql

__all__ = [
    "EVENT_COLUMNS",
    "REVISION",
    "SALES_KEY",
    "VERSION_TABLE",
    "dead_letters",
    "fleet_runs",
    "forecast_results",
    "jobs",
    "metadata",
    "rossman_sales",
    "rossman_sales_history",
    "rossman_sales_replaced",
    "series_versions",
    "stream_batches",
    "stream_offsets",
]

REVISION = "0002"  # the newest migration: a warehouse that stands there needs no look at Alembic
VERSION_TABLE = "foretail_version"  # its own name: MLflow may keep an `alembic_version` in the same database
SALES_KEY = ("store", "productname", "date", "source")
EVENT_COLUMNS = (
    *("store", "dayofweek", "date", "sales", "customers", "open", "promo", "stateholiday", "schoolholiday"),
    *("productname", "event_id", "event_time", "source", "ingested_at"),
)

metadata = MetaData()


def _name(length: int) -> Any:
    """A text that is compared byte by byte, so that both databases and Polars sort it alike."""
    return String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


def _event_columns() -> list[Column[Any]]:
    return [
        Column("store", Integer, nullable=False),
        Column("dayofweek", Integer),  # 1 Monday to 7 Sunday
        Column("date", Date, nullable=False),
        Column("sales", Integer),
        Column("customers", Integer),
        Column("open", Integer),
        Column("promo", Integer),
        Column("stateholiday", String(20)),
        Column("schoolholiday", Integer),
        Column("productname", _name(200), nullable=False),
        Column("event_id", _name(200), nullable=False),
        Column("event_time", DateTime, nullable=False),  # UTC
        Column("source", _name(100), nullable=False),
        Column("ingested_at", DateTime, nullable=False),  # UTC
    ]


rossman_sales = Table(
    "rossman_sales",
    metadata,
    *_event_columns(),
    UniqueConstraint(*SALES_KEY, name="uq_rossman_sales_day"),
    postgresql_partition_by="RANGE (date)",  # one partition a month, see `partitions`
    info={"doc": "what is held true of each store-day: the newest statement of each source"},
)

rossman_sales_replaced = Table(
    "rossman_sales_replaced",
    metadata,
    *_event_columns(),
    PrimaryKeyConstraint(*SALES_KEY, "event_time", "event_id", name="pk_rossman_sales_replaced"),
    info={"doc": "statements that a newer one has replaced, or that came late"},
)

# a view: every statement ever accepted; `replaced_at` is the event time of the next one, null while current
rossman_sales_history = Table(
    "rossman_sales_history", MetaData(), *_event_columns(), Column("replaced_at", DateTime), info={"is_view": True}
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("topic", String(250), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("reason", Text, nullable=False),
    Column("schema_version", String(50)),
    Column("at", DateTime, nullable=False),  # UTC
    Column("replayed_at", DateTime),  # UTC
    UniqueConstraint("topic", "partition", "offset", name="uq_dead_letters_place"),
)

stream_batches = Table(
    "stream_batches",
    metadata,
    Column("query_id", String(200), nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("dead", BigInteger, nullable=False),
    Column("first_offsets", Text, nullable=False),  # JSON: {"0": 17, "1": 4}, by partition
    Column("last_offsets", Text, nullable=False),
    Column("at", DateTime, nullable=False),  # UTC
    PrimaryKeyConstraint("query_id", "batch_id", name="pk_stream_batches"),
)

stream_offsets = Table(
    "stream_offsets",
    metadata,
    Column("consumer", String(200), nullable=False),
    Column("topic", String(250), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    PrimaryKeyConstraint("consumer", "topic", "partition", name="pk_stream_offsets"),
)

fleet_runs = Table(
    "fleet_runs",
    metadata,
    Column("run_id", String(100), primary_key=True),
    Column("fleet", _name(200), nullable=False),
    Column("family", String(200), nullable=False),
    Column("cutoff", Date, nullable=False),
    Column("model_version", String(100), nullable=False),
    Column("n_series", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("started", DateTime, nullable=False),  # UTC
    Column("ended", DateTime),
    Column("summary", Text, nullable=False),  # JSON
    Index("ix_fleet_runs_fleet", "fleet", "started"),
)

series_versions = Table(
    "series_versions",
    metadata,
    Column("fleet", _name(200), nullable=False),
    Column("unique_id", _name(400), nullable=False),
    Column("store", Integer),  # null where the keys are others
    Column("productname", _name(200)),
    Column("version", Integer, nullable=False),  # 1, 2, … for each series
    Column("model_id", String(400), nullable=False),
    Column("run_id", String(100), nullable=False),
    Column("bundle", Text, nullable=False),  # where the model is
    Column("status", String(20), nullable=False),  # trained, fallback, failed, stale, skipped
    Column("reason", Text),
    Column("metrics", Text, nullable=False),  # JSON
    Column("is_champion", Boolean, nullable=False),
    Column("created_on", DateTime, nullable=False),  # UTC
    PrimaryKeyConstraint("fleet", "unique_id", "version", name="pk_series_versions"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(50), primary_key=True),
    Column("kind", String(50), nullable=False),
    Column("store", Integer),  # both null for a whole fleet
    Column("productname", _name(200)),
    Column("subject", _name(300), nullable=False),  # the series, or * for a whole fleet
    Column("status", String(20), nullable=False),  # PENDING, RUNNING, SUCCEEDED, STOPPED, FAILED
    Column("reason", Text),
    Column("progress", Double, nullable=False),  # 0 to 1
    Column("message", Text),
    Column("idempotency_key", String(200), unique=True),
    Column("worker", String(200)),
    Column("heartbeat", DateTime),
    Column("attempts", Integer, nullable=False),
    Column("deadline", DateTime),
    Column("created", DateTime, nullable=False),
    Column("started", DateTime),
    Column("ended", DateTime),
    Column("result", Text),  # JSON
    Index(
        "uq_jobs_unfinished",
        *("kind", "subject"),
        unique=True,
        postgresql_where=text("status IN ('PENDING', 'RUNNING')"),
        sqlite_where=text("status IN ('PENDING', 'RUNNING')"),
    ),
    Index("ix_jobs_status", "status", "created"),
)

forecast_results = Table(
    "forecast_results",
    metadata,
    Column("dataset", _name(200), nullable=False),
    Column("unique_id", _name(400), nullable=False),
    Column("store", Integer),  # null where the keys are others
    Column("productname", _name(200)),
    Column("forecast_date", Date, nullable=False),
    Column("forecast_sale", Double, nullable=False),
    Column("lower_ci", Double),  # 95 %: the quantiles 0.025 and 0.975
    Column("upper_ci", Double),
    Column("model_name", String(200), nullable=False),
    Column("model_version", _name(100), nullable=False),
    Column("created_on", DateTime, nullable=False),  # UTC
    Column("run_id", String(100), nullable=False),
    Column("cutoff", Date, nullable=False),
    Column("step", Integer, nullable=False),
    Column("quantiles", Text, nullable=False),  # JSON: {"q10": 3.5, ...}
    Column("source", Text, nullable=False),
    UniqueConstraint(
        *("dataset", "unique_id", "forecast_date", "cutoff", "model_version"), name="uq_forecast_results_forecast"
    ),
)
