"""A server whose feature rows lie in PostgreSQL: while that is dead a 503 with its reason, then all is well again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from scripts.services.postgres import Postgres

from foretail.core.errors import PromotionRefused
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.features import apply_features, materialize_features
from foretail.pipelines.request import Request
from foretail.pipelines.train import train_request
from foretail.registry.bundle import read_bundle
from foretail.registry.versions import Registry

NAME = "sales-forecast"
WORLD = {"stores": 2, "departments": 3, "weeks": 70, "horizon": 4, "opening_share": 0, "closing_share": 0, "seed": 3}
FAMILY = "neural[features=store,epochs=1,members=1,max_rows=2000,n_threads=1]"
ONLINE = """project: foretail
provider: local
registry:
  path: data/registry.db
offline_store:
  type: foretail.features.offline.AsofOfflineStore
online_store:
  type: foretail.features.online.WideOnlineStore
  url: {url}
batch_engine:
  type: foretail.features.online.BulkEngine
entity_key_serialization_version: 3
"""


@dataclass
class Served:
    """A running server, and a date that it answers."""

    url: str
    date: str

    def ask(self) -> httpx.Response:
        instance = {"store_id": 1, "dept_id": 2, "target_date": self.date}
        return httpx.post(f"{self.url}/v1/models/{NAME}:predict", json={"instances": [instance]}, timeout=30)


@pytest.fixture
def served(own_postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("FEAST_USAGE", "False")
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(ONLINE.format(url=own_postgres.url))
    (tmp_path / "world.json").write_text(json.dumps(WORLD))
    settings = Settings(home=tmp_path / "home", workers=1)
    request = Request(table="synthetic", data=tmp_path / "world.json", name=NAME, models=(FAMILY,))
    apply_features(request, settings, Silent(), repo=repo)
    materialize_features(settings, Silent(), repo=repo)
    with suppress(PromotionRefused):
        train_request(request, tmp_path / "out", settings, Silent())
    command = [str(Path(sys.executable).parent / "foretail"), "serve", "kserve", "--model", f"{NAME}/1", "--json"]
    ports = ["--http-port", "0", "--grpc-port", "0", "--home", str(settings.home), "--repo", str(repo)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path)
    assert process.stdout is not None
    try:
        told = ""
        while not told.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, (tmp_path / "log").read_text()
            told += line
        first = read_bundle(Registry(settings).fetch(NAME, 1)).panel.future_dates(1)[0]
        yield Served(json.loads(told)["http"], str(first))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def test_a_store_that_is_killed_is_a_503_and_the_server_mends_by_itself(served: Served, own_postgres: Postgres) -> None:
    before = served.ask()
    assert before.status_code == 200, before.text

    own_postgres.kill()
    refused = served.ask()
    assert refused.status_code == 503, refused.text
    assert "online store" in refused.text

    own_postgres.start()
    end = time.monotonic() + 30
    while (after := served.ask()).status_code != 200 and time.monotonic() < end:
        time.sleep(0.2)
    assert after.status_code == 200, after.text
    assert after.json()["predictions"] == before.json()["predictions"]
