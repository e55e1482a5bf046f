"""Seconds and peak memory of each stage of a pipeline, recorded while the door shows its progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from foretail.core.progress import Progress, Stage

__all__ = ["StageLog"]

_INTERVAL_S = 0.25


class StageLog:
    """A `Progress` that passes everything on and keeps the books.

    Attributes
    ----------
    stages : ``{stage: {"seconds": s, "peak_mb": MiB}}``; memory is that of this process and its workers.
    """

    def __init__(self, progress: Progress):
        self._progress = progress
        self.stages: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Stage]:
        meter = _Meter()
        start = time.perf_counter()
        try:
            with self._progress.stage(name, total) as stage:
                yield stage
        finally:
            self.stages[name] = {"seconds": round(time.perf_counter() - start, 3), "peak_mb": round(meter.stop(), 1)}


class _Meter:
    """Samples resident memory in a thread of its own until told to stop."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = self._resident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Peak in MiB."""
        self._ended.set()
        self._thread.join()
        return max(self._peak, self._resident()) / 2**20

    def _sample(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self._peak = max(self._peak, self._resident())

    def _resident(self) -> int:
        total = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.Error:  # a worker that ended in between
                continue
        return total
