"""What the tests of the command line share: a runner that keeps stdout and stderr apart, and clean logging."""

import logging

import pytest
from click.testing import CliRunner

from foretail.cli.main import cli


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test runs in an empty folder, without the settings of whoever runs it, and leaves the log as it was."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "DATA", "TRACKING_URI", "WAREHOUSE", "WORKERS", "LOG_FORMAT"):
        monkeypatch.delenv(f"FORETAIL_{name}", raising=False)
    root = logging.getLogger()
    before = list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in ("foretail", "py.warnings")}
    yield tmp_path
    root.handlers = [handler for handler in root.handlers if handler in before]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def foretail():
    """Run the command line in process; gives exit_code, stdout and stderr."""

    def run(*args):
        return CliRunner().invoke(cli, list(map(str, args)), prog_name="foretail")

    return run
