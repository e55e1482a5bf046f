"""Rolling windows of any panel: inside it, targets of inner and outer apart, and never a surprise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_families import panel_of

from foretail.backtest.windows import rolling_windows
from foretail.core.errors import DataError

FREQS = st.sampled_from(["D", "W-FRI", "W-MON", "MS", "ME"])


def long_panel(n, freq="D"):
    return panel_of(np.ones((1, n)), freq)


def check(windows, length, h):
    """What holds for every set of windows."""
    assert windows
    assert [w.n_periods for w in windows] == sorted(w.n_periods for w in windows)
    assert len({w.n_periods for w in windows}) == len(windows)
    for window in windows:
        assert 1 <= window.h <= h
        assert window.n_periods >= 1
        assert window.n_periods + window.h <= length
    targets = {
        role: {w.n_periods + step for w in windows if w.role == role for step in range(w.h)}
        for role in ("inner", "outer")
    }
    assert targets["outer"]
    assert not targets["inner"] & targets["outer"]
    assert max(targets["outer"]) == length - 1
    assert all(inner < outer for inner, outer in itertools.product(targets["inner"], targets["outer"]))


@settings(max_examples=400, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 120),
    FREQS,
    st.integers(1, 4),
    st.integers(1, 4),
    st.none() | st.integers(1, 60),
)
def test_any_length_horizon_and_frequency(length, h, freq, n_outer, n_inner, step_size):
    panel = long_panel(length, freq)
    try:
        windows = rolling_windows(panel, h, n_outer=n_outer, n_inner=n_inner, step_size=step_size)
    except DataError as error:
        assert "too short" in str(error)
        assert length <= max(h, 120) // 2 + 10
        return
    check(windows, length, h)
    assert sum(w.role == "outer" for w in windows) <= n_outer
    assert sum(w.role == "inner" for w in windows) <= n_inner


@pytest.mark.parametrize("freq", ["D", "W-FRI", "MS"])
def test_a_long_history_gets_whole_windows_side_by_side(freq):
    year = panel_of(np.ones((1, 2)), freq).frequency.year_length
    length, h = 3 * year + 60, 12
    windows = rolling_windows(long_panel(length, freq), h)
    assert [w.role for w in windows] == ["inner"] * 4 + ["outer"] * 2
    assert [w.h for w in windows] == [h] * 6
    assert [w.n_periods for w in windows] == [length - back * h for back in (6, 5, 4, 3, 2, 1)]


def test_a_cutoff_is_the_date_of_the_last_column_seen():
    panel = long_panel(800)
    for window in rolling_windows(panel, 14):
        assert window.cutoff == str(panel.dates(window.n_periods - 1, 1)[0])


def test_too_little_history_says_how_much_is_needed():
    with pytest.raises(DataError, match="too short for a backtest of 7 steps") as caught:
        rolling_windows(long_panel(8), 7)
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    check(rolling_windows(long_panel(needed), 7), needed, 7)
    with pytest.raises(DataError):
        rolling_windows(long_panel(needed - 1), 7)
