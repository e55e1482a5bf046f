"""The SQL that SQLite and PostgreSQL share; ``$`` stands for the mark of a parameter."""

from __future__ import annotations

__all__ = ["ADD_SCHEMA", "FORGET", "FRESHNESS", "NOTE", "READ_FRESHNESS", "READ_SCHEMA", "Statements", "quoted"]

FRESHNESS = (
    "CREATE TABLE IF NOT EXISTS foretail_freshness (project TEXT NOT NULL, feature_view TEXT NOT NULL, "
    "n_rows BIGINT NOT NULL, newest BIGINT, range_start BIGINT, range_end BIGINT, materialised_at BIGINT, "
    "written_at BIGINT NOT NULL, PRIMARY KEY (project, feature_view))"
)
NOTE = (
    "INSERT INTO foretail_freshness AS f VALUES ($, $, $, $, $, $, $, $) "
    "ON CONFLICT (project, feature_view) DO UPDATE SET n_rows = f.n_rows + excluded.n_rows, "
    "newest = CASE WHEN f.newest IS NULL OR excluded.newest > f.newest THEN excluded.newest ELSE f.newest END, "
    "range_start = COALESCE(excluded.range_start, f.range_start), "
    "range_end = COALESCE(excluded.range_end, f.range_end), "
    "materialised_at = COALESCE(excluded.materialised_at, f.materialised_at), written_at = excluded.written_at"
)
READ_FRESHNESS = (
    "SELECT project, feature_view, n_rows, newest, range_start, range_end, materialised_at, written_at "
    "FROM foretail_freshness ORDER BY project, feature_view"
)
FORGET = "DELETE FROM foretail_freshness WHERE project = $ AND feature_view = $"
ADD_SCHEMA = "INSERT INTO foretail_row_schemas VALUES ($, $) ON CONFLICT (header) DO NOTHING"
READ_SCHEMA = "SELECT columns FROM foretail_row_schemas WHERE header = $"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Statements:
    """What is said about the table of one view; ``incoming`` is the temporary table that holds a batch.

    Parameters
    ----------
    table : its name.
    """

    def __init__(self, table: str):
        name = quoted(table)
        self.known = f"SELECT count(*) FROM incoming AS i JOIN {name} AS t ON t.entity_key = i.entity_key"  # noqa: S608
        self.held = f"{self.known} WHERE (t.event_ts, t.created_ts) >= (i.event_ts, i.created_ts)"
        self.take_over = (
            f"INSERT INTO {name} AS t SELECT entity_key, features, event_ts, created_ts FROM incoming WHERE true "  # noqa: S608
            "ON CONFLICT (entity_key) DO UPDATE SET features = excluded.features, event_ts = excluded.event_ts, "
            "created_ts = excluded.created_ts "
            "WHERE (excluded.event_ts, excluded.created_ts) >= (t.event_ts, t.created_ts) AND "
            "(excluded.event_ts, excluded.created_ts, excluded.features) <> (t.event_ts, t.created_ts, t.features)"
        )
        self.read = f"SELECT entity_key, features, event_ts FROM {name} WHERE entity_key"  # noqa: S608
        self.drop = f"DROP TABLE IF EXISTS {name}"
