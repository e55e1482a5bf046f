"""The neutral rules, against sums done by hand and against the published scorer where it is at hand."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
from benchmarks.data import data_folder
from benchmarks.neutral import SPLITS, Block, Split, read_block, scores
from benchmarks.published import published_file, read_published

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
    """Four stores, shut on Sundays, one that opens ten days before the last block."""
    folder.mkdir(parents=True)
    days = [dt.date(2014, 1, 1) + dt.timedelta(days=day) for day in range(577)]
    rows = []
    for store in range(1, 5):
        for place, day in enumerate(days):
            if store == 4 and place < 525:
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
    rows = block.rows.select("unique_id", "ds", "cutoff")
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


def published_rows(module: ModuleType, split: Split, forecast: pl.DataFrame, folder: Path) -> tuple[Any, Any]:
    """The published scorer's table of every row to score beside its forecast, and the source it read."""
    import pandas as pd

    name = split.name
    module.DATA = folder
    source = module.load(split.layout)
    path = folder / f"{name}-forecast.parquet"
    forecast.write_parquet(path)
    asked = module.test_frame(name, source).merge(module.scales(name, source), on=["unique_id", "cutoff"], how="left")
    answers = module.read_forecast(path)
    for column in ("ds", "cutoff"):
        answers[column] = pd.to_datetime(answers[column]).astype("datetime64[ns]")
    values = [column for column in answers.columns if column.startswith(("yhat", "q0."))]
    on = ["unique_id", "ds", "cutoff"]
    return asked.merge(answers[[*on, *values]], on=on, how="left"), source


def published_scores(module: ModuleType, split: Split, forecast: pl.DataFrame, folder: Path) -> dict[str, float]:
    """What the published scorer says of a forecast."""
    together, source = published_rows(module, split, forecast, folder)
    return {**module.score(together, split.layout), **module.fev_score(together, source, split.layout, split.name)}


def without_quarters(found: dict[str, float]) -> dict[str, float]:
    """What both scorers compute: the published one has no quarters of the horizon."""
    return {metric: value for metric, value in found.items() if "_q" not in metric}


COMMON = {"WAPE", "bias", "MASE", "RMSSE", "cov80", "cov95", "WQL5", "WQL9"}


def test_the_splits_are_those_of_the_published_scorer(published):
    assert set(SPLITS) == set(published.SPLITS)
    for name, (layout, _, horizon, season, cutoffs) in published.SPLITS.items():
        ours = SPLITS[name]
        found = (ours.layout, ours.horizon, ours.season, [day.isoformat() for day in ours.cutoffs])
        assert found == (layout, horizon, season, cutoffs)


