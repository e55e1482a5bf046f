"""The importance of columns by permutation: on the newest window, for families and mixtures, and none where none is."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest

from foretail.backtest.permuted import AS_IT_IS, importance_of, permuted_forecasts, sampled_rows
from foretail.backtest.run import Backtest, Candidate, backtest
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.models.families import make
from foretail.panel.panel import Covariate, Panel

H, T, N = 14, 260, 16
QUICK = {"rounds": 30, "bags": 1, "heads": "none", "n_threads": 1}


@cache
def shops() -> Panel:
    """Sales that double on promotion; nothing hangs on the moon, on the noise, or on the colour."""
    rng = np.random.default_rng(0)
    promo = (rng.random((N, T + H)) < 0.3).astype(np.float32)
    moon = np.tile((np.arange(T + H) % 28 < 7).astype(np.float32), (N, 1))
    y = rng.uniform(20, 90, (N, 1)) * (1 + promo[:, :T]) * rng.lognormal(0, 0.05, (N, T))
    spec = DatasetSpec(
        ("shop",), "day", "units", "D", H, known=("promo", "moon"), past=(PastCovariate("noise"),), static=("colour",)
    )
    names = [f"s{row:02d}" for row in range(N)]
    series = pl.DataFrame({"unique_id": names, "shop": names, "colour": [["red", "blue"][row % 2] for row in range(N)]})
    known = (Covariate("promo", promo), Covariate("moon", moon))
    past = (Covariate("noise", rng.normal(5, 1, (N, T)).astype(np.float32)),)
    return Panel(spec, series, 19_000, y, np.zeros((N, T + H), dtype=bool), known, past)


@cache
def outcome(*families: str) -> Backtest:
    candidates = [Candidate(name, QUICK if name == "boosting" else {}) for name in families]
    return backtest(shops(), H, candidates, levels=(0.1, 0.9))


@pytest.mark.parametrize("family", ["prophet", "boosting"])
def test_what_doubles_sales_is_what_a_model_cannot_do_without(family: str) -> None:
    found = dict(outcome(family).alone(family, shops(), H).importance(shops()))
    assert set(found) == {"promo", "moon", "noise", "colour"}
    assert found["promo"] > 0.1
    assert max(abs(found[name]) for name in ("moon", "noise", "colour")) < 0.02
    assert next(iter(found)) == "promo"


def test_a_mixture_loses_what_its_members_lose_together() -> None:
    result = outcome("prophet", "theta", "boosting")
    found = dict(result.importance(shops()))
    assert found["promo"] > 0.05
    assert set(result.permuted) == {"prophet", "boosting"}


def test_a_family_that_sees_no_column_has_none_to_miss() -> None:
    assert outcome("theta").importance(shops()) == ()
    assert permuted_forecasts(make("theta").fit(shops(), H), shops(), H, 7) == {}


def test_forecasts_are_shuffled_one_column_at_a_time_and_the_same_way_twice() -> None:
    model = make("prophet").fit(shops(), H)
    first, again = (permuted_forecasts(model, shops(), H, 7) for _ in range(2))
    np.testing.assert_array_equal(first[AS_IT_IS], model.predict(shops(), H).y_hat)
    for name, y_hat in first.items():
        np.testing.assert_array_equal(y_hat, again[name])
    assert not np.array_equal(first["promo"], first[AS_IT_IS])
    np.testing.assert_array_equal(first["noise"], first[AS_IT_IS])


def test_the_rise_is_that_of_the_error_as_a_share_of_sales() -> None:
    y = np.array([[10.0, np.nan], [30.0, 60.0]])
    forecasts = {
        "a": {AS_IT_IS: y + 1, "price": y + 11},
        "b": {AS_IT_IS: y + 3},
    }
    found = importance_of(y, forecasts, lambda every: (every["a"] + every["b"]) / 2)
    assert found == (("price", pytest.approx((7 - 2) * 3 / 100)),)
    assert importance_of(np.zeros_like(y), forecasts, lambda every: every["a"]) == ()


def test_a_big_panel_is_sampled_evenly() -> None:
    begun = np.ones(5000, dtype=bool)
    begun[:1000] = False
    rows = sampled_rows(begun)
    assert len(rows) == 300 and rows[0] == 1000 and rows[-1] == 4999 and (np.diff(rows) > 0).all()
    assert sampled_rows(begun[990:1010]).tolist() == list(range(10, 20))
