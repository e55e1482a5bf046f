"""Scores of single series against the metrics of a table, series by series."""

from __future__ import annotations

import numpy as np

from foretail.backtest import metrics
from foretail.backtest.per_series import covered, errors_of, pooled, scores_of


def test_scores_are_those_of_each_series_by_itself():
    rng = np.random.default_rng(5)
    y, y_hat, other = (rng.gamma(2.0, 10.0, (6, 3, 7)) for _ in range(3))
    scored = rng.random(y.shape) < 0.8
    y[~scored] = np.nan
    scale = rng.random(6) + 1
    low, high = y_hat - 5, y_hat + 5
    inside = covered(y, low, high, scored)
    found = scores_of(errors_of(y, y_hat, scored), errors_of(y, other, scored), scale, inside, inside)
    for i in range(6):
        truth, guess = y[i].reshape(1, -1), y_hat[i].reshape(1, -1)
        assert np.isclose(found.wape[i], metrics.wape(truth, guess))
        assert np.isclose(found.bias[i], metrics.bias(truth, guess))
        assert np.isclose(found.mase[i], metrics.mase(truth, guess, scale[i : i + 1]))
        assert np.isclose(found.skill[i], 1 - metrics.wape(truth, guess) / metrics.wape(truth, other[i].reshape(1, -1)))
        assert np.isclose(inside[i], metrics.coverage(truth, low[i].reshape(1, -1), high[i].reshape(1, -1)))


def test_what_cannot_be_computed_is_nan_and_null():
    y, scored = np.zeros((2, 1, 3)), np.array([[[True] * 3], [[False] * 3]])
    errors = errors_of(y, y + 1, scored)
    found = scores_of(errors, errors, np.ones(2), np.full(2, np.nan), np.full(2, np.nan))
    assert np.isnan(found.wape).all() and np.isnan(found.mase[1]) and found.mase[0] == 1
    assert found.to_frame()["wape"].null_count() == 2
    assert np.isnan(pooled(np.array([np.nan]), np.array([1.0])))
    assert pooled(np.array([1.0, 3.0, np.nan]), np.array([3.0, 1.0, 9.0])) == 1.5
