"""The harness of other tables: cut honestly, written as plain CSV, scored on the rows held back."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from benchmarks import cases
from benchmarks.cases import CASES, Case, synthetic_intermittent
from benchmarks.data import data_folder
from benchmarks.neutral import SPLITS
from benchmarks.peers import matrix_frame
from benchmarks.tables import geometric_mean, held_back_wape

from foretail.core.errors import DataError
from foretail.models.naive import SeasonalNaive
from foretail.panel.build import build_panel
from foretail.sources.open import open_table


@pytest.fixture(scope="module")
def synthetic() -> Case:
    return synthetic_intermittent()


def small() -> Case:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=day) for day in range(30)]
    frame = pl.DataFrame(
        {"shop": [1] * 30 + [2] * 2, "day": days + days[-2:], "sold": [float(day) for day in range(32)]}
    )
    return cases.cut(
        "small", frame, keys=("shop",), time="day", target="sold", freq="D", horizon=3, cutoff=dt.date(2024, 1, 27)
    )


def test_a_cut_keeps_the_future_out_and_scores_series_seen_before():
    case = small()
    assert case.history["day"].max() == dt.date(2024, 1, 27)
    assert case.actual.select("shop", "day").rows() == [(1, dt.date(2024, 1, day)) for day in (28, 29, 30)]
    assert case.future is None


def test_wape_and_bias_of_the_rows_held_back():
    case = small()
    forecast = case.actual.select(pl.col("shop").cast(pl.String), "day", y_hat=pl.col("sold") + 1.0)
    wape, bias = held_back_wape(case, forecast)
    assert wape == pytest.approx(3 / (27 + 28 + 29))
    assert bias == pytest.approx(wape)
    with pytest.raises(DataError, match="1 of 3 rows"):
        held_back_wape(case, forecast.head(2))


def test_the_geometric_mean():
    assert geometric_mean([0.5, 2.0, 1.0]) == pytest.approx(1.0)
    assert np.isnan(geometric_mean([]))


def test_the_csv_read_by_the_doors_is_the_table_that_was_cut(synthetic, tmp_path):
    sales, future = synthetic.write(tmp_path)
    table = open_table(str(sales), future=str(future), **synthetic.given)
    panel = build_panel(table, horizon=synthetic.horizon).panel
    assert np.nansum(panel.y) == synthetic.history[synthetic.target].sum()
    assert panel.cutoff == synthetic.history[synthetic.time].max()
    naive = SeasonalNaive().predict(panel, synthetic.horizon).y_hat
    wape, _ = held_back_wape(synthetic, matrix_frame(panel, naive))
    assert 0.3 < wape < 1.2


def test_the_command_line_has_the_roles_and_nothing_else(synthetic, tmp_path):
    words = synthetic.arguments(*synthetic.write(tmp_path))
    assert words[0].endswith("sales.csv")
    assert {word for word in words if word.startswith("--")} == {
        "--keys", "--time", "--target", "--horizon", "--known", "--future",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["walmart-stores", "walmart-departments", "rossmann-plain", "rossmann-weekly"])
def test_real_tables_end_before_the_block_that_is_reported(name):
    source = name.partition("-")[0]
    block = {"walmart": "walmart_block39", "rossmann": "rossmann_block42"}[source]
    data = data_folder()
    if data is None or not (data / source / "train.csv").exists():
        pytest.skip(f"the original {source} files are not here: set FORETAIL_DATA")
    case = CASES[name]()
    assert case is not None
    assert case.actual[case.time].max() <= SPLITS[block].cutoffs[0]
    assert case.history[case.time].max() < case.actual[case.time].min()
    assert case.actual.select(case.keys).join(case.history, on=case.keys, how="anti").is_empty()


def test_without_the_files_a_table_is_skipped_aloud(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FORETAIL_DATA", str(tmp_path))
    assert CASES["walmart-stores"]() is None
    assert "skipped" in capsys.readouterr().out
