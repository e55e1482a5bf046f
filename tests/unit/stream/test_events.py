"""Which messages are events, what is said of the others, and that a message is judged alone."""

import datetime as dt
import json
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

sys.path.insert(0, str(Path(__file__).parent))
from stream_messages import GOOD, event, messages

from foretail.stream.events import Rules, parse
from foretail.stream.schema import EVENT_SCHEMA, FIELDS, MESSAGE_SCHEMA

NOW = dt.datetime(2024, 3, 19, 12, tzinfo=dt.UTC)
RULES = Rules(NOW, stores=frozenset(range(1, 1_116)))

REFUSED = {
    "nothing": (None, "no value"),
    "empty": (b"", "malformed JSON"),
    "blank": (b" \n ", "malformed JSON"),
    "half": (b'{"store": 1', "malformed JSON"),
    "an array": (b"[1]", "malformed JSON"),
    "two objects": (event() + event(), "malformed JSON: Extra data"),
    "two objects on two lines": (event() + b"\n" + event(), "malformed JSON: Extra data"),
    "a break in a text": (event().replace(b"product_A", b"product\nA"), "malformed JSON"),
    "a NUL byte": (event() + b"\0}", "malformed JSON"),
    "a field twice": (b'{"store": 1, ' + event()[1:], "store is given more than once"),
    "not UTF-8": (b'{"store": "\xff"}', "not UTF-8"),
    "half a character": (event(event_id="x").replace(b'"x"', b'"\\ud800"'), "event_id"),
    "a text for a number": (event(sales="12"), 'sales is no whole number: "12"'),
    "a fraction": (event(sales=1.5), "sales is no whole number: 1.5"),
    "a truth value": (event(open=True), "open is no whole number: true"),
    "a number for a text": (event(productname=5), "productname is no text: 5"),
    "far too many digits": (event().replace(b"5263", b"9" * 5_000), "sales is no"),
    "more than 32 bits": (event(sales=2**31), "lies outside"),
    "more than 64 bits": (event(sales=2**63), "sales"),
    "negative sales": (event(sales=-1), "sales is negative: -1"),
    "negative customers": (event(customers=-1), "customers is negative: -1"),
    "no sales": (event(sales=None), "sales is missing"),
    "null sales": (event().replace(b"5263", b"null"), "sales is missing"),
    "nothing but an unknown field": (b'{"a": 1}', "store is missing"),
    "an unknown store": (event(store=1_116), "unknown store 1116"),
    "open for 2": (event(open=2), "open = 2 lies outside 0 to 1"),
    "weekday 8": (event(dayofweek=8), "dayofweek = 8 lies outside 1 to 7"),
    "a date in the future": (event(date="2024-03-20"), "the date 2024-03-20 lies in the future"),
    "no such date": (event(date="2024-02-30"), "date is not a date"),
    "years later": (event(date="2004-03-18"), "late: 2004-03-18"),
    "told in the future": (event(event_time="2024-03-19T12:11:00Z"), "event_time lies in the future"),
    "a time without an offset": (event(event_time="2024-03-18T22:00:00"), "event_time is not a time with its offset"),
    "told before the day": (event(event_time="2024-03-16T22:00:00Z"), "before the day 2024-03-18 had begun"),
    "no product": (event(productname=""), "productname has 0 characters"),
    "a long product": (event(productname="x" * 201), "productname has 201 characters"),
    "a control character": (event(productname="a\x00b"), "productname holds control characters"),
    "too large": (event(x="x" * 1_000_000), "too large"),
}
TAKEN = {
    "good": event(),
    "without customers": event(customers=None),
    "with a field nobody knows": event(x={"y": [1, 2]}),
    "on several lines": json.dumps(GOOD, indent=2).encode(),
    "with blanks around": b" \t" + event() + b"\r\n",
    "with another offset": event(event_time="2024-03-19T00:00:00.5+02:00"),
    "with SQL in its product": event(productname="'; DROP TABLE rossman_sales; --"),
    "with letters of the world": event(productname="Käse 奶酪 🧀"),
    "with many digits where nobody looks": event().replace(b"{", b'{"x": ' + b"9" * 5_000 + b", ", 1),
    "deeply nested where nobody looks": event().replace(b"{", b'{"x": ' + b"[" * 3_000 + b"]" * 3_000 + b", ", 1),
}
EVERYTHING = [*TAKEN.values(), *(value for value, _ in REFUSED.values())]


