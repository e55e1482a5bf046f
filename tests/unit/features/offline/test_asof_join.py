"""As-of joins by row number, against plain loops over generated cases, on both of the ways a row is found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretail.core.errors import DataError
from foretail.features.offline import join
from foretail.features.offline.join import CREATED, TIME, Keys, asof_rows, check_keys, take

MAKES = {  # how a small number becomes a key, so that order and equality of keys can go wrong in each type's own way
    "integer": (lambda k: k, pl.Int64),
    "far integer": (lambda k: k * 2**60 - 2**62, pl.Int64),
    "small integer": (lambda k: k, pl.Int8),
    "text": (lambda k: "1" * (k + 1), pl.String),
    "double": (lambda k: k / 4, pl.Float64),
    "date": (lambda k: dt.date(2024, 1, 1 + k), pl.Date),
    "truth": (lambda k: k > 1, pl.Boolean),
}
key = st.one_of(st.none(), st.integers(0, 3))
left_rows = st.lists(st.tuples(key, key, st.one_of(st.none(), st.integers(0, 9))), max_size=10)
right_rows = st.lists(st.tuples(key, key, st.integers(0, 9), st.one_of(st.none(), st.integers(0, 12))), max_size=14)


@pytest.fixture(params=["by table", "by search"])
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Small cases would all be found by table; without its allowance all are found by search, on compacted keys."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "by search":
            patch.setattr(join, "_SMALL", -(10**6))
        yield request.param


def expected(left: list[Any], right: list[Any], ttl: int | None, as_known: bool, n_keys: int) -> list[int]:
    """For each left row the best right row, looked for one by one."""
    found = []
    for *keys, time in left:
        best: tuple[int, float, int] | None = None
        for row, (*others, event, created) in enumerate(right):
            same = all(a is not None and a == b for a, b in zip(keys[:n_keys], others[:n_keys], strict=True))
            if not same or time is None or event > time or (ttl is not None and time - event > ttl):
                continue
            if as_known and (created is None or created > time):
                continue
            best = max(best or (-1, 0.0, -1), (event, -np.inf if created is None else created, row))
        found.append(-1 if best is None else best[2])
    return found


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=left_rows,
    right=right_rows,
    ttl=st.one_of(st.none(), st.integers(0, 5)),
    as_known=st.booleans(),
    n_keys=st.integers(0, 2),
    kinds=st.tuples(st.sampled_from(sorted(MAKES)), st.sampled_from(sorted(MAKES))),
)
def test_rows_are_those_that_a_plain_loop_finds(path, left, right, ttl, as_known, n_keys, kinds) -> None:
    makes = [MAKES[kind] for kind in kinds]

    def rows(given: list[Any], more: dict[str, Any]) -> tuple[pl.DataFrame, list[Any]]:
        keyed = [[None if k is None else make(k) for k, (make, _) in zip(row, makes, strict=False)] for row in given]
        schema = {"a": makes[0][1], "b": makes[1][1], **more}
        plain = [(*new, *row[2:]) for new, row in zip(keyed, given, strict=True)]
        return pl.DataFrame(plain, schema=schema, orient="row"), plain

    ours, left_plain = rows(left, {TIME: pl.Int64})
    theirs, right_plain = rows(right, {TIME: pl.Int64, CREATED: pl.Int64})
    keys = Keys(("a", "b")[:n_keys], ("a", "b")[:n_keys])
    got = asof_rows(ours, theirs, keys, ttl=ttl, as_known=as_known)
    assert got.tolist() == expected(left_plain, right_plain, ttl, as_known, n_keys)


def test_composite_keys_are_not_glued_together(path) -> None:
    left = pl.DataFrame({"a": [1, 11], "b": [11, 1], TIME: [5, 5]})
    right = pl.DataFrame({"a": [11, 1], "b": [1, 11], TIME: [1, 1]})
    assert asof_rows(left, right, Keys(("a", "b"), ("a", "b"))).tolist() == [1, 0]
    texts = Keys(("a", "b"), ("a", "b"))
    as_text = [frame.with_columns(pl.col("a", "b").cast(pl.String)) for frame in (left, right)]
    assert asof_rows(*as_text, texts).tolist() == [1, 0]


def test_many_wide_keys_do_not_overflow(path) -> None:
    names = [f"k{i}" for i in range(9)]
    rng = np.random.default_rng(3)
    right = pl.DataFrame({name: rng.integers(-(2**62), 2**62, 300) for name in names}).with_columns(
        pl.lit(0, dtype=pl.Int64).alias(TIME)
    )
    order = rng.permutation(300)
    keys = Keys(tuple(names), tuple(names))
    assert asof_rows(right[order], right, keys).tolist() == order.tolist()


def test_whole_doubles_match_integers_and_nothing_else_does(path) -> None:
    left = pl.DataFrame({"a": [1.0, 1.5, None, float("nan"), 1e300, 2.0**53], TIME: [5] * 6})
    right = pl.DataFrame({"a": [1, 2**53], TIME: [5, 5]})
    assert asof_rows(left, right, Keys(("a",), ("a",))).tolist() == [0, -1, -1, -1, -1, 1]
    assert asof_rows(right, left, Keys(("a",), ("a",))).tolist() == [0, 5]


def test_not_a_number_matches_nothing(path) -> None:
    frame = pl.DataFrame({"a": [float("nan"), 0.5], TIME: [5, 5]})
    assert asof_rows(frame, frame, Keys(("a",), ("a",))).tolist() == [-1, 1]


def test_categories_match_texts(path) -> None:
    left = pl.DataFrame({"a": ["x", "y"], TIME: [5, 5]}, schema_overrides={"a": pl.Categorical})
    right = pl.DataFrame({"a": ["y", "x"], TIME: [5, 5]})
    assert asof_rows(left, right, Keys(("a",), ("a",))).tolist() == [1, 0]


def test_large_unsigned_keys_match_nothing_by_chance(path) -> None:
    left = pl.DataFrame({"a": [2**64 - 1, 7], TIME: [5, 5]}, schema_overrides={"a": pl.UInt64})
    right = pl.DataFrame({"a": [-1, 7], TIME: [5, 5]})
    assert asof_rows(left, right, Keys(("a",), ("a",))).tolist() == [-1, 1]


def test_life_ends_with_its_last_microsecond(path) -> None:
    left = pl.DataFrame({TIME: [0, 10, 11]})
    right = pl.DataFrame({TIME: [0]})
    assert asof_rows(left, right, Keys((), ()), ttl=10).tolist() == [0, 0, -1]


def test_an_overtaken_restatement_does_not_come_back(path) -> None:
    """The old value of time 1 is restated at 9, after the value of time 2 was known: nobody may see it again."""
    right = pl.DataFrame({TIME: [1, 2, 1], CREATED: [1, 3, 9]})
    left = pl.DataFrame({TIME: [1, 2, 3, 9, 20]})
    assert asof_rows(left, right, Keys((), ()), as_known=True).tolist() == [0, 0, 1, 1, 1]
    assert asof_rows(left, right, Keys((), ())).tolist() == [2, 1, 1, 1, 1]


def test_keys_of_different_kinds_are_refused_all_at_once() -> None:
    left = pl.Schema({"a": pl.String, "b": pl.Int64, "c": pl.Null})
    right = pl.Schema({"a": pl.Int64, "b": pl.Date, "c": pl.Int64})
    with pytest.raises(DataError) as caught:
        check_keys(left, right, Keys(("a", "b", "c"), ("a", "b", "c")), "sales, sales.parquet")
    assert len(caught.value.problems) == 2
    assert "'a' is String in the entity rows and Int64 in the source" in str(caught.value)
    assert "sales, sales.parquet" in str(caught.value)


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, -1, 0, 0], [-1, -1], []])
def test_rows_are_taken_by_number_and_minus_one_is_null(rows: list[int]) -> None:
    frame = pl.DataFrame({"x": [1.5, None, 3.5], "t": ["a", "b", None]})
    got = take(frame, np.array(rows, dtype=np.int64))
    assert got.rows() == [(None, None) if row < 0 else frame.row(row) for row in rows]
    assert got.schema == frame.schema


def test_all_rows_in_order_are_the_frame_itself() -> None:
    frame = pl.DataFrame({"x": [1, 2]})
    assert take(frame, np.arange(2)) is frame


def test_nothing_can_be_taken_from_an_empty_frame_but_nulls() -> None:
    frame = pl.DataFrame(schema={"x": pl.Int64, "t": pl.String})
    got = take(frame, np.full(2, -1))
    assert got.rows() == [(None, None)] * 2 and got.schema == frame.schema
