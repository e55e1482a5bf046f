"""The table of forecasts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make ``forecast_results``."""
    op.create_table(
        "forecast_results",
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("unique_id", sa.String(400), nullable=False),
        sa.Column("forecast_date", sa.Date(), nullable=False),
        sa.Column("forecast_value", sa.Double(), nullable=False),
        sa.Column("lower_ci", sa.Double()),
        sa.Column("upper_ci", sa.Double()),
        sa.Column("model_name", sa.String(200), nullable=False),
        sa.Column("model_version", sa.String(100), nullable=False),
        sa.Column("created_on", sa.DateTime(), nullable=False),
        sa.Column("run_id", sa.String(100), nullable=False),
        sa.Column("cutoff", sa.Date(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("quantiles", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.UniqueConstraint(
            *("dataset", "unique_id", "forecast_date", "cutoff", "model_version"), name="uq_forecast_results_forecast"
        ),
    )
    op.create_index("ix_forecast_results_run_id", "forecast_results", ["run_id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("forecast_results")
