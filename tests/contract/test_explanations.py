"""What every family owes an explanation, for every row of the table of families: parts that add up to its forecasts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from family_cases import LENGTH, ODD, bare_panel, crowd, small

from foretail.features.groups import CLOSED, FALLBACK, GROUPS
from foretail.forecasts.explain import Explainer, Explanation
from foretail.forecasts.policy import with_policies
from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster
from foretail.models.families import FAMILIES
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate

H, LONG = 7, 28
EVERY = sorted(FAMILIES)
CLOSE = 1e-6  # of a forecast
TOO_LARGE = ("absurd", "exponential")  # sums of them are no numbers

pytestmark = pytest.mark.parametrize("family", EVERY)


@cache
def shops() -> Panel:
    """Days with promotions, prices, closed Sundays, and series that begin late or end early."""
    config = SyntheticConfig(
        periods=200, stores=2, products=4, horizon=H, seed=3, promo_share=0.4, opening_share=0.3, closing_share=0.2
    )
    return build_panel(generate(config).table).panel


@cache
def chain() -> Panel:
    """Weeks with two years behind them."""
    config = SyntheticConfig(periods=110, stores=2, products=3, freq="W-FRI", horizon=H, seed=4, promo_share=0.4)
    return build_panel(generate(config).table).panel


@cache
def town() -> Panel:
    """Enough series and steps for a thousand different forecasts, with everything that a plan may hold."""
    config = SyntheticConfig(
        periods=150, stores=6, products=7, horizon=LONG, seed=5, promo_share=0.3, opening_share=0.2, closing_share=0.1
    )
    return build_panel(generate(config).table).panel


@cache
def odd() -> Panel:
    """Ordinary series among odd ones: many get a fallback."""
    n = LENGTH["D"]
    return bare_panel(np.vstack([crowd(n, "D")[::6], *(ODD[kind](n) for kind in sorted(ODD) if kind not in TOO_LARGE)]))


PANELS = {"shops": shops, "chain": chain, "odd": odd}


@cache
def fitted(family: str, name: str) -> tuple[Forecaster, Panel, Forecast]:
    panel = PANELS[name]()
    model = small(family).fit(panel, H)
    return model, panel, model.predict(panel, H)


@cache
def everything(family: str, name: str) -> tuple[Explanation, Forecast, np.ndarray, np.ndarray]:
    """All series and steps, in a random order."""
    model, panel, point = fitted(family, name)
    order = np.random.default_rng(1).permutation(panel.n_series * H)
    rows, steps = order // H, order % H + 1
    forecast = with_policies(panel, point)
    return Explainer(model, panel, forecast).explain(rows, steps), forecast, rows, steps


@pytest.mark.parametrize("name", PANELS)
def test_contributions_add_up_to_what_the_family_forecasts(family: str, name: str) -> None:
    model, panel, point = fitted(family, name)
    order = np.random.default_rng(2).permutation(panel.n_series * H)[:40]
    rows, steps = order // H, order % H + 1
    found = model.contributions(Asked.of(panel, H, rows, steps))
    is_open = ~panel.closed[rows, panel.n_periods - 1 + steps] if panel.n_future else np.ones(len(rows), dtype=bool)
    told = point.y_hat[rows, steps - 1]
    np.testing.assert_allclose(found.y_hat[is_open], told[is_open], rtol=CLOSE, atol=1e-9)
    np.testing.assert_array_equal(found.fallback, np.isin(rows, list(point.reasons)))


@pytest.mark.parametrize("name", PANELS)
def test_base_and_parts_are_the_forecast_that_is_answered(family: str, name: str) -> None:
    found, forecast, rows, steps = everything(family, name)
    panel = PANELS[name]()
    assert found.groups == GROUPS
    np.testing.assert_allclose(found.base + found.parts.sum(axis=1), found.y_hat, rtol=CLOSE, atol=1e-9)
    closed = np.zeros((panel.n_series, H), dtype=bool)
    closed[:, : panel.n_future] = panel.closed[:, panel.n_periods :]
    answer = np.where(closed, 0.0, np.maximum(forecast.y_hat, 0.0))
    np.testing.assert_array_equal(found.y_hat, answer[rows, steps - 1])
    assert "not explained" not in found.features["feature"].to_list()


@pytest.mark.parametrize("name", PANELS)
def test_features_add_up_to_their_groups(family: str, name: str) -> None:
    found, *_ = everything(family, name)
    total = np.zeros_like(found.parts)
    groups = np.array([GROUPS.index(group) for group in found.features["group"]], dtype=np.int64)
    np.add.at(total, (found.features["row"].to_numpy(), groups), found.features["part"].to_numpy())
    size = np.maximum(np.abs(found.y_hat), np.abs(found.base))[:, None]
    assert (np.abs(total - found.parts) <= CLOSE * size + 1e-9).all()


@pytest.mark.parametrize("name", PANELS)
def test_closed_days_and_fallbacks_say_so_and_nothing_else(family: str, name: str) -> None:
    found, forecast, rows, steps = everything(family, name)
    panel = PANELS[name]()
    for i, (row, step) in enumerate(zip(rows.tolist(), steps.tolist(), strict=True)):
        shut = step <= panel.n_future and panel.closed[row, panel.n_periods - 1 + step]
        wanted = CLOSED if shut else f"{FALLBACK}:{forecast.reasons[row]}" if row in forecast.reasons else ""
        assert found.reasons[i] == wanted
        if wanted:
            only = GROUPS.index(CLOSED if shut else FALLBACK)
            assert not np.delete(found.parts[i], only).any()


def test_one_forecast_is_explained_as_it_is_among_others(family: str) -> None:
    found, forecast, rows, steps = everything(family, "shops")
    model, panel, _ = fitted(family, "shops")
    chosen = np.array([5, 17])
    alone = Explainer(model, panel, forecast).explain(rows[chosen], steps[chosen])
    # plans of other series are not looked at, so the groups are set in turn for fewer of them
    np.testing.assert_allclose(alone.y_hat, found.y_hat[chosen])
    size = np.maximum(found.y_hat[chosen], found.base[chosen])[:, None]
    np.testing.assert_allclose(alone.parts / size, found.parts[chosen] / size, atol=1e-5)


def test_a_family_without_covariates_owes_nothing_to_a_plan(family: str) -> None:
    found, *_ = everything(family, "shops")
    model, _, _ = fitted(family, "shops")
    planned = [GROUPS.index(group) for group in ("promotion", "price")]
    if not model.tags.covariates:
        assert not found.parts[:, planned].any()


def test_a_thousand_random_forecasts_are_the_sums_of_their_parts(family: str) -> None:
    panel = town()
    model = small(family).fit(panel, LONG)
    forecast = with_policies(panel, model.predict(panel, LONG))
    chosen = np.random.default_rng(6).choice(panel.n_series * LONG, 1000, replace=False)
    rows, steps = chosen // LONG, chosen % LONG + 1
    found = Explainer(model, panel, forecast).explain(rows, steps)
    error = np.abs(found.base + found.parts.sum(axis=1) - found.y_hat)
    assert (error <= CLOSE * np.maximum(np.abs(found.y_hat), 1e-9)).all()
    assert "not explained" not in found.features["feature"].to_list()
