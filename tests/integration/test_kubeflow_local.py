"""`foretail train --on kubeflow-local`: for real on the local backend of Kubeflow's SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

DAYS = 140


@pytest.fixture(scope="module")
def sales(tmp_path_factory) -> Path:
    """Two shops with a weekly pattern."""
    folder = tmp_path_factory.mktemp("sales")
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 1) + pl.duration(days=DAYS - 1), eager=True)
    rng = np.random.default_rng(5)
    pattern = 20 + 8 * np.sin(2 * np.pi * np.arange(DAYS) / 7)
    parts = [
        pl.DataFrame({"store": name, "date": days, "sales": np.round(level * (pattern + rng.normal(0, 1, DAYS)), 2)})
        for name, level in (("a", 1.0), ("b", 3.0))
    ]
    pl.concat(parts).write_csv(folder / "sales.csv")
    return folder


def foretail(*words, cwd, home, **environ):
    """The command in a process of its own."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith("FORETAIL_")}
    program = "from foretail.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words), "--home", str(home)],
        cwd=cwd,
        env={**keep, "FEAST_USAGE": "False", "TMPDIR": str(home), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


ROLES = ("--keys", "store", "--time", "date", "--target", "sales", "--horizon", "7", "--country", "none")


def test_a_job_of_the_local_backend_trains_and_registers(sales, tmp_path):
    """The SDK makes an environment, starts the job, and the version it registered is there for this process."""
    options = (*ROLES, "--models", "seasonal_naive", "--name", "two-shops", "--workers", "1")
    done = foretail(
        "train", "sales.csv", *options, "--on", "kubeflow-local", "--out", "out", "--json", cwd=sales, home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["nodes"]) == ("Complete", 1)
    assert result["job"].startswith("foretail-two-shops-")
    assert "Completed with code 0" in done.stderr
    assert (sales / "out" / "leaderboard.json").exists()
    listed = foretail("models", "list", "--json", cwd=sales, home=tmp_path)
    versions = json.loads(listed.stdout)
    assert [(row["name"], row["version"]) for row in versions] == [("two-shops", 1)], versions
    assert list(tmp_path.glob("foretail-*")) == []  # the SDK's environment is gone


def test_a_job_that_fails_is_said_to_have_failed(sales, tmp_path):
    """A column that is not there: exit 1, with the job's own message, and nothing left behind."""
    done = foretail("train", "sales.csv", "--target", "turnover", "--on", "kubeflow-local", cwd=sales, home=tmp_path)
    assert done.returncode == 1
    assert "TrainJob foretail-sales-" in done.stderr
    assert "turnover" in done.stderr
    assert "Completed with code 3" in done.stderr
    assert list(tmp_path.glob("foretail-*")) == []


def test_several_nodes_on_one_machine_are_refused(sales, tmp_path):
    done = foretail("train", "sales.csv", "--on", "kubeflow-local", "--nodes", "2", cwd=sales, home=tmp_path)
    assert done.returncode == 2
    assert "--nproc" in done.stderr


@pytest.mark.parametrize("alone", [("--nodes", "2"), ("--wait",)])
def test_options_of_a_job_need_a_job(sales, tmp_path, alone):
    done = foretail("train", "sales.csv", *alone, cwd=sales, home=tmp_path)
    assert done.returncode == 2
    assert f"{alone[0]} says nothing about training here" in done.stderr
