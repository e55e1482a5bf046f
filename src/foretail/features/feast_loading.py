"""Loads Feast without what takes most of its start: it recompiles itself to check its types, and loads torch.

Both are left alone where they are in use already; after loading, both work as ever for everybody else.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from foretail.core.errors import MissingExtraError

__all__ = ["load_feast"]


def load_feast() -> None:
    """Import Feast.

    Raises
    ------
    MissingExtraError : the extra ``features`` is missing.
    """
    if sys.modules.get("feast") is not None:
        return
    if importlib.util.find_spec("feast") is None:
        raise MissingExtraError("feast", "features")
    with _unchecked(), _without("torch"):
        importlib.import_module("feast")


@contextmanager
def _unchecked() -> Iterator[None]:
    """Typeguard's decorator leaves what it is given as it is."""
    typeguard: Any = importlib.import_module("typeguard")
    checked = typeguard.typechecked
    typeguard.typechecked = _as_it_is
    try:
        yield
    finally:
        typeguard.typechecked = checked


def _as_it_is(target: Any = None, **_: Any) -> Any:
    return target if target is not None else _as_it_is


@contextmanager
def _without(package: str) -> Iterator[None]:
    """A package that was not imported yet is not there inside."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        del sys.modules[package]
