"""Writes the files of a run all or none: a reader finds the previous run or the new one, never half of either."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from foretail.core.errors import ForetailError, UsageError

__all__ = ["Writer", "write_outputs"]

Writer = Callable[[Path], object]

_PREFIX = ".foretail-partial-"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def write_outputs(out: Path, files: Mapping[str, Writer]) -> None:
    """Write a folder of files, or leave everything as it was.

    All files are written into a hidden folder first. A new ``out`` then appears by one rename; in an ``out`` that is
    already there each file replaces its predecessor by a rename, and whatever goes wrong on the way (Ctrl-C included)
    puts the predecessors back. Other files in ``out`` are left alone.

    Parameters
    ----------
    out : the folder; made with its parents if it is not there.
    files : ``{file name: function that writes to the path it is given}``, written in this order.

    Raises
    ------
    UsageError : no space left, no permission, ``out`` is a file, or a name that is not a plain file name.
    """
    out = Path(out)
    _check_names(files)
    try:
        _write(out, files)
    except ForetailError:
        raise
    except Exception as error:
        told = _explained(error, out)
        if told is None:
            raise
        raise told from error


def _check_names(files: Mapping[str, Writer]) -> None:
    bad = [name for name in files if not name or Path(name).name != name or name == ".." or name.startswith(_PREFIX)]
    if bad:
        raise UsageError(f"not a plain file name: {bad[0]!r}.\n  where: the outputs\n  fix:   a name without /")


def _write(out: Path, files: Mapping[str, Writer]) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"the output folder is a file.\n  where: {out}\n  fix:   --out another folder")
    exists = out.is_dir()
    parent = out if exists else out.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    fresh = parent / f"{_PREFIX}{secrets.token_hex(8)}"
    try:
        fresh.mkdir()
        for name, write in files.items():
            write(fresh / name)
            _flush(fresh / name)
        if exists:
            _replace(out, fresh, files)
        else:
            fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _flush(path: Path) -> None:
    """Ask the disk to take the bytes now: a full disk must show before anything is replaced."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(out: Path, fresh: Path, files: Mapping[str, Writer]) -> None:
    previous = fresh / "previous"
    previous.mkdir()
    try:
        for name in files:
            if (out / name).exists():
                _keep(out / name, previous / name)
            (fresh / name).replace(out / name)
    except BaseException:
        _put_back(out, fresh, previous, files)
        raise


def _keep(file: Path, copy: Path) -> None:
    """Hold on to the predecessor while readers still find it; move it where the disk knows no second names."""
    if file.is_dir():
        raise UsageError(f"a folder stands where a file of the run goes.\n  where: {file}\n  fix:   move it, or --out")
    try:
        copy.hardlink_to(file)
    except OSError:
        file.rename(copy)


def _put_back(out: Path, fresh: Path, previous: Path, files: Mapping[str, Writer]) -> None:
    for name in files:
        if not (fresh / name).exists():
            (out / name).unlink(missing_ok=True)
        if (previous / name).exists():
            (previous / name).replace(out / name)


def _explained(error: BaseException, out: Path) -> UsageError | None:
    """The three-part message of a disk that refuses; None for any other error."""
    if _is_full(error):
        return UsageError(
            f"no space left on the disk; nothing was changed.\n  where: {out}\n"
            "  fix:   free some space there, or --out a folder on another disk"
        )
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return UsageError(f"the output folder cannot be written.\n  where: {out}\n  fix:   --out a folder of yours")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return UsageError(f"part of the output folder's path is a file.\n  where: {out}\n  fix:   --out another folder")
    return None


def _is_full(error: BaseException | None) -> bool:
    while error is not None:
        # libraries that write by themselves keep the words, not always the number
        if getattr(error, "errno", None) in _NO_SPACE or "no space left on device" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False
