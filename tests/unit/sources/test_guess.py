"""Guesses: roles from names and values, frequencies from dates, and every guess said."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretail.core.errors import DataError, UsageError
from foretail.core.frequency import Frequency
from foretail.core.spec import PastCovariate
from foretail.sources.calendar import guess_frequency
from foretail.sources.guess import guess_spec


def days(n: int, step: int = 1, start: dt.date = dt.date(2023, 1, 6)) -> list[dt.date]:
    return [start + dt.timedelta(days=step * i) for i in range(n)]


def world(stores: int = 3, items: int = 4, n: int = 30, step: int = 1) -> pl.DataFrame:
    """Store x item x date with a static, a promotion, a measure and a label."""
    rows = [
        {
            "Date": day.isoformat(),
            "StoreID": f"{store:03d}",
            "item_nbr": item,
            "Units_Sold": (store * item + i) % 7,
            "promo": int(i % 5 == 0),
            "customers": 100 + 13 * i + store,
            "size": 100 * store,
            "item_name": f"item {item} in {store}",
            "country": "DE",
        }
        for store, item, (i, day) in itertools.product(range(stores), range(items), enumerate(days(n, step)))
    ]
    random.Random(7).shuffle(rows)
    return pl.DataFrame(rows)


def test_everything_is_guessed_and_said() -> None:
    spec, notes = guess_spec(world(), {})
    assert (spec.time, spec.target, spec.keys) == ("Date", "Units_Sold", ("StoreID", "item_nbr"))
    assert (spec.freq, spec.horizon) == ("D", 28)
    assert spec.static == ("size",), "a label that repeats the keys and a constant say nothing"
    assert (spec.known, spec.past) == ((), ()), "never known or past by guess"
    said = " | ".join(notes)
    for word in ("'Date'", "'Units_Sold'", "'StoreID', 'item_nbr'", "frequency D", "horizon 28", "static: 'size'"):
        assert word in said
    assert "not used: 'promo', 'customers', 'item_name', 'country'" in said


def test_what_is_given_stays() -> None:
    given = {"keys": ("item_nbr", "StoreID"), "target": "customers", "horizon": 5, "known": ["promo"], "static": ()}
    spec, notes = guess_spec(world(), {**given, "past": ["Units_Sold:2"], "name": "mine", "freq": None})
    assert (spec.keys, spec.target, spec.horizon, spec.known) == (("item_nbr", "StoreID"), "customers", 5, ("promo",))
    assert (spec.past, spec.name) == ((PastCovariate("Units_Sold", 2),), "mine")
    assert not any(note.startswith(("keys", "target", "horizon")) for note in notes)


def test_missing_columns_are_told_all_at_once_with_the_nearest() -> None:
    given = {
        "keys": ("storeid",),
        "time": "Dat",
        "target": "sold",
        "known": ("promo", "prise"),
        "past": ("custmers:1",),
    }
    with pytest.raises(DataError) as caught:
        guess_spec(world(), given)
    assert len(caught.value.problems) == 5
    assert "did you mean 'Date'" in str(caught.value)
    assert "did you mean 'customers'" in str(caught.value)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(DataError, match="did you mean 'horizon'"):
        guess_spec(world(), {"horizonn": 3})


def test_one_column_one_role() -> None:
    with pytest.raises(UsageError, match="one role"):
        guess_spec(world(), {"known": ("promo",), "static": ("promo",)})


def test_one_series_has_no_keys() -> None:
    frame = pl.DataFrame({"ds": days(20), "y": range(20), "store": ["a"] * 20})
    spec, notes = guess_spec(frame, {})
    assert spec.keys == ()
    assert any("one series" in note for note in notes)


def test_a_repeated_row_of_one_series_is_no_key() -> None:
    """Two rows on one date differ in a measure: that is an error for the panel to tell, not a second series."""
    frame = pl.DataFrame({"ds": [*days(40), days(40)[7]], "y": [*range(40), 99], "customers": [*range(40), 3]})
    assert guess_spec(frame, {})[0].keys == ()


def test_rows_that_share_keys_and_date_do_not_widen_the_key() -> None:
    frame = world()
    double = frame.head(1).with_columns(pl.col("customers") + 1, pl.col("promo") + 1)
    spec, notes = guess_spec(pl.concat([frame, double]), {})
    assert spec.keys == ("StoreID", "item_nbr")
    assert any("share keys and date" in note for note in notes)


def test_one_key_that_is_enough_leaves_its_groups_as_static() -> None:
    frame = world().with_columns(
        id=pl.col("StoreID") + "_" + pl.col("item_nbr").cast(pl.String), region=pl.col("StoreID").str.slice(2)
    )
    spec, _ = guess_spec(frame.drop("StoreID", "item_nbr", "item_name"), {})
    assert spec.keys == ("id",)
    assert set(spec.static) == {"size", "region"}


def test_a_name_is_a_key_where_nothing_else_is() -> None:
    frame = world().select("Date", "Units_Sold", "item_name")
    assert guess_spec(frame, {})[0].keys == ("item_name",)


def test_keys_without_telling_names() -> None:
    frame = world().select("Date", "Units_Sold", "customers", butik="StoreID", vare="item_nbr")
    assert guess_spec(frame, {})[0].keys == ("butik", "vare")


def test_sparse_products_are_keys_though_few_sell_on_a_day() -> None:
    rng = random.Random(3)
    rows = [(day, sku, 1) for day in days(200) for sku in rng.sample(range(1000), 5)]
    frame = pl.DataFrame(rows, schema=["date", "sku", "qty"], orient="row")
    assert guess_spec(frame, {})[0].keys == ("sku",)


@pytest.mark.parametrize("name", ["y", "sales", "Weekly_Sales", "qty", "Revenue", "item_demand", "UnitsSold"])
def test_names_of_targets(name: str) -> None:
    frame = pl.DataFrame({"when": days(10), "temperature": [0.5] * 10, name: range(10)})
    assert guess_spec(frame, {})[0].target == name


def test_the_only_number_is_the_target() -> None:
    frame = pl.DataFrame({"when": days(10), "store_id": [1] * 10, "umsatz": [1.5] * 10})
    assert guess_spec(frame, {})[0].target == "umsatz"


def test_an_empty_target_is_found_by_its_name() -> None:
    frame = pl.DataFrame({"date": days(9), "sales": [None] * 9}, schema_overrides={"sales": pl.String})
    assert guess_spec(frame, {})[0].target == "sales"


def test_a_single_name_is_a_list_of_one() -> None:
    assert guess_spec(world(), {"known": "promo", "past": "customers:1"})[0].known == ("promo",)


def test_no_target_stands_out() -> None:
    with pytest.raises(DataError, match=r"'a', 'b'\n.*--target"):
        guess_spec(pl.DataFrame({"when": days(10), "a": range(10), "b": range(10)}), {})


def test_a_target_with_some_text_is_still_the_target() -> None:
    frame = pl.DataFrame({"date": days(10), "sales": ["1", "x", *"23456789"], "amount": range(10)})
    assert guess_spec(frame, {})[0].target == "sales"


def test_no_dates() -> None:
    with pytest.raises(DataError, match="--time"):
        guess_spec(pl.DataFrame({"a": ["x", "y"], "sales": [1, 2]}), {})


def test_unreadable_dates_under_a_telling_name_show_their_lines() -> None:
    with pytest.raises(DataError, match="line 2: 'first'"):
        guess_spec(pl.DataFrame({"date": ["first", "second"], "sales": [1, 2]}), {})


def test_a_second_column_of_dates_is_told() -> None:
    frame = pl.DataFrame({"delivered": days(9), "date": days(9), "sales": range(9)})
    spec, notes = guess_spec(frame, {})
    assert spec.time == "date"
    assert "'delivered'" in notes[0]


CODES = ("D", "W-MON", "W-WED", "W-FRI", "W-SUN", "MS", "ME")


@settings(max_examples=60, deadline=None)
@given(code=st.sampled_from(CODES), start=st.integers(-200, 3000), n=st.integers(8, 60), data=st.data())
def test_frequencies_survive_gaps_and_order(code: str, start: int, n: int, data: st.DataObject) -> None:
    frequency = Frequency(code)
    first = int(frequency.to_index(pl.Series([dt.date(2000, 1, 1)]).to_numpy())[0]) + start
    dropped = data.draw(st.sets(st.integers(1, n - 2), max_size=n // 5))
    index = [i for i in range(n) if i not in dropped]
    labels = [frequency.to_date(first + i).item() for i in data.draw(st.permutations(index))]
    assert guess_frequency(pl.DataFrame({"ds": [*labels, labels[0]]}), "ds") == code


@pytest.mark.parametrize(("step", "freq", "horizon"), [(1, "D", 28), (7, "W-FRI", 8)])
def test_default_horizons(step: int, freq: str, horizon: int) -> None:
    spec, _ = guess_spec(world(step=step), {})
    assert (spec.freq, spec.horizon) == (freq, horizon)


def test_months() -> None:
    months = [dt.date(2020 + i // 12, i % 12 + 1, 1) for i in range(30)]
    spec, _ = guess_spec(pl.DataFrame({"month": months, "sales": range(30)}), {})
    assert (spec.freq, spec.horizon) == ("MS", 6)


def irregular(values: list[dt.date], **columns: Any) -> str:
    with pytest.raises(DataError) as caught:
        guess_frequency(pl.DataFrame({"ds": values, **columns}), "ds", list(columns))
    return str(caught.value)


def test_irregular_dates_are_refused() -> None:
    text = irregular([dt.date(2023, 1, 1) + dt.timedelta(days=i) for i in (0, 3, 7, 9, 16, 20, 31)])
    assert "irregular dates" in text
    assert "2023-01-01 (Sun)" in text
    assert "--freq" in text


def test_one_date_off_the_week_is_named() -> None:
    values = days(20, 7)
    values[5] += dt.timedelta(days=2)
    text = irregular(values)
    assert "1 of 20 are off the grid W-FRI" in text
    assert str(values[5]) in text


def test_every_second_week_is_refused() -> None:
    irregular(days(20, 14))


def test_series_with_other_weekdays_are_not_daily() -> None:
    values = [day for start in range(7) for day in days(10, 7, dt.date(2023, 1, 1 + start))]
    assert "different weekdays" in irregular(values, store=[i // 10 for i in range(70)])


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_dates(n: int) -> None:
    assert "fewer than two dates" in irregular(days(n))


def test_working_days_are_daily() -> None:
    values = [day for day in days(60) if day.weekday() < 5]
    assert guess_frequency(pl.DataFrame({"ds": values}), "ds") == "D"
