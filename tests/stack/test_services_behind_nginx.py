"""The services as they run: PostgreSQL, two of each behind a real Nginx, workers; some of them are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from scripts.services import own
from scripts.services.nginx import Nginx
from scripts.services.own import Own
from scripts.services.postgres import Postgres
from scripts.services.process import free_port
from websockets.sync.client import connect
from websockets.sync.server import serve

SHOP = Path(__file__).resolve().parents[1] / "integration" / "serving"  # where the fleet of these tests is made
FLEET = "shops"
OVER = ("SUCCEEDED", "STOPPED", "FAILED")
PAIR = {"store_id": "1", "product_name": "product_A"}


@dataclass
class Shop:
    """What runs.

    Attributes
    ----------
    url : of Nginx. words : of each API, so that it can be started again on its port.
    """

    folder: Path
    environment: dict[str, str]
    url: str
    ports: dict[str, list[int]]

    def start(self, kind: str, port: int) -> Own:
        words = ["serve", "api", "--fleet", FLEET, "--port", str(port), f"--{kind}", "--rate", "0"]
        words += ["--request-log", str(self.folder / "requests.jsonl")]
        return Own(words, self.folder / "home", self.folder / f"{kind}-{port}.log", self.environment)

    def worker(self, stack: ExitStack) -> Own:
        log = self.folder / f"worker-{time.monotonic_ns()}.log"
        return stack.enter_context(own.worker(self.folder / "home", FLEET, log, environment=self.environment))

    def submit(self, path: str, **headers: str) -> str:
        answer = httpx.post(f"{self.url}/api/trainers{path}", headers=headers, timeout=60)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["train_job_id"])

    def wait_for(self, job_id: str, *statuses: str, timeout_s: float = 120) -> dict[str, Any]:
        end = time.monotonic() + timeout_s
        while True:
            answer = httpx.get(f"{self.url}/api/trainers/training_job_status/{job_id}", timeout=60)
            found: dict[str, Any] = answer.json()
            if answer.status_code == 200 and found["status"] in (statuses or OVER):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def forecast(self, *items: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/api/forecasters/forecast", json=list(items), timeout=60)


@pytest.fixture(scope="module")
def shop(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A fleet in PostgreSQL; Nginx before the ports of two trainers and two forecasters, which are not started yet."""
    folder = tmp_path_factory.mktemp("shop")
    url = postgres.create("services")
    program = "from pathlib import Path; import sys, shop_fleet; shop_fleet.make_fleet(Path(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(folder), url], cwd=SHOP, check=True, timeout=300)
    ports = {"trainer": [free_port(), free_port()], "forecaster": [free_port(), free_port()], "ui": [free_port()]}
    upstreams = {
        f"{kind}s" if kind != "ui" else kind: [f"127.0.0.1:{port} max_fails=1 fail_timeout=1s" for port in found]
        for kind, found in ports.items()
    }
    nginx = Nginx(upstreams, dies_with_parent=True)
    try:
        nginx.start()
        yield Shop(folder, {"FORETAIL_WAREHOUSE": url}, nginx.url, ports)
    finally:
        nginx.remove()


@pytest.fixture(scope="module")
def services(shop: Shop) -> Iterator[dict[str, list[Own]]]:
    """Two trainers and two forecasters; a test that kills one starts it again."""
    running: dict[str, list[Own]] = {"trainer": [], "forecaster": []}
    try:
        for kind, found in running.items():
            found += [shop.start(kind, port) for port in shop.ports[kind]]
        yield running
    finally:
        for found in running.values():
            for service in found:
                service.stop()


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Iterator[Own]:
    with ExitStack() as stack:
        yield shop.worker(stack)


def test_without_services_nginx_says_so(shop: Shop) -> None:
    answer = shop.forecast(PAIR)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.json()["problems"][0]["fix"] == "ask again in some seconds"


def test_a_series_is_trained_and_its_new_version_served_within_seconds(
    shop: Shop, services: dict[str, list[Own]], worker: Own
) -> None:
    time.sleep(1.1)  # Nginx has seen them down before
    before = shop.forecast(PAIR).json()[0]["api"]["model_version"]
    found = shop.wait_for(shop.submit("/1/product_A/train"))
    assert found["status"] == "SUCCEEDED", found
    for _ in range(4):  # by each of the forecasters
        (answer,) = shop.forecast(PAIR).json()
        assert answer["api"]["model_version"] == str(int(before) + 1)
        assert len(answer["forecast"]) == 7
    health = httpx.get(f"{shop.url}/api/forecasters/health", timeout=60).json()
    assert health["serviceStatus"] == "OK"


def test_the_same_job_posted_ten_times_at_once_is_one_job(shop: Shop, services: dict[str, list[Own]]) -> None:
    gate = threading.Barrier(10)

    def ask(_: int) -> str:
        gate.wait()
        return shop.submit("/2/product_A/train", **{"idempotency-key": "the tenth"})

    with ThreadPoolExecutor(10) as threads:
        assert len(set(threads.map(ask, range(10)))) == 1


