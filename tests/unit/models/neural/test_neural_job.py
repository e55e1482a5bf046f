"""Training by job: every row once, nothing of the held rows told before, one process as a plain loop, resumed alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from job_world import H, small_job, small_model

from foretail.core.errors import DataError, ForecastError, UsageError
from foretail.models.neural import Neural
from foretail.models.neural.checkpoints import Standing, read_checkpoint, write_checkpoint
from foretail.models.neural.fit import untrained
from foretail.models.neural.lesson import Lesson
from foretail.models.neural.outcome import begin_job, read_outcome
from foretail.models.neural.recipe import Recipe
from foretail.models.neural.shards import read_job, read_shard
from foretail.models.neural.train import main, train_job
from foretail.models.neural.training import Examples, seeded, train
from foretail.panel.panel import Panel

RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=1e-3, members=1, seed=7, n_threads=1)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A job sets torch's threads for the whole process, which is its own otherwise."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(job_panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of one shard, trained by one process."""
    folder = tmp_path_factory.mktemp("job")
    small_job(folder, job_panel, 1)
    train_job(folder, {})
    return folder


@pytest.mark.parametrize(("shards", "world"), [(1, 1), (2, 2), (4, 2), (3, 3), (4, 1)])
def test_every_row_is_read_by_one_process(job_panel: Panel, tmp_path: Path, shards: int, world: int) -> None:
    job, curriculum = small_job(tmp_path, job_panel, shards)
    for name, lesson in (("older", curriculum.older), ("held", curriculum.held), ("whole", curriculum.whole)):
        assert lesson is not None
        parts = [read_shard(tmp_path, job, name, rank, world) for rank in range(world)]
        assert max(map(len, parts)) - min(map(len, parts)) <= shards // world
        for item in fields(Lesson):
            got = np.concatenate([getattr(part, item.name) for part in parts])
            expected = getattr(lesson, item.name)
            assert got.dtype == expected.dtype
            assert np.array_equal(_sorted(got), _sorted(expected)), item.name
    assert read_job(tmp_path) == job


def _sorted(values: Any) -> Any:
    flat = values.reshape(len(values), -1)
    return flat[np.lexsort(flat.T)]


def test_rows_keep_together_in_a_shard(job_panel: Panel, tmp_path: Path) -> None:
    job, curriculum = small_job(tmp_path, job_panel, 2)
    whole = curriculum.whole
    place = {value: row for row, value in enumerate(whole.reference * 1e6 + whole.y + whole.base)}
    shard = read_shard(tmp_path, job, "whole", 1, 2)
    rows = np.array([place[value] for value in shard.reference * 1e6 + shard.y + shard.base])
    for item in fields(Lesson):
        assert np.array_equal(getattr(shard, item.name), getattr(whole, item.name)[rows]), item.name


def test_a_shard_is_a_sample_of_all_rows(job_panel: Panel, tmp_path: Path) -> None:
    """Dealt in turn, two shards of an even horizon would hold even and odd steps."""
    job, curriculum = small_job(tmp_path, job_panel, 2)
    means = [read_shard(tmp_path, job, "whole", rank, 2).numbers.mean(0) for rank in range(2)]
    error = 1 / np.sqrt(len(curriculum.whole) / 2)
    assert np.abs(means[0] - means[1]).max() < 6 * error


