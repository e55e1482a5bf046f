"""A process that does one job after another and stays warm between them: ``python -m foretail.cli.job_process``.

It reads jobs as JSON lines from its standard input and writes what becomes of them to the file descriptor that is its
only argument: ``{"ready": true}``, ``{"progress": 0.4, "message": "fit"}``, ``{"done": {…}}``, ``{"failed": "why"}``.
It ends, with every process that it started, when its input ends: nothing it does outlives its worker.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import Any, TextIO

from foretail.cli.logs import configure_logging
from foretail.core.errors import ForetailError

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main() -> None:
    """Be ready, then do what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to answer
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answers:
        lines: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=_read, args=(lines,), name="foretail-jobs", daemon=True).start()
        told = json.loads(lines.get())
        configure_logging(told["run_id"], verbose=told["verbose"], log_format=told["log_format"])
        from foretail.serving.job_kinds import JobKinds

        kinds = JobKinds.from_plain(told["kinds"])
        kinds.warm_up()
        _tell(answers, ready=True)
        while True:
            _do(kinds, json.loads(lines.get()), answers)


def _read(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os.killpg(0, signal.SIGKILL)  # the worker is gone: its process group is this one's, and what this one started


def _do(kinds: Any, job: dict[str, Any], answers: TextIO) -> None:
    """One job; whatever fails is the answer."""

    def tell(share: float, message: str) -> None:
        _tell(answers, progress=share, message=message)

    try:
        result = kinds.run(job, tell)
    except ForetailError as error:
        logger.error("job %s failed: %s", job["job_id"], error, extra={"run_id": job["job_id"]})
        _tell(answers, failed=str(error))
    except Exception as error:
        logger.exception("job %s failed", job["job_id"], extra={"run_id": job["job_id"]})
        _tell(answers, failed=" ".join(f"unexpected {type(error).__name__}: {error}".split())[:500])
    else:
        _tell(answers, done=result)


def _tell(answers: TextIO, **told: Any) -> None:
    answers.write(json.dumps(told) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
