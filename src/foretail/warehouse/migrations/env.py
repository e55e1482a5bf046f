"""What Alembic runs: it migrates over the connection that foretail gives it, inside foretail's transaction."""

from __future__ import annotations

from alembic import context

from foretail.warehouse.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
