"""Rows added to Parquet: a reader sees the old rows or the old and the new ones, never half of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from foretail.core.errors import DataError, Problem, nearest
from foretail.features.offline.parquet import ParquetSource

__all__ = ["add_logs", "append"]


def append(source: ParquetSource, table: pa.Table) -> None:
    """Add rows to a Parquet file, as a new file that takes its place, or to a folder, as a part of its own.

    What is not there yet is made: a file if the path ends in ``.parquet``.

    Raises
    ------
    DataError : other columns than those that are there, values that do not fit their types, a file that is broken or
        changed meanwhile, or a full disk.
    """
    filesystem, path = fsspec.core.url_to_fs(source.uri, **source.storage)
    try:
        _append(filesystem, path, table, source)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            Problem(
                f"rows could not be added: {error}",
                source.where,
                "nothing was changed; free space on the disk, or write the file again from its origin if it is broken",
            )
        ) from error


def _append(filesystem: Any, path: str, table: pa.Table, source: ParquetSource) -> None:
    if not filesystem.exists(path):
        target = path if path.endswith(".parquet") else _part(path)
        _write(filesystem, target, table.schema, [table])
    elif filesystem.isdir(path):
        schema = _schema_of_folder(filesystem, path)
        _write(filesystem, _part(path), schema, [_fitting(table, schema, source)])
    else:
        _rewrite(filesystem, path, table, source)


def add_logs(target: ParquetSource, data: pa.Table | Path, partition_by: Sequence[str] | None) -> None:
    """Add logged rows to a folder, each batch in files of its own.

    Parameters
    ----------
    data : the rows, or a folder of Parquet that holds them.
    partition_by : columns that become folders.
    """
    table = pq.read_table(data) if isinstance(data, Path) else data
    filesystem, path = fsspec.core.url_to_fs(target.uri, **target.storage)
    ds.write_dataset(
        table,
        path,
        format="parquet",
        filesystem=filesystem,
        basename_template=f"{secrets.token_hex(16)}-{{i}}.parquet",
        partitioning=list(partition_by) if partition_by else None,
        partitioning_flavor="hive" if partition_by else None,
        existing_data_behavior="overwrite_or_ignore",
    )


def _rewrite(filesystem: Any, path: str, table: pa.Table, source: ParquetSource) -> None:
    before = filesystem.ukey(path)
    with filesystem.open(path, "rb") as file:
        held = pq.ParquetFile(file)
        new = _fitting(table, held.schema_arrow, source)

        def rows() -> Iterator[pa.Table]:
            for group in range(held.num_row_groups):
                yield held.read_row_group(group)
            yield new

        try:
            _write(filesystem, path, held.schema_arrow, rows(), before)
        except (OSError, pa.ArrowException):
            _check_same(filesystem, path, before)
            raise


def _write(filesystem: Any, path: str, schema: pa.Schema, tables: Any, before: str | None = None) -> None:
    """Write beside the target, then rename; ``before`` is what the target must still be."""
    folder, _, name = path.rpartition("/")
    filesystem.makedirs(folder, exist_ok=True)
    staging = f"{folder}/.{name}.{secrets.token_hex(4)}"
    try:
        with filesystem.open(staging, "wb") as file, pq.ParquetWriter(file, schema) as writer:
            for table in tables:
                writer.write_table(table)
        if before is not None:
            _check_same(filesystem, path, before)
        filesystem.mv(staging, path)
    finally:
        if filesystem.exists(staging):
            filesystem.rm(staging)


def _check_same(filesystem: Any, path: str, before: str) -> None:
    filesystem.invalidate_cache()
    if filesystem.ukey(path) != before:
        raise DataError(
            Problem("the file was changed by another writer", path, "write one after the other: run it again")
        )


def _part(folder: str) -> str:
    return f"{folder.rstrip('/')}/part-{secrets.token_hex(8)}.parquet"


def _schema_of_folder(filesystem: Any, path: str) -> pa.Schema:
    names = sorted(name for name in filesystem.find(path) if name.endswith((".parquet", ".pq")))
    with filesystem.open(names[0], "rb") as file:
        return pq.read_schema(file)


def _fitting(table: pa.Table, schema: pa.Schema, source: ParquetSource) -> pa.Table:
    """The rows in the columns, order and types that are there.

    Raises
    ------
    DataError : names every column that is missing, unknown, or does not fit.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    unknown = [name for name in table.column_names if name not in schema.names]
    where, names = source.where, table.column_names
    problems = [Problem(f"the rows have no column {name!r}", where, nearest(name, names)) for name in missing]
    problems += [Problem(f"the source has no column {name!r}", where, nearest(name, schema.names)) for name in unknown]
    if problems:
        raise DataError(problems)
    columns = []
    for field in schema:
        try:
            columns.append(table.column(field.name).cast(field.type))
        except pa.ArrowException as error:
            fix = f"cast {field.name!r} to {field.type}"
            problems.append(Problem(f"column {field.name!r} does not fit: {error}", source.where, fix))
    if problems:
        raise DataError(problems)
    return pa.Table.from_arrays(columns, schema=schema)
