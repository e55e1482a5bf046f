"""A shop for end-to-end tests: its files on a disk, and the `foretail` command run on them as a user runs it."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import polars as pl

from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

COMMAND = Path(sys.executable).parent / "foretail"
H = 7
KNOWN = ("open", "promo", "price", "is_holiday")
ROLES = ("--keys", "store_id,product_id", "--time", "date", "--target", "units", "--horizon", str(H))
COVARIATES = ("--known", ",".join(KNOWN), "--past", "temperature", "--static", "store_type")
FAST = ("--models", "seasonal_naive,profile", "--workers", "1")
LEVELS = ("q2_5", "q10", "q20", "q30", "q40", "q50", "q60", "q70", "q80", "q90", "q97_5")
CONTRACT = ("cutoff", "step", "y_hat", *LEVELS, "model", "model_version", "source")


@cache
def daily_world() -> SyntheticWorld:
    """Twelve series over two hundred days, shut on Sundays, with promotions, late openings and closings."""
    return generate(SyntheticConfig(start_date=dt.date(2024, 1, 1), periods=200, stores=3, products=4, horizon=H))


@cache
def weekly_world() -> SyntheticWorld:
    """Twelve series over a hundred and twenty weeks."""
    config = SyntheticConfig(
        start_date=dt.date(2021, 1, 1), periods=120, stores=3, products=4, horizon=4, freq="W-FRI", closing_share=0.0
    )
    return generate(config)


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Shop:
    """A folder to stand in and a home of the embedded stores.

    Attributes
    ----------
    folder : current folder of every command. home : ``FORETAIL_HOME``.
    """

    folder: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *words: object) -> list[str]:
        return [str(COMMAND), *map(str, words)]

    def environ(self) -> dict[str, str]:
        """The environment of a command: this one without settings of foretail, but for the home."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FORETAIL_")}
        return {**plain, "FORETAIL_HOME": str(self.home), **self.environment}

    def __call__(self, *words: object, code: int | None = 0) -> Answer:
        """Run ``foretail`` with these words and expect that exit code."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environ(),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        answer = Answer(done.returncode, done.stdout, done.stderr)
        assert code is None or answer.code == code, f"exit code {answer.code}, not {code}:\n{answer.stderr}"
        return answer

    def elsewhere(self, folder: Path, home: Path | None = None, **environment: str) -> Shop:
        """The same shop in another folder or with another home."""
        folder.mkdir(parents=True, exist_ok=True)
        return Shop(folder, home or self.home, {**self.environment, **environment})


def fresh_home(template: Path, folder: Path) -> Path:
    """A new home: a copy of one whose stores are set up and empty, which saves their migrations."""
    home = folder / "home"
    shutil.copytree(template, home)
    return home


def forecasts(folder: Path) -> pl.DataFrame:
    """The forecasts of a run."""
    return pl.read_parquet(folder / "forecasts.parquet")


def check_forecasts(frame: pl.DataFrame, h: int) -> None:
    """What holds for every forecast whatever the model: h rows a series, ordered quantiles, nothing negative."""
    keys = frame.columns[: frame.columns.index("cutoff") - 1]
    counts = frame.group_by(keys).agg(pl.col("step").sort()) if keys else frame.select(pl.col("step").sort().implode())
    assert all(steps == list(range(1, h + 1)) for steps in counts["step"].to_list())
    quantiles = frame.select(name for name in frame.columns if name in LEVELS)
    assert (quantiles.to_numpy()[:, 1:] >= quantiles.to_numpy()[:, :-1]).all()
    numbers = frame.select("y_hat", *quantiles.columns)
    assert numbers.null_count().sum_horizontal().item() == 0
    assert numbers.select(pl.all_horizontal(pl.all().is_finite().all(), (pl.all() >= 0).all())).item()
