"""Two ranks on one machine: the networks they agree on, a rank killed in the middle, the version that comes of it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foretail.core.errors import ForecastError, RegistryError, UsageError
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.models.neural import Neural
from foretail.models.neural.fit import untrained
from foretail.models.neural.outcome import begin_job, read_outcome
from foretail.models.neural.shards import read_job, read_shard
from foretail.panel.build import build_panel
from foretail.pipelines.distributed import train_distributed
from foretail.pipelines.request import Request
from foretail.pipelines.torchrun import Nodes, torchrun
from foretail.registry.bundle import read_bundle
from foretail.registry.trace import Trace
from foretail.registry.versions import Registry
from foretail.sources.synthetic import SyntheticConfig, generate

H = 7
NETWORKS, HISTORY = "networks.npz", "result.json"
_ALONE = ("--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2", "--max-restarts", "2")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The same job twice: trained by two ranks, and not yet trained."""
    panel = build_panel(generate(SyntheticConfig(stores=6, products=6, periods=400, seed=5)).table, horizon=H).panel
    folders = tuple(tmp_path_factory.mktemp(name) for name in ("whole", "broken"))
    for folder in folders:
        begin_job(folder, Neural(epochs=6, members=1, n_threads=2, batch_size=64), panel, H, 2)
    torchrun(folders[0], Nodes(1, 0, 2), lambda _: None)
    yield folders[0], folders[1]


def test_metrics_are_of_the_rows_of_both_ranks(jobs: tuple[Path, Path]) -> None:
    folder = jobs[0]
    job, outcome = read_job(folder), read_outcome(folder)
    assert (outcome.world, outcome.backend) == (2, "gloo")
    stored = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["standing"]
    held, part = read_shard(folder, job, "held", 0, 1), job.parts["held"]
    assert len(held) == part.rows
    network = untrained(part.inputs, part.start).eval()
    network.load_state_dict(stored["best"])
    with torch.no_grad():
        median = network(torch.from_numpy(held.numbers), torch.from_numpy(held.codes))[:, network.median].numpy()
    z = held.reference + held.unit * (held.base + np.clip(median * part.spread, -3, 3))
    y_hat = np.maximum(np.exp(z) - 0.01 * held.scale, 0)
    line = next(line for line in outcome.history if line["epoch"] == outcome.epochs)
    assert line["wape"] == pytest.approx(np.abs(held.y - y_hat).sum() / np.abs(held.y).sum(), rel=1e-5)


def test_a_killed_rank_changes_nothing(jobs: tuple[Path, Path]) -> None:
    whole, broken = jobs
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *_ALONE, "-m", "foretail.models.neural.train", str(broken)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        killed = _kill_a_rank(process.pid, broken / "checkpoints" / "last.pt")
        _, said = process.communicate(timeout=240)
    finally:
        process.kill()
    assert killed, said
    assert process.returncode == 0, said
    assert "network 0 epoch 1:" in said
    _assert_same(whole, broken)


def _kill_a_rank(agent: int, checkpoint: Path) -> bool:
    """End rank 1 with SIGKILL once there is a checkpoint to go on from."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if checkpoint.exists():
            for pid in _children(agent):
                if _environment(pid).get("RANK") == "1":
                    os.kill(pid, signal.SIGKILL)
                    return True
        time.sleep(0.01)
    return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _assert_same(one: Path, two: Path) -> None:
    with np.load(one / "result" / NETWORKS) as first, np.load(two / "result" / NETWORKS) as second:
        assert first.files == second.files
        assert all(np.array_equal(first[name], second[name]) for name in first.files)
    assert _figures(one) == _figures(two)


def _figures(folder: Path) -> list[dict[str, Any]]:
    history = json.loads((folder / "result" / HISTORY).read_text())["history"]
    return [{key: value for key, value in line.items() if key not in ("seconds", "at")} for line in history]


def test_a_training_that_fails_says_why(jobs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text((jobs[0] / "job.json").read_text())
    with pytest.raises(ForecastError, match=r"a shard cannot be read|2 shards cannot be dealt"):
        torchrun(tmp_path, Nodes(1, 0, 1), lambda _: None, max_restarts=0)


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve series over 30 months with a season that a network can find, as a CSV."""
    path = tmp_path_factory.mktemp("sales") / "shop.csv"
    rng = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "shop", "sales"])
        for week in range(130):
            day = np.datetime64("2010-02-05") + np.timedelta64(7 * week, "D")
            season = 100 + 30 * np.sin(2 * np.pi * week / 52.18) + 20 * (week % 4 == 0)
            for shop in range(12):
                writer.writerow([day, shop, round(float(season * (shop + 1) * rng.normal(1, 0.1)), 2)])
    return path


