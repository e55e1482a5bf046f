"""Features against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_maker import make_panel

from foretail.core.frequency import Frequency
from foretail.features.asof import AsOf, plan_features
from foretail.features.cells import CellPlan, cell_effects, cell_ids, plan_cells
from foretail.features.cube import Cube, Sums, group_codes
from foretail.features.events import run_length, since, until
from foretail.features.frame import forecast_rows
from foretail.features.space import Space, series_scale

H = 5


def mean(values: list[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan


def asof_of(freq: str, seed: int, space: str = "log", length: int = 150) -> AsOf:
    panel = make_panel(freq, seed, length=length)
    return AsOf(panel, plan_features(panel, Space(space)), H)


flags = st.integers(1, 25).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n))


@given(on=flags, cap=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_distances_of_a_flag(on: list[bool], cap: int) -> None:
    row = np.array([on])
    for column in range(len(on)):
        before = [column - other for other in range(column) if on[other]]
        after = [other - column for other in range(column + 1, len(on)) if on[other]]
        run = 0
        while run <= column and on[column - run]:
            run += 1
        assert since(row, cap)[0, column] == min([cap, *before])
        assert until(row, cap)[0, column] == min([cap, *after])
        assert run_length(row, cap)[0, column] == min(run, cap)


@given(seed=st.integers(0, 999), first=st.integers(-5, 25), end=st.integers(-5, 25), known=st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_window_means_from_prefix_sums(seed: int, first: int, end: int, known: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((3, 20)) < 0.3, np.nan, rng.normal(size=(3, 20)))
    sums = Sums(values)
    inside = [column for column in range(20) if first <= column < end and column < known]
    for row in range(3):
        wanted = mean([values[row, column] for column in inside])
        np.testing.assert_allclose(sums.mean(first, max(end, first), known)[row], wanted, atol=1e-12)
        assert sums.n(first, max(end, first), known)[row] == np.isfinite(values[row, inside]).sum()


@pytest.mark.parametrize("space", ["log", "level"])
def test_cell_effects_are_shrunken_means(space: str) -> None:
    asof = asof_of("D", 1, space)
    z, unit = asof.cube.z, asof.unit
    ids = cell_ids(asof.panel, asof.calendar.phase, asof.plan.cells)
    n_cells = asof.plan.cells.n_cells
    assert n_cells > 7
    windows = (100, 30)
    effects, counts = cell_effects(z, ids[:, :150], n_cells, windows, unit)
    own = [mean(z[row, -100:].tolist()) for row in range(6)]
    for cell in range(n_cells):
        here = [(r, c) for r in range(6) for c in range(50, 150) if ids[r, c] == cell and math.isfinite(z[r, c])]
        whole = mean([min(max((z[r, c] - own[r]) / unit[r], -10), 10) for r, c in here]) if here else 0.0
        for row in range(6):
            value = own[row] + unit[row] * whole
            for window, effect, count in zip(windows, effects, counts, strict=True):
                inside = [z[r, c] for r, c in here if r == row and c >= 150 - window]
                value = (sum(inside) + 3.0 * value) / (len(inside) + 3.0)
                assert effect[row, cell] == pytest.approx(value)
                assert count[row, cell] == len(inside)


def test_a_big_series_says_no_more_about_a_weekday_than_a_small_one() -> None:
    asof = asof_of("D", 1, "level")
    grown = asof.cube.z * np.array([1e9, 1, 1, 1, 1, 1])[:, None]
    ids = asof._cell_ids[:, :150]
    unit = asof.unit * np.array([1e9, 1, 1, 1, 1, 1])
    first, _ = cell_effects(asof.cube.z, ids, asof.plan.cells.n_cells, (100,), asof.unit)
    second, _ = cell_effects(grown, ids, asof.plan.cells.n_cells, (100,), unit)
    np.testing.assert_allclose(second[0][1:], first[0][1:])


@pytest.mark.parametrize("space", ["log", "level"])
def test_recent_means_of_what_the_cells_leave_over(space: str) -> None:
    asof = asof_of("D", 2, space)
    bound = 1.5 if space == "log" else 10.0
    ids = cell_ids(asof.panel, asof.calendar.phase, asof.plan.cells)
    effects, _ = cell_effects(asof.cube.z, ids[:, :150], asof.plan.cells.n_cells, (364,), asof.unit)
    for row in range(6):
        scaled = [(asof.cube.z[row, c] - effects[0][row, ids[row, c]]) / asof.unit[row] for c in range(150)]
        residual = [min(max(value, -bound), bound) if math.isfinite(value) else math.nan for value in scaled]
        for window in (7, 28, 91):
            assert asof.recent(window)[row] == pytest.approx(mean(residual[-window:]))
        assert asof.residual_std[row] == pytest.approx(np.nanstd(residual))


def test_a_silent_window_borrows_from_a_longer_one() -> None:
    panel = make_panel("D", 3)
    panel.y[2, 120:] = np.nan
    asof = AsOf(panel, plan_features(panel, Space("log")), H)
    assert asof.recent(7)[2] == asof.recent(56)[2] != 0.0
    assert asof.recent(7)[0] != asof.recent(56)[0]


def test_year_ago_windows() -> None:
    asof = asof_of("W-WED", 4)
    residual = asof.residual
    for reach, years in ((0, 1), (2, 1), (1, 2)):
        found = asof.year_ago(asof.residual_sums, reach, years)
        for row in range(6):
            for step in range(1, H + 1):
                centre = 149 + step - 52 * years
                inside = [residual[row, c] for c in range(centre - reach, centre + reach + 1) if 0 <= c < 150]
                np.testing.assert_allclose(found[row, step - 1], mean(inside), atol=1e-12)
    before = [mean(residual[row, 150 - 52 - 8 : 150 - 52].tolist()) for row in range(6)]
    now = [mean(residual[row, 150 - 8 :].tolist()) for row in range(6)]
    np.testing.assert_allclose(asof.year_ago_level(asof.residual_sums, 8), before, atol=1e-12)
    np.testing.assert_allclose(asof.growth(asof.residual_sums, 8), np.subtract(now, before), atol=1e-12)


def test_a_year_ago_of_steps_beyond_a_year_is_two_years_ago() -> None:
    panel = make_panel("W-WED", 4)
    asof = AsOf(panel, plan_features(panel, Space("log")), 60)
    found = asof.year_ago(asof.residual_sums, 0)
    np.testing.assert_allclose(found[:, 55], asof.residual[:, 149 + 56 - 104])


def test_group_means() -> None:
    asof = asof_of("D", 5)
    codes = group_codes(asof.panel, "type")
    assert sorted(set(codes.tolist())) == [0, 1, 2]  # without a type, x, y
    sums = asof.group_sums("type")
    for group in range(3):
        members = np.flatnonzero(codes == group)
        daily = [mean(asof.residual[members, column].tolist()) for column in range(150)]
        np.testing.assert_allclose(sums.mean(100, 110, 150)[group], mean(daily[100:110]), atol=1e-12)


def test_simple_features_by_name() -> None:
    panel = make_panel("D", 6)
    rows = forecast_rows(panel, plan_features(panel, Space("log")), H)

    def value(name: str, row: int, step: int) -> float:
        return float(rows.x[row * H + step - 1, rows.names.index(name)])

    closed, y, promo, price, kind = panel.closed, panel.y, *(item.values for item in panel.known)
    for row in range(6):
        is_open = [c for c in range(150) if math.isfinite(y[row, c]) and not closed[row, c]]
        assert value("n_observed", row, 1) == len(is_open)
        assert value("zero_share", row, 1) == pytest.approx(mean([float(y[row, c] <= 0) for c in is_open]))
        sold = max(c for c in range(150) if math.isfinite(y[row, c]) and y[row, c] > 0)
        assert value("last_sale_ago", row, 1) == 149 - sold
        assert value("past_visitors", row, 1) == pytest.approx(
            panel.past[0].values[row, -14:].mean() / panel.past[0].values[row].mean(), rel=1e-5
        )
        assert value("past_weather", row, 1) == pytest.approx(
            np.nanmean(panel.past[1].values[row, -14:]) / np.nanmean(panel.past[1].values[row]), rel=1e-5
        )
        for step in range(1, H + 1):
            column = 149 + step
            assert value("step", row, step) == step
            assert value("known_promo", row, step) == promo[row, column]
            assert value("before_promo", row, step) == promo[row, column - 1]
            assert value("after_promo", row, step) == promo[row, min(column + 1, 154)]
            assert value("relative_price", row, step) == pytest.approx(
                price[row, column] / price[row, :150].mean(), rel=1e-5
            )
            np.testing.assert_equal(value("known_kind", row, step), kind[row, column])
            around = [c for c in range(column - 3, column + 4) if c < 155 and not closed[row, c]]
            assert value("open_week", row, step) == len(around)
            assert value("static_size", row, step) == 10.0 * row
    np.testing.assert_equal([value("static_type", row, 1) for row in range(6)], [0, 1, 0, 1, np.nan, 1])


def test_long_closures_are_told_from_single_closed_days() -> None:
    panel = make_panel("D", 6)
    panel.closed[:] = False
    panel.closed[2, 130:140] = True
    panel.closed[3, 140] = True
    plan = plan_features(panel, Space("log"))
    rows = forecast_rows(panel, plan, H)
    ago = rows.x[:, rows.names.index("shut_ago")].reshape(6, H)
    assert ago[2].tolist() == [11, 12, 13, 14, 15]
    assert (np.delete(ago, 2, axis=0) == 90).all()


def test_cells_split_by_the_flag_that_tells_most() -> None:
    panel = make_panel("D", 7)
    promo = panel.covariate("promo").values[:, :150]
    z = np.where(promo > 0, 2.0, 1.0) + np.random.default_rng(0).normal(0, 0.1, promo.shape)
    plan = plan_cells(panel, z, np.arange(155) % 7)
    assert plan == CellPlan(("promo",), ((0.0, 1.0),), 7)
    assert plan.n_cells == 14
    ids = cell_ids(panel, np.arange(155) % 7, plan)
    np.testing.assert_array_equal(ids[:, :150], (np.arange(150) % 7) * 2 + (promo == 1))


def test_a_flag_that_tells_nothing_splits_nothing() -> None:
    panel = make_panel("D", 7)
    z = np.random.default_rng(0).normal(0, 1, (6, 150))
    assert plan_cells(panel, z, np.arange(155) % 7).flags == ()
    assert plan_cells(panel, np.full((6, 150), np.nan), np.arange(155) % 7).flags == ()


@given(y=st.lists(st.floats(0, 1e12), min_size=1, max_size=9), scale=st.floats(1e-9, 1e12))
@settings(max_examples=60, deadline=None)
def test_spaces_invert(y: list[float], scale: float) -> None:
    values = np.array([y])
    for name in ("log", "level"):
        space = Space(name)
        back = space.inverse(space.forward(values, np.array([scale])), np.array([scale]))
        np.testing.assert_allclose(back, values, rtol=1e-9, atol=1e-9 * scale)


def test_the_scale_is_positive_whatever_the_series() -> None:
    y = np.array([[0.0, 0.0, np.nan], [2.0, np.nan, 4.0], [np.nan, np.nan, np.nan], [-8.0, 8.0, 8.0]])
    assert series_scale(y).tolist() == [5.5, 3.0, 5.5, 8.0]
    assert series_scale(np.zeros((2, 3))).tolist() == [1.0, 1.0]


def test_closed_days_are_holes_in_model_space() -> None:
    panel = make_panel("D", 8)
    cube = Cube.of(panel, Space("log"))
    assert np.isnan(cube.z[panel.closed[:, :150]]).all()
    np.testing.assert_array_equal(np.isfinite(cube.z), panel.observed & ~panel.closed[:, :150])


def test_features_of_days_have_no_profile_and_those_of_weeks_do() -> None:
    assert np.isnan(asof_of("D", 9).profile).all()
    assert np.isfinite(asof_of("W-WED", 9).profile[[0, 2, 3]]).any()
    assert Frequency("W-WED").year_length == 52
