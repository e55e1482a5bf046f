"""Servers to measure: a version of a family in a registry of its own, and an empty model on the same ModelServer."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.models.families import make
from foretail.pipelines.features import apply_features, materialize_features
from foretail.pipelines.request import Request
from foretail.pipelines.train import train_request
from foretail.registry.bundle import read_bundle, write_bundle
from foretail.registry.info import FamilyTree
from foretail.registry.versions import Registry

__all__ = ["NAME", "RIGHT", "Running", "empty_server", "server"]

NAME = "sales-forecast"
_REQUEST = Request(table="synthetic:weekly-5k", name=NAME, models=("profile",), quantiles=(0.1, 0.5, 0.9))
RIGHT = {"store_id": 1, "dept_id": 1, "target_date": "2012-02-03", "horizon": 1}
_EMPTY = """
import asyncio, logging, sys
import numpy as np
import uvloop

http, grpc = int(sys.argv[1]), int(sys.argv[2])
sys.argv = sys.argv[:1]
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
asyncio.set_event_loop(uvloop.new_event_loop())
logging.getLogger("kserve").addHandler(logging.NullHandler())
logging.getLogger("kserve").setLevel(logging.WARNING)
access = logging.getLogger("uvicorn.access")
access.handlers, access.propagate = [], False
from kserve import InferOutput, InferResponse, Model, ModelServer


class Empty(Model):
    def __init__(self):
        super().__init__("empty")
        self.ready = True

    def predict(self, payload, headers=None):
        if isinstance(payload, dict):
            return {"predictions": [0.0] * len(payload["instances"])}
        zeros = [0.0] * payload.inputs[0].shape[0]
        output = InferOutput("predictions", [len(zeros)], "FP64", data=zeros)
        return InferResponse(payload.id or "", "empty", [output])


ModelServer(http_port=http, grpc_port=grpc, enable_latency_logging=False).start([Empty()])
"""


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes
    ----------
    http, grpc : its addresses. model : the name it serves. ready_s : from the start of the process until it was ready.
    pid : of the process.
    """

    http: str
    grpc: str
    model: str
    ready_s: float
    pid: int


@contextmanager
def server(family: str, *words: str) -> Iterator[Running]:
    """foretail's server of a version of that family, trained on the synthetic chain of 50 series."""
    ports = _free_ports()
    command = [str(Path(sys.executable).parent / "foretail"), "serve", "kserve", "--model", _reference(family)]
    options = ["--home", str(_home()), "--http-port", str(ports[0]), "--grpc-port", str(ports[1]), "--drain", "0"]
    with _process([*command, *options, *words], ports, NAME) as running:
        yield running


@contextmanager
def empty_server() -> Iterator[Running]:
    """KServe's ModelServer with a model that answers zeros; no log, the same event loop."""
    ports = _free_ports()
    with _process([sys.executable, "-W", "ignore", "-c", _EMPTY, *map(str, ports)], ports, "empty") as running:
        yield running


@cache
def _home() -> Path:
    """A home whose registry holds a `profile` as champion; it goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="foretail-serving-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    train_request(_REQUEST, folder / "out", Settings(home=folder / "home", workers=1), Silent())
    return folder / "home"


@cache
def _fill_store() -> None:
    """The feature rows of the same chain, in the embedded online store of that home."""
    settings = Settings(home=_home(), workers=1)
    apply_features(_REQUEST, settings, Silent())
    materialize_features(settings, Silent())


def _reference(family: str) -> str:
    """What to serve: the champion, or a bundle of that family with the intervals of the champion."""
    if family == "profile":
        return NAME
    if "features=store" in family:
        _fill_store()
    bundle = read_bundle(Registry(Settings(home=_home())).fetch(NAME))
    model = make(family).fit(bundle.panel, bundle.info.horizon)
    folder = _home().parent / re.sub(r"\W+", "-", family).strip("-")
    write_bundle(folder, replace(bundle, info=replace(bundle.info, tree=FamilyTree(family)), model=model))
    return f"{NAME}={folder}"


@contextmanager
def _process(command: Sequence[str], ports: Sequence[int], model: str) -> Iterator[Running]:
    started = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            command, stdout=told, stderr=subprocess.STDOUT, env=os.environ | {"FEAST_USAGE": "False"}
        )
        url = f"http://127.0.0.1:{ports[0]}"
        try:
            while not _is_ready(url):
                if process.poll() is not None or time.perf_counter() - started > 300:
                    told.seek(0)
                    raise RuntimeError(told.read().decode())
                time.sleep(0.02)
            took = time.perf_counter() - started
            yield Running(url, f"127.0.0.1:{ports[1]}", model, took, process.pid)
        finally:
            process.terminate()
            process.wait(60)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5) as answer:
            return bool(json.load(answer)["ready"])
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for trial in (first, second):
            trial.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
