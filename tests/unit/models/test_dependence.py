"""The dependence of errors: what made them is found again, whatever is missing; and what it says is a correlation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.errors import UsageError
from foretail.models.dependence import Dependence
from foretail.models.marginals import Scores

N, H, SEASON = 240, 28, 7
STORE, ITEM = np.arange(N) % 12, np.arange(N) // 12


def drawn(rng: np.random.Generator, *, path=0.0, store=0.0, every=0.0, season=0.0) -> Scores:
    """Scores with shares that last the path: of the series, of its store, of all; the rest is noise."""
    noise = 1 - path - store - every - season
    z = np.sqrt(path) * rng.standard_normal((N, 1))
    z = z + np.sqrt(store) * rng.standard_normal(12)[STORE][:, None]
    z = z + np.sqrt(every) * rng.standard_normal()
    z = z + np.sqrt(season) * rng.standard_normal((N, SEASON))[:, np.arange(H) % SEASON]
    z = z + np.sqrt(noise) * rng.standard_normal((N, H))
    return Scores(z, np.ones_like(z))


def total(dependence: Dependence, factor: str) -> float:
    return float(dependence.shares[dependence.factors.index(factor)].sum())


def test_what_lasts_the_path_is_found_where_it_is():
    rng = np.random.default_rng(0)
    windows = [drawn(rng, path=0.2, store=0.15) for _ in range(4)]
    found = Dependence.fit(windows, {"store": STORE, "item": ITEM}, SEASON)
    assert found.factors == ("", "store", "item", "own")
    shares = dict(zip(found.factors, found.shares, strict=True))
    assert shares["store"][0] == pytest.approx(0.15, abs=0.06)
    assert shares["own"][0] + shares["own"][1] == pytest.approx(0.2, abs=0.06)
    assert shares["item"].sum() < 0.02 and shares[""].sum() < 0.05
    assert found.shares.sum() == pytest.approx(1)


def test_a_week_that_comes_back_is_found():
    rng = np.random.default_rng(1)
    found = Dependence.fit([drawn(rng, season=0.3) for _ in range(3)], {}, SEASON)
    correlation = found.correlation(H)
    assert correlation[0, 7] == pytest.approx(0.3, abs=0.05)
    assert correlation[0, 3] < 0.05


def test_missing_scores_change_nothing_but_the_noise():
    rng = np.random.default_rng(2)
    windows = [drawn(rng, path=0.3) for _ in range(4)]
    holes = [Scores(np.where(rng.random((N, H)) < 0.5, np.nan, w.mean), w.told) for w in windows]
    whole, part = (Dependence.fit(item, {}, SEASON).correlation(H) for item in (windows, holes))
    np.testing.assert_allclose(part, whole, atol=0.04)


def test_coarse_values_do_not_hide_what_goes_together():
    rng = np.random.default_rng(3)
    windows = []
    for _ in range(4):
        z = drawn(rng, path=0.3).mean
        # only the sign is seen: the mean score of a half, of which 2 / pi of the variance is told
        windows.append(Scores(np.sign(z) * np.sqrt(2 / np.pi), np.full_like(z, 2 / np.pi)))
    found = Dependence.fit(windows, {}, SEASON).correlation(H)
    assert found[0, 5] == pytest.approx(0.3, abs=0.05)


def test_older_windows_count_less():
    rng = np.random.default_rng(4)
    windows = [drawn(rng, path=0.5), drawn(rng)]
    old, new = (Dependence.fit(windows, {}, SEASON, weights).correlation(H)[0, 9] for weights in ([1, 0.01], [0.01, 1]))
    assert old > 0.4 and new < 0.1


def test_no_share_of_all_series_is_believed_after_few_windows_only():
    rng = np.random.default_rng(5)
    windows = [drawn(rng) for _ in range(40)]
    few = [total(Dependence.fit(windows[i : i + 3], {}, SEASON), "") for i in range(0, 39, 3)]
    many = total(Dependence.fit(windows, {}, SEASON), "")
    assert min(few) >= 0.02 / 4 > many > 0


def test_a_share_of_all_series_grows_by_what_few_windows_may_have_missed():
    rng = np.random.default_rng(7)
    windows = [drawn(rng, every=0.3) for _ in range(3)]
    few, many = (total(Dependence.fit(windows * n, {}, SEASON), "") for n in (1, 40))
    assert 1.3 < few / many < 1.6  # (1 + 0.66 / 3) ** 2


def test_series_with_wide_intervals_count_more():
    rng = np.random.default_rng(8)
    is_wide = STORE < 4
    windows = [Scores(np.where(is_wide[:, None], drawn(rng, every=0.5).mean, w.mean), w.told) for w in
               (drawn(rng) for _ in range(12))]  # fmt: skip
    widths = [np.where(is_wide, 50.0, 1.0)] * 12
    equal, by_width = (total(Dependence.fit(windows, {}, SEASON, widths=w), "") for w in (None, widths))
    assert by_width > 3 * equal
    unknown = [np.full(N, np.nan)] * 12
    assert total(Dependence.fit(windows, {}, SEASON, widths=unknown), "") == pytest.approx(equal)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), h=st.integers(1, 12), season=st.sampled_from([1, 7, 12]))
@settings(max_examples=60)
def test_a_correlation_whatever_the_scores(seed, n, h, season):
    rng = np.random.default_rng(seed)
    windows = [Scores(rng.standard_normal((n, h)) * 3, rng.random((n, h))) for _ in range(3)]
    found = Dependence.fit(windows, {"k": rng.integers(0, 2, n)}, season)
    if found is None:
        assert 3 * n * h < 30
        return
    correlation = found.correlation(h + 3)
    np.testing.assert_allclose(np.diag(correlation), 1, atol=1e-9)
    assert np.linalg.eigvalsh(correlation).min() > -1e-9
    assert (found.shares >= 0).all()


def test_columns_that_tell_series_apart_or_not_at_all_are_left_out():
    rng = np.random.default_rng(6)
    groups = {"one": np.zeros(N, int), "series": np.arange(N), "store": STORE, "same": 11 - STORE}
    assert Dependence.fit([drawn(rng)], groups, SEASON).columns == ("store",)


@pytest.mark.parametrize(("strength", "last"), [(0.0, None), (0.25, None), (1.0, 1.0), (-1.0, 0.0)])
def test_a_path_is_tied_more_or_less_and_stays_a_correlation(strength, last):
    found = Dependence(("own",), np.array([[0.1, 0.3, 0.0, 0.1, 0.0, 0.5]]), SEASON)
    tied = found.tied(strength).correlation(H)
    np.testing.assert_allclose(np.diag(tied), 1)
    assert np.linalg.eigvalsh(tied).min() > -1e-9
    if last is None:
        assert tied[0, -1] == pytest.approx((1 - strength) * found.correlation(H)[0, -1] + strength)
    else:
        assert tied[0, -1] == pytest.approx(last)


def test_too_few_scores_say_nothing():
    few = Scores(np.ones((2, 3)), np.ones((2, 3)))
    assert Dependence.fit([few], {}, 1) is None


def test_one_series_has_no_factor():
    rng = np.random.default_rng(7)
    found = Dependence.fit([Scores(rng.standard_normal((1, 28)), np.ones((1, 28))) for _ in range(4)], {}, 7)
    assert found.factors == ("own",)


def test_it_is_read_back_from_among_other_arrays():
    rng = np.random.default_rng(8)
    found = Dependence.fit([drawn(rng, path=0.2)], {"store": STORE}, SEASON)
    again = Dependence.from_arrays({"levels": np.array([0.5]), **found.to_arrays()})
    assert again.factors == found.factors and again.season == SEASON
    np.testing.assert_array_equal(again.shares, found.shares)


def test_a_version_without_it_says_train_again():
    with pytest.raises(UsageError, match="train again"):
        Dependence.from_arrays({"levels": np.array([0.5])})
