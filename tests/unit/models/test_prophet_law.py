"""The law of the future that Prophet simulates: by inversion, by simulation, and off the lattice."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.models.prophet_law import deviations, standard_quantiles

LEVELS = (0.6, 0.8, 0.9, 0.975)
NORMAL = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def simulated(ratio: float, chance: float, n_steps: int, n_paths: int = 150_000) -> np.ndarray:
    """Quantiles after the last step: mean of both tails of many draws of N(0, 1) + r sum (j + 1/2) B L."""
    rng = np.random.default_rng(5)
    total = rng.standard_normal(n_paths)
    for j in range(n_steps):
        total += ratio * (j + 0.5) * rng.laplace(size=n_paths) * (rng.random(n_paths) < chance)
    upper, lower = np.quantile(total, LEVELS), np.quantile(total, [1 - level for level in LEVELS])
    return (upper - lower) / 2


@pytest.mark.parametrize(("ratio", "chance", "n_steps"), [(0.01, 0.2, 42), (0.1, 0.05, 20), (0.4, 0.3, 5), (2, 0.2, 9)])
def test_inversion_is_what_simulation_tends_to(ratio: float, chance: float, n_steps: int) -> None:
    exact = standard_quantiles(ratio, chance, (n_steps,), LEVELS)[0]
    np.testing.assert_allclose(exact, simulated(ratio, chance, n_steps), rtol=0.015)


@pytest.mark.parametrize(("ratio", "chance"), [(0.0037, 0.17), (0.052, 0.023), (0.21, 0.6), (0.9, 0.05)])
def test_the_lattice_is_near_the_exact_law(ratio: float, chance: float) -> None:
    found = deviations(np.full((1, 50), ratio), np.array([chance]), LEVELS)[0]
    exact = standard_quantiles(ratio, chance, (1, 3, 8, 50), LEVELS)
    np.testing.assert_allclose(found[[0, 2, 7, 49]], exact, rtol=0.015)


def test_without_changes_it_is_the_normal_law() -> None:
    found = deviations(np.zeros((2, 30)), np.array([0.2, 0.0]), LEVELS)
    np.testing.assert_allclose(found, np.broadcast_to(NORMAL, found.shape), rtol=1e-6)


def test_quantiles_mirror_ascend_and_grow_with_the_step() -> None:
    ratio = np.array([[1e-5], [0.01], [0.5], [40.0]]) * np.ones(60)
    found = deviations(ratio, np.array([0.2, 0.03, 0.5, 1.0]), DEFAULT_QUANTILES)
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=2) > 0).all()
    np.testing.assert_array_equal(found, -found[..., ::-1])
    assert (np.diff(found[..., -1], axis=1) >= -1e-9).all()
    assert (found[..., DEFAULT_QUANTILES.index(0.5)] == 0).all()


def test_a_series_gets_the_same_bits_in_any_company() -> None:
    ratio, chance = np.random.default_rng(0).uniform(0, 0.2, (6, 14)), np.linspace(0.01, 0.9, 6)
    together = deviations(ratio, chance, LEVELS)
    assert deviations(ratio[2:3], chance[2:3], LEVELS).tobytes() == together[2:3].tobytes()


def test_only_the_median_needs_no_law() -> None:
    assert (deviations(np.ones((2, 3)), np.full(2, 0.5), (0.5,)) == 0).all()
