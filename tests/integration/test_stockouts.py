"""Stockouts from the table to the forecasts: withheld, estimated, not scored, kept in the version and told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import foretail
from foretail.core.errors import DataError
from foretail.core.progress import Silent
from foretail.core.settings import Settings
from foretail.pipelines.forecast import forecast_version, open_version
from foretail.pipelines.run import RunResult
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

H = 14
KNOWN = ["open", "promo", "price", "is_holiday"]


@dataclass(frozen=True)
class Done:
    """A run, its files, and the world it was made on."""

    folder: Path
    world: SyntheticWorld
    result: RunResult

    @property
    def settings(self) -> Settings:
        return Settings(home=self.folder / "home", workers=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("stockouts")
    world = generate(SyntheticConfig(stores=2, products=3, periods=300, horizon=H, stockout_share=0.1, seed=5))
    write(world, folder)
    settings = Settings(home=folder / "home", workers=1)
    result = foretail.run(
        folder / "sales.csv",
        keys=["store_id", "product_id"],
        time="date",
        target="units",
        horizon=H,
        known=KNOWN,
        country="none",
        future=folder / "future.csv",
        stockout="ran_out",
        models=["seasonal_naive", "profile"],
        out=folder / "out",
        settings=settings,
    )
    return Done(folder, world, result)


def write(world: SyntheticWorld, folder: Path) -> None:
    """The table with its stockouts, and the future."""
    on = [*world.spec.keys, "date"]
    told = world.truth.select(*on, pl.col("stockout").cast(pl.Int64).alias("ran_out"))
    world.frame.join(told, on=on).write_csv(folder / "sales.csv")
    world.future.write_csv(folder / "future.csv")


def test_every_stockout_has_an_estimate_near_the_demand(done: Done) -> None:
    found = pl.read_parquet(done.folder / "out" / "demand.parquet")
    assert found.columns == ["store_id", "product_id", "date", "sold", "demand_hat", "why"]
    out = found.filter(pl.col("why") == "stockout").join(done.world.truth, on=["store_id", "product_id", "date"])
    table = pl.read_csv(done.folder / "sales.csv")
    assert out.height == table["ran_out"].sum()
    assert (out["sold"] == out["sales"]).all()
    assert (out["demand_hat"] >= out["sold"]).all()
    error, missed = (out["demand_hat"] - out["demand"]).abs().sum(), (out["sold"] - out["demand"]).abs().sum()
    assert error < 0.6 * missed


def test_shut_days_are_told_and_have_no_estimate_of_a_weekday_that_never_was_open(done: Done) -> None:
    found = pl.read_parquet(done.folder / "out" / "demand.parquet").filter(pl.col("why") == "closed")
    sundays = found.filter(pl.col("date").dt.weekday() == 7)
    assert sundays.height > 0
    assert sundays["demand_hat"].null_count() == sundays.height


def test_no_score_counts_a_stockout(done: Done) -> None:
    scored = pl.read_parquet(done.folder / "out" / "backtest.parquet")
    out = pl.read_parquet(done.folder / "out" / "demand.parquet").filter(pl.col("why") == "stockout")
    ids = pl.concat_str("store_id", "product_id", separator="/").alias("unique_id")
    out = out.select(ids, pl.col("date").alias("ds"))
    assert scored.join(out, on=["unique_id", "ds"]).is_empty()
    cutoffs = scored["cutoff"].unique()
    assert out.filter(pl.col("ds") > cutoffs.min()).height > 0


def test_the_run_says_what_its_forecasts_are_of(done: Done) -> None:
    (note,) = [note for note in done.result.notes if "of demand" in note]
    assert "demand.parquet" in note
    assert "--stockout ran_out" in done.result.summary["command"]
    assert done.result.summary["spec"]["stockout"] == "ran_out"


def test_a_version_keeps_what_it_learned_from_and_what_was_withheld(done: Done) -> None:
    bundle, _, wanted = open_version("sales", table=None, future=None, horizon=None, settings=done.settings)
    panel = bundle.panel
    assert panel.withheld is not None
    assert panel.is_withheld.any()
    assert np.isfinite(panel.y[panel.is_withheld]).all()
    assert (panel.y[panel.is_withheld].sum()) > 1.5 * np.nansum(panel.withheld.sold)
    np.testing.assert_array_equal(wanted.panel.y, panel.y)


def test_newer_sales_are_understood_as_the_version_learned_them(done: Done) -> None:
    table, future = str(done.folder / "sales.csv"), str(done.folder / "future.csv")
    again = forecast_version(
        "sales",
        table=table,
        future=future,
        horizon=None,
        out=done.folder / "again",
        settings=done.settings,
        progress=Silent(),
    )
    same = done.result.forecasts.join(again, on=["store_id", "product_id", "date"], suffix="_again")
    assert same.height == done.result.forecasts.height
    np.testing.assert_allclose(same["y_hat"], same["y_hat_again"], rtol=1e-12)


def test_a_table_without_the_column_is_refused_where_the_version_needs_it(done: Done) -> None:
    bare = done.folder / "bare.csv"
    pl.read_csv(done.folder / "sales.csv").drop("ran_out").write_csv(bare)
    with pytest.raises(DataError, match="'ran_out' is missing"):
        open_version("sales", table=str(bare), future=None, horizon=None, settings=done.settings)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--stockout", "units_left"], 3, "units_left"),
        (["--stockout", "temperature"], 3, "neither 0 nor 1"),
        (["--stockout", "promo", "--known", "promo"], 2, "known only after the fact"),
        (["--stockout", "ran_out:available"], 0, ""),
    ],
)
def test_the_command_line_refuses_what_tells_of_no_stockouts(
    done: Done, words: list[str], code: int, said: str, tmp_path: Path
) -> None:
    roles = ["--keys", "store_id,product_id", "--time", "date", "--target", "units", "--country", "none"]
    command = [str(Path(sys.executable).parent / "foretail"), "check", str(done.folder / "sales.csv"), *roles, *words]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert code == 0 or ("where:" in ran.stderr and "fix:" in ran.stderr)
