"""A table told again: whole weeks, sums that grow, restatements that win, and the same ids for the same statements."""

import datetime as dt
import itertools
import json

import polars as pl
import pytest

from foretail.core.errors import DataError, UsageError
from foretail.core.spec import DatasetSpec
from foretail.sources.synthetic import synthetic_table
from foretail.sources.table import Table
from foretail.stream.events import Rules, parse
from foretail.stream.producer import DayClock, Pace, live
from foretail.stream.replay import Faults, Replay, to_messages
from foretail.stream.schema import FIELDS, MESSAGE_SCHEMA

NOW = dt.datetime(2026, 3, 12, 15, tzinfo=dt.UTC)
WORLD = {"stores": 3, "products": 2, "periods": 200, "opening_share": 0.0, "closing_share": 0.0}
TABLE = synthetic_table(WORLD)
REPLAY = Replay.of(TABLE, NOW.date())
KEY = ["store", "productname", "date"]


def newest(events):
    """The statement that counts for each day, by a plain loop."""
    best = {}
    for row in events.iter_rows(named=True):
        key = tuple(row[name] for name in KEY)
        told = (row["event_time"], row["event_id"], row["sales"])
        best[key] = max(best.get(key, told), told)
    return {key: told[2] for key, told in best.items()}


def test_the_history_is_five_months_up_to_yesterday():
    history = REPLAY.history()
    assert history.columns == list(FIELDS)
    assert history["date"].min() == dt.date(2025, 10, 12)
    assert history["date"].max() == dt.date(2026, 3, 11)
    assert history.height == 6 * history["date"].n_unique() == 6 * 151


def test_every_day_is_told_as_the_table_has_it_whole_weeks_earlier():
    assert REPLAY.shift % 7 == 0
    frame = TABLE.frame.with_columns(pl.col("date") + pl.duration(days=REPLAY.shift))
    frame = frame.with_columns(productname=pl.format("product_{}", "product_id"))
    told = REPLAY.history().join(frame, left_on=KEY, right_on=["store_id", "productname", "date"], how="left")
    assert (told["sales"] == told["units"]).all()
    assert (told["open"] == told["open_right"]).all()
    assert (told["promo"] == told["promo_right"]).all()
    assert (told["dayofweek"] == told["date"].dt.weekday()).all()
    assert set(told.filter(pl.col("is_holiday") == 1)["stateholiday"]) <= {"a"}
    assert set(told.filter(pl.col("is_holiday") == 0)["stateholiday"]) == {"0"}


@pytest.mark.parametrize("weekday", range(7))
def test_yesterday_is_the_last_day_and_today_exists_whatever_the_weekday(weekday):
    today = dt.date(2026, 3, 9) + dt.timedelta(days=weekday)
    replay = Replay.of(TABLE, today)
    assert replay.history()["date"].max() == today - dt.timedelta(days=1)
    source = today - dt.timedelta(days=replay.shift)
    assert source <= TABLE.frame["date"].max()
    assert replay.day(today).height == 6


def test_past_the_table_s_end_the_same_weekday_stands_in():
    for ahead in range(20):
        date = NOW.date() + dt.timedelta(days=ahead)
        facts = REPLAY.day(date)
        assert facts["date"].to_list() == [date] * 6


def test_the_sums_of_today_grow_to_those_of_the_full_day():
    facts = REPLAY.day(NOW.date())
    hours = [REPLAY.so_far(facts, NOW.replace(hour=hour))["sales"] for hour in range(24)]
    assert hours[7].sum() == 0
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(hours))
    assert 0 < hours[14].sum() < hours[20].sum()
    assert (hours[20] == facts["sales"]).all()
    assert REPLAY.closing(NOW.date())["sales"].to_list() == facts["sales"].to_list()


def test_what_is_told_is_valid():
    events = REPLAY.with_faults(REPLAY.history(), Faults(0.2, 0.2, 0.2), NOW)
    events = pl.concat([events, REPLAY.so_far(REPLAY.day(NOW.date()), NOW)])
    told = to_messages(events)
    columns = {
        "topic": pl.lit("t"),
        "partition": pl.lit(0),
        "offset": pl.int_range(pl.len()),
        "key": pl.col("key").cast(pl.Binary),
        "value": pl.col("value").cast(pl.Binary),
        "schema_version": pl.lit("1"),
    }
    frame = told.select(value.alias(name).cast(MESSAGE_SCHEMA[name]) for name, value in columns.items())
    found = parse(frame, Rules(NOW))
    assert found.dead.to_dicts() == []
    assert found.events.select("sales", "event_id").equals(events.select(pl.col("sales").cast(pl.Int32), "event_id"))
    assert told["key"][0] == f"{events['store'][0]}|{events['productname'][0]}|{events['date'][0]}"
    assert list(json.loads(told["value"][0])) == list(FIELDS)


