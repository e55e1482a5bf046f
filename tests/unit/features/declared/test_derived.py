"""Features made on demand: the numbers, what is not known, and that one row alone is the same as among many."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretail.core.errors import DataError
from foretail.features.derived import STEPS, Derivation, derive, momentum, product, ratio, scaled, season
from foretail.features.table import weekly_declaration

NAN = float("nan")


def test_season_runs_round_the_year() -> None:
    assert season([1], 0, 52.0) == [0.0]
    assert season([1], 1, 52.0) == [1.0]
    assert season([14, None], 0, 52.0) == [pytest.approx(1.0), None]
    # the last day of a year lies beside the first of the next
    length = 365.25 / 7
    late, early = ([season([week], kind, length)[0] for kind in (0, 1)] for week in (53, 1))
    assert math.dist(late, early) < 0.05


def test_the_other_steps() -> None:
    assert scaled([-60.0, 40.0, 140.0, 200.0, -99.0, None], -60.0, 140.0) == [0.0, 0.5, 1.0, 1.0, 0.0, None]
    assert ratio([6.0, 6.0, None, 6.0], [3.0, 0.0, 1.0, None]) == [2.0, None, None, None]
    assert product([1, 0, None, 1], [5.5, 5.5, 5.5, None]) == [5.5, 0.0, None, None]
    assert momentum([30.0, 10.0, 0.0, -5.0, None], [10.0, 30.0, 0.0, 5.0, 1.0]) == [0.5, -0.5, 0.0, -1.0, None]


def test_nan_is_not_known() -> None:
    """A frame of pandas says NaN where Arrow says null."""
    assert derive({"a": [NAN, 3.0], "b": [1.0, NAN]}, [("c", "ratio", ("a", "b"), ())]) == {"c": [None, None]}


def test_a_missing_input_is_named() -> None:
    with pytest.raises(DataError, match="lacks its input 'b'") as refused:
        Derivation("ratio", ("a", "b"))({"a": [1.0]})
    assert "columns given: a" in str(refused.value)


numbers = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-60, 60))


@given(rows=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=9))
def test_one_row_is_the_same_alone_and_among_others(rows: list[tuple[float | None, float | None]]) -> None:
    steps = [
        ("sin", "season", ("a",), (0.0, 52.18)),
        ("scaled", "scaled", ("a",), (-3.0, 7.0)),
        *((name, name, ("a", "b"), ()) for name in ("ratio", "product", "momentum")),
    ]
    together = derive({"a": [a for a, _ in rows], "b": [b for _, b in rows]}, steps)
    for position, (a, b) in enumerate(rows):
        alone = derive({"a": [a], "b": [b]}, steps)
        assert {name: [values[position]] for name, values in together.items()} == alone
    assert all(value is None or isinstance(value, float) for values in together.values() for value in values)


def test_what_is_declared_can_be_computed() -> None:
    declaration = weekly_declaration()
    made = [item for view in declaration.views if view.on_demand for item in view.features]
    row = {name: [3.0] for name in ("lag_1", "lag_2", "week_of_year", "is_holiday", "store_size", "total_markdown")}
    row |= {name: [3.0] for name in ("temperature", "fuel_price", "cpi", "unemployment")}
    for item in made:
        assert item.compute.step in STEPS
        value = item.compute(row)[0]
        low, high = item.limits.low, item.limits.high
        assert (low is None or low <= value) and (high is None or value <= high), item.name
