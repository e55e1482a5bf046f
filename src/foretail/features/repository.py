"""A Feast repository on disk: its settings, what it holds, and changes to it that happen whole or not at all.

Beside Feast's own ``feature_store.yaml`` and registry a repository keeps the spec of its dataset (``spec.toml``)
and a note of what was applied (``foretail.json``); from the two the same Feast objects can be made again at any time.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretail.core.errors import DataError, ForetailError, Problem, UsageError, nearest
from foretail.core.spec import DatasetSpec
from foretail.features.declaration import Declaration, declare_as
from foretail.features.feast_loading import load_feast
from foretail.features.feature import Dtype

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Contents", "FeatureRepository", "find_service"]

_SETTINGS, _SPEC, _CONTENTS, _OBJECTS, _LOCK = (
    "feature_store.yaml",
    "spec.toml",
    "foretail.json",
    "foretail_features.py",
    ".foretail.lock",
)
_DEFAULT_SETTINGS = """\
# Written by `foretail features apply`; yours to change. `feast -c DIR ...` reads it too.
project: foretail
provider: local
registry:
  path: data/registry.db
  cache_ttl_seconds: 60
offline_store:
  type: foretail.features.offline.AsofOfflineStore
online_store:
  type: foretail.features.online.WideOnlineStore
  path: data/online.db
batch_engine:
  type: foretail.features.online.BulkEngine
entity_key_serialization_version: 3
"""
_OBJECTS_TEXT = '''\
"""What this repository declares, for `feast apply` and `feast plan`: one declaration, kept by foretail."""

from pathlib import Path

from foretail.features.repository import FeatureRepository

globals().update(FeatureRepository(Path(__file__).parent).named_objects())
'''


@dataclass(frozen=True)
class Contents:
    """What `foretail features apply` put into a repository.

    Attributes
    ----------
    dataset, dataset_version : name and content hash of the panel that the rows were computed from.
    folder : where the Parquet files of the views are.
    first, last : earliest and latest as-of date of a row.
    rows : rows per stored view.
    types, static_keys : what was seen in the table, see `Declaration`.
    objects : Feast objects by kind (``entities``, ``views``, ``services``), so that those no longer declared can go.
    """

    dataset: str
    dataset_version: str
    folder: str
    first: dt.date
    last: dt.date
    rows: Mapping[str, int]
    types: Mapping[str, Dtype]
    static_keys: Mapping[str, tuple[str, ...]]
    objects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """A readable document; dates in ISO form."""
        return json.dumps(asdict(self), indent=1, default=str) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Contents:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError : another document.
        """
        values = json.loads(text)
        days = {key: dt.date.fromisoformat(values[key]) for key in ("first", "last")}
        lists = {key: {name: tuple(items) for name, items in values[key].items()} for key in ("static_keys", "objects")}
        return cls(**{**values, **days, **lists})


