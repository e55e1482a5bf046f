"""What a flag of few dates added: read off a history, shared between like series, and nothing of the future in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_maker import make_panel

from foretail.features.asof import AsOf, plan_features
from foretail.features.flags import FlagEffects
from foretail.features.plan import Plan
from foretail.features.space import Space

N, T, REACH = 40, 400, 14
DATES = (60, 150, 240, 300, 380)


def world(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Residuals of series in eight groups, a flag on five dates, the groups, and the true effect of each series."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(8), N // 8)
    truth = rng.uniform(0.1, 0.8, 8)[group]
    values = np.zeros((N, T), dtype=np.float32)
    values[:, DATES] = 1.0
    level = np.cumsum(rng.normal(0, 0.01, (N, T)), axis=1)
    return level + rng.normal(0, noise, (N, T)) + truth[:, None] * values, values, group, truth


def test_without_noise_the_effect_is_the_truth() -> None:
    residual, values, group, truth = world(0.01)
    found = FlagEffects.of(residual, values, [group], REACH)
    assert found.usual == 0.0 and found.levels.tolist() == [1.0]
    np.testing.assert_allclose(found.effects[:, 0], truth, atol=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_groups_tell_more_than_each_series_and_than_all_together(seed: int) -> None:
    residual, values, group, truth = world(0.5, seed)
    other = np.arange(N) % 5  # a column that means nothing

    def error(groups: list[np.ndarray]) -> float:
        return float(np.abs(FlagEffects.of(residual, values, groups, REACH).effects[:, 0] - truth).mean())

    plain = np.nanmean(residual[:, DATES], axis=1) - np.nanmean(residual, axis=1)
    assert error([group, other]) < 0.9 * error([])
    assert error([group, other]) < 0.7 * np.abs(plain - truth).mean()
    assert error([group, other]) < 1.15 * error([group])


def test_the_days_around_are_what_it_is_held_against() -> None:
    """A season that rises into the flag's dates is no effect of the flag."""
    residual = np.tile(2.0 * np.sin(np.arange(T) * 2 * np.pi / 364), (N, 1))
    values = np.zeros((N, T), dtype=np.float32)
    values[:, 85:95:3] = 1.0  # at the height of the season
    assert np.abs(FlagEffects.of(residual, values, [], REACH).effects).max() < 0.05


def test_a_value_that_was_never_on_has_no_effect_to_tell() -> None:
    residual, values, *_ = world(0.1)
    values[:] = 0.0
    found = FlagEffects.of(residual, values, [], REACH)
    assert found.effects.shape == (N, 0)
    told = found.at(np.array([[0.0, 1.0, np.nan]] * N, dtype=np.float32))
    assert (told[:, 0] == 0).all() and np.isnan(told[:, 1:]).all()
    closed = np.where(np.isin(np.arange(T), DATES), np.nan, residual)
    values[:, DATES] = 1.0
    assert np.isnan(FlagEffects.of(closed, values, [], REACH).effects).all()


def test_one_date_says_less_than_many() -> None:
    residual, values, *_ = world(0.01)
    many = FlagEffects.of(residual, values, [], REACH).effects.mean()
    values[:, DATES[1:]] = 0.0
    one = FlagEffects.of(residual, values, [], REACH).effects.mean()
    assert 0.6 * many < one < 0.9 * many


def test_flags_without_cells_get_the_feature_and_nothing_later_moves_it() -> None:
    panel = replace(make_panel("D", 3, length=420), revisions=None)
    plan = plan_features(panel, Space("log"))
    assert not set(plan.effects) & set(plan.cells.flags) and set(plan.effects) <= set(plan.flags)
    rare = replace(plan, effects=("promo",), cells=replace(plan.cells, flags=(), values=()))
    cut = 300
    early = AsOf(panel.as_of(cut, 5), rare, 5).flag_effects("promo")
    y = panel.y.copy()
    y[:, cut:] = 1e6
    later = AsOf(replace(panel, y=y).as_of(cut, 5), rare, 5).flag_effects("promo")
    np.testing.assert_array_equal(early.effects, later.effects)


def test_a_plan_of_before_has_no_such_feature() -> None:
    plan = plan_features(make_panel("D", 3, length=420), Space("log"))
    stored = plan.to_dict()
    assert Plan.from_dict(stored) == plan
    del stored["effects"]
    assert Plan.from_dict(stored).effects == ()
