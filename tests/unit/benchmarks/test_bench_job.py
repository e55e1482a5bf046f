"""A command as a process of its own: its time, the memory of its whole tree, and its last words when it fails."""

from __future__ import annotations

import sys

import pytest
from benchmarks.job import JobError, watch

HUNGRY = "import time; held = bytearray(150_000_000); time.sleep(0.6)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HUNGRY!r}], check=True)"


def test_memory_of_children_counts(tmp_path):
    seconds, peak_gb = watch([sys.executable, "-c", PARENT], tmp_path)
    assert seconds >= 0.6
    assert 150_000_000 / 1024**3 < peak_gb < 1.0


def test_a_failure_tells_the_code_and_the_last_words(tmp_path):
    command = [sys.executable, "-c", "import sys; print('half way'); sys.exit('no such column')"]
    with pytest.raises(JobError, match=r"exit 1(?s:.*)no such column"):
        watch(command, tmp_path)
    assert "half way" in (tmp_path / "log.txt").read_text()
