"""Alembic's scripts, run by `foretail.warehouse.database.migrate`."""
