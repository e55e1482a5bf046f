"""Texts that say where data is: which of them name a database, and how they are shown."""

from __future__ import annotations

import re

__all__ = ["is_database", "without_password"]

_SCHEMES = ("postgresql://", "postgresql+psycopg://", "sqlite:///")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]+@")


def is_database(location: str) -> bool:
    """Whether a text is the URL of a database rather than of a file."""
    return location.startswith(_SCHEMES)


def without_password(text: str) -> str:
    """A text as it may be shown: the password of a URL in it is stars."""
    return _PASSWORD.sub(r"\1***@", text)
