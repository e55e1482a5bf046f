"""The batched solver: optimality of what it finds, one series at a time like many, and the noise in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.models.prophet_lasso import Prior, State, log_posterior, maximise, noise_variance

N_FREE, N_LASSO = 4, 12


def problem(seed: int, n_series: int = 5, n_rows: int = 60) -> tuple[np.ndarray, np.ndarray, Prior]:
    """Designs whose lasso columns are hinges, as alike as those of a trend, and values with two bends."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, n_rows)
    hinges = np.maximum(t[:, None] - np.linspace(0.05, 0.8, N_LASSO), 0)
    free = np.stack([t, np.ones(n_rows), np.sin(50 * t), np.cos(50 * t)], axis=1)
    z = np.broadcast_to(np.concatenate([free, hinges], axis=1), (n_series, n_rows, N_FREE + N_LASSO)).copy()
    w = np.zeros((n_series, N_FREE + N_LASSO))
    w[:, :N_FREE] = rng.normal(0, 0.3, (n_series, N_FREE))
    w[:, N_FREE + 3], w[:, N_FREE + 8] = rng.normal(0, 2, (2, n_series))
    y = np.einsum("nij,nj->ni", z, w) + rng.normal(0, 0.05, (n_series, n_rows))
    return z, y, Prior(np.array([0.04, 0.04, 0.01, 0.01]), float(rng.choice([0.01, 0.05, 0.5])))


def solved(z: np.ndarray, y: np.ndarray, prior: Prior) -> State:
    n_series = len(z)
    none = np.zeros((n_series, N_LASSO))
    state = State(np.zeros((n_series, z.shape[2])), none.astype(bool), none.copy(), np.full(n_series, 0.1))
    gram, moment = np.einsum("nij,nik->njk", z, z), np.einsum("nij,ni->nj", z, y)
    maximise(gram, moment, (y**2).sum(1), np.full(n_series, float(y.shape[1])), prior, state, 1e-10)
    return state


def posterior(z: np.ndarray, y: np.ndarray, w: np.ndarray, v: np.ndarray, prior: Prior) -> np.ndarray:
    rss = ((y - np.einsum("nij,nj->ni", z, w)) ** 2).sum(1)
    return log_posterior(rss, np.full(len(y), float(y.shape[1])), w, v, prior)


@given(seed=st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_the_conditions_of_a_maximum_hold(seed: int) -> None:
    z, y, prior = problem(seed)
    state = solved(z, y, prior)
    residual = y - np.einsum("nij,nj->ni", z, state.w)
    slope = np.einsum("nij,ni->nj", z, residual) / state.v[:, None]
    free, delta = state.w[:, :N_FREE], state.w[:, N_FREE:]
    np.testing.assert_allclose(slope[:, :N_FREE], free * prior.ridge, atol=1e-6)
    bound = 1 / prior.tau
    zero = delta == 0
    assert (np.abs(slope[:, N_FREE:][zero]) <= bound * (1 + 1e-6)).all()
    np.testing.assert_allclose(slope[:, N_FREE:][~zero], bound * np.sign(delta[~zero]), rtol=1e-6)
    n = y.shape[1]
    np.testing.assert_allclose(4 * state.v**2 + n * state.v, (residual**2).sum(1), rtol=1e-6)


@given(seed=st.integers(0, 9999), scale=st.floats(1e-4, 0.3))
@settings(max_examples=40, deadline=None)
def test_no_step_in_any_direction_is_better(seed: int, scale: float) -> None:
    z, y, prior = problem(seed)
    state = solved(z, y, prior)
    rng = np.random.default_rng(seed)
    best = posterior(z, y, state.w, state.v, prior)
    moved = state.w + scale * rng.normal(size=state.w.shape) * (rng.random(state.w.shape) < 0.4)
    changed = state.v * np.exp(scale * rng.normal(size=len(y)))
    assert (posterior(z, y, moved, changed, prior) <= best + 1e-8).all()


def test_a_series_gets_the_same_bits_in_any_company() -> None:
    z, y, prior = problem(3, n_series=9)
    together = solved(z, y, prior)
    alone = solved(z[4:5], y[4:5], prior)
    assert alone.w.tobytes() == together.w[4:5].tobytes()
    assert alone.v.tobytes() == together.v[4:5].tobytes()


@pytest.mark.parametrize(("rss", "n"), [(0.5, 10.0), (1e-3, 200.0), (40.0, 30.0)])
def test_the_noise_is_where_its_posterior_is_highest(rss: float, n: float) -> None:
    grid = np.exp(np.linspace(np.log(1e-7), np.log(50), 200_001))
    value = -n / 2 * np.log(grid) - rss / (2 * grid) - 2 * grid
    assert noise_variance(np.array([rss]), np.array([n]))[0] == pytest.approx(grid[value.argmax()], rel=1e-3)


def test_an_exact_fit_has_a_noise_above_zero() -> None:
    assert noise_variance(np.zeros(1), np.ones(1))[0] > 0
