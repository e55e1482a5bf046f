"""The neutral rules, against sums done by hand and against the published scorer where it is at hand."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from benchmarks.data import data_folder
from benchmarks.neutral import SPLITS, Block, Split, read_block, scores

from foretail.core.errors import DataError

COLUMNS = ["q2_5", *(f"q{level}" for level in range(10, 100, 10)), "q97_5"]


def walmart_files(folder: Path, rng: np.random.Generator) -> Path:
    """A small world with everything that is awkward: a late, a short, an ended, a new series, holes, negatives."""
    folder.mkdir(parents=True)
    weeks = [dt.date(2010, 2, 5) + dt.timedelta(days=7 * week) for week in range(143)]
    spans = {
        (1, 1): (0, 143),
        (1, 2): (0, 143),
        (2, 1): (95, 143),
        (2, 2): (101, 143),
        (3, 1): (0, 110),
        (3, 3): (104, 143),
    }
    rows = []
    for (store, dept), (first, last) in spans.items():
        for week in range(first, last):
            if rng.random() < 0.93:
                value = round(float(rng.gamma(2.0, 500.0)) - 200.0, 2)
                rows.append((store, dept, weeks[week], value, "TRUE" if week % 13 == 0 else "FALSE"))
    names = ["Store", "Dept", "Date", "Weekly_Sales", "IsHoliday"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "train.csv")
    features = pl.DataFrame({"Store": [1], "Date": [weeks[0]], "Temperature": [40.0], "IsHoliday": ["FALSE"]})
    features.write_csv(folder / "features.csv")
    stores = pl.DataFrame({"Store": [1, 2, 3], "Type": ["A", "B", "A"], "Size": [10, 20, 30]})
    stores.write_csv(folder / "stores.csv")
    return folder


def rossmann_files(folder: Path, rng: np.random.Generator) -> Path:
    """Four stores, shut on Sundays, one that opens ten days before the block."""
    folder.mkdir(parents=True)
    days = [dt.date(2015, 4, 1) + dt.timedelta(days=day) for day in range(122)]
    rows = []
    for store in range(1, 5):
        for place, day in enumerate(days):
            if store == 4 and place < 70:
                continue
            shut = day.weekday() == 6
            rows.append((store, day, 0 if shut else int(rng.integers(1000, 9000)), 0 if shut else 1, "0"))
    names = ["Store", "Date", "Sales", "Open", "StateHoliday"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "train.csv")
    stores = pl.DataFrame({"Store": [1, 2, 3, 4], "StoreType": ["a", "a", "b", "b"]})
    stores.write_csv(folder / "store.csv")
    return folder


WORLDS = {"walmart": walmart_files, "rossmann": rossmann_files}


def forecast_of(block: Block, rng: np.random.Generator) -> pl.DataFrame:
    """Some forecast of every row, with quantiles that rise."""
    rows = block.rows.select("unique_id", "ds")
    centre = block.rows["y"].to_numpy() * rng.uniform(0.6, 1.4, rows.height) + rng.normal(0, 50, rows.height)
    spread = np.sort(rng.normal(0, 400, (rows.height, len(COLUMNS))), axis=1)
    quantiles = [pl.Series(name, centre + spread[:, i]) for i, name in enumerate(COLUMNS)]
    return rows.with_columns(pl.Series("y_hat", centre), *quantiles)


@pytest.fixture
def published() -> ModuleType:
    """The published scorer, imported from its file."""
    data = data_folder()
    beside = [Path(__file__).resolve().parents[4] / "shared" / "bench"]
    folders = [*([data.parent / "bench"] if data else []), *beside]
    found = next((folder / "evaluate.py" for folder in folders if (folder / "evaluate.py").exists()), None)
    if found is None:
        pytest.skip("the published scorer evaluate.py is not at hand")
    specification = importlib.util.spec_from_file_location("published_scorer", found)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def published_scores(module: ModuleType, split: Split, forecast: pl.DataFrame, folder: Path) -> dict[str, float]:
    """What the published scorer says of a forecast."""
    import pandas as pd

    name = f"{split.name}_block{split.horizon}"
    module.DATA = folder
    source = module.load(split.name)
    path = folder / f"{split.name}-forecast.parquet"
    forecast.with_columns(cutoff=pl.lit(split.cutoff)).write_parquet(path)
    asked = module.test_frame(name, source).merge(module.scales(name, source), on=["unique_id", "cutoff"], how="left")
    answers = module.read_forecast(path)
    for column in ("ds", "cutoff"):
        answers[column] = pd.to_datetime(answers[column]).astype("datetime64[ns]")
    values = [column for column in answers.columns if column.startswith(("yhat", "q0."))]
    together = asked.merge(
        answers[["unique_id", "ds", "cutoff", *values]], on=["unique_id", "ds", "cutoff"], how="left"
    )
    found: dict[str, float] = module.score(together, split.name)
    return found


@pytest.mark.parametrize("name", ["walmart", "rossmann"])
def test_agrees_with_the_published_scorer_on_awkward_series(name, tmp_path, published):
    rng = np.random.default_rng(3)
    folder = WORLDS[name](tmp_path / name, rng)
    block = read_block(SPLITS[name], folder)
    forecast = forecast_of(block, rng)
    ours = scores(block, forecast)
    theirs = published_scores(published, SPLITS[name], forecast, tmp_path)
    assert {"WAPE", "bias", "MASE", "RMSSE", "cov80", "cov95", "WQL5", "WQL9"} < set(ours)
    assert ours == pytest.approx({metric: theirs[metric] for metric in ours}, rel=1e-9, abs=1e-9)


def test_agrees_with_the_published_scorer_on_the_real_block(tmp_path, published):
    data = data_folder()
    if data is None or not (data / "walmart" / "train.csv").exists():
        pytest.skip("the original walmart files are not here: set FORETAIL_DATA")
    block = read_block(SPLITS["walmart"], data / "walmart")
    (tmp_path / "walmart").symlink_to(data / "walmart")
    forecast = forecast_of(block, np.random.default_rng(5))
    theirs = published_scores(published, SPLITS["walmart"], forecast, tmp_path)
    ours = scores(block, forecast)
    assert ours == pytest.approx({metric: theirs[metric] for metric in ours}, rel=1e-9, abs=1e-9)


def hand_made() -> tuple[Block, pl.DataFrame]:
    day = dt.date(2012, 2, 3)
    rows = pl.DataFrame(
        {
            "unique_id": ["1_1", "1_2"],
            "ds": [day, day],
            "y": [100.0, 50.0],
            "is_holiday": [True, False],
            "scale": [10.0, 5.0],
            "squared_scale": [100.0, 25.0],
        }
    )
    forecast = pl.DataFrame({"Store": [1, 1], "Dept": [1, 2], "Date": [day, day], "y_hat": [110.0, 40.0]})
    return Block(SPLITS["walmart"], rows), forecast


def test_sums_done_by_hand():
    found = scores(*hand_made())
    assert found["WAPE"] == pytest.approx(20 / 150)
    assert found["bias"] == pytest.approx(0.0)
    assert found["WMAE"] == pytest.approx((5 * 10 + 10) / 6)
    assert found["MASE"] == pytest.approx((1 + 2) / 2)
    assert found["RMSSE"] == pytest.approx((1 + 2) / 2)
    assert "cov80" not in found


def test_rmspe_leaves_days_without_sales_out():
    block, forecast = hand_made()
    split = replace(SPLITS["rossmann"], keys=("Store", "Dept"))
    block = Block(split, block.rows.with_columns(pl.Series("y", [100.0, 0.0])))
    assert scores(block, forecast)["RMSPE"] == pytest.approx(0.1)


def test_every_row_must_be_answered_once():
    block, forecast = hand_made()
    with pytest.raises(DataError, match="1 of 2 rows: 1_2 on 2012-02-03"):
        scores(block, forecast.head(1))
    with pytest.raises(DataError, match="no finite forecast"):
        scores(block, forecast.with_columns(pl.lit(float("nan")).alias("y_hat")))
    with pytest.raises(DataError, match="answered twice"):
        scores(block, pl.concat([forecast, forecast]))


def test_rows_beyond_the_block_are_ignored():
    block, forecast = hand_made()
    later = forecast.with_columns(pl.col("Date") + pl.duration(days=7))
    assert scores(block, pl.concat([forecast, later])) == scores(block, forecast)


def test_the_data_folder_can_be_given(monkeypatch, tmp_path):
    monkeypatch.setitem(os.environ, "FORETAIL_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setitem(os.environ, "FORETAIL_DATA", str(tmp_path / "nowhere"))
    assert data_folder() is None