def test_shards_that_cannot_be_dealt_or_read(job_panel: Panel, tmp_path: Path) -> None:
    job, _ = small_job(tmp_path, job_panel, 3)
    with pytest.raises(UsageError, match="3 shards cannot be dealt to 2 processes"):
        read_shard(tmp_path, job, "whole", 0, 2)
    (tmp_path / "whole" / "00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match="write the job again"):
        read_shard(tmp_path, job, "whole", 1, 3)
    with pytest.raises(UsageError, match="too few training rows"):
        small_job(tmp_path / "many", job_panel, 10_000)
    with pytest.raises(UsageError, match="no training job"):
        read_job(tmp_path / "nothing")


def test_held_rows_are_whole_periods_after_all_older_ones(job_panel: Panel) -> None:
    model = small_model()
    rows = model._rows(job_panel, H)
    curriculum = model.curriculum(job_panel, H)
    assert curriculum is not None and curriculum.held is not None and curriculum.older is not None
    target = rows.cutoff + rows.step
    split = target.max() - H
    assert len(curriculum.held) == int((target > split).sum())
    assert len(curriculum.older) == int((target <= split).sum())
    assert np.array_equal(curriculum.held.y, job_panel.y[rows.series, target][target > split])
    assert len(curriculum.whole) == len(rows)


def test_held_rows_move_no_scaler(job_panel: Panel) -> None:
    """The newest sales are what the number of epochs is decided on: base, scalers and spread must not know them."""
    model = small_model()
    before = model.curriculum(job_panel, H)
    y = job_panel.y.copy()
    y[:, -H:] *= np.random.default_rng(1).uniform(0.2, 5.0, (job_panel.n_series, H))
    after = model.curriculum(replace(job_panel, y=y), H)
    assert before is not None and after is not None and before.older is not None and after.older is not None
    assert before.older_lens == after.older_lens
    assert np.array_equal(before.older.numbers, after.older.numbers)
    assert before.lens != after.lens  # the model itself learns them in the end


def test_one_process_learns_what_a_plain_loop_learns(job_panel: Panel, trained: Path) -> None:
    job, curriculum = read_job(trained), small_model().curriculum(job_panel, H)
    assert curriculum is not None and curriculum.older is not None and curriculum.held is not None
    recipe, outcome = job.recipe, read_outcome(trained)
    older, held, whole = (_examples(item) for item in (curriculum.older, curriculum.held, curriculum.whole))
    torch.set_num_threads(1)

    def plain(part: str, rows: Examples, epochs: int, seed: int, validation: Examples | None = None) -> Any:
        with seeded(seed):
            network = untrained(job.parts[part].inputs, job.parts[part].start)
            history = train(network, rows, recipe.training(len(rows), epochs, seed), validation)
        return network.eval(), history

    _, found = plain("older", older, recipe.epochs, recipe.seed, held)
    lines = [line for line in outcome.history if line["network"] == 0]
    assert outcome.epochs == found.best_epoch
    assert [line["train_loss"] for line in lines] == found.train_loss
    np.testing.assert_allclose([line["validation_loss"] for line in lines], found.validation_loss, rtol=1e-5)
    for member, network in enumerate(outcome.model.networks_):
        other, _ = plain("whole", whole, outcome.epochs, recipe.seed + member)
        for name, value in other.state_dict().items():
            assert torch.equal(value, network.state_dict()[name]), name


def _examples(lesson: Lesson) -> Examples:
    return Examples.of(lesson.numbers, lesson.codes, lesson.target, lesson.weight)


def test_wape_is_of_the_sales_of_all_held_rows(trained: Path) -> None:
    job, outcome = read_job(trained), read_outcome(trained)
    best = read_checkpoint(trained / "checkpoints" / "best.pt", job.recipe, 1)
    assert best is not None and best.network == 0 and best.epoch == outcome.epochs
    part, held = job.parts["held"], read_shard(trained, job, "held", 0, 1)
    network = untrained(part.inputs, part.start).eval()
    network.load_state_dict(best.best)
    with torch.no_grad():
        median = network(torch.from_numpy(held.numbers), torch.from_numpy(held.codes))[:, network.median].numpy()
    z = held.reference + held.unit * (held.base + np.clip(median * part.spread, -3, 3))
    y_hat = np.maximum(np.exp(z) - 0.01 * held.scale, 0)
    assert job.space == "log"
    line = next(line for line in outcome.history if line["epoch"] == outcome.epochs)
    assert line["wape"] == pytest.approx(np.abs(held.y - y_hat).sum() / np.abs(held.y).sum(), rel=1e-5)


def test_the_model_forecasts_and_survives_saving(job_panel: Panel, trained: Path, tmp_path: Path) -> None:
    outcome = read_outcome(trained)
    forecast = outcome.model.predict(job_panel, H)
    assert not forecast.reasons
    assert np.isfinite(forecast.y_hat).all()
    assert outcome.model.importance()
    outcome.model.save(tmp_path)
    assert np.array_equal(Neural.load(tmp_path).predict(job_panel, H).y_hat, forecast.y_hat)


@pytest.mark.parametrize("lines", [1, 3, 4])
def test_going_on_from_any_checkpoint_ends_alike(
    job_panel: Panel, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """Killed after so many epochs: inside the first network, at its end, inside a member."""
    small_job(tmp_path, job_panel, 1)

    def killed(path: Path, standing: Standing, *rest: Any) -> None:
        write_checkpoint(path, standing, *rest)
        if path.name == "last.pt" and len(standing.history) == lines:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("foretail.models.neural.train.write_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train_job(tmp_path, {})
    assert not (tmp_path / "result").exists()
    train_job(tmp_path, {})
    _same_result(trained, tmp_path)


def _same_result(one: Path, two: Path) -> None:
    with np.load(one / "result" / "networks.npz") as first, np.load(two / "result" / "networks.npz") as second:
        assert first.files == second.files
        assert all(np.array_equal(first[name], second[name]) for name in first.files)
    first_line, second_line = (
        [
            {key: value for key, value in line.items() if key not in ("seconds", "at")}
            for line in read_outcome(path).history
        ]
        for path in (one, two)
    )
    assert first_line == second_line
    assert read_outcome(one).model.importance() == read_outcome(two).model.importance()


def _figures(folder: Path) -> list[dict[str, Any]]:
    history = read_outcome(folder).history
    return [{key: value for key, value in line.items() if key not in ("seconds", "at")} for line in history]


def test_a_finished_job_stays_as_it_is(trained: Path) -> None:
    before = read_outcome(trained).history
    train_job(trained, {})
    assert read_outcome(trained).history == before


def test_training_ends_when_the_newest_rows_gain_nothing(job_panel: Panel, tmp_path: Path) -> None:
    small_job(tmp_path, job_panel, 1, members=1)
    train_job(tmp_path, {"NUM_EPOCHS": "30", "EARLY_STOP_PATIENCE": "1", "LEARNING_RATE": "0.05"})
    outcome = read_outcome(tmp_path)
    first = [line for line in outcome.history if line["network"] == 0]
    losses = [line["validation_loss"] for line in first]
    assert len(first) < 30
    assert losses[-1] > min(losses) and outcome.epochs == len(first) - 1 == int(np.argmin(losses)) + 1
    assert outcome.model.epochs == 30
    assert outcome.recipe.learning_rate == 0.05


def test_a_young_panel_has_nothing_to_hold_back(job_panel: Panel, tmp_path: Path) -> None:
    young = replace(
        job_panel,
        y=job_panel.y[:, :29],
        closed=job_panel.closed[:, : 29 + H],
        known=tuple(replace(item, values=item.values[:, : 29 + H]) for item in job_panel.known),
        past=tuple(replace(item, values=item.values[:, :29]) for item in job_panel.past),
    )
    model = small_model(members=1)
    curriculum = model.curriculum(young, 1)
    if curriculum is None:
        with pytest.raises(ForecastError, match="too little history"):
            begin_job(tmp_path, model, young, 1, 1)
        return
    job = begin_job(tmp_path, model, young, 1, 1)
    assert set(job.parts) == {"whole"} or len(curriculum.held or ()) >= 50
    train_job(tmp_path, {})
    assert len(read_outcome(tmp_path).model.networks_) == 1


def test_checkpoints_are_whole_and_of_one_training(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.pt"
    assert read_checkpoint(path, RECIPE, 2) is None
    write_checkpoint(path, Standing(network=1, epoch=2, history=[{"wape": None}]), RECIPE, 2)
    assert [item.name for item in path.parent.iterdir()] == ["last.pt"]
    found = read_checkpoint(path, RECIPE, 2)
    assert found is not None and (found.network, found.epoch, found.history) == (1, 2, [{"wape": None}])
    for recipe, world in ((replace(RECIPE, learning_rate=0.1), 2), (RECIPE, 3)):
        with pytest.raises(UsageError, match="of another training"):
            read_checkpoint(path, recipe, world)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UsageError, match="to begin again"):
        read_checkpoint(path, RECIPE, 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NUM_EPOCHS", "ten"),
        ("BATCH_SIZE", "0"),
        ("LEARNING_RATE", "-1"),
        ("LEARNING_RATE", "inf"),
        ("NUM_EPOCHS", "2.5"),
    ],
)
def test_the_environment_is_checked(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=name):
        RECIPE.with_environment({name: text})


def test_the_environment_changes_the_recipe() -> None:
    given = {"NUM_EPOCHS": "9", "BATCH_SIZE": "128", "LEARNING_RATE": "1e-4", "EARLY_STOP_PATIENCE": "5", "OTHER": "x"}
    expected = replace(RECIPE, epochs=9, batch_size=128, learning_rate=1e-4, patience=5)
    assert RECIPE.with_environment(given) == expected
    assert RECIPE.with_environment({"NUM_EPOCHS": ""}) == RECIPE


def test_the_door_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "no training job" in capsys.readouterr().err
    (tmp_path / "job.json").write_text(json.dumps({"format": 99}))
    assert main([str(tmp_path)]) == 2
    assert "format 99" in capsys.readouterr().err
    with pytest.raises(ForecastError, match="has not ended"):
        read_outcome(tmp_path)


def test_shards_are_plain_tables(job_panel: Panel, tmp_path: Path) -> None:
    job, _ = small_job(tmp_path, job_panel, 2)
    frame = pl.read_parquet(tmp_path / "held" / "00000-of-00002.parquet")
    inputs = job.parts["held"].inputs
    assert {f"x:{name}" for name in inputs.numbers} <= set(frame.columns)
    assert {f"code:{name}" for name in inputs.categories} <= set(frame.columns)
    assert {"y", "target", "weight"} <= set(frame.columns)
