"""What inner windows say: weights sum to one, richer ones must earn it, and a single family must be clearly better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.backtest.metrics import pooled_wape
from foretail.backtest.select import select

N, H = 6, 7


def windows(seed, n_models=4, holes=0.1, n=N, n_windows=3):
    """Actuals of some windows and forecasts that err in different ways."""
    rng = np.random.default_rng(seed)
    actuals = [rng.gamma(3, 5, (n, H)) for _ in range(n_windows)]
    forecasts = {
        f"m{k}": [y + rng.normal(rng.normal(0, 2), rng.uniform(0.5, 4), y.shape) for y in actuals]
        for k in range(n_models)
    }
    for y in actuals:
        y[rng.random(y.shape) < holes] = np.nan
    return actuals, forecasts


def chosen(actuals, forecasts, segments=None, origins=None, **more):
    n = len(actuals[0])
    return select(
        actuals,
        forecasts,
        origins=origins or [100 + H * i for i in range(len(actuals))],
        h=H,
        unique_ids=[f"s{row}" for row in range(n)],
        segments=np.zeros(n, dtype=np.int64) if segments is None else segments,
        **more,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4))
def test_weights_sum_to_one_and_the_mixture_is_near_the_best(seed, n_models, n_windows):
    actuals, forecasts = windows(seed, n_models, n_windows=n_windows)
    found = chosen(actuals, forecasts, np.arange(N) % 2)
    assert found.mixture is not None
    assert found.mixture.weights.sum(-1) == pytest.approx(1)
    assert (found.mixture.weights >= 0).all()
    assert sum(found.mixture.shares().values()) == pytest.approx(1)
    groups = found.mixture.groups([f"s{row}" for row in range(N)])
    mixed = [
        found.mixture.mixed({name: parts[i] for name, parts in forecasts.items()}, groups) for i in range(n_windows)
    ]
    best = min(pooled_wape(actuals, parts) for parts in forecasts.values())
    assert pooled_wape(actuals, mixed) <= 1.25 * best  # members worse than that are never mixed in


def test_opposite_errors_are_mixed():
    y = [np.full((3, H), 10.0)]
    found = chosen(y, {"high": [y[0] + 2], "low": [y[0] - 2], "far": [y[0] + 30]})
    assert found.mixture.shares() == {"high": pytest.approx(0.5), "low": pytest.approx(0.5)}
    assert found.alone is None


def test_one_that_is_right_stands_alone():
    y = [np.full((3, H), 10.0)]
    found = chosen(y, {"right": y, "wrong": [y[0] + 5]})
    assert found.mixture.members == ("right",)
    assert found.alone == "right"


def test_segments_that_want_different_members_get_their_own_weights():
    rng = np.random.default_rng(1)
    segments = np.repeat([0, 1], 200)
    y = [rng.gamma(9, 5, (400, H)) for _ in range(3)]
    off = np.where(segments == 0, 0.0, 8.0)[:, None]
    forecasts = {"first": [part + off + rng.normal(0, 3, part.shape) for part in y]}
    forecasts["second"] = [part + (8.0 - off) + rng.normal(0, 3, part.shape) for part in y]
    found = chosen(y, forecasts, segments)
    assert found.errors["segment"] < 0.9 * found.errors["flat"]
    assert found.way != "flat"
    groups = found.mixture.groups(["s0", "s399"])
    first = found.mixture.weights[groups, 0, found.mixture.members.index("first")]
    assert first[0] > 0.5 > first[1]


def test_what_is_alike_everywhere_keeps_one_set_of_weights():
    actuals, forecasts = windows(3, n=300)
    found = chosen(actuals, forecasts, np.arange(300) % 3)
    assert found.way == "flat"
    assert found.mixture.weights.shape[:2] == (1, 1)


def test_a_window_is_judged_by_weights_that_have_not_seen_its_periods():
    # two windows over the same periods: one left out, the other must not tell what happened in it
    y = [np.random.default_rng(5).gamma(3, 5, (4, H)) for _ in range(1)] * 2
    forecasts = {"a": [y[0] + 1] * 2, "b": [y[0] - 1] * 2}
    same = chosen(y, forecasts, origins=[50, 50])
    apart = chosen(y, forecasts, origins=[50, 90])
    assert same.wape == pytest.approx(apart.wape)


def test_a_family_is_used_alone_only_when_it_is_better_by_more_than_noise():
    rng = np.random.default_rng(8)
    y = [rng.gamma(9, 5, (200, H)) for _ in range(3)]
    good = [part + rng.normal(0, 2, part.shape) for part in y]
    # what errs the same way and more can only harm; what is no worse and errs in other ways helps
    worse = [part + 1.2 * (near - part) for part, near in zip(y, good, strict=True)]
    other = [part + rng.normal(0, 2, part.shape) for part in y]
    assert chosen(y, {"good": good, "worse": worse}).alone == "good"
    assert chosen(y, {"good": good, "other": other}).alone is None
    few = [part[:2] for part in y]
    assert chosen(few, {"good": [part[:2] for part in good], "other": [part[:2] for part in other]}).alone is None


def test_the_prior_speaks_for_windows_that_tell_nothing():
    y = [np.full((40, H), 10.0)] * 4
    forecasts = {"simple": y, "learned": [part + 4 for part in y], "poor": [part + 9 for part in y]}
    prior = {"learned": 2.0, "simple": 1.0}
    assert chosen(y, forecasts, prior=prior).alone == "simple"
    found = chosen(y, forecasts, prior=prior, prior_share=1.0)
    assert found.alone is None
    assert found.mixture.shares() == {"learned": pytest.approx(2 / 3), "simple": pytest.approx(1 / 3)}
    half = chosen(y, forecasts, prior=prior, prior_share=0.5).mixture.shares()
    assert 1 / 3 < half["learned"] < 2 / 3
    assert "poor" not in half


def test_nothing_sold_is_nothing_to_compare():
    y = [np.zeros((2, H))]
    assert chosen(y, {"a": y}).mixture is None
