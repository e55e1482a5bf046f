"""Ensemble weights: they sum to one, and what greedy selection picks is no worse than its best member."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.backtest.select import blend, ensemble_weights, pooled_wape


def windows(seed, n_models=4, holes=0.1):
    """Actuals of two windows and forecasts that err in different ways."""
    rng = np.random.default_rng(seed)
    actuals = [rng.gamma(3, 5, (6, 7)) for _ in range(2)]
    forecasts = {
        f"m{k}": [y + rng.normal(rng.normal(0, 2), rng.uniform(0.5, 4), y.shape) for y in actuals]
        for k in range(n_models)
    }
    for y in actuals:
        y[rng.random(y.shape) < holes] = np.nan
    return actuals, forecasts


def error(actuals, forecasts, weights):
    mixed = [blend({name: parts[i] for name, parts in forecasts.items()}, weights) for i in range(len(actuals))]
    return pooled_wape(actuals, mixed)


def greedy(weights):
    """The picks before shrinkage: w = p / 2 + 1 / (2 n) solved for p."""
    return {name: 2 * weight - 1 / len(weights) for name, weight in weights.items()}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_they_sum_to_one_and_the_picks_are_no_worse_than_any_member(seed, n_models):
    actuals, forecasts = windows(seed, n_models)
    weights = ensemble_weights(actuals, forecasts)
    assert sum(weights.values()) == pytest.approx(1)
    picks = greedy(weights)
    assert sum(picks.values()) == pytest.approx(1)
    assert all(round(10 * pick, 6) in range(11) for pick in picks.values())
    best = min(pooled_wape(actuals, parts) for parts in forecasts.values())
    assert error(actuals, forecasts, picks) <= 1.05 * best  # greedy may end a little above where it once was
    assert error(actuals, forecasts, weights) <= 1.25 * best  # members worse than that are never mixed in


def test_opposite_errors_are_mixed():
    y = [np.full((3, 4), 10.0)]
    forecasts = {"high": [y[0] + 2], "low": [y[0] - 2], "far": [y[0] + 30]}
    assert ensemble_weights(y, forecasts) == {"high": pytest.approx(0.5), "low": pytest.approx(0.5)}


def test_one_that_is_right_stands_alone():
    y = [np.full((3, 4), 10.0)]
    assert ensemble_weights(y, {"right": y, "wrong": [y[0] + 5]}) == {"right": pytest.approx(1.0)}


def test_the_order_of_the_models_does_not_matter():
    actuals, forecasts = windows(3)
    assert ensemble_weights(actuals, dict(reversed(forecasts.items()))) == ensemble_weights(actuals, forecasts)


def test_nothing_sold_or_nothing_known_gives_no_weights():
    forecasts = {"m": [np.ones((2, 3))]}
    assert ensemble_weights([np.zeros((2, 3))], forecasts) == {}
    assert ensemble_weights([np.full((2, 3), np.nan)], forecasts) == {}


def test_pooled_wape_is_one_ratio_over_all_windows():
    actuals, parts = [np.array([[1.0, np.nan]]), np.array([[9.0]])], [np.array([[2.0, 5.0]]), np.array([[6.0]])]
    assert pooled_wape(actuals, parts) == pytest.approx((1 + 3) / 10)
