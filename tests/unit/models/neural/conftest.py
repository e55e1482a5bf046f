"""The panel that jobs are written on, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from foretail.panel.panel import Panel

sys.path.insert(0, str(Path(__file__).parent))
from job_world import small_panel


@pytest.fixture(scope="session")
def job_panel() -> Panel:
    return small_panel()
