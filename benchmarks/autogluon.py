"""AutoGluon on the same panels as the other peers, in an environment of its own that is made when first needed.

It is large (about 6 GB with the torch that its index offers) and pins versions that foretail does not, so it never
enters foretail's environment: ``benchmarks/results/autogluon/env`` holds it, and deleting that folder undoes it. A job
passes Parquet files (see `benchmarks.autogluon_job`). Its presets draw on pretrained models that are fetched when
asked for; where they cannot be had (or ``HF_HUB_OFFLINE=1`` says so), AutoGluon goes on without them: the note of an
answer names the models that were fitted.

As a command it asks AutoGluon the windows of some splits, so that `benchmarks.accuracy` finds the answers kept:

    python -m benchmarks.autogluon [--only SPLIT,…] [--windows N] [--time-limit SECONDS] [--preset NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.job import watch
from benchmarks.peers import Answer, Question, kept
from benchmarks.table import RESULTS
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.panel.panel import Covariate, Panel

__all__ = ["ENVIRONMENT", "PRESET", "TIME_LIMIT_S", "AutoGluon", "environment", "main", "write_job"]

ENVIRONMENT = RESULTS / "autogluon" / "env"
PRESET, TIME_LIMIT_S = "high_quality", 900.0
_PACKAGE = "autogluon.timeseries"
_SCRIPT = Path(__file__).with_name("autogluon_job.py")
_SEED = 7
_PANDAS_FREQ = {"D": "D", "MS": "MS", "ME": "ME"}


@dataclass(frozen=True)
class AutoGluon:
    """AutoGluon with one preset and one time limit (seconds for a window's fit)."""

    preset: str = PRESET
    time_limit_s: float = TIME_LIMIT_S

    @property
    def name(self) -> str:
        """What its answers are kept under: without pretrained models it is another peer."""
        offline = ", no downloads" if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else ""
        return f"autogluon {self.preset} {self.time_limit_s:g} s{offline}"

    def answer(self, question: Question, folder: Path = RESULTS / "peers") -> Answer:
        """Its forecast, from the folder if it was asked before.

        Raises
        ------
        JobError : it ended with an error; the message ends with what it said.
        """
        return kept(self.name, question, self.ask, folder)

    def ask(self, question: Question) -> Answer:
        """Run it as a process of its own and read what it wrote."""
        python = environment()
        with tempfile.TemporaryDirectory(prefix="foretail-autogluon-") as scratch:
            folder = Path(scratch)
            write_job(question, folder, self.preset, self.time_limit_s)
            seconds, peak_gb = watch(
                [str(python), "-I", str(_SCRIPT), str(folder)], folder
            )  # -I: our autogluon.py is not theirs
            models = json.loads((folder / "models.json").read_text(encoding="utf-8"))
            cells = _read_answer(folder / "answer.parquet", question)
        median = cells[..., DEFAULT_QUANTILES.index(0.5)]
        fitted = ", ".join(name for name in models["scores"] if name != models["best"])
        return Answer(median, seconds, cells, peak_gb, f"best {models['best']}; also fitted: {fitted}")


def environment(folder: Path = ENVIRONMENT) -> Path:
    """The interpreter of the environment; it is made, and AutoGluon installed into it, where it is not there."""
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"installing {_PACKAGE} into {folder} (about 6 GB)", file=sys.stderr, flush=True)
        if not python.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", _PACKAGE]
        subprocess.run(install, check=True, stdout=sys.stderr)
        done.touch()
    return python


