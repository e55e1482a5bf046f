"""Reconciliation: beside a library's dense matrices, and what holds for any hierarchy."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.spec import DatasetSpec
from foretail.models.reconcile import METHODS, Covariance, reconcile, shrinkage
from foretail.panel.hierarchy import hierarchy_of

SPEC = DatasetSpec(keys=("a", "b"), time="date", target="sales", freq="D", horizon=4)
H = 4


def hierarchy(seed, n, names=("a", "b", "a/b")):
    rng = np.random.default_rng(seed)
    series = pl.DataFrame(
        {"unique_id": [str(i) for i in range(n)], "a": rng.integers(0, 4, n), "b": rng.integers(0, 3, n)}
    )
    return hierarchy_of(series, SPEC, names)


def world(seed, n=30, k=40):
    """A hierarchy, base forecasts of groups and series, and errors ``[U + N, k]`` that go together."""
    rng = np.random.default_rng(seed)
    found = hierarchy(seed, n)
    errors = rng.normal(size=(n, k)) * rng.uniform(1, 3, (n, 1)) + rng.normal(size=k)
    of_groups = found.sums(errors) + rng.normal(size=(found.n_groups, k)) * 3
    series = rng.uniform(5, 50, (n, H))
    return found, found.sums(series) + rng.normal(size=(found.n_groups, H)) * 10, series, np.vstack([of_groups, errors])


def by_library(name, found, groups, series, errors):
    """Forecasts of the series as hierarchicalforecast's MinTrace makes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its imports
        from hierarchicalforecast.methods import MinTrace
    sums = np.vstack([found.sums(np.eye(len(series))), np.eye(len(series))])
    base = np.vstack([groups, series])
    projection, _ = MinTrace(method=name)._get_PW_matrices(
        S=sums, y_hat=base, y_insample=errors, y_hat_insample=np.zeros_like(errors)
    )
    return projection @ base


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["wls_struct", "wls_var", "mint_shrink"])
def test_it_is_what_the_library_makes_of_dense_matrices(name, seed):
    found, groups, series, errors = world(seed)
    covariance = {
        "wls_struct": lambda: Covariance.structural(found, len(series)),
        "wls_var": lambda: Covariance.of_variances(errors),
        "mint_shrink": lambda: Covariance.shrunk(errors),
    }[name]()
    ours = reconcile(found, groups, series, "shrink", covariance, non_negative=False)
    np.testing.assert_allclose(ours, by_library(name, found, groups, series, errors), rtol=1e-6, atol=1e-6)


def test_top_down_by_the_forecasts_is_what_the_library_makes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from hierarchicalforecast.methods import TopDown
    found, groups, series, _ = world(1)
    n = len(series)
    sums, tags = np.vstack([np.ones((1, n)), np.eye(n)]), {"total": np.array([0]), "series": np.arange(1, n + 1)}
    base = np.vstack([groups[:1], series])
    theirs = TopDown(method="forecast_proportions").fit_predict(S=sums, y_hat=base, tags=tags)["mean"][1:]
    np.testing.assert_allclose(reconcile(found, groups, series, "top_down"), theirs, rtol=1e-9)


def test_the_shrinkage_is_that_of_a_loop_over_pairs():
    errors = world(2, n=8, k=15)[3]
    centred = errors - errors.mean(1, keepdims=True)
    z = centred / centred.std(1, ddof=1, keepdims=True)
    k = errors.shape[1]
    variance = squares = 0.0
    for i in range(len(z)):
        for j in range(len(z)):
            if i != j:
                w = z[i] * z[j]
                variance += k / (k - 1) ** 3 * ((w - w.mean()) ** 2).sum()
                squares += (k / (k - 1) * w.mean()) ** 2
    assert shrinkage(centred) == pytest.approx(variance / squares)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from(METHODS), st.booleans())
def test_any_hierarchy_gives_finite_forecasts_that_keep_what_is_fixed(seed, n, method, is_rough):
    rng = np.random.default_rng(seed)
    found = hierarchy(seed, n)
    series = rng.gamma(1.0, 20.0, (n, H)) * (rng.random((n, H)) < (0.4 if is_rough else 1.0))
    groups = np.maximum(found.sums(series) * rng.lognormal(0, 1.0 if is_rough else 0.1, (found.n_groups, H)), 0.0)
    errors = rng.normal(size=(found.n_groups + n, 12))
    errors[rng.random(errors.shape) < 0.2] = np.nan
    fixed = rng.random((n, H)) < 0.2
    series[fixed] = 0.0
    covariance = Covariance.of_variances(errors) if method == "wls" else Covariance.shrunk(errors)
    ours = reconcile(found, groups, series, method, covariance, fixed=fixed)
    assert np.isfinite(ours).all() and (ours >= 0).all()
    assert (ours[fixed] == 0).all()
    again = reconcile(found, found.sums(ours), ours, method, covariance, fixed=fixed)
    np.testing.assert_allclose(again, ours, rtol=1e-6, atol=1e-6)  # what agrees already is left alone


@pytest.mark.parametrize("method", ["wls", "shrink"])
def test_what_would_be_negative_is_held_at_zero_and_the_rest_bears_it(method):
    found = hierarchy_of(pl.DataFrame({"unique_id": ["1", "2"], "a": [0, 1], "b": [0, 0]}), SPEC, ("b",))
    series, groups = np.array([[1.0], [50.0]]), np.array([[40.0], [40.0]])
    variance = np.array([1e-9, 1e-9, 100.0, 100.0])
    free = reconcile(found, groups, series, method, Covariance(variance), non_negative=False)
    assert free[0, 0] == pytest.approx(-4.5, abs=1e-6)
    held = reconcile(found, groups, series, method, Covariance(variance))
    np.testing.assert_allclose(held, [[0.0], [40.0]], atol=1e-6)


def test_groups_that_never_err_are_met_exactly():
    found, _, series, _ = world(3)
    agreed = found.sums(series * 1.3)
    covariance = Covariance(np.r_[np.zeros(found.n_groups), np.ones(len(series))])
    ours = reconcile(found, agreed, series, "wls", covariance)
    np.testing.assert_allclose(found.sums(ours), agreed, rtol=1e-5)


def test_a_row_of_another_hierarchy_takes_its_own_variance_or_the_median():
    covariance = Covariance(np.array([4.0, 1.0, 2.0]), np.array([[1.0], [0.0], [0.0]]))
    placed = covariance.placed(np.array([2, -1, 0]))
    assert placed.diagonal.tolist() == [2.0, 2.0, 4.0]
    assert placed.factor is not None and placed.factor.ravel().tolist() == [0.0, 0.0, 1.0]


def test_a_covariance_comes_back_from_its_arrays():
    covariance = Covariance.shrunk(world(4)[3])
    read = Covariance.from_arrays(covariance.to_arrays())
    assert (read.diagonal == covariance.diagonal).all()
    np.testing.assert_allclose(read.factor, covariance.factor, rtol=1e-6)
