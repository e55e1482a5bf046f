"""What XGBoost promises beyond the contract and what it shares with LightGBM."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_single_families import panel_of, weekly_wave

from foretail.core.errors import MissingExtraError
from foretail.models.families import make
from foretail.models.xgboost import XGBoost, _finite


def small(**params: Any) -> XGBoost:
    return XGBoost(**{"rounds": 20, "n_threads": 1, **params})


def test_trees_are_kept_in_the_format_of_the_library(tmp_path: Path) -> None:
    panel = panel_of(weekly_wave(8, 300))
    small(heads="quantile").fit(panel, 7).save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"xgboost.json", "trees.json", "trees_q2_5.json", "trees_q50.json", "trees_q97_5.json"} <= names
    assert "learner" in json.loads((tmp_path / "trees.json").read_text())


def test_parameters_of_the_library_can_be_overridden_and_survive(tmp_path: Path) -> None:
    panel = panel_of(weekly_wave(12, 300))
    model = small(xgboost={"max_leaves": 2, "max_bin": 16}).fit(panel, 7)
    trees = model.boosters_[0].get_dump()
    assert max(tree.count("leaf") for tree in trees) <= 2
    model.save(tmp_path)
    assert XGBoost.load(tmp_path).xgboost == {"max_leaves": 2, "max_bin": 16}


def test_infinite_features_are_taken_as_the_largest_number() -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1.0]], dtype=np.float32)
    found = _finite(x)
    assert np.isfinite(found[0, [0, 1, 3]]).all()
    assert np.isnan(found[0, 2])
    assert found[0, 0] == -found[0, 1] > 1e38


def test_what_the_trees_use_is_named() -> None:
    model = small().fit(panel_of(weekly_wave(12, 300)), 7)
    found = dict(model.importance())
    assert found
    assert set(found) <= set(model.names_)
    assert sum(found.values()) == pytest.approx(1.0)


def test_a_missing_library_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "xgboost" else there(name))
    with pytest.raises(MissingExtraError, match=r"xgboost is not installed.*\n.*foretail\[xgboost\]"):
        make("xgboost")
