"""Disks that fill up, an impatient user, stores that do not answer: a clear word, and earlier results stay whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from shop import FAST, ROLES, H, Shop, check_forecasts, forecasts

NAIVE = ("--models", "seasonal_naive", "--workers", 1)


@contextmanager
def small_disk(place: Path, size_kb: int) -> Iterator[Path]:
    """A file system of so many KiB at a folder."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_space_for_a_new_folder_of_results(shop: Shop, tmp_path):
    with small_disk(tmp_path / "disk", 400) as disk:
        answer = shop("run", "daily.csv", *ROLES, *NAIVE, "--out", disk / "out", code=2)
        assert list(disk.iterdir()) == []
    assert "no space left on the disk" in answer.stderr
    assert str(disk) in answer.stderr


def test_no_space_beside_earlier_results_leaves_them_as_they_were(done, tmp_path):
    """A disk that holds one run (its report is 5 MB) and not a second one."""
    shop, out, _ = done
    with small_disk(tmp_path / "disk", 8000) as disk:
        (disk / "out").mkdir()
        for name, data in contents(out).items():
            (disk / "out" / name).write_bytes(data)
        before = contents(disk / "out")
        answer = shop("run", "daily.csv", *ROLES, *NAIVE, "--out", disk / "out", code=2)
        assert contents(disk / "out") == before
    assert "no space left on the disk; nothing was changed" in answer.stderr


@pytest.mark.parametrize("size_kb", [8, 64, 600])
def test_no_space_at_home(files, tmp_path, size_kb):
    """Room for nothing, for the snapshot, for the warehouse's tables; never for the forecasts."""
    with small_disk(tmp_path / "disk", size_kb) as disk:
        shop = Shop(files, disk / "home")
        answer = shop("run", "daily.csv", *ROLES, *NAIVE, "--out", tmp_path / "out", code=None)
    assert answer.code in (1, 3)
    assert "space" in answer.stderr or "full" in answer.stderr
    assert "where:" in answer.stderr
    assert "fix:" in answer.stderr
    assert "unexpected" not in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["check", "forecast"])
def test_ctrl_c_leaves_the_earlier_run_readable_and_a_rerun_succeeds(shop: Shop, done, tmp_path, stage):
    """Interrupted in the stage after this one: in the backtest, and while the results are being written."""
    out = tmp_path / "out"
    words = ("daily.csv", *ROLES, "--models", "seasonal_naive,theta", "--workers", 2, "--out", out)
    shutil.copytree(done[1], out)
    before = contents(out)
    with subprocess.Popen(
        shop.command("--verbose", "run", *words),
        cwd=shop.folder,
        env={**shop.environ(), "PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith(f"{stage}: "):
                process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, said
    assert said[-1].startswith("interrupted")
    assert not any("Traceback" in line for line in said), said
    assert_gone(process.pid)
    assert contents(out) == before
    shop("run", *words)
    assert contents(out) != before
    check_forecasts(forecasts(out), H)


def assert_gone(group: int) -> None:
    """No process of the group is left, workers included."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a worker is still there")


def test_a_registry_that_does_not_answer_costs_the_version_only(shop: Shop, tmp_path):
    shop = shop.elsewhere(shop.folder, FORETAIL_TRACKING_URI="http://127.0.0.1:9")
    answer = shop("run", "daily.csv", *ROLES, *FAST, "--out", tmp_path / "out")
    assert "the model could not be registered" in answer.stderr
    assert "127.0.0.1:9" in answer.stderr
    assert "the bundle is on disk at" in answer.stderr
    assert "WARNING" not in answer.stderr
    frame = forecasts(tmp_path / "out")
    check_forecasts(frame, H)
    assert frame["model_version"].unique().to_list() == ["unregistered"]


def test_train_without_a_registry_fails(shop: Shop, tmp_path):
    shop = shop.elsewhere(shop.folder, FORETAIL_TRACKING_URI="http://127.0.0.1:9")
    answer = shop("train", "daily.csv", *ROLES, *NAIVE, "--out", tmp_path / "out", code=1)
    assert "cannot log the model version" in answer.stderr
    assert "the bundle is on disk at" in answer.stderr


@pytest.mark.parametrize(
    "url", ["sqlite:////proc/nothing/sales.db", "not a url", "postgresql+nodriver://me:secret@127.0.0.1:9/sales"]
)
def test_a_warehouse_that_does_not_answer_is_found_before_the_long_work(shop: Shop, tmp_path, url):
    shop = shop.elsewhere(shop.folder, FORETAIL_WAREHOUSE=url)
    answer = shop("--verbose", "run", "daily.csv", *ROLES, *NAIVE, "--out", tmp_path / "out", code=None)
    assert answer.code in (1, 2)
    assert "error: the warehouse" in answer.stderr
    assert "FORETAIL_WAREHOUSE" in answer.stderr
    assert "secret" not in answer.stderr
    assert "backtest" not in answer.stderr
    assert not (tmp_path / "out").exists()


def test_an_unwritable_name_for_the_results(shop: Shop, tmp_path):
    (tmp_path / "out").write_text("a file")
    answer = shop("run", "daily.csv", *ROLES, *NAIVE, "--out", tmp_path / "out", code=2)
    assert str(tmp_path / "out") in answer.stderr
    assert (tmp_path / "out").read_text() == "a file"


def test_the_warehouse_holds_what_the_files_hold(done):
    shop, out, _ = done
    with closing(sqlite3.connect(shop.home / "warehouse.db")) as connection:
        query = "SELECT count(*), sum(forecast_sale) FROM forecast_results WHERE run_id = ?"
        stored = connection.execute(query, [json.loads((out / "run.json").read_text())["run_id"]]).fetchone()
    frame = forecasts(out)
    assert stored == (frame.height, pytest.approx(frame["y_hat"].sum()))
