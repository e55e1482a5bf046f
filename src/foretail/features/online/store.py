"""Feast's online store as foretail keeps it: one row per view and entity key, in SQLite or PostgreSQL."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import Field

from foretail.core.errors import MissingExtraError, UsageError
from foretail.features.online.backend import (
    NO_TIME,
    Backend,
    Freshness,
    RowBatch,
    Write,
    from_micros,
    micros,
    newest,
    no_progress,
    table_name,
)
from foretail.features.online.errors import OnlineStoreError
from foretail.features.online.rows import HEADER, RowSchema
from foretail.features.online.sqlite import SqliteBackend

__all__ = ["WideOnlineStore", "WideOnlineStoreConfig", "freshness", "open_backend", "stored_name"]

FeastRow = tuple[EntityKey, dict[str, Value], dt.datetime, dt.datetime | None]


class WideOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The block ``online_store`` of ``feature_store.yaml``."""

    type: str = "foretail.features.online.WideOnlineStore"
    path: str = "data/online.db"
    """SQLite file, relative to the repository; used where no url is given."""
    url: str | None = Field(default=None, repr=False)
    """``postgresql://…``; take its password from the environment: ``${NAME}`` is replaced when Feast reads the file."""


class WideOnlineStore(OnlineStore):  # type: ignore[misc]
    """Keeps one encoded row per view and entity key; newer rows win, older ones never come back.

    Everything that Feast does with an online store works on it, except search by vectors.
    """

    def __init__(self) -> None:
        self._backends: dict[tuple[str, str], Backend] = {}
        self._schemas: dict[bytes, RowSchema] = {}

    def _is_versioned_read_supported(self) -> bool:
        """Each version of a view has a table of its own where the registry keeps versions."""
        return True

    def backend(self, config: RepoConfig) -> Backend:
        """The database of this configuration, opened once.

        Raises
        ------
        UsageError : the url is not one of PostgreSQL, or keys are not serialized in version 3.
        MissingExtraError : the driver for PostgreSQL is not installed.
        """
        place = (str(config.repo_path or ""), config.online_store.url or config.online_store.path)
        found = self._backends.get(place)
        if found is None:
            found = self._backends[place] = open_backend(config)
        return found

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],  # noqa: ARG002
        entities_to_keep: Sequence[Entity],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Make the tables of the views to keep and drop those of the views to delete."""
        backend = self.backend(config)
        backend.create([table_name(config.project, stored_name(config, view)) for view in tables_to_keep])
        if tables_to_delete:
            backend.drop(config.project, [stored_name(config, view) for view in tables_to_delete])

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:  # noqa: ARG002
        """Drop the tables of these views; the database itself stays."""
        backend = self.backend(config)
        backend.drop(config.project, [stored_name(config, view) for view in tables])
        backend.close()

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[FeastRow], progress: Callable[[int], Any] | None
    ) -> None:
        """Store rows as Feast hands them over, in one transaction.

        Raises
        ------
        DataError : a row lacks a feature, or a value does not fit its declared type.
        OnlineStoreError : the database does not answer or refuses; nothing was stored then.
        """
        if not data:
            return
        schema = RowSchema.of(table)
        write = Write(config.project, stored_name(config, table), schema, progress=progress or no_progress)
        self.backend(config).write(write, [_batch(data, schema)])

    def write_rows(
        self,
        config: RepoConfig,
        view: FeatureView,
        batches: Iterable[RowBatch],
        span: tuple[dt.datetime, dt.datetime],
        progress: Callable[[int], object],
    ) -> int:
        """Store a materialisation in one transaction, with its line in the freshness table; the number of rows seen.

        Raises
        ------
        OnlineStoreError : the database does not answer or refuses, or rows are missing afterwards; nothing was stored.
        """
        write = Write(config.project, stored_name(config, view), RowSchema.of(view), span, progress)
        return self.backend(config).write(write, batches)

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[dt.datetime | None, dict[str, Value] | None]]:
        """Rows of these keys in Feast's own form; (None, None) where nothing is stored.

        Raises
        ------
        OnlineStoreError : a stored row was written by an older definition of the view that lacks what is asked for, the
            view has no table, or the database does not answer.
        """
        keys = [serialize_entity_key(key, entity_key_serialization_version=3) for key in entity_keys]
        name = stored_name(config, table)
        found = self.backend(config).read(table_name(config.project, name), list(dict.fromkeys(keys)))
        schema = RowSchema.of(table)
        wanted = schema.names if requested_features is None else [n for n in requested_features if n in schema.kinds]
        values = {}
        for key, (row, event_ts) in found.items():
            by_name = self.schema_of(config, name, row, schema, wanted).decode_values(row)
            values[key] = (from_micros(event_ts), {feature: by_name[feature] for feature in wanted})
        return [values.get(key, (None, None)) for key in keys]

    def schema_of(
        self, config: RepoConfig, view: str, row: bytes, current: RowSchema, wanted: Iterable[str]
    ) -> RowSchema:
        """The schema that wrote a row.

        Raises
        ------
        OnlineStoreError : it is not known, or holds a wanted feature not at all or with another type than now.
        """
        header = row[:HEADER]
        if header == current.header:
            return current
        known = self._schemas.get(header) or self.backend(config).schema(header)
        changed = list(wanted) if known is None else [n for n in wanted if known.kinds.get(n) != current.kinds[n]]
        if known is None or changed:
            raise OnlineStoreError(
                f"{view} is stored as an older definition had it, without {', '.join(changed)} as declared now.\n"
                f"  where: {self.backend(config).where}\n  fix:   `feast materialize` the view again"
            )
        self._schemas[header] = known
        return known


def stored_name(config: RepoConfig, view: Any) -> str:
    """The name under which a view is stored, with its version where the registry keeps versions."""
    return str(compute_versioned_name(view, config.registry.enable_online_feature_view_versioning))


def open_backend(config: RepoConfig) -> Backend:
    """Open the database that ``online_store`` names.

    Raises
    ------
    UsageError : the url is not one of PostgreSQL, or keys are not serialized in version 3.
    MissingExtraError : the driver for PostgreSQL is not installed.
    """
    if config.entity_key_serialization_version != 3:
        raise UsageError(
            f"entity_key_serialization_version = {config.entity_key_serialization_version}.\n"
            "  where: feature_store.yaml\n  fix:   set it to 3"
        )
    url = config.online_store.url
    if url is None:
        path = Path(config.online_store.path)
        return SqliteBackend(path if path.is_absolute() or not config.repo_path else Path(config.repo_path) / path)
    if not url.startswith("postgres"):
        raise UsageError(
            f"online_store.url begins with {url.partition('://')[0]!r}.\n  where: feature_store.yaml\n"
            "  fix:   postgresql://user:password@host:port/database, or path: for a SQLite file"
        )
    try:
        from foretail.features.online.postgres import PostgresBackend
    except ImportError as error:
        raise MissingExtraError("psycopg", "postgres") from error
    return PostgresBackend(url)


def freshness(config: RepoConfig) -> list[Freshness]:
    """What the online store holds for this project, by view.

    Raises
    ------
    UsageError : the project's online store is another one.
    OnlineStoreError : the database does not answer.
    """
    if not isinstance(config.online_store, WideOnlineStoreConfig):
        raise UsageError(
            f"the online store {config.online_store.type} keeps no freshness.\n  where: feature_store.yaml\n"
            "  fix:   online_store: {type: foretail.features.online.WideOnlineStore}"
        )
    backend = open_backend(config)
    try:
        return backend.freshness(config.project)
    finally:
        backend.close()


def _batch(data: Sequence[FeastRow], schema: RowSchema) -> RowBatch:
    """Feast's rows, encoded; the newest of each key."""
    keys = pa.array(
        [serialize_entity_key(key, entity_key_serialization_version=3) for key, *_ in data], pa.large_binary()
    )
    event_ts = np.array([micros(event) for *_, event, _ in data], dtype=np.int64)
    created_ts = np.array([NO_TIME if made is None else micros(made) for *_, made in data], dtype=np.int64)
    rows = schema.encode_batch(schema.batch_of([values for _, values, *_ in data]))
    order = newest(keys, event_ts, created_ts)
    return RowBatch(keys.take(pa.array(order)), rows.take(pa.array(order)), event_ts[order], created_ts[order])
