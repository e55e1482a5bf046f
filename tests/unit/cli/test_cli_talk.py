"""Progress and log: bars on a terminal only, lines when verbose, the run id on every line of the log."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from foretail.cli.logs import configure_logging
from foretail.cli.progress import Bars, open_progress

STAGES = (
    "from foretail.cli.progress import open_progress\n"
    "with open_progress() as progress:\n"
    "    with progress.stage('backtest', 2) as stage:\n"
    "        stage.advance(2)\n"
)


def test_without_a_terminal_nothing_is_said(capsys):
    with open_progress() as progress, progress.stage("backtest", 3) as stage:
        stage.advance()
    assert capsys.readouterr() == ("", "")


def test_verbose_without_a_terminal_is_a_line_per_stage(capsys):
    with open_progress(verbose=True) as progress:
        with progress.stage("read"):
            pass
        with progress.stage("backtest", 3) as stage:
            stage.advance(2)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("read: ")
    assert first.endswith(" s")
    assert second.startswith("backtest (2/3): ")


def test_a_terminal_gets_a_bar_on_stderr():
    leader, follower = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", STAGES], stdout=subprocess.PIPE, stderr=follower, env={**os.environ, "TERM": "xterm"}
    )
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert done.returncode == 0
    assert done.stdout == b""
    assert "backtest" in shown
    assert "2/2" in shown


def test_a_pipe_gets_no_bar():
    done = subprocess.run([sys.executable, "-c", STAGES], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_stage_that_ends_is_full_and_one_that_fails_is_not():
    rich = RichProgress(console=Console(file=io.StringIO()))
    bars = Bars(rich)
    with bars.stage("good", 4) as stage:
        stage.advance()
    with pytest.raises(ValueError, match="bad series"), bars.stage("bad", 4) as stage:
        stage.advance()
        raise ValueError("bad series")
    good, bad = rich.tasks
    assert (good.completed, good.finished) == (4, True)
    assert (bad.completed, bad.finished) == (1, False)


def test_text_lines_carry_the_run_id(capsys):
    configure_logging("abc123")
    logging.getLogger("foretail.models").warning("%d series fell back", 3)
    logging.getLogger("foretail.models").info("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    assert "WARNING abc123 foretail.models: 3 series fell back" in line


def test_json_lines_are_objects(capsys):
    configure_logging("abc123", verbose=True, log_format="json")
    logger = logging.getLogger("foretail.panel")
    logger.info("read %s", "sales.csv")
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["run_id"], first["message"]) == ("INFO", "abc123", "read sales.csv")
    assert "ValueError: odd" in second["exc_info"]


def test_a_second_call_replaces_the_first(capsys):
    configure_logging("one")
    configure_logging("two")
    logging.getLogger("foretail").warning("hello")
    (line,) = capsys.readouterr().err.splitlines()
    assert "two" in line
