"""Quantile levels and the columns named after them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.core.errors import UsageError
from foretail.core.quantiles import DEFAULT_QUANTILES, check_quantiles, quantile_column, quantile_level


@pytest.mark.parametrize(
    ("level", "column"), [(0.025, "q2_5"), (0.1, "q10"), (0.5, "q50"), (0.9, "q90"), (0.975, "q97_5"), (0.001, "q0_1")]
)
def test_columns_are_named_by_percent(level, column):
    assert quantile_column(level) == column
    assert quantile_level(column) == level


def test_defaults_hold_the_80_and_95_percent_intervals_and_the_median():
    assert {0.025, 0.1, 0.5, 0.9, 0.975} <= set(DEFAULT_QUANTILES)
    assert check_quantiles(DEFAULT_QUANTILES) == DEFAULT_QUANTILES


@given(st.integers(1, 9999))
def test_a_level_survives_its_column_name(n):
    level = round(n / 10_000, 4)
    assert quantile_level(quantile_column(level)) == level


@given(st.lists(st.integers(1, 999), min_size=1))
def test_levels_come_back_sorted_and_once(numbers):
    levels = check_quantiles([n / 1000 for n in numbers])
    assert list(levels) == sorted({n / 1000 for n in numbers})


@pytest.mark.parametrize("levels", [(), (0.0,), (1.0,), (0.5, -0.1), (0.1, 90), (float("nan"),)])
def test_a_level_outside_0_to_1_is_refused(levels):
    with pytest.raises(UsageError, match="strictly between 0 and 1") as caught:
        check_quantiles(levels)
    assert "--quantiles" in str(caught.value)
