"""Tables from files: CSV and its relatives, Parquet, on a disk or behind any fsspec URL."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from foretail.core.errors import DataError, MissingExtraError, Problem, nearest
from foretail.sources.delimited import read_delimited
from foretail.sources.parsing import parse_dates, parse_target

__all__ = ["parse_dates", "parse_target", "read_frame"]

_TEXT = (".csv", ".tsv", ".txt")
_PARQUET = (".parquet", ".pq")
_MAGIC = b"PAR1"
# a package that a protocol needs -> the extra of foretail that brings it
_EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3")}


def read_frame(location: str, *, storage_options: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Read a table.

    Parameters
    ----------
    location : a path or an fsspec URL (``s3://``, ``memory://``, ``file://``, …) of CSV (``.csv``, ``.tsv``, ``.txt``,
        each also ``.gz``) or Parquet (``.parquet``, ``.pq``).
    storage_options : passed to fsspec.

    Returns
    -------
    The columns of the file. Codes such as ``007`` stay text, whole numbers stay whole; dates of a CSV stay text until
    `parse_dates` reads them.

    Raises
    ------
    DataError : missing, a directory, empty, header only, not UTF-8, truncated or corrupt, another format than its name
        says.
    MissingExtraError : the protocol needs a package that is not installed.
    """
    data = _read_bytes(location, dict(storage_options or {}))
    if not data:
        raise DataError(Problem("the file is empty (0 bytes)", location, "copy or export it again"))
    name = location.lower().split("?")[0]
    packed = name.endswith(".gz") or data[:2] == b"\x1f\x8b"
    if packed:
        data, name = _unpack(data, location), name.removesuffix(".gz")
    _check_format(data, name, location)
    if data[:4] == _MAGIC:
        return _read_parquet(data, location)
    return read_delimited(data, location)


def _read_bytes(location: str, options: dict[str, Any]) -> bytes:
    protocol = location.partition("://")[0] if "://" in location else ""
    try:
        filesystem, path = fsspec.core.url_to_fs(location if protocol else str(Path(location).expanduser()), **options)
    except ImportError as error:
        package, extra = _EXTRAS.get(protocol, (str(getattr(error, "name", None) or protocol), "s3"))
        raise MissingExtraError(package, extra) from error
    except ValueError as error:
        raise DataError(Problem(f"the address cannot be opened: {error}", location, "check its protocol")) from error
    try:
        return _read_whole(filesystem, path, location)
    except FileNotFoundError as error:
        raise DataError(Problem("no such file", location, _neighbours(location))) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(Problem(f"the file cannot be read: {reason}", location, "check its permissions")) from error
    except Exception as error:
        # every store behind fsspec has errors of its own, e.g. missing credentials; a local disk has none
        if isinstance(error, DataError) or not protocol:
            raise
        fix = f"check the address and the credentials of {protocol}://"
        raise DataError(Problem(f"the file cannot be read: {error}", location, fix)) from error


def _read_whole(filesystem: Any, path: str, location: str) -> bytes:
    if filesystem.isdir(path):
        raise DataError(Problem("a directory was given, not a file", location, "name one CSV or Parquet file"))
    data: bytes = filesystem.cat_file(path)
    return data


def _neighbours(location: str) -> str:
    """The names beside a missing file, as a hint."""
    folder = Path(location).expanduser().parent
    if "://" in location or not folder.is_dir():
        return "check the path"
    names = [
        entry.name for entry in folder.iterdir() if entry.name.lower().removesuffix(".gz").endswith(_TEXT + _PARQUET)
    ]
    return nearest(Path(location).name, sorted(names)[:20]) if names else "check the path"


def _unpack(data: bytes, location: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            Problem(f"the gzip file is truncated or corrupt: {error}", location, "copy or compress it again")
        ) from error


def _check_format(data: bytes, name: str, location: str) -> None:
    suffix = Path(name).suffix
    is_parquet = data[:4] == _MAGIC
    if data[:4] == b"PK\x03\x04" or suffix in (".xlsx", ".xls", ".ods"):
        raise DataError(Problem("a spreadsheet or zip archive cannot be read", location, "save the sheet as CSV"))
    if suffix in _PARQUET and not is_parquet:
        raise DataError(
            Problem(
                "the file is not Parquet though its name says so", location, "rename it to .csv, or export it again"
            )
        )
    if suffix in _TEXT and is_parquet:
        raise DataError(Problem("the file is Parquet though its name says text", location, "rename it to .parquet"))
    if suffix not in ("", *_TEXT, *_PARQUET) and not is_parquet:
        known = ", ".join((*_TEXT, *_PARQUET))
        raise DataError(Problem(f"tables in {suffix!r} files cannot be read", location, f"give one of {known}"))


def _read_parquet(data: bytes, location: str) -> pl.DataFrame:
    if len(data) < 12 or data[-4:] != _MAGIC:
        raise DataError(Problem("the Parquet file is truncated", location, "copy or export it again"))
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise DataError(
            Problem(f"the Parquet file is corrupt: {error}", location, "copy or export it again")
        ) from error
    if frame.is_empty():
        raise DataError(Problem("the table has no rows", location, "export it again with its rows"))
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64))
