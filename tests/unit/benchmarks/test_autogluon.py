"""What AutoGluon is passed and what is read back; AutoGluon itself lives in another environment and is not run here."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks import autogluon
from benchmarks.autogluon import AutoGluon, write_job
from benchmarks.peers import Question

from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.core.spec import DatasetSpec, PastCovariate
from foretail.panel.panel import Covariate, Panel

H = 3


def question() -> Question:
    """Two shops over ten weeks: one with a hole, one that begins in week 4 and ends a week early."""
    y = np.arange(20.0).reshape(2, 10)
    y[0, 5] = np.nan
    y[1, :4] = np.nan
    spec = DatasetSpec(
        ("shop",), "date", "sales", "W-FRI", H, known=("promo", "holiday"), past=(PastCovariate("visits"),)
    )
    promo = Covariate("promo", np.arange(26, dtype=np.float32).reshape(2, 13))
    kind = np.zeros((2, 13), dtype=np.float32)
    kind[0, 1], kind[1, 12] = 1.0, np.nan
    holiday = Covariate("holiday", kind, ("none", "easter"))
    visits = Covariate("visits", np.full((2, 10), 7, dtype=np.float32))
    series = pl.DataFrame({"unique_id": ["a", "b"], "shop": ["a", "b"]})
    panel = Panel(spec, series, 2_000, y, np.zeros((2, 13), dtype=np.bool_), (promo, holiday), (visits,))
    return Question(panel, H, np.array([10, 9]), intervals=True)


def test_history_ends_where_each_series_ends_and_the_future_begins_there(tmp_path):
    asked = question()
    write_job(asked, tmp_path, "medium_quality", 60.0)
    history, future = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("history", "future"))
    assert history.columns == ["item_id", "timestamp", "promo", "holiday", "target", "visits"]
    assert future.columns == ["item_id", "timestamp", "promo", "holiday"], "what is known afterwards is not passed"
    spans = history.group_by("item_id").agg(pl.len(), pl.col("timestamp").max().cast(pl.Date)).sort("item_id").rows()
    days = asked.panel.dates().tolist()
    assert spans == [("0", 10, days[9]), ("1", 5, days[8])]
    begins = future.group_by("item_id").agg(pl.col("timestamp").min().cast(pl.Date)).sort("item_id")["timestamp"]
    assert begins.to_list() == asked.panel.dates(9, 2).tolist()[::-1]
    assert history.filter(pl.col("target").is_null()).height == 1
    assert history["holiday"].to_list()[:2] == ["none", "easter"]
    assert future.filter(item_id="1")["promo"].to_list() == [22.0, 23.0, 24.0]


def test_the_job_says_what_is_asked(tmp_path):
    write_job(question(), tmp_path, "medium_quality", 60.0)
    job = json.loads((tmp_path / "job.json").read_text())
    assert (job["freq"], job["horizon"], job["known"]) == ("W-FRI", H, ["promo", "holiday"])
    assert (job["preset"], job["time_limit_s"], job["levels"]) == ("medium_quality", 60.0, list(DEFAULT_QUANTILES))
    assert pl.read_parquet(tmp_path / "static.parquet").rows() == [("0", "a"), ("1", "b")]


def test_an_answer_is_placed_by_date_and_gaps_are_the_last_season(tmp_path):
    asked = question()
    dates = np.concatenate([asked.panel.dates(10, H), asked.panel.dates(9, H)])
    cells = np.arange(6 * len(DEFAULT_QUANTILES), dtype=np.float64).reshape(6, -1)
    frame = pl.DataFrame({"item_id": ["0"] * H + ["1"] * H, "timestamp": dates}).with_columns(
        pl.Series(str(level), cells[:, i]) for i, level in enumerate(DEFAULT_QUANTILES)
    )
    frame = frame.sample(fraction=1.0, shuffle=True, seed=1)
    frame.write_parquet(tmp_path / "answer.parquet")
    found = autogluon._read_answer(tmp_path / "answer.parquet", asked)
    assert found.reshape(6, -1).tolist() == cells.tolist()
    frame.filter((pl.col("item_id") == "0") | (pl.col("timestamp") != dates[3])).write_parquet(
        tmp_path / "less.parquet"
    )
    less = autogluon._read_answer(tmp_path / "less.parquet", asked)
    assert np.isfinite(less).all()
    assert len(set(less[1, 0])) == 1
    assert (less[0] == found[0]).all()


def test_answers_without_downloads_are_kept_apart(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert AutoGluon("high_quality", 900).name == "autogluon high_quality 900 s"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert AutoGluon("high_quality", 900).name == "autogluon high_quality 900 s, no downloads"


def test_the_script_needs_nothing_of_ours():
    tree = ast.parse(Path(autogluon.__file__).with_name("autogluon_job.py").read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in modules} == {
        "__future__", "json", "sys", "pathlib", "typing", "pandas", "autogluon",
    }  # fmt: skip


@pytest.mark.parametrize("freq", ["D", "W-FRI", "MS", "ME"])
def test_every_frequency_has_a_name_that_pandas_knows(freq):
    from pandas.tseries.frequencies import to_offset

    assert to_offset(autogluon._PANDAS_FREQ.get(freq, freq)) is not None
