"""Loads a server from a process of its own: some connections, each with one request under way, for some seconds.

``python -m benchmarks.serving_load '{"protocol": "v1", "address": …}'`` prints what `run_load` gives, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

__all__ = ["Load", "Loaded", "run_load"]

_WARM_S = 0.5  # requests of that long at the beginning are not counted


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes
    ----------
    protocol : ``http`` or ``grpc``. address : host:port. path : of the POST (HTTP). body : file with the body, or with
        the serialised ModelInferRequest. connections : that are open. seconds : to load for.
    rate : requests a second over all connections; 0 for as many as are answered.
    """

    protocol: str
    address: str
    path: str
    body: str
    connections: int
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True)
class Loaded:
    """What came of it: requests a second, milliseconds, answers by status."""

    per_s: float
    p50_ms: float
    p99_ms: float
    n: int
    statuses: dict[str, int]


def run_load(load: Load) -> Loaded:
    """Load from another process."""
    command = [sys.executable, "-m", "benchmarks.serving_load", json.dumps(asdict(load))]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=load.seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Loaded(**json.loads(done.stdout))


class _Connection(asyncio.Protocol):
    """HTTP/1.1 on one kept-open connection, the next request after the answer."""

    def __init__(self, head: bytes, book: _Book, pause: float):
        self._head, self._book, self._pause = head, book, pause
        self._buffer = b""
        self._missing = 0
        self._status = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            self._status = self._buffer[9:12].decode()
            self._missing = length - (len(self._buffer) - end - 4)
            self._buffer = b""
        if self._missing <= 0:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self._book.is_over:
            self._book.note("lost", self._sent)
            self._book.lost()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._head)

    def _answered(self) -> None:
        self._missing = 0
        self._book.note(self._status, self._sent)
        if self._book.is_over:
            self._transport.close()
            return
        wait = self._sent + self._pause - time.perf_counter() if self._pause else 0.0
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send)
        else:
            self._send()


class _Book:
    """Latencies and statuses of all connections."""

    def __init__(self, seconds: float):
        now = time.perf_counter()
        self._from, self._to = now + _WARM_S, now + _WARM_S + seconds
        self.seconds = seconds
        self.ms: list[float] = []
        self.statuses: dict[str, int] = {}
        self._gone = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        return time.perf_counter() >= self._to

    def note(self, status: str, sent: float) -> None:
        now = time.perf_counter()
        if self._from <= now <= self._to:
            self.ms.append(1000 * (now - sent))
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def lost(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    async def wait(self) -> None:
        await asyncio.wait([self._gone], timeout=self._to - time.perf_counter() + 0.2)

    def summary(self) -> Loaded:
        p50, p99 = np.percentile(self.ms, (50, 99)) if self.ms else (np.nan, np.nan)
        return Loaded(len(self.ms) / self.seconds, float(p50), float(p99), len(self.ms), self.statuses)


async def _http(load: Load) -> Loaded:
    host, _, port = load.address.rpartition(":")
    body = Path(load.body).read_bytes()
    head = (
        f"POST {load.path} HTTP/1.1\r\nhost: {load.address}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()
    book = _Book(load.seconds)
    pause = load.connections / load.rate if load.rate else 0.0
    loop = asyncio.get_running_loop()
    for _ in range(load.connections):
        await loop.create_connection(lambda: _Connection(head + body, book, pause), host, int(port))
    await book.wait()
    return book.summary()


async def _grpc(load: Load) -> Loaded:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

    request = pb.ModelInferRequest.FromString(Path(load.body).read_bytes())
    book = _Book(load.seconds)

    async def one(_: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(load.address, options=options) as channel:
            infer: Any = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
            while not book.is_over:
                sent = time.perf_counter()
                try:
                    await infer(request)
                    book.note("OK", sent)
                except grpc.aio.AioRpcError as error:
                    book.note(error.code().name, sent)

    await asyncio.gather(*map(one, range(load.connections)))
    return book.summary()


if __name__ == "__main__":
    given = Load(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(uvloop.run((_grpc if given.protocol == "grpc" else _http)(given)))))
