"""Weights of an ensemble: per group of series and part of the horizon, and safe through JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foretail.models.mixture import Mixture

PARTS = {"a": np.full((2, 4), 10.0), "b": np.full((2, 4), 20.0)}


def rich() -> Mixture:
    weights = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.25, 0.75]]])
    return Mixture(("a", "b"), weights, np.array([1, 3]), {"x": 1, "y": 0})


def test_flat_weights_are_scaled_to_one() -> None:
    flat = Mixture.flat({"a": 1.0, "b": 3.0})
    np.testing.assert_allclose(flat.mixed(PARTS, flat.groups(["x", "y"])), 17.5)
    assert flat.shares() == {"a": 0.25, "b": 0.75}


def test_groups_and_parts_of_the_horizon_have_their_own() -> None:
    mixture = rich()
    expected = [[20.0, 20.0, 17.5, 17.5], [10.0, 10.0, 15.0, 15.0]]
    np.testing.assert_allclose(mixture.mixed(PARTS, mixture.groups(["x", "y"])), expected)
    assert mixture.groups(["never seen"]).tolist() == [0]
    assert mixture.shares() == {"a": pytest.approx(0.4375), "b": pytest.approx(0.5625)}


def test_idle_members_are_dropped() -> None:
    assert Mixture.flat({"a": 1.0, "b": 0.0}).without_idle().members == ("a",)


def test_a_mixture_survives_json() -> None:
    mixture = rich()
    back = Mixture.from_dict(json.loads(json.dumps(mixture.to_dict())))
    np.testing.assert_array_equal(
        back.mixed(PARTS, back.groups(["x", "y"])), mixture.mixed(PARTS, mixture.groups(["x", "y"]))
    )
    assert back.group_of == mixture.group_of
