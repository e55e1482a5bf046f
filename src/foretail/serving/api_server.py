"""`foretail serve api`: the trainer and the forecaster on uvicorn, one process, ended without losing an answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop
from sqlalchemy import Engine

from foretail.core.errors import ForetailError, UsageError
from foretail.core.settings import Settings
from foretail.serving.ad_hoc import AdHoc
from foretail.serving.api_app import make_app
from foretail.serving.api_events import Events
from foretail.serving.api_guard import LINE, Guard
from foretail.serving.api_limits import RateLimit, TokenCheck
from foretail.serving.api_metrics import ApiMetrics
from foretail.serving.api_standing import health_of, standing_of
from foretail.serving.forecast_routes import MOST_PAIRS, forecaster_router
from foretail.serving.forecast_store import ForecastStore
from foretail.serving.forecaster import Forecaster
from foretail.serving.listening import listen, url_of
from foretail.serving.requestlog import RequestLog
from foretail.serving.trainer import Trainer, TrainerOptions, trainer_router
from foretail.serving.worker import SILENT_S
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.jobs import Jobs

__all__ = ["ApiOptions", "serve_api"]

logger = logging.getLogger(__name__)

_LOOPBACK = ("127.", "::1", "localhost")
_REAP_S = 2.0


@dataclass(frozen=True)
class ApiOptions:
    """What is served, and how.

    Attributes
    ----------
    fleet : whose forecasts are answered.
    trainer, forecaster : which of the services.
    host, port : where it listens; port 0 takes any that is free. root_path : where a proxy shows it.
    proxies : addresses whose word on the client's address counts.
    token : needed for what changes something; "" for none, on this machine only. Never shown.
    rate : requests a second from one address, 0 for no limit. max_bytes : of a body. max_pairs : of a request.
    request_log : a file, ``-`` for stderr, "" for none. run_id : on every line of it.
    jobs : how long they may take. grace_s : that requests under way get at the end.
    """

    fleet: str
    trainer: bool = True
    forecaster: bool = True
    host: str = "127.0.0.1"
    port: int = 8001
    root_path: str = ""
    proxies: str = "127.0.0.1"
    token: str = field(default="", repr=False)
    rate: float = 100.0
    max_bytes: int = 2 * 2**20
    max_pairs: int = MOST_PAIRS
    request_log: str = ""
    run_id: str = ""
    jobs: TrainerOptions = field(default_factory=TrainerOptions)
    grace_s: float = 20.0

    def __post_init__(self) -> None:
        if self.trainer and not self.token and not self.host.startswith(_LOOPBACK):
            raise UsageError(
                f"the trainer would take jobs from anyone.\n  where: --host {self.host}\n"
                "  fix:   set FORETAIL_TOKEN (or --token), or listen on 127.0.0.1"
            )


def serve_api(settings: Settings, options: ApiOptions, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Parameters
    ----------
    on_ready : called with the address once it answers.

    Raises
    ------
    UsageError : the port or the request log cannot be had. ForetailError : the warehouse does not answer.
    """
    engine = open_warehouse(settings.warehouse)
    listener = listen(options.host, options.port)
    log = RequestLog(options.request_log, LINE) if options.request_log else None
    events = Events()
    app, close = _application(engine, settings, options, log, events)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=True,
        forwarded_allow_ips=options.proxies,
        timeout_graceful_shutdown=int(options.grace_s) or 1,
    )
    gc.collect()
    gc.freeze()  # what is loaded stays; the collector need not walk through it at every request
    reaper = _Reaper(Jobs(engine)) if options.trainer else None
    if reaper is not None:
        reaper.start()
    try:
        uvloop.run(
            _answer(
                _Server(config), listener, events, lambda: on_ready(url_of(options.host, listener.getsockname()[1]))
            )
        )
    finally:
        if reaper is not None:
            reaper.stop()
        close()
        if log is not None:
            log.close()
        engine.dispose()


def _application(
    engine: Engine, settings: Settings, options: ApiOptions, log: RequestLog | None, events: Events
) -> tuple[Any, Callable[[], None]]:
    """The guarded application, and what ends its threads."""
    metrics = ApiMetrics(lambda: standing_of(engine, options.fleet))
    routers = []
    ending = ExitStack()
    if options.forecaster:
        models = AdHoc(engine, options.fleet, settings)
        threading.Thread(target=models.warm_up, name="foretail-warm-up", daemon=True).start()
        forecaster = Forecaster(ForecastStore(engine, options.fleet), models.make)
        ending.callback(forecaster.close)
        routers.append(forecaster_router(forecaster, metrics, max_bytes=options.max_bytes, most=options.max_pairs))
    if options.trainer:
        trainer = Trainer(Jobs(engine), options.jobs)
        routers.append(trainer_router(trainer, TokenCheck(options.token), events))
    app = make_app(routers, health_of(engine, settings), metrics, root_path=options.root_path)
    guard = Guard(app, RateLimit(options.rate), metrics, log, options.run_id)
    return guard, ending.close


async def _answer(server: _Server, listener: socket.socket, events: Events, on_ready: Callable[[], None]) -> None:
    """Answer; the first signal begins the end, the second hurries it."""
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        if server.should_exit:
            server.force_exit = True
        logger.warning("signal %d: ending", number)
        events.is_ending = True
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    server.on_started = on_ready
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals to us and says when it answers."""

    on_started: Callable[[], None]

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # uvicorn's is a generator
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()


class _Reaper(threading.Thread):
    """Jobs that are over their time fail, and those of dead workers go back, also while no worker runs."""

    def __init__(self, jobs: Jobs):
        super().__init__(name="foretail-reaper", daemon=True)
        self._jobs = jobs
        self._ending = threading.Event()

    def stop(self) -> None:
        self._ending.set()
        self.join()

    def run(self) -> None:
        told = -60.0
        while not self._ending.wait(_REAP_S):
            try:
                self._jobs.reap(silent_s=SILENT_S)
            except ForetailError as error:
                if time.monotonic() - told >= 60:  # once a minute says enough
                    logger.error("jobs cannot be looked after: %s", error)
                    told = time.monotonic()
