"""Which reconciliation the backtest chooses, on windows its weights never saw, and that harm is not used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from foretail.backtest.levels import LevelWindow, judge_levels
from foretail.backtest.metrics import wape
from foretail.core.spec import DatasetSpec
from foretail.panel.hierarchy import hierarchy_of

SPEC = DatasetSpec(keys=("a", "b"), time="date", target="sales", freq="D", horizon=6, hierarchy=("a", "b"))
N, H = 24, 6


@pytest.fixture(scope="module")
def levels():
    rows = np.arange(N)
    series = pl.DataFrame({"unique_id": [str(i) for i in rows], "a": rows % 4, "b": rows // 4 % 3})
    return hierarchy_of(series, SPEC)


def windows(hierarchy, of_groups, of_series, roles=("inner", "inner", "inner", "outer", "outer"), seed=5):
    """Windows whose forecasts miss by noise, that of the groups and of the series, and by what all series share."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(20, 60, (N, 1))
    made = []
    for role in roles:
        y = level * rng.lognormal(0, 0.1, (N, H))
        shared = 1 + 0.15 * rng.normal(size=(1, H))  # what all series miss together, which sums of them keep
        series = y * shared * rng.lognormal(0, of_series, (N, H))
        totals = hierarchy.sums(y)
        groups = totals * rng.lognormal(0, of_groups, totals.shape)
        made.append(LevelWindow(role, totals, y, groups, series, np.zeros((N, H), dtype=np.bool_)))
    return made


def test_levels_that_know_better_are_heeded(levels):
    judged = judge_levels(levels, windows(levels, 0.01, 0.05), non_negative=True)
    assert judged.method in {"wls", "shrink", "top_down"}
    assert judged.choice["bottom_up"] == 1.0
    for row in judged.accuracy:
        assert row[judged.method] < row["bottom_up"]
    assert [row["level"] for row in judged.accuracy] == ["total", "a", "b", "series"]
    assert [row["n"] for row in judged.accuracy] == [1, 4, 3, N]


def test_levels_that_know_nothing_are_not_used(levels):
    judged = judge_levels(levels, windows(levels, 0.8, 0.02), non_negative=True)
    assert judged.method == "bottom_up" and judged.covariance is None


def test_what_helped_in_the_inner_windows_and_harms_in_the_outer_ones_is_not_used(levels):
    good = windows(levels, 0.01, 0.05)
    bad = [replace(item, groups=item.groups * 3.0) if item.role == "outer" else item for item in good]
    assert judge_levels(levels, bad, non_negative=True).method == "bottom_up"


def test_the_errors_told_are_those_of_a_plain_sum(levels):
    every = windows(levels, 0.01, 0.05)
    judged = judge_levels(levels, every, non_negative=True)
    outer = [item for item in every if item.role == "outer"]
    total = np.concatenate([item.y.sum(0) for item in outer])
    summed = np.concatenate([item.series.sum(0) for item in outer])
    assert judged.accuracy[0]["bottom_up"] == pytest.approx(wape(total, summed))
    own = np.concatenate([item.groups[0] for item in outer])
    assert judged.accuracy[0]["own"] == pytest.approx(wape(total, own))


@pytest.mark.parametrize("method", ["wls", "shrink", "top_down"])
def test_an_outer_window_never_weighs_itself(levels, method):
    """Actuals far above any forecast let the total of the forecasts be read off the error: no actual may move it."""
    *inner, last = windows(levels, 0.01, 0.05)[:4]
    told = []
    for shift in (1000.0, 7000.0):
        moved = replace(last, y=last.y + shift, totals=levels.sums(last.y + shift))
        judged = judge_levels(levels, [*inner, moved], non_negative=True)
        told.append(moved.totals[0].sum() * (1 - judged.accuracy[0][method]))
    assert told[0] == pytest.approx(told[1])
    assert told[0] == pytest.approx(last.totals[0].sum(), rel=0.2)


def test_one_window_alone_is_judged_by_the_sizes_of_groups(levels):
    judged = judge_levels(levels, windows(levels, 0.01, 0.05, roles=("outer",)), non_negative=True)
    assert all(np.isfinite(row[name]) for row in judged.accuracy for name in ("own", "wls", "shrink"))


def test_cells_without_actuals_are_not_scored(levels):
    every = windows(levels, 0.01, 0.05)
    y = every[-1].y.copy()
    y[3] = np.nan
    judged = judge_levels(levels, [*every[:-1], replace(every[-1], y=y)], non_negative=True)
    assert judged.accuracy[-1]["bottom_up"] is not None and np.isfinite(judged.choice["wls"])
