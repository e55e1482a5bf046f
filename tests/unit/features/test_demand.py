"""Demand estimates: right where the world is exact, never below what was sold, and made of nothing after the cutoff."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from panel_maker import make_panel

from foretail.core.spec import DatasetSpec
from foretail.features import demand
from foretail.features.demand import _above, as_demanded, demand_of
from foretail.panel.panel import Covariate, Panel, Withheld

N, T = 8, 140


def exact_world(freq: str = "D", noise: float = 0.0, seed: int = 3) -> tuple[Panel, np.ndarray[Any, Any]]:
    """Level x weekday x promotion, shut on Sundays; the panel with nothing withheld, and its mean demand."""
    rng = np.random.default_rng(seed)
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq=freq, horizon=7, known=("promo",))
    start = int(spec.frequency.to_index(np.array("2024-01-05", dtype="datetime64[D]")))
    weekday = (start + np.arange(T + 7) + 3) % 7 if freq == "D" else np.zeros(T + 7, dtype=int)
    promo = (rng.random((N, T + 7)) < 0.3).astype(np.float32)
    level = rng.uniform(20, 200, (N, 1))
    mean = level * np.linspace(0.7, 1.3, 7)[weekday] * np.where(promo > 0, 1.5, 1.0)
    closed = np.broadcast_to((weekday == 6) & (freq == "D"), mean.shape)
    shape = 1 / max(noise, 1e-9) ** 2
    drawn = mean * (rng.gamma(shape, 1 / shape, mean.shape) if noise else 1.0)
    y = np.where(closed, 0.0, drawn)[:, :T]
    series = pl.DataFrame({"unique_id": [str(i) for i in range(N)], "store": list(range(N))})
    return Panel(spec, series, start, y, closed.copy(), (Covariate("promo", promo),)), mean[:, :T]


def withhold(panel: Panel, mask: np.ndarray[Any, Any], sold: np.ndarray[Any, Any], available: float = np.nan) -> Panel:
    """The panel with the cells of a mask withheld, of which ``sold`` was sold."""
    row, column = np.nonzero(mask)
    told = Withheld(row, column + panel.start, sold[row, column], np.full(len(row), available))
    return replace(panel, y=np.where(mask, np.nan, panel.y), withheld=told)


def some(panel: Panel, seed: int = 0, share: float = 0.1) -> np.ndarray[Any, Any]:
    """A share of the open cells."""
    mask = np.random.default_rng(seed).random(panel.y.shape) < share
    return mask & ~panel.closed[:, : panel.n_periods]


@pytest.mark.parametrize("freq", ["D", "W-FRI", "MS"])
def test_an_exact_world_is_found_again(freq: str) -> None:
    panel, mean = exact_world(freq)
    mask = some(panel)
    hat = demand_of(withhold(panel, mask, 0.3 * mean)).demand_hat
    assert np.abs(hat / mean - 1)[mask].mean() < 0.04
    np.testing.assert_array_equal(hat[~mask & (panel.y > 0)], panel.y[~mask & (panel.y > 0)])


def test_estimates_are_far_better_than_sales_and_hardly_biased() -> None:
    panel, _ = exact_world(noise=0.3)
    mask = some(panel, share=0.2)
    drawn = panel.y
    sold = drawn * np.random.default_rng(1).uniform(0, 0.6, drawn.shape)
    hat = demand_of(withhold(panel, mask, sold)).demand_hat
    assert np.abs(hat - drawn)[mask].sum() < 0.45 * np.abs(sold - drawn)[mask].sum()
    assert abs(hat[mask].sum() / drawn[mask].sum() - 1) < 0.08


def test_what_ran_out_of_demand_is_estimated_above_the_usual() -> None:
    panel, mean = exact_world(noise=0.3)
    shelf = 1.45 * mean
    mask = (panel.y > shelf) & (panel.y > 0)
    held = withhold(panel, mask, np.minimum(panel.y, shelf))
    found = demand_of(held)
    assert abs(found.demand_hat[mask].sum() / panel.y[mask].sum() - 1) < 0.06
    assert found.expected[mask].sum() < 0.7 * panel.y[mask].sum()


@pytest.mark.parametrize("available", [np.nan, 0.0, 0.4, 0.9])
def test_no_estimate_is_below_what_was_sold(available: float) -> None:
    panel, mean = exact_world(noise=0.5)
    mask = some(panel)
    sold = mean * np.random.default_rng(5).uniform(0, 20, mean.shape)
    hat = demand_of(withhold(panel, mask, sold, available)).demand_hat
    assert np.isfinite(hat[mask]).all()
    assert (hat[mask] >= sold[mask]).all()


def test_the_pace_until_the_shelf_was_empty_counts_as_much_as_it_lasted() -> None:
    panel, mean = exact_world()
    mask = np.zeros(panel.y.shape, dtype=bool)
    mask[2, 61] = True
    bare = demand_of(withhold(panel, mask, np.zeros_like(mean), 0.0)).demand_hat[2, 61]
    assert bare == pytest.approx(mean[2, 61], rel=0.05)
    sold = np.full_like(mean, 50.0)
    half = demand_of(withhold(panel, mask, sold, 0.5)).demand_hat[2, 61]
    assert half == pytest.approx(50 + 0.5 * (50 + 0.5 * bare))


def test_shut_days_have_an_estimate_where_the_weekday_is_known() -> None:
    panel, mean = exact_world()
    closed = panel.closed.copy()
    closed[3, 80] = True
    assert not panel.closed[3, 80]
    shut = replace(panel, closed=closed, y=np.where(closed[:, :T], 0.0, panel.y))
    hat = demand_of(shut).demand_hat
    assert hat[3, 80] == pytest.approx(mean[3, 80], rel=0.05)
    assert np.isnan(hat[panel.closed[:, :T]]).all()


def test_nothing_is_estimated_of_periods_of_which_nothing_was_told() -> None:
    panel, _ = exact_world()
    y = panel.y.copy()
    y[1, 20:30] = np.nan
    hat = demand_of(replace(panel, y=y)).demand_hat
    assert np.isnan(hat[1, 20:30]).all()


def test_series_are_worked_on_some_at_once_and_no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    panel, mean = exact_world(noise=0.3)
    held = withhold(panel, some(panel), 0.3 * mean)
    whole = demand_of(held).demand_hat
    monkeypatch.setattr(demand, "_ROWS", 3)
    np.testing.assert_array_equal(demand_of(held).demand_hat, whole)


def test_a_shut_day_that_ran_out_too_has_no_demand_to_learn_from() -> None:
    panel, mean = exact_world()
    mask = some(panel)
    mask[:, panel.closed[0, :T]] = True
    seen = as_demanded(withhold(panel, mask, 0.3 * mean))
    assert np.isnan(seen.y[panel.closed[:, :T]]).all()
    assert np.isfinite(seen.y[~panel.closed[:, :T]]).all()


def test_a_series_that_always_ran_out_has_no_level_of_its_own() -> None:
    panel, mean = exact_world()
    mask = some(panel)
    mask[4] = ~panel.closed[4, :T]
    seen = as_demanded(withhold(panel, mask, 0.3 * mean))
    assert np.isnan(seen.y[4, mask[4]]).all()
    assert np.isfinite(np.delete(seen.y, 4, axis=0)).all()


def test_a_panel_without_stockouts_is_left_alone() -> None:
    panel = make_panel("D", 4)
    assert as_demanded(panel) is panel


def test_models_see_estimates_and_the_cells_stay_known() -> None:
    panel, mean = exact_world()
    mask = some(panel)
    held = withhold(panel, mask, 0.2 * mean)
    seen = as_demanded(held)
    np.testing.assert_array_equal(seen.is_withheld, mask)
    assert np.isfinite(seen.y).all()
    np.testing.assert_array_equal(seen.y[~mask], panel.y[~mask])
    assert as_demanded(seen) is seen
    np.testing.assert_array_equal(demand_of(seen).demand_hat[mask], seen.y[mask])


@pytest.mark.parametrize("freq", ["D", "W-FRI", "MS"])
def test_what_comes_after_the_cutoff_moves_no_estimate(freq: str) -> None:
    panel = make_panel(freq, 11)
    mask = (np.random.default_rng(2).random(panel.y.shape) < 0.1) & ~panel.closed[:, : panel.n_periods]
    held = withhold(replace(panel, revisions=None), mask, np.nan_to_num(panel.y) * 0.5)
    n = 100
    y, sold = held.y.copy(), np.nan_to_num(panel.y) * 0.5
    y[:, n:], sold[:, n:] = 7e6, 3e6
    later = np.random.default_rng(9).random(mask.shape) < 0.5
    other = withhold(replace(held, y=y, withheld=None), np.where(np.arange(mask.shape[1]) < n, mask, later), sold)
    ours, theirs = as_demanded(held.as_of(n, 5)), as_demanded(other.as_of(n, 5))
    np.testing.assert_array_equal(ours.y, theirs.y)


def test_the_mean_above_a_bound_is_that_of_a_lognormal_distribution() -> None:
    mean, width = 40.0, 0.5
    sigma = np.sqrt(np.log1p(width**2))
    drawn = np.random.default_rng(0).lognormal(np.log(mean) - sigma**2 / 2, sigma, 2_000_000)
    for least in (0.0, 10.0, 40.0, 90.0):
        found = _above(np.array([mean]), np.array([width]), np.array([least]))[0]
        assert found == pytest.approx(drawn[drawn >= least].mean(), rel=0.01)


@pytest.mark.parametrize("least", [0.0, 1e-12, 1.0, 1e9])
@pytest.mark.parametrize("mean", [0.0, 1e-9, 5.0])
@pytest.mark.parametrize("width", [0.0, 0.3, 1e6, np.inf])
def test_the_mean_above_any_bound_is_a_number(least: float, mean: float, width: float) -> None:
    found = _above(np.array([mean]), np.array([width]), np.array([least]))[0]
    assert np.isfinite(found)
    assert found >= max(least, mean)


def test_a_lone_series_that_hardly_ever_sells_has_estimates() -> None:
    panel, _ = exact_world()
    lone = panel.select(np.array([0]))
    y = np.where(np.arange(T) % 23 == 0, 1.0, 0.0)[None, :]
    mask = np.zeros((1, T), dtype=bool)
    mask[0, [40, 41, T - 1]] = True
    hat = demand_of(withhold(replace(lone, y=y), mask, np.zeros((1, T)))).demand_hat
    open_out = mask & ~panel.closed[:1, :T]
    assert np.isfinite(hat[open_out]).all()
    assert (hat[open_out] < 0.5).all()
