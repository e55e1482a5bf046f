"""When one model is better than another by more than noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foretail.backtest.evidence import Comparison, compare, error_groups, group_sums


def test_groups_hold_every_cell_once():
    for n_series, h in [(1, 1), (1, 7), (3, 2), (15, 8), (16, 5), (200, 3)]:
        groups = error_groups(n_series, h)
        assert groups.shape == (n_series, h)
        values = np.random.default_rng(n_series).random((n_series, h))
        assert group_sums(values, groups).sum() == pytest.approx(values.sum())
        assert groups.max() < 64


def test_many_series_are_whole_in_their_group_and_few_are_cut_into_quarters():
    assert (np.ptp(error_groups(100, 9), axis=1) == 0).all()
    assert len(np.unique(error_groups(100, 9))) == 64
    assert len(np.unique(error_groups(3, 8))) == 12


def test_cells_that_cannot_be_scored_count_for_nothing():
    groups = np.array([[0, 0, 1], [2, 2, 2]])
    values = np.array([[1.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])
    assert group_sums(values, groups).tolist() == [1.0, 2.0, 0.0]


def test_gain_is_the_share_of_error_saved():
    found = compare([np.array([1.0, 2.0]), np.array([5.0, 2.0])], [np.array([2.0, 3.0]), np.array([4.0, 2.0])])
    assert found.gain == pytest.approx(1 - 10 / 11)
    assert found.better == (True, False)


def test_noise_is_that_of_resampled_groups():
    rng = np.random.default_rng(5)
    other = rng.gamma(4, 1, 60)
    own = 0.9 * other + rng.normal(0, 0.3, 60)
    found = compare([own], [other])
    picks = rng.integers(0, 60, (20_000, 60))
    resampled = 1 - own[picks].sum(1) / other[picks].sum(1)
    assert found.noise == pytest.approx(resampled.std(), rel=0.05)


def test_too_little_to_tell_is_infinite_noise():
    assert compare([np.array([1.0])], [np.array([2.0])]).noise == math.inf
    nothing = compare([np.zeros(3)], [np.zeros(3)])
    assert (nothing.gain, nothing.noise) == (0.0, math.inf)
    assert not nothing.is_real(1)
    assert not nothing.is_clearly_worse(0.0)


def test_more_tries_ask_for_more_evidence():
    found = Comparison(0.025, 0.01, (True, True, False))
    assert found.is_real(1)  # 1.64 standard errors are needed
    assert found.is_real(5)  # 2.33
    assert not found.is_real(10)  # 2.58


@pytest.mark.parametrize(("better", "real"), [((True, False), False), ((True, True, False), True), ((True,), True)])
def test_most_windows_have_to_agree(better, real):
    assert Comparison(0.5, 0.01, better).is_real(5) is real


def test_clearly_worse_is_worse_by_much_and_by_more_than_noise():
    assert Comparison(-0.05, 0.01, (False,)).is_clearly_worse(0.02)
    assert not Comparison(-0.05, 0.03, (False,)).is_clearly_worse(0.02)
    assert not Comparison(-0.01, 0.001, (False,)).is_clearly_worse(0.02)
    assert not Comparison(0.05, 0.001, (True,)).is_clearly_worse(0.02)


def test_the_best_of_many_that_are_alike_is_rarely_called_better():
    rng = np.random.default_rng(3)
    n_fooled = 0
    for _ in range(200):
        default = rng.gamma(4, 1, (3, 64))
        tried = default + rng.normal(0, 0.3, (30, 3, 64))
        best = tried[tried.sum(axis=(1, 2)).argmin()]
        n_fooled += compare(list(best), list(default)).is_real(30)
    assert n_fooled <= 0.08 * 200
