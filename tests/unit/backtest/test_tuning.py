"""Tuning: what it may see, what it recommends, how it goes on after a stop, and that it keeps to its time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from odd_families import busy_weeks, panel_of
from tunable_families import HANDS, SPACES, TABLE

from foretail.backtest import time_left, tuning
from foretail.backtest.runner import Candidate, run_families
from foretail.backtest.time_left import TimeLeft
from foretail.backtest.trial import DONE, FAILED, STOPPED, Trial
from foretail.backtest.tuning import tune_family, tuning_windows
from foretail.backtest.windows import rolling_windows
from foretail.core.errors import DataError, UsageError
from foretail.models.families import FAMILIES, make
from foretail.models.search import SEARCH

H = 7


@pytest.fixture(autouse=True)
def tunable_families(monkeypatch):
    for name, row in TABLE.items():
        monkeypatch.setitem(FAMILIES, name, row)
        monkeypatch.setitem(SEARCH, name, SPACES[name])


@pytest.fixture(scope="module")
def panel():
    return panel_of(busy_weeks(20))


def told(found):
    """What a search did, without what differs between two machines or two calls."""
    return [(trial.number, trial.name, trial.state, trial.windows, trial.wape) for trial in found.trials]


def first_outer(panel, h=H):
    return min(window.n_periods for window in rolling_windows(panel, h) if window.role == "outer")


@pytest.mark.parametrize("family", ["profile", "boosting[rounds=10]"])
def test_nothing_of_the_outer_windows_targets_reaches_a_trial(panel, family):
    y = panel.y.copy()
    y[:, first_outer(panel) :] = 1e6 * (1 + np.arange(y.shape[0]))[:, None]
    y[0, first_outer(panel) :] = np.nan
    other = replace(panel, y=y)
    ours, theirs = (tune_family(item, H, family, n_trials=5) for item in (panel, other))
    assert told(ours) == told(theirs)
    assert ours.study == theirs.study
    assert ours.verdict == theirs.verdict


def test_the_inner_windows_targets_do_reach_the_trials(panel):
    y = panel.y.copy()
    y[:, first_outer(panel) - 1] += 50
    ours, theirs = (tune_family(item, H, "profile", n_trials=3) for item in (panel, replace(panel, y=y)))
    assert told(ours) != told(theirs)
    assert ours.study != theirs.study


@pytest.mark.parametrize(("n", "h", "freq"), [(420, 7, "D"), (420, 60, "D"), (130, 13, "W-FRI"), (60, 6, "MS")])
def test_windows_end_before_the_first_outer_target(n, h, freq):
    panel = panel_of(busy_weeks(3, n), freq)
    windows = tuning_windows(panel, h)
    assert all(window.n_periods + window.h <= first_outer(panel, h) for window in windows)
    assert all(a.n_periods + a.h <= b.n_periods or a.h < h or b.h < h for a, b in pairwise(windows))


def test_the_defaults_come_first_and_the_better_parameter_is_found_and_recommended(panel):
    found = tune_family(panel, H, "moved", n_trials=25)
    assert found.trials[0].name == "moved"
    assert found.trials[0].params == {"shift": 6.0}
    assert found.default is found.trials[0]
    assert found.recommended == found.best.name != "moved"
    assert abs(found.best.params["shift"]) < 2  # the season itself, which is what the table holds
    assert found.comparison.gain == pytest.approx(1 - found.best.wape / found.default.wape)
    assert found.recommended in found.verdict


def test_a_recommended_name_makes_what_was_measured(panel):
    found = tune_family(panel, H, "moved", n_trials=12)
    for trial in found.trials:
        assert make(trial.name).shift == trial.params["shift"]
    candidate, windows = Candidate(found.recommended), found.windows
    options = {"seed": 7, "n_workers": 1, "deadline": None, "advance": lambda n: None}
    for position, window in enumerate(windows):
        y = panel.y[:, window.n_periods : window.n_periods + window.h]
        forecast = run_families(panel, H, [candidate], [window], **options)[candidate.family].forecasts[0]
        assert found.best.windows[position] == pytest.approx(np.abs(y - forecast).sum() / y.sum())


def test_parameters_in_the_name_stay(panel):
    found = tune_family(panel, H, "moody[mood=well]", n_trials=6)
    assert {trial.state for trial in found.trials} <= {DONE, STOPPED}
    assert all(set(trial.params) == {"shift"} for trial in found.trials)
    assert all(trial.name.startswith("moody[mood=well") for trial in found.trials)


def test_a_trial_is_stopped_when_it_is_clearly_worse_and_only_then(panel):
    found = tune_family(panel, H, "moved", n_trials=25)
    n = len(found.windows)
    stopped = [trial for trial in found.trials if trial.state == STOPPED]
    assert stopped
    for trial in stopped:
        assert 1 <= len(trial.windows) < n
        before = [other for other in found.trials[: trial.number] if other.state == DONE]
        assert trial.windows[-1] > min(other.windows[len(trial.windows) - 1] for other in before)
    assert all(len(trial.windows) == n for trial in found.trials if trial.state == DONE)
    assert found.best.state == DONE


def test_luck_is_not_recommended():
    every = [tune_family(panel_of(busy_weeks(20, seed=s)), H, "lucky", n_trials=20, seed=s) for s in range(6)]
    lucky = [found for found in every if found.best is not found.default]
    assert len(lucky) > 3  # it looks better
    assert all(found.recommended is None for found in every)
    assert all("no more than noise" in found.verdict for found in lucky)


def test_a_parameter_without_effect_leaves_the_defaults_and_the_search_ends(panel):
    found = tune_family(panel, H, "stubborn", n_trials=500)
    assert found.recommended is None
    assert len(found.trials) < 100  # four values were known soon
    assert "keep the defaults of stubborn" in found.verdict


def test_a_failing_trial_costs_itself(panel):
    found = tune_family(panel, H, "moody", n_trials=30)
    failed = [trial for trial in found.trials if trial.state == FAILED]
    assert failed
    assert all("ill today" in trial.reason and "mood=ill" in trial.name for trial in failed)
    assert len(found.trials) == 30
    assert found.recommended
    assert found.best.params["mood"] == "well"
    late = [trial.state == FAILED for trial in found.trials[10:]]
    assert sum(late) < len(late) / 4  # the sampler has learnt to keep away


def test_failing_defaults_end_the_search_with_the_reason(panel):
    found = tune_family(panel, H, "broken", n_trials=15)
    assert len(found.trials) == 1
    assert found.default is found.best is found.recommended is None
    assert found.verdict == "broken failed: ArithmeticError: ill today"


def test_a_study_goes_on_as_if_it_had_not_been_interrupted(panel, tmp_path):
    file = tmp_path / "home" / "studies.db"
    whole = tune_family(panel, H, "moved", n_trials=14)
    tune_family(panel, H, "moved", n_trials=3, file=file)

    def interrupt(study, trial):
        if trial.number == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_family(panel, H, "moved", n_trials=14, file=file, told=interrupt)
    new = []
    found = tune_family(panel, H, "moved", n_trials=14, file=file, told=lambda study, trial: new.append(trial.number))
    assert told(found) == told(whole)
    assert new == [10, 11, 12, 13]
    assert [trial.is_new for trial in found.trials] == [False] * 10 + [True] * 4
    assert found.verdict == whole.verdict


def test_a_trial_interrupted_half_way_is_tried_again(panel, tmp_path, monkeypatch):
    file = tmp_path / "studies.db"
    whole = tune_family(panel, H, "moved", n_trials=4)
    errors = tuning._errors

    def interrupted(question, name, window):
        if name != "moved":
            raise KeyboardInterrupt
        return errors(question, name, window)

    with monkeypatch.context() as patch:
        patch.setattr(tuning, "_errors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune_family(panel, H, "moved", n_trials=4, file=file)
    found = tune_family(panel, H, "moved", n_trials=4, file=file)
    assert [trial[1:] for trial in told(found)] == [trial[1:] for trial in told(whole)]


def test_a_finished_study_is_only_read(panel, tmp_path):
    file = tmp_path / "studies.db"
    first = tune_family(panel, H, "moved", n_trials=5, file=file)
    HANDS.now = 0.0
    again = tune_family(panel, H, "moved", n_trials=5, file=file)
    assert HANDS.now == 0.0  # nothing was fitted
    assert told(again) == told(first)


def test_another_question_is_another_study(panel, tmp_path):
    base = tune_family(panel, H, "moved", n_trials=1).study
    tiny = panel.y.copy()
    tiny[3, 100] += 1e-9
    closed = panel.closed.copy()
    closed[0, 5] = True
    others = [
        tune_family(panel, H, "moved", n_trials=1, seed=8),
        tune_family(panel, 6, "moved", n_trials=1),
        tune_family(panel, H, "moody", n_trials=1),
        tune_family(panel, H, "moody[mood=well]", n_trials=1),
        tune_family(replace(panel, y=tiny), H, "moved", n_trials=1),
        tune_family(replace(panel, closed=closed), H, "moved", n_trials=1),
        tune_family(replace(panel, spec=replace(panel.spec, non_negative=False)), H, "moved", n_trials=1),
    ]
    assert len({base, *(found.study for found in others)}) == 1 + len(others)
    assert tune_family(panel, H, "moved", n_trials=2).study == base


@pytest.fixture
def hands(monkeypatch):
    """Both modules look at a clock that only the fits of `Shifted` move."""
    for module in (tuning, time_left):
        monkeypatch.setattr(module, "time", HANDS.time())
    HANDS.now = 0.0
    return HANDS


@pytest.mark.parametrize("budget", [2, 3, 4, 10, 50, 100, 400, 1000])
def test_no_trial_ends_after_the_deadline_and_the_time_is_used(panel, hands, budget):
    """A fit takes as many seconds as the parameter says, 1 to 30, and every trial three fits."""
    found = tune_family(panel, H, "slow", deadline=budget)
    assert hands.now <= budget
    assert (found.default is not None) == (budget >= 4)  # what a first trial takes is known with a margin
    if budget >= 100:
        assert hands.now >= min(budget, 300) * 0.4
        assert len(found.trials) > 3


def test_with_a_number_and_a_deadline_the_first_that_is_reached_ends_it(panel, hands):
    assert len(tune_family(panel, H, "slow", n_trials=3, deadline=1000).trials) == 3
    hands.now = 0.0
    assert len(tune_family(panel, H, "slow", n_trials=1000, deadline=40).trials) < 30
    assert hands.now <= 40


def test_a_deadline_that_has_passed_is_said(panel, hands):
    found = tune_family(panel, H, "slow", deadline=-1.0)
    assert found.trials == ()
    assert found.verdict == "the time was up before slow was measured with its defaults"


def test_seconds_of_a_window_are_bounded_by_every_window_before(panel):
    left = TimeLeft(None, "slow")
    cheap, dear, middle = (Trial(0, "slow", {"size": size}, DONE) for size in (1, 20, 10))
    assert left.expected(dear) == 0
    left.time_window(cheap, 9.0)  # the first, which also loads a library
    left.time_window(cheap, 2.0)
    assert left.expected(dear) == pytest.approx(1.3 * 2 * 20)
    left.time_window(dear, 12.0)
    assert left.expected(dear) == pytest.approx(1.3 * 12)
    assert left.expected(middle) == pytest.approx(1.3 * 12)
    assert left.expected(cheap) == pytest.approx(1.3 * 2)
    left.time_trial(13.0)
    assert left.longest == pytest.approx(13 - (9 - 2))


def test_a_family_without_parameters_is_refused(panel):
    with pytest.raises(UsageError, match=r"seasonal_naive has nothing to tune.*\n.*\n.*boosting"):
        tune_family(panel, H, "seasonal_naive", n_trials=1)
    with pytest.raises(UsageError, match="gives them all"):
        tune_family(panel, H, "profile[shift=0.5]", n_trials=1)


def test_tables_that_cannot_be_tuned_on_are_refused():
    with pytest.raises(DataError, match="too short"):
        tune_family(panel_of(busy_weeks(2, 12)), 7, "profile", n_trials=1)
    with pytest.raises(DataError, match="nothing was sold"):
        tune_family(panel_of(np.zeros((3, 420))), 7, "profile", n_trials=1)


def test_closed_days_are_forecast_as_nothing(panel):
    closed = np.zeros(panel.y.shape, dtype=np.bool_)
    closed[:, 6::7] = True
    y = np.where(closed, 0.0, panel.y)
    found = tune_family(panel_of(y, closed=closed), H, "moved", n_trials=1)
    window = found.windows[0]
    part = slice(window.n_periods, window.n_periods + window.h)
    season = y[:, window.n_periods - 7 : window.n_periods]
    error = np.where(closed[:, part], 0.0, np.abs(y[:, part] - season - 6)).sum()
    assert found.default.windows[0] == pytest.approx(error / y[:, part].sum())


def test_progress_counts_trials_and_shows_the_best(panel):
    class Board:
        def __init__(self):
            self.names, self.parts, self.texts = [], 0, []

        def stage(self, name, total=1):
            self.names.append((name, total))
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def advance(self, n=1):
            self.parts += n

        def describe(self, text):
            self.texts.append(text)

    board = Board()
    found = tune_family(panel, H, "moved", n_trials=6, progress=board)
    assert board.names == [("tune moved", 6)]
    assert board.parts == 6
    assert board.texts[-1] == f"tune moved: 6 trials, best WAPE {found.best.wape:.4f}"
