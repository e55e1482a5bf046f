"""The course of a training on disk: read as it was written, refused where it is something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from foretail.core.errors import RegistryError
from foretail.registry.trace import Trace


def test_a_trace_comes_back_as_it_was(tmp_path: Path) -> None:
    page = tmp_path / "curves.html"
    trace = Trace("mine", (("loss", 1, 0.5, 1000), ("loss", 2, 0.25, 2000)), {"epochs": 2}, {"a": "b"}, (page,))
    written = trace.write(tmp_path / "trace.json")
    assert written.path == tmp_path / "trace.json"
    found = Trace.read(tmp_path / "trace.json")
    assert (found.experiment, found.points, found.files) == ("mine", trace.points, (page,))
    assert (found.params, found.tags) == ({"epochs": "2"}, {"a": "b"})


@pytest.mark.parametrize("text", ["", "{}", '{"points": [[1]], "files": []}'])
def test_something_else_is_no_trace(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(RegistryError, match="log without it"):
        Trace.read(path)
