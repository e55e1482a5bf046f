"""The network beside boosting and the profile, each as it comes: accuracy, quantiles, seconds.

One made-up daily panel and, where the files are at hand, six weeks of Rossmann that end half a year before its last
block. Quantiles are the network's own, before any calibration. Then the blocks of `benchmarks.accuracy` as every
family comes, and the mean of network and boosting; then 65,520 rows of a made-up weekly world, and the daily panel's
rows, whose batches are larger, trained by one and by two processes (`benchmarks.neural_ranks`).

    python -m benchmarks.neural [--rows N] [--threads N] [--only families|blocks|ranks]
"""

from __future__ import annotations

import argparse
import datetime as dt
import inspect
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.data import layout_folder
from benchmarks.neural_ranks import distributed
from benchmarks.neutral import SPLITS
from benchmarks.table import Measure, publish, show
from foretail.backtest.metrics import Evaluation, pooled_wape, scales, score
from foretail.backtest.result import Scores
from foretail.models.families import family_class, make
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.open import open_table
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.sources.table import Table

__all__ = ["Window", "answer", "main"]

Floats = npt.NDArray[np.float64]

_CUTOFF, _HORIZON = dt.date(2014, 11, 30), 42
_PEERS = ("boosting", "profile")
_BLOCKS = ("walmart_block39", "rossmann_block42")
_OF_QUANTILES = ("wql", "coverage_80", "coverage_95")


@dataclass(frozen=True)
class Window:
    """A panel that ends at a cutoff, and what came after it.

    Attributes
    ----------
    name : what it is called. history : the panel. y : ``[N, H]`` sales to forecast. closed : ``[N, H]``.
    """

    name: str
    history: Panel
    y: Floats
    closed: npt.NDArray[np.bool_]


def answer(window: Window, family: str, rows: int, threads: int) -> tuple[Scores, float]:
    """Scores of a family on a window, and the seconds of fit and forecast together."""
    takes = inspect.signature(family_class(family).__init__).parameters
    given = {"max_rows": rows, "n_threads": threads}
    begun = time.perf_counter()
    model = make(family, **{key: value for key, value in given.items() if key in takes})
    forecast = model.fit(window.history, window.y.shape[1]).predict(window.history, window.y.shape[1])
    seconds = time.perf_counter() - begun
    scale, squared = scales(window.history)
    found = Evaluation(
        window.y, forecast.y_hat, window.closed, scale, squared, forecast.quantiles, tuple(forecast.levels)
    )
    return score([found]), seconds


def synthetic() -> Window:
    """Two hundred series over two years, most of them dense, cut four weeks before their end."""
    world = generate(SyntheticConfig(stores=10, products=20, periods=758, seed=31))
    return _cut("synthetic, daily", world.table, 28)


def rossmann() -> Window | None:
    """Six weeks of Rossmann with Christmas among them, long before the end of the files."""
    folder = layout_folder("rossmann")
    return None if folder is None else _cut("rossmann", open_table("rossmann", data=folder.parent), _HORIZON, _CUTOFF)


def weekly() -> Window:
    """The size that is published with another system: 630 series, 104 weeks; the last eight are forecast."""
    return _cut("weekly-65k", open_table("synthetic:weekly-65k"), 8)


def blocks() -> Iterator[Window]:
    """The last block of Walmart and of Rossmann, those whose files are at hand."""
    for name in _BLOCKS:
        split = SPLITS[name]
        folder = layout_folder(split.layout)
        if folder is not None:
            yield _cut(name, open_table(split.layout, data=folder.parent), split.horizon, split.cutoffs[-1])


def _cut(name: str, table: Table, h: int, cutoff: dt.date | None = None) -> Window:
    """The panel at a cutoff (h periods before the end when None) and the h periods after it, same series."""
    whole = build_panel(table).panel
    end = whole.n_periods - h
    if cutoff is not None:
        end = int(whole.frequency.to_index(np.asarray(np.datetime64(cutoff)))) - whole.start + 1
    last: dt.date = whole.frequency.to_date(np.asarray([whole.start + end - 1])).astype("datetime64[D]")[0].item()
    history = build_panel(table, cutoff=last, horizon=h).panel
    place = {name: row for row, name in enumerate(whole.unique_ids)}
    rows = np.array([place[name] for name in history.unique_ids])
    ahead = slice(end, end + h)
    return Window(name, history, whole.y[rows, ahead], whole.closed[rows, ahead])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every window, print the table, write ``benchmarks/results/neural.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neural", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, metavar="N", help="training rows at most, for all")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads, for all")
    parser.add_argument("--only", choices=["families", "blocks", "ranks"], help="one part; its table is not kept")
    asked = parser.parse_args(arguments)
    measures = []
    for window in (synthetic(), rossmann()) if asked.only in (None, "families") else ():
        if window is not None:
            measures += _measures(window, asked.rows, asked.threads)
    for window in blocks() if asked.only in (None, "blocks") else ():
        measures += _of_block(window, asked.threads)
    if asked.only in (None, "ranks"):
        ahead, daily = weekly(), synthetic()
        measures += distributed(ahead.name, ahead.history, ahead.y)
        measures += distributed(f"{daily.name}, {asked.rows:,} rows", daily.history, daily.y, asked.rows)
    if asked.only:
        show(measures)
    else:
        publish("neural", measures)


def _measures(window: Window, rows: int, threads: int) -> list[Measure]:
    """Ours beside each peer; the quantiles, which the peers do not have as they come, alone."""
    ours, seconds = answer(window, "neural", rows, threads)
    lines = [Measure(f"{window.name}: {metric}", getattr(ours, metric), "share") for metric in _OF_QUANTILES]
    for peer in _PEERS:
        theirs, their_seconds = answer(window, peer, rows, threads)
        lines += [
            Measure(f"{window.name}: WAPE", ours.wape, "share", peer, theirs.wape),
            Measure(f"{window.name}: bias", ours.bias, "share", peer, theirs.bias),
            Measure(f"{window.name}: fit and forecast", seconds, "s", peer, their_seconds),
        ]
    return lines


def _of_block(window: Window, threads: int) -> list[Measure]:
    """The network beside boosting, each with its own defaults, and whether their mean is better than boosting."""
    h, found = window.y.shape[1], {}
    for family in ("boosting", "neural"):
        found[family] = make(family, n_threads=threads).fit(window.history, h).predict(window.history, h).y_hat
    y = np.where(window.closed, np.nan, window.y)
    boosting, own = (pooled_wape([y], [found[family]]) for family in ("boosting", "neural"))
    both = pooled_wape([y], [(found["boosting"] + found["neural"]) / 2])
    return [
        Measure(f"{window.name}: WAPE", own, "share", "boosting", boosting, at_most=1.05 * boosting),
        Measure(f"{window.name}: WAPE of the mean of both", both, "share", "boosting", boosting, at_most=boosting),
    ]


if __name__ == "__main__":
    main()
