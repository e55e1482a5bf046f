"""Limits are those declared, changed by name; what does not exist is refused with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest
from guard_chain import Chain

from foretail.core.errors import DataError, UsageError
from foretail.features.guards import GuardLimits, limits_of, read_limits


def test_every_feature_has_limits_and_declared_ones_are_kept(chain: Chain) -> None:
    limits = limits_of(chain.declaration)
    for view in chain.declaration.views:
        for feature in view.features:
            found = limits[feature.name]
            declared = feature.limits
            assert (found.null_share, found.low, found.high) == (declared.null_share, declared.low, declared.high)


def test_calendar_and_static_features_may_move_and_lags_may_not(chain: Chain) -> None:
    limits = limits_of(chain.declaration)
    for name in ("week_of_year", "is_holiday", "days_to_holiday", "store_size", "region", "season_sin"):
        assert (limits[name].drift, limits[name].constant) == (None, True), name
    for name in ("lag_1", "rolling_mean_4w", "sales_vs_avg", "weekly_sales", "cpi"):
        assert (limits[name].drift, limits[name].constant) == (0.25, False), name


def test_overrides_by_name_go_before_those_for_all(chain: Chain) -> None:
    limits = limits_of(chain.declaration, {"lag_8": {"null_share": 0.5}, "*": {"null_share": 0.01, "drift": False}})
    assert limits["lag_8"] == GuardLimits(null_share=0.5, drift=None)
    assert limits["lag_1"] == GuardLimits(null_share=0.01, drift=None)


def test_overrides_from_a_file(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text('["*"]\nnull_share = 0.1\n[temperature]\nlow = -60\nconstant = true\n')
    limits = limits_of(chain.declaration, read_limits(path))
    assert limits["temperature"].low == -60
    assert limits["temperature"].constant
    assert limits["store_size"].null_share == 0.1


@pytest.mark.parametrize("text", ["null_share = 0.1\n", "[lag_1\n", "\xff"])
def test_files_that_hold_no_limits(tmp_path: Path, text: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"limits\.toml"):
        read_limits(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_limits(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lag_9": {"low": 0}}, "there is no feature 'lag_9'"),
        ({"lag_1": {"lowest": 0}}, "there is no limit 'lowest'"),
        ({"lag_1": {"null_share": 1.5}}, "null_share = 1.5 is no limit"),
        ({"lag_1": {"null_share": None}}, "null_share = None is no limit"),
        ({"lag_1": {"low": "0"}}, "low = '0' is no limit"),
        ({"lag_1": {"high": True}}, "high = True is no limit"),
        ({"lag_1": {"constant": 1}}, "constant = 1 is no limit"),
    ],
)
def test_limits_that_are_none(chain: Chain, overrides: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        limits_of(chain.declaration, overrides)
