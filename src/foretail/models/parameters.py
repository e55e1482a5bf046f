"""Checks of what a family is made with: a value that would forecast nonsense is refused before anything is fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from foretail.core.errors import UsageError, nearest

__all__ = ["at_least", "one_of", "share_above_0"]

Number = TypeVar("Number", int, float)


def at_least(family: str, name: str, value: Number, least: float) -> Number:
    """The value, where it is finite and not below ``least``.

    Raises
    ------
    UsageError : it is not.
    """
    if not least <= value < math.inf:
        raise UsageError(
            f"{name} of {family} cannot be {value!r}.\n  where: {name}\n  fix:   {name} = {least:g} or more"
        )
    return value


def share_above_0(family: str, name: str, value: float) -> float:
    """The value, where it lies above 0 and not above 1.

    Raises
    ------
    UsageError : it does not.
    """
    if not 0 < value <= 1:
        raise UsageError(
            f"{name} of {family} cannot be {value!r}.\n  where: {name}\n  fix:   a number above 0, at most 1"
        )
    return value


def one_of(family: str, name: str, value: str, known: Sequence[str]) -> str:
    """The value, where it is a known one.

    Raises
    ------
    UsageError : it is not.
    """
    if value not in known:
        raise UsageError(f"{family} knows no {name} {value!r}.\n  where: {name}\n  fix:   {nearest(value, known)}")
    return value
