"""The 70/15/15 ensemble: what decides the weights and what must not, members that fail, histories too short for it."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_single_families import panel_of, weekly_wave

from foretail.core.errors import ForecastError, MissingExtraError, UsageError
from foretail.models.ensemble_c import EnsembleC, _origins
from foretail.models.families import family_class, make
from foretail.models.naive import Drift
from foretail.panel.panel import Panel

H = 7
SIMPLE = ("seasonal_naive", "historic_average", "drift")
PERIODS = 200  # the parts begin at 140 and 170


def panel(n: int = 5, periods: int = PERIODS) -> Panel:
    return panel_of(weekly_wave(n, periods))


def ensemble(members: Any = SIMPLE, **params: Any) -> EnsembleC:
    return EnsembleC(members=members, n_threads=1, **params)


def held_out_wape(name: str, whole: Panel, first: int, end: int) -> float:
    """By a plain loop: fitted on 70 % of the periods, asked every H periods of a part."""
    model = make(name).fit(whole.as_of(whole.n_periods * 70 // 100, H), H)
    error = sold = 0.0
    for origin in range(first, end, H):
        y_hat = model.predict(whole.as_of(origin, H), H).y_hat
        for row in range(whole.n_series):
            for column in range(origin, min(origin + H, end)):
                if whole.closed[row, column] or not np.isfinite(whole.y[row, column]):
                    continue
                error += abs(y_hat[row, column - origin] - whole.y[row, column])
                sold += abs(whole.y[row, column])
    return error / sold


def test_weights_are_the_inverse_of_the_error_on_the_second_part() -> None:
    whole = panel()
    model = ensemble().fit(whole, H)
    wape = {name: held_out_wape(name, whole, 140, 170) for name in SIMPLE}
    assert model.validation_ == pytest.approx(wape)
    total = sum(1 / value for value in wape.values())
    assert model.weights_ == pytest.approx({name: 1 / value / total for name, value in wape.items()})
    assert model.weights_["seasonal_naive"] > model.weights_["drift"]
    assert (model.why_equal_, model.left_out_) == ("", {})


def test_the_third_part_is_measured() -> None:
    whole = panel()
    model = ensemble().fit(whole, H)
    assert set(model.test_) == {*SIMPLE, "ensemble"}
    for name in SIMPLE:
        assert model.test_[name] == pytest.approx(held_out_wape(name, whole, 170, 200))
    assert 0 < model.test_["ensemble"] < max(model.test_[name] for name in SIMPLE)


def test_the_third_part_decides_no_weight() -> None:
    whole = panel()
    y = whole.y.copy()
    y[:, 170:] *= np.random.default_rng(0).uniform(0, 9, (5, 30))
    first, second = ensemble().fit(whole, H), ensemble().fit(replace(whole, y=y), H)
    assert first.weights_ == second.weights_
    assert first.validation_ == second.validation_
    assert first.test_ != second.test_


def test_the_forecast_is_the_weighted_average_of_members_fitted_on_everything() -> None:
    whole = panel()
    model = ensemble().fit(whole, H)
    wanted = sum(model.weights_[name] * make(name).fit(whole, H).predict(whole, H).y_hat for name in SIMPLE)
    np.testing.assert_allclose(model.predict(whole, H).y_hat, wanted)


def test_closed_and_missing_days_are_not_measured() -> None:
    whole = panel()
    y, closed = whole.y.copy(), np.zeros((5, PERIODS), dtype=np.bool_)
    y[0, 140:] = np.nan
    y[1, 141::7], closed[1, 141::7] = 1e6, True
    model = ensemble(("seasonal_naive",)).fit(replace(whole, y=y, closed=closed), H)
    assert model.validation_["seasonal_naive"] == pytest.approx(
        held_out_wape("seasonal_naive", replace(whole, y=y, closed=closed), 140, 170)
    )


# members that fail


def fail(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("no luck today")


def test_a_member_that_fails_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(Drift, "fit", fail)
    with caplog.at_level(logging.WARNING):
        model = ensemble().fit(panel(), H)
    assert model.left_out_ == {"drift": "RuntimeError: no luck today"}
    assert "without drift: RuntimeError: no luck today" in caplog.text
    assert set(model.weights_) == {"seasonal_naive", "historic_average"}
    assert sum(model.weights_.values()) == pytest.approx(1.0)
    model.save(tmp_path)
    assert EnsembleC.load(tmp_path).left_out_ == model.left_out_


def test_a_member_that_is_no_number_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Drift.predict

    def wild(self: Drift, panel: Panel, h: int) -> Any:
        found = honest(self, panel, h)
        return replace(found, y_hat=np.full_like(found.y_hat, np.nan))

    monkeypatch.setattr(Drift, "predict", wild)
    model = ensemble().fit(panel(), H)
    assert "no number" in model.left_out_["drift"]
    assert np.isfinite(model.predict(panel(), H).y_hat).all()


def test_a_member_that_fails_later_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = panel()
    model = ensemble(("seasonal_naive", "drift")).fit(whole, H)
    monkeypatch.setattr(Drift, "predict", fail)
    with caplog.at_level(logging.WARNING):
        found = model.predict(whole, H).y_hat
    np.testing.assert_allclose(found, make("seasonal_naive").fit(whole, H).predict(whole, H).y_hat)
    assert "forecasts without drift" in caplog.text


@pytest.mark.parametrize("periods", [PERIODS, 10])
def test_all_members_failing_is_an_error_with_every_reason(monkeypatch: pytest.MonkeyPatch, periods: int) -> None:
    monkeypatch.setattr(Drift, "fit", fail)
    with pytest.raises(ForecastError, match=r"every member.*\n.*where:\n.*drift: RuntimeError: no luck today\n.*fix"):
        ensemble(("drift",)).fit(panel(periods=periods), H)


def test_a_series_that_one_member_cannot_answer_is_left_to_the_others() -> None:
    y = weekly_wave(4, PERIODS)
    y[2, :-3] = np.nan  # too short for Theta
    whole = panel_of(y)
    model = ensemble(("seasonal_naive", "theta")).fit(whole, H)
    forecast = model.predict(whole, H)
    assert forecast.reasons == {}
    np.testing.assert_allclose(forecast.y_hat[2], make("seasonal_naive").fit(whole, H).predict(whole, H).y_hat[2])
    alone = ensemble(("theta",)).fit(whole, H).predict(whole, H)
    assert alone.reasons == {2: "too short for theta"}


# equal weights


def test_a_short_history_gets_equal_weights_and_the_reason() -> None:
    whole = panel(periods=19)
    model = ensemble().fit(whole, H)
    assert model.weights_ == dict.fromkeys(SIMPLE, 1 / 3)
    assert model.why_equal_ == "too short to split: 19 periods"
    assert (model.validation_, model.test_) == ({}, {})


def test_a_member_without_any_answer_on_the_split_makes_the_weights_equal() -> None:
    model = ensemble(("seasonal_naive", "boosting")).fit(panel(n=1, periods=30), H)
    assert model.why_equal_ == "too short to compare: boosting answered no series after 70 % of the periods"
    assert set(model.weights_.values()) == {0.5}


def test_nothing_sold_on_the_second_part_makes_the_weights_equal() -> None:
    whole = panel()
    y = whole.y.copy()
    y[:, 140:170] = 0.0
    model = ensemble().fit(replace(whole, y=y), H)
    assert "nothing to compare was sold" in model.why_equal_
    assert set(model.weights_.values()) == {1 / 3}


# cutoffs, names, disk


@pytest.mark.parametrize(
    ("first", "end", "h"), [(140, 170, 7), (140, 170, 1), (140, 170, 90), (700, 850, 1), (3, 6, 2)]
)
def test_cutoffs_lie_inside_their_part(first: int, end: int, h: int) -> None:
    origins = _origins(first, end, h)
    assert origins[0] == first
    assert len(origins) == min(8, -(-(end - first) // h))
    assert len(set(origins)) == len(origins)
    assert max(origins) < end
    if len(origins) == 8:
        assert max(origins) + h <= end


def test_the_default_is_reference_c() -> None:
    model = make("ensemble-c")
    assert vars(model)["members"] == ("xgboost", "boosting", "prophet")


def test_members_can_be_named_in_the_name() -> None:
    assert vars(make("ensemble-c[members=theta;boosting]"))["members"] == ("theta", "boosting")


@pytest.mark.parametrize("members", [(), ("theta", "theta")])
def test_no_member_or_one_twice_is_refused(members: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"each once.*\n.*\n.*members=xgboost;boosting;prophet"):
        EnsembleC(members=members)


def test_an_unknown_member_is_refused_before_anything_is_fitted() -> None:
    with pytest.raises(UsageError, match="unknown model family 'bosting'"):
        EnsembleC(members="theta;bosting")


def test_a_member_that_is_not_installed_is_an_error_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prophet", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"foretail\[prophet\]"):
        EnsembleC(members=("theta", "prophet[engine=stan]"))


def test_a_member_with_a_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="boosting has no parameter 'leafs'"):
        EnsembleC(members=("theta", "boosting[leafs=3]"))


def test_a_saved_one_forecasts_and_tells_the_same(tmp_path: Path) -> None:
    whole = panel()
    few = {name: {"rounds": 15} for name in ("xgboost", "boosting")}
    model = ensemble(("xgboost", "boosting", "theta"), params=few).fit(whole, H)
    model.save(tmp_path)
    loaded = family_class("ensemble-c").load(tmp_path)
    assert isinstance(loaded, EnsembleC)
    assert loaded.predict(whole, H).y_hat.tobytes() == model.predict(whole, H).y_hat.tobytes()
    assert loaded.importance() == model.importance()
    assert (loaded.test_, loaded.validation_, loaded.weights_) == (model.test_, model.validation_, model.weights_)
    assert dict(model.importance())["theta"] == pytest.approx(model.weights_["theta"])
