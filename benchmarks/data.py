"""Where benchmarks find the original data sets, which the project does not ship."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_folder", "layout_folder"]

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_folder() -> Path | None:
    """``$FORETAIL_DATA``, else ``shared/data`` beside the checkout; None where neither is there."""
    given = os.environ.get("FORETAIL_DATA")
    folder = Path(given).expanduser().resolve() if given else _BESIDE
    return folder if folder.is_dir() else None


def layout_folder(name: str) -> Path | None:
    """The folder of one data set (``walmart``, ``rossmann``, ``online_retail``); None, said aloud, without it."""
    root = data_folder()
    folder = None if root is None else root / name
    if folder is not None and folder.is_dir():
        return folder
    print(f"{name}: skipped, its files are not here (set FORETAIL_DATA to the folder that holds {name}/)")
    return None
