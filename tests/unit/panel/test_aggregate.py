"""The panel of a level, against plain loops: sales, closed days, covariates, and what was known at each cutoff."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "features"))
from panel_maker import make_panel

from foretail.panel.aggregate import level_panel
from foretail.panel.hierarchy import hierarchy_of
from foretail.panel.panel import Withheld


@pytest.fixture(scope="module")
def panel():
    return make_panel("D", seed=3)


def level_of(panel, name):
    return hierarchy_of(panel.series, panel.spec, [name]).levels[-1]


def loop_sums(level, y):
    result = np.full((level.n_groups, y.shape[1]), np.nan)
    for row, group in enumerate(level.member):
        for t, value in enumerate(y[row]):
            if np.isfinite(value):
                result[group, t] = value + (0.0 if np.isnan(result[group, t]) else result[group, t])
    return result


@pytest.mark.parametrize("name", ["store", "item"])
def test_sales_and_covariates_are_those_of_a_loop(panel, name):
    level = level_of(panel, name)
    found = level_panel(panel, level)
    np.testing.assert_allclose(found.y, loop_sums(level, panel.y))
    for group in range(level.n_groups):
        rows = np.flatnonzero(level.member == group)
        assert (found.closed[group] == panel.closed[rows].all(0)).all()
        np.testing.assert_allclose(
            found.covariate("price").values[group], panel.covariate("price").values[rows].mean(0), rtol=1e-6
        )
        kinds = panel.covariate("kind").values[rows]
        for t, kind in enumerate(found.covariate("kind").values[group]):
            told = set(kinds[:, t][np.isfinite(kinds[:, t])].tolist())
            assert told == {kind} if np.isfinite(kind) else len(told) != 1
    assert found.spec.keys == (name,) and found.spec.hierarchy == ()
    assert found.covariate("weather").delay == panel.covariate("weather").delay


def test_the_total_is_one_series_without_keys(panel):
    found = level_panel(panel, hierarchy_of(panel.series, panel.spec, ["store"]).levels[0])
    assert found.series.to_dicts() == [{"unique_id": "total"}]
    assert found.spec.keys == () and found.spec.static == ()


def test_static_columns_of_which_each_group_has_one_value_are_kept(panel):
    grouped = replace(panel, series=panel.series.with_columns(size=pl.col("store") * 2.0))
    found = level_panel(grouped, level_of(grouped, "store"))
    assert found.spec.static == ("size",)
    assert found.series["size"].to_list() == [0.0, 2.0, 4.0]


def test_at_every_cutoff_a_group_is_the_sum_of_what_was_then_known_of_its_series(panel):
    assert panel.revisions is not None
    level = level_of(panel, "store")
    whole = level_panel(panel, level)
    is_restated = False
    for cutoff in range(40, panel.n_periods + 1):
        known = panel.as_of(cutoff)
        expected = loop_sums(level, known.y)
        found = whole.as_of(cutoff).y
        np.testing.assert_allclose(np.nan_to_num(found), np.nan_to_num(expected), atol=1e-8)
        is_restated |= not np.allclose(np.nan_to_num(expected), np.nan_to_num(whole.y[:, :cutoff]))
    assert is_restated  # else the corrections of this panel prove nothing


def test_what_was_sold_counts_where_the_goods_ran_out(panel):
    plain = replace(panel, revisions=None)
    row, column = np.argwhere(plain.observed)[17]
    y = plain.y.copy()
    y[row, column] = np.nan
    told = Withheld(np.array([row]), np.array([plain.start + column]), np.array([3.0]), np.array([np.nan]))
    level = level_of(plain, "store")
    before = level_panel(plain, level).y[level.member[row], column]
    after = level_panel(replace(plain, y=y, withheld=told), level).y[level.member[row], column]
    assert before - after == pytest.approx(plain.y[row, column] - 3.0)
