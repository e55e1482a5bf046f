"""Parquet behind a feature view, local or at any fsspec address: read by column and time; broken files are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs

from foretail.core.errors import DataError, Problem
from foretail.features.offline.scan import (
    ALL_TIME,
    BATCH_ROWS,
    Columns,
    Span,
    as_polars,
    check_columns,
    shaped,
    within,
)

__all__ = ["ParquetSource"]

_VALUES_AT_ONCE = 1 << 24  # of the features read at a time: 128 MiB of doubles
_SECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_INT64 = 2**63


@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file, a folder of them (hive partitions become columns) or a glob.

    Attributes
    ----------
    view : feature view that reads it, for messages.
    uri : path or fsspec address.
    storage : options of the file system, e.g. keys and endpoint of S3.
    """

    view: str
    uri: str
    storage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.view}, {self.uri}"

    def schema(self) -> pl.Schema:
        """Columns and types, those of hive partitions included.

        Raises
        ------
        DataError : nothing there, or a file that is not Parquet.
        """
        return self._open().schema

    def n_rows(self) -> int:
        """Rows according to the footers."""
        return self._open().count()

    def read(self, columns: Columns, span: Span = ALL_TIME) -> pl.DataFrame:
        """Rows of a span, only the columns asked for; row groups outside the span are not read.

        Raises
        ------
        DataError : a column or a file is missing, a part is broken or lacks a column, or a file was replaced
            while it was read.
        """
        files = self._open()
        names = files.check(columns)
        table = files.table(files.dataset, names, files.filter(columns.timestamp, span))
        files.check_unchanged()
        return within(shaped(as_polars(table), columns, self.where), span)

    def read_split(
        self, index: Columns, features: Columns, span: Span = ALL_TIME
    ) -> tuple[pl.DataFrame, Iterator[pl.DataFrame]]:
        """Rows of the row groups that can hold a span: keys and times now, features when the iterator is asked.

        Raises
        ------
        DataError : as `read`, also while the features are read.
        """
        files = self._open()
        files.check(index)
        files.check(features)
        parts = files.parts(files.filter(index.timestamp, span))
        return files.shaped(parts, index), self._in_turn(files, parts, features)

    def _in_turn(self, files: _Files, parts: list[ds.Fragment], features: Columns) -> Iterator[pl.DataFrame]:
        wanted = features.wanted or ()
        at_once = max(1, _VALUES_AT_ONCE // max(1, sum(files.guard(part.count_rows) for part in parts)))
        for start in range(0, len(wanted), at_once):
            yield files.shaped(parts, Columns(wanted[start : start + at_once]))

    def batches(self, columns: Columns, span: Span = ALL_TIME) -> Iterator[pl.DataFrame]:
        """The same rows some row groups at a time, so that memory does not grow with the file.

        Raises
        ------
        DataError : as `read`.
        """
        files = self._open()
        names = files.check(columns)
        wanted = files.filter(columns.timestamp, span)
        yield shaped(as_polars(files.dataset.schema.empty_table().select(names)), columns, self.where)
        for piece in files.pieces(wanted):
            table = files.table(piece, names, wanted)
            yield from within(shaped(as_polars(table), columns, self.where), span).iter_slices(BATCH_ROWS)
        files.check_unchanged()

    def _open(self) -> _Files:
        return _Files.of(self)


@dataclass(frozen=True)
class _Files:
    """The files of a source as they were when it was opened."""

    source: ParquetSource
    filesystem: Any
    marks: dict[str, object]
    dataset: ds.Dataset
    schema: pl.Schema

    @classmethod
    def of(cls, source: ParquetSource) -> _Files:
        filesystem, path = fsspec.core.url_to_fs(source.uri, **source.storage)
        paths = _listed(filesystem, path, source)
        marks = {name: _mark(filesystem, name) for name in paths}
        is_folder = paths != [path]
        try:
            dataset = ds.dataset(
                paths,
                format=_parquet(filesystem),
                filesystem=_arrow_filesystem(filesystem),
                partitioning="hive" if is_folder else None,
                partition_base_dir=path if is_folder and "*" not in path else None,
            )
        except (OSError, pa.ArrowException) as error:
            raise _broken(source, paths[0], error) from error
        schema = pl.Schema(as_polars(dataset.schema.empty_table()).schema)
        return cls(source, filesystem, marks, dataset, schema)

    def count(self) -> int:
        return sum(self.guard(part.count_rows) for part in self.dataset.get_fragments())

    def check(self, columns: Columns) -> list[str]:
        """The columns to read, after every part was found to hold them in the type of the first."""
        names = columns.physical(self.schema)
        check_columns(self.schema, names, columns, self.source.where)
        types = {name: self.dataset.schema.field(name).type for name in names}
        for part in self.dataset.get_fragments():
            held = self.guard(partial(getattr, part, "physical_schema"), part.path)
            inside = ds.get_partition_keys(part.partition_expression)
            problems = [
                problem
                for name, dtype in types.items()
                if name not in inside and (problem := _part_problem(name, dtype, held, self.source.view, part.path))
            ]
            if problems:
                raise DataError(problems)
        return names

    def parts(self, wanted: ds.Expression | None) -> list[ds.Fragment]:
        """The files, each without the row groups that can hold no wanted rows."""
        parts = list(self.dataset.get_fragments(filter=wanted))
        if wanted is None:
            return parts
        return [self.guard(partial(part.subset, wanted, self.dataset.schema), part.path) for part in parts]

    def shaped(self, parts: list[ds.Fragment], columns: Columns) -> pl.DataFrame:
        """All rows of some parts, in order, with their times in microseconds."""
        names, schema = columns.physical(self.schema), self.dataset.schema
        tables = [self.table(part, names, None) for part in parts]
        self.check_unchanged()
        table = pa.concat_tables(tables) if tables else schema.empty_table().select(names)
        return shaped(as_polars(table), columns, self.source.where)

    def table(self, rows: ds.Dataset | ds.Fragment, names: list[str], wanted: ds.Expression | None) -> pa.Table:
        """Some columns of the whole or of a part."""
        options = {"columns": names, "filter": wanted, "memory_pool": _memory()}
        if isinstance(rows, ds.Fragment):
            return self.guard(partial(rows.to_table, self.dataset.schema, **options), str(rows.path))
        return self.guard(partial(rows.to_table, **options))

    def pieces(self, wanted: ds.Expression | None) -> Iterator[ds.Fragment]:
        """Row groups that can hold wanted rows, neighbours together up to a batch."""
        for part in self.dataset.get_fragments(filter=wanted):
            groups, n_rows = [], 0
            for group in self.guard(partial(part.split_by_row_group, wanted, self.dataset.schema), part.path):
                groups.append(group.row_groups[0].id)
                n_rows += group.row_groups[0].num_rows
                if n_rows >= BATCH_ROWS:
                    yield part.subset(row_group_ids=groups)
                    groups, n_rows = [], 0
            if groups:
                yield part.subset(row_group_ids=groups)

    def filter(self, timestamp: str | None, span: Span) -> ds.Expression | None:
        """The span in the type of the time column, never narrower than asked; texts cannot be pruned."""
        if timestamp is None or span == ALL_TIME:
            return None
        dtype, column, bounds = self.dataset.schema.field(timestamp).type, ds.field(timestamp), []
        # source times are rounded up to a microsecond: those just before the first one still count as it
        since, until = _literal(span.since, dtype, early=True), _literal(span.until, dtype)
        if since is not None:
            bounds.append(column >= since)
        if until is not None:
            bounds.append(column <= until)
        return None if not bounds else bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]

    def guard(self, work: Callable[[], Any], path: str | None = None) -> Any:
        """What a read gives back; a failed one is told apart: replaced meanwhile, or broken, and which file.

        Raises
        ------
        DataError : always in place of the library's own error.
        """
        try:
            return work()
        except (OSError, pa.ArrowException) as error:
            self.check_unchanged()
            raise _broken(self.source, path or self._first_broken(), error) from error

    def check_unchanged(self) -> None:
        """Refuse rows that may be half of an old file and half of a new one.

        Raises
        ------
        DataError : a file was replaced, removed or written to since it was opened.
        """
        self.filesystem.invalidate_cache()
        changed = [name for name, mark in self.marks.items() if _mark(self.filesystem, name) != mark]
        if changed:
            raise DataError(
                Problem(
                    f"{len(changed)} of {len(self.marks)} files changed while they were read",
                    f"{self.source.view}, {changed[0]}",
                    "run it again once the writer has finished",
                )
            )

    def _first_broken(self) -> str:
        for part in self.dataset.get_fragments():
            try:
                for batch in part.to_batches(batch_size=BATCH_ROWS):
                    del batch
            except (OSError, pa.ArrowException):
                return str(part.path)
        return self.source.uri


