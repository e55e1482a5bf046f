"""Feast is loaded without torch and without checking itself; nobody else notices."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("feast")

_LOADS = """
import sys
import typeguard
from foretail.features.feast_loading import load_feast
checked = typeguard.typechecked
load_feast()
assert "feast" in sys.modules and "torch" not in sys.modules, "torch came along"
assert typeguard.typechecked is checked
import feast
feast.Entity(name=3)  # typeguard would refuse it
load_feast()  # once more changes nothing
"""


def test_feast_comes_alone_and_typeguard_is_as_before() -> None:
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", _LOADS], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_torch_can_be_imported_afterwards() -> None:
    pytest.importorskip("torch")
    lines = "from foretail.features.feast_loading import load_feast; load_feast(); import torch; torch.zeros(1)"
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", lines], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
