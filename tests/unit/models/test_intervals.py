"""Conformal intervals: coverage where errors are exchangeable, ranks against a loop, and nothing that can go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.core.spec import DatasetSpec
from foretail.models.intervals import Conformal, HeldBack, Size, conformal_quantiles, error_half_life
from foretail.panel.panel import Panel

FloatArray = npt.NDArray[np.float64]

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def window(rng: np.random.Generator, n: int, h: int, spread: float = 0.3) -> HeldBack:
    """Errors that are independent and of one law once divided by the size of the series."""
    level = np.exp(rng.normal(3, 1.5, n))
    y_hat = level[:, None] * rng.uniform(0.8, 1.2, (n, h))
    y = y_hat + level[:, None] * spread * rng.standard_t(5, (n, h))
    return HeldBack(y, y_hat, np.zeros((n, h), dtype=np.bool_), Size(level, 0.2 * level))


def panel_of(y: np.ndarray, closed: np.ndarray | None = None) -> Panel:
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq="D", horizon=3)
    names = [str(row) for row in range(len(y))]
    series = pl.DataFrame({"unique_id": names, "store": names})
    return Panel(spec, series, 0, y, np.zeros(y.shape, dtype=np.bool_) if closed is None else closed)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n_windows", [1, 3])
def test_exchangeable_errors_are_covered_as_often_as_promised(seed: int, n_windows: int) -> None:
    rng = np.random.default_rng(seed)
    h, n = 12, 300
    conformal = Conformal.fit([window(rng, n, h) for _ in range(n_windows)], LEVELS, h)
    new = window(rng, 2000, h)
    low95, low80, _, high80, high95 = np.moveaxis(conformal.quantiles(new.y_hat, new.size, non_negative=False), 2, 0)
    for share, low, high in ((0.80, low80, high80), (0.95, low95, high95)):
        covered = ((new.y >= low) & (new.y <= high)).mean()
        # three standard errors of the calibration sample (the test sample is far larger)
        margin = 3 * math.sqrt(share * (1 - share) / (n_windows * n * h)) + 0.005
        assert abs(covered - share) < margin


def test_coverage_holds_for_small_and_for_big_series() -> None:
    rng = np.random.default_rng(4)
    conformal = Conformal.fit([window(rng, 2000, 6)], LEVELS, 6)
    new = window(rng, 5000, 6)
    quantiles = conformal.quantiles(new.y_hat, new.size, non_negative=False)
    inside = (new.y >= quantiles[..., 1]) & (new.y <= quantiles[..., 3])
    order = np.argsort(new.size.level)
    for part in np.array_split(order, 5):
        assert 0.77 < inside[part].mean() < 0.83


def test_intervals_grow_with_the_step_where_errors_do() -> None:
    rng = np.random.default_rng(5)
    made = window(rng, 600, 12)
    grown = HeldBack(made.y_hat + (made.y - made.y_hat) * np.arange(1, 13), made.y_hat, made.closed, made.size)
    conformal = Conformal.fit([grown], LEVELS, 12)
    flat = np.repeat(made.size.level[:, None], 12, 1)
    quantiles = conformal.quantiles(flat, made.size, non_negative=False)
    width = (quantiles[..., 3] - quantiles[..., 1]).mean(0)
    assert (np.diff(width) > -1e-9 * width[0]).all()
    assert width[-1] > 5 * width[0]


@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    level=st.sampled_from([*DEFAULT_QUANTILES, 0.01, 0.25, 0.55, 0.99]),
)
@settings(max_examples=200, deadline=None)
def test_the_finite_sample_rank(scores: list[float], level: float) -> None:
    """The smallest score with enough scores at or below it, counted exactly; mirrored below the median."""
    scores = sorted(scores)
    exact = (len(scores) + 1) * Fraction(str(level))
    if level >= 0.5:
        wanted = next((score for rank, score in enumerate(scores, 1) if rank >= exact), scores[-1])
    else:
        wanted = next((score for rank, score in reversed(list(enumerate(scores, 1))) if rank <= exact), scores[0])
    assert conformal_quantiles(np.array(scores), [level])[0] == wanted


@given(scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), level=st.sampled_from([0.6, 0.8, 0.9, 0.975]))
@settings(max_examples=60, deadline=None)
def test_ranks_are_mirrored_about_the_median(scores: list[float], level: float) -> None:
    ascending = np.sort(np.array(scores))
    mirrored = conformal_quantiles(np.sort(-ascending), [round(1 - level, 8)])[0]
    assert conformal_quantiles(ascending, [level])[0] == -mirrored


@given(
    seed=st.integers(0, 999),
    n=st.sampled_from([1, 2, 5, 60, 250]),
    h=st.integers(1, 9),
    holes=st.sampled_from([0.0, 0.5, 1.0]),
    asked=st.integers(1, 15),
    non_negative=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_quantiles_never_cross_whatever_was_measured(
    seed: int, n: int, h: int, holes: float, asked: int, non_negative: bool
) -> None:
    rng = np.random.default_rng(seed)
    made = window(rng, n, h)
    y = np.where(rng.random((n, h)) < holes, np.nan, made.y)
    conformal = Conformal.fit([HeldBack(y, made.y_hat, rng.random((n, h)) < 0.2, made.size)], DEFAULT_QUANTILES, h)
    new = window(rng, 7, asked)
    quantiles = conformal.quantiles(new.y_hat - 5, new.size, non_negative=non_negative)
    assert quantiles.shape == (7, asked, len(DEFAULT_QUANTILES))
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()
    assert not non_negative or (quantiles >= 0).all()


def test_fewer_steps_get_the_intervals_of_those_steps() -> None:
    rng = np.random.default_rng(6)
    conformal = Conformal.fit([window(rng, 300, 39)], LEVELS, 39)
    new = window(rng, 4, 39)
    whole = conformal.quantiles(new.y_hat, new.size, non_negative=True)
    for h in (1, 7, 20):
        part = conformal.quantiles(new.y_hat[:, :h], new.size, non_negative=True)
        np.testing.assert_allclose(part, whole[:, :h], rtol=1e-12)


def test_windows_without_an_actual_leave_the_forecast_as_it_is() -> None:
    made = window(np.random.default_rng(7), 5, 4)
    for empty in (
        HeldBack(np.full((5, 4), np.nan), made.y_hat, made.closed, made.size),
        HeldBack(made.y, made.y_hat, np.ones((5, 4), dtype=np.bool_), made.size),
    ):
        conformal = Conformal.fit([empty], LEVELS, 4)
        quantiles = conformal.quantiles(made.y_hat, made.size, non_negative=False)
        np.testing.assert_array_equal(quantiles, np.repeat(made.y_hat[..., None], 5, 2))


def test_one_score_is_all_there_is_and_its_bias_may_go_by_half_or_stay() -> None:
    size = Size(np.array([10.0]), np.array([1.0]))
    one = HeldBack(np.array([[12.0]]), np.array([[10.0]]), np.array([[False]]), size)
    conformal = Conformal.fit([one], (0.1, 0.5, 0.9), 1)
    np.testing.assert_allclose(conformal.quantiles(np.array([[10.0]]), size, non_negative=True), [[[11.0, 11.0, 12.0]]])


def test_closed_periods_and_holes_are_no_scores() -> None:
    rng = np.random.default_rng(8)
    made = window(rng, 300, 6)
    shut = rng.random(made.y.shape) < 0.3
    first = Conformal.fit([HeldBack(np.where(shut, np.nan, made.y), made.y_hat, made.closed, made.size)], LEVELS, 6)
    second = Conformal.fit([HeldBack(np.where(shut, 1e9, made.y), made.y_hat, shut, made.size)], LEVELS, 6)
    assert first.scores.tobytes() == second.scores.tobytes()


def test_arrays_hold_everything_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    conformal = Conformal.fit([window(rng, 300, 12)], LEVELS, 12)
    np.savez(tmp_path / "intervals.npz", **conformal.to_arrays())
    with np.load(tmp_path / "intervals.npz", allow_pickle=False) as stored:
        again = Conformal.from_arrays(dict(stored))
    new = window(rng, 20, 9)
    first, second = (item.quantiles(new.y_hat, new.size, non_negative=True) for item in (conformal, again))
    assert first.tobytes() == second.tobytes()
    assert (again.levels, again.kind, again.h) == (conformal.levels, conformal.kind, 12)


# the size of a series


def test_size_is_the_recent_level_and_the_change_from_the_same_weekday() -> None:
    y = np.random.default_rng(1).uniform(1, 9, (2, 100))
    y[1, 40] = np.nan
    closed = np.zeros((2, 100), dtype=np.bool_)
    closed[0, 95] = True
    size = Size.of(panel_of(y, closed))
    for row in range(2):
        usable = {c for c in range(100) if np.isfinite(y[row, c]) and not closed[row, c]}
        recent = [y[row, c] for c in sorted(usable) if c >= 44]
        changes = [abs(y[row, c] - y[row, c - 7]) for c in sorted(usable) if c >= 44 and c - 7 in usable]
        assert size.level[row] == pytest.approx(np.mean(recent))
        assert size.noise[row] == pytest.approx(np.mean(changes))


@pytest.mark.parametrize(
    "y",
    [
        np.zeros((3, 30)),
        np.full((2, 30), 7.0),
        np.array([[5.0], [0.0]]),
        np.full((2, 30), np.nan),
        np.vstack([np.zeros(30), np.arange(30.0), np.full(30, 1e-9), np.full(30, 1e12)]),
    ],
)
def test_sizes_are_positive_and_zero_series_get_finite_intervals(y: np.ndarray) -> None:
    panel = panel_of(y)
    size = Size.of(panel)
    assert (size.level > 0).all()
    assert (size.noise > 0).all()
    h = 3
    actual = np.nan_to_num(y[:, :1]).repeat(h, 1)
    closed = np.zeros((len(y), h), dtype=np.bool_)
    conformal = Conformal.fit([HeldBack(actual, np.zeros((len(y), h)), closed, size)], LEVELS, h)
    quantiles = conformal.quantiles(np.zeros((len(y), h)), size, non_negative=True)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()


def test_a_size_of_zero_is_no_division() -> None:
    size = Size(np.zeros(2), np.zeros(2))
    held = HeldBack(np.ones((2, 3)), np.zeros((2, 3)), np.zeros((2, 3), dtype=np.bool_), size)
    conformal = Conformal.fit([held], LEVELS, 3)
    assert np.isfinite(conformal.quantiles(np.zeros((2, 3)), size, non_negative=True)).all()


@given(
    scores=st.lists(st.integers(-50, 50), min_size=1, max_size=40), level=st.sampled_from([0.025, 0.1, 0.5, 0.9, 0.975])
)
def test_equal_weights_are_no_weights(scores: list[int], level: float) -> None:
    ascending = np.sort(np.array(scores, dtype=float))
    weighted = conformal_quantiles(ascending, [level], np.full(len(ascending), 0.3))[0]
    assert weighted == conformal_quantiles(ascending, [level])[0]


def test_recent_errors_count_more_than_old_ones() -> None:
    rng = np.random.default_rng(3)
    y_hat = np.full((300, 6), 10.0)
    size = Size(np.full(300, 10.0), np.full(300, 1.0))
    closed = np.zeros((300, 6), dtype=bool)

    def width(age_of_wide: float, half_life: float | None = None) -> float:
        wide = HeldBack(y_hat + rng.normal(0, 4, y_hat.shape), y_hat, closed, size, age=age_of_wide)
        narrow = HeldBack(y_hat + rng.normal(0, 1, y_hat.shape), y_hat, closed, size, age=6.0)
        found = Conformal.fit([wide, narrow], (0.1, 0.9), 6, half_life)
        quantiles = found.quantiles(y_hat, size, non_negative=True)
        return float((quantiles[..., 1] - quantiles[..., 0]).mean())

    assert width(age_of_wide=60.0) < 0.7 * width(age_of_wide=6.0)
    assert width(age_of_wide=60.0) < 0.7 * width(age_of_wide=60.0, half_life=600.0)


@pytest.mark.parametrize(("freq", "h", "periods"), [("D", 7, 14), ("D", 28, 28), ("W-FRI", 2, 2)])
def test_errors_of_days_count_for_two_weeks_at_least(freq: str, h: int, periods: int) -> None:
    spec = DatasetSpec(keys=("store",), time="date", target="sales", freq=freq, horizon=h)
    panel = Panel(
        spec, pl.DataFrame({"unique_id": ["a"], "store": ["a"]}), 0, np.ones((1, 60)), np.zeros((1, 60), bool)
    )
    assert error_half_life(panel, h) == periods


@pytest.mark.parametrize("middle", [np.mean, np.median])
def test_the_law_of_rare_sales_is_no_bias(middle: Callable[[np.ndarray], float]) -> None:
    rng = np.random.default_rng(4)
    y = rng.poisson(0.4, (4, 300, 6)) * rng.integers(1, 5, (4, 300, 6)).astype(float)
    y_hat, closed = np.full((300, 6), float(middle(y))), np.zeros((300, 6), dtype=bool)
    size = Size(np.full(300, y.mean()), np.full(300, y.std()))
    conformal = Conformal.fit([HeldBack(each, y_hat, closed, size) for each in y[:3]], (0.1, 0.9), 6)
    low, high = np.moveaxis(conformal.quantiles(y_hat, size, non_negative=True), -1, 0)
    assert (low == 0).all()
    assert ((y[3] >= low) & (y[3] <= high)).mean() >= 0.85  # two thirds sell nothing, so the lower tail is never left


def test_a_model_that_learned_from_less_is_expected_to_err_less_with_more() -> None:
    rng = np.random.default_rng(4)
    y_hat = np.full((300, 6), 10.0)
    size = Size(np.full(300, 10.0), np.full(300, 1.0))
    y = y_hat + rng.normal(0, 1, y_hat.shape)
    closed = np.zeros(y.shape, dtype=bool)
    widths = []
    for history in (0.5, 1.0):
        conformal = Conformal.fit([HeldBack(y, y_hat, closed, size, history=history)], (0.1, 0.9), 6)
        quantiles = conformal.quantiles(y_hat, size, non_negative=True)
        widths.append(float((quantiles[..., 1] - quantiles[..., 0]).mean()))
    assert widths[0] == pytest.approx(widths[1] * 0.5**0.25, rel=1e-6)


def test_a_models_own_width_tells_where_it_is_less_sure():
    rng = np.random.default_rng(12)
    n, h = 400, 6
    width = np.exp(rng.normal(0, 0.8, (n, h)))  # nothing else shows it: all series are of one size
    size = Size(np.full(n, 10.0), np.full(n, 1.0))
    y_hat = np.full((n, h), 10.0)

    def window(width: np.ndarray | None) -> HeldBack:
        y = y_hat + rng.normal(0, 1, (n, h)) * np.exp(rng.normal(0, 0.1, (n, h))) * spread / 2
        return HeldBack(y, y_hat, np.zeros((n, h), dtype=bool), size, width=width)

    spread = width
    levels = (0.1, 0.9)
    own = Conformal.fit([window(width), window(width)], levels, h)
    blind = Conformal.fit([window(None), window(None)], levels, h)
    assert own.kind == "own"
    actual = window(width).y
    losses = []
    for conformal, told in ((own, width), (blind, None)):
        q = conformal.quantiles(y_hat, size, told, non_negative=False)
        assert ((actual >= q[..., 0]) & (actual <= q[..., 1])).mean() == pytest.approx(0.8, abs=0.03)
        error = actual[..., None] - q
        losses.append(np.maximum(np.array(levels) * error, (np.array(levels) - 1) * error).mean())
    assert losses[0] < 0.97 * losses[1]
    assert own.quantiles(y_hat, size, None, non_negative=False).shape == (n, h, 2)  # every series fell back


def _named(y: FloatArray, names: tuple[str, ...], age: float = 0.0) -> HeldBack:
    y_hat = np.full(y.shape, 100.0)
    size = Size(np.full(len(y), 100.0), np.full(len(y), 20.0), names)
    return HeldBack(y, y_hat, np.zeros(y.shape, dtype=bool), size, age=age)


def _hard_and_easy(rng: np.random.Generator, age: float, h: int = 14) -> HeldBack:
    """300 series that are as big and as noisy to the eye, the second half three times as hard to forecast."""
    sigma = np.where(np.arange(300) < 150, 5.0, 15.0)[:, None]
    return _named(100 + sigma * rng.standard_normal((300, h)), tuple(f"s{i}" for i in range(300)), age)


def test_a_series_hard_to_forecast_gets_a_wider_interval_than_an_easy_one_of_its_size() -> None:
    rng = np.random.default_rng(5)
    found = Conformal.fit([_hard_and_easy(rng, 14.0 * i) for i in range(1, 7)], (0.1, 0.9), 14)
    new = _hard_and_easy(rng, 0.0)
    quantiles = found.quantiles(new.y_hat, new.size, non_negative=True)
    width = (quantiles[..., 1] - quantiles[..., 0]).mean(1)
    covered = ((quantiles[..., 0] <= new.y) & (new.y <= quantiles[..., 1])).mean()
    assert 1.4 * width[:150].mean() < width[150:].mean() < 3.0 * width[:150].mean()
    assert 0.78 < covered < 0.84
    plain = replace(found, by_series={}).quantiles(new.y_hat, new.size, non_negative=True)
    assert np.ptp(plain[..., 1] - plain[..., 0], axis=0).max() < 1e-9


def test_the_scale_of_a_series_goes_by_its_name() -> None:
    found = Conformal.fit([_hard_and_easy(np.random.default_rng(5), 14.0 * i) for i in range(1, 7)], (0.1, 0.9), 14)
    again = Conformal.from_arrays(found.to_arrays())
    y_hat = np.full((3, 14), 100.0)
    size = Size(np.full(300, 100.0), np.full(300, 20.0), tuple(f"s{i}" for i in range(300)))

    def widths(size: Size) -> list[float]:
        quantiles = again.quantiles(y_hat, size, non_negative=True)
        return np.ptp(quantiles, axis=2).mean(1).tolist()

    easy, hard, last = widths(size.take(np.array([3, 200, 299])))
    unknown = replace(size.take(np.array([0, 1, 2])), names=("new", "s200", "s3"))
    new, *known = widths(unknown)
    assert known == [hard, easy]
    assert easy < new < hard
    assert last == widths(size.take(np.array([299, 0, 1])))[0]


def test_windows_that_share_periods_say_nothing_of_each_other() -> None:
    rng = np.random.default_rng(6)
    y = 100 + 10 * rng.standard_normal((300, 14))
    names = tuple(f"s{i}" for i in range(300))
    # one window told four times over must not look like series that differ
    told = Conformal.fit([_named(y, names, 7.0 + i) for i in range(4)], (0.1, 0.9), 14)
    plain = replace(told, by_series={})
    new = _named(100 + 10 * rng.standard_normal((300, 14)), names)
    inside = [
        ((low <= new.y) & (new.y <= high)).mean()
        for found in (told, plain)
        for low, high in [np.moveaxis(found.quantiles(new.y_hat, new.size, non_negative=True), 2, 0)]
    ]
    assert abs(inside[0] - inside[1]) < 0.02
    assert min(inside) > 0.77


_HUGE = np.array([[1e12] * 4, [np.nan] * 4, [0.0] * 4])


@pytest.mark.parametrize("y", [np.full((3, 4), np.nan), np.full((3, 4), 100.0), _HUGE])
def test_series_without_errors_keep_the_scale_of_their_like(y: FloatArray) -> None:
    found = Conformal.fit([_named(y, ("a", "b", "c"), 4.0), _named(y, ("a", "b", "c"), 8.0)], (0.1, 0.9), 4)
    assert all(np.isfinite(list(found.by_series.values())))
    assert found.by_series["b"] == pytest.approx(1.0) or np.isfinite(y[1]).all()
