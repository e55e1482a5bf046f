"""What the network sees: statistics of the training rows, marks of what is missing, codes that it knows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foretail.features.catalogue import Feature
from foretail.features.frame import Rows
from foretail.models.neural.inputs import Inputs


def rows_of(categories: tuple[str, ...] = (), **columns: Any) -> Rows:
    x = np.stack([np.asarray(values, dtype=np.float32) for values in columns.values()], axis=1)
    n = len(x)
    features = tuple(
        Feature(name, "as_of", name, lambda _: np.zeros(0), is_category=name in categories) for name in columns
    )
    zeros, ones = np.zeros(n, dtype=np.int64), np.ones(n)
    return Rows(features, x, zeros, zeros + 1, zeros, ones, ones, ones, ones)


def uneven(n: int = 500) -> np.ndarray:
    return np.random.default_rng(0).normal(50, 9, n)


def test_numbers_have_mean_0_and_spread_1_over_the_training_rows() -> None:
    rows = rows_of(a=uneven(), b=1e6 * uneven())
    found = Inputs.of(rows, uneven()).numeric(rows, uneven())
    assert found.shape == (500, 3)  # the base is a number too
    assert found.mean(axis=0) == pytest.approx(0.0, abs=1e-3)
    assert found.std(axis=0) == pytest.approx(1.0, abs=1e-2)


def test_other_rows_are_measured_by_the_training_rows_alone() -> None:
    rows = rows_of(a=uneven())
    inputs = Inputs.of(rows, uneven())
    one = inputs.numeric(rows_of(a=uneven()[:1]), uneven()[:1])
    assert one.tobytes() == inputs.numeric(rows, uneven())[:1].tobytes()
    far = inputs.numeric(rows_of(a=[1e30, -1e30]), np.array([1e30, -1e30]))
    seen = inputs.numeric(rows, uneven())
    assert far[0].tolist() == pytest.approx(seen.max(axis=0).tolist(), rel=1e-3)
    assert far[1].tolist() == pytest.approx(seen.min(axis=0).tolist(), rel=1e-3)


def test_one_wild_value_does_not_shrink_the_others() -> None:
    tame = uneven(5000)
    wild = np.where(np.arange(5000) == 7, 1e12, tame)
    found = Inputs.of(rows_of(a=wild), tame).numeric(rows_of(a=wild), tame)
    assert np.delete(found[:, 0], 7).std() == pytest.approx(1.0, abs=0.02)


def test_a_missing_number_is_at_the_mean_and_marked() -> None:
    values = np.where(np.arange(500) % 5 == 0, np.nan, uneven())
    values[1] = np.inf  # no number either
    rows = rows_of(a=values, b=uneven())
    inputs = Inputs.of(rows, uneven())
    assert inputs.marked == ("a",)
    assert inputs.width == 4
    found = inputs.numeric(rows, uneven())
    is_missing = ~np.isfinite(values)
    assert (found[is_missing, 0] == 0).all()
    assert np.array_equal(found[:, 3], is_missing)
    assert np.isfinite(found).all()


def test_what_never_varies_is_left_out_unless_its_absence_does() -> None:
    sometimes = np.where(np.arange(500) % 2 == 0, np.nan, 3.0)
    rows = rows_of(same=np.full(500, 7.0), never=np.full(500, np.nan), sometimes=sometimes)
    inputs = Inputs.of(rows, uneven())
    assert inputs.numbers == ("sometimes", "base")
    assert inputs.marked == ("sometimes",)
    assert np.array_equal(inputs.numeric(rows, uneven())[:, 2], np.isnan(sometimes))


def test_a_rare_event_is_kept() -> None:
    rare = (np.arange(5000) == 77).astype(np.float64)
    assert "rare" in Inputs.of(rows_of(rare=rare), uneven(5000)).numbers


def test_codes_begin_at_1_and_what_was_never_seen_is_0() -> None:
    inputs = Inputs.of(rows_of(("shop",), shop=[0, 1, 2, np.nan], a=[1, 2, 3, 4]), np.arange(4.0))
    assert inputs.sizes == (3,)
    assert inputs.names == ("a", "base", "shop")
    asked = rows_of(("shop",), shop=[2, 0, 3, np.nan, -1, np.inf], a=np.zeros(6))
    assert inputs.codes(asked)[:, 0].tolist() == [3, 1, 0, 0, 0, 0]


def test_a_category_nobody_has_is_always_unknown() -> None:
    rows = rows_of(("shop",), shop=[np.nan] * 4, a=[1, 2, 3, 4])
    inputs = Inputs.of(rows, np.arange(4.0))
    assert inputs.sizes == (0,)
    assert inputs.codes(rows).tolist() == [[0]] * 4


def test_features_are_found_by_name_whatever_their_order() -> None:
    rows = rows_of(("shop",), a=uneven(), shop=np.arange(500) % 3, b=uneven()[::-1])
    inputs = Inputs.of(rows, uneven())
    order = [2, 0, 1]
    turned = replace(rows, features=tuple(rows.features[i] for i in order), x=rows.x[:, order])
    assert inputs.numeric(turned, uneven()).tobytes() == inputs.numeric(rows, uneven()).tobytes()
    assert inputs.codes(turned).tobytes() == inputs.codes(rows).tobytes()


def test_json_gives_back_the_same() -> None:
    rows = rows_of(("shop",), a=np.where(np.arange(500) % 3, uneven(), np.nan), shop=np.arange(500) % 3)
    inputs = Inputs.of(rows, uneven())
    assert Inputs.from_dict(json.loads(json.dumps(inputs.to_dict()))) == inputs
