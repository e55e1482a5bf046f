"""A panel says what the table says, whatever the order, the types and the holes of its rows."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_cases import daily, days, names_of, same_panel, spec, weekly

from foretail.core.errors import DataError, UsageError
from foretail.core.frequency import Frequency
from foretail.core.spec import PastCovariate
from foretail.panel.build import build_panel
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.sources.table import Table


def test_cells_are_where_the_rows_say() -> None:
    frame = pl.DataFrame(
        {
            "store": [10, 9, 10, 9],
            "item": ["b", "a", "b", "a"],
            "date": [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3), dt.date(2024, 1, 3)],
            "sales": [1, 2, 3, 4],
        }
    )
    built = build_panel(Table(frame, spec(keys=("store", "item"), horizon=2)))
    panel = built.panel
    assert panel.unique_ids == ["9/a", "10/b"]  # numbers in the order of numbers
    assert panel.series.columns == ["unique_id", "store", "item"]
    np.testing.assert_array_equal(panel.y, [[np.nan, 2, 4], [1, np.nan, 3]])
    assert panel.cutoff == dt.date(2024, 1, 3)
    assert panel.closed.shape == (2, 5)
    assert built.requested.rows() == [
        ("9/a", 9, "a", dt.date(2024, 1, 4), 1),
        ("9/a", 9, "a", dt.date(2024, 1, 5), 2),
        ("10/b", 10, "b", dt.date(2024, 1, 4), 1),
        ("10/b", 10, "b", dt.date(2024, 1, 5), 2),
    ]
    assert built.quality.n_rows == 4 and built.quality.total == 10.0
    assert built.quarantine.is_empty() and built.cold.is_empty()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_order_of_rows_never_matters(seed: int) -> None:
    world = generate(
        SyntheticConfig(periods=60, stores=2, products=3, horizon=7, restated_share=0.1, duplicate_share=0.1)
    )
    shuffled = world.frame.sample(fraction=1.0, shuffle=True, seed=seed)
    cutoff = dt.date(2022, 2, 20)
    first = build_panel(Table(world.frame, world.spec, world.future), cutoff=cutoff)
    second = build_panel(Table(shuffled, world.spec, world.future), cutoff=cutoff)
    same_panel(first.panel, second.panel)
    assert first.requested.equals(second.requested)
    assert first.quality == second.quality


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_summed_lines_do_not_depend_on_their_order(seed: int) -> None:
    rng = np.random.default_rng(5)
    frame = pl.DataFrame(
        {
            "store": rng.integers(0, 3, 400),
            "date": np.datetime64("2024-01-01") + rng.integers(0, 20, 400).astype("timedelta64[D]"),
            "sales": rng.normal(0, 1e6, 400) ** 3,
        }
    )
    table = Table(frame, spec(duplicates="sum"))
    shuffled = Table(frame.sample(fraction=1.0, shuffle=True, seed=seed), table.spec)
    same_panel(build_panel(table).panel, build_panel(shuffled).panel)


@given(
    cells=st.dictionaries(
        st.tuples(st.integers(1, 4), st.integers(0, 30)), st.integers(-5, 50), min_size=1, max_size=60
    )
)
@settings(max_examples=60, deadline=None)
def test_missing_gaps_keep_exactly_what_was_told(cells: dict[tuple[int, int], int]) -> None:
    frame = pl.DataFrame(
        {
            "store": [store for store, _ in cells],
            "date": [days(31)[day] for _, day in cells],
            "sales": list(cells.values()),
        }
    )
    panel = build_panel(Table(frame, spec(horizon=1, gaps="missing"))).panel
    origin = int(Frequency("D").to_index(np.array(["2024-01-01"], dtype="datetime64[D]"))[0])
    told = {
        (int(panel.unique_ids[i]), int(panel.start + j - origin)): int(panel.y[i, j])
        for i, j in zip(*np.nonzero(panel.observed), strict=True)
    }
    assert told == cells


def test_one_row() -> None:
    built = build_panel(Table(daily(1, 1), spec(horizon=1)))
    assert built.panel.y.shape == (1, 1)
    assert built.requested.height == 1
    assert "short_series" in names_of(built)


def test_one_series_without_keys() -> None:
    frame = daily(1, 30).drop("store")
    built = build_panel(Table(frame, spec(keys=(), horizon=3)))
    assert built.panel.unique_ids == ["all"]
    assert built.panel.series.columns == ["unique_id"]
    assert built.requested.columns == ["unique_id", "ds", "step"]
    assert built.requested["ds"].to_list() == [dt.date(2024, 1, 31), dt.date(2024, 2, 1), dt.date(2024, 2, 2)]


def test_a_table_that_is_called_like_the_inside() -> None:
    frame = daily(2, 20).rename({"store": "unique_id", "date": "ds", "sales": "y"})
    built = build_panel(Table(frame, spec(keys=("unique_id",), time="ds", target="y", horizon=2)))
    assert built.panel.series.columns == ["unique_id"]
    assert built.panel.unique_ids == ["1", "2"]
    assert built.requested.columns == ["unique_id", "ds", "step"]


def test_all_zero() -> None:
    built = build_panel(Table(daily(3, 40).with_columns(sales=pl.lit(0)), spec()))
    assert (built.panel.y == 0).all()
    assert built.quality.zero_share == 1.0
    assert "zero_series" in names_of(built)
    assert not built.panel.closed.any()


def test_all_null_is_an_error_and_a_null_series_is_cold() -> None:
    frame = daily(2, 20).with_columns(sales=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(DataError, match="the target has no value"):
        build_panel(Table(frame, spec()))
    one_null = daily(2, 20).with_columns(sales=pl.when(store=1).then(pl.col("sales")))
    built = build_panel(Table(one_null, spec(horizon=3)))
    assert built.panel.unique_ids == ["1"]
    assert built.cold["unique_id"].to_list() == ["2"]
    assert built.requested.height == 6


def test_a_null_value_is_missing_and_never_zero() -> None:
    frame = daily(1, 30).with_columns(sales=pl.when(pl.col("date") != dt.date(2024, 1, 10)).then(pl.col("sales")))
    built = build_panel(Table(frame, spec(gaps="zero")))
    assert np.isnan(built.panel.y[0, 9])
    assert "missing_values" in names_of(built)


def test_dates_of_any_type_are_the_same_days() -> None:
    frame = daily(2, 40)
    expected = build_panel(Table(frame, spec())).panel
    for dates in (
        pl.col("date").cast(pl.String),
        pl.col("date").cast(pl.Datetime("us")) + pl.duration(hours=15),
        pl.col("date").cast(pl.Datetime("ms")).dt.replace_time_zone("Europe/Berlin"),
    ):
        same_panel(build_panel(Table(frame.with_columns(dates), spec())).panel, expected)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "UTC"])
@given(hour=st.integers(4, 23))
@settings(max_examples=5, deadline=None)
def test_a_zoned_timestamp_counts_on_its_local_day(zone: str, hour: int) -> None:
    # 2024 holds both changes of the clock in every zone that has them
    frame = daily(1, 366)
    stamps = (pl.col("date").cast(pl.Datetime("us")) + pl.duration(hours=hour)).dt.replace_time_zone(zone)
    built = build_panel(Table(frame.with_columns(stamps), spec()))
    np.testing.assert_array_equal(built.panel.y[0], frame["sales"].to_numpy())


def test_hourly_rows_of_a_day_with_a_changed_clock_make_one_day() -> None:
    hours = pl.datetime_range(
        dt.datetime(2024, 3, 29), dt.datetime(2024, 4, 1, 23), "1h", time_zone="Europe/Berlin", eager=True
    )
    frame = pl.DataFrame({"store": 1, "date": hours, "sales": 1.0})
    panel = build_panel(Table(frame, spec(duplicates="sum", horizon=1))).panel
    np.testing.assert_array_equal(panel.y, [[24, 24, 23, 24]])


def test_leap_days_have_their_own_cell() -> None:
    frame = daily(1, 70)
    panel = build_panel(Table(frame, spec())).panel
    assert panel.dates()[59] == np.datetime64("2024-02-29")
    assert panel.y[0, 59] == frame["sales"][59]
    monthly = pl.DataFrame({"store": 1, "date": [dt.date(2024, 1, 31), dt.date(2024, 2, 29)], "sales": [1.0, 2.0]})
    panel = build_panel(Table(monthly, spec(freq="ME", horizon=1))).panel
    np.testing.assert_array_equal(panel.y, [[1, 2]])
    assert str(panel.future_dates(1)[0]) == "2024-03-31"


@pytest.mark.parametrize("anchor", range(7))
def test_week_anchors(anchor: int) -> None:
    code = "W-" + ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")[anchor]
    frame = weekly(2, 30, anchor)
    built = build_panel(Table(frame, spec(freq=code, horizon=4)))
    assert built.panel.y.shape == (2, 30)
    assert not np.isnan(built.panel.y).any()
    assert all(date.weekday() == anchor for date in built.requested["ds"])
    other = "W-" + ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")[(anchor + 1) % 7]
    with pytest.raises(DataError, match=f"--freq {code} fits every date"):
        build_panel(Table(frame, spec(freq=other, horizon=4)))


def test_a_weekly_table_called_daily_is_told() -> None:
    built = build_panel(Table(weekly(2, 30, 4), spec(freq="D")))
    assert "--freq W-FRI is probably meant" in names_of(built)["frequency"].text


def test_irregular_dates_are_shown() -> None:
    frame = weekly(1, 30, 4)
    shifted = frame.with_columns(
        pl.when(pl.col("date") == frame["date"][12]).then(pl.col("date") + pl.duration(days=2)).otherwise("date")
    )
    with pytest.raises(DataError, match=r"1 of 30 dates are not on the time line W-FRI(.|\n)*W-FRI fits 97%"):
        build_panel(Table(shifted, spec(freq="W-FRI", horizon=4)))


def test_keys_of_any_type() -> None:
    frame = daily(2, 20)
    for keys, names in (
        (pl.col("store").cast(pl.Float64), ["1", "2"]),
        (pl.col("store").cast(pl.String).cast(pl.Categorical), ["1", "2"]),
        (pl.format("00{}", "store"), ["001", "002"]),
        (pl.col("store") == 1, ["false", "true"]),
    ):
        assert build_panel(Table(frame.with_columns(keys.alias("store")), spec())).panel.unique_ids == names


def test_colliding_names_are_an_error() -> None:
    frame = pl.DataFrame({"a": ["x/y", "x"], "b": ["z", "y/z"], "date": [dt.date(2024, 1, 1)] * 2, "sales": [1.0, 2.0]})
    with pytest.raises(DataError, match="two series get the same name"):
        build_panel(Table(frame, spec(keys=("a", "b"), horizon=1)))


def test_rows_without_a_place_are_set_aside_with_a_reason() -> None:
    frame = daily(2, 20).cast({"sales": pl.Float64})
    bad = pl.DataFrame(
        {
            "store": [None, 1, 1],
            "date": [dt.date(2024, 1, 5), None, dt.date(2024, 1, 21)],
            "sales": [5.0, 6.0, float("inf")],
        },
        schema=frame.schema,
    )
    built = build_panel(Table(pl.concat([frame, bad]), spec(gaps="zero")))
    assert sorted(built.quarantine.rows(), key=str) == sorted(
        [
            (None, dt.date(2024, 1, 5), 5.0, "no value in the key store"),
            (1, None, 6.0, "no date in date"),
            (1, dt.date(2024, 1, 21), float("inf"), "sales is not a finite number"),
        ],
        key=str,
    )
    clean = build_panel(Table(frame, spec(gaps="zero")))
    same_panel(built.panel, clean.panel)
    assert built.quality.findings[0].n == 3


def test_an_infinite_value_is_no_gap() -> None:
    frame = daily(1, 30).with_columns(
        sales=pl.when(pl.col("date") == dt.date(2024, 1, 10)).then(float("inf")).otherwise(pl.col("sales"))
    )
    panel = build_panel(Table(frame, spec(gaps="zero"))).panel
    assert np.isnan(panel.y[0, 9])


def test_nothing_but_rows_without_a_place() -> None:
    with pytest.raises(DataError, match="no row has both a date and its keys"):
        build_panel(Table(daily(2, 5).with_columns(store=pl.lit(None, dtype=pl.Int64)), spec()))


def test_every_missing_column_is_named_at_once() -> None:
    with pytest.raises(DataError) as caught:
        build_panel(Table(daily(1, 5), spec(target="sale", known=("promo",), static=("kind",))))
    assert [problem.what for problem in caught.value.problems] == [
        "the column 'sale' is missing",
        "the column 'kind' is missing",
        "the column 'promo' is missing",
    ]
    assert "did you mean 'sales'" in caught.value.problems[0].fix


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.clear(), "the table has no rows"),
        (lambda frame: frame.with_columns(sales=pl.lit("many")), "text in the target"),
        (lambda frame: frame.with_columns(date=pl.lit("yesterday")), "unparsable dates"),
        (lambda frame: pl.concat([frame, frame.head(3)]), "two rows or more for the same keys and date"),
        (lambda frame: frame.rename({"store": "step"}), "the column 'store' is missing"),
    ],
)
def test_bad_tables(change: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_panel(Table(change(daily(2, 20)), spec()))  # type: ignore[operator]


def test_reserved_names_and_an_unknown_open_column() -> None:
    with pytest.raises(DataError, match="cannot be called 'step'"):
        build_panel(Table(daily(1, 5).rename({"store": "step"}), spec(keys=("step",))))
    with pytest.raises(DataError, match="open = 'shut' is no known covariate"):
        build_panel(Table(daily(1, 5), spec(open="shut")))


def test_the_horizon_must_fit_the_history() -> None:
    with pytest.raises(DataError, match=r"the horizon \(21\) is longer than the history \(20 days\)"):
        build_panel(Table(daily(1, 20), spec()), horizon=21)
    with pytest.raises(UsageError):
        build_panel(Table(daily(1, 20), spec()), horizon=0)


def test_absurd_dates_are_refused_before_memory_is_gone() -> None:
    frame = daily(200_000, 1)
    absurd = frame.with_columns(pl.when(store=1).then(dt.date(1900, 1, 1)).otherwise("date").alias("date"))
    with pytest.raises(DataError, match="too far apart"):
        build_panel(Table(absurd, spec()))


def test_negatives_are_kept_or_clipped_as_told() -> None:
    frame = daily(1, 20).with_columns(sales=pl.when(pl.col("date") == dt.date(2024, 1, 2)).then(-4).otherwise("sales"))
    kept = build_panel(Table(frame, spec()))
    assert kept.panel.y[0, 1] == -4
    assert names_of(kept)["negatives"].level == "info"
    clipped = build_panel(Table(frame, spec(negatives="clip")))
    assert clipped.panel.y[0, 1] == 0
    assert names_of(clipped)["negatives"].level == "repaired"


def test_static_columns_and_their_changes() -> None:
    frame = daily(2, 20).with_columns(
        kind=pl.when(store=1)
        .then(pl.lit("a"))
        .when(pl.col("date") > days(15)[-1])
        .then(pl.lit("c"))
        .otherwise(pl.lit("b")),
        size=pl.when(pl.col("date") > days(3)[-1]).then(pl.col("store") * 10),
    )
    built = build_panel(Table(frame, spec(static=("kind", "size"))))
    assert built.panel.series.rows() == [("1", 1, "a", 10), ("2", 2, "b", 20)]
    assert names_of(built)["static_changes"].n == 1


def test_covariates_are_numbers_codes_and_truth() -> None:
    frame = daily(2, 20).with_columns(
        price=pl.col("store") + 0.5,
        promo=pl.col("date").dt.weekday() == 1,
        holiday=pl.when(pl.col("date") == dt.date(2024, 1, 1)).then(pl.lit("x")).otherwise(pl.lit("0")),
        guests=pl.col("sales") * 2,
    )
    built = build_panel(
        Table(frame, spec(known=("price", "promo", "holiday"), past=(PastCovariate("guests", 2),), horizon=2)),
        cutoff=dt.date(2024, 1, 18),
    )
    panel = built.panel
    assert [item.values.dtype for item in (*panel.known, *panel.past)] == [np.float32] * 4
    assert [item.values.shape for item in (*panel.known, *panel.past)] == [(2, 20)] * 3 + [(2, 18)]
    np.testing.assert_array_equal(panel.covariate("price").values, np.repeat([[1.5], [2.5]], 20, axis=1))
    np.testing.assert_array_equal(np.flatnonzero(panel.covariate("promo").values[0]), [0, 7, 14])
    assert panel.covariate("holiday").categories == ("0", "x")
    np.testing.assert_array_equal(np.flatnonzero(panel.covariate("holiday").values[1]), [0])
    np.testing.assert_array_equal(panel.covariate("guests").values, 2 * panel.y)
    assert panel.covariate("guests").delay == 2


def test_a_text_that_only_the_future_has_is_not_given() -> None:
    frame = daily(1, 20).with_columns(
        holiday=pl.when(pl.col("date") > dt.date(2024, 1, 18)).then(pl.lit("new")).otherwise(pl.lit("old"))
    )
    built = build_panel(Table(frame, spec(known=("holiday",), horizon=2)), cutoff=dt.date(2024, 1, 18))
    assert built.panel.known[0].categories == ("old",)
    assert np.isnan(built.panel.known[0].values[0, 18:]).all()
    assert {"unseen_values", "unknown_ahead"} <= set(names_of(built))


def test_a_value_that_all_series_share_fills_cells_without_a_row() -> None:
    frame = daily(3, 30).with_columns(
        national=(pl.col("date").dt.day() % 5 == 0).cast(pl.Int64), own=pl.col("store") + pl.col("date").dt.day()
    )
    holed = frame.filter(~((pl.col("store") == 2) & pl.col("date").is_between(days(9)[-1], days(28)[-1])))
    built = build_panel(Table(holed, spec(known=("national", "own"), horizon=5)), cutoff=days(25)[-1])
    national, own = (built.panel.covariate(name).values for name in ("national", "own"))
    np.testing.assert_array_equal(national[1], national[0])
    assert np.isnan(own[1, 8:28]).all()
    assert not np.isnan(own[1, 28:]).any()


def test_a_value_shared_within_a_key_fills_only_there() -> None:
    frame = pl.concat([daily(2, 30).with_columns(item=pl.lit(item)) for item in "ab"]).with_columns(
        markdown=pl.col("store") * 100 + pl.col("date").dt.day()
    )
    holed = frame.filter(~((pl.col("store") == 2) & (pl.col("item") == "b") & (pl.col("date") > days(20)[-1])))
    built = build_panel(Table(holed, spec(keys=("store", "item"), known=("markdown",), horizon=3)), cutoff=days(27)[-1])
    values = built.panel.known[0].values
    np.testing.assert_array_equal(values[3], values[2])
    assert (values[0] != values[2]).all()


def test_ended_and_short_series_are_told() -> None:
    frame = daily(3, 200).filter((pl.col("store") != 2) | (pl.col("date") < days(100)[-1]))
    frame = frame.filter((pl.col("store") != 3) | (pl.col("date") > days(190)[-1]))
    findings = names_of(build_panel(Table(frame, spec())))
    assert findings["ended_series"].examples == ("2",)
    assert findings["short_series"].examples == ("3",)


def test_outliers_are_told_and_kept() -> None:
    frame = daily(1, 100).with_columns(sales=pl.when(pl.col("date") == days(50)[-1]).then(99_999).otherwise("sales"))
    built = build_panel(Table(frame, spec()))
    assert names_of(built)["outliers"].n == 1
    assert built.panel.y.max() == 99_999
