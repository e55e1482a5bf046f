"""What runs inside a worker process: one thread, no Ctrl-C of its own, and answers that always come back."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import Any

from foretail.execution.laid import Laid

__all__ = ["THREADS", "Answer", "attempt", "opened", "prepare", "work_on"]

logger = logging.getLogger(__name__)

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass(frozen=True)
class Answer:
    """What a call gave: a value, or the reason why there is none."""

    value: Any = None
    reason: str | None = None


def attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Answer:
    """Call the function; an exception becomes a reason."""
    try:
        return Answer(function(*arguments))
    except Exception as error:  # any failure of one chunk is data: it is told with the rows it concerns
        logger.debug("a chunk failed", exc_info=True)
        return Answer(reason=_one_line(error))


def work_on(function: bytes | Laid, arguments: bytes) -> bytes:
    """Call the function with the pickled arguments and pickle the answer, so that nothing can get stuck on the way.

    Parameters
    ----------
    function : pickled, or laid down in a file, once for all of its calls.
    """
    return _packed(attempt(_call, (function, arguments)))


def _packed(answer: Answer) -> bytes:
    try:
        return pickle.dumps(answer, protocol=5)
    except Exception as error:  # a result that cannot travel is a failure like any other
        return pickle.dumps(Answer(reason=_one_line(error)), protocol=5)


def opened(payload: bytes) -> Answer:
    """Read an answer that `work_on` packed."""
    answer = attempt(pickle.loads, (payload,))
    return answer.value if answer.reason is None else answer


def prepare() -> None:
    """Make a process a worker: leave Ctrl-C to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _call(function: bytes | Laid, arguments: bytes) -> Any:
    # our own parent, or the process that we work for, wrote both
    called = function.picked_up() if isinstance(function, Laid) else pickle.loads(function)  # noqa: S301
    return called(*pickle.loads(arguments))  # noqa: S301


def _one_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
