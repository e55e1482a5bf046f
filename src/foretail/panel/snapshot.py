"""Panels on disk: Parquet that holds them bit for bit, and immutable snapshots named by the hash of their content."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem
from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Covariate, Panel, Revisions, Withheld

if TYPE_CHECKING:
    from foretail.panel.build import PanelBuild

__all__ = ["content_version", "load_panel", "read_panel", "save_snapshot", "write_panel"]

_FORMAT = 1
_VERSION_LENGTH = 16
_HEAD, _SERIES, _HISTORY, _FUTURE, _REVISIONS, _WITHHELD = (
    "panel.json",
    "series.parquet",
    "history.parquet",
    "future.parquet",
    "revisions.parquet",
    "withheld.parquet",
)


def save_snapshot(panel: Panel | PanelBuild, home: Path) -> str:
    """Keep a panel under ``home/snapshots/<version>``; one that is there already is not written again.

    Returns
    -------
    The version: a short hash of the content, whatever the order of the rows, the format or the place they came from.

    Raises
    ------
    DataError : it cannot be written (no space, no permission); nothing half-written stays.
    """
    panel = panel if isinstance(panel, Panel) else panel.panel
    version = content_version(panel)
    folder = Path(home) / "snapshots" / version
    if folder.exists():
        return version
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent, ignore_cleanup_errors=True) as new:
            draft = Path(new) / version
            draft.mkdir()
            write_panel(replace(panel, dataset_version=version), draft)
            _publish(draft, folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            Problem(f"the snapshot cannot be written: {error}", str(folder), "free some space, or choose another home")
        ) from error
    return version


def _publish(draft: Path, folder: Path) -> None:
    """Move a finished folder to its place; losing the race to an equal one is no failure."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(draft, ignore_errors=True)


def load_panel(folder: Path) -> Panel:
    """Read a snapshot and check that it still is what its name says.

    Raises
    ------
    DataError : it is missing, damaged, or its content has changed.
    """
    panel = read_panel(folder)
    found = content_version(panel)
    if found != panel.dataset_version:
        raise DataError(
            Problem(
                "the snapshot has changed since it was taken",
                f"{folder}: content {found}, recorded {panel.dataset_version}",
                "remove the folder and take the snapshot again",
            )
        )
    return panel


