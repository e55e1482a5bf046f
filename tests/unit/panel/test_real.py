"""Panels of the original competition files, where those are at hand."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np
import pytest
from panel_cases import names_of

from foretail.panel.build import build_panel
from foretail.sources.open import open_table

DATA = Path(os.environ.get("FORETAIL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def _need(name: str) -> None:
    if not (DATA / name / "train.csv").exists():
        pytest.skip(f"the original {name} files are not under {DATA}: set FORETAIL_DATA")


def test_walmart_at_a_cutoff() -> None:
    _need("walmart")
    table = open_table("walmart", data=DATA)
    built = build_panel(table, cutoff=dt.date(2012, 1, 27), horizon=39)
    panel = built.panel
    assert panel.y.shape == (3306, 104)
    assert panel.cutoff == dt.date(2012, 1, 27)
    history = table.frame.filter(table.frame["Date"] <= dt.date(2012, 1, 27))
    assert int(panel.observed.sum()) == history.height
    assert np.nansum(panel.y) == pytest.approx(history["Weekly_Sales"].sum())
    answered = built.requested.select("Store", "Dept", "ds")
    block = table.frame.filter(table.frame["Date"].is_between(dt.date(2012, 2, 3), dt.date(2012, 10, 26)))
    asked = block.select("Store", "Dept", ds="Date")
    assert asked.join(answered, on=["Store", "Dept", "ds"], how="anti").is_empty()
    assert not np.isnan(panel.covariate("IsHoliday").values).any()


def test_walmart_asks_for_its_own_future() -> None:
    _need("walmart")
    built = build_panel(open_table("walmart", data=DATA))
    assert built.panel.spec.horizon == 39
    assert built.cold.height > 0  # series that begin in the weeks to forecast
    assert built.requested.group_by("Store", "Dept").len()["len"].unique().to_list() == [39]


def test_rossmann_knows_its_closed_days_ahead() -> None:
    _need("rossmann")
    table = open_table("rossmann", data=DATA)
    panel = build_panel(table, cutoff=dt.date(2015, 6, 19)).panel
    assert panel.y.shape == (1115, 900)
    shut = panel.closed[:, 900:]
    assert 0.1 < shut.mean() < 0.25
    assert (panel.y[panel.closed[:, :900] & panel.observed] == 0).all()
    declared = build_panel(table, cutoff=dt.date(2015, 6, 19))
    found = build_panel(type(table)(table.frame, table.spec.but(open=None)), cutoff=dt.date(2015, 6, 19))
    np.testing.assert_array_equal(found.panel.closed, declared.panel.closed)
    assert names_of(found)["closed_rule"].examples == ("Open",)