def write_job(question: Question, folder: Path, preset: str, time_limit_s: float) -> None:
    """Lay out the files that `benchmarks.autogluon_job` reads.

    ``item_id`` is the row of the panel. Each series has every period from its first observation to its end, holes as
    nulls. Texts among the covariates are texts again; those known only afterwards are columns of the history alone.
    """
    panel = question.panel
    column = np.arange(panel.n_periods)[None, :]
    row, place = np.nonzero((column >= panel.first[:, None]) & (column < question.ends[:, None]))
    target = pl.Series("target", panel.y[row, place]).fill_nan(None)
    past = [_told(item, row, place) for item in panel.past]
    _cells(panel, row, place).with_columns(target, *past).write_parquet(folder / "history.parquet")
    ahead = np.repeat(np.arange(panel.n_series), question.h)
    _cells(panel, ahead, question.ahead.ravel()).write_parquet(folder / "future.parquet")
    names = [*panel.spec.keys, *panel.spec.static]
    static = panel.series.select(pl.Series("item_id", np.arange(panel.n_series)).cast(pl.String), *names)
    static.with_columns(pl.col(panel.spec.keys).cast(pl.String)).write_parquet(folder / "static.parquet")
    job: dict[str, Any] = {
        "freq": _PANDAS_FREQ.get(panel.spec.freq, panel.spec.freq),
        "horizon": question.h,
        "levels": list(DEFAULT_QUANTILES),
        "known": [item.name for item in panel.known],
        "preset": preset,
        "time_limit_s": time_limit_s,
        "seed": _SEED,
    }
    (folder / "job.json").write_text(json.dumps(job, indent=1), encoding="utf-8")


def _cells(panel: Panel, row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> pl.DataFrame:
    """``item_id, timestamp`` and the known covariates."""
    stamps = pl.Series("timestamp", panel.frequency.to_date(panel.start + column)).cast(pl.Datetime("ns"))
    known = [_told(item, row, column) for item in panel.known]
    return pl.DataFrame([pl.Series("item_id", row).cast(pl.String), stamps, *known])


def _told(item: Covariate, row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> pl.Series:
    """A covariate as it was told: a number or a text, null where it was not given."""
    values = pl.Series(item.name, item.values[row, column]).cast(pl.Float64).fill_nan(None)
    if not item.categories:
        return values
    texts = dict(enumerate(item.categories))
    return values.cast(pl.Int64).replace_strict(texts, default="not given", return_dtype=pl.String).alias(item.name)


def _read_answer(path: Path, question: Question) -> npt.NDArray[np.float64]:
    """``[N, H, Q]``; what it left out or is not finite is the last season."""
    panel, h = question.panel, question.h
    frame = pl.read_parquet(path).with_columns(pl.col("item_id").cast(pl.Int64)).sort("item_id", "timestamp")
    row = frame["item_id"].to_numpy()
    dates = frame["timestamp"].cast(pl.Date).to_numpy().astype("datetime64[D]")
    step = panel.frequency.to_index(dates) - panel.start - question.ends[row]
    inside = (step >= 0) & (step < h)
    cells = np.full((panel.n_series, h, len(DEFAULT_QUANTILES)), np.nan)
    cells[row[inside], step[inside]] = frame.select(map(str, DEFAULT_QUANTILES)).to_numpy()[inside]
    if np.isfinite(cells).all():
        return np.sort(cells, axis=-1)
    from benchmarks.peers import seasonal_naive

    basis = seasonal_naive(question).y_hat[..., None]
    return np.sort(np.where(np.isfinite(cells), cells, basis), axis=-1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask it the windows of the splits named and say what each answer scored."""
    from benchmarks.data import layout_folder
    from benchmarks.neutral import SPLITS, read_block, scores
    from benchmarks.splits import answered, windows

    parser = argparse.ArgumentParser(prog="python -m benchmarks.autogluon", description=__doc__)
    parser.add_argument("--only", default=",".join(SPLITS), metavar="A,B", help="splits; all by default")
    parser.add_argument("--windows", type=int, metavar="N", help="the first N windows of each split")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT_S, metavar="SECONDS", help="for each window")
    parser.add_argument("--preset", default=PRESET, metavar="NAME", help="of AutoGluon")
    asked = parser.parse_args(arguments)
    peer = AutoGluon(asked.preset, asked.time_limit)
    for name in asked.only.split(","):
        folder = layout_folder(SPLITS[name].layout)
        if folder is None:
            continue
        block = read_block(SPLITS[name], folder, asked.windows)
        for window in windows(SPLITS[name], folder, asked.windows):
            found = peer.answer(window.question)
            part = block.window(window.cutoff)
            score = scores(part, answered(window, part, found))
            shown = ", ".join(f"{key} {score[key]:.4f}" for key in ("WAPE", "bias", "WQL9", "cov80", "cov95"))
            print(f"{name} {window.cutoff}: {shown}, {found.seconds:.0f} s; {found.note}", flush=True)


if __name__ == "__main__":
    main()
