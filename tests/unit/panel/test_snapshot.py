"""Snapshots hold a panel bit for bit, are named by content alone, and are written whole or not at all."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_cases import daily, same_panel, spec

from foretail.core.errors import DataError
from foretail.core.spec import Event
from foretail.panel.build import PanelBuild, build_panel
from foretail.panel.snapshot import content_version, load_panel, read_panel, save_snapshot, write_panel
from foretail.sources.files import read_frame
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.sources.table import Table


@pytest.fixture(scope="module")
def built() -> PanelBuild:
    config = SyntheticConfig(periods=80, stores=2, products=2, horizon=7, restated_share=0.2)
    world = generate(config)
    frame = world.frame.with_columns(mood=pl.when(pl.col("promo") == 1).then(pl.lit("gay")).otherwise(pl.lit("calm")))
    future = world.future.with_columns(mood=pl.lit("calm"))
    events = (Event("fair", (config.start_date,)),)
    return build_panel(Table(frame, world.spec.but(known=(*world.spec.known, "mood"), events=events), future))


def test_what_is_written_is_read_bit_for_bit(built: PanelBuild, tmp_path: Path) -> None:
    panel = replace(built.panel, dataset_version="abc")
    assert panel.revisions is not None
    write_panel(panel, tmp_path)
    found = read_panel(tmp_path)
    same_panel(found, panel)
    assert found.dataset_version == "abc"
    assert found.covariate("mood").categories == ("calm", "gay")


@given(
    values=st.lists(st.floats(allow_infinity=False, width=64), min_size=1, max_size=30),
    promo=st.lists(st.floats(width=32), min_size=30, max_size=30),
)
@settings(max_examples=25, deadline=None)
def test_any_numbers_survive(values: list[float], promo: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    base = build_panel(Table(daily(1, 30), spec())).panel
    y = base.y.copy()
    y[0, : len(values)] = values
    folder = tmp_path_factory.mktemp("panel")
    write_panel(replace(base, y=y), folder)
    np.testing.assert_array_equal(read_panel(folder).y, y)


def test_a_panel_without_a_future_can_be_written(built: PanelBuild, tmp_path: Path) -> None:
    panel = built.panel.as_of(50, 0)
    write_panel(panel, tmp_path)
    same_panel(read_panel(tmp_path), panel)


def test_a_snapshot_is_found_under_its_version(built: PanelBuild, tmp_path: Path) -> None:
    version = save_snapshot(built, tmp_path)
    loaded = load_panel(tmp_path / "snapshots" / version)
    same_panel(loaded, built.panel)
    assert loaded.dataset_version == version == save_snapshot(built.panel, tmp_path)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [version]


def test_an_existing_snapshot_is_not_written_again(built: PanelBuild, tmp_path: Path) -> None:
    version = save_snapshot(built, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "snapshots" / version).iterdir()}
    save_snapshot(built, tmp_path)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "snapshots" / version).iterdir()}


def test_the_version_does_not_depend_on_order_format_or_name(tmp_path: Path) -> None:
    frame = daily(3, 30).with_columns(pl.col("sales").cast(pl.Float64) / 3)
    frame.write_csv(tmp_path / "a.csv")
    frame.sample(fraction=1, shuffle=True, seed=3).write_parquet(tmp_path / "b.parquet")
    versions = {
        content_version(build_panel(Table(read_frame(str(tmp_path / name)), spec(name=name))).panel)
        for name in ("a.csv", "b.parquet")
    }
    assert len(versions) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, y=np.where(p.y == p.y[0, 3], p.y + 1e-9, p.y)),
        lambda p: replace(p, closed=~p.closed),
        lambda p: replace(p, start=p.start + 1),
        lambda p: replace(p, spec=p.spec.but(target="revenue")),
        lambda p: replace(p, series=p.series.with_columns(region=pl.lit("east"))),
        lambda p: replace(p, known=p.known[::-1]),
        lambda p: replace(p, past=()),
        lambda p: replace(p, revisions=None),
    ],
)
def test_any_change_of_content_changes_the_version(built: PanelBuild, change: object) -> None:
    assert content_version(change(built.panel)) != content_version(built.panel)  # type: ignore[operator]


def test_a_changed_snapshot_is_refused(built: PanelBuild, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / save_snapshot(built, tmp_path)
    history = pl.read_parquet(io.BytesIO((folder / "history.parquet").read_bytes()))
    history.with_columns(pl.col("y") + 1).write_parquet(folder / "history.parquet")
    with pytest.raises(DataError, match="the snapshot has changed"):
        load_panel(folder)


@pytest.mark.parametrize("name", ["panel.json", "series.parquet", "history.parquet", "revisions.parquet"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_damaged_folder_is_told(built: PanelBuild, tmp_path: Path, name: str, damage: str) -> None:
    write_panel(built.panel, tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage != "missing":
        (tmp_path / name).write_bytes(data[: len(data) // 2] if damage == "truncated" else b"")
    with pytest.raises(DataError, match="the panel cannot be read"):
        read_panel(tmp_path)


def test_a_snapshot_that_cannot_be_written_leaves_nothing(built: PanelBuild, tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="the snapshot cannot be written"):
        save_snapshot(built, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["snapshots"]
