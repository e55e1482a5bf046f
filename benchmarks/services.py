"""The trainer and the forecaster: one pair at 16 connections, 1,115 pairs in one request, a series trained anew.

``python -m benchmarks.services [SECONDS]``: seconds of each load (5). PostgreSQL, Nginx, the API and a warm worker are
started for it; the fleet has 1,115 series, as many as Rossmann has shops.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import polars as pl
from scripts.services import own
from scripts.services.nginx import Nginx
from scripts.services.postgres import Postgres

from benchmarks.serving_load import Load, Loaded, run_load
from benchmarks.table import Measure, publish

N_SERIES = 1_115
FLEET = "bench"
PRODUCT = "product_A"
CONNECTIONS = (1, 16)
_DAYS = 150
_RETRAINED = 8


@dataclass(frozen=True)
class Running:
    """What is measured: the API itself, and Nginx before it."""

    api: own.Own
    nginx: Nginx


def main(seconds: float) -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as services:
        measures = [
            *_one_pair(Path(name), services, seconds),
            *_many_pairs(Path(name), services, seconds),
            *_retrained(services),
        ]
    publish("services", measures)


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """PostgreSQL with the trained fleet, API, worker and Nginx."""
    with ExitStack() as stack:
        postgres = Postgres(dies_with_parent=True)
        stack.callback(postgres.remove)
        postgres.start()
        environment = {"FORETAIL_WAREHOUSE": postgres.url}
        _train(folder, postgres.url)
        home = folder / "home"
        api = stack.enter_context(own.api(home, FLEET, folder / "api.log", "--rate", "0", environment=environment))
        stack.enter_context(own.worker(home, FLEET, folder / "worker.log", environment=environment))
        nginx = Nginx({"trainers": [api.address], "forecasters": [api.address]}, dies_with_parent=True)
        stack.callback(nginx.remove)
        nginx.start()
        yield Running(api, nginx)


def _train(folder: Path, warehouse: str) -> None:
    """The fleet, in a process of its own."""
    table = folder / "sales.csv"
    _sales().write_csv(table)
    program = f"""
import sys
from pathlib import Path
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.fleet import FleetRequest, fleet_train
from foretail.pipelines.request import Request

if __name__ == "__main__":
    table, home, warehouse = sys.argv[1:]
    keys = ("store", "productname")
    request = Request(table, keys=keys, time="date", target="sales", freq="D", country="none")
    fleet_train(FleetRequest(request, fleet={FLEET!r}), Settings(home=Path(home), warehouse=warehouse), Silent())
"""
    script = folder / "train.py"
    script.write_text(program, encoding="utf-8")
    words = [sys.executable, str(script), str(table), str(folder / "home"), warehouse]
    subprocess.run(words, check=True, cwd=folder)


def _sales() -> pl.DataFrame:
    """1,115 shops that are shut on Sundays."""
    rng = np.random.default_rng(11)
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 1) + pl.duration(days=_DAYS - 1), eager=True)
    weekday = days.dt.weekday().to_numpy()
    level = rng.gamma(4.0, 1500.0, N_SERIES)[:, None] * np.where(weekday == 5, 1.3, 1.0)
    sold = np.where(weekday == 7, 0, np.round(level * rng.gamma(60.0, 1 / 60.0, level.shape)))
    stores = pl.Series("store", np.repeat(np.arange(1, N_SERIES + 1), _DAYS))
    dates = pl.concat([days] * N_SERIES).alias("date")
    sales = pl.Series("sales", sold.ravel().astype(np.int64))
    return pl.DataFrame([stores, dates, sales]).with_columns(productname=pl.lit(PRODUCT))


def _one_pair(folder: Path, services: Running, seconds: float) -> list[Measure]:
    """The API itself, and through Nginx."""
    measures = []
    for connections in CONNECTIONS:
        direct = _load(folder, services.api.address, "/forecast", 1, connections, seconds)
        address = services.nginx.url.removeprefix("http://")
        proxied = _load(folder, address, "/api/forecasters/forecast", 1, connections, seconds)
        work = f"POST /forecast, one pair, {connections} connections"
        goal = {"at_most": 40.0} if connections == 16 else {}
        measures += [
            Measure(f"{work}: requests", direct.per_s, "1/s", "through Nginx", proxied.per_s),
            Measure(f"{work}: p50", direct.p50_ms, "ms", "through Nginx", proxied.p50_ms),
            Measure(f"{work}: p99", direct.p99_ms, "ms", "through Nginx", proxied.p99_ms, **goal),
        ]
    return measures


def _many_pairs(folder: Path, services: Running, seconds: float) -> list[Measure]:
    loaded = _load(folder, services.api.address, "/forecast", N_SERIES, 1, seconds)
    return [
        Measure(f"POST /forecast, {N_SERIES} pairs: p50", loaded.p50_ms, "ms"),
        Measure(f"POST /forecast, {N_SERIES} pairs: p99", loaded.p99_ms, "ms"),
    ]


def _load(folder: Path, address: str, path: str, n: int, connections: int, seconds: float) -> Loaded:
    body = folder / "body"
    body.write_text(json.dumps([{"store_id": str(1 + i), "product_name": PRODUCT} for i in range(n)]))
    loaded = run_load(Load("http", address, path, str(body), connections, seconds))
    if set(loaded.statuses) - {"200"}:
        raise RuntimeError(f"{path}: {loaded.statuses}")
    return loaded


def _retrained(services: Running) -> list[Measure]:
    """From the request to the new version served, through Nginx."""
    base = f"{services.nginx.url}/api"
    seconds = []
    with httpx.Client(timeout=60) as client:
        for store in range(1, _RETRAINED + 1):
            began = time.perf_counter()
            told = client.post(f"{base}/trainers/{store}/{PRODUCT}/train").json()
            _wait(client, f"{base}/trainers/training_job_status/{told['train_job_id']}")
            served = client.post(f"{base}/forecasters/forecast", json=[{"store_id": store, "product_name": PRODUCT}])
            seconds.append(time.perf_counter() - began)
            if served.json()[0]["api"]["model_version"] != "2":
                raise RuntimeError(f"the new version is not served: {served.text}")
    work = "a series trained through Nginx, until its new version is served"
    return [
        Measure(f"{work}: median of {_RETRAINED}", float(np.median(seconds)), "s"),
        Measure(f"{work}: slowest", max(seconds), "s", at_most=5.0),
    ]


def _wait(client: httpx.Client, url: str) -> None:
    while (told := client.get(url).json())["status"] in ("PENDING", "RUNNING"):
        time.sleep(0.02)
    if told["status"] != "SUCCEEDED":
        raise RuntimeError(f"a job failed: {told}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
