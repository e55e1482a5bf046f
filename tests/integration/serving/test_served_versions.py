"""Versions come and go under traffic: swapped, refused, shared out, mirrored, drained; no request is lost."""

import shutil
import threading
import time
import warnings
from dataclasses import dataclass, field

import httpx
import pytest
from served import NAME, registry_of, running, set_alias

from foretail.registry.bundle import read_bundle, write_bundle

PREDICT = f"/v1/models/{NAME}:predict"
GOOD = {"store_id": 1, "dept_id": 1, "target_date": "2012-02-03"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")


@dataclass
class Traffic:
    """Four clients that ask one request after the other, on kept-open connections.

    A client goes elsewhere when it is told that its connection is closed, as a load balancer does.
    """

    url: str
    answers: list[tuple[int, str]] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self):
        self.threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _ask(self):
        with httpx.Client(timeout=30) as client:
            while not self.stopped.is_set():
                try:
                    answer = client.post(f"{self.url}{PREDICT}", json={"instances": [GOOD]})
                except httpx.HTTPError as error:
                    self.trouble.append(repr(error))
                    continue
                version = answer.json()["predictions"][0]["model_version"] if answer.status_code == 200 else ""
                self.answers.append((answer.status_code, version))
                if answer.headers.get("connection") == "close":
                    return
                time.sleep(0.002)

    def versions(self):
        return {version for _, version in list(self.answers)}


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def log_broken(home, folder):
    """A version whose model's file is not what was written."""
    registry = registry_of(home)
    write_bundle(folder, read_bundle(registry.fetch(NAME, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own making
        version = registry.log(folder, NAME).version
    path = registry.fetch(NAME, version) / "model" / "family.json"
    path.write_text(path.read_text() + " ")
    return version


def test_swaps_keeps_what_works_and_drains_without_losing_a_request(world, tmp_path):
    home = world.copy(tmp_path)
    words = ("--model", NAME, "--poll", "0.2", "--drain", "0.5")
    with running(home, tmp_path / "server.log", *words) as server, Traffic(server.http) as traffic:
        until(lambda: len(traffic.answers) > 20)
        assert traffic.versions() == {f"{NAME}/1"}

        set_alias(home, "champion", 2)
        until(lambda: f"{NAME}/2" in traffic.versions())

        broken = log_broken(home, tmp_path / "broken")
        set_alias(home, "champion", broken)
        until(lambda: server.metric("foretail_version_load_failures_total"))
        told = httpx.get(f"{server.http}/v1/models/{NAME}").json()
        assert told["ready"] is True
        assert told["version"] == "2"
        assert f"version {broken} cannot be served" in told["versions"][0]["trouble"]
        assert server.predict(GOOD)[0]["model_version"] == f"{NAME}/2"

        set_alias(home, "champion", 1)
        until(lambda: server.predict(GOOD)[0]["model_version"] == f"{NAME}/1")
        assert httpx.get(f"{server.http}/v1/models/{NAME}").json()["versions"][0]["trouble"] is None
        assert server.stop() == 0
    assert traffic.trouble == []
    assert {status for status, _ in traffic.answers} == {200}
    assert traffic.versions() == {f"{NAME}/1", f"{NAME}/2"}
    assert "cannot be served" in (tmp_path / "server.log").read_text()


def test_is_not_ready_while_it_drains_and_still_answers(world, tmp_path):
    with running(world.home, tmp_path / "server.log", "--model", NAME, "--drain", "3") as server:
        assert httpx.get(f"{server.http}/v2/health/ready").status_code == 200
        server.process.terminate()
        until(lambda: httpx.get(f"{server.http}/v2/health/ready").status_code == 503)
        assert httpx.get(f"{server.http}/v2/health/live").status_code == 200
        answer = httpx.post(f"{server.http}{PREDICT}", json={"instances": [GOOD]})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert server.process.wait(60) == 0


def test_canary_gets_its_share_and_the_shadow_is_compared(world, tmp_path):
    home = world.copy(tmp_path)
    words = ("--model", NAME, "--canary", "challenger=10", "--shadow", "challenger", "--poll", "0.2")
    with running(home, tmp_path / "server.log", *words) as server:
        models = [server.predict(GOOD)[0]["model_version"] for _ in range(100)]
        assert models.count(f"{NAME}/2") == 10
        until(lambda: server.metric("foretail_shadow_total") == 100)
        assert server.metric('foretail_shadow_total{outcome="same"}') == 10
        assert server.metric('foretail_shadow_total{outcome="different"}') == 90

        registry_of(home)._client.delete_registered_model_alias(NAME, "challenger")
        until(lambda: httpx.get(f"{server.http}/v1/models/{NAME}").json()["versions"][-1]["version"] is None)
        assert {server.predict(GOOD)[0]["model_version"] for _ in range(30)} == {f"{NAME}/1"}


def test_a_bundle_in_a_folder_is_served(world, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(registry_of(world.home).fetch(NAME, 1), folder)
    with running(tmp_path / "empty", tmp_path / "server.log", "--model", f"{NAME}={folder}", "--drain", "0") as server:
        row = server.predict(GOOD)[0]
    assert row["y_hat"] == world.forecasts[1]["y_hat"][0]
    assert row["model_version"] == "models"
