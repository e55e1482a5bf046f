"""Each pattern of demand from sales made to have it; nothing but the past counts, and the bounds are those stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from foretail.core.spec import DatasetSpec
from foretail.panel.panel import Panel
from foretail.panel.segments import NAMES, segments, silence, strength

LENGTH = {"D": 800, "W-SUN": 170, "MS": 60}


def panel_of(y: Any, freq: str = "D", closed: Any = None, h: int = 4) -> Panel:
    y = np.atleast_2d(np.asarray(y, dtype=float))
    spec = DatasetSpec(keys=("item",), time="day", target="units", freq=freq, horizon=h)
    names = [str(row) for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "item": names})
    shut = np.zeros((len(y), y.shape[1] + h), dtype=bool)
    if closed is not None:
        shut[:, : y.shape[1]] = closed
    start = int(spec.frequency.to_index(np.asarray(np.datetime64("2021-03-01"))))
    return Panel(spec, series, start, y, shut)


def patterns(freq: str, seed: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = LENGTH[freq]
    season = {"D": 7, "W-SUN": 52, "MS": 12}[freq]
    now_and_then = np.where(rng.random(t) < 0.4, 1.0, 0.0)
    now_and_then[-1] = 1.0
    return {
        "smooth": rng.normal(100, 15, t),
        "seasonal": 100 + 60 * np.sin(2 * np.pi * np.arange(t) / season) + rng.normal(0, 10, t),
        "intermittent": now_and_then * rng.integers(4, 7, t),
        "lumpy": now_and_then * np.where(rng.random(t) < 0.15, 60, 2),
        "new": np.where(np.arange(t) >= t - {"D": 100, "W-SUN": 20, "MS": 5}[freq], rng.normal(50, 5, t), np.nan),
        "ended": np.where(np.arange(t) < t - {"D": 70, "W-SUN": 12, "MS": 5}[freq], rng.normal(50, 5, t), 0.0),
    }


@pytest.mark.parametrize("freq", list(LENGTH))
def test_every_pattern_is_recognised(freq: str) -> None:
    made = patterns(freq)
    found = segments(panel_of(np.stack(list(made.values())), freq))
    assert found.labels == list(made)
    assert found.counts() == dict.fromkeys(NAMES, 1)
    assert found.of("new").tolist() == [name == "new" for name in made]


@pytest.mark.parametrize("freq", list(LENGTH))
def test_scale_and_negative_sign_change_nothing(freq: str) -> None:
    y = np.stack(list(patterns(freq).values()))
    expected = segments(panel_of(y, freq)).labels
    for factor in (1e-9, 1e12, -1.0):
        assert segments(panel_of(y * factor, freq)).labels == expected


def test_closed_days_and_holes_are_no_demand_pattern() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(100, 15, (2, 700))
    closed = np.zeros((2, 700), dtype=bool)
    closed[0, ::2] = True
    closed[0, -200:] = True  # a long closure is not an end
    y[closed] = 0.0
    y[1, rng.random(700) < 0.5] = np.nan
    assert segments(panel_of(y, closed=closed)).labels == ["smooth", "smooth"]


def test_only_the_past_counts() -> None:
    y = np.stack(list(patterns("D").values()))
    before = segments(panel_of(y).as_of(600)).codes
    y[:, 600:] = 1e9
    np.testing.assert_array_equal(segments(panel_of(y).as_of(600)).codes, before)


def test_the_bound_of_a_silence_is_the_stated_probability() -> None:
    y = np.zeros(900)
    y[0:601:20] = 3.0  # a sale every 20 days: longest gap 20, share 1 / 20
    silent, bound = silence(panel_of(y))
    assert silent.tolist() == [299]
    assert bound[0] == pytest.approx(np.log(1e-3) / np.log(1 - 1 / 20))


def test_a_series_that_came_back_before_may_do_so_again() -> None:
    y = np.zeros(900)
    y[:100] = y[300:700] = 5.0
    _, bound = silence(panel_of(y))
    assert bound[0] == pytest.approx(1.5 * 201)
    assert segments(panel_of(y)).labels != ["ended"]
    y[650:] = np.nan  # no row counts as silence too
    assert silence(panel_of(y))[0].tolist() == [250]


def test_short_outages_end_nothing() -> None:
    y = np.full((2, 400), 9.0)
    y[0, -56:] = 0.0
    y[1, -57:] = 0.0
    assert segments(panel_of(y)).labels == ["smooth", "ended"]


def test_what_never_sold_is_ended_unless_it_is_young() -> None:
    y = np.zeros((3, 500))
    y[1, :470] = np.nan
    y[2] = np.nan  # not begun yet, as an earlier cutoff sees it
    assert segments(panel_of(y)).labels == ["ended", "new", "new"]


def test_a_young_panel_is_not_all_new() -> None:
    y = np.random.default_rng(1).normal(50, 5, (2, 60))
    y[1, :40] = np.nan
    assert segments(panel_of(y)).labels == ["smooth", "new"]


@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 13, 15])
@pytest.mark.parametrize("freq", list(LENGTH))
def test_very_short_panels_have_segments(length: int, freq: str) -> None:
    y = np.arange(3 * length, dtype=float).reshape(3, length)
    assert len(segments(panel_of(y, freq)).codes) == 3


def test_strength_matches_a_plain_computation() -> None:
    rng = np.random.default_rng(2)
    y = 20 + 3 * rng.normal(0, 1, (1, 3 * 52)) + np.tile(5 * rng.normal(0, 1, 52), 3)
    blocks = y.reshape(3, 52)
    moved = blocks - blocks.mean(1, keepdims=True)
    rest = moved - moved.mean(0)
    expected = 1 - (rest**2).sum() / (3 * 52 - 3 - 51) / ((moved**2).sum() / (3 * 52 - 3))
    assert strength(panel_of(y, "W-SUN"))[0] == pytest.approx(expected)


def test_noise_has_no_season_and_a_season_all_of_it() -> None:
    rng = np.random.default_rng(4)
    noise = strength(panel_of(rng.normal(50, 10, (300, 170)), "W-SUN"))
    assert noise.mean() < 0.1  # cut at 0, so not quite unbiased
    pure = strength(panel_of(np.tile(np.arange(52.0), 3)[None, 20:], "W-SUN"))
    np.testing.assert_allclose(pure, 1.0, atol=1e-3)


def test_a_year_of_weeks_is_a_season_of_a_daily_panel() -> None:
    day = np.arange(3 * 364)
    y = 100 + 80 * np.sin(2 * np.pi * day / 364) + np.random.default_rng(6).normal(0, 30, len(day))
    assert strength(panel_of(y))[0] > 0.64


def test_codes_are_int64() -> None:
    assert segments(panel_of(np.ones((2, 30)))).codes.dtype == np.int64
