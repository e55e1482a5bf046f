"""Every metric against a plain loop, and against a second library where it has the same one."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import utilsforecast.losses as second
from odd_families import busy_weeks, panel_of

from foretail.backtest import metrics
from foretail.backtest.metrics import Evaluation, score

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
N, H, T = 5, 7, 60


@pytest.fixture
def sales():
    """History, actuals with holes, forecasts and quantiles."""
    rng = np.random.default_rng(4)
    history = busy_weeks(N, T)
    y = np.round(rng.gamma(4, 6, (N, H)))
    y_hat = y * rng.uniform(0.6, 1.5, y.shape) + 1
    spread = np.array([-9.0, -5.0, 0.0, 5.0, 9.0])
    quantiles = y_hat[..., None] + spread * rng.uniform(0.3, 1.5, (N, H, 1))
    return history, y, y_hat, quantiles


@pytest.fixture
def with_holes(sales):
    history, y, y_hat, quantiles = sales
    y = y.copy()
    y[0, 2] = y[3, :4] = np.nan
    return history, y, y_hat, quantiles


def cells(y):
    return [(i, j) for i in range(len(y)) for j in range(y.shape[1]) if not math.isnan(y[i, j])]


def test_wape_and_bias(with_holes):
    _, y, y_hat, _ = with_holes
    total = sum(abs(y[c]) for c in cells(y))
    assert metrics.wape(y, y_hat) == pytest.approx(sum(abs(y[c] - y_hat[c]) for c in cells(y)) / total)
    assert metrics.bias(y, y_hat) == pytest.approx(sum(y_hat[c] - y[c] for c in cells(y)) / total)


def test_bias_is_positive_when_forecasts_are_too_high():
    y = np.array([[10.0, 10.0]])
    assert metrics.bias(y, y + 1) == pytest.approx(0.1)
    assert metrics.bias(y, y - 1) == pytest.approx(-0.1)


def plain_scale(series, lag, power):
    pairs = [abs(series[t] - series[t - lag]) ** power for t in range(lag, len(series))]
    pairs = [value for value in pairs if not math.isnan(value)]
    return sum(pairs) / len(pairs) if len(pairs) >= 8 else math.nan


def test_mase_and_rmsse(with_holes):
    history, y, y_hat, _ = with_holes
    scale, squared = metrics.scales(panel_of(history))
    mase, rmsse = [], []
    for i in range(N):
        errors = [y[i, j] - y_hat[i, j] for j in range(H) if not math.isnan(y[i, j])]
        mase.append(sum(map(abs, errors)) / len(errors) / plain_scale(history[i], 7, 1))
        rmsse.append(math.sqrt(sum(error**2 for error in errors) / len(errors) / plain_scale(history[i], 7, 2)))
    assert metrics.mase(y, y_hat, scale) == pytest.approx(sum(mase) / N)
    assert metrics.rmsse(y, y_hat, squared) == pytest.approx(sum(rmsse) / N)


def test_wql_and_coverage(with_holes):
    _, y, _, quantiles = with_holes
    total = sum(abs(y[c]) for c in cells(y))
    losses = []
    for k, level in enumerate(LEVELS):
        loss = 0.0
        for c in cells(y):
            gap = y[c] - quantiles[(*c, k)]
            loss += level * gap if gap > 0 else (level - 1) * gap
        losses.append(2 * loss / total)
    assert metrics.wql(y, quantiles, LEVELS) == pytest.approx(sum(losses) / len(LEVELS))
    inside = [quantiles[(*c, 1)] <= y[c] <= quantiles[(*c, 3)] for c in cells(y)]
    assert metrics.coverage(y, quantiles[..., 1], quantiles[..., 3]) == pytest.approx(sum(inside) / len(inside))
    assert 0 < sum(inside) < len(inside)


def long(y, **columns):
    """Matrices as the long table that the second library reads."""
    ids = np.repeat([f"s{i}" for i in range(len(y))], y.shape[1])
    ds = np.tile(np.arange(y.shape[1]), len(y))
    return pl.DataFrame({"unique_id": ids, "ds": ds, "y": y.ravel(), **{k: v.ravel() for k, v in columns.items()}})


def test_the_second_library_agrees_on_point_metrics(sales):
    history, y, y_hat, _ = sales
    table, past = long(y, m=y_hat), long(history)
    scale, squared = metrics.scales(panel_of(history))
    one = long(y.reshape(1, -1), m=y_hat.reshape(1, -1))  # pooled: one series of all cells
    assert metrics.wape(y, y_hat) == pytest.approx(second.nd(one, ["m"])["m"].item())
    assert metrics.bias(y, y_hat) == pytest.approx(second.bias(one, ["m"])["m"].item() / y.mean())
    theirs = second.mase(table, ["m"], seasonality=7, train_df=past)["m"].mean()
    assert metrics.mase(y, y_hat, scale) == pytest.approx(theirs)
    theirs = second.rmsse(table, ["m"], seasonality=7, train_df=past)["m"].mean()
    assert metrics.rmsse(y, y_hat, squared) == pytest.approx(theirs)


def test_the_second_library_agrees_on_quantiles(sales):
    _, y, _, quantiles = sales
    names = [f"q{k}" for k in range(len(LEVELS))]
    table = long(y.reshape(1, -1), **{name: quantiles[..., k] for k, name in enumerate(names)})
    theirs = second.mqloss(table, {"m": names}, np.array(LEVELS))["m"].item()
    assert metrics.wql(y, quantiles, LEVELS) == pytest.approx(2 * theirs / y.mean())
    table = long(y.reshape(1, -1), **{"m-lo-80": quantiles[..., 1], "m-hi-80": quantiles[..., 3]})
    theirs = second.coverage(table, ["m"], 80)["m"].item()
    assert metrics.coverage(y, quantiles[..., 1], quantiles[..., 3]) == pytest.approx(theirs)


def test_what_cannot_be_computed_is_nan():
    nothing, some = np.zeros((2, 3)), np.ones((2, 3))
    unknown = np.full((2, 3), np.nan)
    for y in (nothing, unknown):
        assert math.isnan(metrics.wape(y, some))
        assert math.isnan(metrics.bias(y, some))
        assert math.isnan(metrics.wql(y, some[..., None], [0.5]))
    assert math.isnan(metrics.coverage(unknown, nothing, some))
    assert math.isnan(metrics.mase(unknown, some, np.ones(2)))


def test_a_scale_is_never_zero_or_nan():
    """Constant, unseen and short series take the scale of the others; 1 where no series has one."""
    y = np.full((4, 60), np.nan)
    y[0] = busy_weeks(1, 60)[0]
    y[1] = 5.0
    y[2, :3] = [1.0, 5.0, 2.0]
    scale, squared = metrics.scales(panel_of(y))
    assert scale[1] == scale[2] == scale[3] == scale[0] == pytest.approx(plain_scale(y[0], 7, 1))
    assert squared[3] == pytest.approx(plain_scale(y[0], 7, 2))
    for lonely in (y[1:2], y[3:4], y[:1, :5]):
        assert metrics.scales(panel_of(lonely))[0].tolist() == [1.0]


def evaluation(y, y_hat, closed=None, quantiles=None):
    closed = np.zeros(y.shape, dtype=bool) if closed is None else closed
    levels = LEVELS if quantiles is not None else ()
    return Evaluation(y, y_hat, closed, np.ones(len(y)), np.ones(len(y)), quantiles, levels)


def test_score_pools_windows_and_compares_with_naive(sales):
    _, y, y_hat, _ = sales
    windows = [evaluation(y[:, :4], y_hat[:, :4]), evaluation(y[:, 4:], y_hat[:, 4:])]
    naive = [evaluation(y[:, :4], y[:, :4] * 2), evaluation(y[:, 4:], y[:, 4:] * 2)]
    scores = score(windows, naive)
    assert scores.wape == pytest.approx(metrics.wape(y, y_hat))
    assert scores.skill == pytest.approx(1 - metrics.wape(y, y_hat))  # an error as large as the sales is 1
    assert math.isnan(scores.coverage_80)
    assert math.isnan(scores.wql)
    assert math.isnan(score(windows).skill)


def test_closed_days_are_zero_in_points_and_left_out_of_coverage():
    """A closed day is no proof of an interval: it is known to be 0."""
    y = np.array([[10.0, 0.0, 20.0, 0.0]])
    closed = y == 0
    wide = np.stack([y * 0 + bound for bound in (-1.0, 0.0, 12.0, 15.0, 18.0)], axis=-1)
    scores = score([evaluation(y, np.full_like(y, 10.0), closed, wide)])
    assert scores.wape == pytest.approx(10 / 30)  # the closed days add no error whatever was forecast
    assert scores.coverage_80 == pytest.approx(0.5)  # 10 is inside [0, 15], 20 is not; the zeros do not count
    assert score([evaluation(y, np.full_like(y, 10.0), None, wide)]).coverage_80 == pytest.approx(0.75)


def test_the_interval_score_is_width_plus_what_is_missed():
    y = np.array([[10.0, 20.0, np.nan], [5.0, 0.0, 1.0]])
    low, high = np.full((2, 3), 4.0), np.full((2, 3), 12.0)
    by_hand = [8, 8 + 40 * 8, 8, 8 + 40 * 4, 8 + 40 * 3]  # 2 / (1 - 0.95) = 40
    assert metrics.interval_score(y, low, high, 0.95) == pytest.approx(sum(by_hand) / 36)
    assert np.isnan(metrics.interval_score(np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 2)), 0.95))
