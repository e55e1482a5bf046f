"""The lines of a benchmark: ratio, goal, and whether it is met."""

import json

import pytest
from benchmarks.table import Measure, publish


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "goal", "met"),
    [
        (0.5, None, 0.6, "<= 0.6", True),
        (0.7, None, 0.6, "<= 0.6", False),
        (2.0, 1.5, None, ">= 1.5", True),
        (0.8, 0.76, 0.84, "0.76 to 0.84", True),
        (0.7, 0.76, 0.84, "0.76 to 0.84", False),
        (float("nan"), None, 0.6, "<= 0.6", False),
        (1.0, None, None, "", None),
    ],
)
def test_goals(value, at_least, at_most, goal, met):
    measure = Measure("work", value, "s", at_least=at_least, at_most=at_most)
    assert (measure.goal, measure.met) == (goal, met)


def test_the_ratio_is_ours_to_the_peers():
    assert Measure("work", 3.0, "s", "peer", 2.0).ratio == 1.5
    assert Measure("work", 3.0, "s").ratio is None
    assert Measure("work", 3.0, "s", "peer", 0.0).ratio is None


def test_a_table_is_printed_and_the_file_has_these_keys(tmp_path, capsys):
    path = publish(
        "demo", [Measure("sum", 0.5, "s", "loop", 2.0, at_most=1.0), Measure("count", 3.0, "rows")], tmp_path
    )
    first, second = json.loads(path.read_text())
    assert list(first) == ["work", "value", "unit", "peer", "peer_value", "ratio", "goal", "met"]
    assert (first["ratio"], first["met"], second["met"]) == (0.25, True, None)
    assert path.name == "demo.json"
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[0] == "work"
    assert "yes" in printed[1]
