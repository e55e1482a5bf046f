"""doctor: what is installed, what answers, what is missing and how to get it. It changes nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from foretail.core.settings import Settings

__all__ = ["Diagnosis", "Sign", "diagnose"]

_IMPORT_NAMES = {"mlflow-skinny": "mlflow", "pytest-xdist": "xdist", "import-linter": "importlinter"}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[.*\])?(?:>=(?P<floor>[\d.]+))?(?:.*extra == ['\"](?P<extra>[\w-]+))?")
_TIMEOUT_S = 3.0
_LAYOUTS = ("walmart", "rossmann", "online_retail")
_GIB = 2**30


@dataclass(frozen=True)
class Sign:
    """One thing looked at.

    Attributes
    ----------
    group : ``machine``, ``core``, an extra (``s3``, …), or ``stores``.
    name : what was looked at.
    state : ``ok``, ``missing`` (optional, or made when first needed) or ``broken`` (the core needs it).
    found : the version, size or address found, or why not; passwords are masked.
    fix : what to do when it is not ok; "" otherwise.
    """

    group: str
    name: str
    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Everything looked at, in reading order."""

    signs: tuple[Sign, ...]

    @property
    def is_healthy(self) -> bool:
        """Nothing that the core needs is broken."""
        return all(sign.state != "broken" for sign in self.signs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"healthy": self.is_healthy, "signs": [asdict(sign) for sign in self.signs]}


def diagnose(settings: Settings) -> Diagnosis:
    """Look at the machine, the packages and the stores of the settings.

    Nothing is created: an embedded store that is not there yet is said to be made at the first run.
    """
    return Diagnosis((*_machine(), *_packages(), *_stores(settings)))


def _machine() -> Iterator[Sign]:
    version = platform.python_version()
    is_new = sys.version_info >= (3, 11)
    yield Sign("machine", "python", "ok" if is_new else "broken", version, "" if is_new else "Python 3.11 or later")
    yield Sign("machine", "system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Sign("machine", "cores", "ok", str(os.cpu_count() or 1))
    yield _memory()


def _memory() -> Sign:
    try:
        import psutil
    except ImportError as error:
        return Sign("machine", "memory", "broken", str(error), "pip install psutil")
    memory = psutil.virtual_memory()
    found = f"{memory.total / _GIB:.1f} GiB, {memory.available / _GIB:.1f} GiB free"
    return Sign("machine", "memory", "ok", found)


def _packages() -> Iterator[Sign]:
    """Core packages are imported, since one that is installed may still not load; of extras the version is read."""
    for text in importlib.metadata.requires("foretail") or ():
        match = _REQUIREMENT.match(text)
        if match is None:
            continue
        name, extra = match["name"], match["extra"]
        yield _package(name, match["floor"] or "", extra) if extra else _core_package(name, match["floor"] or "")


def _package(name: str, floor: str, extra: str) -> Sign:
    group, install = extra or "core", f"pip install 'foretail[{extra}]'" if extra else f"pip install '{name}>={floor}'"
    wrong = "missing" if extra else "broken"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Sign(group, name, wrong, "not installed", install)
    if _numbers(version) < _numbers(floor):
        return Sign(group, name, wrong, f"{version}, older than {floor}", install)
    return Sign(group, name, "ok", version)


def _core_package(name: str, floor: str) -> Sign:
    sign = _package(name, floor, "")
    if sign.state != "ok":
        return sign
    module = _IMPORT_NAMES.get(name, name.replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:
        # whatever a package does at import, a missing system library included, is the answer asked for
        reason = f"{sign.found}, but it does not load: {error}"
        return Sign("core", name, "broken", reason, f"pip install --force-reinstall '{name}>={floor}'")
    return sign


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.4.1rc1`` -> (2, 4, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[a-z+]", version, maxsplit=1)[0]))


def _stores(settings: Settings) -> Iterator[Sign]:
    yield _home(settings.home)
    yield _tracking(settings.tracking_uri)
    yield _warehouse(settings.warehouse)
    yield _data(settings.data)


def _home(home: Path) -> Sign:
    path = home.absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        fix = "--home DIR or FORETAIL_HOME, a folder that can be written"
        return Sign("stores", "home", "broken", f"{path} cannot be written", fix)
    free = shutil.disk_usage(existing).free / _GIB
    made = "" if path.exists() else ", made at the first run"
    return Sign("stores", "home", "ok", f"{path}, {free:.1f} GiB free{made}")


def _tracking(uri: str) -> Sign:
    if uri.startswith(("http://", "https://")):
        return _http(uri)
    return _database("tracking", uri, "FORETAIL_TRACKING_URI")


def _http(uri: str) -> Sign:
    """Whether an MLflow server answers at its health address."""
    shown = re.sub(r"//[^/@]*@", "//", uri)  # no name, no password: health needs none
    try:
        with urlopen(shown.rstrip("/") + "/health", timeout=_TIMEOUT_S) as answer:  # noqa: S310  (http or https only)
            return Sign("stores", "tracking", "ok", f"{shown} answers {answer.status}")
    except (OSError, HTTPException, ValueError) as error:
        fix = "start the server, or correct FORETAIL_TRACKING_URI"
        return Sign("stores", "tracking", "broken", f"{shown} does not answer: {error}", fix)


def _warehouse(url: str) -> Sign:
    return _database("warehouse", url, "FORETAIL_WAREHOUSE")


def _database(name: str, url: str, variable: str) -> Sign:
    """Whether a database answers; a SQLite file that is not there yet is not created."""
    try:
        from sqlalchemy import create_engine, inspect, make_url
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        return Sign("stores", name, "broken", str(error), "pip install sqlalchemy")
    try:
        parsed = make_url(url)
        shown = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).exists():
            return Sign("stores", name, "ok", f"{shown}, made at the first run")
        engine = create_engine(parsed)
        try:
            inspect(engine).get_table_names()  # a file that is no database is found out only by reading it
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        reason = " ".join(str(error).split("\n", maxsplit=1)[0].split())
        return Sign("stores", name, "broken", f"does not answer: {reason}", f"start it, or correct {variable}")
    return Sign("stores", name, "ok", f"{shown} answers")


def _data(folder: Path | None) -> Sign:
    fix = "--data DIR or FORETAIL_DATA, a folder that holds walmart/, rossmann/ or online_retail/"
    if folder is None:
        return Sign("stores", "data", "missing", "no folder of known layouts is set", fix)
    held = [name for name in _LAYOUTS if (folder / name).is_dir()]
    if not held:
        return Sign("stores", "data", "missing", f"{folder} holds none of the known layouts", fix)
    return Sign("stores", "data", "ok", f"{folder}: {', '.join(held)}")
