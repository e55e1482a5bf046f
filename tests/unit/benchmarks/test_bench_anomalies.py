"""Faults put into a made-up world: they are where they are said to be, most are found, and few alarms are false."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.anomalies import FAULTS, break_world, tally

SMALL = {"stores": 6, "products": 8, "periods": 420, "intermittent_share": 0.0, "promo_share": 0.02, "horizon": 14}


@pytest.fixture(scope="module")
def broken():
    return break_world(11, SMALL)


def test_faults_lie_in_the_last_two_horizons_and_change_what_was_sold(broken):
    done = broken.fault != ""
    assert not done[:, : broken.panel.n_periods - 28].any()
    assert set(broken.fault[done]) == set(FAULTS)
    assert (broken.panel.y[broken.fault == "closed"] == 0).all()
    assert not (done & broken.panel.closed[:, : broken.panel.n_periods]).any()
    assert np.array_equal(break_world(11, SMALL).fault, broken.fault)


def test_most_faults_outside_are_found_with_their_cause_and_few_alarms_are_false(broken):
    found = tally(broken, ("profile",))
    for name in FAULTS:
        outside = found[f"outside {name}"]
        assert outside >= 5
        assert found[f"found {name}"] >= 0.5 * outside
        assert found[f"right {name}"] >= 0.3 * outside
    assert found["right data error"] >= 0.6 * found["outside data error"]
    assert found["right closed"] >= 0.8 * found["outside closed"]
    assert found["false"] <= 0.05 * found["whole"]
