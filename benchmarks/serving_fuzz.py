"""Sends broken requests to a server, ten thousand of them: none may be answered with 500, none may hang.

Every request is made from a seed: a right one, changed in some places. ``make bench-serving_fuzz`` starts a server and
sends them over V1, V2 (JSON and binary) and gRPC; tests send some hundreds with the same functions.
"""

from __future__ import annotations

import asyncio
import json
import random
import string
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

__all__ = ["Fuzzed", "fuzz"]

_LIMIT_S = 20.0  # a request that takes longer hangs
_AT_ONCE = 8
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_BROKEN = ("UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "DATA_LOSS")
_KINDS = ("INT64", "INT32", "UINT8", "FP16", "FP32", "FP64", "BOOL", "BYTES", "INT65", "", "int64")


@dataclass
class Fuzzed:
    """What came of it.

    Attributes
    ----------
    statuses : answers by protocol and status. failures : the first requests that broke the server, as texts.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def note(self, protocol: str, status: str, request: object, *, is_broken: bool) -> None:
        """Count an answer, and keep the request if it broke the server."""
        self.statuses[f"{protocol} {status}"] += 1
        if is_broken and len(self.failures) < 20:
            self.failures.append(f"{protocol} {status}: {str(request)[:500]}")


def fuzz(http: str, address: str, name: str, right: Mapping[str, Any], n: int, seed: int = 7) -> Fuzzed:
    """Send n requests.

    Parameters
    ----------
    http, address : of the server. name : of the model. right : an instance that is answered, with a horizon of 1.
    """
    return asyncio.run(_fuzz(http, address, name, right, n, seed))


async def _fuzz(http: str, address: str, name: str, right: Mapping[str, Any], n: int, seed: int) -> Fuzzed:
    fuzzed, gate = Fuzzed(), asyncio.Semaphore(_AT_ONCE)
    limits = httpx.Limits(max_connections=_AT_ONCE)
    async with (
        httpx.AsyncClient(base_url=http, timeout=_LIMIT_S, limits=limits) as client,
        grpc.aio.insecure_channel(address) as channel,
    ):

        async def one(i: int) -> None:
            make, send = _WAYS[i % len(_WAYS)]
            request = make(random.Random(f"{seed}/{i}"), name, right)
            async with gate:
                await send(client if send is _send_http else channel, request, fuzzed)

        await asyncio.gather(*map(one, range(n)))
    return fuzzed


# requests

HttpRequest = tuple[str, bytes, dict[str, str]]


def _v1(draw: random.Random, name: str, right: Mapping[str, Any]) -> HttpRequest:
    instances: list[Any] = [_instance(draw, right) for _ in range(draw.choice((1, 1, 1, 2, 5)))]
    body: Any = {"instances": instances}
    if draw.random() < 0.1:
        body = draw.choice([_junk(draw), {"instances": _junk(draw)}, instances, body | {_word(draw): _junk(draw)}])
    verb = draw.choice(("predict", "predict", "predict", "explain"))
    version = draw.choice(("",) * 6 + ("/versions/1", "/versions/9", f"/versions/{_word(draw)}"))
    return f"/v1/models/{name}{version}:{verb}", _broken_text(draw, body), _headers(draw)


def _v2(draw: random.Random, name: str, right: Mapping[str, Any]) -> HttpRequest:
    body: Any = {"inputs": [_plain(item) for item in _tensors(draw, right)]}
    if draw.random() < 0.3:
        key = draw.choice(("id", "parameters", "outputs", "inputs", _word(draw)))
        body[key] = draw.choice([_junk(draw), [{"name": draw.choice(("predictions", "q10", "q11"))}]])
    if draw.random() < 0.2 and isinstance(body["inputs"], list) and body["inputs"]:
        item = draw.choice(body["inputs"])
        if isinstance(item, dict):
            item[draw.choice(("name", "shape", "datatype", "data", "parameters"))] = _junk(draw)
    return f"/v2/models/{name}/infer", _broken_text(draw, body), _headers(draw)


def _v2_binary(draw: random.Random, name: str, right: Mapping[str, Any]) -> HttpRequest:
    inputs, tail = [], b""
    for item in _tensors(draw, right):
        raw = _raw(draw, item)
        size = len(raw) if draw.random() < 0.8 else draw.choice([0, -1, len(raw) + 1, 2**40, "4", None, 1.5])
        inputs.append(
            {**{key: item[key] for key in ("name", "shape", "datatype")}, "parameters": {"binary_data_size": size}}
        )
        tail += raw
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": draw.random() < 0.5}}).encode()
    length = len(head) if draw.random() < 0.85 else draw.choice([0, -3, len(head) // 2, 10**9, "x", "٣"])
    headers = {"inference-header-content-length": str(length), "content-type": "application/octet-stream"}
    return f"/v2/models/{name}/infer", head + tail, {key: value for key, value in headers.items() if value.isascii()}


def _rpc(draw: random.Random, name: str, right: Mapping[str, Any]) -> Any:
    request = pb.ModelInferRequest(model_name=name if draw.random() < 0.95 else _word(draw))
    request.model_version = draw.choice(("",) * 8 + ("1", _word(draw)))
    is_raw = draw.random() < 0.5
    for item in _tensors(draw, right):
        shape = [size for size in item["shape"] if isinstance(size, int) and abs(size) < 2**62]
        tensor = request.inputs.add(name=str(item["name"]), datatype=item["datatype"], shape=shape)
        if is_raw or draw.random() < 0.1:
            request.raw_input_contents.append(_raw(draw, item))
        if not is_raw or draw.random() < 0.1:
            _fill(tensor.contents, item["data"])
    for _ in range(draw.choice((0, 0, 0, 1, 2))):
        request.outputs.add(name=draw.choice(("predictions", "q10", "step", _word(draw))))
    return request


_WAYS: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...]


def _instance(draw: random.Random, right: Mapping[str, Any]) -> Any:
    """A right instance, changed in up to four places."""
    instance = dict(right)
    for _ in range(draw.randrange(4)):
        name = draw.choice([*right, "target_date", "horizon", "promo", "price", _word(draw)])
        if draw.random() < 0.2:
            instance.pop(name, None)
        else:
            instance[name] = _junk(draw)
    return instance if draw.random() < 0.95 else _junk(draw)


def _tensors(draw: random.Random, right: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Right tensors, changed in up to four places."""
    n = draw.choice((1, 1, 2, 7, 0))
    items = [
        {"name": name, "datatype": _kind(value), "shape": [n], "data": [value] * n} for name, value in right.items()
    ]
    for _ in range(draw.randrange(4)):
        item = draw.choice(items)
        change = draw.randrange(6)
        if change == 0:
            item["shape"] = draw.choice([[n, 1], [], [-1], [n + 1], [2**62], [n, 2], [0], [1, 1, 1]])
        elif change == 1:
            item["datatype"] = draw.choice(_KINDS)
        elif change == 2:
            item["data"] = [_junk(draw) for _ in range(draw.randrange(4))]
        elif change == 3:
            item["name"] = draw.choice([*right, "price", "promo", _word(draw)])
        elif change == 4:
            items.remove(item)
            if not items:
                break
        else:
            items.append(dict(item))
    return items


def _kind(value: Any) -> str:
    return "BYTES" if isinstance(value, str) else "INT64" if isinstance(value, int) else "FP64"


def _junk(draw: random.Random, depth: int = 0) -> Any:
    """Any JSON value, the awkward ones among them."""
    plain: list[Any] = [
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        -(2**63) - 1,
        2**64,
        1e308,
        -0.0,
        1.5,
        "",
        "1",
        "NaN",
    ]
    plain += ["2012-02-03", "2012-02-30", "9999-12-31", "0001-01-01", "2012-2-3", "\u0000", "\ud83d\ude00", "a" * 3000]
    plain += [_word(draw), float("nan"), float("inf"), draw.random() * 1e6, draw.randrange(-5, 50)]
    if depth < 3 and draw.random() < 0.2:
        return [_junk(draw, depth + 1) for _ in range(draw.randrange(4))]
    if depth < 3 and draw.random() < 0.1:
        return {_word(draw): _junk(draw, depth + 1) for _ in range(draw.randrange(3))}
    return draw.choice(plain)


def _word(draw: random.Random) -> str:
    return "".join(draw.choices(string.ascii_lowercase + "_-", k=draw.randrange(1, 9)))


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return dict(item)


def _raw(draw: random.Random, item: Mapping[str, Any]) -> bytes:
    """The tensor in binary, or bytes that are not."""
    if draw.random() < 0.2:
        return draw.randbytes(draw.randrange(40))
    parts = []
    for value in item["data"]:
        if isinstance(value, str):
            text = value.encode("utf-8", "replace")
            parts.append(len(text).to_bytes(4, "little") + text)
        else:
            parts.append(
                (value if isinstance(value, int) and abs(value) < 2**62 else 3).to_bytes(8, "little", signed=True)
            )
    return b"".join(parts)


def _fill(contents: Any, data: list[Any]) -> None:
    """Values into the fields of a message that hold their kind."""
    for value in data:
        if isinstance(value, bool):
            contents.bool_contents.append(value)
        elif isinstance(value, int) and abs(value) < 2**63:
            contents.int64_contents.append(value)
        elif isinstance(value, float):
            contents.fp64_contents.append(value)
        else:
            contents.bytes_contents.append(str(value).encode("utf-8", "replace"))


def _broken_text(draw: random.Random, body: Any) -> bytes:
    """The body as JSON (NaN as Python writes it), now and then with some bytes changed, cut or added."""
    text = bytearray(json.dumps(body, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass"))
    chance = draw.random()
    if chance < 0.05:
        del text[draw.randrange(len(text) + 1) :]
    elif chance < 0.1 and text:
        text[draw.randrange(len(text))] = draw.randrange(256)
    elif chance < 0.12:
        text += draw.randbytes(5)
    return bytes(text)


def _headers(draw: random.Random) -> dict[str, str]:
    kind = draw.choice(
        ("application/json",) * 6 + ("text/plain", "application/cloudevents+json", "", "multipart/form-data")
    )
    headers = {"content-type": kind}
    if draw.random() < 0.05:
        headers |= {"ce-specversion": "1.0", "ce-source": "x", "ce-type": "y", "ce-id": "z"}
    return headers


# sending


async def _send_http(client: httpx.AsyncClient, request: HttpRequest, fuzzed: Fuzzed) -> None:
    path, body, headers = request
    protocol = path[1:3]
    try:
        answer = await client.post(path, content=body, headers=headers)
    except httpx.HTTPError as error:
        fuzzed.note(protocol, type(error).__name__, request, is_broken=True)
        return
    is_told = answer.status_code == 200 or "problem+json" in answer.headers["content-type"]
    fuzzed.note(protocol, str(answer.status_code), request, is_broken=answer.status_code >= 500 or not is_told)


async def _send_rpc(channel: Any, request: Any, fuzzed: Fuzzed) -> None:
    infer = channel.unary_unary(
        _METHOD,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    try:
        await infer(request, timeout=_LIMIT_S)
        status = "OK"
    except grpc.aio.AioRpcError as error:
        status = error.code().name
    fuzzed.note("grpc", status, request, is_broken=status in _BROKEN)


_WAYS = ((_v1, _send_http), (_v2, _send_http), (_v2_binary, _send_http), (_rpc, _send_rpc))


if __name__ == "__main__":
    from benchmarks.serving_world import NAME, RIGHT, server
    from benchmarks.table import Measure, publish

    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with server("profile") as served:
        done = fuzz(served.http, served.grpc, NAME, RIGHT, n)
    print("\n".join(done.failures), file=sys.stderr)
    print(", ".join(f"{key} x {value}" for key, value in sorted(done.statuses.items())), file=sys.stderr)
    broken = sum(v for k, v in done.statuses.items() if k.split()[1][:1] == "5" or k.split()[1] in _BROKEN)
    publish(
        "serving_fuzz",
        [
            Measure("broken requests sent", n, "requests"),
            Measure("answered with a failure of the server, or not at all", broken, "requests", at_most=0),
        ],
    )
    sys.exit(bool(done.failures))
