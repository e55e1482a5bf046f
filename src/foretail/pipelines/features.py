"""features: compute, register, materialise and serve the features of a table through Feast, from one declaration."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import importlib
import io
import logging
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from foretail import __version__
from foretail.core.errors import ForetailError, UsageError, nearest
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.features.declaration import Declaration, View, declare
from foretail.features.feast_loading import load_feast
from foretail.features.history import known_ahead, store_frames, write_store
from foretail.features.repository import Contents, FeatureRepository, find_service
from foretail.pipelines.entity_rows import EVENT_TIME, key_rows, requested_columns
from foretail.pipelines.prepare import Prepared, prepare
from foretail.pipelines.request import Request
from foretail.sources.files import read_frame

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Applied", "apply_features", "materialize_features", "open_repository", "read_features", "serve_features"]

logger = logging.getLogger(__name__)

AHEAD = "known_ahead"  # the file beside the views with what a request would give, for training sets from the store
_KEPT = 2  # versions of the Parquet files of a dataset: the one in use, and the one before it for readers under way
_HOST = "127.0.0.1"
_REGISTRY_TTL_S = 60
_END_OF_DAY = dt.time(23, 59, 59, 999_999, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Applied:
    """What `apply_features` did.

    Attributes
    ----------
    repo : the Feast repository. contents : what it holds now. services : features per service, by name.
    notes : what was guessed or repaired in the table, and what the user should know of the repository.
    """

    repo: Path
    contents: Contents
    services: Mapping[str, int]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"repo": str(self.repo), **vars(self.contents), "services": dict(self.services), "notes": self.notes}


def open_repository(settings: Settings, repo: Path | None) -> FeatureRepository:
    """The repository asked for, or the embedded one under home."""
    return FeatureRepository((repo or settings.home / "features" / "repo").absolute())


def apply_features(
    request: Request, settings: Settings, progress: Progress, *, repo: Path | None = None, replace: bool = False
) -> Applied:
    """Compute the features of a table, write them as Parquet and register them.

    The rows go to ``home/features/<dataset>/<version>/``; registered is what points to them, last and at once.

    Parameters
    ----------
    request : the table. repo : a Feast repository of the user's own; by default the embedded one.
    replace : the repository may hold another dataset, which then goes.

    Raises
    ------
    MissingExtraError : Feast is not installed. UsageError : the repository holds another dataset.
    DataError : the table cannot be used. ForetailError : another process changes the repository, or Feast refuses.
    """
    load_feast()
    place = open_repository(settings, repo)
    place.create()
    with place.locked():
        prepared = prepare(request, settings, progress)
        declaration = declare(prepared.panel.spec, prepared.panel)
        _check_dataset(place, prepared.panel.spec.name, replace)
        contents = _write(prepared, declaration, settings, progress)
        with progress.stage("register"), hushed():
            contents = place.register(declaration, contents)
        _forget_older(Path(contents.folder))
    services = {service.name: len(service.features) for service in declaration.services}
    return Applied(place.folder, contents, services, (*prepared.notes, *_about(place)))


def materialize_features(
    settings: Settings,
    progress: Progress,
    *,
    repo: Path | None = None,
    to: dt.date | None = None,
    incremental: bool = False,
) -> list[dict[str, Any]]:
    """Load the newest row of every key into the online store.

    Parameters
    ----------
    to : rows up to this as-of date; by default the last one applied.
    incremental : only what is newer than the last time; views never loaded are loaded whole.

    Returns
    -------
    Per view what the online store holds: see `foretail.features.online.Freshness`.

    Raises
    ------
    UsageError : nothing was applied, or no row is that old. ForetailError : another process changes the repository, or
        the online store cannot be written.
    """
    place = open_repository(settings, repo)
    contents = place.contents()
    end = to or contents.last
    if end < contents.first:
        raise UsageError(f"no features are that old.\n  where: --to {end}\n  fix:   {contents.first} or later")
    with place.locked():
        store = place.open()
        views = place.declaration().stored
        with progress.stage("materialize", len(views)) as stage:
            for view in views:
                stage.describe(f"materialize {view.name}")
                start = _start(store, view, contents, end) if incremental else contents.first
                _materialize(store, view.name, start, end)
                stage.advance()
    return _freshness(place.open())


def _freshness(store: FeatureStore) -> list[dict[str, Any]]:
    """What is served now, by view; of another online store than foretail's only the end of the last load is known."""
    from foretail.features.online import WideOnlineStoreConfig, freshness

    if isinstance(store.config.online_store, WideOnlineStoreConfig):
        return [asdict(entry) for entry in freshness(store.config)]
    views = store.list_batch_feature_views()
    return [{"view": view.name, "rows": None, "until": view.most_recent_end_time} for view in views]


def _start(store: FeatureStore, view: View, contents: Contents, end: dt.date) -> dt.date:
    """From where on rows may be new: the last date loaded, which may have been restated; everything that is static."""
    done: dt.datetime | None = store.get_feature_view(view.name).most_recent_end_time
    if done is None or all(feature.role == "static" for feature in view.features):
        return contents.first
    return min(done.date(), end)


