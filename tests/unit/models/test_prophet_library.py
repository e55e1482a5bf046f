"""The batch engine beside the library itself: the same model, a posterior never lower, the same forecasts."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

import numpy as np
import polars as pl
import pytest
from benchmarks.prophet_oracle import fit_library

from foretail.core.spec import DatasetSpec, Event
from foretail.models.families import make
from foretail.models.prophet import Prophet
from foretail.models.prophet_design import values_of
from foretail.models.prophet_engine import fit_rows, forecast_rows
from foretail.models.prophet_layout import layout_of
from foretail.panel.panel import Covariate, Panel

pytest.importorskip("prophet")

H = 21


def shops(n_days: int, n_series: int = 2, n_known: int = 0, seed: int = 0, **spec: Any) -> Panel:
    """Shops with a bend in the trend, a week, a year, Sundays shut, and regressors: flags first, then one number."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_days + H)
    z = 0.15 * np.sin(2 * np.pi * t / 365.25) + rng.normal(0, 0.2, (n_series, 7))[:, t % 7]
    z += rng.normal(0, 0.3, (n_series, 1)) * np.maximum(t - n_days // 2, 0) / n_days
    known = []
    for i in range(n_known):
        flag = (rng.random(z.shape) < 0.3).astype(np.float32)
        values = flag if i < n_known - 1 else rng.normal(20, 5, z.shape).astype(np.float32)
        z += 0.1 * (values - values.mean()) / values.std()
        known.append(Covariate(f"known_{i}", values))
    y = rng.uniform(50, 5000, (n_series, 1)) * np.exp(z + rng.normal(0, 0.07, z.shape))
    closed = np.broadcast_to((18628 + t + 3) % 7 == 6, z.shape).copy()
    y[closed] = 0
    names = [f"{row:02d}" for row in range(n_series)]
    columns = tuple(item.name for item in known)
    whole = DatasetSpec(keys=("shop",), time="date", target="y", freq="D", horizon=H, known=columns, **spec)
    series = pl.DataFrame({"unique_id": names, "shop": names})
    return Panel(whole, series, 18628, y[:, :n_days], closed, known=tuple(known))


FAIR = Event("fair", tuple(dt.date(year, 5, day) for year in (2021, 2022, 2023) for day in (4, 5)))
# how near the forecasts must be: Stan's optimisers stop short in a long, curved valley
CASES = {
    "a week": ({"n_days": 120}, {}, 0.005),
    "the plain defaults on two years and regressors": ({"n_days": 800, "n_known": 3}, {"algorithm": None}, 0.005),
    "flat": ({"n_days": 130, "n_known": 2}, {"growth": "flat"}, 0.0005),
    "multiplicative": ({"n_days": 120, "n_known": 1}, {"seasonality_mode": "multiplicative"}, 0.005),
    "holidays": ({"n_days": 260, "country": "US", "events": (FAIR,)}, {"algorithm": None}, 0.005),
    "other priors": (
        {"n_days": 120},
        {"changepoint_prior_scale": 0.5, "n_changepoints": 9, "changepoint_range": 0.6, "weekly_seasonality": 2},
        0.005,
    ),
}


def objective(panel: Panel, model: Prophet) -> np.ndarray:
    layout = layout_of(panel, H, model.options)
    values = values_of(panel.y, panel.closed[:, : panel.n_periods], model.options)
    known = tuple(item.values for item in panel.known)
    return fit_rows(values, known, layout)[0].objective


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_batch_is_never_below_the_library_and_forecasts_the_same(case: str) -> None:
    world, params, near = CASES[case]
    panel = shops(**world)
    settings = {"algorithm": "Newton", **params}
    algorithm = settings.pop("algorithm")
    model = Prophet(transform="none", flags_by_weekday=False, **settings)
    forecast = model.fit(panel, H).predict(panel, H)
    reached = objective(panel, model)
    is_open = ~panel.closed[:, panel.n_periods :]
    for row in range(panel.n_series):
        found = fit_library(panel, row, H, algorithm=algorithm, **settings)
        assert reached[row] >= found.log_posterior - 1e-6
        relative = np.abs(forecast.y_hat[row] / found.y_hat - 1)[is_open[row]]
        assert np.median(relative) <= near
        assert forecast.quantiles is not None
        width = forecast.quantiles[row, :, -1] - forecast.quantiles[row, :, 0]
        ratio = (width / (found.y_upper - found.y_lower))[is_open[row]]
        assert ratio.mean() == pytest.approx(1.0, abs=0.06)  # theirs is noisy: 1,000 paths


def test_the_library_engine_is_the_same_model() -> None:
    panel = shops(110, n_known=2, events=(FAIR,))  # below 100 open days the library takes Newton's method, to the end
    is_open = ~panel.closed[:, panel.n_periods :]
    for transform in ("none", "log"):
        batch = make("prophet", transform=transform).fit(panel, H).predict(panel, H)
        stan = make(f"prophet[engine=stan,transform={transform}]").fit(panel, H).predict(panel, H)
        assert stan.reasons == {}
        assert np.median(np.abs(stan.y_hat / np.where(is_open, batch.y_hat, 1) - 1)[is_open]) < 0.005
        assert stan.quantiles is not None
        assert batch.quantiles is not None
        ratio = (stan.quantiles[..., -1] - stan.quantiles[..., 0])[is_open].sum()
        ratio /= (batch.quantiles[..., -1] - batch.quantiles[..., 0])[is_open].sum()
        assert ratio == pytest.approx(1.0, abs=0.06)


def test_the_library_engine_gives_the_same_bits_and_leaves_the_world_as_it_was() -> None:
    panel = shops(60, n_series=1)
    state = np.random.get_state()[1].copy()  # noqa: NPY002  (the library draws from the global generator)
    first, second = (make("prophet[engine=stan]").fit(panel, H).predict(panel, H) for _ in range(2))
    assert first.quantiles is not None
    assert second.quantiles is not None
    assert first.quantiles.tobytes() == second.quantiles.tobytes()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert not logging.getLogger("cmdstanpy").disabled


def test_logistic_growth_is_handed_to_the_library_and_stays_below_its_cap() -> None:
    t = np.arange(200 + H)
    y = 100 / (1 + np.exp(-(t - 120) / 25)) + np.random.default_rng(2).normal(0, 0.5, t.shape)
    panel = shops(200, n_series=1)
    open_all = np.zeros((1, 200 + H), dtype=np.bool_)
    cap = Covariate("room", np.full((1, 200 + H), 100, dtype=np.float32))
    panel = Panel(panel.spec.but(known=("room",)), panel.series, panel.start, y[None, :200], open_all, known=(cap,))
    by_name = make("prophet", growth="logistic", cap="room").fit(panel, H).predict(panel, H)
    by_number = make("prophet[growth=logistic,cap=100]").fit(panel, H)
    assert by_name.reasons == {}
    assert np.abs(by_name.y_hat[0] - y[200:]).mean() < 2
    assert by_number.predict(panel, H).reasons == {}
    line = make("prophet", transform="none").fit(panel, H).predict(panel, H)
    assert np.abs(line.y_hat[0] - y[200:]).mean() > np.abs(by_name.y_hat[0] - y[200:]).mean()


def test_series_the_library_cannot_fit_get_the_reason() -> None:
    panel = shops(60, n_series=2)
    options = Prophet(growth="logistic", cap=9000.0).options
    caps = np.full(panel.closed.shape, 9000.0)
    caps[0] = -1.0  # below the floor of the library
    layout = layout_of(panel, H, options)
    found = forecast_rows(panel.y, panel.closed, caps, layout=layout, levels=(0.1, 0.9), seed=7)
    assert found.reasons == {0: "prophet failed: ValueError: cap must be greater than floor (which defaults to 0)."}
    assert (found.y_hat[1] > 0).any()
