"""A function with large arrays, laid down in a file once: every worker maps that file instead of holding a copy."""

from __future__ import annotations

import logging
import mmap
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["Laid", "laid"]

logger = logging.getLogger(__name__)

_WORTH_IT = 1 << 20  # bytes of arrays
_ALIGNED = 64  # bytes, as NumPy likes it


@dataclass(frozen=True)
class Laid:
    """What `laid` wrote.

    Attributes
    ----------
    head : the pickled function without its arrays. path : the file of the arrays. spans : first byte and end of each.
    """

    head: bytes
    path: str
    spans: tuple[tuple[int, int], ...]

    def picked_up(self) -> Callable[..., Any]:
        """The function; what it writes into its arrays is its own, and the file stays as it is."""
        with Path(self.path).open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        buffers = [mapped[first:end] for first, end in self.spans]
        function: Callable[..., Any] = pickle.loads(self.head, buffers=buffers)  # noqa: S301  (our own parent wrote it)
        return function


@contextmanager
def laid(function: Callable[..., Any]) -> Iterator[bytes | Laid]:
    """The function as it travels to workers on this machine: pickled, its arrays in a file where they are large.

    The file is there until the end of the block; who has picked the function up by then keeps it. Where no file can be
    written the arrays travel with the function.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(function, protocol=5, buffer_callback=buffers.append)
    if sum(buffer.raw().nbytes for buffer in buffers) < _WORTH_IT:
        yield pickle.dumps(function, protocol=5)
        return
    with ExitStack() as stack:
        travelling: bytes | Laid
        try:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="foretail-"))
            travelling = Laid(head, file.name, _written(file, buffers))
        except OSError as error:
            logger.info("no file for workers to share (%s): each gets a copy", error)
            travelling = pickle.dumps(function, protocol=5)
        yield travelling


def _written(file: IO[bytes], buffers: Sequence[pickle.PickleBuffer]) -> tuple[tuple[int, int], ...]:
    spans = []
    for buffer in buffers:
        raw = buffer.raw()
        first = -(-file.tell() // _ALIGNED) * _ALIGNED
        file.seek(first)
        file.write(raw)
        spans.append((first, first + raw.nbytes))
    file.flush()
    return tuple(spans)
