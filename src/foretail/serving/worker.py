"""The worker: takes jobs from the queue and has them done by a warm process, which it ends when a job is over too long.

A job outlives its worker: one whose worker does not tell that it is alive goes back to the queue, up to three attempts.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foretail.core.errors import ForetailError
from foretail.serving.job_child import JobChild
from foretail.warehouse.jobs import Job, Jobs

__all__ = ["SILENT_S", "Worker", "WorkerOptions"]

logger = logging.getLogger(__name__)

SILENT_S = 10.0  # a worker that says nothing for so long is taken for dead
_REAP_S = 1.0
_TOLD_S = 60.0  # that the end of a job is told again and again to a warehouse that does not answer


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker behaves.

    Attributes
    ----------
    poll_s : seconds between looks for a job. beat_s : seconds between signs of life of a job.
    grace_s : seconds that the job under way gets after SIGTERM; one that is not done then goes back to the queue.
    """

    poll_s: float = 0.2
    beat_s: float = 1.0
    grace_s: float = 25.0


class Worker:
    """Does one job at a time until it is told to end.

    Parameters
    ----------
    jobs : the queue. command : starts the process for the jobs. told : that process's first line.
    name : of this worker in the table of jobs; host, process and chance by default.
    """

    def __init__(
        self,
        jobs: Jobs,
        command: Sequence[str],
        told: Mapping[str, Any],
        options: WorkerOptions,
        name: str = "",
    ):
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._jobs, self._command, self._told, self._options = jobs, command, told, options
        self._ending = threading.Event()
        self._ended_at = float("inf")
        self._reaped_at = -_REAP_S

    def end(self) -> None:
        """Take no more jobs; the one under way has its grace."""
        self._ended_at = time.monotonic()
        self._ending.set()

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Do jobs until `end`, SIGTERM or Ctrl-C.

        Parameters
        ----------
        on_ready : called with the worker's name once the process for jobs is warm.

        Raises
        ------
        ServiceError : the process for jobs does not start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        child = JobChild(self._command, self._told)
        try:
            on_ready(self.name)
            while not self._ending.is_set():
                if not child.is_alive:
                    child.kill()
                    child = JobChild(self._command, self._told)
                job = self._take()
                if job is None:
                    self._ending.wait(self._options.poll_s)
                else:
                    _Run(job, child, self._jobs, self._options, lambda: self._ended_at).watch()
        finally:
            child.kill()

    def _take(self) -> Job | None:
        """The next job; None where there is none, or the warehouse does not answer."""
        try:
            if time.monotonic() - self._reaped_at >= _REAP_S:
                self._jobs.reap(silent_s=SILENT_S)
                self._reaped_at = time.monotonic()
            return self._jobs.take(self.name)
        except ForetailError as error:
            logger.error("no job can be taken: %s", error)
            self._ending.wait(1.0)
            return None


class _Run:
    """One job under way."""

    def __init__(self, job: Job, child: JobChild, jobs: Jobs, options: WorkerOptions, ended_at: Callable[[], float]):
        self._job, self._child, self._jobs, self._options = job, child, jobs, options
        self._ended_at = ended_at
        self._is_over = False

    def watch(self) -> None:
        """Wait until it is done, or ended from outside."""
        job = self._job
        logger.info("job %s begins", job.job_id, extra={"run_id": job.job_id})
        self._child.send({"job_id": job.job_id, "kind": job.kind, "store": job.store, "product": job.productname})
        beat = 0.0
        while not self._is_over:
            for answer in self._child.answers(0.05):
                self._hear(answer)
            if self._is_over:
                return
            if not self._child.is_alive:
                self._lost()
            elif time.monotonic() - beat >= self._options.beat_s:
                beat = time.monotonic()
                self._try(self._beat)

    def _hear(self, answer: Mapping[str, Any]) -> None:
        job = self._job
        if "done" in answer:
            self._finish(lambda: self._jobs.finish(job.job_id, answer["done"], job.worker))
        elif "failed" in answer:
            self._finish(lambda: self._jobs.fail(job.job_id, answer["failed"], job.worker))
        elif "progress" in answer:
            self._try(lambda: self._jobs.progress(job.job_id, answer["progress"], answer["message"], job.worker))

    def _lost(self) -> None:
        """The process is gone: killed for its memory, most often."""
        code = self._child.exit_code or 0
        by = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        reason = f"the process that did it ended with {by}"
        self._finish(lambda: self._jobs.fail(self._job.job_id, reason, self._job.worker))

    def _beat(self) -> None:
        """Say that it is alive, and see whether it is still wanted."""
        if time.monotonic() - self._ended_at() > self._options.grace_s:
            logger.warning("job %s goes back to the queue", self._job.job_id, extra={"run_id": self._job.job_id})
            self._end()
            return
        self._jobs.reap(silent_s=SILENT_S)
        if not self._jobs.heartbeat(self._job.job_id, self._job.worker):
            logger.warning("job %s is no longer wanted: ended", self._job.job_id, extra={"run_id": self._job.job_id})
            self._end()

    def _end(self) -> None:
        self._child.kill()
        self._is_over = True

    def _finish(self, tell: Callable[[], object]) -> None:
        """Tell the end of it, as often as it takes: a warehouse that is away must not lose a job that was done."""
        self._is_over = True
        until = time.monotonic() + _TOLD_S
        while not self._try(tell) and time.monotonic() < until:
            time.sleep(0.5)

    def _try(self, tell: Callable[[], object]) -> bool:
        try:
            tell()
        except ForetailError as error:
            logger.error("job %s: %s", self._job.job_id, error, extra={"run_id": self._job.job_id})
            return False
        return True
