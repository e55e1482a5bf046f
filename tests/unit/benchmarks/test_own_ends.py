"""Series with an end of their own: few runs, on the calendar, and no table holds what is scored."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks.neutral import SPLITS, Block
from benchmarks.own_ends import group_ends, own_ends, runs
from benchmarks.peers import PEERS
from benchmarks.splits import Window, answered

from foretail.core.spec import DatasetSpec
from foretail.panel.build import build_panel
from foretail.sources.open import open_table
from foretail.sources.table import Table

SPLIT = replace(SPLITS["walmart_fev"], horizon=4, cutoffs=(dt.date(2012, 9, 28),), min_rows=20)
LAST = dt.date(2012, 10, 26)
ENDED = {1: 0, 2: 0, 3: 0, 4: 1, 5: 2, 6: 9, 7: 0}  # weeks before LAST at which each department stops


def weeks(first: int, last: int) -> list[dt.date]:
    """Weeks counted back from LAST, both included."""
    return [LAST - dt.timedelta(days=7 * back) for back in range(first, last - 1, -1)]


def table() -> Table:
    """Seven departments of one store over 76 weeks, the last one with too few rows; sales tell the week."""
    parts = []
    for dept, back in ENDED.items():
        days = weeks(75 if dept != 7 else 10, back)
        sales = [1000.0 * dept + (LAST - day).days // 7 for day in days]
        parts.append(pl.DataFrame({"Store": 1, "Dept": dept, "Date": days, "Weekly_Sales": sales}))
    frame = pl.concat(parts).with_columns(IsHoliday=(pl.col("Date").dt.week() == 40).cast(pl.Int8))
    spec = DatasetSpec(("Store", "Dept"), "Date", "Weekly_Sales", "W-FRI", 4, known=("IsHoliday",), gaps="missing")
    return Table(frame, spec)


def test_ends_are_grouped_with_the_fewest_days_lost():
    days = [LAST - dt.timedelta(days=7 * back) for back in (0, 1, 2, 9, 10)]
    counts = dict(zip(days, (100, 5, 5, 1, 1), strict=True))
    assert group_ends(counts, 3) == [[days[0]], days[1:3], days[3:]]
    assert group_ends(counts, 1) == [days]
    assert group_ends({days[0]: 3}, 3) == [[days[0]]]


def test_no_run_holds_a_row_after_the_end_of_its_series():
    ends = own_ends(table(), SPLIT)
    assert 7 not in ends["Dept"].to_list()
    answered_by: dict[int, int] = {}
    for number, run in enumerate(runs(table(), SPLIT)):
        checked = run.history.join(ends, on=["Store", "Dept"])
        assert checked.height == run.history.height, "series of the split only"
        assert (checked["Date"] <= checked["own_end"]).all()
        assert run.history["Date"].max() == run.cutoff
        assert run.future["Date"].min() == run.cutoff + dt.timedelta(days=7)
        assert "Weekly_Sales" not in run.future.columns
        answered_by |= dict.fromkeys(run.future["Dept"].unique(), number)
        needed = ends.filter(pl.col("Dept").is_in(run.future["Dept"].unique().to_list()))["own_end"].max()
        assert run.future["Date"].max() == needed + dt.timedelta(days=28)
    assert answered_by == {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 2}


def test_the_future_has_every_week_with_what_its_store_knew():
    first = runs(table(), SPLIT)[0]
    assert first.future.height == 3 * 4
    told = dict(table().frame.select("Date", "IsHoliday").unique().iter_rows())
    assert all(row["IsHoliday"] == told[row["Date"]] for row in first.future.iter_rows(named=True))


def test_what_is_written_is_what_the_command_reads(tmp_path):
    run = runs(table(), SPLIT)[1]
    opened = open_table(str(run.write(tmp_path)))
    build = build_panel(opened, horizon=run.horizon)
    assert build.panel.cutoff == run.cutoff
    assert build.requested.select("Dept").unique().height == 2
    assert np.nansum(build.panel.y) == run.history["Weekly_Sales"].sum()


def test_peers_answer_each_series_from_its_own_end():
    whole = table()
    window = Window(SPLIT, SPLIT.cutoffs[0], Path(), whole)
    question = window.question
    assert question.panel.n_series == 6
    assert question.ends.tolist() == [question.panel.n_periods - back for back in list(ENDED.values())[:6]]
    rows = whole.frame.join(own_ends(whole, SPLIT), on=["Store", "Dept"]).filter(pl.col("Date") > pl.col("own_end"))
    rows = rows.select(pl.concat_str("Store", "Dept", separator="_").alias("unique_id"), "Date", "Weekly_Sales")
    rows = rows.rename({"Date": "ds", "Weekly_Sales": "y"}).with_columns(cutoff=pl.lit(SPLIT.cutoffs[0]))
    found = answered(window, Block(SPLIT, rows), PEERS["seasonal naive"](question))
    both = rows.join(found, on=["unique_id", "ds", "cutoff"])
    assert both.height == 6 * 4
    year_ago = both.select(pl.col("y") + 52 - pl.col("y_hat")).to_series()
    assert year_ago.abs().max() == 0.0, "sales tell the week: the same week a year ago is 52 more"
