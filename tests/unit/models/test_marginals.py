"""Values and their normal scores: there and back, shared values, order, tails, and what a coarse value tells."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.models.marginals import FURTHEST, Marginals, knots, normal_scores

LEVELS = DEFAULT_QUANTILES
ASCENDING = st.lists(st.floats(0, 1e6), min_size=len(LEVELS), max_size=len(LEVELS)).map(sorted)


def values(quantiles, scores, **options):
    law = Marginals(np.array([quantiles], dtype=float), LEVELS, **options)
    return law.values(np.array([scores], dtype=np.float32))[0]


def test_the_score_of_a_level_is_its_quantile():
    quantiles = np.array([1.0, 2, 4, 8, 9, 10, 20, 21, 22, 30, 50])
    np.testing.assert_allclose(values(quantiles, knots(LEVELS)), quantiles, rtol=1e-5)


def test_a_normal_law_is_told_whole_even_beyond_its_quantiles():
    quantiles = 100 + 7 * knots(LEVELS)
    scores = np.linspace(-FURTHEST, FURTHEST, 31)
    np.testing.assert_allclose(values(quantiles, scores), 100 + 7 * scores, rtol=1e-5)


@given(quantiles=ASCENDING, scores=st.lists(st.floats(-6, 6, width=32), min_size=2, max_size=20).map(sorted))
@settings(max_examples=200)
def test_values_ascend_with_the_score_and_stay_at_or_above_0(quantiles, scores):
    found = values(quantiles, scores)
    assert (np.diff(found) >= -1e-5 * max(quantiles[-1], 1e-30)).all()
    assert (found >= 0).all()
    assert np.isfinite(found).all()


def test_a_law_that_may_be_negative_is_not_cut():
    quantiles = 1 + 10 * knots(LEVELS)
    assert values(quantiles, [-3.0])[0] == pytest.approx(-29, rel=1e-5)
    assert values(quantiles + 30, [-3.5])[0] == 0
    assert values(quantiles + 30, [-3.5], non_negative=False)[0] == pytest.approx(-4, rel=1e-4)


def test_a_closed_day_is_0_in_every_sample():
    assert (values(np.zeros(len(LEVELS)), np.linspace(-5, 5, 50)) == 0).all()


def test_scores_of_values_between_quantiles_come_back():
    quantiles = np.array([1.0, 2, 4, 8, 9, 10, 20, 21, 22, 30, 50])
    scores = np.linspace(-2.5, 2.5, 41)
    drawn = values(quantiles, scores).astype(float)
    found = normal_scores(drawn, np.tile(quantiles, (41, 1)), LEVELS)
    inside = drawn > 1.5
    # a value stands for 2 % of the interval to each side, so a score is blurred by what lies there
    np.testing.assert_allclose(found.mean[inside], scores[inside], atol=0.15)
    assert (found.told[inside] > 0.9).all()


def test_a_value_that_many_share_has_their_mean_score_and_tells_less():
    quantiles = np.array([[0.0] * 6 + [1, 2, 3, 4, 6]])
    found = normal_scores(np.array([0.0]), quantiles, LEVELS, unit=1.0)
    upto = NormalDist().inv_cdf(0.55)  # half a unit up is between the 50 % and the 60 % quantile
    share = NormalDist().cdf(upto)
    expected = -NormalDist().pdf(upto) / share
    assert found.mean[0] == pytest.approx(expected, abs=0.03)
    assert 0.2 < found.told[0] < 0.8


def test_scores_of_draws_have_the_variance_that_they_tell():
    rng = np.random.default_rng(1)
    quantiles = np.quantile(rng.poisson(2.0, 100_000), LEVELS)
    y = rng.poisson(2.0, 20_000).astype(float)
    found = normal_scores(y, np.tile(quantiles, (len(y), 1)), LEVELS, unit=1.0)
    assert abs(found.mean.mean()) < 0.25
    assert (found.mean**2).mean() == pytest.approx(found.told.mean(), abs=0.12)


def test_a_day_without_a_value_has_no_score():
    found = normal_scores(np.array([np.nan, 1.0]), np.tile(knots(LEVELS), (2, 1)), LEVELS)
    assert np.isnan(found.mean[0]) and found.told[0] == 0
    assert np.isfinite(found.mean[1])
