"""The main job at size: a made-up twin of 30,000 series x 450 days through `foretail run`, in minutes and gigabytes.

The table is written to a Parquet file shop by shop, each a world of its own, so that making it takes little memory;
what is measured is the command alone, with its workers. The goal of 15 minutes and 8 GB stands for up to 30,000
series; larger tables are held to their share of the minutes and to the same memory, and a further size to the time per
series of the one before: time must not grow faster than the table.

    python -m benchmarks.scale [--series 30000,100000] [--days 450] [--workers 2] [--options "--models profile"]
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from benchmarks.job import Job, run_foretail
from benchmarks.table import Measure, growth, publish
from foretail.core.spec import DatasetSpec
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

__all__ = ["Twin", "main", "measures", "write_twin"]

HORIZON = 28
GOAL_S, GOAL_GB, GOAL_SERIES = 15 * 60.0, 8.0, 30_000
_PRODUCTS = 100  # of a shop: series of one world


@dataclass(frozen=True)
class Twin:
    """A table on disk.

    Attributes
    ----------
    sales, future, spec : the files. n_series, n_rows : what they hold.
    """

    sales: Path
    future: Path
    spec: Path
    n_series: int
    n_rows: int


def write_twin(folder: Path, n_series: int, n_days: int, *, horizon: int = HORIZON, seed: int = 7) -> Twin:
    """Write a table of so many series of so many days, shops of a hundred products each, and what is known ahead."""
    folder.mkdir(parents=True, exist_ok=True)
    sales, future, spec = (folder / name for name in ("sales.parquet", "future.parquet", "spec.toml"))
    products = min(_PRODUCTS, n_series)
    n_rows, n_made = 0, 0
    writers: dict[Path, pq.ParquetWriter] = {}
    try:
        for shop, world in _shops(n_series, products, n_days, horizon, seed):
            for path, frame in ((sales, _of_shop(world.frame, shop)), (future, _of_shop(world.future, shop))):
                table = frame.to_arrow()
                if path not in writers:
                    writers[path] = pq.ParquetWriter(path, table.schema)
                writers[path].write_table(table.cast(writers[path].schema))
            n_rows += world.frame.height
            n_made += world.config.products
    finally:
        for writer in writers.values():
            writer.close()
    spec.write_text(_spec(world.spec).to_toml(), encoding="utf-8")
    return Twin(sales, future, spec, n_made, n_rows)


def _shops(n_series: int, products: int, n_days: int, horizon: int, seed: int) -> Iterator[tuple[int, SyntheticWorld]]:
    for shop, first in enumerate(range(0, n_series, products)):
        size = min(products, n_series - first)
        yield (
            shop + 1,
            generate(SyntheticConfig(stores=1, products=size, periods=n_days, horizon=horizon, seed=seed + shop)),
        )


def _of_shop(frame: pl.DataFrame, shop: int) -> pl.DataFrame:
    """The rows under the number of the shop, with a type and a region of its own."""
    told = {"store_type": "ABC"[shop % 3], "region": ("north", "south", "east", "west")[shop // 3 % 4]}
    changed = [pl.lit(text).alias(name) for name, text in told.items() if name in frame.columns]
    return frame.with_columns(pl.lit(shop, dtype=pl.Int64).alias("store_id"), *changed)


def _spec(spec: DatasetSpec) -> DatasetSpec:
    """The world's own, under a name that says what it is."""
    return spec.but(name="twin")


def measures(twin: Twin, job: Job, cpu_s: float) -> list[Measure]:
    """Time, memory and what came out; the stages that took the longest.

    Parameters
    ----------
    cpu_s : seconds of processors that the command and its workers used: on a busy machine they say more than the clock.
    """
    share = max(twin.n_series / GOAL_SERIES, 1.0)  # what a fit costs whatever the size is the same for a small table
    work = f"{twin.n_series:,} series, {twin.n_rows:,} rows"
    summary: dict[str, Any] = json.loads((job.out / "run.json").read_text(encoding="utf-8"))
    stages = sorted(summary["stages"].items(), key=lambda item: -item[1]["seconds"])
    return [
        Measure(f"{work}: foretail run", job.seconds, "s", at_most=GOAL_S * share),
        Measure(f"{work}: peak memory with its workers", job.peak_gb, "GB", at_most=GOAL_GB),
        Measure(f"{work}: time of processors", cpu_s, "s"),
        Measure(f"{work}: a thousand series", 1000 * job.seconds / twin.n_series, "s"),
        Measure(f"{work}: a thousand series, time of processors", 1000 * cpu_s / twin.n_series, "s"),
        Measure(f"{work}: WAPE of {job.chosen}", float(summary["scores"]["wape"]), "WAPE"),
        Measure(f"{work}: rows answered", float(job.forecasts.height), "rows"),
        *(Measure(f"{work}: {name}", float(stage["seconds"]), "s") for name, stage in stages[:4]),
        *(Measure(f"{work}: memory at {name}", stage["peak_mb"] / 1024, "GB") for name, stage in stages[:4]),
    ]


def _children_s() -> float:
    """Seconds of processors used by processes that were started here and have ended, and by those they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/scale.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--series", default=str(GOAL_SERIES), help="numbers of series, between commas")
    parser.add_argument("--days", type=int, default=450)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--options", default="", help="further options of foretail run")
    given = parser.parse_args(arguments)
    found: list[Measure] = []
    before: tuple[int, float] | None = None  # series, and seconds of each
    for n_series in (int(text) for text in given.series.split(",")):
        folder = Path(tempfile.mkdtemp(prefix="foretail-scale-"))
        try:
            twin = write_twin(folder / "data", n_series, given.days)
            words = [str(twin.sales), "--spec", str(twin.spec), "--future", str(twin.future)]
            words += ["--workers", str(given.workers), *shlex.split(given.options)]
            used_s = _children_s()
            job = run_foretail(words, folder / "run")
            found += measures(twin, job, _children_s() - used_s)
            now = twin.n_series, job.seconds / twin.n_series
            if before is not None:
                found.append(growth(*now, *before))
            before = now
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    publish("scale", found)


if __name__ == "__main__":
    main()