def write_panel(panel: Panel, folder: Path) -> None:
    """Write a panel into an existing folder: ``panel.json`` and Parquet files, cells by series, then by period."""
    t = panel.n_periods
    head = {
        "format": _FORMAT,
        "dataset_version": panel.dataset_version,
        "spec": panel.spec.to_dict(),
        "start": panel.start,
        "shape": [panel.n_series, t, panel.n_future],
        "known": [_described(item) for item in panel.known],
        "past": [_described(item) for item in panel.past],
        "has_revisions": panel.revisions is not None,
        **({} if panel.withheld is None else {"has_withheld": True}),
    }
    text = json.dumps(head, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    (folder / _HEAD).write_text(text + "\n", encoding="utf-8")
    panel.series.write_parquet(folder / _SERIES)
    history: dict[str, npt.NDArray[Any]] = {"y": panel.y, "closed": panel.closed[:, :t]}
    history |= {f"known_{i}": item.values[:, :t] for i, item in enumerate(panel.known)}
    history |= {f"past_{i}": item.values for i, item in enumerate(panel.past)}
    _write_cells(history, folder / _HISTORY)
    future: dict[str, npt.NDArray[Any]] = {"closed": panel.closed[:, t:]}
    future |= {f"known_{i}": item.values[:, t:] for i, item in enumerate(panel.known)}
    _write_cells(future, folder / _FUTURE)
    if panel.revisions is not None:
        told = panel.revisions
        parts = {"row": told.row, "period": told.period, "known_at": told.known_at, "y": told.y}
        pl.DataFrame(parts).write_parquet(folder / _REVISIONS)
    if panel.withheld is not None:
        pl.DataFrame(_withheld_parts(panel.withheld)).write_parquet(folder / _WITHHELD)


def _withheld_parts(withheld: Withheld) -> dict[str, npt.NDArray[Any]]:
    return {name: getattr(withheld, name) for name in ("row", "period", "sold", "available")}


def _described(item: Covariate) -> dict[str, Any]:
    return {"name": item.name, "categories": list(item.categories), "delay": item.delay}


def _write_cells(columns: dict[str, npt.NDArray[Any]], path: Path) -> None:
    pl.DataFrame({name: values.reshape(-1) for name, values in columns.items()}).write_parquet(path)


def read_panel(folder: Path) -> Panel:
    """Read what `write_panel` wrote, equal bit for bit.

    Raises
    ------
    DataError : a file is missing or damaged, or a later foretail wrote it.
    """
    folder = Path(folder)
    try:
        head = json.loads((folder / _HEAD).read_text(encoding="utf-8"))
        if head["format"] != _FORMAT:
            raise DataError(
                Problem(f"the panel has format {head['format']}, not {_FORMAT}", str(folder), "update foretail")
            )
        return _read(head, folder)
    except (OSError, ValueError, KeyError, IndexError, pl.exceptions.PolarsError) as error:
        raise DataError(
            Problem(
                f"the panel cannot be read: {error}", str(folder), "the folder is missing or damaged: write it again"
            )
        ) from error


def _read(head: dict[str, Any], folder: Path) -> Panel:
    n, t, h = head["shape"]
    history, future = pl.read_parquet(folder / _HISTORY), pl.read_parquet(folder / _FUTURE)
    known = tuple(
        Covariate(
            item["name"], _joined(f"known_{i}", history, future, n, t, h), tuple(item["categories"]), item["delay"]
        )
        for i, item in enumerate(head["known"])
    )
    past = tuple(
        Covariate(item["name"], _matrix(history[f"past_{i}"], n, t), tuple(item["categories"]), item["delay"])
        for i, item in enumerate(head["past"])
    )
    return Panel(
        spec=DatasetSpec.from_dict(head["spec"], where=str(folder)),
        series=pl.read_parquet(folder / _SERIES),
        start=head["start"],
        y=_matrix(history["y"], n, t),
        closed=_joined("closed", history, future, n, t, h),
        known=known,
        past=past,
        dataset_version=head["dataset_version"],
        revisions=_read_revisions(folder) if head["has_revisions"] else None,
        withheld=_read_withheld(folder) if head.get("has_withheld") else None,
    )


def _matrix(column: pl.Series, n: int, width: int) -> npt.NDArray[Any]:
    return column.to_numpy(writable=True).reshape(n, width)


def _joined(name: str, history: pl.DataFrame, future: pl.DataFrame, n: int, t: int, h: int) -> npt.NDArray[Any]:
    return np.concatenate([_matrix(history[name], n, t), _matrix(future[name], n, h)], axis=1)


def _read_revisions(folder: Path) -> Revisions:
    told = pl.read_parquet(folder / _REVISIONS)
    return Revisions(*(told[name].to_numpy(writable=True) for name in ("row", "period", "known_at", "y")))


def _read_withheld(folder: Path) -> Withheld:
    found = pl.read_parquet(folder / _WITHHELD)
    return Withheld(*(found[name].to_numpy(writable=True) for name in ("row", "period", "sold", "available")))


def content_version(panel: Panel) -> str:
    """Short hash of what a panel says: its meaning, series, cells and restatements, not the name of the dataset."""
    digest = hashlib.sha256()
    for part in _content(panel):
        digest.update(part)
    return digest.hexdigest()[:_VERSION_LENGTH]


def _content(panel: Panel) -> Iterator[bytes]:
    meaning = {key: value for key, value in panel.spec.to_dict().items() if key != "name"}
    if meaning["stockout"] is None:
        del meaning["stockout"]  # snapshots that were taken before the key was there keep their versions
    covariates = [_described(item) for item in (*panel.known, *panel.past)]
    head = [_FORMAT, meaning, panel.start, panel.y.shape, panel.n_future, covariates]
    yield json.dumps(head, sort_keys=True, default=str).encode()
    texts = panel.series.select(pl.all().cast(pl.String))
    yield json.dumps({name: texts[name].to_list() for name in texts.columns}, sort_keys=True).encode()
    for values in (panel.y, panel.closed, *(item.values for item in (*panel.known, *panel.past))):
        yield from _blocks(values)
    if panel.revisions is not None:
        told = panel.revisions
        for part in (told.row, told.period, told.known_at, told.y):
            yield from _blocks(part[None, :])
    if panel.withheld is not None:
        for part in _withheld_parts(panel.withheld).values():
            yield from _blocks(part[None, :])


def _blocks(values: npt.NDArray[Any], rows: int = 1024) -> Iterator[bytes]:
    """The bytes of a matrix, some rows at a time, with one kind of zero and one kind of NaN."""
    for first in range(0, len(values), rows):
        block = np.ascontiguousarray(values[first : first + rows])
        if block.dtype.kind == "f":
            block = np.where(np.isnan(block), block.dtype.type("nan"), block + 0.0)
        yield block.astype(block.dtype.newbyteorder("<"), copy=False).tobytes()
