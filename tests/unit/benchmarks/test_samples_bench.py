"""The benchmark of joint samples on a small world: every line is a share, and the ways to total differ."""

from __future__ import annotations

import datetime as dt

from benchmarks.samples import measures_of

from foretail.backtest.run import Candidate, backtest
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.panel.build import build_panel
from foretail.sources.synthetic import SyntheticConfig, generate


def test_lines_of_a_table():
    world = generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=200, stores=4, products=6, horizon=14))
    panel = build_panel(world.table).panel
    test = backtest(panel, 14, [Candidate("seasonal_naive")], levels=DEFAULT_QUANTILES)
    lines = measures_of("world", [(panel, test)])
    assert all(0 <= line.value <= 1 for line in lines)
    peers = {line.peer: line.peer_value for line in lines}
    assert peers["sums of quantiles"] > lines[0].value > peers["steps drawn alone"]
    assert 0 < peers["shuffled paths"] <= 1
    assert lines[0].goal == "0.76 to 0.84"
