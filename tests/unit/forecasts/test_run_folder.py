"""A run's files appear all together or not at all, on a full disk and after Ctrl-C too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from foretail.core.errors import UsageError
from foretail.forecasts.output import Writer, write_outputs


def text(content: str) -> Writer:
    return lambda path: path.write_text(content)


def content_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".foretail-partial")]


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    write_outputs(out, {"a.json": text("1"), "b.csv": text("2")})
    assert content_of(out) == {"a.json": "1", "b.csv": "2"}
    assert content_of(out.parent / "run") and not leftovers(tmp_path)


def test_a_second_run_replaces_its_own_files_only(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("mine")
    write_outputs(tmp_path, {"a": text("1"), "b": text("1")})
    write_outputs(tmp_path, {"a": text("2"), "c": text("2")})
    assert content_of(tmp_path) == {"a": "2", "b": "1", "c": "2", "sales.csv": "mine"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_while_writing_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise error("stop")

    with pytest.raises(error):
        write_outputs(tmp_path / "new", {"a": text("1"), "b": fail})
    assert not list(tmp_path.iterdir())
    write_outputs(tmp_path / "run", {"a": text("old"), "b": text("old")})
    with pytest.raises(error):
        write_outputs(tmp_path / "run", {"a": text("new"), "b": fail})
    assert content_of(tmp_path / "run") == {"a": "old", "b": "old"}


def test_a_failure_in_the_middle_of_the_swap_puts_everything_back(tmp_path: Path) -> None:
    write_outputs(tmp_path, {"a": text("old"), "b": text("old")})

    def pull_the_rug(path: Path) -> None:
        path.write_text("new")
        (tmp_path / "c").mkdir()  # found when two files have been swapped already
        (tmp_path / "c" / "x").write_text("mine")

    with pytest.raises(UsageError, match="a folder stands"):
        write_outputs(tmp_path, {"a": text("new"), "n": text("new"), "c": pull_the_rug})
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "old"
    assert (tmp_path / "c" / "x").read_text() == "mine"
    assert not (tmp_path / "n").exists() and not leftovers(tmp_path)


@pytest.mark.parametrize("name", ["../a", "a/b", "", "..", "/etc/x", ".foretail-partial-x"])
def test_only_plain_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="plain file name"):
        write_outputs(tmp_path / "run", {name: text("1")})
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="is a file"):
            write_outputs(out, {"a": text("1")})
    assert content_of(tmp_path) == {"file": "mine"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here (it takes root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


LARGE = pl.DataFrame({"value": pl.Series(range(300_000)).hash()})

BIG_WRITERS: dict[str, Writer] = {
    "python": lambda path: path.write_bytes(os.urandom(400_000)),
    "parquet": LARGE.write_parquet,
    "csv": LARGE.write_csv,
}


@pytest.mark.parametrize("kind", BIG_WRITERS)
def test_a_full_disk_leaves_the_previous_run(small_disk: Path, kind: str) -> None:
    run = small_disk / "run"
    write_outputs(run, {"a": text("old"), "big": text("old")})
    for out in (run, small_disk / "other", small_disk):
        with pytest.raises(UsageError, match="no space left"):
            write_outputs(out, {"a": text("new"), "big": BIG_WRITERS[kind]})
    assert content_of(run) == {"a": "old", "big": "old"}
    assert [path.name for path in small_disk.iterdir()] == ["run"]
    write_outputs(run, {"a": text("new"), "big": text("new")})
    assert content_of(run) == {"a": "new", "big": "new"}


SCRIPT = """
import sys, time
from pathlib import Path
from foretail.forecasts.output import write_outputs

def slow(path):
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(60)

write_outputs(Path(sys.argv[1]), {"a": lambda path: path.write_text("new"), "b": slow})
"""


@pytest.mark.parametrize("exists", [True, False])
def test_ctrl_c_leaves_the_previous_run(tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "run"
    if exists:
        write_outputs(out, {"a": text("old"), "b": text("old")})
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=20)
    assert process.returncode != 0 and "KeyboardInterrupt" in talk
    assert content_of(out) == {"a": "old", "b": "old"} if exists else not list(tmp_path.iterdir())
    write_outputs(out, {"a": text("again")})
    assert (out / "a").read_text() == "again"
