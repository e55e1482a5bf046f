"""Totals over 28 days: how often they lie inside the 80 % interval of joint samples, and of what is done instead.

For several cutoffs of each table a backtest is made; its outer windows are forecast, their intervals and the dependence
of errors calibrated on the windows before alone. The peers: adding up the quantiles of single steps (as if all errors
of a path were one), drawing steps independently (as if none had to do with another), and an empirical shuffle (whole
paths of errors of one earlier window, drawn across series). Two windows a cutoff, none of them twice.

    python -m benchmarks.samples [--tables walmart,rossmann,synthetic] [--models A,B] [--cutoffs 6]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.data import layout_folder
from benchmarks.table import Measure, publish
from foretail.backtest.run import Backtest, Candidate, backtest, errors_of
from foretail.cli.options import model_list
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.forecasts.samples import sample_paths
from foretail.models.dependence import Dependence
from foretail.models.intervals import Conformal, HeldBack
from foretail.models.marginals import Marginals, knots, normal_scores
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.pipelines.dependence import totals_coverage
from foretail.sources.open import open_table
from foretail.sources.synthetic import SyntheticConfig, generate

__all__ = ["main", "measures_of", "shuffled"]

FloatArray = npt.NDArray[np.float64]

TABLES = ("walmart", "rossmann", "synthetic")
_SEED = 47  # of the made-up world; constants were chosen on others
_STRIDE = {"rossmann": 4}  # every fourth store, to end in time; constants were chosen with others
_MODELS = "profile,boosting[rounds=150,max_rows=150000]"  # a small one, to end in time
_N_SAMPLES = 400
_LEAVES, _STEPS, _DRAWS = 30_000, 28, 200


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/samples.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samples", description=__doc__)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--models", type=model_list, default=_MODELS, help="families that take part")
    parser.add_argument("--cutoffs", type=int, default=6, help="backtests of each table, two horizons apart")
    given = parser.parse_args(arguments)
    measures = []
    for name in given.tables.split(","):
        panel = _panel(name)
        if panel is not None:
            measures += measures_of(name, list(_backtests(panel, given.models, given.cutoffs)))
    publish("samples", [*measures, *_speed()])


def measures_of(name: str, tests: Sequence[tuple[Panel, Backtest]]) -> list[Measure]:
    """The lines of one table, pooled over its backtests."""
    h = tests[0][0].spec.horizon
    found = [totals_coverage(panel, h, test, n_series=10**9, n_samples=_N_SAMPLES) for panel, test in tests]
    weight = np.array([item.n for item in found], dtype=np.float64)

    def pooled(values: Sequence[float]) -> float:
        return float(np.average(values, weights=weight))

    joint = pooled([item.joint for item in found])
    work = f"{name}, {len(tests) * 2} windows of {h} {tests[0][0].frequency.noun}s: totals inside their 80 % interval"
    steps = float(np.mean([test.leaderboard.chosen.scores.coverage_80 for _, test in tests]))
    empirical = pooled([shuffled(panel, h, test) for panel, test in tests])
    group = float(np.mean([item.group for item in found]))
    return [
        Measure(work, joint, "share", "sums of quantiles", pooled([item.summed for item in found]), 0.84, 0.76),
        Measure(work, joint, "share", "steps drawn alone", pooled([item.independent for item in found])),
        Measure(work, joint, "share", "shuffled paths", empirical),
        Measure(work, joint, "share", "single steps in theirs", steps),
        Measure(f"{name}: totals over groups of series and all of them inside theirs", group, "share"),
    ]


def shuffled(panel: Panel, h: int, test: Backtest) -> float:
    """The share of totals inside where each series of a sample takes the path of scores of any series of one window."""
    rng = np.random.default_rng(1)
    inside = []
    for window in test.results:
        held = errors_of(panel, h, test.results, test.chosen, window.window.n_periods)
        if window.window.role != "outer" or not held:
            continue
        intervals = Conformal.fit(held, test.levels, h)
        paths = [_paths(panel, item, intervals) for item in held]
        new = window.held_back(test.chosen, panel.n_periods, 0)
        counted = np.isfinite(new.y) & ~new.closed
        rows = np.flatnonzero(counted.any(1))
        quantiles = np.where(counted[..., None], _quantiles(panel, new, intervals), 0.0)[rows]
        totals = np.zeros((len(rows), _N_SAMPLES))
        for s in range(_N_SAMPLES):
            drawn = paths[rng.integers(len(paths))]
            scores = _filled(drawn[rng.integers(len(drawn), size=len(rows))], quantiles.shape[1], rng)
            law = Marginals(quantiles, test.levels, non_negative=panel.spec.non_negative)
            totals[:, s] = law.values(scores[..., None].astype(np.float32))[..., 0].sum(1)
        low, high = np.quantile(totals, (0.1, 0.9), axis=1)
        y = np.where(counted, new.y, 0.0).sum(1)[rows]
        inside.append((low <= y) & (y <= high))
    return float(np.concatenate(inside).mean())


def _paths(panel: Panel, window: HeldBack, intervals: Conformal) -> FloatArray:
    """Normal scores ``[n, h]`` of the series of a window that have any."""
    y = np.where(window.closed, np.nan, window.y)
    scores = normal_scores(y, _quantiles(panel, window, intervals), intervals.levels).mean
    return scores[np.isfinite(scores).any(1)]


def _filled(scores: FloatArray, h: int, rng: np.random.Generator) -> FloatArray:
    """``[n, h]``; where a path has no score or is shorter, one of its own at random, else noise."""
    found = rng.standard_normal((len(scores), h))
    width = min(h, scores.shape[1])
    found[:, :width] = np.where(np.isfinite(scores[:, :width]), scores[:, :width], found[:, :width])
    return found


def _quantiles(panel: Panel, window: HeldBack, intervals: Conformal) -> FloatArray:
    return intervals.quantiles(window.y_hat, window.size, window.width, non_negative=panel.spec.non_negative)


def _backtests(panel: Panel, models: Sequence[str], n: int) -> Iterator[tuple[Panel, Backtest]]:
    """Backtests of a panel as it was known at cutoffs two horizons apart, so that no outer window is in two."""
    h = panel.spec.horizon
    for back in range(n):
        then = panel.as_of(panel.n_periods - 2 * h * back, h)
        then = then.select(np.flatnonzero(then.observed.any(1)))
        candidates = [Candidate(name) for name in models]
        yield then, backtest(then, h, candidates, levels=DEFAULT_QUANTILES, n_workers=0)


def _panel(name: str) -> Panel | None:
    if name == "synthetic":
        return build_panel(generate(SyntheticConfig(stores=10, products=30, horizon=28, seed=_SEED)).table).panel
    folder = layout_folder(name)
    if folder is None:
        return None
    panel = build_panel(open_table(name, data=folder, horizon=4 if name == "walmart" else 28)).panel
    return panel.select(np.arange(_STRIDE.get(name, 1) // 2, panel.n_series, _STRIDE.get(name, 1)))


def _speed() -> list[Measure]:
    """Seconds to sample a big table, all of it in memory."""
    quantiles = np.broadcast_to(20 + 3 * knots(DEFAULT_QUANTILES), (_LEAVES, _STEPS, len(DEFAULT_QUANTILES)))
    shares = np.array([[0.1, 0, 0, 0, 0, 0.05], [0.1, 0.05, 0, 0, 0, 0], [0.2, 0.1, 0, 0.1, 0, 0.3]])
    dependence = replace(Dependence.independent(), factors=("", "store", "own"), shares=shares, season=7)
    begun = time.perf_counter()
    sample_paths(quantiles, DEFAULT_QUANTILES, dependence, _DRAWS, groups={"store": np.arange(_LEAVES) % 100})
    seconds = time.perf_counter() - begun
    return [Measure(f"{_LEAVES:,} series, {_STEPS} steps, {_DRAWS} samples", seconds, "s", at_most=30.0)]


if __name__ == "__main__":
    main()
