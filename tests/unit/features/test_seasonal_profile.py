"""The shape of the year: exact where sales are level times shape, shared where a series has no year of its own."""

from __future__ import annotations

import numpy as np
import pytest

from foretail.core.frequency import Frequency
from foretail.features.profile import ProfileOptions, best_grouping, seasonal_profile, year_shapes

RNG = np.random.default_rng(2)
SHAPES = 1 + 0.8 * RNG.random((2, 12))
LEVELS = np.array([1.0, 10.0, 1e6, 1e-6, 3.0, 7.0, 20.0, 4.0])
GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def monthly(length: int) -> np.ndarray:
    """``[8, length]`` level times the shape of the group, without noise."""
    return LEVELS[:, None] * SHAPES[GROUPS][:, np.arange(length) % 12]


def profile(y: np.ndarray, h: int = 6, groups: np.ndarray = GROUPS) -> np.ndarray:
    days = np.arange(y.shape[1] + h) * 30
    return seasonal_profile(y, groups, Frequency("MS"), days, np.arange(1, h + 1))


@pytest.mark.parametrize("length", [12, 24, 31, 60])
def test_sales_without_noise_are_told_exactly(length: int) -> None:
    np.testing.assert_allclose(profile(monthly(length)), monthly(length + 6)[:, length:], rtol=1e-9)


@pytest.mark.parametrize("h", [13, 30])
def test_steps_beyond_a_year_repeat_it(h: int) -> None:
    np.testing.assert_allclose(profile(monthly(30), h), monthly(30 + h)[:, 30:], rtol=1e-9)


def test_weeks_away_from_holidays_are_told_exactly() -> None:
    frequency = Frequency("W-SUN")
    start = int(frequency.to_index(np.array("2021-05-16", dtype="datetime64[D]")))
    shape = 1 + 0.5 * np.sin(np.arange(52) / 4)
    y = np.array([2.0, 30.0, 500.0])[:, None] * np.tile(shape, 3)[None, :]
    known = 108  # early June
    days = frequency.to_date(start + np.arange(known + 8)).astype(np.int64)
    found = seasonal_profile(y[:, :known], np.zeros(3, dtype=np.int64), frequency, days, np.arange(1, 9))
    np.testing.assert_allclose(found, y[:, known : known + 8], rtol=1e-9)


def test_each_year_tells_of_easter_by_its_own() -> None:
    frequency = Frequency("W-SUN")
    start = int(frequency.to_index(np.array("2021-02-07", dtype="datetime64[D]")))
    days = frequency.to_date(start + np.arange(124)).astype(np.int64)
    easters = np.array(["2021-04-04", "2022-04-17", "2023-04-09"], dtype="datetime64[D]").astype(np.int64)
    y = np.array([[2.0], [30.0], [500.0]]) * np.where(np.isin(days, easters), 2.0, 1.0)
    known = 109  # the week to 5 March 2023: the Easters before it lie in different weeks of the year
    found = seasonal_profile(y[:, :known], np.zeros(3, dtype=np.int64), frequency, days, np.arange(1, 16))
    np.testing.assert_allclose(found, y[:, known:], rtol=0.02)


def test_a_young_series_follows_its_group() -> None:
    y = monthly(36)
    y[5, :31] = np.nan
    np.testing.assert_allclose(profile(y)[5], monthly(42)[5, 36:], rtol=1e-9)


def test_what_has_no_year_or_no_sales_is_not_told() -> None:
    assert np.isnan(profile(monthly(11))).all()
    y = monthly(36)
    y[GROUPS == 1] = np.nan
    found = profile(y)
    assert np.isnan(found[4:]).all()
    assert np.isfinite(found[:4]).all()
    y[4:] = 0.0
    found = profile(y)
    assert (np.isnan(found[4:]) | (found[4:] == 0)).all()


def test_negative_sales_count_as_none() -> None:
    y = monthly(24)
    y[0, 5] = -100.0
    zero = monthly(24)
    zero[0, 5] = 0.0
    assert profile(y).tobytes() == profile(zero).tobytes()


def test_a_shape_lies_between_the_group_and_the_series() -> None:
    block = monthly(12) * np.where(np.arange(12) == 3, np.array([1, 1, 1, 3, 1, 1, 1, 1.0])[:, None], 1.0)
    own = block / block.mean(1, keepdims=True)
    shapes = year_shapes(block, GROUPS, ProfileOptions(shrink=0.25))
    assert own[0, 3] * 0.99 < shapes[3, 3] < own[3, 3]
    np.testing.assert_allclose(shapes.mean(1), 1.0, rtol=0.02)
    follower = year_shapes(block, GROUPS, ProfileOptions(shrink=0.0))
    np.testing.assert_allclose(follower[0], follower[3])


def test_the_grouping_that_shares_a_shape_is_found() -> None:
    candidates = {"": np.zeros(8, dtype=np.int64), "kind": GROUPS, "alternating": np.arange(8) % 2}
    assert best_grouping(monthly(12), candidates) == "kind"
    same = LEVELS[:, None] * SHAPES[0][None, :]
    assert best_grouping(same, candidates) in candidates
    assert best_grouping(np.full((8, 12), np.nan), candidates) == ""
