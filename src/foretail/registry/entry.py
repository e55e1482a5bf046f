"""What MLflow holds of a model version, as plain values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from foretail.registry.info import BundleInfo
from foretail.registry.tracking import shown

__all__ = ["ModelVersion", "aliases_of", "all_pages", "local_path", "run_params", "version_of"]


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes
    ----------
    name, version : as MLflow counts them. aliases : champion, challenger, candidate, or none.
    run_id : the MLflow run that holds metrics, params and the bundle. created : UTC, ISO.
    metrics, params, tags : of that run and of the version; filled by `Registry.show` and `Registry.log`.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    created: str
    source: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def run_params(info: BundleInfo) -> dict[str, object]:
    """What a run is logged with: the facts that versions are told apart by."""
    return {
        "model": info.model,
        "dataset": info.spec.name,
        "dataset_version": info.dataset_version,
        "code_version": info.code_version,
        "cutoff": info.cutoff,
        "horizon": info.horizon,
        "freq": info.spec.freq,
        "seed": info.seed,
        "n_features": len(info.features),
    }


def version_of(item: Any) -> ModelVersion:
    """MLflow's entry without its run and aliases, which are looked up elsewhere."""
    created = dt.datetime.fromtimestamp(item.creation_timestamp / 1000, dt.UTC).isoformat(timespec="seconds")
    return ModelVersion(
        item.name,
        int(item.version),
        (),
        item.run_id or "",
        created,
        shown(item.source or ""),
        tags=dict(item.tags or {}),
    )


def aliases_of(model: Any, version: int) -> tuple[str, ...]:
    """The aliases of one version of a registered model."""
    return tuple(sorted(alias for alias, number in model.aliases.items() if int(number) == version))


def local_path(source: str) -> Path | None:
    """The folder behind a source on this machine; None for a remote one."""
    parsed = urlparse(source)
    if parsed.scheme in ("", "file"):
        return Path(unquote(str(parsed.path)))
    return None


def all_pages(search: Any, **given: Any) -> list[Any]:
    """Every entry of a search, whatever the length of its pages."""
    found: list[Any] = []
    token = None
    while True:
        page = search(max_results=100, page_token=token, **given)
        found.extend(page)
        token = page.token
        if not token:
            return found
