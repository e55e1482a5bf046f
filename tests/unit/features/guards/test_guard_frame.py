"""Nulls, constants, ranges, infinities and drift are found in the split in which they are, and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from guard_chain import Chain

from foretail.core.errors import DataError, UsageError
from foretail.features.guards import (
    GuardFinding,
    check_counts,
    check_frame,
    guard_frame,
    guard_table,
    limits_of,
    measure,
    period_splits,
    refuse,
)


@pytest.fixture
def splits(chain: Chain) -> dict[str, pl.Series]:
    return period_splits(chain.training["event_timestamp"])


def changed(frame: pl.DataFrame, mask: pl.Series, name: str, value: object) -> pl.DataFrame:
    """The frame with another value in some rows of one column."""
    where = pl.when(mask).then(pl.lit(value, frame.schema[name]))
    return frame.with_columns(where.otherwise(pl.col(name)).alias(name))


def first_rows(mask: pl.Series, n: int) -> pl.Series:
    """The first n rows of a split."""
    return mask & (mask.cast(pl.Int64).cum_sum() <= n)


def found_of(findings: list[GuardFinding], name: str) -> list[tuple[str, str, bool]]:
    return [
        (item.split, item.what, item.is_error) for item in findings if item.feature == name and item.what != "drift"
    ]


def test_a_sound_training_set_is_not_refused(chain: Chain, splits: dict[str, pl.Series]) -> None:
    findings = check_frame(chain.training, chain.declaration, splits)
    assert {item.what for item in findings} <= {"drift"}
    refuse(findings)
    drifting = {item.feature for item in findings}
    assert "temperature" in drifting  # spring is not the year
    assert drifting <= {"temperature", "fuel_price", "cpi", "unemployment"}


def test_nulls_are_found_beyond_the_limit_and_not_at_it(chain: Chain, splits: dict[str, pl.Series]) -> None:
    rows = int(splits["test"].sum())
    limit = {"lag_1": {"null_share": 40 / rows}}
    at = changed(chain.training, first_rows(splits["test"], 40), "lag_1", None)
    beyond = changed(chain.training, first_rows(splits["test"], 41), "lag_1", None)
    assert found_of(check_frame(at, chain.declaration, splits, limits=limit), "lag_1") == []
    (finding,) = [item for item in check_frame(beyond, chain.declaration, splits, limits=limit) if item.is_error]
    assert (finding.feature, finding.split, finding.what) == ("lag_1", "test", "null share")
    assert (finding.value, finding.limit) == (41 / rows, 40 / rows)
    with pytest.raises(DataError, match=r"'lag_1' has no value in 5\.12% of the rows, at most 5\.00%") as caught:
        refuse([finding])
    assert "split 'test'" in str(caught.value)
    assert caught.value.problems[0].fix


def test_nan_is_no_value(chain: Chain, splits: dict[str, pl.Series]) -> None:
    frame = changed(chain.training, splits["validation"], "lag_1", math.nan)
    assert found_of(check_frame(frame, chain.declaration, splits), "lag_1") == [("validation", "null share", True)]


def test_values_filled_with_one_number_are_found(chain: Chain, splits: dict[str, pl.Series]) -> None:
    everywhere = chain.training.with_columns(lag_1=pl.lit(0.0))
    later = changed(chain.training, splits["test"], "lag_1", 0.0)
    assert found_of(check_frame(everywhere, chain.declaration, splits), "lag_1") == [
        ("train", "constant", True),
        ("validation", "constant", False),
        ("test", "constant", False),
    ]
    findings = check_frame(later, chain.declaration, splits)
    assert found_of(findings, "lag_1") == [("test", "constant", False)]
    assert ("lag_1", "test", "drift") in {(item.feature, item.split, item.what) for item in findings}


def test_a_short_split_may_hold_one_value(chain: Chain, splits: dict[str, pl.Series]) -> None:
    masks = {"train": splits["train"], "test": first_rows(splits["test"], 19)}
    frame = changed(chain.training, masks["test"], "lag_1", 7.0)
    assert found_of(check_frame(frame, chain.declaration, masks, time=None), "lag_1") == []


def test_values_out_of_range_are_found(chain: Chain, splits: dict[str, pl.Series]) -> None:
    frame = changed(chain.training, first_rows(splits["validation"], 1), "temperature", -99.0)
    frame = changed(frame, first_rows(splits["test"], 1), "temperature", 999.0)
    frame = changed(frame, first_rows(splits["train"], 3), "cpi", math.inf)
    findings = check_frame(frame, chain.declaration, splits)
    assert found_of(findings, "temperature") == [("validation", "below", True), ("test", "above", True)]
    assert found_of(findings, "cpi") == [("train", "infinite", True)]
    (below,) = [item for item in findings if item.what == "below"]
    assert (below.value, below.limit) == (-99.0, -60.0)


def test_drift_is_told_and_refused_only_when_strict(chain: Chain, splits: dict[str, pl.Series]) -> None:
    doubled = pl.when(splits["test"]).then(3 * pl.col("lag_1")).otherwise("lag_1")
    findings = check_frame(chain.training.with_columns(doubled.alias("lag_1")), chain.declaration, splits)
    (drift,) = [item for item in findings if item.feature == "lag_1"]
    assert (drift.split, drift.what, drift.is_error) == ("test", "drift", False)
    refuse(findings)
    with pytest.raises(DataError, match="'lag_1' has a stability index"):
        refuse(findings, strict=True)


def test_the_calendar_is_exempt_from_drift(chain: Chain, splits: dict[str, pl.Series]) -> None:
    strict = {"*": {"drift": 0.0}}
    limits = limits_of(chain.declaration)
    there = {name: limits[name] for name in chain.training.columns if name in limits}
    measured = measure(chain.training, splits, there)
    with_drift = set(measured.filter(pl.col("drift").is_not_null())["feature"])
    assert "lag_1" in with_drift
    assert not with_drift & {"week_of_year", "month", "is_holiday", "store_size", "region", "store_type"}
    every = check_frame(chain.training, chain.declaration, splits, limits=strict)
    assert ("month", "test") in {(item.feature, item.split) for item in every if item.what == "drift"}


def test_columns_that_are_missing_or_of_another_type(chain: Chain, splits: dict[str, pl.Series]) -> None:
    frame = chain.training.drop("lag_4").with_columns(pl.col("lag_2").cast(pl.String), region=pl.lit(1))
    names = ["lag_1", "lag_2", "lag_4", "region"]
    findings = check_frame(frame, chain.declaration, splits, features=names)
    wrong = [(item.feature, item.split, item.what) for item in findings if item.is_error]
    assert wrong == [("lag_4", "all", "missing"), ("lag_2", "all", "type"), ("region", "all", "type")]
    with pytest.raises(DataError, match="'lag_4' is not in the table"):
        refuse(findings)


def test_full_feature_names_are_known(chain: Chain, splits: dict[str, pl.Series]) -> None:
    frame = chain.training.rename({"lag_1": "sales_features__lag_1"})
    frame = changed(frame, splits["test"], "sales_features__lag_1", None)
    findings = check_frame(frame, chain.declaration, splits, features=["lag_1"])
    assert found_of(findings, "sales_features__lag_1") == [("test", "null share", True)]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"features": ["lag_3"]}, "there is no feature 'lag_3'"), ({"time": "day"}, "no column 'day'")],
)
def test_names_that_do_not_exist(
    chain: Chain, splits: dict[str, pl.Series], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_frame(chain.training, chain.declaration, splits, **options)  # type: ignore[arg-type]


def test_random_splits_are_refused(chain: Chain) -> None:
    drawn = pl.Series(np.random.default_rng(0).random(chain.training.height) < 0.7)
    with pytest.raises(DataError, match="before split 'train' has ended"):
        check_frame(chain.training, chain.declaration, {"train": drawn, "test": ~drawn})
    assert check_frame(chain.training, chain.declaration, {"train": drawn, "test": ~drawn}, time=None) == []


def test_an_empty_training_set_has_no_findings(chain: Chain) -> None:
    empty = chain.training.clear()
    assert check_frame(empty, chain.declaration, {"train": pl.lit(True, pl.Boolean)}, time=None) == []


def test_findings_as_a_table_and_as_text(chain: Chain, splits: dict[str, pl.Series]) -> None:
    frame = changed(chain.training, splits["validation"], "lag_1", None)
    findings = check_frame(frame, chain.declaration, splits)
    lines = guard_table(findings).splitlines()
    assert len(lines) == len(findings) + 1
    assert lines[1].split("  ")[0] == "error"
    assert "has no value in 100.00% of the rows" in lines[1]
    table = guard_frame(findings)
    assert table.columns == ["feature", "split", "what", "value", "limit", "is_error"]
    assert table.height == len(findings)
    assert guard_frame([]).schema == table.schema
    assert guard_table([]) == "Every feature is within its limits in every split."


def test_rows_in_are_rows_out() -> None:
    check_counts(65_520, 65_520)
    with pytest.raises(DataError, match="65,520 entity rows went in and 68,848 rows came out"):
        check_counts(65_520, 68_848)
    with pytest.raises(DataError, match="none may be dropped"):
        check_counts(10, 9)
