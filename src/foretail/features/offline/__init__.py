"""Feast's offline store, made of one as-of join per feature view; Feast is imported with it, not with the joins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretail.features.offline.store import AsofOfflineStore, AsofOfflineStoreConfig

__all__ = ["AsofOfflineStore", "AsofOfflineStoreConfig"]


def __getattr__(name: str) -> Any:
    # workers of a join import this package and must not pay for the import of Feast
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from foretail.features.offline import store

    return getattr(store, name)
