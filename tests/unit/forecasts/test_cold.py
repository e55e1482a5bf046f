"""Series with no or little history: whom they are like, what they borrow, how sure of it they are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from like_world import LEVELS, H, T, expected, frame_of, with_quantiles, world

from foretail.forecasts.cold import Cold, borrowed, cold_answers, own_periods
from foretail.forecasts.likeness import attribute_codes, attribute_weights, fit_effects, likeness
from foretail.panel.panel import Covariate, Panel


def test_codes_are_equal_where_texts_are_and_unknown_is_like_nothing() -> None:
    one = pl.DataFrame({"k": [1, 2, None]})
    own, other = attribute_codes(one, pl.DataFrame({"k": ["2", "9", None]}), ["k"])
    assert other[0, 0] == own[1, 0] != own[0, 0]
    assert own[2, 0] < 0 and other[1, 0] < 0 and other[2, 0] < 0
    assert other[1, 0] not in own[:, 0] and other[2, 0] not in own[:, 0]


def test_effects_of_a_full_table_are_found_again() -> None:
    rng = np.random.default_rng(1)
    codes = np.array([(i, j) for i in range(12) for j in range(15)])
    true = 3 + rng.normal(0, 1, 12)[codes[:, 0]] + rng.normal(0, 0.5, 15)[codes[:, 1]]
    effects = fit_effects(true + rng.normal(0, 0.1, len(true)), codes)
    np.testing.assert_allclose(effects.predict(codes), true, atol=0.15)
    assert effects.spread == pytest.approx(0.1, rel=0.2)


def test_an_attribute_that_says_nothing_has_no_effect() -> None:
    rng = np.random.default_rng(1)
    effects = fit_effects(rng.normal(0, 1, 400), rng.integers(0, 40, (400, 1)))
    assert np.abs(effects.by_attribute[0]).max() < 0.25
    unknown = effects.predict(np.array([[-1], [-2], [99]]))
    np.testing.assert_array_equal(unknown, effects.mean)


def test_one_slow_seller_is_not_the_level_of_its_group() -> None:
    codes = np.repeat(np.arange(6), 8)[:, None]
    level = np.repeat(np.arange(6.0), 8) + np.random.default_rng(3).normal(0, 0.1, 48)
    level[0] = -9.0
    assert fit_effects(level, codes).predict(np.array([[0]]))[0] == pytest.approx(0.0, abs=0.2)


def test_what_explains_the_shapes_decides_who_is_like_whom() -> None:
    panel, future, _ = world()
    codes, _ = attribute_codes(panel.series, panel.series, ["store", "item"])
    shapes = future / panel.y.mean(1, keepdims=True)
    weights = attribute_weights(shapes, codes)
    assert weights[1] > 10 * weights[0]
    like = likeness(codes, codes, weights, 4)
    same_item = codes[:, None, 1] == codes[None, :, 1]
    np.testing.assert_array_equal(like > 0, same_item)
    np.testing.assert_allclose(like.sum(1), 1.0)


def test_a_series_never_seen_has_the_level_and_profile_that_its_keys_say() -> None:
    pair = ("d", "2")
    panel, future, promo = world((pair,))
    row = 3 * 4 + 1
    known = (Covariate("promo", promo[[row]]),)
    found = cold_answers(panel, with_quantiles(future), LEVELS, Cold(frame_of([pair]), known))
    truth = expected([pair], promo[[row]])[:, T:]
    error = np.abs(found[0, :, 0] - truth[0]).sum() / truth.sum()
    naive = np.abs(future[panel.series["store"].to_numpy() == "d"].mean(0) - truth[0]).sum() / truth.sum()
    assert error < 0.45 < 0.7 < naive


def test_a_promotion_known_of_a_new_series_counts() -> None:
    pair = ("b", "1")
    panel, future, _ = world((pair,))
    values = with_quantiles(future)
    none, always = (
        cold_answers(panel, values, LEVELS, Cold(frame_of([pair]), (Covariate("promo", flag),)))[0, :, 0]
        for flag in (np.zeros((1, T + H), np.float32), np.ones((1, T + H), np.float32))
    )
    np.testing.assert_allclose(always / none, 2.0, rtol=0.15)


def test_closed_days_of_a_new_series() -> None:
    panel, _, _ = world()
    closed = np.zeros_like(panel.closed)
    closed[:, 6::7] = True
    open_flag = (~closed).astype(np.float32)
    shut_panel = Panel(panel.spec, panel.series, panel.start, panel.y, closed, (Covariate("open", open_flag),))
    own = open_flag[[0]].copy()
    own[0, T + 3] = 0.0
    cold = Cold(frame_of([("z", "9")]), (Covariate("open", own),))
    expected_closed = closed[0, T:] | (np.arange(H) == 3)
    np.testing.assert_array_equal(cold.closed(shut_panel, H)[0], expected_closed)
    np.testing.assert_array_equal(Cold(cold.series).closed(shut_panel, H)[0], closed[0, T:])


def test_the_interval_of_a_new_series_is_wider_by_what_its_keys_leave_open() -> None:
    panel, future, _ = world()
    found = cold_answers(panel, with_quantiles(future), LEVELS, Cold(frame_of([("z", "1")])))[0]
    point, low, middle, high = found.T
    np.testing.assert_allclose(middle, point)
    assert (point - low > 0.2 * point).all() and (high - point > point - low).all()
    assert (low > 0).all()


def test_own_sales_take_over_from_what_the_keys_say() -> None:
    panel, future, _ = world()
    errors, widths = [], []
    for n in (1, 3, 7, 13):
        y = panel.y.copy()
        y[5] *= 3.0  # not what its keys say
        y[5, : T - n] = np.nan
        young = Panel(panel.spec, panel.series, panel.start, y, panel.closed, panel.known)
        assert own_periods(young)[5] == n
        found = borrowed(young, with_quantiles(future), np.array([5]))
        assert found is not None
        errors.append(abs(found.values[0, :, 0].sum() / (3 * future[5].sum()) - 1))
        widths.append(float(found.spread[0]))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.2
    assert widths == sorted(widths, reverse=True)


def test_a_first_weekend_is_no_boom() -> None:
    panel, future, _ = world()
    row = 2  # item 3 sells nearly all of its week on two days
    y = panel.y.copy()
    y[row, : T - 1] = np.nan
    assert (T - 1) % 7 not in (5, 6)
    young = Panel(panel.spec, panel.series, panel.start, y, panel.closed, panel.known)
    found = borrowed(young, with_quantiles(future), np.array([row]))
    assert found is not None
    assert found.values[0, :, 0].sum() == pytest.approx(future[row].sum(), rel=0.3)


def test_nobody_lends_in_a_panel_of_young_series() -> None:
    panel, future, _ = world()
    y = panel.y.copy()
    y[4:, :-5] = np.nan
    young = Panel(panel.spec, panel.series, panel.start, y, panel.closed, panel.known)
    assert borrowed(young, with_quantiles(future), np.array([7])) is None


@pytest.mark.parametrize("factor", [0.0, 1e-9, 1e12, -1.0])
def test_any_level_is_answered_with_numbers(factor: float) -> None:
    panel, future, promo = world((("a", "1"),))
    y = panel.y * factor
    y[3, :-4] = np.nan
    odd = Panel(panel.spec, panel.series, panel.start, y, panel.closed, panel.known)
    values = np.sort(with_quantiles(future * factor), axis=2)
    cold = cold_answers(odd, values, LEVELS, Cold(frame_of([("a", "1")]), (Covariate("promo", promo[[0]]),)))
    assert np.isfinite(cold).all()
    assert factor != 0 or (cold == 0).all()
    lent = borrowed(odd, values, np.array([3]))
    assert lent is None or np.isfinite(lent.values).all()
