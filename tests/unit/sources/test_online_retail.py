"""Dirty invoice lines to sales: one test per rule on lines made by hand, and the extract that is shipped."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from foretail.core.errors import DataError
from foretail.sources.invoices import match_cancellations
from foretail.sources.online_retail import MIN_SELLING_WEEKS, read_online_retail, trading_days
from foretail.sources.open import open_table
from foretail.sources.table import Table

EXTRACT = Path(__file__).resolve().parents[3] / "examples" / "online_retail"
FIRST = dt.date(2011, 1, 10)  # a Monday
Line = tuple[str, str, int, dt.datetime, float, int | None]


def at(day: int, hour: int = 17) -> dt.datetime:
    return dt.datetime.combine(FIRST, dt.time(hour)) + dt.timedelta(days=day)


def steady(code: str = "10000", weeks: int = MIN_SELLING_WEEKS + 4) -> list[Line]:
    """A product sold once on every trading day, five pieces at 2.00."""
    days = [day for day in range(7 * weeks) if (FIRST + dt.timedelta(days=day)).weekday() != 5]
    return [(f"5{day:05d}", code, 5, at(day), 2.0, 1) for day in days]


def write(folder: Path, lines: list[Line], second: list[Line] = ()) -> Path:  # type: ignore[assignment]
    """The two files with their own column names."""
    names = {"2010": ("Invoice", "Price", "Customer ID"), "2011": ("InvoiceNo", "UnitPrice", "CustomerID")}
    for (name, (invoice, price, customer)), part in zip(names.items(), (lines, second), strict=True):
        frame = pl.DataFrame(
            part,
            schema={
                invoice: pl.String, "StockCode": pl.String, "Quantity": pl.Int64, "InvoiceDate": pl.Datetime("us"),
                price: pl.Float64, customer: pl.Int32,
            },
            orient="row",
        )  # fmt: skip
        if part:
            frame.with_columns(Description=pl.lit("A THING"), Country=pl.lit("United Kingdom")).write_parquet(
                folder / f"{name}.parquet"
            )
    return folder


def sold(table: Table, day: int, code: str = "10000") -> list[tuple[int, dt.date]]:
    """What was told of the sales of a day, and when."""
    rows = table.frame.filter(pl.col("stock_code") == code, pl.col("date") == FIRST + dt.timedelta(days=day))
    return rows.select("quantity", "recorded").rows()


def told(table: Table, part: str) -> str:
    return next((note for note in table.notes if part in note), "")


def test_every_day_from_the_first_sale_on(tmp_path: Path) -> None:
    table = read_online_retail(write(tmp_path, steady() + [line for line in steady("20000") if line[3] >= at(21)]))
    frame = table.frame
    assert frame.columns == ["stock_code", "date", "quantity", "open", "price", "recorded"]
    first = dict(frame.group_by("stock_code").agg(pl.col("date").min()).rows())
    assert first == {"10000": FIRST, "20000": FIRST + dt.timedelta(days=21)}
    assert frame.filter(pl.col("stock_code") == "10000")["date"].diff().drop_nulls().unique().to_list() == [
        dt.timedelta(days=1)
    ]
    assert sold(table, 5) == [(0, FIRST + dt.timedelta(days=5))], "Saturday: no line is no sale"
    assert frame.filter(pl.col("open") == 0)["quantity"].sum() == 0
    assert frame["price"].unique().to_list() == [2.0]


def test_invoices_in_both_files_count_once(tmp_path: Path) -> None:
    lines = steady()
    table = read_online_retail(write(tmp_path, lines[:40], lines[30:]))
    assert sold(table, 35) == [(5, FIRST + dt.timedelta(days=35))]
    assert "left out 10 lines (50 units)" in told(table, "later file")


def test_repeated_lines_count_once(tmp_path: Path) -> None:
    lines = steady()
    other = ("900000", "10000", 5, at(0, 9), 2.0, 1)
    table = read_online_retail(write(tmp_path, [*lines, lines[0], other]))
    assert sold(table, 0) == [(10, FIRST)], "another invoice of the same is another sale"
    assert "left out 1 lines (5 units)" in told(table, "repeat")


def test_an_incomplete_last_day_is_left_out(tmp_path: Path) -> None:
    lines = steady()
    last = max(line[3] for line in lines).date()
    early = [("999999", "10000", 7, dt.datetime.combine(last + dt.timedelta(days=1), dt.time(12, 50)), 2.0, 1)]
    table = read_online_retail(write(tmp_path, lines + early))
    assert table.frame["date"].max() == last
    assert "incomplete" in told(table, "last day")
    late = [("999999", "10000", 7, dt.datetime.combine(last + dt.timedelta(days=1), dt.time(16, 50)), 2.0, 1)]
    assert read_online_retail(write(tmp_path, lines + late)).frame["date"].max() == last + dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (("1", "POST", 1, at(3), 18.0, 1), "no products"),
        (("1", "M", 1, at(3), 2.0, 1), "no products"),
        (("1", "BANK CHARGES", 1, at(3), 15.0, None), "no products"),
        (("1", "gift_0001_30", 1, at(3), 25.0, None), "no products"),
        (("1", "TEST001", 5, at(3), 4.5, None), "no products"),
        (("1", "10000", -40, at(3), 0.0, None), "write-offs"),
        (("1", "10000", 600, at(3), 0.0, None), "price is 0"),
        (("A563185", "10000", 1, at(3), 11062.06, None), "corrections of the books"),
        (("C1", "10000", -3, at(3), 2.0, 1), "no purchase"),
        (("C1", "10000", -5, at(3), 2.0, None), "no purchase"),
        (("1", "10001", 44, at(3), 2.0, 1), "fewer than 26 weeks"),
    ],
)
def test_what_is_no_sale_is_left_out_and_counted(tmp_path: Path, line: Line, rule: str) -> None:
    clean = read_online_retail(write(tmp_path, steady()))
    dirty = read_online_retail(write(tmp_path, [*steady(), line]))
    assert_frame_equal(dirty.frame, clean.frame)
    assert told(dirty, rule) != told(clean, rule)
    units = f"({abs(line[2])} units)" if line[2] > 0 or rule == "no purchase" else f"({line[2]} units)"
    assert units in told(dirty, rule)


def test_codes_in_lower_case_and_with_blanks_are_the_same_product(tmp_path: Path) -> None:
    lines = [*steady("10000A"), ("1", "10000a ", 3, at(3, 9), 2.0, 1)]
    assert sold(read_online_retail(write(tmp_path, lines)), 3, "10000A")[0][0] == 8


def test_a_wholesale_order_stays(tmp_path: Path) -> None:
    table = read_online_retail(write(tmp_path, [*steady(), ("1", "10000", 19152, at(3, 9), 0.1, 2)]))
    assert sold(table, 3)[0][0] == 19157
    assert "the largest of 19152" in told(table, "1000 pieces")


def test_a_cancellation_of_the_same_day_was_never_a_sale(tmp_path: Path) -> None:
    order = [("1", "10000", 80995, at(3, 9), 2.0, 16446), ("C2", "10000", -80995, at(3, 10), 2.0, 16446)]
    table = read_online_retail(write(tmp_path, [*steady(), *order]))
    assert sold(table, 3) == [(5, FIRST + dt.timedelta(days=3))]
    assert "1 cancellations (80995 units) are subtracted" in told(table, "subtracted")


def test_a_later_cancellation_restates_the_day_of_the_purchase(tmp_path: Path) -> None:
    """Whoever forecasts between the two days does not know of the cancellation yet."""
    order = [("1", "10000", 40, at(3, 9), 2.0, 7), ("C2", "10000", -40, at(9), 2.0, 7)]
    table = read_online_retail(write(tmp_path, [*steady(), *order]))
    day = FIRST + dt.timedelta(days=3)
    assert sold(table, 3) == [(45, day), (5, day + dt.timedelta(days=6))]
    assert sold(table, 9) == [(5, FIRST + dt.timedelta(days=9))], "the day of the cancellation is as it was"
    assert (table.spec.recorded, table.spec.duplicates) == ("recorded", "last")


def test_several_cancellations_of_one_day_add_up(tmp_path: Path) -> None:
    buys = [(str(i), "10000", 10 * i, at(3, 9), 2.0, 7) for i in (1, 2, 3)]
    back = [(f"C{i}", "10000", -10 * i, at(8 + i), 2.0, 7) for i in (1, 2, 3)]
    table = read_online_retail(write(tmp_path, [*steady(), *buys, *back]))
    assert [quantity for quantity, _ in sold(table, 3)] == [65, 55, 35, 5]


def test_weeks_are_whole(tmp_path: Path) -> None:
    table = read_online_retail(write(tmp_path, [line for line in steady() if line[3] >= at(2)]), freq="W-SUN")
    frame = table.frame
    assert frame["date"].min() == FIRST + dt.timedelta(days=13), "the week that begins on its Wednesday is left out"
    assert frame["quantity"].unique().to_list() == [30]
    assert frame["open"].unique().to_list() == [6]
    assert "whole week" in told(table, "whole")
    assert (table.spec.freq, table.spec.horizon) == ("W-SUN", 8)


def test_the_future_has_the_calendar_by_rule(tmp_path: Path) -> None:
    table = read_online_retail(write(tmp_path, steady()), horizon=40)
    assert table.future is not None
    last = table.frame["date"].max()
    assert isinstance(last, dt.date)
    assert table.future["date"].to_list() == [last + dt.timedelta(days=i) for i in range(1, 41)]
    saturdays = table.future.filter(pl.col("date").dt.weekday() == 6)
    assert saturdays["open"].to_list() == [0] * len(saturdays)
    assert table.future["open"].sum() > 30


def test_the_rule_of_the_calendar() -> None:
    calendar = dict(trading_days(dt.date(2011, 12, 1), dt.date(2012, 4, 30)).rows())
    shut = [dt.date(2011, 12, 24), dt.date(2011, 12, 30), dt.date(2012, 1, 3), dt.date(2012, 4, 6)]
    shut += [dt.date(2012, 4, 8), dt.date(2012, 4, 9), dt.date(2012, 2, 4)]
    assert [calendar[day] for day in shut] == [0] * len(shut)
    assert [calendar[day] for day in (dt.date(2011, 12, 23), dt.date(2012, 1, 4), dt.date(2012, 4, 7 + 3))] == [1] * 3


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Parquet files"):
        read_online_retail(tmp_path / "gone")
    write(tmp_path, steady(weeks=5))
    with pytest.raises(DataError, match="no product is worth forecasting"):
        read_online_retail(tmp_path)
    pl.DataFrame({"Invoice": ["1"]}).write_parquet(tmp_path / "2011.parquet")
    with pytest.raises(DataError, match="nothing for"):
        read_online_retail(tmp_path)


EVENTS = st.lists(
    st.tuples(st.sampled_from([1, 2, None]), st.sampled_from(["a", "b"]), st.sampled_from([-2, -1, 1, 2])), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS)
def test_matching_is_what_a_loop_with_stacks_does(events: list[tuple[int | None, str, int]]) -> None:
    schema = {"customer": pl.Int64, "stock_code": pl.String, "quantity": pl.Int64}
    lines = (
        pl.DataFrame(events, schema=schema, orient="row")
        .with_row_index("i")
        .with_columns(
            at=pl.lit(at(0)) + pl.duration(minutes="i"),
            day=pl.lit(FIRST) + pl.duration(days="i"),
            is_cancelled=pl.col("quantity") < 0,
        )
    )
    stacks: dict[tuple[int, str, int], list[int]] = {}
    pairs = []
    for i, (customer, code, quantity) in enumerate(events):
        if customer is None:
            continue
        stack = stacks.setdefault((customer, code, abs(quantity)), [])
        if quantity > 0:
            stack.append(i)
        elif stack:
            pairs.append((code, FIRST + dt.timedelta(days=stack.pop()), FIRST + dt.timedelta(days=i), -quantity))
    found = match_cancellations(lines.sample(fraction=1, shuffle=True, seed=1))
    assert sorted(found.rows()) == sorted(pairs)


@pytest.fixture(scope="module")
def extract() -> Table:
    return read_online_retail(EXTRACT)


def test_the_extract_is_small_dirty_and_attributed() -> None:
    files = sorted(EXTRACT.glob("*.parquet"))
    assert sum(path.stat().st_size for path in files) < 4e6
    first, second = (pl.read_parquet(path) for path in files)
    assert first.columns != second.columns
    assert set(first["Invoice"]) & set(second["InvoiceNo"])
    assert first.is_duplicated().any()
    for frame, invoice in ((first, "Invoice"), (second, "InvoiceNo")):
        assert frame[invoice].str.starts_with("C").sum() > 1000
        assert {"POST", "M", "DOT"} <= set(frame["StockCode"])
        assert (frame["Quantity"] < 0).any()
    text = (EXTRACT / "ATTRIBUTION.md").read_text()
    for part in ("CC BY 4.0", "Chen, D. (2012)", "10.24432/C5CG6D", f"{len(first):,}", f"{len(second):,}"):
        assert part in text


def test_the_extract_can_be_made_again(tmp_path: Path) -> None:
    beside = EXTRACT.parents[2] / "shared" / "data"
    originals = Path(os.environ.get("FORETAIL_DATA", beside)) / "online_retail"
    if not originals.is_dir():
        pytest.skip("the original files of online_retail are not under FORETAIL_DATA nor beside the checkout")
    script = EXTRACT.parents[1] / "scripts" / "extract_online_retail.py"
    subprocess.run([sys.executable, script, originals, "--out", tmp_path], check=True, capture_output=True)
    for path in sorted(EXTRACT.glob("*.parquet")):
        assert_frame_equal(pl.read_parquet(tmp_path / path.name), pl.read_parquet(path))


def test_the_extract_makes_two_years_of_clean_sales(extract: Table) -> None:
    frame = extract.frame
    assert 150 <= frame["stock_code"].n_unique() <= 300
    assert (frame["date"].min(), frame["date"].max()) == (dt.date(2009, 12, 1), dt.date(2011, 12, 8))
    assert frame.null_count().row(0) == (0,) * 6
    assert (frame["quantity"] >= 0).all()
    assert frame.select(pl.struct("stock_code", "date", "recorded").n_unique()).item() == len(frame)
    assert (frame["recorded"] > frame["date"]).any()
    assert len(extract.notes) >= 10
    # the order of 74,215 that was taken back on its day
    assert frame.filter(stock_code="23166")["quantity"].max() < 74215  # type: ignore[operator]


def test_the_rule_of_the_calendar_is_the_shops(extract: Table) -> None:
    """On two years the rule is wrong on one day: one Saturday before Christmas on which the shop was open."""
    history = extract.frame.select(day="date", was="open").unique()
    first, last = history["day"].min(), history["day"].max()
    assert isinstance(first, dt.date)
    assert isinstance(last, dt.date)
    wrong = history.join(trading_days(first, last), on="day").filter(pl.col("open") != pl.col("was"))
    assert wrong["day"].to_list() == [dt.date(2009, 12, 5)]


def test_the_extract_opens_by_its_layouts_name(extract: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORETAIL_DATA", raising=False)
    table = open_table("online-retail", horizon=14)
    assert_frame_equal(table.frame, extract.frame)
    assert table.future is not None
    assert table.future["date"].n_unique() == 14
    weekly = open_table("online-retail", data=EXTRACT, freq="W-SUN")
    assert (weekly.spec.freq, weekly.spec.horizon) == ("W-SUN", 8)
    assert weekly.frame.null_count().row(0) == (0,) * 6
