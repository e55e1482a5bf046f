"""No feature sees past its cutoff, and training rows hold exactly what a forecast made at their cutoff would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_maker import make_panel

from foretail.features import frame
from foretail.features.asof import Plan, plan_features
from foretail.features.frame import Rows, forecast_rows, training_cutoffs, training_rows
from foretail.features.space import Space
from foretail.panel.panel import Panel, Revisions

H = 5
FREQS = ("D", "W-WED", "ME")


def rows_at(panel: Panel, cutoff: int, space: str) -> tuple[Plan, Rows]:
    """The plan and the features of every series and step, as known at the close of a column."""
    seen = panel.as_of(cutoff + 1, H)
    plan = plan_features(seen, Space(space))
    return plan, forecast_rows(seen, plan, H)


def assert_same_rows(first: Rows, second: Rows) -> None:
    assert first.names == second.names
    for column, name in enumerate(first.names):
        assert first.x[:, column].tobytes() == second.x[:, column].tobytes(), name
    for name in ("series", "step", "reference", "unit", "scale"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


def changed_after(panel: Panel, cutoff: int, rng: np.random.Generator) -> Panel:
    """Other sales, past covariates and corrections after the cutoff; other known values beyond the horizon; or none."""
    n, length = panel.y.shape
    later = np.arange(length) > cutoff
    y = np.where(later, rng.choice([np.nan, 0.0, -5.0, 1e9], panel.y.shape), panel.y)
    panel = _corrected_later(replace(panel, y=y), cutoff, rng)
    past = []
    for item in panel.past:
        published = np.arange(length) <= cutoff - item.delay
        noise = rng.choice([np.nan, -1e6, 1e6], (n, length))
        past.append(replace(item, values=np.where(published, item.values, noise).astype(np.float32)))
    beyond = np.arange(panel.closed.shape[1]) > cutoff + H
    known = tuple(
        replace(item, values=np.where(beyond, np.float32(2.0), item.values).astype(np.float32)) for item in panel.known
    )
    closed = np.where(beyond, rng.random(panel.closed.shape) < 0.5, panel.closed)
    changed = replace(panel, past=tuple(past), known=known, closed=closed)
    return _shorter(changed, cutoff, int(rng.integers(0, length - cutoff)))


def _corrected_later(panel: Panel, cutoff: int, rng: np.random.Generator) -> Panel:
    """Drop half of the corrections that came after the cutoff and add others."""
    told = panel.revisions
    assert told is not None
    keep = (told.known_at <= panel.start + cutoff) | (rng.random(len(told.row)) < 0.5)
    new = rng.integers(0, panel.n_series, 30), rng.integers(0, cutoff + 1, 30)
    seen = panel.as_of(cutoff + 1).y[new]
    row, period = np.r_[told.row[keep], new[0], new[0]], np.r_[told.period[keep], np.tile(new[1] + panel.start, 2)]
    known_at = np.r_[told.known_at[keep], np.full(30, panel.start + cutoff), np.full(30, panel.start + cutoff + 1)]
    y = panel.y.copy()
    y[new] = 12345.0
    revisions = Revisions(row, period, known_at, np.r_[told.y[keep], seen, np.full(30, 12345.0)])
    return replace(panel, y=y, revisions=revisions)


def _shorter(panel: Panel, cutoff: int, more: int) -> Panel:
    """The same table some periods after the cutoff."""
    length = cutoff + 1 + more
    return replace(
        panel,
        y=panel.y[:, :length],
        closed=panel.closed[:, : length + H],
        known=tuple(replace(item, values=item.values[:, : length + H]) for item in panel.known),
        past=tuple(replace(item, values=item.values[:, :length]) for item in panel.past),
    )


@given(
    freq=st.sampled_from(FREQS),
    space=st.sampled_from(["log", "level"]),
    seed=st.integers(0, 2**16),
    cutoff=st.integers(20, 140),
)
@settings(max_examples=40, deadline=None)
def test_nothing_after_the_cutoff_moves_a_feature(freq: str, space: str, seed: int, cutoff: int) -> None:
    panel = make_panel(freq, seed)
    plan, rows = rows_at(panel, cutoff, space)
    other_plan, other = rows_at(changed_after(panel, cutoff, np.random.default_rng(seed)), cutoff, space)
    assert other_plan == plan
    assert_same_rows(other, rows)


@pytest.mark.parametrize("part", ["y", "past", "known"])
def test_the_property_would_see_a_leak(part: str) -> None:
    """What lies at the cutoff, or in the horizon for known covariates, does move features."""
    panel = make_panel("D", 1)
    cutoff = 140
    if part == "y":
        y = panel.y.copy()
        y[:, cutoff] = 777.0
        changed = replace(panel, y=y, revisions=None)
    elif part == "past":
        moved = [replace(item, values=item.values + (np.arange(150) == cutoff - item.delay)) for item in panel.past]
        changed = replace(panel, past=tuple(moved))
    else:
        flipped = [replace(item, values=1 - item.values) for item in panel.known]
        changed = replace(panel, known=tuple(flipped))
    plan = plan_features(panel.as_of(cutoff + 1, H), Space("log"))
    first, second = (forecast_rows(item.as_of(cutoff + 1, H), plan, H).x for item in (panel, changed))
    moved_features = (~((first == second) | (np.isnan(first) & np.isnan(second)))).any(0).sum()
    assert moved_features >= 2


@given(freq=st.sampled_from(FREQS), space=st.sampled_from(["log", "level"]), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_training_rows_are_the_forecast_rows_of_their_cutoff(freq: str, space: str, seed: int) -> None:
    panel = make_panel(freq, seed)
    plan = plan_features(panel, Space(space))
    cutoffs = training_cutoffs(panel, H, 9, 10**9)[:4]
    trained = training_rows(panel, plan, H, cutoffs, 10**9, seed)
    assert set(trained.cutoff) == set(cutoffs)
    for cutoff in cutoffs:
        ahead = forecast_rows(panel.as_of(int(cutoff) + 1, H), plan, H)
        here = trained.cutoff == cutoff
        same = trained.series[here] * H + trained.step[here] - 1
        assert trained.x[here].tobytes() == ahead.x[same].tobytes()
        assert trained.reference[here].tobytes() == ahead.reference[same].tobytes()
        assert trained.scale[here].tobytes() == ahead.scale[same].tobytes()


def test_targets_are_the_observed_open_sales_after_the_cutoff() -> None:
    panel = make_panel("D", 4)
    plan = plan_features(panel, Space("log"))
    rows = training_rows(panel, plan, H, np.array([100, 148]), 10**9, 0)
    found = {(int(c), int(s), int(k)) for c, s, k in zip(rows.cutoff, rows.series, rows.step, strict=True)}
    wanted = {
        (cutoff, row, step)
        for cutoff in (100, 148)
        for row in range(6)
        for step in range(1, H + 1)
        if cutoff + step < 150 and np.isfinite(panel.y[row, cutoff + step]) and not panel.closed[row, cutoff + step]
    }
    assert found == wanted
    y = Space("log").inverse(rows.reference + rows.unit * rows.target, rows.scale)
    np.testing.assert_allclose(y, panel.y[rows.series, rows.cutoff + rows.step], atol=1e-9)


def test_unpublished_values_are_not_used_when_the_future_is_not_given() -> None:
    """Without future columns too, the delay of a past covariate holds."""
    panel = make_panel("D", 5)
    plan = plan_features(panel, Space("log"))
    bare = replace(
        panel,
        closed=panel.closed[:, :150],
        known=tuple(replace(item, values=item.values[:, :150]) for item in panel.known),
    )
    early = replace(bare, past=tuple(replace(item, values=np.nan_to_num(item.values, nan=1e6)) for item in bare.past))
    column = forecast_rows(bare, plan, H).names.index("past_weather")
    assert forecast_rows(early, plan, H).x[:, column].tobytes() == forecast_rows(bare, plan, H).x[:, column].tobytes()


def test_a_sample_is_drawn_when_there_are_too_many_rows() -> None:
    panel = make_panel("D", 6)
    plan = plan_features(panel, Space("log"))
    cutoffs = training_cutoffs(panel, H, 1, 10**9)
    everything = training_rows(panel, plan, H, cutoffs, 10**9, 0)
    some = training_rows(panel, plan, H, cutoffs, len(everything) // 3, 0)
    again = training_rows(panel, plan, H, cutoffs, len(everything) // 3, 0)
    assert abs(len(some) - len(everything) / 3) < 4 * np.sqrt(len(everything))
    assert some.x.tobytes() == again.x.tobytes()


@pytest.mark.parametrize("cutoffs", [[], [2]])
def test_no_rows_are_no_error(cutoffs: list[int]) -> None:
    panel = make_panel("D", 7)
    panel = replace(panel, y=np.where(np.arange(150) > 2, np.nan, panel.y), revisions=None)
    plan = plan_features(panel, Space("log"))
    rows = training_rows(panel, plan, H, np.array(cutoffs, dtype=np.int64), 100, 0)
    assert len(rows) == 0
    assert rows.x.shape == (0, len(rows.names))


def test_cutoffs_are_inside_the_history_and_newest_first() -> None:
    for freq in FREQS:
        for length in (1, 2, 5, 12, 30, 60, 150):
            cutoffs = training_cutoffs(make_panel(freq, 0, length=max(length, 1)), H, 3, 10**9)
            assert (np.diff(cutoffs) < 0).all()
            assert ((cutoffs >= 0) & (cutoffs <= length - 2)).all()
    # a horizon of rows even where half a year leaves little room
    assert len(training_cutoffs(make_panel("D", 0, length=200), 7, 21, 10**9)) >= 8
    assert np.diff(training_cutoffs(make_panel("D", 0, length=800), 7, 21, 10**9)).max() == -21


def test_young_weekly_panels_are_learned_from_early_and_often() -> None:
    panel = make_panel("W-SUN", 0, length=60)
    np.testing.assert_array_equal(training_cutoffs(panel, 8, 3, 10**9), np.arange(58, 18, -1))
    n_rows = panel.n_series * 8 * 40
    assert np.diff(training_cutoffs(panel, 8, 3, n_rows // 2)).max() == -2
    assert np.diff(training_cutoffs(panel, 8, 3, 1)).max() == -3  # never further apart than asked
    assert training_cutoffs(make_panel("W-SUN", 0, length=300), 8, 3, 1)[-1] >= 51  # a year stays, where there is one
    panel = make_panel("W-SUN", 0, length=100)
    assert training_cutoffs(panel, 8, 3, 10**9)[-1] == 32  # a third
    assert training_cutoffs(panel, 8, 3, 100)[-1] >= 51  # there are rows enough that know a year


def test_a_sample_of_many_series_takes_whole_stretches_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a few rows of every series would do, some series are left out at a cutoff; the rows are what they are."""
    panel = make_panel("D", 4, n_series=300, length=200, h=28)
    plan, h = plan_features(panel, Space("log")), 28
    cutoffs = training_cutoffs(panel, h, 7, 10**9)
    every = training_rows(panel, plan, h, cutoffs, 10**9, 7)
    thin = training_rows(panel, plan, h, cutoffs, len(every) // 14, 7)
    assert set(thin.cutoff) == set(every.cutoff)  # a little of everybody, while the panel is small
    monkeypatch.setattr(frame, "_MANY_SERIES", 300)
    few = training_rows(panel, plan, h, cutoffs, len(every) // 14, 7)
    assert len(set(few.cutoff)) < len(set(every.cutoff))
    assert len(few) == pytest.approx(len(every) / 14, rel=0.15)
    blocks = {(int(c), int(s)) for c, s in zip(few.cutoff, few.series, strict=True)}
    assert len(few) / len(blocks) > 4
    place = {
        (int(c), int(s), int(k)): i
        for i, (c, s, k) in enumerate(zip(every.cutoff, every.series, every.step, strict=True))
    }
    at = [place[int(c), int(s), int(k)] for c, s, k in zip(few.cutoff, few.series, few.step, strict=True)]
    np.testing.assert_array_equal(few.x, every.x[at])
    np.testing.assert_array_equal(few.target, every.target[at])
    assert len(np.unique(few.series)) > 0.9 * panel.n_series  # over all cutoffs everybody has a say
