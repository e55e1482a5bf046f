"""Rows that could not be used: kept with their reason until somebody corrects and releases them; nothing is lost."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.panel.rows import REASON
from foretail.sources.table import Table

__all__ = ["ROW_ID", "keep_quarantine", "load_quarantine", "load_released", "release_rows", "with_released"]

ROW_ID = "row_id"
_KEPT, _RELEASED = "kept-*.parquet", "released-*.parquet"


def keep_quarantine(rows: pl.DataFrame, home: Path, name: str) -> Path | None:
    """Keep rows under ``home/quarantine/<name>``; the same rows are kept once, however often they come.

    Parameters
    ----------
    rows : the user's columns and ``reason``.
    name : the dataset.

    Returns
    -------
    The folder; None if there is nothing to keep.
    """
    if rows.is_empty():
        return None
    folder = _folder(home, name)
    ids = _row_ids(rows)
    new = rows.select(pl.Series(ROW_ID, ids), pl.all())
    new = new.filter(~pl.col(ROW_ID).is_in(_kept_ids(folder)))
    if new.height:
        _write(new, folder, "kept")
    return folder


def load_quarantine(home: Path, name: str) -> pl.DataFrame:
    """The rows still set aside: ``row_id``, the user's columns, ``reason``; no columns if there never were any."""
    folder = _folder(home, name)
    kept = _read_all(folder, _KEPT)
    released = _read_all(folder, _RELEASED)
    if kept.is_empty() or released.is_empty():
        return kept
    return kept.filter(~pl.col(ROW_ID).is_in(released[ROW_ID].implode()))


def release_rows(
    home: Path, name: str, ids: Iterable[str], corrections: Mapping[str, Mapping[str, Any]] | None = None
) -> pl.DataFrame:
    """Release rows from quarantine, corrected.

    Parameters
    ----------
    ids : ``row_id`` of the rows.
    corrections : per ``row_id`` the new values of its columns.

    Returns
    -------
    The rows in the user's columns, to be put back into the table; they are kept on record and `with_released` adds
    them to later readings.

    Raises
    ------
    UsageError : an id that is not in quarantine, or a correction of a column that does not exist or of another type.
    """
    ids, corrections = list(dict.fromkeys(ids)), dict(corrections or {})
    waiting = load_quarantine(home, name)
    known = waiting[ROW_ID].to_list() if ROW_ID in waiting.columns else []
    unknown = [item for item in (*ids, *corrections) if item not in set(known) or item not in ids]
    if unknown:
        raise UsageError(
            f"row {unknown[0]!r} is not in quarantine, or not among those to release.\n  where: {name}\n  fix:   "
            f"{nearest(unknown[0], known[:20])}"
        )
    chosen = waiting.filter(pl.col(ROW_ID).is_in(ids))
    corrected = _corrected(chosen, corrections)
    if corrected.height:
        _write(corrected, _folder(home, name), "released")
    return corrected.drop(ROW_ID, REASON)


def load_released(home: Path, name: str) -> pl.DataFrame:
    """Every row released so far, as corrected, in the user's columns."""
    released = _read_all(_folder(home, name), _RELEASED)
    return released.drop(ROW_ID, REASON, strict=False)


def with_released(table: Table, home: Path) -> Table:
    """The table with the rows that were released from its quarantine; their uncorrected twins are set aside again.

    Raises
    ------
    DataError : the columns of the table have changed since.
    """
    released = load_released(home, table.spec.name)
    if released.is_empty():
        return table
    renamed = f"{REASON} (yours)"
    if renamed in released.columns:
        released = released.rename({renamed: REASON})
    try:
        frame = pl.concat([table.frame, released.select(table.frame.columns).cast(pl.Schema(table.frame.schema))])
    except pl.exceptions.PolarsError as error:
        where = f"{_folder(home, table.spec.name)}"
        raise DataError(
            Problem(f"released rows do not fit the table: {error}", where, "remove or correct them")
        ) from error
    note = f"{released.height} rows released from quarantine were added"
    return replace(table, frame=frame, notes=(*table.notes, note))


def _folder(home: Path, name: str) -> Path:
    """The folder of a dataset; a name that is no plain file name is spelled safely and made unique by a hash."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or "dataset"
    if safe != name:
        safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return Path(home) / "quarantine" / safe


def _row_ids(rows: pl.DataFrame) -> list[str]:
    """A stable id per row from its content; equal rows are numbered."""
    lines = rows.select(pl.all().cast(pl.String, strict=False)).write_ndjson().splitlines()
    seen: Counter[str] = Counter()
    ids = []
    for line in lines:
        seen[line] += 1
        ids.append(hashlib.sha256(f"{seen[line]} {line}".encode()).hexdigest()[:12])
    return ids


def _kept_ids(folder: Path) -> list[str]:
    kept = _read_all(folder, _KEPT)
    return kept[ROW_ID].to_list() if kept.height else []


def _read_all(folder: Path, pattern: str) -> pl.DataFrame:
    frames = [pl.read_parquet(path) for path in sorted(folder.glob(pattern))]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def _write(rows: pl.DataFrame, folder: Path, kind: str) -> None:
    """Write a batch under a name made from its content, whole or not at all."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    name = hashlib.sha256("".join(rows[ROW_ID].to_list()).encode()).hexdigest()[:12]
    path, draft = folder / f"{kind}-{name}.parquet", folder / f".{kind}-{name}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(buffer.getvalue())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise DataError(
            Problem(f"the rows cannot be kept: {error}", str(folder), "free some space, or choose another home")
        ) from error


def _corrected(rows: pl.DataFrame, corrections: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    columns = [name for name in rows.columns if name not in (ROW_ID, REASON)]
    changed = rows
    for name in dict.fromkeys(name for values in corrections.values() for name in values):
        if name not in columns:
            raise UsageError(f"there is no column {name!r}.\n  where: corrections\n  fix:   {nearest(name, columns)}")
        new = {row: values[name] for row, values in corrections.items() if name in values}
        values = _typed(list(new.values()), rows.schema[name], name)
        replaced = pl.col(ROW_ID).replace_strict(
            list(new), values, default=pl.col(name), return_dtype=rows.schema[name]
        )
        changed = changed.with_columns(replaced.alias(name))
    return changed


def _typed(values: list[Any], dtype: pl.DataType, name: str) -> pl.Series:
    try:
        if dtype == pl.Date:
            values = [dt.date.fromisoformat(value) if isinstance(value, str) else value for value in values]
        elif dtype == pl.String:
            values = [None if value is None else str(value) for value in values]
        elif dtype.is_float():
            values = [None if value is None else float(value) for value in values]
        return pl.Series(name, values, dtype=None if dtype == pl.Null else dtype, strict=True)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{error}.\n  where: corrections of {name}\n  fix:   give values of type {dtype}") from error
