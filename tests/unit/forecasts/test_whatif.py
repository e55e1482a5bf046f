"""A what-if is the forecast of the whole panel with the changed values in it, whatever way it is made."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from whatif_world import LEVELS, H, calibrated_on, fitted, make_panel, with_future

from foretail.forecasts.frame import forecast_frame
from foretail.forecasts.policy import calibrated
from foretail.forecasts.whatif import WhatIf
from foretail.pipelines.forecast import stored

FAMILIES = ("boosting", "xgboost", "neural", "profile", "prophet", "ensemble", "ensemble-c", "seasonal_naive", "theta")
PLAIN, ENDED, SHORT = 2, 6, 7
CHANGES = (
    (PLAIN, {"promo": {4: 1.0}, "price": {3: 0.5, 4: 0.5}}),
    (PLAIN, {"kind": {1: 2.0, 2: 0.0}}),
    (5, {"promo": dict.fromkeys(range(1, H + 1), 1.0)}),
    (ENDED, {"promo": {2: 1.0}}),
    (SHORT, {"price": {1: 1.1, 4: 2.9}}),
)


@cache
def world(name):
    panel = make_panel()
    model = fitted(name, panel)
    intervals = calibrated_on(panel, model)
    return panel, model, intervals, WhatIf(panel, model, H, intervals, LEVELS)


def by_the_long_way(panel, model, intervals, row):
    """The forecast table of a panel: values of a series, and its source."""
    forecast = calibrated(panel, model.predict(panel, H), intervals, LEVELS)
    requested = stored(panel, H).requested
    frame = forecast_frame(panel, forecast, requested=requested, model="m", model_version="1", levels=LEVELS)
    mine = frame.filter(frame["unique_id"] == panel.unique_ids[row])
    return mine.select("y_hat", "q10", "q50", "q90").to_numpy(), mine["source"][0]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_known_gives_the_forecast_itself(name):
    panel, model, intervals, whatif = world(name)
    values, sources = whatif.as_it_is()
    for row in (PLAIN, ENDED, SHORT):
        wanted, source = by_the_long_way(panel, model, intervals, row)
        np.testing.assert_array_equal(values[row], wanted)
        assert sources[row] == source


@pytest.mark.parametrize("name", FAMILIES)
def test_changes_asked_together_are_forecasts_of_the_changed_panel(name):
    panel, model, intervals, whatif = world(name)
    rows, values = zip(*CHANGES, strict=True)
    answers = whatif.answers(whatif.change(rows, values))
    for row, given, answer in zip(rows, values, answers, strict=True):
        wanted, source = by_the_long_way(with_future(panel, row, given, {}), model, intervals, row)
        np.testing.assert_allclose(answer.values, wanted, rtol=1e-9, atol=1e-9)
        assert answer.source == source


@pytest.mark.parametrize("name", ["boosting", "xgboost", "neural", "prophet", "ensemble", "ensemble-c"])
def test_a_promotion_moves_the_forecast_of_its_series(name):
    _, _, _, whatif = world(name)
    without, with_it = (whatif.answers(whatif.change([PLAIN], [{"promo": {4: flag}}]))[0].values for flag in (0.0, 1.0))
    assert with_it[3, 0] > without[3, 0]
    assert not np.array_equal(with_it, without)


def test_intervals_lie_around_the_new_point():
    *_, whatif = world("boosting")
    values = whatif.answers(whatif.change([PLAIN], [{"price": {4: 0.5}}]))[0].values
    assert (np.diff(values[:, 1:], axis=1) >= 0).all()
    assert values[3, 1] < values[3, 0] < values[3, 3]


@pytest.mark.parametrize("open_column", ["open", None])
def test_a_value_that_shuts_shops_closes_the_day_and_the_other_opens_it(open_column):
    panel = make_panel(open_column=open_column)
    model = fitted("boosting", panel)
    whatif = WhatIf(panel, model, H, calibrated_on(panel, model), LEVELS)
    shut = next(step for step in range(1, H + 1) if panel.closed[PLAIN, panel.n_periods + step - 1])
    other = next(step for step in range(1, H + 1) if not panel.closed[PLAIN, panel.n_periods + step - 1])
    opened, closed = whatif.answers(whatif.change([PLAIN, PLAIN], [{"open": {shut: 1.0}}, {"open": {other: 0.0}}]))
    assert (whatif.as_it_is()[0][PLAIN, shut - 1] == 0).all() and opened.values[shut - 1, 0] > 0
    assert (closed.values[other - 1] == 0).all()
    changed = with_future(panel, PLAIN, {"open": {shut: 1.0}}, {shut: False})
    wanted, _ = by_the_long_way(changed, model, calibrated_on(panel, model), PLAIN)
    np.testing.assert_allclose(opened.values, wanted, rtol=1e-9)


def test_a_future_that_nobody_told_can_be_told():
    panel = make_panel()
    t = panel.n_periods
    short = replace(
        panel, closed=panel.closed[:, :t], known=tuple(replace(i, values=i.values[:, :t]) for i in panel.known)
    )
    model = fitted("boosting", panel)
    whatif = WhatIf(short, model, H, calibrated_on(panel, model), LEVELS)
    told = [{item.name: dict(enumerate(item.values[PLAIN, t:].tolist(), 1)) for item in panel.known}]
    answer = whatif.answers(whatif.change([PLAIN], told))[0]
    assert answer.values.shape == (H, 4)
    assert not np.allclose(answer.values, whatif.as_it_is()[0][PLAIN])


def test_the_forecast_is_not_moved_by_what_was_asked():
    *_, whatif = world("ensemble")
    before = whatif.as_it_is()[0].copy()
    known = [item.values.copy() for item in whatif.panel.known]
    whatif.answers(whatif.change([PLAIN, ENDED], [{"promo": {1: 1.0}}, {"open": {1: 1.0}}]))
    np.testing.assert_array_equal(whatif.as_it_is()[0], before)
    for item, values in zip(whatif.panel.known, known, strict=True):
        np.testing.assert_array_equal(item.values, values)