@pytest.mark.parametrize("name", SPLITS)
def test_agrees_with_the_published_scorer_on_awkward_series(name, tmp_path, published):
    rng = np.random.default_rng(3)
    split = SPLITS[name]
    block = read_block(split, WORLDS[split.layout](tmp_path / split.layout, rng))
    forecast = forecast_of(block, rng)
    ours = without_quarters(scores(block, forecast))
    theirs = published_scores(published, split, forecast, tmp_path)
    fev = {"fev_WAPE", "fev_MASE", "fev_WQL", "fev_SQL"} if split.twin else set()
    assert COMMON | fev < set(ours)
    assert block.rows.height == theirs["rows"]
    assert ours == pytest.approx({metric: theirs[metric] for metric in ours}, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", ["walmart_block39", "rossmann_rolling7"])
def test_quarters_are_the_published_coverage_of_their_steps(name, tmp_path, published):
    rng = np.random.default_rng(8)
    split = SPLITS[name]
    block = read_block(split, WORLDS[split.layout](tmp_path / split.layout, rng))
    forecast = forecast_of(block, rng)
    ours = scores(block, forecast)
    rows, _ = published_rows(published, split, forecast, tmp_path)
    step = (rows.ds - rows.cutoff).dt.days // split.days
    for quarter in range(1, 5):
        low, high = (quarter - 1) * split.horizon / 4, quarter * split.horizon / 4
        part = published.score(rows[(step - 1 >= low) & (step - 1 < high)], split.layout)
        for metric in ("cov80", "cov95"):
            assert ours[f"{metric}_q{quarter}"] == pytest.approx(part[metric], abs=1e-12)


def real_block(name: str) -> tuple[Block, Path]:
    """The block of the original files, or a skip."""
    data, layout = data_folder(), SPLITS[name].layout
    if data is None or not (data / layout / "train.csv").exists():
        pytest.skip(f"the original {layout} files are not here: set FORETAIL_DATA")
    return read_block(SPLITS[name], data / layout), data


@pytest.mark.parametrize("name", ["walmart_block39", "walmart_fev"])
def test_agrees_with_the_published_scorer_on_the_real_blocks(name, tmp_path, published):
    block, data = real_block(name)
    (tmp_path / "walmart").symlink_to(data / "walmart")
    forecast = forecast_of(block, np.random.default_rng(5))
    theirs = published_scores(published, SPLITS[name], forecast, tmp_path)
    ours = without_quarters(scores(block, forecast))
    assert ours == pytest.approx({metric: theirs[metric] for metric in ours}, rel=1e-9, abs=1e-9)


def test_the_twin_reproduces_the_published_naive_forecast():
    block, data = real_block("walmart_fev")
    path = published_file()
    if path is None:
        pytest.skip("the published figures are not at hand")
    naive = next(line.scores for line in read_published(SPLITS["walmart_fev"].twin, path) if line.model == "Naive")
    sales = pl.read_csv(data / "walmart" / "train.csv").select(
        pl.concat_str("Store", "Dept", separator="_").alias("unique_id"), pl.col("Date").str.to_date(), "Weekly_Sales"
    )
    first = block.rows.group_by("unique_id").agg(pl.col("ds").min().alias("first"))
    seen = sales.join(first, on="unique_id").filter(pl.col("Date") < pl.col("first")).sort("Date")
    last = seen.group_by("unique_id").agg(pl.col("Weekly_Sales").last().alias("y_hat"))
    found = scores(block, block.rows.select("unique_id", "ds").join(last, on="unique_id"))
    assert block.rows["unique_id"].n_unique() == 2936
    assert found["fev_WAPE"] == pytest.approx(naive["WAPE"], abs=5e-5)
    assert found["fev_MASE"] == pytest.approx(naive["MASE"], abs=5e-5)


def hand_made() -> tuple[Block, pl.DataFrame]:
    day = dt.date(2012, 2, 3)
    rows = pl.DataFrame(
        {
            "unique_id": ["1_1", "1_2"],
            "ds": [day, day],
            "cutoff": [day - dt.timedelta(days=7)] * 2,
            "step": [1, 1],
            "y": [100.0, 50.0],
            "is_holiday": [True, False],
            "scale": [10.0, 5.0],
            "squared_scale": [100.0, 25.0],
            "own_scale": [10.0, None],
        }
    )
    forecast = pl.DataFrame({"Store": [1, 1], "Dept": [1, 2], "Date": [day, day], "y_hat": [110.0, 40.0]})
    return Block(SPLITS["walmart_block39"], rows), forecast


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
    split = replace(SPLITS["rossmann_block42"], keys=("Store", "Dept"))
    block = Block(split, block.rows.with_columns(pl.Series("y", [100.0, 0.0])))
    assert scores(block, forecast)["RMSPE"] == pytest.approx(0.1)


def test_the_metrics_of_fev_bench_by_hand():
    block, forecast = hand_made()
    block = Block(SPLITS["walmart_fev"], block.rows)
    found = scores(block, forecast.with_columns(pl.col("y_hat").alias(f"q{level}") for level in range(10, 100, 10)))
    assert found["fev_WAPE"] == pytest.approx(20 / 150)
    assert found["fev_MASE"] == pytest.approx(1.0), "a series without a scale of its own is left out"
    assert found["fev_WQL"] == pytest.approx(20 / 150), "the median 10 too high and 10 too low: 2 (1 - p) 10 + 2 p 10"
    assert found["fev_SQL"] == pytest.approx(1.0)


def test_windows_are_averaged_after_each_was_scored():
    block, forecast = hand_made()
    later = block.rows.with_columns(pl.col("ds", "cutoff") + pl.duration(days=7), pl.col("y") * 10)
    both = Block(SPLITS["rossmann_fev"], pl.concat([block.rows, later]))
    both = Block(replace(SPLITS["rossmann_fev"], keys=("Store", "Dept")), both.rows)
    day = block.rows["cutoff"][0]
    dated = forecast.with_columns(cutoff=pl.lit(day))
    again = dated.with_columns(pl.col("Date", "cutoff") + pl.duration(days=7))
    found = scores(both, pl.concat([dated, again]))
    assert found["fev_WAPE"] == pytest.approx((20 / 150 + (890 + 460) / 1500) / 2)
    assert found["WAPE"] == pytest.approx((20 + 890 + 460) / 1650)
    with pytest.raises(DataError, match="of which window"):
        scores(both, forecast)
    assert scores(both.window(day), forecast)["WAPE"] == pytest.approx(20 / 150)


def test_each_series_is_cut_before_its_own_last_rows(tmp_path):
    folder = walmart_files(tmp_path / "walmart", np.random.default_rng(3))
    rows = read_block(SPLITS["walmart_fev"], folder).rows
    assert set(rows["unique_id"].unique()) == {"1_1", "1_2", "3_1"}, "79 rows or more"
    assert rows["step"].is_between(1, 39).all()
    ends = dict(rows.group_by("unique_id").agg(pl.col("ds").max()).iter_rows())
    assert ends["3_1"] < ends["1_1"]
    assert rows.filter(pl.col("step") == 39).height == 3
    assert rows["cutoff"].unique().to_list() == [dt.date(2012, 1, 27)]


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
