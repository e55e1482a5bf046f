"""Quarantined rows keep their reason, come back corrected, and are never lost or counted twice."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from panel_cases import daily, same_panel, spec

from foretail.core.errors import DataError, UsageError
from foretail.panel.build import build_panel
from foretail.panel.quarantine import (
    ROW_ID,
    keep_quarantine,
    load_quarantine,
    load_released,
    release_rows,
    with_released,
)
from foretail.sources.table import Table

CLEAN = daily(2, 20).cast({"sales": pl.Float64})


def _dirty() -> Table:
    lost = pl.col("date") == dt.date(2024, 1, 7)
    return Table(
        CLEAN.with_columns(
            store=pl.when(lost & (pl.col("store") == 1)).then(None).otherwise("store"),
            sales=pl.when(lost & (pl.col("store") == 2)).then(float("inf")).otherwise("sales"),
        ),
        spec(),
    )


def test_rows_are_kept_once_with_their_reason(tmp_path: Path) -> None:
    quarantine = build_panel(_dirty()).quarantine
    for _ in range(2):
        keep_quarantine(quarantine, tmp_path, "sales")
    kept = load_quarantine(tmp_path, "sales")
    assert kept.columns == [ROW_ID, "store", "date", "sales", "reason"]
    assert set(kept["reason"]) == {"no value in the key store", "sales is not a finite number"}
    assert kept[ROW_ID].n_unique() == kept.height == 2
    assert kept.drop(ROW_ID).sort("reason").equals(quarantine.sort("reason"))


def test_released_rows_make_the_table_whole(tmp_path: Path) -> None:
    table = _dirty()
    keep_quarantine(build_panel(table).quarantine, tmp_path, "sales")
    waiting = {row["reason"]: row[ROW_ID] for row in load_quarantine(tmp_path, "sales").to_dicts()}
    first, second = waiting["no value in the key store"], waiting["sales is not a finite number"]
    right = CLEAN.filter((pl.col("store") == 2) & (pl.col("date") == dt.date(2024, 1, 7)))["sales"].item()
    released = release_rows(tmp_path, "sales", [first, second], {first: {"store": 1}, second: {"sales": right}})
    assert released.columns == CLEAN.columns
    assert load_quarantine(tmp_path, "sales").is_empty()
    assert load_released(tmp_path, "sales").height == 2
    again = build_panel(with_released(table, tmp_path))
    same_panel(again.panel, build_panel(Table(CLEAN, spec())).panel)
    keep_quarantine(again.quarantine, tmp_path, "sales")  # the uncorrected twins are still in the user's file
    assert load_quarantine(tmp_path, "sales").is_empty()


def test_only_what_was_named_is_released(tmp_path: Path) -> None:
    keep_quarantine(build_panel(_dirty()).quarantine, tmp_path, "sales")
    first = load_quarantine(tmp_path, "sales")[ROW_ID][0]
    release_rows(tmp_path, "sales", [first])
    assert load_quarantine(tmp_path, "sales").height == 1


def test_equal_rows_are_all_kept(tmp_path: Path) -> None:
    row = pl.DataFrame({"store": [None, None], "date": [dt.date(2024, 1, 1)] * 2, "sales": [1.0, 1.0]})
    frame = pl.concat([CLEAN, row.cast(pl.Schema(CLEAN.schema))])
    keep_quarantine(build_panel(Table(frame, spec())).quarantine, tmp_path, "sales")
    assert load_quarantine(tmp_path, "sales").height == 2


def test_wrong_releases_are_refused_and_change_nothing(tmp_path: Path) -> None:
    keep_quarantine(build_panel(_dirty()).quarantine, tmp_path, "sales")
    row = load_quarantine(tmp_path, "sales")[ROW_ID][0]
    with pytest.raises(UsageError, match="'nothing' is not in quarantine"):
        release_rows(tmp_path, "sales", ["nothing"])
    with pytest.raises(UsageError, match="no column 'stor'"):
        release_rows(tmp_path, "sales", [row], {row: {"stor": 1}})
    with pytest.raises(UsageError, match="corrections of sales"):
        release_rows(tmp_path, "sales", [row], {row: {"sales": "many"}})
    assert load_quarantine(tmp_path, "sales").height == 2


def test_a_dataset_name_is_never_a_path(tmp_path: Path) -> None:
    folder = keep_quarantine(build_panel(_dirty()).quarantine, tmp_path, "../../etc/My sales")
    assert folder is not None and folder.parent == tmp_path / "quarantine"
    other = keep_quarantine(build_panel(_dirty()).quarantine, tmp_path, "etc-My-sales")
    assert other != folder


def test_nothing_to_keep_writes_nothing(tmp_path: Path) -> None:
    assert keep_quarantine(build_panel(Table(CLEAN, spec())).quarantine, tmp_path, "sales") is None
    assert not list(tmp_path.iterdir())
    assert load_quarantine(tmp_path, "sales").is_empty()


def test_a_table_without_released_rows_is_the_same(tmp_path: Path) -> None:
    table = _dirty()
    assert with_released(table, tmp_path) is table


def test_released_rows_of_another_table_are_told(tmp_path: Path) -> None:
    keep_quarantine(build_panel(_dirty()).quarantine, tmp_path, "sales")
    release_rows(tmp_path, "sales", load_quarantine(tmp_path, "sales")[ROW_ID])
    with pytest.raises(DataError, match="released rows do not fit the table"):
        with_released(Table(CLEAN.with_columns(more=1), spec()), tmp_path)


def test_a_column_called_reason_is_kept(tmp_path: Path) -> None:
    frame = _dirty().frame.with_columns(reason=pl.lit("mine"))
    keep_quarantine(build_panel(Table(frame, spec())).quarantine, tmp_path, "sales")
    kept = load_quarantine(tmp_path, "sales")
    assert set(kept["reason (yours)"]) == {"mine"}
    release_rows(tmp_path, "sales", kept[ROW_ID])
    assert with_released(Table(frame, spec()), tmp_path).frame.height == frame.height + 2
