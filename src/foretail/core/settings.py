"""Where foretail keeps its things: one frozen object read from a file, then the environment, then flags."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from foretail.core.errors import UsageError, nearest

__all__ = ["Settings"]

_PREFIX = "FORETAIL_"


@dataclass(frozen=True)
class Settings:
    """Locations and limits.

    Attributes
    ----------
    home : folder of the embedded stores (registry, warehouse, snapshots).
    data : folder of the known layouts (`walmart`, `rossmann`, `online-retail`); None if not set.
    tracking_uri : MLflow tracking and registry; ``sqlite:///`` under home by default.
    warehouse : SQLAlchemy URL of the forecast tables; SQLite under home by default. Its password is never shown.
    workers : processes for fits; 0 means one per core.
    execution : where fits run: ``processes``, ``ray``, ``ray://HOST:PORT``, ``HOST:PORT`` or ``ray-jobs://URL``.
    log_format : ``text`` or ``json``.
    """

    home: Path = Path(".foretail")
    data: Path | None = None
    tracking_uri: str = ""
    warehouse: str = ""
    workers: int = 0
    execution: str = "processes"
    log_format: str = "text"

    def __post_init__(self) -> None:
        home = Path(self.home)
        object.__setattr__(self, "home", home)
        object.__setattr__(self, "data", Path(self.data) if self.data else None)
        object.__setattr__(self, "tracking_uri", self.tracking_uri or f"sqlite:///{(home / 'mlflow.db').absolute()}")
        object.__setattr__(self, "warehouse", self.warehouse or f"sqlite:///{(home / 'warehouse.db').absolute()}")
        if self.workers < 0:
            raise UsageError(f"workers = {self.workers}.\n  where: settings\n  fix:   0 (one per core) or more")
        if self.log_format not in ("text", "json"):
            raise UsageError(f"log_format = {self.log_format!r}.\n  where: settings\n  fix:   text or json")

    @property
    def n_workers(self) -> int:
        return self.workers or os.cpu_count() or 1

    @classmethod
    def load(cls, file: Path | None = None, environ: Mapping[str, str] | None = None, **flags: Any) -> Settings:
        """Read the settings: ``foretail.toml`` (or ``file``), then ``FORETAIL_*``, then flags that are not None.

        Raises
        ------
        UsageError : a key that is no setting, or a value that cannot be read.
        """
        path = file or Path("foretail.toml")
        values: dict[str, Any] = {}
        if path.exists():
            values.update(_read_file(path))
        environ = os.environ if environ is None else environ
        known = {item.name for item in fields(cls)}
        for name, text in environ.items():
            key = name.removeprefix(_PREFIX).lower()
            if name.startswith(_PREFIX) and key in known:
                values[key] = text
        values.update({key: value for key, value in flags.items() if value is not None})
        unknown = [key for key in values if key not in known]
        if unknown:
            raise UsageError(f"unknown setting {unknown[0]!r}.\n  where: {path}\n  fix:   {nearest(unknown[0], known)}")
        try:
            values["workers"] = int(values.get("workers", 0))
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"workers must be a whole number.\n  where: {values['workers']!r}\n  fix:   FORETAIL_WORKERS=2"
            ) from error
        texts = [key for key, value in values.items() if key != "workers" and not isinstance(value, str | Path)]
        if texts:
            raise UsageError(
                f'{texts[0]} = {values[texts[0]]!r} is no text.\n  where: {path}\n  fix:   {texts[0]} = "…"'
            )
        return cls(**values)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(
            f"cannot read the settings: {error}\n  where: {path}\n  fix:   correct or remove it"
        ) from error
