"""The server beside an empty model on the same ModelServer, loaded from a second process; what-ifs; a soak.

``python -m benchmarks.serving [SECONDS [SOAK_SECONDS]]``: seconds of each load (5) and of the soak at half load (none).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from benchmarks.serving_load import Load, Loaded, run_load
from benchmarks.serving_world import RIGHT, Running, empty_server, server
from benchmarks.table import Measure, show, write

CONNECTIONS = (1, 8, 32)
INSTANCES = (1, 100)
FAMILIES = ("boosting", "neural", "prophet", "ensemble-c")
_GOALS: dict[str, dict[str, float]] = {
    "v1, 1 instances, 1 connections: p50": {"at_most": 1.2},
    "v1, 1 instances, 1 connections: p99": {"at_most": 6},
    "v1, 1 instances, 8 connections: p99": {"at_most": 30},
    "v1, 100 instances, 1 connections: p50": {"at_most": 8},
}


def main(seconds: float, soak_s: float) -> None:
    """Measure and publish."""
    measures: list[Measure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = ("--request-log", str(folder / "requests.jsonl"))
        with server("profile", *log) as ours, empty_server() as empty:
            measures.append(Measure("start to ready", ours.ready_s, "s", "empty model", empty.ready_s, at_most=8))
            for protocol, instances, connections in _cases():
                pair = [_run(folder, at, protocol, instances, connections, seconds) for at in (ours, empty)]
                measures += _told(f"{protocol}, {instances} instances, {connections} connections", *pair)
            if soak_s:
                measures += _soak(folder, ours, soak_s)
            write("serving", measures)  # so that it is kept whatever happens to the rest
            measures += _looked_up(folder, empty, log, seconds)
        write("serving", measures)
        for family in FAMILIES:
            with server(family) as ours:
                measures += [_what_if(folder, ours, family, n, seconds) for n in INSTANCES]
            write("serving", measures)
    show(measures)


def _cases() -> Iterator[tuple[str, int, int]]:
    return ((protocol, n, c) for protocol in ("v1", "v2", "grpc") for n in INSTANCES for c in CONNECTIONS)


def _looked_up(folder: Path, empty: Running, log: tuple[str, ...], seconds: float) -> list[Measure]:
    """The same for a version whose feature rows are looked up in the online store and go through a network."""
    measures: list[Measure] = []
    with server("neural[features=store]", *log) as ours:
        measures.append(Measure("rows looked up: start to ready", ours.ready_s, "s", at_most=8))
        for instances, connections in ((1, 1), (1, 8), (100, 1), (100, 8)):
            pair = [_run(folder, at, "v1", instances, connections, seconds) for at in (ours, empty)]
            measures += _told(f"v1, {instances} instances, {connections} connections", *pair, "rows looked up: ")
    return measures


def _told(work: str, ours: Loaded, empty: Loaded, which: str = "") -> list[Measure]:
    """Requests a second, p50 and p99 of one case."""
    least = {"at_least": 0.7 * empty.per_s} if work == "v1, 1 instances, 8 connections" else {}
    lines = [
        Measure(f"{which}{work}: requests", ours.per_s, "1/s", "empty model", empty.per_s, **least),
    ]
    for name in ("p50", "p99"):
        goal = _GOALS.get(f"{work}: {name}", {})
        here, there = (getattr(loaded, f"{name}_ms") for loaded in (ours, empty))
        lines.append(Measure(f"{which}{work}: {name}", here, "ms", "empty model", there, **goal))
    return lines


def _what_if(folder: Path, ours: Running, family: str, n: int, seconds: float) -> Measure:
    """Every instance overrides a price, so that the model is asked again."""
    loaded = _run(folder, ours, "v1", n, 1, seconds, price=4.5)
    return Measure(f"v1, {n} what-ifs, 1 connections, {family}: p50", loaded.p50_ms, "ms")


def _soak(folder: Path, ours: Running, seconds: float) -> list[Measure]:
    """Half of what it can do for long: memory and errors."""
    process = psutil.Process(ours.pid)
    half = _run(folder, ours, "v1", 1, 8, 3).per_s / 2
    before = process.memory_info().rss
    loaded = _run(folder, ours, "v1", 1, 8, seconds, rate=half)
    grown = (process.memory_info().rss - before) / 2**20
    bad = sum(count for status, count in loaded.statuses.items() if status != "200")
    work = f"soak of {seconds:g} s at {half:.0f} requests a second"
    return [
        Measure(f"{work}: memory", grown, "MiB", at_most=20),
        Measure(f"{work}: errors", bad, "requests", at_most=0),
        Measure(f"{work}: p99", loaded.p99_ms, "ms"),
    ]


def _run(
    folder: Path,
    at: Running,
    protocol: str,
    instances: int,
    connections: int,
    seconds: float,
    *,
    rate: float = 0.0,
    **overrides: Any,
) -> Loaded:
    body = folder / "body"
    body.write_bytes(_body(at, protocol, instances, overrides))
    address = at.grpc if protocol == "grpc" else at.http.removeprefix("http://")
    verb = {"v1": ":predict", "v2": "/infer", "grpc": ""}[protocol]
    path = f"/{protocol}/models/{at.model}{verb}"
    kind = "grpc" if protocol == "grpc" else "http"
    loaded = run_load(Load(kind, address, path, str(body), connections, seconds, rate))
    if set(loaded.statuses) - {"200", "OK"}:
        raise RuntimeError(f"{at.model}, {protocol}: {loaded.statuses}")
    return loaded


def _body(at: Running, protocol: str, n: int, overrides: dict[str, Any]) -> bytes:
    """A request of n instances, over the stores and departments of the chain."""
    instances = [RIGHT | {"store_id": 1 + i % 10, "dept_id": 1 + i // 10 % 5} | overrides for i in range(n)]
    if protocol == "v1":
        return json.dumps({"instances": instances}).encode()
    names = [name for name in instances[0] if name != "horizon"]
    columns = {name: [instance[name] for instance in instances] for name in names}
    kinds = {name: "BYTES" if isinstance(column[0], str) else "INT64" for name, column in columns.items()}
    if protocol == "v2":
        tensors = [
            {"name": name, "datatype": kinds[name], "shape": [n], "data": column} for name, column in columns.items()
        ]
        return json.dumps({"inputs": tensors}).encode()
    request = pb.ModelInferRequest(model_name=at.model)
    for name, column in columns.items():
        tensor = request.inputs.add(name=name, datatype=kinds[name], shape=[n])
        if kinds[name] == "BYTES":
            tensor.contents.bytes_contents.extend(text.encode() for text in column)
        else:
            tensor.contents.int64_contents.extend(column)
    return bytes(request.SerializeToString())


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    main(given[0] if given else 5.0, given[1] if len(given) > 1 else 0.0)
