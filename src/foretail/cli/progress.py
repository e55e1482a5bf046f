"""Progress on stderr: a bar per stage on a terminal, plain lines when verbose, nothing otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from foretail.core.progress import Progress, Silent, Stage

__all__ = ["Bars", "Lines", "open_progress"]


@contextmanager
def open_progress(*, verbose: bool = False) -> Iterator[Progress]:
    """The progress that fits stderr; it is gone when the context ends."""
    if not sys.stderr.isatty():
        yield Lines() if verbose else Silent()
        return
    with RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bars:
        yield Bars(bars)


class Bars:
    """One bar per stage, with the time it took.

    Parameters
    ----------
    bars : a started rich progress.
    """

    def __init__(self, bars: RichProgress):
        self._bars = bars

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Stage]:
        """A bar of ``total`` parts; full when the stage ends well, left where it stood when it fails."""
        task = self._bars.add_task(name, total=max(total, 1))
        yield _Bar(self._bars, task)
        self._bars.update(task, completed=max(total, 1))


class _Bar:
    def __init__(self, bars: RichProgress, task: TaskID):
        self._bars = bars
        self._task = task

    def advance(self, n: int = 1) -> None:
        """Move the bar on."""
        self._bars.advance(self._task, n)

    def describe(self, text: str) -> None:
        """Show the text before the bar."""
        self._bars.update(self._task, description=text)


class Lines:
    """A line when a stage ends, with its seconds."""

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Stage]:
        """Say how long the stage took and how many of its parts are done."""
        begun = time.perf_counter()
        counter = _Counter(name)
        yield counter
        parts = f" ({counter.done}/{total})" if total > 1 else ""
        click.echo(f"{counter.text}{parts}: {time.perf_counter() - begun:.1f} s", err=True)


class _Counter:
    def __init__(self, text: str) -> None:
        self.done = 0
        self.text = text

    def advance(self, n: int = 1) -> None:
        """Count."""
        self.done += n

    def describe(self, text: str) -> None:
        """Keep the text for the line."""
        self.text = text
