"""`foretail serve kserve`: model versions on KServe's ModelServer, ready when they are right, ended without loss."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from kserve import ModelServer
from kserve.protocol.rest.server import _RefreshingServer
from threadpoolctl import threadpool_limits

from foretail.core.errors import UsageError
from foretail.core.settings import Settings
from foretail.serving.dataplane import Plane, Repository
from foretail.serving.listening import listen, url_of
from foretail.serving.predictor import Predictor
from foretail.serving.requestlog import RequestLog
from foretail.serving.rest import RestServer
from foretail.serving.rpc import RpcServer
from foretail.serving.slow_lane import SlowLane
from foretail.serving.traffic import Canary, Route, Shadow
from foretail.serving.versions import Reference, Shelf, Watcher
from foretail.serving.wire import MAX_INSTANCES

if TYPE_CHECKING:
    from foretail.features.online.reader import OnlineReader

__all__ = ["Addresses", "Options", "Server", "serve"]

logger = logging.getLogger(__name__)

_SERVICE = "inference_features"


@dataclass(frozen=True)
class Options:
    """How a server behaves.

    Attributes
    ----------
    host, http_port, grpc_port : where it listens; port 0 takes any that is free.
    poll_s : seconds between two looks at where the aliases stand.
    drain_s : seconds from SIGTERM, no longer ready and still answering, until connections are closed.
    grace_s : seconds that requests under way get after that.
    request_log : a file, ``-`` for stderr, "" for none.
    max_instances : of one request, and rows of its answer. max_bytes : of a request's body.
    """

    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    poll_s: float = 10.0
    drain_s: float = 2.0
    grace_s: float = 30.0
    request_log: str = ""
    max_instances: int = MAX_INSTANCES
    max_bytes: int = 8 * 2**20


@dataclass(frozen=True)
class Addresses:
    """Where a server answers."""

    http: str
    grpc: str


class Server(ModelServer):  # type: ignore[misc]  # kserve carries no types
    """KServe's model server with versions that are followed, refusals that explain, and an orderly end.

    Parameters
    ----------
    shelf : the loaded versions. predictors : one per name. options : how it behaves.
    on_ready : called with the addresses once it answers.
    """

    def __init__(
        self,
        shelf: Shelf,
        predictors: Sequence[Predictor],
        options: Options,
        on_ready: Callable[[Addresses], None],
    ):
        logging.getLogger("kserve").addHandler(logging.NullHandler())  # else kserve logs every request to stderr
        logging.getLogger("kserve").setLevel(logging.WARNING)
        super().__init__(
            http_port=options.http_port,
            grpc_port=options.grpc_port,
            registered_models=Repository(shelf),
            enable_latency_logging=False,
        )
        self.options = options
        self.dataplane = Plane(self.registered_models)
        self._predictors = list(predictors)
        self._on_ready = on_ready
        self._ending: asyncio.Task[None] | None = None

    def start(self, models: Sequence[Predictor] | None = None) -> None:
        """Answer until SIGTERM or Ctrl-C.

        Raises
        ------
        UsageError : a port cannot be had.
        """
        self._register_and_check_atleast_one_model_is_ready(list(models or self._predictors))
        threadpool_limits(1, user_api="blas")  # requests are many and small: threads of one only wait for each other
        uvloop.run(self._answer())

    async def _answer(self) -> None:
        options = self.options
        listener = listen(options.host, options.http_port, "--http-port")
        rest = RestServer(
            self.dataplane,
            self.model_repository_extension,
            host=options.host,
            port=options.http_port,
            max_bytes=options.max_bytes,
            grace_s=options.grace_s,
        )
        rest.create_application()
        uvicorn = rest.use_server(_Uvicorn(rest.config))
        rpc = RpcServer(
            self.dataplane,
            self.model_repository_extension,
            host=options.host,
            port=options.grpc_port,
            max_bytes=options.max_bytes,
            grace_s=options.grace_s,
        )
        grpc_port = await rpc.start()
        self._watch_signals(uvicorn, rpc)
        uvicorn.on_started = lambda: self._on_ready(
            Addresses(url_of(options.host, listener.getsockname()[1]), f"{options.host}:{grpc_port}")
        )
        await uvicorn.serve(sockets=[listener])
        if self._ending is not None:
            await self._ending
        await rpc.stop()

    def _watch_signals(self, uvicorn: Any, rpc: RpcServer) -> None:
        """The first signal begins the end, the second hurries it."""
        loop = asyncio.get_running_loop()

        def end(number: int) -> None:
            if self._ending is None:
                logger.warning("signal %d: no longer ready, ending in %g s", number, self.options.drain_s)
                self._ending = loop.create_task(self._end(uvicorn, rpc))
            else:
                uvicorn.should_exit = uvicorn.force_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)

    async def _end(self, uvicorn: Any, rpc: RpcServer) -> None:
        self.dataplane.is_draining = True
        await asyncio.sleep(self.options.drain_s)
        uvicorn.should_exit = True
        await rpc.stop()


class _Uvicorn(_RefreshingServer):  # type: ignore[misc]  # kserve carries no types
    """Uvicorn that leaves the signals to us and says when it answers."""

    on_started: Callable[[], None]

    def capture_signals(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()


def serve(
    models: Sequence[str],
    settings: Settings,
    options: Options,
    on_ready: Callable[[Addresses], None],
    *,
    canary: Canary | None = None,
    shadow: str = "",
    repo: Path | None = None,
) -> None:
    """Serve model versions over KServe's protocols until SIGTERM or Ctrl-C.

    Parameters
    ----------
    models : references, see `Reference.parse`; of those with the same name, the first answers who names no version.
    on_ready : called once every version is loaded, its golden request right, and the ports answer.
    canary : a share of every name's traffic for an alias. shadow : the alias that requests are mirrored to.
    repo : the Feast repository of the online store; by default the embedded one.

    Raises
    ------
    UsageError : a reference, a port or a file that cannot be. RegistryError : a version that is not there.
    """
    references = list(dict.fromkeys(map(Reference.parse, models)))
    names = list(dict.fromkeys(reference.name for reference in references))
    extra = [
        replace(reference, version=alias, folder=None) for alias in _aliases(canary, shadow) for reference in references
    ]
    _check_followed(references, extra)
    shelf = Shelf(references, extra, settings, lambda: _open_online(settings, repo))
    shelf.fill()
    log = RequestLog(options.request_log) if options.request_log else None
    slow = SlowLane()
    shadows = {name: Shadow(shelf.slots[Reference(name, shadow)]) for name in names if shadow}
    predictors = [
        Predictor(
            name,
            _route(shelf, name, canary),
            slow,
            shadow=shadows.get(name),
            log=log,
            max_instances=options.max_instances,
        )
        for name in names
    ]
    watcher = Watcher(shelf, options.poll_s)
    for thread in (watcher, *shadows.values()):
        thread.start()
    gc.collect()
    gc.freeze()  # what is loaded stays; the collector need not walk through it at every request
    try:
        Server(shelf, predictors, options, on_ready).start()
    finally:
        watcher.stop()
        slow.close()
        for thread in shadows.values():
            thread.stop()
        if log is not None:
            log.close()


def _aliases(canary: Canary | None, shadow: str) -> list[str]:
    return [alias for alias in (canary.alias if canary else "", shadow) if alias]


def _check_followed(references: Sequence[Reference], extra: Sequence[Reference]) -> None:
    """A canary or a shadow is an alias of a registered model."""
    loose = [reference for reference in references if reference.folder is not None]
    if extra and loose:
        raise UsageError(
            f"a bundle in a folder has no aliases.\n  where: {loose[0]}\n"
            "  fix:   serve a registered model (NAME@alias), or leave --canary and --shadow out"
        )


def _route(shelf: Shelf, name: str, canary: Canary | None) -> Route:
    slots = [slot for reference, slot in shelf.slots.items() if reference.name == name]
    share = None if canary is None else (shelf.slots[Reference(name, canary.alias)], canary.percent)
    return Route(slots, share)


def _open_online(settings: Settings, repo: Path | None) -> OnlineReader:
    """The online store's reader."""
    from foretail.features.feast_loading import load_feast

    load_feast()
    from foretail.features.online import OnlineReader
    from foretail.features.repository import find_service
    from foretail.pipelines.features import open_repository

    store = open_repository(settings, repo).open()
    return OnlineReader(store, find_service(store, _SERVICE))
