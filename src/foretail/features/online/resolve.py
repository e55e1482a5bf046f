"""What a feature service asks of the online store, looked up in the registry once and held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView
from feast.feature_view import DUMMY_ENTITY_ID

from foretail.core.errors import UsageError, nearest
from foretail.features.online.keys import KeyCodec
from foretail.features.online.rows import RowSchema

__all__ = ["DerivedView", "Plan", "StoredView", "resolve"]


@dataclass(frozen=True)
class StoredView:
    """One view to read.

    Attributes
    ----------
    view : Feast's own object.
    codec : writes its keys; ``asked`` are the names under which a request gives them, in the codec's order.
    schema : its features, as stored now.
    features : those that are read.
    label : how the request names the view.
    is_static : all its features are tagged ``role: static``: its rows are not about time and do not grow stale.
    """

    view: FeatureView
    codec: KeyCodec
    asked: tuple[str, ...]
    schema: RowSchema
    features: tuple[str, ...]
    label: str
    is_static: bool


@dataclass(frozen=True)
class DerivedView:
    """One on-demand view to compute.

    Attributes
    ----------
    view : Feast's own object.
    inputs : per input name, label and feature of the view it comes from.
    request : inputs that the request gives.
    keys : join keys, which Feast hands to the function too.
    outputs : per wanted feature its name in the answer and its type.
    """

    view: OnDemandFeatureView
    inputs: dict[str, tuple[str, str]]
    request: tuple[str, ...]
    keys: tuple[str, ...]
    outputs: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Plan:
    """All that a service asks for.

    Attributes
    ----------
    keys : join keys that a request gives, in the order of the views.
    stored, derived : views to read and to compute.
    names : per name in the answer the view and the feature, in the order of the service.
    kinds : type by name in the answer, and of each key.
    """

    keys: tuple[str, ...]
    stored: tuple[StoredView, ...]
    derived: tuple[DerivedView, ...]
    names: dict[str, tuple[str, str]]
    kinds: dict[str, str]

    @property
    def request(self) -> tuple[str, ...]:
        """Inputs besides the keys that a request must give."""
        return tuple(dict.fromkeys(name for view in self.derived for name in view.request))


@dataclass
class _Wanted:
    """A view and the features of it that are needed, while they are collected."""

    view: Any
    projection: Any
    features: dict[str, None] = field(default_factory=dict)


def resolve(store: FeatureStore, service: FeatureService | str, full_feature_names: bool = False) -> Plan:
    """Look up everything that a service asks for.

    Parameters
    ----------
    service : its object or its name.
    full_feature_names : answer with ``view__feature``.

    Raises
    ------
    UsageError : the service or a feature does not exist, two features would share a name, or an on-demand view
        aggregates.
    """
    service = _service(store, service) if isinstance(service, str) else service
    stored: dict[str, _Wanted] = {}
    derived: list[tuple[Any, Any]] = []
    names: dict[str, tuple[str, str]] = {}
    for projection in service.feature_view_projections:
        view = store.registry.get_any_feature_view(projection.name, store.project, allow_cache=True)
        label = _label(projection)
        _add_names(names, label, projection, full_feature_names)
        if isinstance(view, OnDemandFeatureView) and not view.write_to_online_store:
            derived.append((view, projection))
        else:
            _want(stored, view, projection)
    for view, _ in derived:
        for source in view.source_feature_view_projections.values():
            _want(stored, store.registry.get_any_feature_view(source.name, store.project, allow_cache=True), source)
    views = tuple(_stored(label, wanted) for label, wanted in stored.items())
    keys = _keys(store, views)
    computed = tuple(_derived(view, projection, keys, names) for view, projection in derived)
    return Plan(keys, views, computed, names, _kinds(views, computed, names))


def _service(store: FeatureStore, name: str) -> FeatureService:
    services = {service.name: service for service in store.list_feature_services()}
    if name not in services:
        raise UsageError(
            f"there is no feature service {name!r}.\n  where: project {store.project}\n"
            f"  fix:   {nearest(name, services)}"
        )
    return services[name]


def _label(projection: Any) -> str:
    """How a request names a view."""
    return str(projection.name_to_use())


def _keys(store: FeatureStore, views: tuple[StoredView, ...]) -> tuple[str, ...]:
    """Join keys under the names of the request, in the order in which the views declare their entities."""
    join_keys = {
        entity.name: entity.join_key for entity in store.registry.list_entities(store.project, allow_cache=True)
    }
    keys: dict[str, None] = {}
    for view in views:
        asked = dict(zip(view.codec.names, view.asked, strict=True))
        declared = (join_keys.get(name, name) for name in view.view.entities)
        keys |= dict.fromkeys(asked[key] for key in declared if key in asked and key != DUMMY_ENTITY_ID)
    return tuple(keys)


def _add_names(names: dict[str, tuple[str, str]], label: str, projection: Any, full: bool) -> None:
    for feature in projection.features:
        name = f"{label}__{feature.name}" if full else feature.name
        if name in names:
            raise UsageError(
                f"two features are called {name!r}.\n  where: views {names[name][0]} and {label}\n"
                "  fix:   ask with full_feature_names=True"
            )
        names[name] = (label, feature.name)


def _want(stored: dict[str, _Wanted], view: Any, projection: Any) -> None:
    wanted = stored.setdefault(_label(projection), _Wanted(view, projection))
    wanted.features |= dict.fromkeys(feature.name for feature in projection.features)


def _stored(label: str, wanted: _Wanted) -> StoredView:
    view, projection = wanted.view.with_projection(wanted.view.projection), wanted.projection
    view.projection.version_tag = projection.version_tag
    codec, schema = KeyCodec.of(view), RowSchema.of(view)
    _refuse_unknown(view.name, wanted.features, schema)
    asked = tuple(projection.join_key_map.get(name, name) for name in codec.names)
    static = all((feature.tags or {}).get("role") == "static" for feature in view.features)
    return StoredView(view, codec, asked, schema, tuple(wanted.features), label, static)


def _refuse_unknown(view: str, features: Iterable[str], schema: RowSchema) -> None:
    for name in features:
        if name not in schema.kinds:
            raise UsageError(
                f"view {view} has no feature {name!r}.\n  where: the feature service\n"
                f"  fix:   {nearest(name, schema.names)}"
            )


def _derived(
    view: OnDemandFeatureView, projection: Any, keys: tuple[str, ...], names: dict[str, tuple[str, str]]
) -> DerivedView:
    if view.aggregations:
        raise UsageError(
            f"on-demand view {view.name} aggregates.\n  where: the feature service\n"
            "  fix:   read it with Feast's get_online_features"
        )
    inputs = {
        name: (_label(source), feature.name)
        for source in view.source_feature_view_projections.values()
        for feature in source.features
        for name in _input_names(view, source.name, feature.name)
    }
    request = tuple(field.name for source in view.source_request_sources.values() for field in source.schema)
    types = {field.name: field.dtype.to_value_type().name for field in view.features}
    label = _label(projection)
    outputs = {feature: (name, types[feature]) for name, (owner, feature) in names.items() if owner == label}
    return DerivedView(view, inputs, request, keys, outputs)


def _kinds(
    stored: tuple[StoredView, ...], derived: tuple[DerivedView, ...], names: dict[str, tuple[str, str]]
) -> dict[str, str]:
    by_view = {(view.label, name): kind for view in stored for name, kind in view.schema.kinds.items()}
    kinds = {name: by_view[place] for name, place in names.items() if place in by_view}
    kinds |= {name: kind for view in derived for name, kind in view.outputs.values()}
    for view in stored:
        kinds |= dict(zip(view.asked, view.codec.kinds, strict=True))
    return kinds


def _input_names(view: OnDemandFeatureView, source: str, feature: str) -> tuple[str, ...]:
    """A Python function may call its inputs ``feature`` or ``view__feature``; for other modes Feast adds the latter."""
    return (feature, f"{source}__{feature}") if view.mode == "python" else (feature,)