def _listed(filesystem: Any, path: str, source: ParquetSource) -> list[str]:
    filesystem.invalidate_cache()
    if "*" in path:
        found = filesystem.glob(path)
    elif filesystem.isdir(path):
        found = [name for name in filesystem.find(path) if name.endswith((".parquet", ".pq"))]
    else:
        found = [path] if filesystem.exists(path) else []
    shown = sorted(name for name in found if not name.rpartition("/")[2].startswith((".", "_")))
    if not shown:
        raise DataError(
            Problem("no Parquet file to read", source.where, "write the features first, or check the source's path")
        )
    return shown


def _mark(filesystem: Any, path: str) -> object:
    """What changes when a file does: inode, size and time of a local one, else what the store tells (ETag, time)."""
    if _is_local(filesystem):
        try:
            stat = Path(path).stat()
        except OSError:
            return None
        return (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    try:
        return filesystem.ukey(path)
    except FileNotFoundError:
        return None


def _arrow_filesystem(filesystem: Any) -> pa_fs.FileSystem:
    if _is_local(filesystem):
        return pa_fs.LocalFileSystem()
    return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(filesystem))


def _memory() -> pa.MemoryPool:
    """Memory for columns that are soon let go of; of Arrow's allocators jemalloc gives them back soonest."""
    return pa.jemalloc_memory_pool() if "jemalloc" in pa.supported_memory_backends() else pa.default_memory_pool()


