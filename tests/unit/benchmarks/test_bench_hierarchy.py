"""The benchmark of levels on a small chain: its lines, and the two that must hold at any size."""

from __future__ import annotations

from benchmarks.hierarchy import speed


def test_parents_are_the_sums_of_their_children_at_any_size():
    lines = {measure.work.rsplit(": ", 1)[1]: measure for measure in speed(300)}
    assert len(lines) == 5
    assert lines["points, parent to sum of children"].met is True
    assert lines["samples, parent to sum of children"].met is True
    assert lines["points made to agree"].goal == ""
