"""A model version on disk: one self-contained folder that needs no pickle and shows every change.

bundle.json    what it is (`foretail.registry.info.BundleInfo`), and the sha256 of every other file
model/         family.json and whatever `Forecaster.save` wrote
calibration/   arrays.npz: what turns point forecasts into intervals
panel/         the sales it learned from, to forecast again without the original table
levels/        models of the levels above the series, where it has some (`foretail.registry.levels`)
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, MissingExtraError, RegistryError
from foretail.models.contract import Forecaster
from foretail.models.families import family_class
from foretail.panel.panel import Panel
from foretail.panel.snapshot import read_panel, write_panel
from foretail.registry.info import BundleInfo
from foretail.registry.levels import Levels, read_levels, write_levels

__all__ = ["Bundle", "bundle_digest", "load_model", "read_bundle", "read_info", "save_model", "write_bundle"]

FORMAT = 1
_DESCRIPTION = "bundle.json"
_REMADE = "train the model again, or fetch the version again from the registry"


@dataclass(frozen=True)
class Bundle:
    """A model version.

    Attributes
    ----------
    info : how it was made and how good it is.
    model : the fitted forecaster.
    panel : what it was fitted on.
    calibration : named arrays of the intervals; empty for a model that needs none.
    levels : of the hierarchy; None for a version without one.
    """

    info: BundleInfo
    model: Forecaster
    panel: Panel
    calibration: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    levels: Levels | None = None


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write a bundle; it appears whole, by one rename, or not at all.

    Raises
    ------
    RegistryError : the folder exists and is not empty (a version never changes), or the disk refuses.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RegistryError(f"a bundle is never overwritten.\n  where: {folder}\n  fix:   another folder")
    fresh = folder.absolute().parent / f".{folder.name}-{secrets.token_hex(6)}"
    try:
        fresh.mkdir(parents=True)
        _write(fresh, bundle)
        fresh.rename(folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RegistryError(
            f"the bundle cannot be written: {error}\n  where: {folder}\n"
            "  fix:   free some space, or another folder that is yours"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle, after checking that it is whole.

    Raises
    ------
    RegistryError : a file is missing, changed or unknown, or cannot be loaded; the message names it.
    MissingExtraError : a package that the model needs is not installed.
    """
    folder = Path(folder)
    info = read_info(folder)
    _check_files(folder, _description(folder)["files"])
    model = load_model(folder / "model")
    try:
        panel = read_panel(folder / "panel")
        calibration = _read_arrays(folder / "calibration")
        levels = read_levels(folder / "levels", load_model)
    except (DataError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _unloadable(folder, info.code_version, error) from error
    return Bundle(info, model, panel, calibration, levels)


def read_info(folder: Path) -> BundleInfo:
    """Read only what a bundle says about itself; its files are neither loaded nor checked.

    Raises
    ------
    RegistryError : no bundle, or not one that this foretail understands.
    """
    folder = Path(folder)
    return BundleInfo.from_dict(_description(folder)["info"], where=str(folder / _DESCRIPTION))


def bundle_digest(folder: Path) -> str:
    """The sha256 that stands for the whole bundle (its description holds those of its files)."""
    return _sha256(Path(folder) / _DESCRIPTION)


def save_model(folder: Path, family: str, model: Forecaster) -> None:
    """Save a forecaster with the name of its family into an empty folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    (folder / "family.json").write_text(json.dumps({"family": family}) + "\n", encoding="utf-8")


def load_model(folder: Path) -> Forecaster:
    """Load a forecaster that `save_model` saved.

    Raises
    ------
    RegistryError : it cannot be loaded.
    UsageError, MissingExtraError : a family that this installation does not have.
    """
    try:
        family = json.loads((folder / "family.json").read_text(encoding="utf-8"))["family"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unloadable(folder, "", error) from error
    found = family_class(family)
    try:
        return found.load(folder)
    except MissingExtraError:  # nothing is wrong with the bundle
        raise
    except Exception as error:  # a family may fail on a damaged file in any way of its own
        raise _unloadable(folder, "", error) from error


def _write(folder: Path, bundle: Bundle) -> None:
    save_model(folder / "model", bundle.info.tree.family, bundle.model)
    (folder / "calibration").mkdir()
    np.savez(folder / "calibration" / "arrays.npz", allow_pickle=False, **dict(bundle.calibration))
    (folder / "panel").mkdir()
    write_panel(bundle.panel, folder / "panel")
    if bundle.levels is not None:
        write_levels(folder / "levels", bundle.levels, save_model)
    files = {path.relative_to(folder).as_posix(): _sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    description = {"format": FORMAT, "info": bundle.info.to_dict(), "files": files}
    text = json.dumps(description, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def _read_arrays(folder: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _description(folder: Path) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RegistryError(
            f"not a bundle: no {_DESCRIPTION}\n  where: {folder}\n  fix:   give the folder that train wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise RegistryError(f"the bundle cannot be read: {error}\n  where: {path}\n  fix:   {_REMADE}") from error
    if not isinstance(values, dict) or not isinstance(values.get("info"), dict) or not _is_hashes(values.get("files")):
        raise RegistryError(f"not the description of a bundle.\n  where: {path}\n  fix:   {_REMADE}")
    if values.get("format") != FORMAT:
        raise RegistryError(
            f"a bundle of format {values.get('format')}, this foretail reads format {FORMAT}.\n  where: {path}\n"
            "  fix:   use the foretail that wrote it, or train the model again"
        )
    return values


def _is_hashes(files: Any) -> bool:
    return isinstance(files, dict) and all(isinstance(digest, str) for digest in files.values())


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Compare the folder with the list of its files; every difference is told at once."""
    outside = [name for name in files if not _is_inside(name)]
    if outside:
        raise RegistryError(f"a bundle lists a file outside itself.\n  where: {outside[0]!r}\n  fix:   do not trust it")
    found = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_symlink() or path.is_file()
    }
    del found[_DESCRIPTION]
    missing = [f"missing {name}" for name in files if name not in found]
    unknown = [f"unknown {name}" for name in found if name not in files]
    links = [f"link {name}" for name, path in found.items() if path.is_symlink()]
    changed = [
        f"changed {name}"
        for name, path in found.items()
        if name in files and not path.is_symlink() and _sha256(path) != files[name]
    ]
    wrong = [*missing, *unknown, *links, *changed]
    if wrong:
        more = f", … ({len(wrong)})" if len(wrong) > 5 else ""
        raise RegistryError(
            f"the bundle is not what was written.\n  where: {folder}: {', '.join(wrong[:5])}{more}\n  fix:   {_REMADE}"
        )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unloadable(folder: Path, code_version: str, error: Exception) -> RegistryError:
    by = f" (written by foretail {code_version})" if code_version else ""
    return RegistryError(
        f"the bundle cannot be loaded{by}: {type(error).__name__}: {error}\n  where: {folder}\n  fix:   {_REMADE}"
    )
