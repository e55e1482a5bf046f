"""The table of families: names, classes, and what is said of a name that is not there."""

from __future__ import annotations

import pytest

from foretail.core.errors import MissingExtraError, UsageError
from foretail.models import families
from foretail.models.contract import Forecaster
from foretail.models.families import FAMILIES, Family, family_class, make


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_row_names_a_forecaster_with_tags(name: str) -> None:
    found = family_class(name)
    assert issubclass(found, Forecaster)
    assert found.tags.min_periods >= 1
    assert FAMILIES[name].about
    assert found.__doc__


def test_seasonal_naive_is_always_there() -> None:
    assert "seasonal_naive" in FAMILIES


def test_an_unknown_family_is_told_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"unknown model family 'bosting'.*\n.*\n.*did you mean 'boosting'"):
        make("bosting")


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="leafs"):
        make("boosting", leafs=3)


def test_a_family_whose_package_is_missing_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "far", Family("nowhere_to_be_found.module:Far", "not here", extra="far"))
    with pytest.raises(MissingExtraError, match=r"nowhere_to_be_found is not installed.*\n.*foretail\[far\]"):
        family_class("far")


def test_the_parameters_of_a_row_are_used_and_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Family("foretail.models.boosting:Boosting", "few", params=(("rounds", 5),))
    monkeypatch.setitem(families.FAMILIES, "few", row)
    assert vars(make("few"))["rounds"] == 5
    assert vars(make("few", rounds=6))["rounds"] == 6
