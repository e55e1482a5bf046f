"""Published figures of the public fev-bench for its retail tasks, to stand beside ours.

They are read from ``fev_bench_retail_published.csv``, which is no part of the project: it is looked for next to the
data sets. Seconds in it were measured by its publishers, mostly on GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from benchmarks.data import data_folder

__all__ = ["METRICS", "SOURCE", "Published", "published_file", "read_published"]

SOURCE = "fev-bench (github.com/autogluon/fev), fev_bench_retail_published.csv; seconds as published, mostly on GPUs"
METRICS = ("SQL", "MASE", "WAPE", "WQL")
_NAME = "fev_bench_retail_published.csv"


@dataclass(frozen=True)
class Published:
    """One published line.

    Attributes
    ----------
    model : its name. scores : by metric of `METRICS`. seconds : of training and inference together.
    """

    model: str
    scores: dict[str, float]
    seconds: float


def published_file() -> Path | None:
    """In the data folder, beside it or in ``bench`` beside it; None, said aloud, where it is in none of them."""
    root = data_folder()
    places = [] if root is None else [root, root.parent, root.parent / "bench"]
    found = next((place / _NAME for place in places if (place / _NAME).is_file()), None)
    if found is None:
        print(f"published figures: skipped, {_NAME} is not beside the data sets")
    return found


def read_published(task: str, path: Path | None) -> list[Published]:
    """The lines of one task of fev-bench, best SQL first; empty without the file."""
    if path is None:
        return []
    lines = pl.read_csv(path).filter(pl.col("task_name") == task).sort("SQL")
    return [
        Published(
            line["model_name"],
            {metric: float(line[metric]) for metric in METRICS},
            float(line["training_time_s"] + line["inference_time_s"]),
        )
        for line in lines.iter_rows(named=True)
    ]
