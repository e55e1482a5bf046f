"""Some series under another future: every feature bit for bit as if the whole panel had been made with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_maker import make_panel

from foretail.features import frame
from foretail.features.asof import AsOf, plan_features
from foretail.features.catalogue import catalogue
from foretail.features.frame import Outlook, forecast_rows
from foretail.features.space import Space

LENGTHS = {"D": 420, "W-FRI": 150, "MS": 40}
CASES = [(freq, space) for freq in LENGTHS for space in ("log", "level")]
ROWS = np.array([4, 1, 4])


def another_future(panel, rows, seed=5):
    """Other known covariates and closed periods of some series: as covariates [n, H], and in the whole panel."""
    rng = np.random.default_rng(seed)
    n, h, t = len(rows), panel.n_future, panel.n_periods
    values = {
        "promo": rng.integers(0, 2, (n, h)),
        "price": rng.uniform(0, 9, (n, h)),
        "kind": np.where(rng.random((n, h)) < 0.2, np.nan, rng.integers(0, 3, (n, h))),
    }
    ahead = tuple(replace(panel.covariate(name), values=item.astype(np.float32)) for name, item in values.items())
    closed = rng.random((n, h)) < 0.3
    return ahead, closed, t


def whole_with(panel, row, i, ahead, closed, t):
    """The panel with the i-th of these futures in one of its rows."""
    known = []
    for item in panel.known:
        values = item.values.copy()
        values[row, t:] = next(other for other in ahead if other.name == item.name).values[i]
        known.append(replace(item, values=values))
    shut = panel.closed.copy()
    shut[row, t:] = closed[i]
    return replace(panel, known=tuple(known), closed=shut)


@pytest.mark.parametrize(("freq", "space"), CASES)
def test_every_feature_is_that_of_the_whole_changed_panel(freq, space):
    panel = make_panel(freq, 3, length=LENGTHS[freq])
    plan = plan_features(panel, Space(space))
    ahead, closed, t = another_future(panel, ROWS)
    found = Outlook.of(panel, plan, 5).only(ROWS, ahead, closed).rows()
    for i, row in enumerate(ROWS):
        changed = forecast_rows(whole_with(panel, row, i, ahead, closed, t), plan, 5)
        ours, theirs = found.series == i, changed.series == row
        for name in ("reference", "unit", "scale", "step", "cutoff"):
            np.testing.assert_array_equal(getattr(found, name)[ours], getattr(changed, name)[theirs], err_msg=name)
        for column, feature in enumerate(found.names):
            np.testing.assert_array_equal(found.x[ours, column], changed.x[theirs, column], err_msg=feature)
    assert found.names == changed.names
    # the test would say nothing of a future that moves no feature
    assert not np.array_equal(found.x, forecast_rows(panel, plan, 5).x.reshape(6, 5, -1)[ROWS].reshape(found.x.shape))


@pytest.mark.parametrize(("freq", "space"), CASES)
def test_values_before_they_are_rounded_are_the_same_bits(freq, space):
    panel = make_panel(freq, 8, length=LENGTHS[freq])
    plan = plan_features(panel, Space(space))
    ahead, closed, t = another_future(panel, ROWS)
    part = AsOf(panel, plan, 5).only(ROWS, ahead, closed)
    whole = AsOf(whole_with(panel, 1, 1, ahead, closed, t), plan, 5)
    for feature in catalogue(whole.panel, plan):
        mine, theirs = np.asarray(feature.compute(part)), np.asarray(feature.compute(whole))
        if theirs.ndim == 1:
            np.testing.assert_array_equal(mine[1], theirs[1], err_msg=feature.name)
        else:
            np.testing.assert_array_equal(mine[-2 if len(mine) > 1 else 0], theirs[1 if len(theirs) > 1 else 0])


@pytest.mark.parametrize(("freq", "space"), CASES)
def test_parts_of_an_outlook_are_its_series_in_their_order(freq, space, monkeypatch):
    panel = make_panel(freq, 3, length=LENGTHS[freq])
    plan = plan_features(panel, Space(space))
    outlook = Outlook.of(panel, plan, 5)
    assert list(outlook.parts()) == [outlook]
    monkeypatch.setattr(frame, "_MOST_ROWS", 10)
    parts = [part.rows() for part in outlook.parts()]
    assert len(parts) == 3
    assert np.concatenate([part.x for part in parts]).tobytes() == outlook.rows().x.tobytes()


def test_the_past_of_the_whole_is_left_alone():
    panel = make_panel("D", 3, length=200)
    plan = plan_features(panel, Space("log"))
    outlook = Outlook.of(panel, plan, 5)
    before = outlook.rows().x.copy()
    ahead, closed, _ = another_future(panel, ROWS)
    outlook.only(ROWS, ahead, closed).rows()
    np.testing.assert_array_equal(outlook.rows().x, before)


def test_texts_are_told_in_the_codes_of_the_plan():
    """A covariate whose texts are numbered otherwise than in the plan means the same texts."""
    panel = make_panel("D", 3, length=200)
    plan = plan_features(panel, Space("log"))
    other = replace(plan, categories={**plan.categories, "kind": ("c", "a", "b")})
    kind = replace(panel.covariate("kind"), values=np.array([[0, 1, 2, 0, 1]], dtype=np.float32))
    part = AsOf(panel, other, 5).only(np.array([2]), (kind,))
    np.testing.assert_array_equal(part.panel.covariate("kind").values[0, -5:], [1, 2, 0, 1, 2])
