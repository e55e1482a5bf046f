"""A table of sales as a Feast store on disk, joined by foretail's offline store through Feast's own interface."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from feast import FeatureStore, FeatureView, RepoConfig

from foretail.features.declaration import Declaration, declare
from foretail.features.feast_objects import feast_objects
from foretail.features.history import store_frames, write_store
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.table import Table


@dataclass(frozen=True)
class GuardedStore:
    """What was declared and written of a table, and the store that reads it."""

    panel: Panel
    declaration: Declaration
    frames: dict[str, pl.DataFrame]
    store: FeatureStore

    def join(self, entities: pl.DataFrame, service: str = "training_features") -> pl.DataFrame:
        """The entity rows with the features of a service, as they were known at their as-of time."""
        wanted = self.store.get_feature_service(service)
        job = self.store.get_historical_features(entities.to_arrow(), wanted, filter_by_created_timestamp=True)
        return pl.DataFrame(job.to_arrow())


def make_store(folder: Path, table: Table, ttls: Mapping[str, dt.timedelta] | None = None) -> GuardedStore:
    """Compute, write and register the features of a table.

    Parameters
    ----------
    ttls : times to live that somebody gave to views, against what is declared.
    """
    panel = build_panel(table).panel
    declaration = declare(panel.spec, panel)
    frames = store_frames(panel, declaration)
    write_store(frames, folder / "rows")
    store = FeatureStore(
        config=RepoConfig(
            project="guarded",
            provider="local",
            registry=str(folder / "registry.db"),
            repo_path=folder,
            offline_store={"type": "foretail.features.offline.AsofOfflineStore"},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    objects = feast_objects(declaration, str(folder / "rows"))
    for item in objects:
        if isinstance(item, FeatureView) and item.name in (ttls or {}):
            item.ttl = ttls[item.name]
    store.apply(objects)
    return GuardedStore(panel, declaration, frames, store)
