"""The tables and goals of the accuracy benchmark: what is missed is said, published figures keep their source."""

from __future__ import annotations

import json
from dataclasses import asdict

import polars as pl
import pytest
from benchmarks.accuracy import main, peers_named
from benchmarks.docs import page
from benchmarks.published import SOURCE, Published, published_file, read_published
from benchmarks.standings import Entry, Outcome, grids, kept_outcomes, measures, merged
from benchmarks.table import write

from foretail.core.errors import UsageError

SCORES = {
    "WAPE": 0.09,
    "bias": 0.01,
    "MASE": 0.9,
    "WQL9": 0.07,
    "WMAE": 1400.0,
    "cov80": 0.81,
    "cov95": 0.90,
    **{f"cov80_q{i}": share for i, share in enumerate((0.8, 0.85, 0.72, 0.81), 1)},
    **{f"cov95_q{i}": 0.95 for i in range(1, 5)},
    "fev_WAPE": 0.09,
    "fev_MASE": 0.8,
    "fev_WQL": 0.07,
    "fev_SQL": 0.64,
}
PUBLISHED = [
    Published("Good", {"SQL": 0.6, "MASE": 0.8, "WAPE": 0.1, "WQL": 0.08}, 9.0),
    Published("Poor", {"SQL": 2.0, "MASE": 1.8, "WAPE": 0.2, "WQL": 0.3}, 1.0),
]


def outcome(split: str = "walmart_fev") -> Outcome:
    ours = Entry("foretail", SCORES, [100.0], 2.5, "used ensemble")
    naive = Entry("seasonal naive", {**SCORES, "WAPE": 0.2, "fev_SQL": 1.0, "fev_WAPE": 0.2}, [0.1])
    points = Entry("LightGBM", {key: SCORES[key] for key in ("WAPE", "bias", "MASE", "WMAE", "fev_WAPE")}, [9.0])
    return Outcome(split, 1, [ours, naive, points], "2 cores, 2026-01-02")


def test_goals_are_checked_and_the_worst_quarter_is_named():
    found = {line.work: line for line in measures(outcome(), []) if line.goal}
    assert found["walmart_fev: SQL"].met is False
    assert found["walmart_fev: WQL"].met is True
    assert found["walmart_fev: 80% interval covers"].met is True
    assert found["walmart_fev: 95% interval covers"].met is False
    worst = found["walmart_fev: 80% interval covers in quarter 3, the furthest off"]
    assert (worst.value, worst.met) == (0.72, False)
    assert found["walmart_fev: time of the slowest window"].met is True


def test_each_metric_stands_beside_the_best_peer_and_the_best_published_figure():
    lines = [(line.work, line.peer, line.peer_value) for line in measures(outcome(), PUBLISHED)]
    assert ("walmart_fev: WAPE", "LightGBM", 0.09) in lines
    assert ("walmart_fev: SQL", "seasonal naive", 1.0) in lines
    assert ("walmart_fev: SQL", "Good (published)", 0.6) in lines


def test_the_second_table_ranks_ours_among_the_published():
    _, beside = grids(outcome(), PUBLISHED)
    assert [row[0] for row in beside.rows] == [
        *("Good", "foretail (this run)", "seasonal naive (this run)", "Poor", "LightGBM (this run)"),
    ]
    assert any(SOURCE in note for note in beside.notes)
    assert len(grids(outcome("walmart_block39"), [])) == 1


def test_peers_not_asked_now_are_kept_and_ours_is_replaced(tmp_path):
    outcome().write(tmp_path)
    now = Outcome("walmart_fev", 1, [Entry("foretail", {**SCORES, "fev_SQL": 0.5}, [90.0], 2.0)], "later")
    merged(now, tmp_path).write(tmp_path)
    (kept,) = kept_outcomes(tmp_path)
    assert [entry.model for entry in kept.entries] == ["foretail", "seasonal naive", "LightGBM"]
    assert (kept.ours.scores["fev_SQL"], kept.ran) == (0.5, "later")


def test_the_page_shows_the_tables_and_the_source(tmp_path):
    tables = [asdict(grid) for grid in grids(outcome(), PUBLISHED)]
    (tmp_path / "accuracy.tables.json").write_text(json.dumps(tables))
    write("accuracy", measures(outcome(), PUBLISHED), tmp_path)
    text = page(tmp_path)
    assert "### walmart_fev: 1 window of 39 steps" in text
    assert "| foretail (this run) | 0.64 | 0.8 | 0.09 | 0.07 | 100 |" in text
    assert "| LightGBM (this run) |  |  | 0.09 |  | 9 |" in text
    assert f"published: {SOURCE}." in text
    assert text.count("## accuracy") == 1


def test_a_part_of_a_split_says_so():
    part = Outcome("rossmann_fev", 3, outcome().entries, "here")
    assert not part.is_whole
    assert grids(part, PUBLISHED)[0].title == "rossmann_fev: 3 of 10 windows of 48 steps"
    assert all("3 of 10 windows" in line.work for line in measures(part, []))


def test_peers_are_named_alone_or_in_groups():
    assert peers_named("mlforecast,seasonal-naive") == ("seasonal naive", "lightgbm")
    assert peers_named("all") == ("seasonal naive", "theta", "ets", "lightgbm", "autogluon")
    assert peers_named("none") == ()
    with pytest.raises(UsageError, match="lightgbm"):
        peers_named("lightgmb")


def test_a_split_that_is_not_known_ends_with_2(capsys):
    assert main(["--only", "walmart_block"]) == 2
    assert "walmart_block39" in capsys.readouterr().err


def test_published_figures_are_read_best_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORETAIL_DATA", str(tmp_path))
    assert published_file() is None
    assert "skipped" in capsys.readouterr().out
    assert read_published("walmart", None) == []
    frame = pl.DataFrame(
        {
            "task_name": ["walmart", "walmart", "m5_1D"],
            "model_name": ["B", "A", "C"],
            **{metric: [2.0, 1.0, 0.5] for metric in ("SQL", "MASE", "WAPE", "WQL")},
            "training_time_s": [1.0, 0.0, 0.0],
            "inference_time_s": [2.0, 4.0, 0.0],
        }
    )
    frame.write_csv(tmp_path / "fev_bench_retail_published.csv")
    lines = read_published("walmart", published_file())
    assert [(line.model, line.scores["SQL"], line.seconds) for line in lines] == [("A", 1.0, 4.0), ("B", 2.0, 3.0)]
