"""The same seed and data give the same forecasts to the bit, and nothing after the cutoff can move them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from shop import COVARIATES, KNOWN, ROLES, H, Shop, daily_world, forecasts, fresh_home

import foretail
from foretail.core.settings import Settings

ALL = ("seasonal_naive", "boosting")
CUTOFF = dt.date(2024, 7, 4)
KEYS = ["store_id", "product_id"]


@pytest.fixture(scope="module")
def boosted(files, empty_home, tmp_path_factory) -> tuple[Shop, Path]:
    """A run with trees in it."""
    folder = tmp_path_factory.mktemp("boosted")
    shop = Shop(files, fresh_home(empty_home, folder))
    words = (*ROLES, *COVARIATES, "--future", "future.csv", "--models", ",".join(ALL), "--workers", 1)
    shop("run", "daily.csv", *words, "--out", folder / "out")
    return shop, folder / "out"


@pytest.mark.parametrize("workers", [1, 2])
def test_shuffled_rows_and_other_workers_change_no_bit(boosted, empty_home, tmp_path, workers):
    _, first = boosted
    (tmp_path / "in").mkdir()
    daily_world().frame.sample(fraction=1.0, shuffle=True, seed=workers).write_csv(tmp_path / "in" / "daily.csv")
    daily_world().future.sample(fraction=1.0, shuffle=True, seed=workers).write_csv(tmp_path / "in" / "future.csv")
    shop = Shop(tmp_path / "in", fresh_home(empty_home, tmp_path))
    words = (*ROLES, *COVARIATES, "--future", "future.csv", "--models", ",".join(ALL), "--workers", workers)
    shop("run", "daily.csv", *words, "--out", tmp_path / "out")
    assert_same(tmp_path / "out", first)


def test_trees_answer_as_of_the_cutoff_too(as_of):
    for out in as_of.values():
        assert forecasts(out)["model"].unique().item() in ("boosting", "ensemble")


def assert_same(out: Path, first: Path) -> None:
    """Compare row by row first, for a message that tells something, then every byte."""
    sort = [*KEYS, "date"]
    assert_frame_equal(forecasts(out).sort(sort), forecasts(first).sort(sort), check_exact=True)
    assert (out / "forecasts.parquet").read_bytes() == (first / "forecasts.parquet").read_bytes()


def test_trees_took_part(boosted):
    _, out = boosted
    assert forecasts(out)["model"].unique().item() in ("boosting", "ensemble")


@pytest.mark.parametrize("reference", ["daily/1", "daily"])
def test_a_version_in_a_fresh_process_forecasts_the_same(boosted, tmp_path, reference):
    shop, out = boosted
    shop("forecast", reference, "--out", tmp_path / "again")
    assert_answers(forecasts(tmp_path / "again"), forecasts(out))


def test_the_folder_of_a_bundle_forecasts_the_same(boosted, tmp_path):
    shop, out = boosted
    bundle = next(shop.home.glob("artifacts/**/bundle.json")).parent
    shop("forecast", bundle, "--out", tmp_path / "again")
    assert_answers(forecasts(tmp_path / "again").drop("model_version"), forecasts(out).drop("model_version"))


def assert_answers(ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Every row of the run is there again, to the bit; series that the run was not asked for may be there too."""
    own = [*KEYS, "date"]
    assert_frame_equal(ours.join(theirs, on=own, how="semi").sort(own), theirs.sort(own), check_exact=True)


def garbled(frame: pl.DataFrame) -> pl.DataFrame:
    """Every sale and every temperature after the cutoff is another one."""
    after = pl.col("date") > CUTOFF
    return frame.with_columns(
        pl.when(after).then(pl.col("units") * 50 + 999).otherwise("units").alias("units"),
        pl.when(after).then(-40.0).otherwise("temperature").alias("temperature"),
    )


def blanked(frame: pl.DataFrame) -> pl.DataFrame:
    """No sale and no temperature after the cutoff is told."""
    after = pl.col("date") > CUTOFF
    return frame.with_columns(
        pl.when(after).then(None).otherwise(name).alias(name) for name in ("units", "temperature")
    )


def added(frame: pl.DataFrame) -> pl.DataFrame:
    """A month more of sales, twenty times as large."""
    later = frame.filter(pl.col("date") > dt.date(2024, 6, 15))
    return pl.concat([frame, later.with_columns(pl.col("date").dt.offset_by("33d"), pl.col("units") * 20)])


