"""Stockouts: their sales are withheld and kept aside, at every cutoff; a column that cannot mean them is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from panel_cases import assert_same, daily, days, names_of, spec

from foretail.core.errors import DataError
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.panel.segments import segments
from foretail.panel.snapshot import content_version, load_panel, read_panel, save_snapshot, write_panel
from foretail.sources.table import Table

FLAG = spec(stockout="out")
SHARE = spec(stockout="there:available")


def table(n_series: int = 2, n_days: int = 30, **columns: list[Any]) -> pl.DataFrame:
    """The small table with further columns."""
    return daily(n_series, n_days).with_columns(*(pl.Series(name, values) for name, values in columns.items()))


def flags(n: int, *where: int) -> list[int]:
    """n zeros with ones at some places."""
    return [int(i in where) for i in range(n)]


def withheld_cells(panel: Panel) -> set[tuple[int, int]]:
    """Row and column of every withheld cell."""
    row, column = np.nonzero(panel.is_withheld)
    return set(zip(row.tolist(), column.tolist(), strict=True))


def test_sales_of_a_stockout_are_withheld_and_kept_aside():
    frame = table(out=flags(60, 3, 40))
    panel = build_panel(Table(frame, FLAG)).panel
    assert withheld_cells(panel) == {(0, 3), (1, 10)}
    assert np.isnan(panel.y[panel.is_withheld]).all()
    assert panel.withheld is not None
    assert panel.withheld.sold.tolist() == [frame["sales"][3], frame["sales"][40]]
    assert np.isnan(panel.withheld.available).all()
    elsewhere = ~panel.is_withheld
    assert_same(panel.y[elsewhere], build_panel(Table(frame, spec())).panel.y[elsewhere])


def test_truth_and_text_are_read_as_flags():
    plain = build_panel(Table(table(out=flags(60, 3, 40)), FLAG)).panel
    for values in ([bool(i in (3, 40)) for i in range(60)], [str(int(i in (3, 40))) for i in range(60)]):
        other = build_panel(Table(table(out=values), FLAG)).panel
        assert withheld_cells(other) == withheld_cells(plain)


def test_a_cell_that_tells_nothing_had_its_goods():
    values: list[int | None] = [None] * 60
    values[5] = 1
    assert withheld_cells(build_panel(Table(table(out=values), FLAG)).panel) == {(0, 5)}


def test_nearly_all_of_the_period_is_all_of_it():
    share = [1.0] * 60
    share[2], share[7], share[35] = 0.97, 0.94, 0.0
    panel = build_panel(Table(table(there=share), SHARE)).panel
    assert withheld_cells(panel) == {(0, 7), (1, 5)}
    assert panel.withheld is not None
    assert panel.withheld.available.tolist() == [0.94, 0.0]


def test_nothing_is_withheld_where_nothing_ran_out():
    panel = build_panel(Table(table(out=flags(60)), FLAG)).panel
    assert panel.withheld is None
    assert_same(panel.y, build_panel(Table(table(), spec())).panel.y)


def test_a_panel_says_how_much_ran_out():
    found = names_of(build_panel(Table(table(out=flags(60, 3, 40)), FLAG)))["stockouts"]
    assert (found.level, found.n) == ("info", 2)
    assert "missing_values" not in names_of(build_panel(Table(table(out=flags(60, 3, 40)), FLAG)))


def test_a_column_that_says_stockout_of_nearly_everything_is_doubted():
    found = names_of(build_panel(Table(table(out=[int(i % 10 > 0) for i in range(60)]), FLAG)))["stockouts"]
    assert found.level == "warning"
    assert "'out'" in found.text


def test_the_cutoff_is_the_last_date_though_everything_ran_out_then():
    out = [int(i % 30 == 29) for i in range(60)]
    panel = build_panel(Table(table(out=out), FLAG)).panel
    assert panel.cutoff == days(30)[-1]
    assert panel.last.tolist() == [28, 28]


def test_a_series_of_stockouts_only_has_no_history():
    built = build_panel(Table(table(out=[1] * 30 + [0] * 30), FLAG))
    assert built.panel.series["store"].to_list() == [2]
    assert built.cold["store"].to_list() == [1]


def test_empty_shelves_do_not_end_a_series():
    frame = daily(1, 200).with_columns(pl.when(pl.int_range(200) >= 110).then(0).otherwise("sales").alias("sales"))
    out = pl.int_range(200) >= 110
    assert segments(build_panel(Table(frame, spec())).panel).labels == ["ended"]
    told = build_panel(Table(frame.with_columns(out.cast(pl.Int8).alias("out")), FLAG))
    assert segments(told.panel).labels != ["ended"]
    assert "ended_series" not in names_of(told)


def test_an_earlier_cutoff_knows_the_stockouts_up_to_it():
    panel = build_panel(Table(table(out=flags(60, 3, 12, 40)), FLAG)).panel
    past = panel.as_of(12, 5)
    assert withheld_cells(past) == {(0, 3), (1, 10)}
    assert past.withheld is not None
    assert past.withheld.period.max() < panel.start + 12


def test_selected_series_keep_their_stockouts():
    panel = build_panel(Table(table(3, out=flags(90, 3, 40, 61)), FLAG)).panel
    assert withheld_cells(panel.select(np.array([2, 0]))) == {(0, 1), (1, 3)}
    assert withheld_cells(panel.select(np.array([False, True, False]))) == {(0, 10)}


def test_a_withheld_cell_stays_so_whatever_was_told_of_it_first():
    first = table(1, out=flags(30, 4)).with_columns(written=pl.col("date"))
    later = first.filter(pl.int_range(30).is_in([4, 9])).with_columns(
        pl.col("sales") + 1, written=pl.col("date") + pl.duration(days=3)
    )
    told = spec(stockout="out", duplicates="last", recorded="written")
    panel = build_panel(Table(pl.concat([first, later]), told)).panel
    assert panel.revisions is not None
    assert set(panel.revisions.period - panel.start) == {9}
    for n in (6, 8, 30):
        assert np.isnan(panel.as_of(n).y[0, 4])


def test_of_the_lines_of_a_day_the_emptiest_shelf_counts():
    frame = table(1, there=[1.0] * 30)
    more = frame.filter(pl.int_range(30) == 8).with_columns(there=pl.lit(0.5))
    panel = build_panel(Table(pl.concat([frame, more]), spec(stockout="there:available", duplicates="sum"))).panel
    assert withheld_cells(panel) == {(0, 8)}
    assert panel.withheld is not None
    assert panel.withheld.sold[0] == 2 * frame["sales"][8]


def test_negative_sales_of_a_stockout_are_no_demand_either():
    frame = table(1, out=flags(30, 4)).with_columns(
        pl.when(pl.int_range(30) == 4).then(-5).otherwise("sales").alias("sales")
    )
    built = build_panel(Table(frame, FLAG))
    assert "negatives" not in names_of(built)
    assert withheld_cells(built.panel) == {(0, 4)}


@pytest.mark.parametrize(
    ("values", "meaning", "what", "fix"),
    [
        ([0.35] + [0] * 59, FLAG, "neither 0 nor 1", 'stockout = "out:available"'),
        ([2] + [0] * 59, FLAG, "neither 0 nor 1", "correct the others"),
        (["yes"] + ["0"] * 59, FLAG, "neither 0 nor 1", "correct the others"),
        ([95.0] + [100.0] * 59, spec(stockout="out:available"), "no share", "divide percentages by 100"),
        ([-0.1] + [1.0] * 59, spec(stockout="out:available"), "no share", "divide percentages by 100"),
        ([1] * 60, FLAG, "in every period", 'stockout = "out:available"'),
        ([0.0] * 60, spec(stockout="out:available"), "in every period", 'stockout = "out"'),
    ],
)
def test_a_column_that_cannot_mean_stockouts_is_refused(values, meaning, what, fix):
    with pytest.raises(DataError) as refused:
        build_panel(Table(table(out=values), meaning))
    (problem,) = refused.value.problems
    assert what in problem.what
    assert "'out'" in problem.where
    assert fix in problem.fix


def test_a_column_that_is_missing_is_named_without_its_suffix():
    with pytest.raises(DataError, match="'there' is missing"):
        build_panel(Table(table(), SHARE))


def test_what_comes_after_the_cutoff_moves_nothing():
    frame = table(out=flags(60, 3, 40))
    other = frame.with_columns(pl.when(pl.col("date") > days(20)[-1]).then(1).otherwise("out").alias("out"))
    ours, theirs = (build_panel(Table(item, FLAG), cutoff=days(20)[-1]).panel for item in (frame, other))
    assert_same(ours.y, theirs.y)
    assert withheld_cells(ours) == withheld_cells(theirs)


def test_snapshots_hold_what_is_withheld(tmp_path: Path):
    panel = build_panel(Table(table(out=flags(60, 3, 40)), FLAG)).panel
    write_panel(panel, tmp_path)
    found = read_panel(tmp_path)
    assert found.withheld is not None
    assert panel.withheld is not None
    for name in ("row", "period", "sold", "available"):
        assert_same(getattr(found.withheld, name), getattr(panel.withheld, name))
    version = save_snapshot(panel, tmp_path / "home")
    assert content_version(load_panel(tmp_path / "home" / "snapshots" / version)) == version


def test_the_name_of_a_snapshot_hangs_on_what_is_withheld():
    panel = build_panel(Table(table(out=flags(60, 3, 40)), FLAG)).panel
    assert panel.withheld is not None
    more = replace(panel, withheld=replace(panel.withheld, sold=panel.withheld.sold + 1))
    assert content_version(more) != content_version(panel)
