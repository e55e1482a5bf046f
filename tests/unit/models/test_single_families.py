"""What single families promise beyond the contract: baselines by formula, boosting's fallbacks, Theta's reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.spec import DatasetSpec
from foretail.models.boosting import Boosting
from foretail.models.fallback import answered
from foretail.models.naive import Drift, HistoricAverage, SeasonalNaive, last_season
from foretail.models.profile import Profile
from foretail.models.statistical import Theta
from foretail.models.xgboost import XGBoost
from foretail.panel.panel import Covariate, Panel


def panel_of(y: Any, freq: str = "D", closed: np.ndarray | None = None, **spec: Any) -> Panel:
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    whole = DatasetSpec(keys=("store",), time="date", target="sales", freq=freq, horizon=7, **spec)
    names = [f"{row:02d}" for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "store": names})
    shut = np.zeros(y.shape, dtype=np.bool_) if closed is None else closed
    return Panel(whole, series, 18000 if freq == "D" else 2600, y, shut)


def weekly_wave(n_series: int, length: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = rng.uniform(5, 500, (n_series, 1))
    week = np.array([1.0, 0.8, 0.8, 0.9, 1.2, 1.6, 0.7])
    return level * week[np.arange(length) % 7] * rng.lognormal(0, 0.1, (n_series, length))


# baselines


@given(seed=st.integers(0, 999), length=st.integers(1, 30), h=st.integers(1, 20), season=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_the_last_season_against_a_loop(seed: int, length: int, h: int, season: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.where(rng.random((2, length)) < 0.4, np.nan, rng.integers(0, 99, (2, length)))
    found = last_season(panel_of(y), h, season)
    used = min(season, length)
    for row in range(2):
        newest = {}
        for column in range(length):
            if np.isfinite(y[row, column]):
                newest[(column - length) % used] = y[row, column]
        fill = np.mean(list(newest.values())) if newest else 0.0
        assert found[row].tolist() == pytest.approx([newest.get(step % used, fill) for step in range(h)])


def test_seasonal_naive_repeats_weeks_years_and_year_of_months() -> None:
    for freq, season in (("D", 7), ("W-SUN", 52), ("MS", 12)):
        y = np.arange(2.0 * season)
        found = SeasonalNaive().predict(panel_of(y, freq), season + 2).y_hat[0]
        assert found.tolist() == [*y[season:], *y[season : season + 2]]


def test_the_historic_average_leaves_closed_days_and_older_years_out() -> None:
    y = np.r_[np.full(100, 99.0), np.tile([1.0, 3.0], 182)]
    closed = np.zeros((1, 464), dtype=np.bool_)
    closed[0, 101::2] = True
    assert HistoricAverage().predict(panel_of(y), 2).y_hat.tolist() == [[2.0, 2.0]]
    assert HistoricAverage().predict(panel_of(y, closed=closed), 2).y_hat.tolist() == [[1.0, 1.0]]


def test_drift_goes_on_from_where_a_series_ended() -> None:
    y = [np.nan, 2.0, np.nan, 4.0, 5.0, np.nan]
    assert Drift().predict(panel_of(y), 3).y_hat.tolist() == [[7.0, 8.0, 9.0]]
    falling = [9.0, 6.0, 3.0]
    assert Drift().predict(panel_of(falling), 3).y_hat.tolist() == [[0.0, 0.0, 0.0]]
    assert Drift().predict(panel_of(falling, non_negative=False), 3).y_hat.tolist() == [[0.0, -3.0, -6.0]]


def test_a_fallback_answers_only_the_rows_with_a_reason() -> None:
    panel = panel_of(np.arange(14.0).reshape(2, 7))
    forecast = answered(np.full((2, 2), np.nan), panel, {1: "why"})
    assert np.isnan(forecast.y_hat[0]).all()
    assert forecast.y_hat[1].tolist() == [7.0, 8.0]
    assert forecast.reasons == {1: "why"}


# boosting


def small(**params: Any) -> Boosting:
    return Boosting(**{"rounds": 20, "n_threads": 1, **params})


@pytest.mark.parametrize("grown", [Boosting, XGBoost])
def test_trees_beat_the_last_season_where_there_is_something_to_learn(grown: type[Boosting | XGBoost]) -> None:
    y = weekly_wave(12, 400)
    panel = panel_of(y[:, :386])
    forecast = grown(rounds=60, n_threads=1).fit(panel, 14).predict(panel, 14)
    error, naive = (np.abs(y[:, 386:] - item).sum() for item in (forecast.y_hat, last_season(panel, 14)))
    assert forecast.reasons == {}
    assert error < 0.85 * naive


@pytest.mark.parametrize("grown", [Boosting, XGBoost])
def test_threads_change_no_tree_and_seeds_do(
    grown: type[Boosting | XGBoost],
) -> None:
    panel = panel_of(weekly_wave(12, 300))

    def answer(n_threads: int, random_state: int) -> bytes:
        model = grown(rounds=20, n_threads=n_threads, random_state=random_state)
        return model.fit(panel, 7).predict(panel, 7).y_hat.tobytes()

    one = answer(n_threads=1, random_state=1)
    assert answer(n_threads=2, random_state=1) == one
    assert answer(n_threads=1, random_state=2) != one


def test_too_little_history_is_answered_by_the_last_season(tmp_path: Path) -> None:
    panel = panel_of(weekly_wave(3, 12))
    model = small().fit(panel, 7)
    forecast = model.predict(panel, 7)
    np.testing.assert_array_equal(forecast.y_hat, last_season(panel, 7))
    assert forecast.reasons == dict.fromkeys(range(3), "too little history for boosting")
    assert model.importance() == ()
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["boosting.json"]
    again = Boosting.load(tmp_path).predict(panel, 7)
    assert again.y_hat.tobytes() == forecast.y_hat.tobytes()
    assert again.reasons == forecast.reasons


def test_a_forecast_beyond_belief_is_replaced_and_said() -> None:
    panel = panel_of(weekly_wave(8, 300))
    model = small().fit(panel, 7)
    assert model.base_ is not None
    model.base_ = replace(
        model.base_, with_year=(9.0,) * len(model.base_.with_year), without_year=(9.0,) * len(model.base_.without_year)
    )
    forecast = model.predict(panel, 7)
    assert forecast.reasons == dict.fromkeys(range(8), "boosting exploded")
    np.testing.assert_array_equal(forecast.y_hat, last_season(panel, 7))
    model.base_ = replace(
        model.base_, with_year=(1e9,) * len(model.base_.with_year), without_year=(1e9,) * len(model.base_.without_year)
    )
    assert np.isfinite(model.predict(panel, 7).y_hat).all()


def test_a_series_that_never_was_open_gets_its_own_reason() -> None:
    y = weekly_wave(8, 300)
    closed = np.zeros((8, 307), dtype=np.bool_)
    closed[3] = True
    y[3] = 0.0
    panel = panel_of(y, closed=closed)
    for model in (small(), Profile()):
        forecast = model.fit(panel, 7).predict(panel, 7)
        assert forecast.reasons == {3: "no open period observed"}
        assert (forecast.y_hat[3] == 0).all()


@pytest.mark.parametrize(
    ("freq", "zeros", "space"), [("W-SUN", 0.1, "log"), ("W-SUN", 0.4, "level"), ("D", 0.4, "log")]
)
def test_the_space_follows_the_share_of_zeros(freq: str, zeros: float, space: str) -> None:
    y = weekly_wave(8, 250)
    y[np.random.default_rng(0).random(y.shape) < zeros] = 0.0
    assert small().fit(panel_of(y, freq), 7).plan_.space == space
    assert small(space="log").fit(panel_of(y, freq), 7).plan_.space == "log"


def test_days_that_rest_by_weekday_are_learned_in_levels() -> None:
    y = weekly_wave(8, 252)
    y[:, 5::7] = y[:, 6::7] = 0.0
    assert small().fit(panel_of(y), 7).plan_.space == "level"
    rare = np.random.default_rng(0).permuted(y, axis=1)
    assert small().fit(panel_of(rare), 7).plan_.space == "log"


def test_dates_on_which_all_rest_are_learned_in_levels() -> None:
    """A few zeros that all series share, holidays nobody told, would be far outliers of logs."""
    y = weekly_wave(8, 250)
    y[:, 20::41] = 0.0
    model = small().fit(panel_of(y), 7)
    assert model.plan_.space == "level" and model._objective_name(panel_of(y)) == "l1"
    by_chance = np.random.default_rng(0).permuted(y, axis=1)
    model = small().fit(panel_of(by_chance), 7)
    assert model.plan_.space == "log" and model._objective_name(panel_of(by_chance)) == "l2"


def test_days_that_seldom_sell_are_forecast_by_their_middle() -> None:
    """Three open days of five sell nothing: half of what comes is 0, and so is the forecast."""
    y = np.where(np.random.default_rng(0).random((40, 300)) < 0.4, 50.0, 0.0)
    found = small().fit(panel_of(y), 7).predict(panel_of(y), 7).y_hat
    assert np.median(found) < 2.0
    mean = small(objective="l2", space="level").fit(panel_of(y), 7).predict(panel_of(y), 7).y_hat
    assert np.median(mean) > 10.0


def test_sparse_sales_are_not_forecast_below_nothing_unless_they_may_be() -> None:
    y = weekly_wave(8, 250) - 60.0
    bound = np.maximum(y, 0.0)
    assert (small().fit(panel_of(bound), 7).predict(panel_of(bound), 7).y_hat >= 0).all()
    free = panel_of(y, non_negative=False)
    assert (small().fit(free, 7).predict(free, 7).y_hat < 0).any()


def test_what_the_trees_use_is_named() -> None:
    model = small().fit(panel_of(weekly_wave(12, 300)), 7)
    found = dict(model.importance())
    assert set(found) <= set(model.names_)
    assert sum(found.values()) == pytest.approx(1.0)


def test_lightgbm_parameters_can_be_overridden_and_survive(tmp_path: Path) -> None:
    panel = panel_of(weekly_wave(12, 300))
    model = small(lightgbm={"min_data_in_leaf": 5}).fit(panel, 7)
    assert "[min_data_in_leaf: 5]" in model.boosters_[0].model_to_string()  # type: ignore[union-attr]
    model.save(tmp_path)
    loaded = Boosting.load(tmp_path)
    assert (loaded.lightgbm, loaded.rounds, loaded.n_threads) == ({"min_data_in_leaf": 5}, 20, 1)


def test_odd_column_names_are_no_trouble() -> None:
    panel = panel_of(weekly_wave(8, 300))
    odd = 'a "b": {x}, [y]'
    panel = replace(panel, spec=panel.spec.but(keys=(odd,)), series=panel.series.rename({"store": odd}))
    assert small().fit(panel, 7).predict(panel, 7).reasons == {}


# theta and profile


def test_theta_says_which_series_it_could_not_answer() -> None:
    y = np.vstack([weekly_wave(2, 60), np.r_[np.full(57, np.nan), [1.0, 2.0, 3.0]]])
    forecast = Theta().predict(panel_of(y), 5)
    assert forecast.reasons == {2: "too short for theta"}
    np.testing.assert_array_equal(forecast.y_hat[2], last_season(panel_of(y), 5)[2])


def test_theta_in_several_processes_is_theta() -> None:
    y = weekly_wave(210, 30)
    one, two = (Theta(n_threads=n).predict(panel_of(y), 5).y_hat for n in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_the_profile_tells_promotions_and_weekdays_without_noise() -> None:
    week = np.array([1.0, 0.8, 0.8, 0.9, 1.2, 1.6, 0.7])
    y = np.array([10.0, 200.0])[:, None] * week[np.arange(210) % 7]
    forecast = Profile().fit(panel_of(y), 7).predict(panel_of(y), 7)
    np.testing.assert_allclose(forecast.y_hat, y[:, :7], rtol=0.01)


@pytest.mark.parametrize("freq", ["W-SUN", "MS"])
def test_the_shape_of_the_year_is_free_of_the_promotions_of_a_year_ago(freq: str) -> None:
    length, h, season = (112, 8, 52) if freq == "W-SUN" else (50, 8, 12)
    rng = np.random.default_rng(4)
    promo = (rng.random((6, length + h)) < 0.4).astype(np.float32)
    year = 1 + 0.4 * np.sin(2 * np.pi * np.arange(length + h) / season)
    y = rng.uniform(20, 900, (6, 1)) * year * np.where(promo > 0, 1.5, 1.0)
    shut = np.zeros(y.shape, dtype=np.bool_)
    panel = replace(panel_of(y[:, :length], freq, shut, known=("promo",)), known=(Covariate("promo", promo),))
    found, actual = Profile().fit(panel, h).predict(panel, h).y_hat, y[:, length:]
    assert np.abs(found - actual).sum() < 0.08 * actual.sum()
    other = replace(panel, known=(Covariate("promo", np.where(np.arange(length + h) < length, promo, 1 - promo)),))
    swapped = Profile().fit(other, h).predict(other, h).y_hat  # the plan of the future alone moves the forecast
    lifted, dropped = promo[:, length:] < 1, promo[:, length:] > 0
    assert np.median(swapped[lifted] / found[lifted]) == pytest.approx(1.5, rel=0.1)
    assert np.median(found[dropped] / swapped[dropped]) == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize("shift", [0.0, 0.6, 1.0])
def test_the_profile_carries_on_a_share_of_the_last_shift(shift: float, tmp_path: Path) -> None:
    y = np.full((3, 400), 100.0)
    y[0, -28:] = 150.0
    model = Profile(shift=shift).fit(panel_of(y), 7)
    raised = model.predict(panel_of(y), 7).y_hat[0].mean()
    assert raised == pytest.approx(100 * 1.5**shift, rel=0.12)
    model.save(tmp_path)
    assert Profile.load(tmp_path).shift == shift
