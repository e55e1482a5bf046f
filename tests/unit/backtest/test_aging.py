"""How fast a version ages: windows, ages, what a refit buys, and families that cannot age."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from odd_families import panel_of

from foretail.backtest.aging import EVERY, NEVER, aging, aging_windows
from foretail.core.errors import DataError
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.families import FAMILIES, Family

H = 7


class Remembers(Forecaster):
    """Says for ever the mean of the last season that it was fitted on."""

    tags = Tags(local=False)
    fits = 0

    def __init__(self, *, random_state=7, n_threads=1):
        self.random_state, self.n_threads = random_state, n_threads

    def fit(self, panel, h):
        type(self).fits += 1
        self.level = np.nanmean(panel.y[:, -H:], axis=1)
        return self

    def predict(self, panel, h):
        return Forecast(np.repeat(self.level[:, None], h, axis=1))

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def remembers(monkeypatch):
    monkeypatch.setitem(FAMILIES, "remembers", Family(f"{__name__}:Remembers", "its first mean"))
    monkeypatch.setattr(Remembers, "fits", 0)


@pytest.fixture(scope="module")
def growing():
    """Sales that grow without end: the older a level, the worse."""
    t = np.arange(300)
    return panel_of(np.stack([50 + 0.5 * t, 80 + 1.0 * t]))


def test_windows_are_evenly_spaced_and_end_with_the_history(growing):
    windows = aging_windows(growing, H)
    origins = [window.n_periods for window in windows]
    assert 3 <= len(origins) <= 12
    assert origins[-1] == growing.n_periods - H
    assert len(set(np.diff(origins))) == 1
    assert origins[0] >= growing.n_periods // 2
    assert windows[0].cutoff == str(growing.dates(origins[0] - 1, 1)[0])


@pytest.mark.parametrize("n", [21, 22, 30, 60, 500, 900])
def test_any_history_with_room_has_three_windows_that_fit(n):
    panel = panel_of(np.ones((1, n)))
    windows = aging_windows(panel, H)
    assert len(windows) >= 3
    assert all(H <= window.n_periods <= n - H for window in windows)


def test_a_history_without_room_says_so():
    with pytest.raises(DataError, match="too short to say how a version ages") as told:
        aging_windows(panel_of(np.ones((1, 15))), H)
    assert "--horizon 2" in str(told.value)


def test_what_is_learned_once_gets_worse_with_age_and_a_refit_makes_it_young(growing):
    found = aging(growing, H, "remembers", every=3)
    losses = [row.loss for row in found.by_age(NEVER)]
    assert losses[0] == 0
    assert (np.diff(losses) > 0).all()
    (refit,) = [way for way in found.windows if way not in (NEVER, EVERY)]
    assert refit == "every 3 windows"
    assert 0 < found.overall(refit).loss < found.overall(NEVER).loss
    assert [row.age // found.step for row in found.by_age(refit)] == [0, 1, 2]
    assert found.overall(EVERY).loss == 0
    assert found.fits_ahead


def test_a_budget_leaves_windows_out_and_says_how_many(growing):
    every = aging(growing, H, "remembers", budget_s=3600)
    few = aging(growing, H, "remembers", budget_s=0)
    assert every.left_out == 0
    assert 3 <= len(few.windows[NEVER]) < len(every.windows[NEVER])
    assert few.left_out == len(every.windows[NEVER]) - len(few.windows[NEVER])
    assert few.windows[NEVER][0] == every.windows[NEVER][0]
    assert few.step % every.step == 0
    assert set(few.windows[EVERY]) <= set(every.windows[EVERY])
    assert json.loads(json.dumps(few.to_dict()))["windows_left_out"] == few.left_out


def test_each_window_is_fitted_once_however_many_ways_there_are(growing):
    aging(growing, H, "remembers", every=3)
    assert Remembers.fits == len(aging_windows(growing, H))


def test_sums_are_those_of_a_plain_loop(growing):
    found = aging(growing, H, "remembers")
    first, last = aging_windows(growing, H)[0], aging_windows(growing, H)[-1]
    level = growing.y[:, first.n_periods - H : first.n_periods].mean(1)
    error = sum(
        abs(growing.y[row, last.n_periods + step] - level[row]) for row in range(growing.n_series) for step in range(H)
    )
    oldest = found.windows[NEVER][-1]
    assert oldest.error == pytest.approx(error)
    assert oldest.age == last.n_periods - first.n_periods
    assert oldest.fitted == first.cutoff
    assert oldest.cutoff == last.cutoff


def test_a_family_that_learns_where_it_forecasts_does_not_age(growing):
    found = aging(growing, H, "seasonal_naive", every=2)
    assert not found.fits_ahead
    assert all(row.loss == 0 for row in found.by_age(NEVER))
    assert "does not age" in found.verdict()


def test_a_family_that_fits_forecasts_from_the_newest_sales(growing):
    """Boosting, fitted once: its forecast a hundred days later is nowhere near the level of its fit."""
    found = aging(growing, H, "boosting", {"rounds": 20})
    oldest = found.by_age(NEVER)[-1]
    assert oldest.wape < 0.5 * aging(growing, H, "remembers").by_age(NEVER)[-1].wape


def test_closed_days_are_forecast_as_nothing():
    y = np.tile(np.r_[np.full(6, 10.0), 0.0], 40)[None, :]
    closed = np.tile(np.r_[np.zeros(6), 1], 41)[None, : y.shape[1] + H].astype(bool)
    panel = replace(panel_of(y), closed=closed)
    found = aging(panel, H, "remembers")
    assert found.windows[NEVER][0].error == pytest.approx(6 * (10 - 60 / 7))


def test_json_holds_every_way_and_no_nan(growing):
    found = aging(growing, H, "remembers", every=4)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(told["ways"]) == [NEVER, "every 4 windows", EVERY]
    assert len(told["ways"][NEVER]["windows"]) == len(aging_windows(growing, H))
    assert told["verdict"] == found.verdict()
    nothing = aging(panel_of(np.zeros((1, 100))), H, "remembers").to_dict()
    json.dumps(nothing, allow_nan=False)
    assert nothing["ways"][NEVER]["overall"]["wape"] is None
