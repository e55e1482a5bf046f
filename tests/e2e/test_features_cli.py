"""The feature store through real commands: apply, join, materialise, read, serve; and Feast's own on the same files."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from shop import Shop

from foretail.features.history import feature_rows
from foretail.features.repository import FeatureRepository
from foretail.panel.build import build_panel
from foretail.sources.open import open_table

WORLD = {"stores": 3, "departments": 4, "weeks": 60, "opening_share": 0.0, "closing_share": 0.0, "seed": 11}
KEYS = ["store_id", "dept_id"]
EVENT = "event_timestamp"
FEAST = Path(sys.executable).parent / "feast"


class Store:
    """The shop with features applied: the commands, the panel behind them, and what `apply` said."""

    def __init__(self, shop: Shop):
        self.shop = shop
        self.config = shop.folder / "world.json"
        self.applied = json.loads(self("apply", "synthetic", "--data", self.config, "--json").stdout)
        self.repo = Path(self.applied["repo"])
        self.panel = build_panel(open_table("synthetic", data=self.config)).panel
        self.declaration = FeatureRepository(self.repo).declaration()
        self.inputs = [name for _, name in self.declaration.service("inference_features").features]

    def __call__(self, verb, *words, code=0):
        return self.shop("features", verb, *words, code=code)

    def raw(self, day):
        """The features of one as-of date, recomputed from the table: keys, then the inputs."""
        frames = feature_rows(self.panel, self.declaration, day)
        statics = frames["store_features"].drop(EVENT, "created_timestamp")
        return frames["sales_features"].join(statics, on="store_id").select(*KEYS, *self.inputs).sort(KEYS)

    def online(self):
        """What the online store answers for every key, through the command."""
        answer = self("get", "--keys", self.keys_file(), "--json")
        return pl.DataFrame(json.loads(answer.stdout), infer_schema_length=None)

    def keys_file(self):
        path = self.shop.folder / "keys.csv"
        self.panel.series.select(KEYS).write_csv(path)
        return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    (folder / "world.json").write_text(json.dumps(WORLD))
    return Store(Shop(folder, folder / "home", {"FEAST_USAGE": "False"}))


@pytest.fixture(scope="module")
def training(store):
    """Every row of the store, joined by the command."""
    out = store.shop.folder / "training.parquet"
    told = json.loads(store("join", "--from-table", "--out", out, "--json").stdout)
    return told, pl.read_parquet(out)


@pytest.fixture(scope="module")
def served(store):
    """What the online store holds after `materialize`."""
    return json.loads(store("materialize", "--json").stdout)


def test_apply_registers_what_the_declaration_counts(store):
    assert store.applied["services"]["training_features"] == 22
    assert store.applied["services"]["inference_features"] == 21
    assert store.applied["rows"] == {"sales_features": 720, "store_features": 3}
    assert {path.name for path in Path(store.applied["folder"]).iterdir()} >= {"sales_features", "store_features"}


def test_feast_lists_the_same_views(store):
    command = [FEAST, "-c", store.repo, "feature-views", "list"]
    listed = subprocess.run(command, env=store.shop.environ(), capture_output=True, text=True, timeout=120, check=True)
    assert {"sales_features", "store_features"} <= {line.split()[0] for line in listed.stdout.splitlines() if line}


def test_join_gives_every_row_of_the_store(store, training):
    told, frame = training
    assert told["rows"] == frame.height == 720
    assert told["features"] == 22
    assert frame.columns[:3] == [*KEYS, EVENT]
    assert set(told["splits"]) == {"train", "validation", "test"}
    assert sum(told["splits"].values()) == 720
    findings = pl.read_csv(store.shop.folder / "training.findings.csv")
    assert findings.height == len(told["findings"])


def test_materialize_loads_every_key(served):
    assert {view["view"]: view["n_rows"] for view in served} == {"sales_features": 12, "store_features": 3}


@pytest.mark.usefixtures("served")
def test_what_the_command_reads_online_is_the_row_recomputed_from_the_table(store):
    online, raw = store.online(), store.raw(store.panel.cutoff)
    assert online.columns[:3] == [*KEYS, "as_of"]
    assert online["as_of"].unique().to_list() == [f"{store.panel.cutoff} 00:00:00+00:00"]
    typed = online.select(pl.col(name).cast(dtype) for name, dtype in raw.schema.items())
    assert_frame_equal(typed.sort(KEYS), raw, check_exact=True)


def test_what_was_joined_is_the_row_recomputed_from_the_table(store, training):
    _, frame = training
    days = frame[EVENT].dt.date().unique().sort()
    for day in days.gather([0, 5, 40, -1]):
        raw = store.raw(day)
        joined = frame.filter(pl.col(EVENT).dt.date() == day).select(raw.columns).sort(KEYS)
        assert_frame_equal(joined, raw, check_exact=True)


@pytest.mark.usefixtures("served")
def test_serve_answers_on_this_machine_until_it_is_told_to_stop(store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = store.shop.command("features", "serve", "--port", port)
    server = subprocess.Popen(
        command, env=store.shop.environ(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", server)
        asked = {"feature_service": "inference_features", "entities": {"store_id": [2], "dept_id": [3]}}
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/get-online-features", json.dumps(asked).encode(), kind)
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
        place = told["metadata"]["feature_names"].index("lag_1")
        row = store.raw(store.panel.cutoff).filter(store_id=2, dept_id=3)
        assert told["results"][place]["values"] == [row["lag_1"].item()]
    finally:
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=60)
    assert server.returncode == 0, said


def wait_for(url, server, seconds=120):
    """Until the address answers; an error if the server ends or does not answer in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError as error:
            assert server.poll() is None, server.stderr.read()
            assert time.monotonic() < deadline, str(error)
            time.sleep(0.2)