def test_progress_comes_through_nginx_as_it_happens(shop: Shop, services: dict[str, list[Own]], worker: Own) -> None:
    job_id = shop.submit("/train")
    url = f"{shop.url}/api/trainers/training_jobs/{job_id}/events"
    with httpx.stream("GET", url, timeout=60) as stream:
        statuses = [
            json.loads(line.removeprefix("data: "))["status"]
            for line in stream.iter_lines()
            if line.startswith("data: ")
        ]
    assert statuses[-1] == "SUCCEEDED"
    assert "RUNNING" in statuses


def test_with_one_of_each_killed_everything_is_answered(shop: Shop, services: dict[str, list[Own]]) -> None:
    for kind in services:
        services[kind][0].kill()
    try:
        for _ in range(30):
            assert shop.forecast(PAIR).status_code == 200
        job_id = shop.submit("/1/product_B/train")
        assert shop.wait_for(job_id)["status"] == "SUCCEEDED"
    finally:
        for kind in services:
            services[kind][0] = shop.start(kind, shop.ports[kind][0])


def test_a_job_outlives_a_restart_of_the_trainers(shop: Shop, services: dict[str, list[Own]], worker: Own) -> None:
    job_id = shop.submit("/train")
    shop.wait_for(job_id, "RUNNING")
    for i, trainer in enumerate(services["trainer"]):
        trainer.kill()
        services["trainer"][i] = shop.start("trainer", shop.ports["trainer"][i])
    assert shop.wait_for(job_id)["status"] == "SUCCEEDED"


def test_bodies_that_are_far_too_large_end_at_nginx(shop: Shop, services: dict[str, list[Own]]) -> None:
    body = b"[" + b",".join([json.dumps(PAIR).encode()] * 1_000_000) + b"]"
    answer = httpx.post(f"{shop.url}/api/forecasters/forecast", content=body, timeout=60)
    assert (answer.status_code, answer.json()["detail"]) == (413, "the body is larger than 4 MiB")


def test_metrics_are_not_for_the_outside(shop: Shop, services: dict[str, list[Own]]) -> None:
    for name in ("trainers", "forecasters"):
        assert httpx.get(f"{shop.url}/api/{name}/metrics", timeout=60).status_code == 404
    assert httpx.get(f"{services['trainer'][1].url}/metrics", timeout=60).status_code == 200


def test_the_client_is_told_to_the_services_and_cannot_be_invented(shop: Shop, services: dict[str, list[Own]]) -> None:
    answer = httpx.get(f"{shop.url}/api/forecasters/health", headers={"x-forwarded-for": "1.2.3.4"}, timeout=60)
    name = answer.headers["x-request-id"]
    assert len(name) == 32  # Nginx names a request
    assert _line_of(shop.folder / "requests.jsonl", name)["client"] == "127.0.0.1"


def test_the_ui_speaks_through_websockets(shop: Shop) -> None:
    with serve(lambda session: session.send(session.recv()[::-1]), "127.0.0.1", shop.ports["ui"][0]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with connect(shop.url.replace("http://", "ws://") + "/_stcore/stream") as session:
            session.send("olleh")
            assert session.recv(timeout=30) == "hello"


def test_a_job_whose_worker_is_killed_is_done_by_the_next(
    shop: Shop, services: dict[str, list[Own]], worker: Own
) -> None:
    worker.stop()
    with ExitStack() as stack:
        first = shop.worker(stack)
        job_id = shop.submit("/train")
        shop.wait_for(job_id, "RUNNING")
        children = psutil.Process(first.pid).children()
        first.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive  # what it had started ends with it
        shop.worker(stack)
        found = shop.wait_for(job_id)
    assert (found["status"], found["attempts"]) == ("SUCCEEDED", 2)


def test_a_warehouse_that_goes_away_is_told_and_comes_back(own_postgres: Postgres, tmp_path: Path) -> None:
    environment = {"FORETAIL_WAREHOUSE": own_postgres.url}
    with own.api(tmp_path / "home", "none", tmp_path / "api.log", "--rate", "0", environment=environment) as api:
        assert httpx.post(f"{api.url}/forecast", json=[PAIR], timeout=60).json()[0]["error"]["status"] == 404
        own_postgres.kill()
        for answer in (
            httpx.post(f"{api.url}/forecast", json=[PAIR], timeout=60),
            httpx.post(f"{api.url}/1/product_A/train", timeout=60),
            httpx.get(f"{api.url}/training_jobs", timeout=60),
        ):
            assert answer.status_code == 503, answer.text
            assert "does not work at present" in answer.json()["detail"]
            assert own_postgres.password not in answer.text
        health = httpx.get(f"{api.url}/health", timeout=60)
        assert (health.status_code, health.json()["serviceStatus"]) == (503, "FAILED")
        assert "foretail_warehouse_up 0.0" in httpx.get(f"{api.url}/metrics", timeout=60).text
        own_postgres.start()
        assert httpx.post(f"{api.url}/forecast", json=[PAIR], timeout=60).json()[0]["error"]["status"] == 404
        assert httpx.get(f"{api.url}/health", timeout=60).status_code == 200
        assert own_postgres.password not in api.log.read_text()


def _line_of(log: Path, name: str) -> dict[str, Any]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = [json.loads(text) for text in log.read_text().splitlines() if name in text]
        if found:
            return dict(found[0])
        time.sleep(0.1)
    raise AssertionError(f"no line of {name}")
