"""The Feast objects of a declaration: entities, sources, views, on-demand views, services; it declares nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feast import (
    Entity,
    FeatureService,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    RequestSource,
    ValueType,
)
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from feast.transformation.python_transformation import PythonTransformation
from feast.transformation.udf_rehydrate import resolve_udf
from feast.types import Bool, Float64, Int64, PrimitiveFeastType, String

from foretail.core.errors import UsageError, nearest
from foretail.features.declaration import Declaration, Feature, Service, View
from foretail.features.derived import Derivation

__all__ = ["feast_objects", "named"]

_TYPES: dict[str, PrimitiveFeastType] = {"Int64": Int64, "Float64": Float64, "String": String, "Bool": Bool}
_KEYS = {"Int64": ValueType.INT64, "String": ValueType.STRING}
_SOURCES = ("parquet", "postgres")
_REQUEST = "known_ahead"
_EVENT, _CREATED = "event_timestamp", "created_timestamp"

# what a registry keeps of an on-demand view: Feast runs this text again wherever the view is used
_TEXT = """\
def {name}(inputs):
    from foretail.features.derived import derive

    return derive(inputs, {steps!r})
"""


def feast_objects(declaration: Declaration, folder: str, source: str = "parquet") -> list[Any]:
    """Everything that `feast apply` needs to know.

    Parameters
    ----------
    declaration : of a table. Nothing of the table itself is read.
    folder : Parquet: the folder of the views, ``<folder>/<view>``, relative to the repository or not, or an address
        such as ``s3://bucket/features``. PostgreSQL: the schema of their tables, ``<folder>.<view>``, or "".
    source : ``parquet`` or ``postgres``; where the database is, the settings of the offline store say.

    Returns
    -------
    Entities, sources, views, on-demand views, services.

    Raises
    ------
    UsageError : an unknown kind of source.
    """
    if source not in _SOURCES:
        raise UsageError(f"unknown source {source!r}.\n  where: feast_objects\n  fix:   {nearest(source, _SOURCES)}")
    entities = {item.name: Entity(name=item.name, value_type=_KEYS[item.dtype]) for item in declaration.entities}
    sources = {view.name: _source(view, folder, source) for view in declaration.stored}
    views = {view.name: _view(view, entities, sources[view.name]) for view in declaration.stored}
    made = {view.name: _on_demand(view, views) for view in declaration.views if view.on_demand}
    services = [_service(service, {**views, **made}) for service in declaration.services]
    return [*entities.values(), *sources.values(), *views.values(), *made.values(), *services]


def named(objects: Sequence[Any]) -> dict[str, Any]:
    """The objects under names of their own, as a module of a Feast repository holds them."""
    return {f"{type(item).__name__}_{item.name}": item for item in objects}


def _source(view: View, folder: str, source: str) -> DataSource:
    if source == "postgres":
        table = f"{folder}.{view.name}" if folder else view.name
        return PostgreSQLSource(
            name=f"{view.name}_source", table=table, timestamp_field=_EVENT, created_timestamp_column=_CREATED
        )
    return FileSource(
        name=f"{view.name}_source",
        path=f"{folder.rstrip('/')}/{view.name}",
        file_format=ParquetFormat(),
        timestamp_field=_EVENT,
        created_timestamp_column=_CREATED,
        description=view.about,
    )


def _view(view: View, entities: dict[str, Entity], source: DataSource) -> FeatureView:
    keys = [entities[name] for name in view.keys]
    types = {ValueType.INT64: Int64, ValueType.STRING: String}
    return FeatureView(
        name=view.name,
        entities=keys,
        ttl=view.ttl,
        schema=[*(Field(name=key.name, dtype=types[key.value_type]) for key in keys), *map(_field, view.features)],
        source=source,
        online=True,
        description=view.about,
        owner=view.features[0].owner,
    )


def _field(item: Feature) -> Field:
    """A feature with what was declared about it as tags."""
    limits = {"null_share": item.limits.null_share, "low": item.limits.low, "high": item.limits.high}
    tags = {"role": item.role, "kind": item.kind, "window": item.window, "source": item.source, **limits}
    told = {name: str(value) for name, value in tags.items() if value is not None and value != ""}
    return Field(name=item.name, dtype=_TYPES[item.dtype], description=item.about, tags=told)


def _on_demand(view: View, views: dict[str, FeatureView]) -> OnDemandFeatureView:
    """A view in Python mode that is given its declared inputs, and no other column of the row."""
    inputs = [views[name][[feature for of, feature in view.inputs if of == name]].projection for name in view.sources]
    request = [RequestSource(name=_REQUEST, schema=[_field(item) for item in view.request])] if view.request else []
    text = _TEXT.format(name=view.name, steps=_steps(view))
    function: Any = resolve_udf(udf_string=text, preferred_name=view.name)
    return OnDemandFeatureView(
        name=view.name,
        sources=[*inputs, *request],
        # Feast compares these with what it infers from the function, descriptions and tags included: the view has them
        schema=[Field(name=item.name, dtype=_TYPES[item.dtype]) for item in view.features],
        tags={item.name: item.about for item in view.features},
        feature_transformation=PythonTransformation(udf=function, udf_string=text),
        mode="python",
        description=view.about,
        owner=view.features[0].owner,
    )


def _steps(view: View) -> tuple[tuple[str, str, tuple[str, ...], tuple[float, ...]], ...]:
    steps = ((item.name, item.compute) for item in view.features)
    return tuple((name, how.step, how.columns, how.numbers) for name, how in steps if isinstance(how, Derivation))


def _service(service: Service, views: dict[str, Any]) -> FeatureService:
    names = dict.fromkeys(view for view, _ in service.features)
    parts = [views[name][[feature for of, feature in service.features if of == name]] for name in names]
    return FeatureService(name=service.name, features=parts, description=service.about)
