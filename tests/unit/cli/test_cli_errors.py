"""Whatever goes wrong in a verb becomes a message on stderr and the right exit code."""

import errno
import json
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from foretail.cli.main import VerbGroup
from foretail.core.errors import DataError, ForecastError, Problem, PromotionRefused, UsageError

PROBLEMS = [
    Problem("text in the target", "column sales, 2 rows: 'n/a', '-'", "clean it"),
    Problem("no date", "row 7", "drop it"),
]


def group_that_raises(error):
    group = VerbGroup("foretail")

    @group.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.option("--debug", is_flag=True)
    def go(as_json, debug):
        click.echo("some data")
        raise error

    return group


def run(error, *args):
    return CliRunner().invoke(group_that_raises(error), ["go", *args])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such family"), 2),
        (DataError(PROBLEMS), 3),
        (ForecastError("every family failed"), 1),
        (PromotionRefused("worse than seasonal naive"), 4),
    ],
)
def test_an_error_of_ours_is_told_whole_with_its_exit_code(error, code):
    result = run(error)
    assert result.exit_code == code
    assert result.stderr == f"error: {error}\n"
    assert result.stdout == "some data\n"


def test_json_gets_the_problems_one_by_one():
    result = run(DataError(PROBLEMS), "--json")
    problem = json.loads(result.stdout.removeprefix("some data\n"))
    assert problem["title"] == "DataError"
    assert problem["exit_code"] == result.exit_code == 3
    assert problem["problems"][0] == {
        "what": "text in the target", "where": "column sales, 2 rows: 'n/a', '-'", "fix": "clean it",
    }  # fmt: skip
    assert len(problem["problems"]) == 2


def test_a_surprise_is_one_line_and_debug_shows_where():
    result = run(RuntimeError("boom\nsecond line"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "RuntimeError: boom second line" in result.stderr
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr
    shown = run(RuntimeError("boom"), "--debug")
    assert "Traceback" in shown.stderr
    assert shown.exit_code == 1


def test_a_surprise_is_json_too():
    result = run(RuntimeError("boom"), "--json")
    assert json.loads(result.stdout.removeprefix("some data\n"))["detail"] == "boom"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "out/forecasts.csv"),
        RuntimeError("write failed: No space left on device (os error 28)"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_a_full_disk_is_a_data_error_that_says_what_to_do(error):
    result = run(error)
    assert result.exit_code == 3
    assert "no space left" in result.stderr
    assert "--out" in result.stderr


def test_a_missing_file_is_not_taken_for_a_full_disk():
    assert run(FileNotFoundError(errno.ENOENT, "No such file", "x")).exit_code == 1


def test_an_interruption_is_130_in_one_line():
    result = run(KeyboardInterrupt())
    assert result.exit_code == 130
    # the first, empty line ends the line in which a terminal shows ^C
    assert result.stderr.strip().count("\n") == 0
    assert result.stderr.strip().startswith("interrupted")


def test_a_real_ctrl_c_is_130():
    program = (
        "import click, time\n"
        "from foretail.cli.main import VerbGroup\n"
        "group = VerbGroup('foretail')\n"
        "@group.command()\n"
        "def wait():\n"
        "    click.echo('ready')\n"
        "    time.sleep(60)\n"
        "group.main(['wait'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


def test_a_usage_error_of_the_parser_is_json_too(foretail):
    result = foretail("run", "--json", "--no-such-option", "x.csv")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["title"] == "UsageError"
    assert "--no-such-option" in result.stderr


def test_an_unknown_verb_names_the_nearest(foretail):
    result = foretail("doctr")
    assert result.exit_code == 2
    assert "did you mean 'doctor'" in result.stderr
    assert result.stdout == ""
