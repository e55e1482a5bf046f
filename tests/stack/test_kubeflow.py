"""The neural family in two processes, as a job that Kubeflow's SDK runs on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

DAYS = 140


@pytest.fixture
def sales(tmp_path):
    """Two shops with a weekly pattern."""
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 1) + pl.duration(days=DAYS - 1), eager=True)
    noise = np.random.default_rng(5).normal(0, 1, (2, DAYS))
    pattern = 20 + 8 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    parts = [
        pl.DataFrame({"store": name, "date": days, "sales": np.round(level * (pattern + part), 2)})
        for name, level, part in zip("ab", (1.0, 3.0), noise, strict=True)
    ]
    path = tmp_path / "sales.csv"
    pl.concat(parts).write_csv(path)
    return path


def test_a_network_of_two_processes_is_trained_and_registered(sales, tmp_path):
    """Promoted or refused, as the gate decides: trained by two ranks, and a version of `sales-forecast`."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("FORETAIL_")}
    environ = {**keep, "NUM_EPOCHS": "1", "TMPDIR": str(tmp_path)}

    def foretail(*words):
        program = "from foretail.cli.main import main; main()"
        command = [sys.executable, "-c", program, *map(str, words), "--home", str(tmp_path / "home"), "--json"]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    roles = ("--keys", "store", "--time", "date", "--target", "sales", "--horizon", "7", "--country", "none")
    done = foretail(
        "train", sales, *roles, "--models", "neural", "--nproc", "2", "--on", "kubeflow-local", "--out", "out"
    )
    assert done.returncode in (0, 4), done.stderr
    assert f"Completed with code {done.returncode}" in done.stderr
    result = json.loads((tmp_path / "out" / "training" / "result" / "result.json").read_text(encoding="utf-8"))
    assert (result["world"], result["recipe"]["epochs"]) == (2, 1)
    versions = json.loads(foretail("models", "list").stdout)
    assert [(row["name"], row["version"]) for row in versions] == [("sales-forecast", 1)]
