"""Two nodes on loopback: two agents of torchrun with a rank each, alone and under the command a cluster runs."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foretail.models.neural import Neural
from foretail.models.neural.outcome import begin_job, read_outcome
from foretail.panel.build import build_panel
from foretail.pipelines.torchrun import Nodes, torchrun
from foretail.sources.synthetic import SyntheticConfig, generate

_LONGEST_S = 400


def test_two_nodes_train_what_two_ranks_of_one_node_train(tmp_path: Path) -> None:
    panel = build_panel(generate(SyntheticConfig(stores=6, products=4, periods=300, seed=5)).table, horizon=7).panel
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        begin_job(folder, Neural(epochs=2, members=1, n_threads=1, max_rows=4000), panel, 7, 2)
    torchrun(one, Nodes(1, 0, 2), lambda _: None)
    port = _free_port()
    agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    meet = ["--master-addr=127.0.0.1", f"--master-port={port}"]
    trainer = ["-m", "foretail.models.neural.train", str(two)]
    agents = [[*agent, f"--node-rank={rank}", *meet, *trainer] for rank in range(2)]
    assert _run(agents, [{}, {}]) == [0, 0]
    with np.load(one / "result" / "networks.npz") as first, np.load(two / "result" / "networks.npz") as second:
        assert first.files == second.files
        assert all(np.array_equal(first[name], second[name]) for name in first.files)
    assert read_outcome(two).world == 2


def test_the_command_of_a_cluster_runs_on_every_node(tmp_path: Path) -> None:
    """Node 0 backtests, writes the job and registers; node 1 waits for the job and trains with it."""
    sales = _sales(tmp_path / "shop.csv")
    port = _free_port()
    command = [sys.executable, "-c", "from foretail.cli.main import main; main()", "train", str(sales)]
    command += ["--keys", "shop", "--target", "sales", "--horizon", "4", "--models", "neural[members=1]", "--json"]
    command += ["--nproc", "1", "--out", str(tmp_path / "out"), "--home", str(tmp_path / "home")]
    told = {"PET_NNODES": "2", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "NUM_EPOCHS": "2"}
    assert _run([command, command], [{**told, "PET_NODE_RANK": str(rank)} for rank in range(2)]) == [0, 0]
    outcome = read_outcome(tmp_path / "out" / "training")
    assert (outcome.world, outcome.recipe.epochs) == (2, 2)
    board = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert [row["model"] for row in board["rows"] if row["chosen"]] == ["neural[members=1]"]
    assert (tmp_path / "home" / "artifacts" / "sales-forecasting-ddp").is_dir()


def _sales(path: Path) -> Path:
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


def _run(commands: Sequence[Sequence[str]], environs: Sequence[dict[str, str]]) -> list[int]:
    """Exit codes of commands that run side by side; what is left after a while is ended by its own pid."""
    common = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "FEAST_USAGE": "False"}
    pairs = zip(commands, environs, strict=True)
    running = [subprocess.Popen(command, env={**common, **environ}) for command, environ in pairs]
    try:
        return [process.wait(_LONGEST_S) for process in running]
    finally:
        for process in running:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
