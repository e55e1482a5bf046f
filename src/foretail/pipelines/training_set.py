"""join: a training set from keys and as-of dates, joined through Feast, looked at by guards before it is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from foretail.core.errors import ForetailError, UsageError
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.features.declaration import Declaration
from foretail.features.guards import (
    GuardFinding,
    check_counts,
    check_frame,
    check_leaks,
    check_ttl,
    guard_frame,
    guard_table,
    label_ahead,
    period_splits,
    read_limits,
    refuse,
)
from foretail.features.repository import FeatureRepository, find_service
from foretail.forecasts.output import Writer, write_outputs
from foretail.pipelines.entity_rows import (
    CREATED_TIME,
    EVENT_TIME,
    read_entity_rows,
    requested_columns,
    stored_entity_rows,
)
from foretail.pipelines.features import AHEAD, hushed, open_repository

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["Joined", "join_features"]

_REST = "test"


@dataclass(frozen=True)
class Joined:
    """A training set on disk.

    Attributes
    ----------
    path : the Parquet file: columns of the entity rows, then the features; rows as they were given, in their order.
    rows, features : how many. splits : rows per split. findings : what the guards found.
    """

    path: Path
    rows: int
    features: int
    splits: Mapping[str, int]
    findings: tuple[GuardFinding, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        findings = guard_frame(self.findings).to_dicts()
        return {**vars(self), "path": str(self.path), "splits": dict(self.splits), "findings": findings}

    def to_text(self) -> str:
        """For people: what was written, then what the guards found."""
        parts = ", ".join(f"{name} {rows}" for name, rows in self.splits.items())
        return f"{self.rows} rows x {self.features} features ({parts}) in {self.path}\n\n{guard_table(self.findings)}"


def join_features(
    entities: str | None,
    out: Path,
    settings: Settings,
    progress: Progress,
    *,
    repo: Path | None = None,
    time: str | None = None,
    service: str = "training_features",
    as_known: bool = True,
    label: int | None = None,
    split: Mapping[str, str] | None = None,
    limits: Path | None = None,
    allow_findings: bool = False,
) -> Joined:
    """Join the features of a service to entity rows, point in time.

    Parameters
    ----------
    entities : a CSV or Parquet file of keys and as-of dates; None for every row of the store.
    out : the Parquet file to write; the findings go beside it, as ``NAME.findings.csv``.
    time : the column of as-of dates. service : the feature service.
    as_known : values as they were known at each as-of date; False: as restated since.
    label : add the target that many periods after the as-of date, ``label``, and its date, ``label_time``; inputs that
        give it away are refused.
    split : see `_splits`. limits : a TOML file with other limits than those declared.
    allow_findings : write whatever the guards find.

    Raises
    ------
    UsageError : an unknown service or split, nothing applied yet.
    DataError : the entity rows cannot be used, or the guards refuse the result; then nothing is written.
    """
    place = open_repository(settings, repo)
    declaration = place.declaration()
    store = place.open()
    wanted = find_service(store, service)
    with progress.stage("read"):
        rows, column = _entity_rows(entities, time, place, declaration, service)
    with progress.stage("join"):
        frame = _historical(store, wanted, rows, as_known)
    with progress.stage("guard"):
        masks = _splits(frame[EVENT_TIME], split)
        _check_expiry(store, place, declaration, rows, masks)
        findings = _findings(frame, rows, declaration, service, masks, limits)
        if label is not None:
            frame = _labelled(frame, place, declaration, label)
        if not allow_findings:
            refuse(findings)
    with progress.stage("write"):
        named = frame.rename({EVENT_TIME: column})
        files: dict[str, Writer] = {
            out.name: named.write_parquet,
            f"{out.stem}.findings.csv": guard_frame(findings).write_csv,
        }
        write_outputs(out.parent, files)
    sizes = {name: int(mask.sum()) for name, mask in masks.items()}
    return Joined(out, frame.height, len(declaration.service(service).features), sizes, tuple(findings))


def _entity_rows(
    entities: str | None, time: str | None, place: FeatureRepository, declaration: Declaration, service: str
) -> tuple[pl.DataFrame, str]:
    """Entity rows with what the service must be given, and the name of their time."""
    if entities is not None:
        return read_entity_rows(entities, time, declaration, service)
    view = max(declaration.stored, key=lambda view: len(view.keys))
    folder = Path(place.contents().folder)
    rows = stored_entity_rows(folder / view.name, declaration)
    requested = requested_columns(declaration, service)
    if requested:
        given = pl.read_parquet(folder / AHEAD).select(*rows.columns, *requested)
        rows = rows.join(given, on=rows.columns, how="left", maintain_order="left")
    return rows, EVENT_TIME


def _historical(store: FeatureStore, service: Any, rows: pl.DataFrame, as_known: bool) -> pl.DataFrame:
    try:
        with hushed():
            job = store.get_historical_features(rows.to_arrow(), service, filter_by_created_timestamp=as_known)
            return pl.DataFrame(job.to_arrow())
    except ForetailError:
        raise
    except Exception as error:
        # an offline store of the user's own raises errors of its own
        raise ForetailError(
            f"the features could not be joined: {type(error).__name__}: {error}\n"
            f"  where: service {service.name!r}, {store.config.offline_store.type}\n"
            "  fix:   look at the offline store, then try again"
        ) from error


def _findings(
    frame: pl.DataFrame,
    rows: pl.DataFrame,
    declaration: Declaration,
    service: str,
    masks: Mapping[str, pl.Series],
    limits: Path | None,
) -> list[GuardFinding]:
    check_counts(rows.height, frame.height)
    names = [feature.name for feature in declaration.features_of(service)]
    return check_frame(frame, declaration, masks, limits=read_limits(limits) if limits else None, features=names)


def _check_expiry(
    store: FeatureStore,
    place: FeatureRepository,
    declaration: Declaration,
    rows: pl.DataFrame,
    masks: Mapping[str, pl.Series],
) -> None:
    """Refuse a time to live that somebody gave to a view and that would null what the view holds."""
    folder = Path(place.contents().folder)
    ttls = {view.name: view.ttl for view in store.list_batch_feature_views() if view.ttl}
    ttls = {view.name: ttls[view.name] for view in declaration.stored if view.name in ttls}
    if ttls:
        check_ttl(declaration, {name: pl.scan_parquet(folder / name) for name in ttls}, rows, masks, ttls)


def _labelled(frame: pl.DataFrame, place: FeatureRepository, declaration: Declaration, step: int) -> pl.DataFrame:
    """The frame with ``label`` and ``label_time``, taken from the store's own rows as they are known now."""
    view, target = declaration.target
    keys = [*declaration.spec.keys, EVENT_TIME]
    held = pl.read_parquet(Path(place.contents().folder) / view, columns=[*keys, CREATED_TIME, target])
    newest = held.sort(CREATED_TIME).unique(keys, keep="last").drop(CREATED_TIME)
    ahead = label_ahead(newest, declaration, step).select(*keys, "label", "label_time")
    labelled = frame.join(ahead, on=keys, how="left", maintain_order="left")
    check_leaks(labelled.drop_nulls("label"), declaration, label="label", label_time="label_time")
    return labelled


