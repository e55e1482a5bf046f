"""Joint samples: the calibrated law in each cell, correlation between cells, chunks that agree, totals that cover."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.forecasts.samples import Sampler, group_codes, sample_paths
from foretail.models.dependence import Dependence
from foretail.models.marginals import knots

LEVELS = DEFAULT_QUANTILES
N, H = 150, 14
STORE = {"store": np.arange(N) % 6}
DEPENDENCE = Dependence(
    ("", "store", "own"),
    np.array([[0.1, 0, 0, 0, 0, 0.05], [0.1, 0.05, 0, 0, 0, 0], [0.2, 0.1, 0, 0.1, 0, 0.3]]),
    7,
)


def normal(n=N, h=H):
    """Quantiles of a normal law of mean 20 and spread 2."""
    return np.broadcast_to(20 + 2 * knots(LEVELS), (n, h, len(LEVELS)))


def scores(paths):
    return (paths - 20) / 2


def test_every_cell_has_its_quantiles():
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.gamma(2, 10, (40, 5, len(LEVELS))), axis=2)
    paths = sample_paths(quantiles, LEVELS, DEPENDENCE, 4000, 1, groups={"store": np.arange(40) % 6})
    assert paths.shape == (40, 5, 4000) and paths.dtype == np.float32
    for i, level in enumerate(LEVELS):
        share = (paths <= quantiles[:, :, i, None]).mean(2)
        # 5 standard errors of 4,000 draws in each of 200 cells
        np.testing.assert_allclose(share, level, atol=5 * np.sqrt(level * (1 - level) / 4000) + 1e-3)


def test_cells_go_together_as_the_dependence_says():
    z = scores(sample_paths(normal(), LEVELS, DEPENDENCE, 3000, 3, groups=STORE))
    same_series = (z[:, 0] * z[:, 4]).mean()
    assert same_series == pytest.approx(DEPENDENCE.correlation(H)[0, 4], abs=0.02)
    same_week = (z[:, 0] * z[:, 7]).mean()
    assert same_week == pytest.approx(DEPENDENCE.correlation(H)[0, 7], abs=0.02)
    in_store = (z[0, 2] * z[6, 2]).mean(), (z[1, 2] * z[7, 2]).mean()
    assert np.mean(in_store) == pytest.approx(0.3, abs=0.06)
    elsewhere = (z[0, 2] * z[7, 2]).mean(), (z[1, 2] * z[8, 2]).mean()
    assert np.mean(elsewhere) == pytest.approx(0.15, abs=0.06)


def test_chunks_of_series_give_what_all_at_once_do():
    quantiles = normal()
    whole = sample_paths(quantiles, LEVELS, DEPENDENCE, 30, 5, groups=STORE)
    parts = [
        sample_paths(quantiles[first : first + 37], LEVELS, DEPENDENCE, 30, 5, groups=STORE, first=first)
        for first in range(0, N, 37)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_seed_is_an_answer():
    one, same, other = (sample_paths(normal(5), LEVELS, DEPENDENCE, 20, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.9


def test_without_codes_what_is_shared_is_a_series_own():
    z = scores(sample_paths(normal(), LEVELS, DEPENDENCE, 3000, 3))
    assert (z[0, 2] * z[6, 2]).mean() == pytest.approx(0.15, abs=0.06)
    assert (z[:, 0] * z[:, 4]).mean() == pytest.approx(DEPENDENCE.correlation(H)[0, 4], abs=0.02)
    assert (z**2).mean() == pytest.approx(1, abs=0.02)


def test_totals_are_sums_of_paths():
    sampler = Sampler(DEPENDENCE, H, 25, 9, STORE)
    paths = sampler.paths(normal(), LEVELS)
    np.testing.assert_allclose(sampler.totals(normal(), LEVELS), paths.sum(1, dtype=np.float64))


def test_totals_of_joint_samples_cover_and_sums_of_quantiles_do_not():
    """Sales drawn from the law itself: the 80 % interval of a total holds 80 % of the totals."""
    actual = sample_paths(normal(2000), LEVELS, DEPENDENCE, 1, seed=1)[:, :, 0].sum(1)
    totals = Sampler(DEPENDENCE, H, 400, 2).totals(normal(2000), LEVELS)
    low, high = np.quantile(totals, (0.1, 0.9), axis=1)
    summed = normal(2000)[:, :, [LEVELS.index(0.1), LEVELS.index(0.9)]].sum(1)
    alone = Sampler(Dependence.independent(), H, 400, 2).totals(normal(2000), LEVELS)
    narrow = np.quantile(alone, (0.1, 0.9), axis=1)
    # what all series share moves all totals of one draw, so that the share wanders with it
    assert ((low <= actual) & (actual <= high)).mean() == pytest.approx(0.8, abs=0.1)
    assert ((summed[:, 0] <= actual) & (actual <= summed[:, 1])).mean() > 0.92
    assert ((narrow[0] <= actual) & (actual <= narrow[1])).mean() < 0.6


def test_closed_days_stay_closed_and_nothing_is_negative():
    quantiles = normal().copy() - 18
    quantiles = np.maximum(quantiles, 0)
    quantiles[:, 3] = 0
    paths = sample_paths(quantiles, LEVELS, DEPENDENCE, 50, 1)
    assert (paths[:, 3] == 0).all() and (paths >= 0).all()


def test_codes_of_columns_that_are_there_missing_values_included():
    series = pl.DataFrame({"store": [2, 1, 2, None], "kind": ["a", "a", "b", "a"]})
    codes = group_codes(series, ("store", "kind", "absent"))
    assert set(codes) == {"store", "kind"}
    assert codes["store"][0] == codes["store"][2] != codes["store"][1]
    assert len(set(codes["store"].tolist())) == 3
