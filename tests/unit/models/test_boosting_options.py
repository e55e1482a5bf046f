"""What LightGBM and XGBoost share beyond the contract: monotone constraints, early stopping, quantile heads, spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
import pytest

from foretail.core.errors import UsageError
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.core.spec import DatasetSpec
from foretail.features.asof import plan_features
from foretail.features.catalogue import catalogue
from foretail.features.space import Space
from foretail.models.boosting import Boosting
from foretail.models.contract import Forecast
from foretail.models.families import make
from foretail.models.heads import ALL_HEADS, filled_levels, with_quantiles
from foretail.models.monotone import constraints, read_monotone
from foretail.models.sample import Sample
from foretail.models.trees import Trees
from foretail.models.xgboost import XGBoost
from foretail.panel.panel import Covariate, Panel

H = 7
BOTH = pytest.mark.parametrize("kind", [Boosting, XGBoost])


def small(kind: type[Trees], **params: Any) -> Trees:
    return kind(**{"rounds": 20, "n_threads": 1, **params})


def shop(n: int = 12, periods: int = 300, freq: str = "D", noise: float = 0.2, seed: int = 0) -> Panel:
    """Sales that fall with the price and rise with the promotion, except where noise says otherwise."""
    rng = np.random.default_rng(seed)
    width = periods + H
    price = rng.uniform(1.0, 3.0, (n, width)).astype(np.float32)
    promo = (rng.random((n, width)) < 0.3).astype(np.float32)
    week = 1 + 0.3 * np.sin(2 * np.pi * np.arange(width) / 7)
    mean = rng.uniform(20, 200, (n, 1)) * week * price**-1.0 * (1 + 0.5 * promo)
    y = (mean * rng.lognormal(0, noise, mean.shape))[:, :periods]
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq=freq, horizon=H, known=("price", "promo"))
    names = [f"{row:02d}" for row in range(n)]
    series = pl.DataFrame({"unique_id": names, "store": names})
    known = (Covariate("price", price), Covariate("promo", promo))
    return Panel(spec, series, 18000 if freq == "D" else 2600, y, np.zeros((n, width), dtype=np.bool_), known)


def changed(panel: Panel, name: str, column: int, value: float) -> Panel:
    """One covariate set to a value at one date of every series."""
    known = []
    for item in panel.known:
        values = item.values.copy()
        if item.name == name:
            values[:, column] = value
        known.append(replace(item, values=values))
    return replace(panel, known=tuple(known))


# where the forecast lies


@BOTH
def test_few_pieces_a_day_are_forecast_by_their_middle(kind: type[Trees], tmp_path: Path) -> None:
    """Half of what comes lies above; the mean of logs, which squares of errors lead to, would lie lower."""
    mean = 8.0 + 4.0 * (np.arange(40)[:, None] % 2)
    panel = shop(n=40, periods=300)
    panel = replace(panel, y=np.random.default_rng(3).poisson(mean, (40, 300)).astype(np.float64))
    past = panel.as_of(300 - H, H)
    model = small(kind).fit(past, H)
    assert model.plan_.space == "log"
    assert 0.01 < model.shift_ < 0.1
    found = model.predict(past, H).y_hat
    assert abs(found / mean - 1).mean() < 0.08
    model.save(tmp_path)
    np.testing.assert_array_equal(kind.load(tmp_path).predict(past, H).y_hat, found)
    assert small(kind, objective="l1").fit(past, H).shift_ == 0.0  # is in the middle by itself
    assert small(kind, space="level").fit(past, H).shift_ == 0.0


# a young history


@BOTH
def test_trees_are_not_shown_a_year_that_only_the_newest_days_know(kind: type[Trees], tmp_path: Path) -> None:
    past = shop(periods=392).as_of(385, H)
    model = small(kind).fit(past, H)
    assert "aligned" in model.hidden_
    assert not set(model.hidden_) & {name for name, _ in model.importance()}
    model.save(tmp_path)
    loaded = kind.load(tmp_path)
    assert loaded.hidden_ == model.hidden_
    np.testing.assert_array_equal(loaded.predict(past, H).y_hat, model.predict(past, H).y_hat)
    assert small(kind).fit(shop(periods=800).as_of(793, H), H).hidden_ == ()


# monotone


def swept(model: Trees, panel: Panel, name: str, values: Any, step: int = 3) -> np.ndarray:
    """Forecasts of one step ``[N, values]`` for each value of a covariate at its date."""
    column = panel.n_periods - 1 + step
    return np.stack(
        [model.predict(changed(panel, name, column, value), H).y_hat[:, step - 1] for value in values], axis=1
    )


@BOTH
@pytest.mark.parametrize("freq", ["D", "W-FRI"])
def test_a_constraint_holds_for_every_series_and_value(kind: type[Trees], freq: str) -> None:
    panel = shop(periods=300 if freq == "D" else 150, freq=freq, noise=0.6)
    monotone = {"price": -1, "promo": 1}
    prices = np.linspace(0.5, 4.0, 15)
    least = {"min_data_in_leaf": 5} if kind is Boosting else {"min_child_weight": 5.0}
    few = {"leaves": 31, "learning_rate": 0.3, ("lightgbm" if kind is Boosting else "xgboost"): least}
    free = small(kind, **few).fit(panel, H)
    bound = small(kind, monotone=monotone, **few).fit(panel, H)
    assert (np.diff(swept(free, panel, "price", prices)) > 0).any()  # noise is learned where nothing forbids it
    assert (np.diff(swept(bound, panel, "price", prices)) <= 0).all()
    assert (np.diff(swept(bound, panel, "price", prices)) < 0).any()
    assert (np.diff(swept(bound, panel, "promo", [0.0, 1.0])) >= 0).all()


def test_a_constraint_against_the_data_flattens_the_forecast() -> None:
    panel = shop()
    model = small(Boosting, monotone={"promo": -1}).fit(panel, H)
    effect = np.diff(swept(model, panel, "promo", [0.0, 1.0]))
    assert (effect <= 0).all()
    assert (np.diff(swept(small(Boosting).fit(panel, H), panel, "promo", [0.0, 1.0])) > 0).all()


def test_a_constrained_flag_splits_no_cells() -> None:
    panel = shop()
    assert plan_features(panel, Space("log")).cells.flags == ("promo",)
    model = small(Boosting, monotone={"promo": 1}).fit(panel, H)
    assert model.plan_.cells.flags == ()
    assert "promo" in model.plan_.flags
    assert small(Boosting, monotone={"price": -1}).fit(panel, H).plan_.cells.flags == ("promo",)


def test_features_of_the_value_at_the_target_follow_and_its_neighbours_are_free() -> None:
    panel = shop(periods=60)
    features = catalogue(panel, plan_features(panel, Space("log")))
    signs = constraints(features, {"price": -1, "promo": 1})
    assert {feature.name: sign for feature, sign in zip(features, signs, strict=True) if sign} == {
        "known_price": -1,
        "relative_price": -1,
        "known_promo": 1,
        "run_promo": 1,
        "since_promo": -1,  # 0 on the promotion
        "until_promo": -1,
    }


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, {}),
        ("", {}),
        ({}, {}),
        ({"price": -1, "promo": +1}, {"price": -1, "promo": 1}),
        ("price:-1;promo:1", {"price": -1, "promo": 1}),
        (" price : -1 ; promo:+1; ", {"price": -1, "promo": 1}),
        ("a:b:1", {"a:b": 1}),
    ],
)
def test_constraints_are_read_from_a_mapping_or_a_text(wanted: Any, found: dict[str, int]) -> None:
    assert read_monotone(wanted) == found


@pytest.mark.parametrize("wanted", [{"price": 2}, {"price": 0}, {"price": True}, "price", "price:down", ":1"])
def test_a_direction_that_is_none_is_refused(wanted: Any) -> None:
    with pytest.raises(UsageError, match=r"covariate and a direction.*\n.*where.*\n.*fix.*price:-1;promo:1"):
        read_monotone(wanted)


def test_the_name_of_a_family_can_carry_constraints() -> None:
    assert vars(make("boosting[monotone=price:-1;promo:1,rounds=9]"))["monotone"] == {"price": -1, "promo": 1}


@BOTH
def test_an_unknown_covariate_is_refused_with_the_nearest_one(kind: type[Trees]) -> None:
    with pytest.raises(UsageError, match=r"no known covariate 'prise'.*\n.*\n.*did you mean 'price'"):
        small(kind, monotone={"prise": -1}).fit(shop(periods=60), H)


def test_a_text_covariate_has_no_order() -> None:
    panel = shop(periods=60)
    text = replace(panel.known[1], categories=("no", "yes"))
    with pytest.raises(UsageError, match=r"'promo' holds text.*\n.*\n.*as a number"):
        small(Boosting, monotone={"promo": 1}).fit(replace(panel, known=(panel.known[0], text)), H)


@BOTH
@pytest.mark.parametrize("params", [{"objective": "l1"}, {"heads": "quantile"}])
def test_what_cannot_be_kept_monotone_is_refused(kind: type[Trees], params: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"cannot be kept monotone.*\n.*monotone in price\n.*objective=l2"):
        small(kind, monotone={"price": -1}, **params)


# early stopping


@BOTH
def test_growing_stops_where_later_targets_gain_no_more(kind: type[Trees]) -> None:
    panel = shop(noise=0.5)
    few = {"rounds": 150, "learning_rate": 0.4, "leaves": 15}
    stopped = small(kind, early_stopping=5, **few).fit(panel, H)
    assert 1 <= stopped.rounds_ < 100
    again = small(kind, **{**few, "rounds": stopped.rounds_}).fit(panel, H)
    assert again.rounds_ == stopped.rounds_
    # grown again on all rows: the same trees as if that number of rounds had been asked for
    assert again.predict(panel, H).y_hat.tobytes() == stopped.predict(panel, H).y_hat.tobytes()


def test_validation_targets_lie_after_every_target_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = shop(periods=250)
    grown = []
    whole = Boosting._sample

    def watched(self: Boosting, rows: Any, weight: Any, linear: Any) -> Any:
        grown.append(rows)
        return whole(self, rows, weight, linear)

    monkeypatch.setattr(Boosting, "_sample", watched)
    small(Boosting, early_stopping=3).fit(panel, H)
    old, new, everything = grown
    assert (old.cutoff + old.step).max() <= new.cutoff.min() < (new.cutoff + new.step).min()
    assert set(new.step.tolist()) == set(range(1, H + 1))
    assert len(old) + len(new) <= len(everything)


@BOTH
def test_too_little_history_to_stop_early_grows_all_rounds(kind: type[Trees]) -> None:
    panel = shop(n=4, periods=22)
    model = small(kind, early_stopping=3).fit(panel, H)
    assert model.boosters_
    assert model.rounds_ == 20


# the absolute error


@pytest.mark.parametrize("n_rest", [0, 1500])
def test_the_absolute_error_is_answered_by_weighted_medians(n_rest: int) -> None:
    rng = np.random.default_rng(5)
    y = rng.lognormal(size=4000) - 1.0
    y[:n_rest] = 0.0
    x = np.repeat([0.0, 1.0], 2000).astype(np.float32)[:, None]
    weight = np.where(np.arange(4000) % 2 == 0, 1.0, 0.25)
    sample = Sample(x, y, weight, [], [0])
    model = Boosting(rounds=100, bags=1, lightgbm={"lambda_l2": 0.0})
    booster = model._grow(model._data(sample), model._objective("l1"), [0], 100)
    found = model._ask(booster, x)
    for side in (0, 1):
        inside = x[:, 0] == side
        order = np.argsort(y[inside])
        share = np.cumsum(weight[inside][order]) / weight[inside].sum()
        median = y[inside][order][np.searchsorted(share, 0.5)]
        assert (
            abs(found[inside][0] - median)
            < 0.05
            < abs(found[inside][0] - np.average(y[inside], weights=weight[inside]))
        )


def test_the_absolute_error_of_nothing_but_zeros_is_finite() -> None:
    sample = Sample(np.arange(500, dtype=np.float32)[:, None], np.zeros(500), np.ones(500), [], [0])
    model = Boosting()
    booster = model._grow(model._data(sample), model._objective("l1"), [0], 3)
    np.testing.assert_array_equal(model._ask(booster, sample.x), 0.0)


@pytest.mark.parametrize("column", [np.arange(399), np.zeros(500)])
def test_the_absolute_error_without_a_split_is_the_median(column: np.ndarray[Any, Any]) -> None:
    y = np.random.default_rng(6).lognormal(size=len(column))
    sample = Sample(column.astype(np.float32)[:, None], y, np.full(len(y), 0.5), [], [0])
    model = Boosting()
    booster = model._grow(model._data(sample), model._objective("l1"), [0], 3)
    np.testing.assert_allclose(model._ask(booster, sample.x), np.median(y), rtol=0.05)


# bags


@BOTH
def test_bags_are_the_mean_of_single_ensembles_from_the_next_seeds(kind: type[Trees], tmp_path: Path) -> None:
    panel = shop()
    model = small(kind, bags=3, random_state=11, space="level", heads="none").fit(panel, H)
    assert len(model.boosters_) == 3
    x = np.random.default_rng(0).normal(size=(50, len(model.names_))).astype(np.float32)
    each = [model._ask(booster, x) for booster in model.boosters_]
    assert np.abs(each[0] - each[1]).max() > 0
    np.testing.assert_allclose(model._mean(x), np.mean(each, axis=0), rtol=1e-12)
    first = small(kind, bags=1, random_state=11, space="level", heads="none").fit(panel, H)
    np.testing.assert_array_equal(first._mean(x), each[0])
    model.save(tmp_path)
    np.testing.assert_array_equal(kind.load(tmp_path)._mean(x), model._mean(x))


# quantile heads


@BOTH
def test_heads_answer_every_default_level_around_an_unchanged_forecast(kind: type[Trees], tmp_path: Path) -> None:
    panel = shop()
    model = small(kind, heads="quantile", rounds=60).fit(panel, H)
    forecast = model.predict(panel, H)
    assert forecast.levels == DEFAULT_QUANTILES
    assert forecast.quantiles is not None
    assert forecast.quantiles.shape == (12, H, len(DEFAULT_QUANTILES))
    assert (np.diff(forecast.quantiles) >= 0).all()
    assert (forecast.quantiles >= 0).all()
    point = small(kind, rounds=60, heads="none").fit(panel, H).predict(panel, H)
    assert forecast.y_hat.tobytes() == point.y_hat.tobytes()
    assert point.quantiles is None
    two = small(kind, rounds=60, heads="interval").fit(panel, H).predict(panel, H)
    np.testing.assert_allclose(two.width, forecast.width)  # the same two heads say how wide 80 % is
    model.save(tmp_path)
    again = kind.load(tmp_path).predict(panel, H)
    assert again.quantiles is not None
    assert again.quantiles.tobytes() == forecast.quantiles.tobytes()


@BOTH
def test_heads_cover_about_what_they_say(kind: type[Trees]) -> None:
    whole = shop(n=30, periods=307, noise=0.4)
    past = whole.as_of(300, H)
    forecast = small(kind, heads="quantile", rounds=100).fit(past, H).predict(past, H)
    assert forecast.quantiles is not None
    y = whole.y[:, 300:]
    low, high = (forecast.quantiles[..., DEFAULT_QUANTILES.index(level)] for level in (0.1, 0.9))
    assert 0.65 < ((y >= low) & (y <= high)).mean() < 0.92


def test_levels_between_the_heads_lie_on_lines_over_normal_scores() -> None:
    law = NormalDist(3.0, 2.0)
    heads = np.array([[law.inv_cdf(level) for level in ALL_HEADS]])
    found = filled_levels(heads[:, [2, 0, 1, 6, 3, 5, 4]], ALL_HEADS)  # crossed heads are sorted
    np.testing.assert_allclose(found[0], [law.inv_cdf(level) for level in DEFAULT_QUANTILES])


def test_a_series_without_an_answer_borrows_the_spread_of_the_others() -> None:
    panel = shop(n=3, periods=60)
    y = panel.y.copy()
    y[:] = np.array([10.0, 20.0, 40.0])[:, None]
    panel = replace(panel, y=y)
    y_hat = np.full((3, 2), 5.0)
    spread = np.linspace(-0.5, 0.5, len(DEFAULT_QUANTILES))
    quantiles = y_hat[..., None] + np.array([10.0, 20.0, np.nan])[:, None, None] * spread
    found = with_quantiles(Forecast(y_hat, reasons={2: "why"}), quantiles, panel)
    assert found.quantiles is not None
    np.testing.assert_allclose(found.quantiles[2, 0], np.maximum(5.0 + 40.0 * spread, 0.0))
    assert found.reasons == {2: "why"}


def test_nobody_answered_is_a_point_forecast() -> None:
    panel = shop(n=3, periods=8)
    forecast = small(Boosting, heads="quantile").fit(panel, H).predict(panel, H)
    assert (forecast.levels, forecast.quantiles) == ((), None)
    assert set(forecast.reasons) == {0, 1, 2}


# spaces and names


def test_the_space_is_chosen_by_held_out_error() -> None:
    panel = shop(noise=0.1)
    assert small(Boosting, space="backtest").fit(panel, H).plan_.space == "log"  # effects multiply
    rng = np.random.default_rng(1)
    swing = 20 * np.sin(2 * np.pi * np.arange(panel.n_periods) / 7)
    added = replace(panel, y=np.maximum(60 + swing + rng.normal(0, 40, panel.y.shape), 0.0), known=())
    added = replace(added, spec=added.spec.but(known=()))
    model = small(Boosting, space="backtest").fit(added, H)
    errors = {
        space: small(Boosting, space=space)._held_out_error(added, H, [279, 286, 293]) for space in ("log", "level")
    }
    assert model.plan_.space == min(errors, key=lambda space: errors[space]) == "level"
    assert small(Boosting).fit(added, H).plan_.space == "log"  # what the share of zeros would have said


def test_too_little_history_for_a_comparison_takes_the_usual_space() -> None:
    panel = shop(periods=26)
    assert small(Boosting, space="backtest").fit(panel, H).plan_.space == small(Boosting).fit(panel, H).plan_.space


@BOTH
def test_unknown_choices_are_refused(kind: type[Trees]) -> None:
    with pytest.raises(UsageError, match=r"knows no space 'logs'.*\n.*\n.*did you mean 'log'"):
        small(kind, space="logs")
    with pytest.raises(UsageError, match=r"knows no heads 'quantiles'.*\n.*\n.*did you mean 'quantile'"):
        small(kind, heads="quantiles")


@BOTH
def test_every_parameter_survives_a_save(kind: type[Trees], tmp_path: Path) -> None:
    panel = shop(periods=120)
    model = small(kind, monotone="price:-1", early_stopping=4, space="backtest", objective="huber").fit(panel, H)
    model.save(tmp_path)
    loaded = kind.load(tmp_path)
    assert loaded._params() == model._params()
    assert loaded.rounds_ == model.rounds_
    assert loaded.predict(panel, H).y_hat.tobytes() == model.predict(panel, H).y_hat.tobytes()
