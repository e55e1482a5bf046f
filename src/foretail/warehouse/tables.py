"""The tables of the warehouse, in SQL that SQLite and PostgreSQL both speak."""

from __future__ import annotations

from sqlalchemy import Column, Date, DateTime, Double, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

__all__ = ["REVISION", "VERSION_TABLE", "forecast_results", "metadata"]

REVISION = "0001"  # the newest migration: a warehouse that stands there needs no look at Alembic
VERSION_TABLE = "foretail_version"  # its own name: MLflow may keep an `alembic_version` in the same database

metadata = MetaData()

forecast_results = Table(
    "forecast_results",
    metadata,
    Column("dataset", String(200), nullable=False),
    Column("unique_id", String(400), nullable=False),
    Column("forecast_date", Date, nullable=False),
    Column("forecast_value", Double, nullable=False),
    Column("lower_ci", Double),  # 95 %: the quantiles 0.025 and 0.975
    Column("upper_ci", Double),
    Column("model_name", String(200), nullable=False),
    Column("model_version", String(100), nullable=False),
    Column("created_on", DateTime, nullable=False),  # UTC
    Column("run_id", String(100), nullable=False),
    Column("cutoff", Date, nullable=False),
    Column("step", Integer, nullable=False),
    Column("quantiles", Text, nullable=False),  # JSON: {"q10": 3.5, ...}
    Column("source", Text, nullable=False),
    UniqueConstraint(
        *("dataset", "unique_id", "forecast_date", "cutoff", "model_version"), name="uq_forecast_results_forecast"
    ),
    Index("ix_forecast_results_run_id", "run_id"),
)
