"""Features online: stored by view and key, materialised in bulk, read in a fraction of a millisecond."""

from foretail.features.online.backend import Freshness
from foretail.features.online.engine import BulkEngine, BulkEngineConfig
from foretail.features.online.errors import OnlineStoreError, StaleFeatures
from foretail.features.online.reader import AS_OF, OnlineReader
from foretail.features.online.store import WideOnlineStore, WideOnlineStoreConfig, freshness

__all__ = [
    "AS_OF",
    "BulkEngine",
    "BulkEngineConfig",
    "Freshness",
    "OnlineReader",
    "OnlineStoreError",
    "StaleFeatures",
    "WideOnlineStore",
    "WideOnlineStoreConfig",
    "freshness",
]
