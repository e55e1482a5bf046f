"""The feature repository that ships on real services: its stack settings, some parts replaced where a test says so."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
import yaml
from feast import FeatureStore

from foretail.features.declaration import Declaration
from foretail.features.feast_objects import feast_objects
from foretail.features.history import feature_rows, store_frames, write_store
from foretail.features.online import WideOnlineStore
from foretail.features.table import weekly_declaration
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import synthetic_table

REPOSITORY = Path(__file__).resolve().parents[2] / "feature_repo"
STACK = "feature_store_stack.yaml"
SERVICE = "inference_features"
_TYPES = {pl.Int64: "bigint", pl.Float64: "double precision", pl.String: "text", pl.Boolean: "boolean"}


@dataclass(frozen=True)
class World:
    """Weekly sales of a few shops, and the store's rows of them on disk."""

    panel: Panel
    declaration: Declaration
    frames: dict[str, pl.DataFrame]
    folder: Path

    def date(self, weeks_before_the_end: int) -> dt.datetime:
        """An as-of time: midnight of a date of the panel."""
        day = self.panel.dates()[-1 - weeks_before_the_end].astype("datetime64[us]").item()
        return day.replace(tzinfo=dt.UTC)

    def keys(self) -> pl.DataFrame:
        """Every series by its keys."""
        return self.panel.series.select(*self.panel.spec.keys)

    def entities(self) -> pl.DataFrame:
        """Every series at every as-of date."""
        sales = self.frames["sales_features"]
        return sales.select(*self.panel.spec.keys, "event_timestamp").unique(maintain_order=True)

    def recomputed(self, weeks_before_the_end: int) -> pl.DataFrame:
        """What the online store must hold after a materialisation up to then: the views' rows side by side, by key."""
        day = self.date(weeks_before_the_end).date()
        frames = feature_rows(self.panel, self.declaration, day)
        rows = frames["sales_features"].join(frames["store_features"], on="store_id", how="left", suffix="_of_store")
        names = [name for view, name in self.declaration.service(SERVICE).features if view in frames]
        return rows.sort(*self.panel.spec.keys).select(*self.panel.spec.keys, *names)


def make_world(folder: Path) -> World:
    panel = build_panel(synthetic_table({"stores": 4, "departments": 3, "weeks": 60})).panel
    declaration = weekly_declaration()
    frames = store_frames(panel, declaration)
    write_store(frames, folder)
    return World(panel, declaration, frames, folder)


def settings(**blocks: Mapping[str, Any]) -> dict[str, Any]:
    """The stack settings as they ship, some blocks changed: ``type`` given replaces a block, else keys are added."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / STACK).read_text(encoding="utf-8"))
    for name, block in blocks.items():
        found[name] = dict(block) if "type" in block else {**found[name], **block}
    return found


@contextmanager
def open_store(folder: Path, found: Mapping[str, Any]) -> Iterator[FeatureStore]:
    """A copy of the repository with these settings; its connections are closed with the block."""
    shutil.copytree(REPOSITORY, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", "__pycache__"))
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(dict(found)), encoding="utf-8")
    store = FeatureStore(repo_path=str(folder), fs_yaml_file=path)
    try:
        yield store
    finally:
        _close(store)


def _close(store: FeatureStore) -> None:
    """Feast itself closes nothing."""
    store.registry.write_engine.dispose()
    store.registry.read_engine.dispose()
    online = store.provider.online_store
    if isinstance(online, WideOnlineStore):
        online.backend(store.config).close()
    elif getattr(online, "_conn", None) is not None:
        online._conn.close()


def tell_registry(url: str, patch: pytest.MonkeyPatch) -> None:
    """Where the registry is, as the shipped settings ask for it."""
    patch.setenv("FORETAIL_REGISTRY_URL", url.replace("postgresql://", "postgresql+psycopg://"))


def apply(store: FeatureStore, world: World) -> None:
    store.apply(feast_objects(world.declaration, str(world.folder)))


def online(store: FeatureStore, world: World, service: str = SERVICE) -> pl.DataFrame:
    """Every series as it is served, sorted by its keys."""
    keys = world.keys().sort(*world.panel.spec.keys)
    answer = store.get_online_features(store.get_feature_service(service), keys.to_dicts()).to_dict()
    names = [name for _, name in world.declaration.service(service).features]
    return pl.DataFrame({name: answer[name] for name in (*keys.columns, *names)})


def historical(store: FeatureStore, entities: pl.DataFrame, service: str = "training_features") -> pl.DataFrame:
    """The entity rows with the features of a service."""
    job = store.get_historical_features(entities.to_arrow(), store.get_feature_service(service))
    return pl.DataFrame(job.to_arrow())


def load_tables(world: World, url: str, schema: str) -> None:
    """The rows of the views as tables of a database."""
    with psycopg.connect(url) as session:
        session.execute(f"create schema {schema}")
        for name, frame in world.frames.items():
            columns = [f"{column} {_type(dtype)}" for column, dtype in frame.schema.items()]
            session.execute(f"create table {schema}.{name} ({', '.join(columns)})")
            with session.cursor().copy(f"copy {schema}.{name} from stdin") as copy:
                for row in frame.iter_rows():
                    copy.write_row(row)


def _type(dtype: pl.DataType) -> str:
    return "timestamptz" if isinstance(dtype, pl.Datetime) else _TYPES[type(dtype)]
