"""The linear base: known weights are found, outliers or not, one set for rows with a year and one for the others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foretail.features.catalogue import Feature
from foretail.features.frame import Rows
from foretail.models.base import LinearBase, fit_base


def rows_of(x: np.ndarray, target: np.ndarray, names: tuple[str, ...] = ("aligned", "recent_7", "other")) -> Rows:
    features = tuple(Feature(name, "as_of", name, lambda asof: asof.unit, base=name != "other") for name in names)
    zeros, ones = np.zeros(len(x), dtype=np.int64), np.ones(len(x))
    return Rows(features, x.astype(np.float32), zeros, zeros + 1, zeros, 0 * ones, ones, ones, target)


def data(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Half of the rows have no year behind them and follow other weights."""
    x = np.random.default_rng(seed).normal(0, 1, (n, 3))
    x[: n // 2, 0] = np.nan
    with_year = 0.5 + 0.3 * x[:, 0] + 0.6 * x[:, 1]
    return x, np.where(np.isnan(x[:, 0]), -0.2 + 0.9 * x[:, 1], with_year)


def test_known_weights_are_found() -> None:
    x, target = data(20_000)
    base = fit_base(rows_of(x, target), np.ones(20_000), 0)
    assert base.names == ("aligned", "recent_7")
    np.testing.assert_allclose(base.with_year, [0.5, 0.3, 0.6], atol=0.01)
    np.testing.assert_allclose(np.array(base.without_year)[[0, 2]], [-0.2, 0.9], atol=0.01)
    np.testing.assert_allclose(base.predict(rows_of(x, target)), target, atol=0.05)


def test_outliers_move_little() -> None:
    x, target = data(2000)
    target = target + np.where(np.random.default_rng(1).random(2000) < 0.1, 50.0, 0.0)
    base = fit_base(rows_of(x, target), np.ones(2000), 0)
    np.testing.assert_allclose(base.with_year, [0.5, 0.3, 0.6], atol=0.05)


def test_heavy_rows_count_more() -> None:
    x = np.ones((200, 3))
    target = np.r_[np.zeros(150), np.ones(50)]
    heavy = np.r_[np.ones(150), np.full(50, 100.0)]
    assert fit_base(rows_of(x, target), np.ones(200), 0).predict(rows_of(x, target))[0] == pytest.approx(0.0, abs=0.05)
    assert fit_base(rows_of(x, target), heavy, 0).predict(rows_of(x, target))[0] == pytest.approx(1.0, abs=0.05)


def test_few_rows_of_one_kind_are_drawn_to_the_weights_of_all() -> None:
    x, target = data(2000)
    x[3:, 0] = 1.0
    base = fit_base(rows_of(x, target), np.ones(2000), 0)
    everything = fit_base(rows_of(np.nan_to_num(x), target), np.ones(2000), 0)
    np.testing.assert_allclose(base.without_year, everything.with_year, atol=0.15)


def test_one_row_and_no_regressors_are_no_error() -> None:
    one = fit_base(rows_of(np.array([[np.nan, 1.0, 2.0]]), np.array([0.7])), np.ones(1), 0)
    assert one.predict(rows_of(np.array([[np.nan, 1.0, 2.0]]), np.array([0.7])))[0] == pytest.approx(0.7, abs=0.01)
    none = fit_base(rows_of(np.zeros((9, 1)), np.full(9, 2.0), names=("other",)), np.ones(9), 0)
    assert none.names == ()
    assert none.with_year == pytest.approx((2.0,))


def test_a_peak_larger_than_any_seen_carries_over_in_full() -> None:
    season = np.random.default_rng(3).normal(0, 0.1, 300)
    x, target = season[:, None], 0.4 * season + np.random.default_rng(4).normal(0, 0.05, 300)
    base = fit_base(rows_of(x, target, ("profile",)), np.ones(300), 0)
    inside, beyond = base.predict(rows_of(np.array([[base.seen], [1.0]]), np.zeros(2), ("profile",)))
    assert inside == pytest.approx(0.4 * base.seen, abs=0.03)
    assert beyond - inside == pytest.approx(1.0 - base.seen, abs=0.03)


def test_wild_regressors_are_cut() -> None:
    x, target = data(2000)
    base = fit_base(rows_of(x, target), np.ones(2000), 0)
    wild = base.predict(rows_of(np.array([[1e30, np.inf, 0.0]]), np.zeros(1)))
    assert wild[0] == pytest.approx(0.5 + 0.3 * 5 + 0.6 * 5, abs=0.5)


def test_a_base_survives_json() -> None:
    x, target = data(100)
    base = fit_base(rows_of(x, target), np.ones(100), 0)
    assert LinearBase.from_dict(json.loads(json.dumps(base.to_dict()))) == base


@pytest.mark.parametrize(("n_flagged", "low", "high"), [(15, 0.8, 1.0), (8000, 0.15, 0.35)])
def test_what_a_flag_added_before_is_believed_until_many_rows_say_otherwise(
    n_flagged: int, low: float, high: float
) -> None:
    """Rows with the flag say that a fifth of it comes again."""
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.normal(0, 1, 20_000), rng.normal(0, 1, 20_000), np.zeros(20_000)])
    x[:n_flagged, 2] = rng.uniform(0.3, 0.6, n_flagged)
    target = 0.3 * x[:, 0] + 0.6 * x[:, 1] + 0.2 * x[:, 2] + rng.normal(0, 0.2, 20_000)
    rows = rows_of(x, target, ("aligned", "recent_7", "effect_fair"))
    base = fit_base(rows, np.ones(20_000), 0)
    assert low <= base.with_year[3] <= high
    np.testing.assert_allclose(base.with_year[1:3], [0.3, 0.6], atol=0.02)
