"""Rows on their way to key partitions: one temporary Arrow file per partition, written as the rows come."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from foretail.core.errors import ForetailError

__all__ = ["Spilled", "partition_of", "read_rows", "spill", "spill_folder"]


@contextmanager
def spill_folder(parent: str | None) -> Iterator[Path]:
    """A temporary folder, gone afterwards whatever happened.

    Raises
    ------
    ForetailError : it cannot be made or written to, e.g. since the disk is full.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="foretail-join-", dir=parent))
        yield folder
    except OSError as error:
        raise ForetailError(
            f"the join cannot keep its temporary files: {error}\n  where: {folder or parent}"
            "\n  fix:   free space there, or name another folder: spill under offline_store in feature_store.yaml"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Spilled:
    """One file of rows."""

    path: str
    n_rows: int


def spill(batches: Iterable[pl.DataFrame], keys: tuple[str, ...], n: int, stem: Path) -> list[Spilled]:
    """Write rows to the partition of their keys, in the order they come.

    Parameters
    ----------
    batches : at least one, if an empty one.
    keys : columns that decide the partition; with none all rows go to the first.
    n : number of partitions.
    stem : path of the files without their number.

    Returns
    -------
    One file per partition, those without rows included.
    """
    files = _Files(n, stem)
    try:
        for batch in batches:
            _write(batch, keys, n, files)
    finally:
        files.close()
    return files.written


def _write(batch: pl.DataFrame, keys: tuple[str, ...], n: int, files: _Files) -> None:
    if n == 1 or not keys:
        files.write(0, batch)
        return
    part = partition_of(batch, keys, n)
    ends = np.cumsum(np.bincount(part, minlength=n)).tolist()
    ordered = batch.select(pl.all().gather(pl.Series(np.argsort(part, kind="stable"))))
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        files.write(number, ordered.slice(start, end - start))


def partition_of(frame: pl.DataFrame, keys: tuple[str, ...], n: int) -> npt.NDArray[np.int16]:
    """Partition of each row, ``[rows]`` 0..n-1; equal keys share one whatever their type and side."""
    mixed = np.zeros(frame.height, dtype=np.uint64)
    for place, key in enumerate(keys):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + _alike(frame[key]).hash(seed=place).to_numpy()
    return ((mixed >> np.uint64(17)) % np.uint64(n)).astype(np.int16)


def read_rows(path: str) -> pl.DataFrame:
    """All rows of one file; read into memory, since a mapped file would count twice."""
    with pa.OSFile(path) as file:
        frame = pl.from_arrow(pa.ipc.open_file(file).read_all())
    assert isinstance(frame, pl.DataFrame)  # noqa: S101  (a table never becomes a series)
    return frame.rechunk()


def _alike(series: pl.Series) -> pl.Series:
    """One type for what counts as equal: numbers are doubles (a few large ones may share a partition), text is text."""
    if series.dtype.is_numeric():
        return series.cast(pl.Float64) + 0.0
    return series.cast(pl.String) if isinstance(series.dtype, pl.Categorical | pl.Enum) else series


class _Files:
    """The files of all partitions."""

    def __init__(self, n: int, stem: Path):
        self._paths = [f"{stem}-{number:05d}.arrow" for number in range(n)]
        self._counts = [0] * n
        self._sinks: list[pa.NativeFile] = []
        self._writers: list[pa.ipc.RecordBatchFileWriter] = []

    @property
    def written(self) -> list[Spilled]:
        return [Spilled(path, count) for path, count in zip(self._paths, self._counts, strict=True)]

    def write(self, number: int, rows: pl.DataFrame) -> None:
        if not self._writers:
            self._open(rows.clear().to_arrow().schema)
        if rows.height:
            self._writers[number].write_table(rows.to_arrow())
            self._counts[number] += rows.height

    def close(self) -> None:
        for item in (*self._writers, *self._sinks):
            item.close()

    def _open(self, schema: pa.Schema) -> None:
        for path in self._paths:
            self._sinks.append(pa.OSFile(path, "wb"))
            self._writers.append(pa.ipc.new_file(self._sinks[-1], schema))
