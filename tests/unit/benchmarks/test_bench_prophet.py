"""The fleets of the Prophet benchmark: the shape that is claimed, Sundays shut, series that differ."""

from __future__ import annotations

import numpy as np
from benchmarks.prophet import H, fleet


def test_a_fleet_is_noisy_copies_of_shops() -> None:
    panel = fleet(60, 100, 2)
    assert panel.y.shape == (60, 100)
    assert panel.closed.shape == (60, 100 + H)
    assert [item.values.shape for item in panel.known] == [(60, 100 + H)] * 2
    weekday = (panel.start + np.arange(100 + H) + 3) % 7
    assert panel.closed[:, weekday == 6].all()
    is_open = ~panel.closed[:, :100]
    assert (panel.y[is_open] > 0).all()
    assert len(np.unique(panel.y[:, is_open[0]])) > 50 * 80
    np.testing.assert_array_equal(fleet(60, 100, 2).y, panel.y)