def _splits(times: pl.Series, split: Mapping[str, str] | None) -> dict[str, pl.Series]:
    """Splits by whole periods: 70/15/15, or shares (``0.7``) or last dates (``2012-03-30``); the rest is ``test``."""
    if split is None:
        return period_splits(times)
    try:
        if any(value.count("-") == 2 for value in split.values()):
            return period_splits(times, ends=_ends(times, split))
        shares = _shares(split)
        return period_splits(times, list(shares.values()), names=list(shares))
    except ValueError as error:
        said = ",".join(f"{name}={value}" for name, value in split.items())
        raise UsageError(
            f"{error}.\n  where: --split {said}\n  fix:   shares (train=0.7,validation=0.15) or last dates"
        ) from error


def _ends(times: pl.Series, split: Mapping[str, str]) -> dict[str, dt.date]:
    ends = {name: dt.date.fromisoformat(value) for name, value in split.items()}
    last: dt.date = times.dt.date().sort()[-1]
    return ends if max(ends.values()) >= last or _REST in ends else {**ends, _REST: last}


def _shares(split: Mapping[str, str]) -> dict[str, float]:
    shares = {name: float(value) for name, value in split.items()}
    rest = round(1 - sum(shares.values()), 9)
    return shares if rest <= 0 or _REST in shares else {**shares, _REST: rest}