def with_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Words where the sales after the cutoff should be."""
    units = pl.col("units").cast(pl.String)
    return frame.with_columns(pl.when(pl.col("date") > CUTOFF).then(pl.lit("sold out")).otherwise(units).alias("units"))


def refurbished(frame: pl.DataFrame) -> pl.DataFrame:
    """Every shop is of another type after the cutoff: what never changed before it still tells nothing else."""
    kind = pl.concat_str(pl.lit("new "), pl.col("date").dt.weekday())
    return frame.with_columns(pl.when(pl.col("date") > CUTOFF).then(kind).otherwise("store_type").alias("store_type"))


def repeated(frame: pl.DataFrame) -> pl.DataFrame:
    """Every row after the cutoff is there twice."""
    return pl.concat([frame, frame.filter(pl.col("date") > CUTOFF)])


def deleted(frame: pl.DataFrame) -> pl.DataFrame:
    """No row after the cutoff."""
    return frame.filter(pl.col("date") <= CUTOFF)


def run_until_cutoff(frame: pl.DataFrame, folder: Path, empty_home: Path, future: Path | None) -> Path:
    """Write the table, run as of the cutoff, give the folder of results."""
    folder.mkdir(exist_ok=True)
    frame.write_csv(folder / "daily.csv")
    foretail.run(
        folder / "daily.csv",
        keys=KEYS,
        time="date",
        target="units",
        horizon=H,
        known=KNOWN if future else (),
        past=["temperature"],
        future=future,
        cutoff=CUTOFF,
        models=ALL,
        out=folder / "out",
        settings=Settings(home=fresh_home(empty_home, folder), workers=1),
    )
    return folder / "out"


@pytest.fixture(scope="module")
def future(tmp_path_factory):
    """The known covariates of every series that had begun, for the seven days after the cutoff."""
    world = daily_world()
    last = CUTOFF + dt.timedelta(H)
    begun = world.frame.filter(pl.col("date") <= CUTOFF).select(KEYS).unique()
    ahead = world.truth.select(KEYS).unique()
    assert begun.join(ahead, on=KEYS, how="anti").is_empty()
    days = world.frame.filter(pl.col("date").is_between(CUTOFF, last, closed="right"))
    plan = days.select("date", "open", "is_holiday").unique("date")
    rows = begun.join(plan, how="cross").with_columns(promo=pl.lit(0), price=pl.lit(2.5))
    path = tmp_path_factory.mktemp("future") / "future.csv"
    rows.select(*KEYS, "date", *KNOWN).sort(*KEYS, "date").write_csv(path)
    return path


@pytest.fixture(scope="module")
def as_of(empty_home, tmp_path_factory, future):
    """Results as of the cutoff on the true table, with and without known covariates."""
    folder = tmp_path_factory.mktemp("as_of")
    return {
        with_known: run_until_cutoff(
            daily_world().frame, folder / str(with_known), empty_home, future if with_known else None
        )
        for with_known in (False, True)
    }


@pytest.mark.parametrize(
    "change", [garbled, blanked, added, with_text, refurbished, deleted], ids=lambda item: item.__name__
)
def test_what_comes_after_the_cutoff_moves_no_bit(change, as_of, empty_home, tmp_path):
    out = run_until_cutoff(change(daily_world().frame), tmp_path, empty_home, None)
    assert_same(out, as_of[False])
    ours, theirs = (json.loads((folder / "run.json").read_text()) for folder in (out, as_of[False]))
    for key in ("spec", "dataset_version", "scores", "weights"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize("change", [garbled, blanked], ids=lambda item: item.__name__)
def test_it_moves_no_bit_when_the_future_is_known_either(change, as_of, empty_home, tmp_path, future):
    assert_same(run_until_cutoff(change(daily_world().frame), tmp_path, empty_home, future), as_of[True])


def test_a_series_that_begins_after_the_cutoff_is_answered_and_moves_no_other(as_of, empty_home, tmp_path):
    later = daily_world().frame.filter(pl.col("date") > CUTOFF)
    new = later.filter(pl.col("product_id") == 1).with_columns(product_id=pl.lit(99, pl.Int64))
    out = run_until_cutoff(pl.concat([daily_world().frame, new]), tmp_path, empty_home, None)
    ours = forecasts(out)
    assert ours.filter(pl.col("product_id") == 99)["source"].unique().to_list() == ["fallback:no history"]
    assert_frame_equal(ours.filter(pl.col("product_id") != 99), forecasts(as_of[False]), check_exact=True)


def test_what_comes_before_the_cutoff_does_move_them(as_of, empty_home, tmp_path):
    """The comparison can fail."""
    before = pl.col("date") == CUTOFF
    frame = daily_world().frame.with_columns(pl.when(before).then(500).otherwise("units").alias("units"))
    out = run_until_cutoff(frame, tmp_path, empty_home, None)
    assert (out / "forecasts.parquet").read_bytes() != (as_of[False] / "forecasts.parquet").read_bytes()