@pytest.fixture(scope="module")
def registered(sales: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings, dict[str, Any]]:
    """The command's work on two ranks, once."""
    place = tmp_path_factory.mktemp("train")
    settings = Settings(home=place / "home", workers=2)
    result = train_distributed(_request(sales), place / "out", settings, Silent(), Nodes(1, 0, 2), {"NUM_EPOCHS": "3"})
    return place / "out", settings, result


def _request(sales: Path) -> Request:
    return Request(str(sales), keys=("shop",), target="sales", horizon=4, models=("neural[members=1,epochs=2]",))


def test_the_version_is_registered_with_its_curves(registered: tuple[Path, Settings, dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    out, settings, result = registered
    assert result["model_version"] == "sales-forecast/1"
    assert (result["world"], result["backend"], result["promoted"]) == (2, "gloo", True)
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    version = client.get_model_version_by_alias("sales-forecast", "champion")
    run = client.get_run(version.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "sales-forecasting-ddp"
    assert run.data.params["train.epochs"] == str(result["epochs"])
    assert run.data.params["train.world"] == "2"
    outcome = read_outcome(out / "training")
    for key, name in (("train_loss", "train_loss"), ("wape", "validation_wape")):
        expected = [(line["epoch"], line[key]) for line in outcome.history if line["network"] == 0]
        assert [(item.step, item.value) for item in client.get_metric_history(version.run_id, name)] == expected
    assert client.get_metric_history(version.run_id, "member_1.train_loss")
    assert [item.path for item in client.list_artifacts(version.run_id, "training")] == ["training/curves.html"]
    assert "Plotly" in (out / "curves.html").read_text()


def test_the_bundle_forecasts_as_the_trained_model(registered: tuple[Path, Settings, dict[str, Any]]) -> None:
    out, settings, _ = registered
    bundle = read_bundle(Registry(settings).fetch("sales-forecast"))
    model = read_outcome(out / "training").model
    assert np.array_equal(bundle.model.predict(bundle.panel, 4).y_hat, model.predict(bundle.panel, 4).y_hat)
    assert bundle.model.epochs == 3  # type: ignore[attr-defined]
    assert bundle.calibration


def test_without_a_server_the_bundle_stays_and_can_be_logged_later(
    sales: Path, registered: tuple[Path, Settings, dict[str, Any]]
) -> None:
    """The job is there already, so only the end is done again."""
    out, settings, _ = registered
    environ = {"NUM_EPOCHS": "3", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_EXPERIMENT_NAME": "elsewhere"}
    trained = (out / "training" / "checkpoints" / "best.pt").stat().st_mtime_ns
    with pytest.raises(RegistryError, match="the bundle is on disk") as caught:
        train_distributed(_request(sales), out, settings, Silent(), Nodes(1, 0, 2), environ)
    assert (out / "training" / "checkpoints" / "best.pt").stat().st_mtime_ns == trained
    call = str(caught.value).partition("in Python: ")[2].splitlines()[0]
    names = {"Registry": Registry, "Trace": Trace, "Settings": _Loaded(settings)}
    version = eval(call, names)
    assert version.name == "sales-forecast" and version.version == 2
    assert version.params["train.world"] == "2"


class _Loaded:
    """Stands where the user's settings are loaded: those of the test."""

    def __init__(self, settings: Settings):
        self.settings = settings

    def load(self) -> Settings:
        return self.settings


def test_other_families_do_not_train_in_many_processes(sales: Path, tmp_path: Path) -> None:
    request = replace(_request(sales), models=("boosting",))
    with pytest.raises(UsageError, match="only the neural family"):
        train_distributed(request, tmp_path, Settings(home=tmp_path / "home"), Silent(), Nodes(1, 0, 2), {})