def test_an_event_comes_out_typed():
    found = parse(messages(event(), first=17), RULES)
    assert found.events.schema == pl.Schema(EVENT_SCHEMA)
    expected = {
        **GOOD,
        "date": dt.date(2024, 3, 18),
        "event_time": dt.datetime(2024, 3, 18, 22),
        "partition": 0,
        "offset": 17,
    }
    assert found.events.to_dicts() == [expected]
    assert found.dead.is_empty()


@pytest.mark.parametrize("value", TAKEN.values(), ids=TAKEN)
def test_taken(value):
    found = parse(messages(value), RULES)
    assert found.dead.to_dicts() == []
    assert found.events.height == 1


@pytest.mark.parametrize(("value", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(value, reason):
    found = parse(messages(value), RULES)
    assert found.events.is_empty()
    (row,) = found.dead.to_dicts()
    assert reason in row.pop("reason")
    assert row == messages(value).row(0, named=True)  # kept whole


def test_every_reason_is_told():
    found = parse(messages(event(sales=-1, open=7, store=9_999)), RULES)
    reason = found.dead["reason"][0]
    assert [part in reason for part in ("sales is negative", "open = 7", "unknown store 9999")] == [True] * 3


@pytest.mark.parametrize(("version", "n_dead"), [(None, 0), ("1", 0), ("2", 1), ("", 1)])
def test_only_known_versions_of_the_schema_are_read(version, n_dead):
    found = parse(messages(event(), version=version), RULES)
    assert found.dead.height == n_dead
    assert all("unknown schema version" in reason for reason in found.dead["reason"])


@settings(max_examples=60)
@given(st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=12))
def test_a_message_is_judged_alone(values):
    together = parse(messages(*values), RULES)
    alone = [parse(messages(value, first=number), RULES) for number, value in enumerate(values)]
    assert_frame_equal(together.events, pl.concat([one.events for one in alone]))
    assert_frame_equal(together.dead, pl.concat([one.dead for one in alone]))


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), st.text(max_size=20).map(str.encode)), max_size=8))
def test_nothing_is_lost_whatever_the_bytes(values):
    found = parse(messages(*values), RULES)
    assert found.events.height + found.dead.height == len(values)
    assert found.dead["reason"].null_count() == 0
    assert found.dead["value"].to_list() == values


@settings(max_examples=60)
@given(st.fixed_dictionaries({}, optional={
    name: st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]))
    for name in FIELDS
}))  # fmt: skip
def test_what_is_taken_fits_the_database(changes):
    value = json.dumps({**GOOD, **changes}, allow_nan=True).encode(errors="surrogatepass")
    found = parse(messages(value, event()), RULES)
    assert found.events.height + found.dead.height == 2
    for row in found.events.to_dicts():
        assert all(-(2**31) <= row[name] < 2**31 for name in ("store", "sales", "open", "promo", "schoolholiday"))
        assert row["date"] <= RULES.last_day
        assert "\0" not in row["productname"] + row["event_id"] + row["stateholiday"]


def test_the_weekday_is_the_date_s():
    found = parse(messages(event(dayofweek=5)), RULES)
    assert found.events["dayofweek"].to_list() == [1]


def test_the_shops_day_decides_what_the_future_is():
    late_evening = dt.datetime(2024, 3, 18, 23, 30, tzinfo=dt.UTC)
    value = event(date="2024-03-19", event_time="2024-03-18T23:30:00Z")
    assert parse(messages(value), Rules(late_evening)).dead.height == 1
    assert parse(messages(value), Rules(late_evening, today=dt.date(2024, 3, 19))).events.height == 1


def test_any_store_does_where_none_are_named():
    assert parse(messages(event(store=2_000_000)), Rules(NOW)).events.height == 1


def test_no_messages():
    found = parse(pl.DataFrame(schema=MESSAGE_SCHEMA), RULES)
    assert found.events.schema == pl.Schema(EVENT_SCHEMA)
    assert found.dead.schema == pl.Schema({**MESSAGE_SCHEMA, "reason": pl.String})


def test_the_order_of_the_messages_is_kept():
    values = [event(event_id=f"e-{number}") for number in range(50)]
    values[20] = b"{"
    found = parse(messages(*values), RULES)
    assert found.events["offset"].to_list() == [number for number in range(50) if number != 20]
