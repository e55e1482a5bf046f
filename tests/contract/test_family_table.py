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


@pytest.mark.parametrize(
    "name",
    [
        "boosting[rounds=many]",
        "boosting[rounds=1.5]",
        "boosting[rounds=true]",
        "boosting[lightgbm=3]",
        "prophet[growth=1]",
        "prophet[flags_by_weekday=1]",
        "profile[shift=NaN]",
        "theta[random_state=null]",
        "ensemble[mixture=3]",
        "ensemble-c[members=3]",
    ],
)
def test_a_value_of_another_kind_is_refused_before_anything_is_fitted(name: str) -> None:
    family, _, rest = name.partition("[")
    key = rest.partition("=")[0]
    with pytest.raises(UsageError) as caught:
        make(name)
    what, where, fix = str(caught.value).split("\n")
    assert what.startswith(f"{family} cannot take ")
    assert key in what
    assert where == f"  where: --models {name}"
    assert f"{key}=" in fix


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prophet[changepoint_prior_scale=1]", 1),  # a whole number is a number
        ("prophet[yearly_seasonality=false]", False),
        ("prophet[yearly_seasonality=6]", 6),
        ("prophet[yearly_seasonality=auto]", "auto"),
        ("seasonal_window_average[seasons=null]", None),
        ('boosting[lightgbm={"max_bin":63}]', {"max_bin": 63}),
    ],
)
def test_values_of_the_right_kind_arrive(name: str, value: object) -> None:
    key = name.partition("[")[2].partition("=")[0]
    made = make(name)
    assert getattr(getattr(made, "options", made), key) == value


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("neural[epochs=0]", "epochs = 1 or more"),
        ("neural[members=0]", "members = 1 or more"),
        ("neural[batch_size=-1]", "batch_size = 1 or more"),
        ("neural[learning_rate=0]", "above 0"),
        ("neural[space=logs]", "did you mean 'log'"),
        ("croston_sba[alpha=3]", "above 0, at most 1"),
        ("tsb[alpha_probability=0]", "above 0, at most 1"),
        ("seasonal_window_average[seasons=0]", "seasons = 1 or more"),
        ("auto_ets[search=ful]", "did you mean 'full'"),
    ],
)
def test_a_value_that_would_forecast_nonsense_is_refused(name: str, fix: str) -> None:
    with pytest.raises(UsageError, match=rf"where: .*\n  fix: .*{fix}"):
        make(name)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="a parameter of prophet is given twice"):
        make("prophet[growth=flat,growth=linear]")


def test_a_family_whose_package_is_missing_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "far", Family("nowhere_to_be_found.module:Far", "not here", extra="far"))
    with pytest.raises(MissingExtraError, match=r"nowhere_to_be_found is not installed.*\n.*foretail\[far\]"):
        family_class("far")


def test_the_parameters_of_a_row_are_used_and_can_be_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Family("foretail.models.boosting:Boosting", "few", params=(("rounds", 5),))
    monkeypatch.setitem(families.FAMILIES, "few", row)
    assert vars(make("few"))["rounds"] == 5
    assert vars(make("few", rounds=6))["rounds"] == 6
