"""Levels over the series: sums as a plain loop makes them, and every hierarchy that is none refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_cases import spec

from foretail.core.errors import DataError, UsageError
from foretail.panel.hierarchy import TOTAL, check_hierarchy, hierarchy_of, level_columns
from foretail.panel.quality import Finding, QualityReport

SPEC = spec(keys=("store", "item"), static=("type",), hierarchy=("store", "type/item"))
SERIES = pl.DataFrame(
    {
        "unique_id": ["1/a", "1/b", "1/c", "2/a", "2/b", "3/a"],
        "store": [1, 1, 1, 2, 2, 3],
        "item": ["a", "b", "c", "a", "b", "a"],
        "type": ["x", "x", "x", "y", "y", "x"],
    }
)


def quality(*findings):
    return QualityReport(10, 6, 10, 60, "2024-01-01", "2024-01-10", 1.0, 0.0, tuple(findings))


def test_the_total_comes_first_and_groups_are_sorted():
    found = hierarchy_of(SERIES, SPEC)
    assert found.names == (TOTAL, "store", "type/item")
    assert found.levels[2].groups["unique_id"].to_list() == ["x/a", "x/b", "x/c", "y/a", "y/b"]
    assert found.levels[1].member.tolist() == [0, 0, 0, 1, 1, 2]
    assert found.n_groups == 1 + 3 + 5
    assert [(part.start, part.stop) for part in found.parts] == [(0, 1), (1, 4), (4, 9)]


def test_a_level_may_be_named_in_the_call():
    assert hierarchy_of(SERIES, SPEC, ["item"]).names == (TOTAL, "item")


def test_the_total_may_be_named_too():
    assert list(level_columns(SPEC, ["total", "store"])) == [TOTAL, "store"]


@st.composite
def hierarchies(draw):
    n = draw(st.integers(2, 25))
    columns = {name: draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)) for name in ("store", "item", "type")}
    series = pl.DataFrame({"unique_id": [str(i) for i in range(n)], **columns})
    names = draw(
        st.lists(st.sampled_from(["store", "item", "type", "store/item", "item/type"]), min_size=1, unique=True)
    )
    return hierarchy_of(series, SPEC, names), series


@settings(max_examples=60, deadline=None)
@given(hierarchies(), st.integers(0, 2**32 - 1))
def test_sums_are_those_of_a_loop_and_shared_is_their_transpose(case, seed):
    hierarchy, series = case
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(series.height, 3, 2))
    sums = hierarchy.sums(values)
    for level, part in zip(hierarchy.levels, hierarchy.parts, strict=True):
        for group, keys in enumerate(level.groups.select(level.columns).rows() if level.columns else [()]):
            inside = [
                row == keys for row in (series.select(level.columns).rows() if level.columns else [()] * len(values))
            ]
            np.testing.assert_allclose(sums[part][group], values[inside].sum(0), atol=1e-9)
    other = rng.normal(size=(hierarchy.n_groups, 3, 2))
    assert (sums * other).sum() == pytest.approx((values * hierarchy.shared(other)).sum())


def test_a_column_that_is_no_key_is_named_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        hierarchy_of(SERIES, SPEC, ["store/typ"])
    assert "'typ', which is no key and not static" in str(caught.value)
    assert "did you mean 'type'?" in str(caught.value)


@pytest.mark.parametrize("names", [["store", "store"], ["type/item", "item/type"], ["store/store"]])
def test_nothing_is_named_twice(names):
    with pytest.raises(UsageError, match="twice"):
        level_columns(SPEC, names)


def test_a_series_without_a_value_belongs_to_no_group():
    lacking = SERIES.with_columns(type=pl.Series(["x", None, "x", "y", "y", None]))
    with pytest.raises(DataError) as caught:
        hierarchy_of(lacking, SPEC)
    assert "2 series belong to no group of a level: they have no type" in str(caught.value)
    assert "1/b, 3/a" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_series_in_two_groups_is_refused():
    changes = Finding("static_changes", "warning", "type changes within 2 series (4 values)", 2, 0.3, ("type",))
    with pytest.raises(DataError) as caught:
        check_hierarchy(SERIES, SPEC, quality(changes))
    assert "2 series would belong to two groups of a level" in str(caught.value)
    other = Finding("static_changes", "warning", "size changes within 2 series", 2, 0.3, ("size",))
    assert check_hierarchy(SERIES, SPEC, quality(other))


def test_groups_of_one_series_are_told():
    notes = check_hierarchy(SERIES, SPEC.but(hierarchy=("store",)), quality())
    assert notes == ("1 of 3 groups of store are a single series: 3",)


def test_a_level_of_single_series_says_nothing_new():
    with pytest.raises(DataError, match="every group of the level 'store/item' is a single series"):
        check_hierarchy(SERIES, SPEC.but(hierarchy=("store/item",)), quality())
    with pytest.raises(DataError, match="every group of the level 'total' is a single series"):
        check_hierarchy(SERIES[:1], SPEC, quality())


def test_two_levels_of_the_same_groups_are_refused_together_with_all_other_problems():
    same = SERIES.with_columns(type=pl.col("store") * 10)
    with pytest.raises(DataError) as caught:
        check_hierarchy(same, SPEC.but(hierarchy=("store", "type", "store/item")), quality())
    assert "the level 'type' has the same groups as 'store'" in str(caught.value)
    assert len(caught.value.problems) == 2


def test_nothing_is_said_without_levels():
    assert check_hierarchy(SERIES, SPEC.but(hierarchy=()), quality()) == ()
