"""Rows of one source by time: the newest of every key, however the source comes in pieces, or all of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offline_parquet import DAY, T0, plan, sales
from polars.testing import assert_frame_equal

from foretail.core.errors import UsageError
from foretail.features.offline import pull as module
from foretail.features.offline.parquet import ParquetSource
from foretail.features.offline.plan import ViewJoin
from foretail.features.offline.pull import Pull, observed_rows, pull
from foretail.features.offline.scan import ALL_TIME, Span
from foretail.features.offline.times import to_microseconds

SALES = Pull(["store_id"], ["amount", "label"], "event_timestamp", "created_timestamp", newest=True)
OPEN = st.one_of(st.none(), st.integers(0, 9))


def source(folder: Path) -> ParquetSource:
    sales().write_parquet(folder / "sales.parquet", row_group_size=11)
    return ParquetSource("sales_features", str(folder / "sales.parquet"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(OPEN, st.integers(0, 1), OPEN, OPEN), min_size=1, max_size=30),
    ends=st.tuples(OPEN, OPEN),
    has_created=st.booleans(),
)
def test_the_newest_of_every_key_is_what_a_plain_loop_finds(tmp_path_factory, rows, ends, has_created) -> None:
    folder = tmp_path_factory.mktemp("pull")
    moments = [[None if time is None else T0 + DAY * time for time in row[2:]] for row in rows]
    frame = pl.DataFrame(
        [(*row[:2], *times, i) for i, (row, times) in enumerate(zip(rows, moments, strict=True))],
        schema={"a": pl.Int64, "b": pl.Int64, "t": TIMES, "c": TIMES, "i": pl.Int64},
        orient="row",
    )
    frame.write_parquet(folder / "x.parquet", row_group_size=3)
    best: dict[object, tuple[int, int, int]] = {}
    for i, (a, b, time, created) in enumerate(rows):
        outside = time is None or (ends[0] is not None and time < ends[0]) or (ends[1] is not None and time > ends[1])
        if not outside:
            rank = (time, -1 if created is None or not has_created else created, i)
            best[(a, b)] = max(best.get((a, b), rank), rank)
    what = Pull(["a", "b"], ["i"], "t", "c" if has_created else None, newest=True)
    span = Span(*(None if end is None else to_microseconds(T0 + DAY * end) for end in ends))
    got = pull(ParquetSource("x", str(folder / "x.parquet")), what, span)
    assert sorted(got["i"]) == sorted(rank[2] for rank in best.values())
    assert got.columns == ["a", "b", "i", "t", *(["c"] if has_created else [])]


TIMES = pl.Datetime("us", "UTC")


def test_pieces_do_not_change_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pull(source(tmp_path), SALES, ALL_TIME).sort("store_id")
    monkeypatch.setattr("foretail.features.offline.parquet.BATCH_ROWS", 10)
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    assert_frame_equal(pull(source(tmp_path), SALES, ALL_TIME).sort("store_id"), whole)
    assert whole.height == sales()["store_id"].n_unique()


def test_without_keys_there_is_one_newest_row(tmp_path: Path) -> None:
    whole = Pull([], ["amount"], "event_timestamp", None, newest=True)
    assert pull(source(tmp_path), whole, ALL_TIME)["event_timestamp"].to_list() == [sales()["event_timestamp"].max()]


def test_all_rows_come_in_order_and_without_features_every_column(tmp_path: Path) -> None:
    every = Pull(["store_id"], [], "event_timestamp", "created_timestamp", newest=False)
    assert_frame_equal(pull(source(tmp_path), every, ALL_TIME), sales())
    span = Span(to_microseconds(T0 + DAY), to_microseconds(T0 + 2 * DAY))
    inside = sales().filter(pl.col("event_timestamp").is_between(T0 + DAY, T0 + 2 * DAY))
    assert_frame_equal(pull(source(tmp_path), every, span), inside)


def test_rows_that_the_views_hold_themselves(tmp_path: Path) -> None:
    views = plan(tmp_path).views
    span = Span(to_microseconds(T0), to_microseconds(T0 + DAY))
    got = observed_rows(views, span).frame()
    inside = sales().filter(pl.col("event_timestamp") <= T0 + DAY).select("event_timestamp", "store_id")
    assert_frame_equal(got, inside.unique().sort("event_timestamp", "store_id"))


def test_views_of_which_none_has_all_keys_give_no_rows(tmp_path: Path) -> None:
    first, second = plan(tmp_path).views
    other = ViewJoin(second.source, "event_timestamp", None, (("dept_id", "store_id"),), (("size", "size"),), None)
    with pytest.raises(UsageError, match=r"no view holds all of the keys store_id, dept_id[^$]*give entity_df"):
        observed_rows((first, other), ALL_TIME)
