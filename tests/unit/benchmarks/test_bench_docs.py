"""docs/benchmarks.md: figures from the files, the machine named, nothing made up."""

from __future__ import annotations

import json

from benchmarks.docs import page
from benchmarks.machine import machine, read_machines
from benchmarks.table import Measure, publish


def test_the_page_shows_what_was_published_and_where(tmp_path):
    measures = [
        Measure("sum", 0.5, "s", "a | loop", 2.0, at_most=1.0),
        Measure("cover", 0.9, "share", at_least=0.76, at_most=0.84),
        Measure("count", 1234.5, "rows"),
    ]
    publish("startup", measures, tmp_path)
    text = page(tmp_path)
    assert "| sum | 0.5 | s | a \\| loop | 2 | 0.25 | <= 1 | yes |" in text
    assert "| cover | 0.9 | share |  |  |  | 0.76 to 0.84 | **no** |" in text
    assert "| count | 1234 | rows |  |  |  |  |  |" in text
    assert machine() in text
    assert "## startup\n\nHow long a command line user waits" in text


def test_sections_are_in_order_and_a_machine_that_is_unknown_is_said(tmp_path):
    publish("beta", [Measure("b", 1.0, "s")], tmp_path)
    publish("alpha", [Measure("a", 1.0, "s")], tmp_path)
    assert sorted(read_machines(tmp_path)) == ["alpha", "beta"]
    (tmp_path / "machines.json").unlink()
    text = page(tmp_path)
    assert text.index("## alpha") < text.index("## beta")
    assert text.count("The machine was not noted") == 2


def test_sections_without_results_here_stay_as_they_are(tmp_path):
    (tmp_path / "here").mkdir()
    publish("alpha", [Measure("a", 1.0, "s")], tmp_path)
    publish("beta", [Measure("b", 2.0, "s")], tmp_path)
    before = page(tmp_path)
    publish("beta", [Measure("b", 3.0, "s")], tmp_path / "here")
    after = page(tmp_path / "here", before)
    assert after == before.replace("| b | 2 |", "| b | 3 |") != before
    assert page(tmp_path, before) == before


def test_splits_without_results_here_stay_as_they_are(tmp_path):
    def told(folder, name, value):
        publish("alpha", [Measure(f"{name}: WAPE", value, "share")], folder)
        grid = {"title": f"{name}: 1 window", "header": ["model", "WAPE"], "rows": [["ours", value]], "notes": []}
        (folder / "alpha.tables.json").write_text(json.dumps([grid]), encoding="utf-8")

    (tmp_path / "here").mkdir()
    told(tmp_path, "one", 1.0)
    before = page(tmp_path)
    told(tmp_path / "here", "two", 2.0)
    both = page(tmp_path / "here", before)
    assert "### one: 1 window" in both and "### two: 1 window" in both
    assert "| one: WAPE | 1 |" in both and "| two: WAPE | 2 |" in both
    told(tmp_path / "here", "two", 3.0)
    assert page(tmp_path / "here", both) == both.replace("| 2 |", "| 3 |")


def test_without_results_the_page_says_so(tmp_path):
    assert "No benchmark has run yet" in page(tmp_path)
