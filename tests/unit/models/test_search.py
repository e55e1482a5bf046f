"""The table of what can be tuned agrees with the families, and names hold parameters without loss."""

from __future__ import annotations

import inspect

import pytest

from foretail.core.errors import UsageError
from foretail.models.families import FAMILIES, family_class, make, parse
from foretail.models.search import SEARCH, Choice, Range, default_params, name_of, relative_cost, search_space

ROWS = [(family, key) for family, space in SEARCH.items() for key in space]


def held(model, key):
    """A parameter of a family, wherever it keeps it."""
    return getattr(model if hasattr(model, key) else model.options, key)


def test_every_family_is_in_the_table_of_families():
    assert set(SEARCH) <= set(FAMILIES)


def edges(item):
    return item.values if isinstance(item, Choice) else (item.low, item.high)


@pytest.mark.parametrize(("family", "key"), ROWS)
def test_every_row_is_a_parameter_and_its_default_lies_in_the_range(family, key):
    assert key in inspect.signature(family_class(family).__init__).parameters
    assert SEARCH[family][key].holds(default_params(family)[key])


@pytest.mark.parametrize(("family", "key"), ROWS)
def test_the_edges_of_every_row_make_a_family_that_has_them(family, key):
    for value in edges(SEARCH[family][key]):
        name = name_of(family, {key: value})
        model = make(name)
        assert held(model, key) == value
        assert parse(name)[1] in ({}, {key: value})


@pytest.mark.parametrize("family", SEARCH)
def test_defaults_make_the_bare_name(family):
    assert name_of(family, default_params(family)) == family
    assert relative_cost(family, default_params(family)) == 1


def test_a_name_keeps_what_it_was_given():
    name = name_of("boosting[leaves=127]", {"rounds": 200, "learning_rate": 0.0312, "space": "auto"})
    assert name == "boosting[leaves=127,rounds=200,learning_rate=0.0312]"
    assert parse(name) == ("boosting", {"leaves": 127, "rounds": 200, "learning_rate": 0.0312})
    assert name_of("boosting[leaves=127]", {}) == "boosting[leaves=127]"


def test_given_parameters_are_not_searched():
    assert set(search_space("boosting[leaves=127]")) == set(SEARCH["boosting"]) - {"leaves"}
    with pytest.raises(UsageError, match="gives them all"):
        search_space("profile[shift=0.1]")


def test_a_family_that_cannot_be_tuned_is_told_which_can():
    with pytest.raises(UsageError, match=r"seasonal_naive has nothing to tune(.|\n)*boosting"):
        search_space("seasonal_naive")


def test_cost_follows_the_exponents():
    assert relative_cost("boosting", {"rounds": 600}) == pytest.approx(600 / default_params("boosting")["rounds"])
    assert relative_cost("boosting", {"leaves": 4 * default_params("boosting")["leaves"]}) == pytest.approx(2)
    assert relative_cost("boosting", {"learning_rate": 0.1}) == 1


@pytest.mark.parametrize(
    ("item", "value", "rounded"),
    [(Range(0.01, 1.0), 0.123456, 0.123), (Range(0.012345, 1.0), 0.01234, 0.012345), (Range(1, 9), 4, 4)],
)
def test_numbers_are_rounded_inside_their_bounds(item, value, rounded):
    assert item.rounded(value) == rounded
    assert item.holds(item.rounded(value))
