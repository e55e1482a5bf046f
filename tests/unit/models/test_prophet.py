"""What the prophet family promises beyond the contract: columns, logs, refusals, regressors, closed days, files."""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.errors import MissingExtraError, UsageError
from foretail.core.spec import DatasetSpec, Event
from foretail.models.families import make
from foretail.models.prophet import Prophet
from foretail.models.prophet_design import Design, build_design, values_of
from foretail.models.prophet_layout import Layout, fourier, layout_of
from foretail.panel.panel import Covariate, Panel

START = {"D": 18628, "W-FRI": 2660, "MS": 600}


def panel_of(y: Any, freq: str = "D", h: int = 14, known: tuple[Covariate, ...] = (), **spec: Any) -> Panel:
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    names = [f"{row:02d}" for row in range(len(y))]
    columns = tuple(item.name for item in known)
    whole = DatasetSpec(keys=("shop",), time="date", target="y", freq=freq, horizon=h, known=columns, **spec)
    series = pl.DataFrame({"unique_id": names, "shop": names})
    closed = np.zeros((len(y), y.shape[1] + h), dtype=np.bool_)
    return Panel(whole, series, START[freq], y, closed, known=known)


def sales(n_series: int, n_periods: int, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(n_periods)
    week = np.array([0.0, -0.2, -0.1, 0.0, 0.2, 0.4, -0.3])[t % 7]
    return rng.uniform(50, 900, (n_series, 1)) * np.exp(week + rng.normal(0, noise, (n_series, n_periods)))


def designed(panel: Panel, h: int, **params: Any) -> tuple[Design, Layout]:
    options = Prophet(**params).options
    layout = layout_of(panel, h, options)
    values = values_of(panel.y, panel.closed[:, : panel.n_periods], options)
    return build_design(values, tuple(item.values for item in panel.known), layout), layout


# columns


def test_fourier_terms_against_a_loop() -> None:
    days = np.array([18628, 18700, 19001])
    found = fourier(days, 365.25, 3)
    for i, day in enumerate(days):
        wanted = [f(2 * np.pi * n * day / 365.25) for n in (1, 2, 3) for f in (np.sin, np.cos)]
        np.testing.assert_allclose(found[i], wanted, atol=1e-9)


def test_numbers_are_standardised_flags_are_not_constants_say_nothing() -> None:
    rng = np.random.default_rng(1)
    number = rng.normal(20, 5, (1, 74)).astype(np.float32)
    flag = (rng.random((1, 74)) < 0.4).astype(np.float32)
    constant = np.full((1, 74), 3, dtype=np.float32)
    constant[:, 60:] = 4
    known = tuple(Covariate(name, v) for name, v in (("a", number), ("b", flag), ("c", constant)))
    design, layout = designed(panel_of(sales(1, 60), known=known), 14, flags_by_weekday=False)
    history = number[0, :60].astype(np.float64)
    a, b, c = design.x[0, -3:]
    np.testing.assert_allclose(a, (number[0] - history.mean()) / history.std(ddof=1), rtol=1e-6)
    np.testing.assert_array_equal(b, flag[0])
    assert (c == 0).all()
    assert layout.n_columns == design.x.shape[1]


def test_unknown_values_of_a_regressor_are_its_mean_in_the_history() -> None:
    number = np.random.default_rng(1).normal(20, 5, (1, 74)).astype(np.float32)
    number[0, [3, 70]] = np.nan
    design, _ = designed(panel_of(sales(1, 60), known=(Covariate("a", number),)), 14)
    assert design.x[0, -7, [3, 70]] == pytest.approx([0, 0], abs=1e-12)


def test_a_flag_is_a_regressor_by_weekday_too_and_a_number_is_not() -> None:
    rng = np.random.default_rng(1)
    mixed = np.stack([(rng.random(74) < 0.4).astype(np.float32), rng.normal(20, 5, 74).astype(np.float32)])
    panel = panel_of(sales(2, 60), known=(Covariate("a", mixed),))
    design, layout = designed(panel, 14)
    weekday = np.array([date.weekday() for date in panel.dates(0, 74).astype(object)])
    for day in range(6):
        np.testing.assert_array_equal(design.x[0, day - 6], mixed[0] * (weekday == day))
    assert (design.x[1, -6:] == 0).all()
    assert designed(panel_of(sales(1, 60), "W-FRI", known=(Covariate("a", mixed[:1]),)), 14)[1].weekday.size == 0
    assert layout.n_columns == design.x.shape[1]


def test_a_promotion_may_count_for_more_on_some_weekdays() -> None:
    promo = (np.random.default_rng(4).random((2, 314)) < 0.4).astype(np.float32)
    effect = np.where((START["D"] + np.arange(314) + 3) % 7 == 0, 1.0, 0.2)  # Mondays
    y = sales(2, 314) * (1 + effect * promo)
    panel = panel_of(y[:, :300], known=(Covariate("promo", promo),))
    by_weekday, plain = (make("prophet", flags_by_weekday=on).predict(panel, 14).y_hat for on in (True, False))
    on = promo[:, 300:] == 1
    assert np.abs(by_weekday / y[:, 300:] - 1)[on].mean() < 0.06
    assert np.abs(plain / y[:, 300:] - 1)[on].mean() > 0.08


def test_a_text_is_a_column_for_each_of_its_values() -> None:
    codes = np.array([[0, 1, 2] * 24 + [np.nan, 1]], dtype=np.float32)
    item = Covariate("weather", codes, categories=("fog", "rain", "sun"))
    design, layout = designed(panel_of(sales(1, 60), known=(item,)), 14)
    assert layout.covariates == (("weather", 3),)
    for code in range(3):
        np.testing.assert_array_equal(design.x[0, code - 3], codes[0] == code)


def test_changepoints_are_evenly_spaced_observations() -> None:
    y = sales(1, 100)
    y[0, np.random.default_rng(0).random(100) < 0.3] = np.nan
    y[0, [0, 99]] = 5.0
    design, _ = designed(panel_of(y), 14, n_changepoints=10, changepoint_range=0.7)
    rows = np.flatnonzero(np.isfinite(y[0]))
    size = int(np.floor(len(rows) * 0.7))
    wanted = rows[np.linspace(0, size - 1, 11).round().astype(int)[1:]] / 99
    hinges = design.columns[0, 2 + design.n_regressors :, -1]
    np.testing.assert_allclose(113 / 99 - hinges, wanted)
    assert design.n_changepoints.tolist() == [10]


def test_a_short_series_has_fewer_changepoints() -> None:
    y = np.full((1, 100), np.nan)
    y[0, 80:] = sales(1, 20)
    design, _ = designed(panel_of(y), 14)
    assert design.n_changepoints.tolist() == [15]  # 80 % of 20, less one
    assert (design.columns[0, 2 + design.n_regressors + 15 :] == 0).all()


def test_holidays_are_columns_by_name_where_the_history_has_them() -> None:
    fair = Event("fair", (dt.date(2021, 1, 9), dt.date(2021, 3, 6)))
    later = Event("later", (dt.date(2021, 3, 7),))
    panel = panel_of(sales(1, 60), country="US", events=(fair, later))
    layout = layout_of(panel, 14, Prophet().options)
    assert layout.holiday_names == ("Martin Luther King Jr. Day", "New Year's Day", "Washington's Birthday", "fair")
    column = layout.holidays[:, 3]
    assert np.flatnonzero(column).tolist() == [8, 64]
    weekly = layout_of(panel_of(sales(1, 60), "W-FRI", events=(fair,)), 14, Prophet().options)
    dates = panel_of(sales(1, 60), "W-FRI").dates(0, 74)
    held = [str(day) for day in dates[weekly.holidays[:, 0] == 1]]
    assert held == ["2021-01-15", "2021-03-12"]  # the weeks up to Friday that hold the two Saturdays


# seasons


@pytest.mark.parametrize(
    ("freq", "n_periods", "yearly", "weekly"),
    [("D", 800, 10, 3), ("D", 700, 0, 3), ("W-FRI", 120, 10, 0), ("MS", 40, 5, 0), ("MS", 20, 0, 0)],
)
def test_seasons_of_auto(freq: str, n_periods: int, yearly: int, weekly: int) -> None:
    layout = layout_of(panel_of(sales(1, n_periods), freq), 14, Prophet().options)
    assert (layout.yearly, layout.weekly) == (yearly, weekly)


def test_yearly_terms_of_a_short_history_are_refused_when_asked_for() -> None:
    with pytest.raises(UsageError, match=r"two years.*399 days.*\n.*yearly_seasonality = True\n  fix: "):
        make("prophet", yearly_seasonality=True).fit(panel_of(sales(1, 400)), 14)
    with pytest.raises(UsageError, match="two years"):
        make("prophet[yearly_seasonality=4]").predict(panel_of(sales(1, 400)), 14)


def test_a_short_series_beside_a_long_one_has_no_yearly_terms() -> None:
    y = sales(2, 800)
    y[1, :500] = np.nan
    for wanted in ("auto", 4):
        design, layout = designed(panel_of(y), 14, yearly_seasonality=wanted)
        terms = design.x[:, : 2 * layout.yearly]
        assert terms[0].any()
        assert not terms[1].any()


def test_weekly_terms_need_days_close_together() -> None:
    with pytest.raises(UsageError, match="weekly terms need daily sales, these are by the week"):
        make("prophet", weekly_seasonality=True).fit(panel_of(sales(1, 60), "W-FRI"), 14)
    y = np.full((2, 200), np.nan)
    y[:, ::7] = sales(2, 29)
    y[1, 1] = 5.0
    design, _ = designed(panel_of(y), 14)
    assert design.x[:, :6].any(axis=(1, 2)).tolist() == [False, True]


# logs


def test_logs_where_a_series_nearly_always_sells() -> None:
    y = sales(4, 400)
    y[1, ::10] = 0
    y[2, 7] = -3
    y[3, [5, 100]] = 0  # half a per cent
    shut = np.zeros(y.shape, dtype=np.bool_)
    assert values_of(y, shut, Prophet().options).is_log.tolist() == [True, False, False, True]
    assert values_of(y, shut, Prophet(transform="none").options).is_log.sum() == 0
    assert values_of(y, shut, Prophet(seasonality_mode="multiplicative").options).is_log.sum() == 0
    logs = values_of(y, shut, Prophet(transform="log").options)
    assert logs.is_log.tolist() == [True, True, False, True]
    assert logs.n.tolist() == [400, 360, 400, 398]


@given(seed=st.integers(0, 999), transform=st.sampled_from(["log", "none"]))
@settings(max_examples=25, deadline=None)
def test_values_come_back(seed: int, transform: str) -> None:
    y = sales(3, 40, seed) * 10.0 ** np.random.default_rng(seed).integers(-6, 12, (3, 1))
    values = values_of(y, np.zeros(y.shape, dtype=np.bool_), Prophet(transform=transform).options)
    np.testing.assert_allclose(values.restored(values.z), y, rtol=1e-9)
    assert np.abs(values.z).max(axis=1) == pytest.approx(np.ones(3))


@given(factor=st.floats(1e-6, 1e9), transform=st.sampled_from(["auto", "none"]))
@settings(max_examples=10, deadline=None)
def test_sales_in_another_unit_are_forecast_in_that_unit(factor: float, transform: str) -> None:
    panel = panel_of(sales(2, 90))
    model = make("prophet", transform=transform)
    first, second = model.predict(panel, 14), model.predict(replace(panel, y=panel.y * factor), 14)
    np.testing.assert_allclose(second.y_hat, first.y_hat * factor, rtol=1e-4)


# forecasts


def test_a_week_and_a_trend_go_on() -> None:
    t = np.arange(214)
    y = (100 + 0.5 * t) * np.array([1, 0.9, 0.9, 1, 1.2, 1.4, 0.6])[t % 7]
    y = y * np.random.default_rng(0).normal(1, 0.01, y.shape)
    forecast = make("prophet").fit(panel_of(y[:200]), 14).predict(panel_of(y[:200]), 14)
    np.testing.assert_allclose(forecast.y_hat[0], y[200:], rtol=0.05)
    assert forecast.reasons == {}


@pytest.mark.parametrize(("mode", "near"), [("additive", 0.05), ("multiplicative", 0.2)])  # 1 + week + promotion there
def test_a_promotion_counts_as_the_history_says(mode: str, near: float) -> None:
    promo = (np.random.default_rng(4).random((3, 214)) < 0.3).astype(np.float32)
    y = sales(3, 214) * (1 + 0.8 * promo)
    known = (Covariate("promo", promo),)
    panel = panel_of(y[:, :200], known=known)
    off = panel_of(y[:, :200], known=(Covariate("promo", promo * (np.arange(214) < 200)),))
    model = make("prophet", seasonality_mode=mode).fit(panel, 14)
    ratio = model.predict(panel, 14).y_hat / model.predict(off, 14).y_hat
    on = promo[:, 200:] == 1
    assert ratio[on].mean() == pytest.approx(1.8, abs=near)
    np.testing.assert_allclose(ratio[~on], 1.0)


def test_a_holiday_counts_as_the_history_says() -> None:
    days = [dt.date(2021, 1, 10) + dt.timedelta(days=25 * i) for i in range(9)]
    y = sales(1, 214)
    at = np.array([(day - dt.date(2021, 1, 1)).days for day in days])
    y[0, at[at < 200]] *= 3
    fair = (Event("fair", tuple(days)),)
    with_fair, without = (make("prophet").predict(panel_of(y[:, :200], **more), 14) for more in ({"events": fair}, {}))
    ahead = at[at >= 200] - 200
    assert len(ahead) == 1
    ratio = with_fair.y_hat[0] / without.y_hat[0]
    assert ratio[ahead[0]] == pytest.approx(3, rel=0.15)
    assert np.abs(np.delete(ratio, ahead) - 1).max() < 0.3


def test_closed_days_are_left_out_and_forecast_as_zero() -> None:
    y = sales(2, 140)
    panel = panel_of(y)
    shut = np.zeros_like(panel.closed)
    shut[:, 6::7] = True
    zeroed = replace(panel, y=np.where(shut[:, :140], 0.0, y), closed=shut)
    absent = replace(panel, y=np.where(shut[:, :140], np.nan, y))
    forecast, other = (make("prophet").predict(item, 14) for item in (zeroed, absent))
    ahead = shut[0, 140:]
    assert (forecast.y_hat[:, ahead] == 0).all()
    assert forecast.quantiles is not None
    assert (forecast.quantiles[:, ahead] == 0).all()
    assert forecast.y_hat[:, ~ahead].tobytes() == other.y_hat[:, ~ahead].tobytes()


def test_intervals_hold_what_they_promise() -> None:
    y = sales(200, 140, noise=0.15)
    forecast = make("prophet").predict(panel_of(y[:, :126]), 14)
    assert forecast.quantiles is not None
    for low, high, wanted in ((1, 9, 0.8), (0, 10, 0.95)):
        inside = (forecast.quantiles[..., low] <= y[:, 126:]) & (y[:, 126:] <= forecast.quantiles[..., high])
        assert inside.mean() == pytest.approx(wanted, abs=0.04)
    np.testing.assert_allclose(forecast.quantiles[..., 5], forecast.y_hat, rtol=1e-9)


def test_flat_growth_has_no_trend() -> None:
    rising = panel_of(np.linspace(50, 100, 140) * np.random.default_rng(0).normal(1, 0.01, (1, 140)))
    forecast = make("prophet[growth=flat,weekly_seasonality=false]").predict(rising, 14)
    assert np.ptp(forecast.y_hat) < 1e-9
    assert forecast.y_hat[0, 0] == pytest.approx(75, rel=0.05)


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
@pytest.mark.parametrize(
    "params",
    [
        {"transform": "none"},
        {"growth": "flat"},
        {"n_changepoints": 0, "weekly_seasonality": False},
        {"changepoint_prior_scale": 100.0, "changepoint_range": 1.0},
        {"changepoint_range": 0.0},
    ],
)
def test_odd_series_with_any_parameters(params: dict[str, Any], mode: str) -> None:
    rng = np.random.default_rng(0)
    y = sales(9, 130)
    y[0] *= 1e290
    y[1] *= 1e-12
    y[2] = -y[2]
    y[3] -= y[3].mean()
    y[4, rng.random(130) < 0.8] = np.nan
    y[5] = np.where(np.arange(130) == 40, 1e6, 0.0)
    y[6] = np.arange(130)  # without any noise
    y[7] = np.arange(130) % 2
    forecast = make("prophet", seasonality_mode=mode, **params).predict(panel_of(y, non_negative=False), 14)
    assert np.isfinite(forecast.y_hat).all()
    assert forecast.quantiles is not None
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (forecast.y_hat[2] < 0).all()
    assert 8 not in forecast.reasons


def test_short_and_constant_series() -> None:
    y = sales(4, 60)
    y[1, 9:] = np.nan
    y[2] = 7.0
    y[3] = 0.0
    forecast = make("prophet").predict(panel_of(y), 14)
    assert forecast.reasons == {1: "too short for prophet"}
    np.testing.assert_allclose(forecast.y_hat[2], 7.0)
    assert (forecast.y_hat[3] == 0).all()
    assert forecast.quantiles is not None
    assert (forecast.quantiles[1] == forecast.y_hat[1][:, None]).all()


def test_an_exploding_series_gets_the_last_season_and_the_reason() -> None:
    y = sales(2, 120)
    y[1] = np.exp(np.linspace(0, 40, 120))
    forecast = make("prophet").predict(panel_of(y, h=30), 30)
    assert forecast.reasons == {1: "prophet exploded"}
    assert forecast.y_hat[1].max() <= y[1].max()


def test_processes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Prophet.fit.__globals__["_MIN_ROWS"], "batch", 2)
    panel = panel_of(sales(40, 60), events=(Event("fair", (dt.date(2021, 2, 3),)),))
    alone, shared = (make("prophet", n_threads=n).predict(panel, 14) for n in (1, 2))
    np.testing.assert_allclose(shared.y_hat, alone.y_hat, rtol=1e-9)
    assert shared.reasons == alone.reasons == {}


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_a_series_gets_the_same_bits_in_any_company(mode: str) -> None:
    y = sales(131, 400, seed=3)  # more than are solved together, with columns for more than are there at once
    together = make("prophet", seasonality_mode=mode).predict(panel_of(y), 14)
    assert together.quantiles is not None
    for row in (0, 90, 130):
        alone = make("prophet", seasonality_mode=mode).predict(panel_of(y[row]), 14)
        assert alone.quantiles is not None
        assert (alone.y_hat[0] == together.y_hat[row]).all()
        assert (alone.quantiles[0] == together.quantiles[row]).all()


