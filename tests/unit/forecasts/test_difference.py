"""The range of a difference: the same chance in both futures, or the widths of both; nothing where nothing is."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from foretail.forecasts.difference import SAMPLES, WIDTHS, Difference, difference_of, mirrored
from foretail.models.dependence import Dependence

LEVELS = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
Z = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
N, H = 30, 6


def forecasts(factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal forecasts around 100 with a spread of 10, and the same times a factor on the last three steps."""
    base = np.full((N, H, 1 + len(LEVELS)), 100.0)
    base[..., 1:] += 10 * Z
    other = base.copy()
    other[:, 3:] *= factor
    return base, other


def found(factor: float, dependence: Dependence | None) -> Difference:
    base, other = forecasts(factor)
    return difference_of(base, other, LEVELS, dependence, {})


def at(difference: Difference, level: float) -> int:
    return difference.levels.index(level)


def test_under_the_same_chance_only_the_effect_of_the_chance_on_the_plan_is_left() -> None:
    difference = found(1.5, Dependence.independent())
    assert difference.by == SAMPLES
    low, high = (difference.cells[:, 3:, at(difference, level)] for level in (0.1, 0.9))
    # half of the forecast is added: half of its spread comes with it
    assert np.abs(low.mean() - (50 + 5 * Z[1])) < 0.2 and np.abs(high.mean() - (50 + 5 * Z[5])) < 0.2
    assert not difference.cells[:, :3].any()


def test_without_anything_in_common_both_widths_count() -> None:
    difference = found(1.5, None)
    assert difference.by == WIDTHS
    low, high = (difference.cells[:, 3:, at(difference, level)] for level in (0.1, 0.9))
    np.testing.assert_allclose(high, 50 + np.hypot(15 * Z[5], 10 * Z[5]))
    np.testing.assert_allclose(low, 50 - np.hypot(15 * Z[5], 10 * Z[5]))
    assert not difference.cells[:, :3].any()


def test_totals_of_independent_days_are_narrower_than_their_sums() -> None:
    difference = found(1.5, Dependence.independent())
    high = at(difference, 0.9)
    assert difference.total[high] - N * 3 * 50 < 0.2 * (difference.cells[..., high].sum() - N * 3 * 50)
    assert difference.series.shape == (N, len(difference.levels)) and difference.steps.shape[0] == H
    wide = found(1.5, None)
    np.testing.assert_allclose(wide.total, wide.cells.sum((0, 1)))


@pytest.mark.parametrize("dependence", [None, Dependence.independent()])
def test_ranges_are_ordered_and_hold_the_difference_of_the_points(dependence: Dependence | None) -> None:
    base, other = forecasts(0.7)
    other[..., 0] += 40.0  # a point far from its own quantiles
    difference = difference_of(base, other, LEVELS, dependence, {})
    point = other[..., 0] - base[..., 0]
    for values, middle in (
        (difference.cells, point),
        (difference.series, point.sum(1)),
        (difference.total, point.sum()),
    ):
        assert (np.diff(values, axis=-1) >= -1e-9).all()
        assert (values[..., at(difference, 0.1)] <= middle + 1e-9).all()
        assert (values[..., at(difference, 0.9)] >= middle - 1e-9).all()


def test_a_closed_future_has_the_range_of_the_other() -> None:
    base, other = forecasts(0.0)
    difference = difference_of(base, other, LEVELS, None, {})
    np.testing.assert_allclose(difference.cells[0, 3, at(difference, 0.1)], -100 - 10 * Z[5])


def test_only_mirrored_levels_make_a_range() -> None:
    assert mirrored((0.1, 0.2, 0.5, 0.9)) == (0.1, 0.9)
    assert mirrored((0.5,)) == ()
    assert mirrored(LEVELS) == (0.025, 0.1, 0.3, 0.7, 0.9, 0.975)


def test_nothing_touched_is_nothing_drawn() -> None:
    empty = np.zeros((0, H, 1 + len(LEVELS)))
    for dependence in (None, Dependence.independent()):
        difference = difference_of(empty, empty, LEVELS, dependence, {})
        assert difference.cells.shape == (0, H, 6) and not difference.total.any()
