"""Progress of long work: pipelines announce stages, a door decides how to show them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Progress", "Silent", "Stage"]


class Stage(Protocol):
    """A piece of work under way."""

    def advance(self, n: int = 1) -> None:
        """Say that n more parts are done."""

    def describe(self, text: str) -> None:
        """Say how it stands, in place of the name."""


class Progress(Protocol):
    """Shows stages; the command line has a bar, the library is silent."""

    def stage(self, name: str, total: int = 1) -> AbstractContextManager[Stage]:
        """Begin a stage of ``total`` parts; leaving the context ends it."""


class _SilentStage:
    def advance(self, n: int = 1) -> None:
        """Show nothing."""

    def describe(self, text: str) -> None:
        """Show nothing."""


class Silent:
    """Shows nothing: the default of the Python API."""

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Stage]:  # noqa: ARG002
        yield _SilentStage()