@dataclass(frozen=True)
class FeatureRepository:
    """A folder with a ``feature_store.yaml``: the embedded one of foretail, or one of the user's own.

    Attributes
    ----------
    folder : the folder that ``feast -c`` is given.
    """

    folder: Path

    @property
    def settings_file(self) -> Path:
        return self.folder / _SETTINGS

    def create(self) -> None:
        """Write the settings of an embedded store, unless the folder has settings already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.settings_file.exists():
            self.settings_file.write_text(_DEFAULT_SETTINGS, encoding="utf-8")

    def contents(self) -> Contents:
        """What was applied last.

        Raises
        ------
        UsageError : nothing was applied to this folder yet.
        DataError : the note of it cannot be read.
        """
        path = self.folder / _CONTENTS
        if not path.exists():
            raise UsageError(
                f"no features were applied here yet.\n  where: {self.folder}\n"
                "  fix:   foretail features apply TABLE first, or --repo the folder it was given"
            )
        try:
            return Contents.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"the note of what was applied cannot be read: {error!r}"
            raise DataError(Problem(what, str(path), "foretail features apply TABLE again")) from error

    def declaration(self) -> Declaration:
        """The features of the dataset that was applied last.

        Raises
        ------
        UsageError : nothing was applied yet. DataError : its spec cannot be read.
        """
        contents = self.contents()
        return declare_as(DatasetSpec.from_toml(self.folder / _SPEC), contents.types, contents.static_keys)

    def named_objects(self) -> dict[str, Any]:
        """The Feast objects under names of their own: what a module of a Feast repository holds.

        Raises
        ------
        UsageError : nothing was applied yet. MissingExtraError : Feast is not installed.
        """
        objects = _feast_objects(self.declaration(), Path(self.contents().folder))
        from foretail.features.feast_objects import named

        return named(objects)

    def open(self) -> FeatureStore:
        """Feast's store of this repository.

        Raises
        ------
        MissingExtraError : Feast is not installed. UsageError : no settings, or Feast refuses them.
        """
        load_feast()
        from feast import FeatureStore

        return FeatureStore(repo_path=str(self.folder), config=self._config())

    def register(self, declaration: Declaration, contents: Contents) -> Contents:
        """Register everything declared; what an earlier `apply` had registered and is no longer declared goes.

        A registry in a local file is changed on a copy that then takes its place: it stays as it was if anything fails.
        Other registries have Feast's own guarantees.

        Returns
        -------
        The contents with the names of the objects.

        Raises
        ------
        ForetailError : Feast refuses the objects, or the registry or the online store cannot be written.
        """
        before = self._contents_before()
        objects = _feast_objects(declaration, Path(contents.folder))
        named = replace(contents, objects=_names_by_kind(objects))
        with self._drafts(declaration.spec, named), self._staged() as store:
            gone = _no_longer(store, before.objects if before else {}, named.objects)
            try:
                store.apply(objects, objects_to_delete=gone, partial=False)
            except ForetailError:
                raise
            except Exception as error:
                # Feast raises its own, pydantic's and the stores' errors: all mean that nothing was registered
                raise ForetailError(
                    f"Feast could not register the features: {type(error).__name__}: {error}\n"
                    f"  where: {self.settings_file}\n  fix:   correct it, then apply again; the registry is as it was"
                ) from error
        return named

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository for a change; the lock is the system's and ends with the process.

        Raises
        ------
        ForetailError : another process holds it.
        """
        import fcntl

        path = self.folder / _LOCK
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise ForetailError(
                    f"another process is changing this repository: {file.read().strip() or 'unknown'}\n"
                    f"  where: {path}\n  fix:   wait until it has ended, then try again"
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} since {dt.datetime.now().astimezone():%Y-%m-%d %H:%M:%S}\n")
            file.flush()
            yield

    def _config(self) -> Any:
        from feast.errors import FeastError
        from feast.repo_config import load_repo_config
        from yaml import YAMLError  # type: ignore[import-untyped]  # Feast reads its settings with it

        if not self.settings_file.exists():
            raise UsageError(
                f"not a feature repository: it has no {_SETTINGS}.\n  where: {self.folder}\n"
                "  fix:   foretail features apply TABLE makes one, or --repo another folder"
            )
        try:
            return load_repo_config(self.folder, self.settings_file)
        except (FeastError, YAMLError, TypeError, ValueError, OSError) as error:
            raise UsageError(
                f"Feast does not accept these settings: {error}\n  where: {self.settings_file}\n  fix:   correct them"
            ) from error

    def _registry_file(self, config: Any) -> Path | None:
        """The registry if it is a file on this machine, else None."""
        path = str(config.registry.path)
        if config.registry.registry_type != "file" or "://" in path:
            return None
        return self.folder / path

    @contextmanager
    def _staged(self) -> Iterator[FeatureStore]:
        """The store on a copy of its registry, which replaces the registry when the context ends well."""
        load_feast()
        from feast import FeatureStore

        config = self._config()
        registry = self._registry_file(config)
        if registry is None:
            yield FeatureStore(repo_path=str(self.folder), config=config)
            return
        registry.parent.mkdir(parents=True, exist_ok=True)
        draft = registry.with_name(f".{registry.name}-{secrets.token_hex(6)}")
        try:
            if registry.exists():
                draft.write_bytes(registry.read_bytes())
            config = self._config()
            config.registry_config = config.registry.model_copy(update={"path": str(draft.absolute())})
            config._registry = None
            yield FeatureStore(repo_path=str(self.folder), config=config)
            draft.replace(registry)
        finally:
            draft.unlink(missing_ok=True)

    def _contents_before(self) -> Contents | None:
        return self.contents() if (self.folder / _CONTENTS).exists() else None

    def holds_other(self, dataset: str) -> str | None:
        """The dataset that was applied before, if it is another one; else None."""
        before = self._contents_before()
        return before.dataset if before and before.dataset != dataset else None

    @contextmanager
    def _drafts(self, spec: DatasetSpec, contents: Contents) -> Iterator[None]:
        """Write the notes beside their places; they move there when the context ends well."""
        texts = {_SPEC: spec.to_toml(), _CONTENTS: contents.to_json()}
        if not any(self.folder.glob("*.py")):
            texts[_OBJECTS] = _OBJECTS_TEXT
        drafts = {name: self.folder / f".{name}-{secrets.token_hex(6)}" for name in texts}
        try:
            for name, draft in drafts.items():
                draft.write_text(texts[name], encoding="utf-8")
            yield
            for name, draft in drafts.items():
                draft.replace(self.folder / name)
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)

    def has_own_modules(self) -> bool:
        """Whether Python files of the user's own lie in the folder: `feast apply` would register those only."""
        return any(path.name != _OBJECTS for path in self.folder.glob("*.py")) and not (self.folder / _OBJECTS).exists()


def find_service(store: FeatureStore, name: str) -> Any:
    """A feature service by name.

    Raises
    ------
    UsageError : there is none of that name; the nearest ones are told.
    """
    services = {item.name: item for item in store.list_feature_services()}
    if name not in services:
        raise UsageError(f"unknown feature service {name!r}.\n  where: --service\n  fix:   {nearest(name, services)}")
    return store.get_feature_service(name)


def _feast_objects(declaration: Declaration, folder: Path) -> list[Any]:
    load_feast()
    from foretail.features.feast_objects import feast_objects

    return feast_objects(declaration, str(folder))


def _names_by_kind(objects: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    from feast import Entity, FeatureService
    from feast.base_feature_view import BaseFeatureView

    kinds: dict[str, type[Any]] = {"entities": Entity, "views": BaseFeatureView, "services": FeatureService}
    return {kind: tuple(item.name for item in objects if isinstance(item, of)) for kind, of in kinds.items()}


def _no_longer(store: FeatureStore, before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[Any]:
    """Registered objects that an earlier apply declared and this one does not."""
    listed: dict[str, Callable[[], Sequence[Any]]] = {
        "entities": store.list_entities,
        "views": store.list_all_feature_views,
        "services": store.list_feature_services,
    }
    gone = {kind: set(names) - set(now[kind]) for kind, names in before.items()}
    return [item for kind, names in gone.items() if names for item in listed[kind]() if item.name in names]
