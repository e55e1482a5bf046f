"""Tuning: whether a budget is kept, and whether what is recommended is better on windows that it has not seen.

Made-up daily worlds, several seeds. The budget is that of the whole call, from reading the table to the file it
writes. Each world is then tuned with a number of trials, and what is recommended stands beside the defaults on the
outer windows; a world that keeps its defaults counts as the same.

    python -m benchmarks.tuning [--budgets 20,60] [--seeds 1,2,3,4] [--trials 12] [--family boosting]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import foretail
from benchmarks.table import Measure, publish
from foretail.backtest.runner import Candidate, run_families
from foretail.backtest.tuning import Tuning, tune_family
from foretail.backtest.windows import rolling_windows
from foretail.core.settings import Settings
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate

__all__ = ["main"]

_H = 14
_OVER = 1.1  # the budget is kept within a tenth


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", default="20,60", help="seconds, between commas")
    parser.add_argument("--seeds", default="1,2,3,4", help="of the worlds, between commas")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--family", default="boosting")
    args = parser.parse_args(given)
    measures = [_budget(float(budget), args.family) for budget in args.budgets.split(",")]
    publish("tuning", [*measures, *_worth([int(seed) for seed in args.seeds.split(",")], args.family, args.trials)])


def _config(seed: int) -> SyntheticConfig:
    return SyntheticConfig(stores=5, products=8, periods=730, horizon=_H, seed=seed)


def _budget(budget: float, family: str) -> Measure:
    """Seconds that a call takes which may take so many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(_config(0)).frame.write_csv(folder / "sales.csv")
        begun = time.monotonic()
        found = foretail.tune(
            folder / "sales.csv",
            keys=["store_id", "product_id"],
            time="date",
            target="units",
            horizon=_H,
            models=family,
            budget_s=budget,
            out=folder / "out",
            settings=Settings(home=folder / "home", workers=1),
        )
        seconds = time.monotonic() - begun
    work = f"{family}, budget of {budget:g} s, {len(found.tunings[0].trials)} trials"
    return Measure(work, seconds, "s", "budget", budget, at_most=_OVER * budget)


def _worth(seeds: Sequence[int], family: str, n_trials: int) -> list[Measure]:
    """WAPE on the outer windows, with what was recommended and with the defaults."""
    measures, ratios = [], []
    for seed in seeds:
        panel = build_panel(generate(_config(seed)).table).panel
        found = tune_family(panel, _H, family, n_trials=n_trials, seed=seed)
        chosen, default = (_outer_wape(panel, name) for name in (found.recommended or family, family))
        ratios.append(chosen / default)
        measures.append(Measure(f"world {seed}, {_told(found)}: WAPE", chosen, "WAPE", "defaults", default))
    mean = float(np.exp(np.mean(np.log(ratios))))
    return [*measures, Measure("all worlds: WAPE to that of the defaults", mean, "ratio", at_most=1.0)]


def _told(found: Tuning) -> str:
    if not (found.recommended and found.comparison):
        return "defaults kept"
    return f"recommended for {found.comparison.gain:.1%}"


def _outer_wape(panel: Panel, family: str) -> float:
    windows = [window for window in rolling_windows(panel, _H) if window.role == "outer"]
    result = run_families(
        panel, _H, [Candidate(family)], windows, seed=7, n_workers=1, deadline=None, advance=lambda _: None
    )[family]
    error = total = 0.0
    for position, window in enumerate(windows):
        columns = slice(window.n_periods, window.n_periods + window.h)
        y_hat = np.where(panel.closed[:, columns], 0.0, result.forecasts[position])
        error += float(np.nansum(np.abs(panel.y[:, columns] - y_hat)))
        total += float(np.nansum(np.abs(panel.y[:, columns])))
    return error / total


if __name__ == "__main__":
    main()