def test_faults_do_not_change_what_counts():
    history = REPLAY.history()
    faults = Faults(restated=0.1, late=0.1, duplicated=0.1)
    events = REPLAY.with_faults(history, faults, NOW)
    assert newest(events) == newest(history)
    n_ids = events["event_id"].n_unique()
    assert history.height < n_ids < events.height  # corrections and repetitions
    assert events["event_time"].max() <= NOW.replace(tzinfo=None)
    assert not events["date"].is_sorted()
    wrong = events.filter(~pl.col("event_id").is_in(history["event_id"].to_list()))
    assert wrong.height > 0
    assert events.equals(REPLAY.with_faults(history, faults, NOW))
    assert not events.equals(REPLAY.with_faults(history, Faults(0.1, 0.1, 0.1, seed=8), NOW))


def test_no_faults_change_nothing():
    assert REPLAY.with_faults(REPLAY.history(), Faults(), NOW).equals(REPLAY.history())


def test_telling_the_same_again_makes_no_other_event():
    again = Replay.of(synthetic_table(WORLD), NOW.date())
    assert again.history()["event_id"].equals(REPLAY.history()["event_id"])
    other = Replay.of(synthetic_table({**WORLD, "seed": 8}), NOW.date())
    assert set(other.history()["event_id"]).isdisjoint(REPLAY.history()["event_id"])


def test_a_greater_shift_goes_before_an_earlier_telling():
    later = Replay.of(TABLE, NOW.date() + dt.timedelta(days=7))
    both = REPLAY.history().join(later.history(), on=KEY)
    assert both.height > 0
    assert (both["event_time_right"] > both["event_time"]).all()


def test_one_product_where_the_table_names_none():
    rows = {
        "shop": [1] * 30,
        "day": pl.date_range(dt.date(2024, 1, 1), dt.date(2024, 1, 30), eager=True),
        "y": [2] * 30,
    }
    spec = DatasetSpec(keys=("shop",), time="day", target="y", freq="D", horizon=7)
    replay = Replay.of(Table(pl.DataFrame(rows), spec), NOW.date(), 1)
    assert replay.history().height > 20
    row = replay.history().row(0, named=True)
    assert (row["productname"], row["customers"], row["open"], row["stateholiday"]) == ("product_A", None, 1, "0")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"weeks": 60}, UsageError, "only daily sales"),
        ({"periods": 10}, DataError, "less than two weeks"),
    ],
)
def test_what_cannot_be_replayed(changes, error, said):
    with pytest.raises(error, match=said):
        Replay.of(synthetic_table({"stores": 1, **changes}), NOW.date())


def test_stores_are_numbers():
    frame = pl.DataFrame(
        {"shop": ["a"] * 30, "day": pl.date_range(dt.date(2024, 1, 1), dt.date(2024, 1, 30), eager=True)}
    )
    spec = DatasetSpec(keys=("shop",), time="day", target="y", freq="D", horizon=7)
    with pytest.raises(DataError, match="whole number"):
        Replay.of(Table(frame.with_columns(y=1), spec), NOW.date())


@pytest.mark.parametrize("name", ["restated", "late", "duplicated"])
def test_shares_lie_between_0_and_1(name):
    with pytest.raises(UsageError, match="a share lies between 0 and 1"):
        Faults(**{name: 1.0})


def ticking(start, step):
    """A clock that moves on with every look."""
    times = (start + step * number for number in range(10_000))
    return lambda: next(times)


def test_live_tells_one_series_after_another_and_repeats_on_request():
    clock = DayClock(now=lambda: NOW)
    told = list(live(REPLAY, Pace(rate=1e9, count=12), clock))
    assert [frame.height for frame in told] == [1] * 12
    keys = [frame.select("store", "productname").row(0) for frame in told]
    assert len(set(keys[:6])) == 6
    assert keys[:6] == keys[6:]
    twice = list(live(REPLAY, Pace(rate=1e9, count=40, duplicated=0.5), clock))
    assert {frame.height for frame in twice} == {1, 2}
    assert all(frame.unique().height == 1 for frame in twice)


def test_the_rate_is_kept():
    waits = []
    list(live(REPLAY, Pace(rate=0.1, count=3), DayClock(now=lambda: NOW), sleep=waits.append))
    assert waits[0] == 0
    assert 9 < waits[1] <= 10
    assert 19 < waits[2] <= 20


def test_a_day_that_ends_is_told_in_full_and_the_next_begins():
    now = ticking(NOW.replace(hour=23, minute=50), dt.timedelta(minutes=4))
    told = list(live(REPLAY, Pace(rate=1e9, count=5), DayClock(now=now)))
    closing = next(frame for frame in told if frame.height == 6)
    assert closing.equals(REPLAY.closing(NOW.date()))
    after = told[-1]
    assert after["date"].to_list() == [NOW.date() + dt.timedelta(days=1)]
    assert after["sales"].to_list() == [0]


def test_a_fast_day_begins_at_midnight_and_never_overtakes_the_real_time():
    now = ticking(NOW, dt.timedelta(minutes=1))
    clock = DayClock(speed=60, now=now)
    seen = [clock.read() for _ in range(60)]
    assert seen[0] == NOW.replace(hour=1)
    assert seen[1] == NOW.replace(hour=2)
    assert seen[-1] == NOW + dt.timedelta(minutes=60)
    assert seen == sorted(seen)
