"""The backtest as a whole: failures are rows, choices come from inner windows, figures from outer ones."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext

import numpy as np
import polars as pl
import pytest
from odd_families import TABLE, How, LastWeek, busy_weeks, panel_of

from foretail.backtest import runner
from foretail.backtest.metrics import pooled_wape, wape
from foretail.backtest.result import Leaderboard
from foretail.backtest.run import ENSEMBLE, NAIVE, Candidate, backtest
from foretail.core.errors import ForecastError
from foretail.models.contract import Forecaster
from foretail.models.families import FAMILIES
from foretail.models.naive import HistoricAverage, SeasonalNaive

LEVELS = (0.1, 0.5, 0.9)
SOME = (Candidate(NAIVE), Candidate("historic_average"), Candidate("profile"))


@pytest.fixture(autouse=True)
def odd_families(monkeypatch):
    for name, row in TABLE.items():
        monkeypatch.setitem(FAMILIES, name, row)


@pytest.fixture(scope="module")
def panel():
    return panel_of(busy_weeks())


@pytest.fixture(scope="module")
def result(panel):
    return backtest(panel, 7, SOME, levels=LEVELS)


@pytest.fixture
def workers(monkeypatch):
    """Processes for small panels too."""
    monkeypatch.setattr(runner, "_SMALL", 0)
    yield 2
    runner.warm_pool(2).close()


def failing(how: How) -> tuple[Candidate, ...]:
    return (*SOME, Candidate("odd", {"how": how}), Candidate("shifted", {"how": How.NAN}))


def same_scores(ours: Leaderboard, theirs: Leaderboard) -> None:
    for row in theirs.rows:
        assert ours.row(row.model).scores == row.scores


def test_a_family_that_raises_is_a_row_with_its_reason_and_the_run_goes_on(panel, result):
    found = backtest(panel, 7, failing(How.RAISE), levels=LEVELS)
    row = found.leaderboard.row("odd")
    assert list(row.failures) == ["ArithmeticError: no inverse of this matrix"]
    assert not row.chosen
    assert np.isnan(row.scores.wape)  # what answered in its place is not its own
    assert "odd" not in found.weights
    same_scores(found.leaderboard, Leaderboard(tuple(r for r in result.leaderboard.rows if r.model != ENSEMBLE), ()))


def test_a_family_that_raises_in_one_window_only_is_out(panel):
    found = backtest(panel, 7, failing(How.LATE), levels=LEVELS)
    assert found.leaderboard.row("odd").failures["ValueError: too long for me"] >= 1
    assert "odd" not in found.weights


@pytest.mark.parametrize("how", [How.DIE, How.RAISE])
def test_a_family_that_fails_or_dies_in_its_worker_costs_itself(panel, result, workers, how):
    found = backtest(panel, 7, failing(how), levels=LEVELS, n_workers=workers)
    (reason,) = found.leaderboard.row("odd").failures
    assert ("died" if how is How.DIE else "ArithmeticError") in reason
    assert not found.leaderboard.row("shifted").failures
    assert "odd" not in found.weights
    for name in (NAIVE, "historic_average", "profile"):
        assert found.leaderboard.row(name).scores == result.leaderboard.row(name).scores


def test_a_family_without_a_finite_forecast_is_answered_by_the_last_season(panel):
    found = backtest(panel, 7, failing(How.NAN), levels=LEVELS)
    row = found.leaderboard.row("odd")
    assert row.scores.wape == pytest.approx(found.leaderboard.row(NAIVE).scores.wape)
    assert row.failures == {"forecast nothing": panel.n_series * len(found.results)}


def test_every_family_that_was_asked_for_failing_is_an_error_that_tells_the_reason(panel):
    with pytest.raises(ForecastError, match="every family failed") as caught:
        backtest(panel, 7, (Candidate("odd", {"how": How.RAISE}),), levels=LEVELS)
    assert "odd: ArithmeticError" in str(caught.value)


def test_not_even_the_last_season_is_an_error_that_tells_each_reason(panel, monkeypatch):
    def broken(self: Forecaster, *_: object) -> None:
        raise OSError("no disk")

    monkeypatch.setattr(SeasonalNaive, "predict", broken)
    with pytest.raises(ForecastError, match="every family failed") as caught:
        backtest(panel, 7, (Candidate(NAIVE), Candidate("odd", {"how": How.RAISE})), levels=LEVELS)
    assert "seasonal_naive: OSError: no disk" in str(caught.value)
    assert "odd: ArithmeticError" in str(caught.value)


def test_a_tiny_budget_leaves_families_out_and_says_so(panel):
    found = backtest(panel, 7, SOME, levels=LEVELS, budget_s=1e-6)
    assert found.leaderboard.row("profile").failures == {"out of time": 1}
    assert found.chosen == NAIVE


def test_a_budget_that_runs_out_on_the_way_keeps_what_is_done(panel, monkeypatch):
    """Seasonal naive comes first; the second family uses all of the time."""
    now = [time.monotonic()]
    monkeypatch.setattr(runner.time, "monotonic", lambda: now[0])
    predict = HistoricAverage.predict

    def slow(self, panel, h):
        now[0] += 10
        return predict(self, panel, h)

    monkeypatch.setattr(HistoricAverage, "predict", slow)
    found = backtest(panel, 7, SOME, levels=LEVELS, budget_s=30)
    assert found.leaderboard.row(NAIVE).failures == {}
    assert found.leaderboard.row("historic_average").failures == {"out of time": 1}
    assert found.leaderboard.row("profile").failures == {}


def test_the_leaderboard_is_sorted_and_marks_one(result):
    rows = result.leaderboard.rows
    assert [row.scores.wape for row in rows] == sorted(row.scores.wape for row in rows)
    assert [row.model for row in rows if row.chosen] == [result.chosen]
    assert {row.model for row in rows} >= {NAIVE, "historic_average", "profile"}
    assert result.leaderboard.row(NAIVE).scores.skill == pytest.approx(0.0)


def test_seasonal_naive_is_added_when_nobody_asked_for_it(panel):
    found = backtest(panel, 7, (Candidate("profile"),), levels=LEVELS)
    assert NAIVE in {row.model for row in found.leaderboard.rows}


def test_scores_are_those_of_the_outer_windows(panel, result):
    outer = [item for item in result.results if item.window.role == "outer"]
    for row in result.leaderboard.rows:
        y = np.concatenate([item.y for item in outer], axis=1)
        y_hat = np.concatenate([item.forecasts[row.model] for item in outer], axis=1)
        assert row.scores.wape == pytest.approx(wape(y, y_hat))
        assert list(row.windows) == [item.window.cutoff for item in outer]
    naive = np.concatenate([panel.y[:, item.window.n_periods - 7 : item.window.n_periods] for item in outer], axis=1)
    assert result.leaderboard.row(NAIVE).scores.wape == pytest.approx(wape(y, naive))


def test_the_choice_does_not_look_at_the_outer_windows(panel):
    """Other sales in the outer windows change the figures and neither weights nor inner scores."""
    first = backtest(panel, 7, SOME, levels=LEVELS)
    outer = min(item.window.n_periods for item in first.results if item.window.role == "outer")
    y = panel.y.copy()
    y[:, outer:] *= np.random.default_rng(0).uniform(0.9, 1.1, y[:, outer:].shape)
    second = backtest(panel_of(y), 7, SOME, levels=LEVELS)
    assert {row.model for row in second.leaderboard.rows} == {row.model for row in first.leaderboard.rows}
    for row in first.leaderboard.rows:
        assert second.leaderboard.row(row.model).inner_wape == row.inner_wape
        assert second.leaderboard.row(row.model).scores.wape != row.scores.wape


def test_a_model_that_wins_inside_and_loses_outside_gives_way_to_seasonal_naive():
    """The pattern turns round in the outer windows only, where the last week again is right from the second on."""
    y = np.full((3, 420), 20.0) + np.random.default_rng(0).normal(0, 4, (3, 420))
    y[:, -14:] = np.tile([90.0, 5, 60, 2, 75, 9, 30], 2)
    found = backtest(panel_of(y), 7, (Candidate("historic_average"),), levels=LEVELS)
    board = found.leaderboard
    assert board.row("historic_average").inner_wape < board.row(NAIVE).inner_wape
    assert board.row("historic_average").scores.wape > board.row(NAIVE).scores.wape
    assert found.chosen == NAIVE
    assert found.weights == {NAIVE: 1.0}


def test_one_outer_window_alone_does_not_bring_seasonal_naive_back():
    """Less than a year of days leaves one; there the last week was right for once, in the inner ones never."""
    y = np.full((3, 200), 20.0) + np.random.default_rng(0).normal(0, 4, (3, 200))
    y[:, -7:] = y[:, -14:-7]
    found = backtest(panel_of(y), 7, (Candidate("historic_average"),), levels=LEVELS)
    board = found.leaderboard
    assert [item.window.role for item in found.results].count("outer") == 1
    assert board.row("historic_average").scores.wape > board.row(NAIVE).scores.wape == 0.0
    assert found.chosen != NAIVE


def test_a_prior_counts_where_few_series_were_measured():
    """The same two series, alone and eighty times: in four windows of a week they are 56 periods, 4,480 the others."""
    few = busy_weeks(2)
    alone, among_many = (
        backtest(panel_of(y), 7, SOME, levels=LEVELS).measured["profile"] for y in (few, np.tile(few, (80, 1)))
    )
    assert 250 / (250 + 56) < alone < 1.0
    assert among_many < 0.7


def test_a_tie_with_seasonal_naive_is_seasonal_naive():
    y = np.tile([3.0, 5, 8, 1, 9, 4, 2], (2, 20))
    found = backtest(panel_of(y), 7, (Candidate("profile"), Candidate("odd", {"how": How.NAN})), levels=LEVELS)
    assert found.chosen == NAIVE


def test_nothing_sold_anywhere_is_answered_by_seasonal_naive():
    found = backtest(panel_of(np.zeros((2, 60))), 7, SOME, levels=LEVELS)
    assert found.chosen == NAIVE
    assert math.isnan(found.leaderboard.chosen.scores.wape)
    assert found.leaderboard.to_dict()["rows"][0]["scores"]["wape"] is None
    assert Leaderboard.from_dict(found.leaderboard.to_dict()).chosen.model == NAIVE


def test_closed_days_are_zero_in_the_frame_and_not_counted_in_coverage():
    """Every actual on open days is far outside what was ever seen; closed days alone would make coverage large."""
    y = busy_weeks(3)
    closed = np.zeros((3, 427), dtype=bool)
    closed[:, 6::7] = True
    y[closed[:, :420]] = 0.0
    first = backtest(panel_of(y, closed=closed), 7, SOME, levels=LEVELS)
    outer = min(item.window.n_periods for item in first.results if item.window.role == "outer")
    wild = y.copy()
    wild[:, outer:] = np.where(closed[:, outer:420], 0.0, 1e5)
    found = backtest(panel_of(wild, closed=closed), 7, SOME, levels=LEVELS)
    first_outer = found.leaderboard.chosen.windows[min(found.leaderboard.chosen.windows)]
    assert first_outer.coverage_80 == 0.0
    assert 0.5 < first.leaderboard.chosen.scores.coverage_80 <= 1.0
    shut = first.frame.filter(pl.col("ds").dt.weekday() == 6)  # 2021-01-10 and every 7th day from 2021-01-16
    assert shut.height == 2 * 3
    assert shut.select("y", "y_hat", "q2_5", "q97_5").sum().sum_horizontal().item() == 0


def test_the_frame_holds_every_scored_cell_with_ordered_quantiles(panel, result):
    frame = result.frame
    assert frame.columns[:6] == ["unique_id", "ds", "cutoff", "step", "y", "y_hat"]
    outer = [item for item in result.results if item.window.role == "outer"]
    assert frame.height == sum(int(np.isfinite(item.y).sum()) for item in outer)
    assert ((frame["ds"] - frame["cutoff"]).dt.total_days() == frame["step"]).all()
    quantiles = frame.select(name for name in frame.columns if name.startswith("q"))
    assert quantiles.columns == ["q2_5", "q10", "q50", "q90", "q97_5"]
    values = quantiles.drop_nulls().to_numpy()
    assert len(values) == frame.height
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values >= 0).all()


def test_any_mix_can_be_scored_on_the_outer_windows(result):
    own = result.wape_of(result.measured)
    assert set(own) == {f"{i.window.cutoff}+{i.window.h}" for i in result.results if i.window.role == "outer"}
    by_cutoff = {key.split("+")[0]: value for key, value in own.items()}
    scored = result.leaderboard.chosen.windows
    assert by_cutoff == {cutoff: pytest.approx(scores.wape) for cutoff, scores in scored.items()}


def test_the_ensemble_that_goes_on_is_weighted_on_every_window_and_scored_without_the_outer_ones():
    calm, rough = busy_weeks(), busy_weeks()
    rough[:, -14:] *= np.random.default_rng(2).uniform(0.5, 1.5, (4, 14))  # the outer windows: no week repeats another
    calm, rough = (backtest(panel_of(y), 7, SOME, levels=LEVELS) for y in (calm, rough))
    assert calm.chosen == rough.chosen == "ensemble"
    assert calm.measured == rough.measured
    assert calm.weights[NAIVE] > rough.weights[NAIVE]
    for found in (calm, rough):
        assert set(found.weights) == set(found.measured)
        assert found.mixture.shares() == found.weights
        assert found.weights != found.measured


def test_a_global_family_that_knew_no_whole_year_is_fitted_again_where_one_is_known(monkeypatch):
    fits = []
    monkeypatch.setattr(LastWeek, "fit", lambda self, panel, h: fits.append(panel.n_periods) or self)
    found = backtest(panel_of(busy_weeks(n=405)), 7, (Candidate("shifted", {"how": How.NAN}),), levels=LEVELS)
    assert [item.window.n_periods for item in found.results] == [363, 370, 377, 384, 391, 398]
    assert fits == [363, 377]  # a year and the horizon are 372 days


def test_windows_before_a_whole_year_was_known_choose_nothing_where_one_is_known_now():
    rough = busy_weeks(n=405)
    rough[:, 363:370] *= np.random.default_rng(2).uniform(0.2, 3.0, (4, 7))  # the targets of the first window
    calm, rough = (backtest(panel_of(y), 7, SOME, levels=LEVELS) for y in (busy_weeks(n=405), rough))
    assert [item.window.n_periods for item in rough.results] == [363, 370, 377, 384, 391, 398]
    for found in (calm, rough):
        telling = found.results[2:4]  # of the inner ones, those with a year and the horizon, 372 days, behind them
        expected = pooled_wape([item.y for item in telling], [item.forecasts[NAIVE] for item in telling])
        assert found.leaderboard.row(NAIVE).inner_wape == pytest.approx(expected)
    assert rough.leaderboard.row(NAIVE).inner_wape == pytest.approx(calm.leaderboard.row(NAIVE).inner_wape)


@pytest.mark.parametrize("budget_s", [None, 1000.0])
def test_workers_change_no_bit(panel, workers, budget_s):
    candidates = (*SOME, Candidate("shifted", {"how": How.NAN}), Candidate("boosting", {"rounds": 30}))
    here = backtest(panel, 7, candidates, levels=LEVELS)
    there = backtest(panel, 7, candidates, levels=LEVELS, n_workers=workers, budget_s=budget_s)
    for one, other in zip(here.results, there.results, strict=True):
        for name, y_hat in one.forecasts.items():
            np.testing.assert_array_equal(other.forecasts[name], y_hat)


def test_series_that_had_not_begun_are_not_scored():
    y = busy_weeks(3)
    y[2, :415] = np.nan
    found = backtest(panel_of(y), 7, SOME, levels=LEVELS)
    for item in found.results:
        assert np.isnan(item.y[2]).all()
        assert np.isfinite(item.y[:2]).all()
    assert all(math.isfinite(row.scores.wape) for row in found.leaderboard.rows)


def test_progress_counts_every_window_of_every_family(panel):
    seen = []

    class Counting:
        def stage(self, name, total=1):
            seen.append((name, total))
            return nullcontext(self)

        def advance(self, n=1):
            seen.append(n)

    backtest(panel, 7, SOME, levels=LEVELS, progress=Counting())
    assert seen[0][0] == "backtest"
    assert sum(seen[1:]) == seen[0][1]