# parameters


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"growth": "linaer"}, "growth = 'linaer' does not exist(.|\n)*did you mean 'linear'"),
        ({"engine": "batched"}, "did you mean 'batch'"),
        ({"transform": "sqrt"}, "known: auto, log, none"),
        ({"seasonality_mode": "both"}, "additive, multiplicative"),
        ({"yearly_seasonality": "yes"}, "auto, true, false, or a number"),
        ({"weekly_seasonality": -1}, "auto, true, false, or a number"),
        ({"changepoint_prior_scale": 0}, "changepoint_prior_scale must be above 0"),
        ({"changepoint_range": 1.5}, "a share between 0 and 1"),
        ({"n_changepoints": -1}, "a count from 0"),
        ({"growth": "logistic"}, "logistic growth needs a cap"),
        ({"cap": 5.0}, "no other growth has one"),
        ({"growth": "logistic", "cap": 0.0}, "the cap must be above 0"),
        ({"growth": "logistic", "cap": 5.0, "transform": "log"}, "not fitted in logs"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        make("prophet", **params)
    assert "\n  where: prophet, " in str(caught.value)
    assert "\n  fix:   " in str(caught.value)


def test_a_cap_must_be_a_known_number_above_zero() -> None:
    room = Covariate("room", np.zeros((1, 74), dtype=np.float32))
    panel = panel_of(sales(1, 60), known=(room,))
    with pytest.raises(UsageError, match=r"no known number is called 'rooms'(.|\n)*did you mean 'room'"):
        make("prophet", growth="logistic", cap="rooms").fit(panel, 14)
    with pytest.raises(UsageError, match="must be known and above 0 in every period"):
        make("prophet", growth="logistic", cap="room").fit(panel, 14)


def test_an_unknown_country_is_told() -> None:
    with pytest.raises(UsageError, match="holidays of 'Atlantis' are not known"):
        make("prophet").fit(panel_of(sales(1, 60), country="Atlantis"), 14)


def test_the_library_is_asked_for_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prophet", None)  # as if it were not installed
    panel = panel_of(sales(1, 60))
    assert make("prophet").fit(panel, 14).predict(panel, 14).reasons == {}
    for name in ("prophet[engine=stan]", "prophet[growth=logistic,cap=1000]"):
        with pytest.raises(MissingExtraError, match=r"foretail\[prophet\]"):
            make(name)


def test_parameters_survive_a_file(tmp_path: Path) -> None:
    params = {
        "growth": "flat",
        "n_changepoints": 3,
        "changepoint_prior_scale": 0.2,
        "seasonality_mode": "multiplicative",
        "weekly_seasonality": 2,
        "transform": "none",
        "random_state": 3,
    }
    model = make("prophet", **params)
    model.save(tmp_path)
    loaded = Prophet.load(tmp_path)
    assert vars(loaded) == vars(model)
    panel = panel_of(sales(2, 60))
    assert loaded.predict(panel, 14).y_hat.tobytes() == model.predict(panel, 14).y_hat.tobytes()


def test_yearly_terms_of_a_short_history_are_fitted_when_insisted_upon() -> None:
    insisted = {"yearly_seasonality": 4, "yearly_from_days": 0}
    design, layout = designed(panel_of(sales(2, 200)), 14, **insisted)
    assert layout.yearly == 4 and np.abs(design.x[:, :8]).max() > 0
    found = make("prophet", **insisted).predict(panel_of(sales(2, 200)), 14)
    plain = make("prophet").predict(panel_of(sales(2, 200)), 14)
    assert not found.reasons and not np.allclose(found.y_hat, plain.y_hat)
    with pytest.raises(UsageError, match="yearly_from_days"):
        make("prophet", yearly_from_days=-1)