def _parquet(filesystem: Any) -> ds.ParquetFileFormat:
    """Reading ahead pays over a network only; on a disk it holds every compressed column beside the read ones."""
    return ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=not _is_local(filesystem))
    )


def _is_local(filesystem: Any) -> bool:
    return "file" in ((filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol)


def _part_problem(name: str, dtype: pa.DataType, held: pa.Schema, view: str, path: str) -> Problem | None:
    where = f"{view}, {path}"
    if name not in held.names:
        return Problem(f"a part has lost column {name!r}", where, f"write it again with {name!r} of type {dtype}")
    other = held.field(name).type
    if _kind(other) == _kind(dtype):
        return None
    return Problem(f"a part holds column {name!r} as {other}", where, f"write it again as {dtype}, as the first part")


def _kind(dtype: pa.DataType) -> object:
    """Types that are read as one: whole numbers of any width, and text in any form."""
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    if pa.types.is_integer(dtype):
        return "integer"
    if pa.types.is_floating(dtype):
        return "float"
    if pa.types.is_timestamp(dtype):
        return ("timestamp", dtype.tz is None)
    return "text" if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) else dtype


def _literal(instant: int | None, dtype: pa.DataType, *, early: bool = False) -> pa.Scalar | None:
    """An instant in the type of a column, rounded down to its unit; None where that cannot be said."""
    if instant is None:
        return None
    if pa.types.is_date(dtype):
        return pa.scalar(instant // 86_400_000_000, pa.int32()).cast(pa.date32())
    if not pa.types.is_timestamp(dtype):
        return None
    value = instant * 1000 - 999 * early if dtype.unit == "ns" else instant // _SECONDS[dtype.unit]
    return pa.scalar(value, pa.int64()).cast(dtype) if -_INT64 <= value < _INT64 else None


def _broken(source: ParquetSource, path: str, error: Exception) -> DataError:
    return DataError(
        Problem(f"a file cannot be read: {error}", f"{source.view}, {path}", "write this file again from its origin")
    )
