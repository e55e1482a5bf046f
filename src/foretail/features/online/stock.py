"""Feast's own online stores: written row by row as they want it, with the rows counted afterwards."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from feast import FeatureView
from feast.infra.key_encoding_utils import deserialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.repo_config import RepoConfig
from feast.utils import _convert_arrow_to_proto

from foretail.features.online.backend import check_count, no_progress

__all__ = ["entity_keys", "write_through"]

_CHECKED = 1000  # keys per chunk that are read back


def write_through(store: OnlineStore, config: RepoConfig, view: FeatureView, table: pa.Table) -> None:
    """Store rows in any online store of Feast.

    Parameters
    ----------
    table : key, feature and time columns under the names of the view, one row per key.

    Raises
    ------
    OnlineStoreError : of the keys read back (all, or a thousand spread evenly), some are not there.
    """
    if not table.num_rows:
        return
    types = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
    rows: list[Any] = _convert_arrow_to_proto(table.combine_chunks(), view, types)
    store.online_write_batch(config, view, rows, no_progress)
    keys = [row[0] for row in rows[:: max(1, len(rows) // _CHECKED)]]
    read = store.online_read(config, view, keys, [field.name for field in view.features])
    n_held = sum(values is not None for _, values in read)
    check_count(view.name, str(config.online_store.type), len(keys), n_held)


def entity_keys(keys: list[bytes]) -> list[EntityKey]:
    """Feast's own objects for serialised keys."""
    return [deserialize_entity_key(key, entity_key_serialization_version=3) for key in keys]