def _materialize(store: FeatureStore, view: str, start: dt.date, end: dt.date) -> None:
    begin = dt.datetime.combine(start, dt.time(), tzinfo=dt.UTC)
    try:
        with hushed():
            store.materialize(begin, dt.datetime.combine(end, _END_OF_DAY), feature_views=[view])
    except ForetailError:
        raise
    except Exception as error:
        # whatever store is behind Feast raises errors of its own
        raise ForetailError(
            f"view {view!r} could not be materialised: {type(error).__name__}: {error}\n"
            f"  where: {store.config.online_store.type}\n  fix:   mend that, then foretail features materialize again"
        ) from error


def read_features(
    keys: Mapping[str, Sequence[Any]] | pl.DataFrame | Path | str,
    settings: Settings,
    *,
    repo: Path | None = None,
    service: str = "inference_features",
    max_age: dt.timedelta | None = None,
) -> pl.DataFrame:
    """Feature rows from the online store.

    Parameters
    ----------
    keys : key columns as a mapping, a frame, or a file of them; with what the service takes from the request.
    service : the feature service. max_age : refuse rows whose as-of date is further back than this.

    Returns
    -------
    The key columns, ``as_of`` (the date of each row, null where there is none), the features.

    Raises
    ------
    UsageError : an unknown service or key. DataError : keys of the wrong type, rows that are stale.
    """
    from foretail.features.online import OnlineReader

    place = open_repository(settings, repo)
    declaration = place.declaration()
    wanted = _wanted(keys, declaration, service)
    store = place.open()
    reader = OnlineReader(store, find_service(store, service))
    frame = reader.read(wanted, max_age=max_age)
    names = [entity.name for entity in declaration.entities]
    return frame.select(*names, pl.exclude(names))


def serve_features(settings: Settings, *, repo: Path | None = None, port: int = 6566) -> None:
    """Answer online reads over HTTP with Feast's own server, on this machine only, until SIGTERM or Ctrl-C.

    Raises
    ------
    UsageError : nothing was applied, or the port is taken.
    """
    place = open_repository(settings, repo)
    place.contents()
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((_HOST, port))
        except OSError as error:
            raise UsageError(
                f"the port cannot be had: {error}\n  where: {_HOST}:{port}\n  fix:   another --port"
            ) from error
    place.open().serve(_HOST, port, registry_ttl_sec=_REGISTRY_TTL_S)


def _wanted(
    keys: Mapping[str, Sequence[Any]] | pl.DataFrame | Path | str, declaration: Declaration, service: str
) -> pl.DataFrame:
    if isinstance(keys, Path | str):
        return key_rows(read_frame(str(keys)), declaration, service, str(keys))
    frame = keys if isinstance(keys, pl.DataFrame) else pl.DataFrame(dict(keys))
    names = [*(entity.name for entity in declaration.entities), *requested_columns(declaration, service)]
    unknown = [name for name in frame.columns if name not in names]
    if unknown:
        raise UsageError(f"there is no key {unknown[0]!r}.\n  where: the keys\n  fix:   {nearest(unknown[0], names)}")
    return key_rows(frame, declaration, service, "the keys")


def _check_dataset(place: FeatureRepository, dataset: str, replace: bool) -> None:
    other = place.holds_other(dataset)
    if other and not replace:
        raise UsageError(
            f"this repository holds the features of {other!r}, not of {dataset!r}.\n  where: {place.folder}\n"
            "  fix:   --repo another folder, or --replace"
        )


def _write(prepared: Prepared, declaration: Declaration, settings: Settings, progress: Progress) -> Contents:
    panel = prepared.panel
    with progress.stage("features"):
        frames = store_frames(panel, declaration)
        ahead = known_ahead(panel, declaration)
    with progress.stage("write"):
        folder = settings.home.absolute() / "features" / panel.spec.name / _version(panel.dataset_version, declaration)
        write_store({**frames, AHEAD: ahead}, folder)
    times = pl.concat([frame.select(EVENT_TIME) for frame in frames.values()])[EVENT_TIME]
    first, last = times.dt.date().sort()[[0, -1]]
    rows = {name: frame.height for name, frame in frames.items()}
    return Contents(
        panel.spec.name,
        panel.dataset_version,
        str(folder),
        first,
        last,
        rows,
        declaration.types,
        declaration.static_keys,
    )


def _version(dataset_version: str, declaration: Declaration) -> str:
    """Names the rows by what they were computed from: the data, the declaration, the code."""
    declared = "".join(declaration.table().write_csv())
    return hashlib.sha256(f"{dataset_version}\n{declared}\n{__version__}".encode()).hexdigest()[:16]


def _forget_older(current: Path) -> None:
    """Remove the files of versions that nobody can be reading any more."""
    others = [path for path in current.parent.iterdir() if path.is_dir() and path != current]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in others[_KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _about(place: FeatureRepository) -> Iterator[str]:
    if place.has_own_modules():
        yield (
            f"{place.folder} has Python files of its own: `feast apply` there registers what they declare, and forgets "
            "what foretail registered"
        )


class _Sink(io.StringIO):
    """Takes the place of stderr; a bar of the command line that is up keeps writing where it did."""

    def __init__(self, behind: Any):
        super().__init__()
        self.rich_proxied_file = getattr(behind, "rich_proxied_file", behind)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep what Feast prints off stdout, which is for results, and its bars off stderr, where ours are."""
    importlib.import_module("feast")  # it puts filters of its own first when it is imported
    said, sink = io.StringIO(), _Sink(sys.stderr)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(sink), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "On demand feature view is an experimental feature", RuntimeWarning)
            yield
    finally:
        for line in filter(None, map(str.strip, said.getvalue().splitlines())):
            logger.debug("feast: %s", line)
