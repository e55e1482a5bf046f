"""Ended, never sold and short series: what is answered, what is said, and that all others are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from like_world import LEVELS, H, T, world

from foretail.forecasts.policy import ENDED, MODEL_SHARE, NEVER_SOLD, SHORT, with_policies
from foretail.models.contract import Forecast
from foretail.panel.panel import Covariate, Panel


def changed(panel: Panel, y: np.ndarray, **more: object) -> Panel:
    parts = {"closed": panel.closed, "known": panel.known, **more}
    return Panel(panel.spec, panel.series, panel.start, y, **parts)  # type: ignore[arg-type]


def forecast_of(future: np.ndarray, **reasons: dict[int, str]) -> Forecast:
    return Forecast(future, LEVELS, np.stack([0.9 * future, future, 1.1 * future], axis=2), **reasons)


def test_what_needs_no_policy_is_left_alone() -> None:
    panel, future, _ = world()
    forecast = forecast_of(future)
    assert with_policies(panel, forecast) is not None
    np.testing.assert_array_equal(with_policies(panel, forecast).y_hat, future)
    assert with_policies(panel, forecast).reasons == {}


def test_ended_and_never_sold_series_are_zero_and_say_so() -> None:
    panel, future, _ = world()
    y = panel.y.copy()
    y[2, -70:] = 0.0
    y[4, -70:] = np.nan
    y[9] = 0.0
    found = with_policies(changed(panel, y, known=()), forecast_of(future))
    assert found.reasons == {2: ENDED, 4: ENDED, 9: NEVER_SOLD}
    assert found.quantiles is not None
    for row in (2, 4, 9):
        assert not found.y_hat[row].any() and not found.quantiles[row].any()
    others = [row for row in range(16) if row not in (2, 4, 9)]
    np.testing.assert_array_equal(found.y_hat[others], future[others])


def test_a_shop_under_repair_that_is_told_to_open_again_is_answered_by_the_model() -> None:
    panel, future, _ = world()
    y = panel.y.copy()
    y[4:6, -70:] = np.nan
    is_open = np.ones((16, T + H), dtype=np.float32)
    is_open[4:6, T - 70 : T] = np.nan
    is_open[5, T:] = np.nan
    found = with_policies(changed(panel, y, known=(Covariate("open", is_open),)), forecast_of(future))
    assert found.reasons == {5: ENDED}
    np.testing.assert_array_equal(found.y_hat[4], future[4])


def test_a_short_series_mixes_the_model_with_what_it_borrows() -> None:
    panel, future, _ = world()
    y = panel.y.copy()
    y[6, :-5] = np.nan
    young = changed(panel, y)
    wrong = future.copy()
    wrong[6] *= 3.0
    found = with_policies(young, forecast_of(wrong))
    assert found.reasons == {6: SHORT}
    assert future[6].sum() < found.y_hat[6].sum() < wrong[6].sum()
    assert found.y_hat[6].sum() == pytest.approx(
        MODEL_SHARE * wrong[6].sum() + (1 - MODEL_SHARE) * future[6].sum(), rel=0.1
    )
    gave_up = with_policies(young, forecast_of(wrong, reasons={6: "no open period observed"}))
    assert gave_up.y_hat[6].sum() == pytest.approx(future[6].sum(), rel=0.3)
    assert gave_up.reasons == {6: SHORT}


def test_enough_history_is_the_models_business() -> None:
    panel, future, _ = world()
    y = panel.y.copy()
    y[6, :-14] = np.nan
    y[7, :-13] = np.nan
    assert with_policies(changed(panel, y), forecast_of(future)).reasons == {7: SHORT}


def test_point_forecasts_have_policies_too() -> None:
    panel, future, _ = world()
    y = panel.y.copy()
    y[2, -70:] = 0.0
    y[6, :-5] = np.nan
    found = with_policies(changed(panel, y), Forecast(future))
    assert found.quantiles is None
    assert found.reasons == {2: ENDED, 6: SHORT}


def test_a_panel_of_short_series_only_is_left_to_the_model() -> None:
    panel, future, _ = world()
    found = with_policies(changed(panel, panel.y[:, -6:], closed=panel.closed[:, -6 - H :], known=()), Forecast(future))
    np.testing.assert_array_equal(found.y_hat, future)
    assert found.reasons == {}
