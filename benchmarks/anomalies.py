"""Days outside their interval: how many of the faults put into a made-up world are found, how many alarms are false.

The last two horizons of a world of shops get closed days that the table calls open, empty shelves, promotions without
a flag, sales ten or a hundred times too high, negative ones, and days copied from the day before. A backtest forecasts
these horizons from what came before; every day outside its 95 % interval is put down to a cause. Days put down to
chance are no alarms. Several seeds; none of them is one that the rules were chosen on.

    python -m benchmarks.anomalies [--seeds 31,32,33]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.table import Measure, publish
from foretail.backtest.anomalies import CAUSE, anomalies
from foretail.backtest.causes import CHANCE
from foretail.backtest.run import Candidate, backtest
from foretail.core.columns import DS, UNIQUE_ID
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, generate

__all__ = ["FAULTS", "Broken", "break_world", "main", "tally"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
StrArray = npt.NDArray[np.str_]

WORLD: dict[str, Any] = {
    "stores": 8,
    "products": 12,
    "stockout_share": 0.0,
    "opening_share": 0.0,
    "closing_share": 0.0,
}
FAULTS = ("closed", "stockout", "promotion", "data error")
LEVELS = (0.1, 0.5, 0.9)
_SPARE = ""  # nothing was done to the day


@dataclass(frozen=True)
class Broken:
    """A world with faults.

    Attributes
    ----------
    panel : N series. fault : ``[N, T]`` what was done to each cell, "" where nothing.
    """

    panel: Panel
    fault: StrArray


def break_world(seed: int, config: dict[str, Any] | None = None) -> Broken:
    """Make a world and put faults into its last two horizons."""
    world = generate(SyntheticConfig(seed=seed, **{**WORLD, **(config or {})}))
    panel = build_panel(world.table).panel
    rng = np.random.default_rng(seed)
    y, fault = panel.y.copy(), np.full(panel.y.shape, _SPARE, dtype="<U12")
    is_open = ~panel.closed[:, : panel.n_periods]
    for first in (panel.n_periods - 2 * panel.spec.horizon, panel.n_periods - panel.spec.horizon):
        days = first + np.flatnonzero(is_open[:, first : first + panel.spec.horizon].all(0))
        _close(rng, panel, y, fault, days)
        _promote(rng, panel, y, fault, days)
        _empty(rng, panel, y, fault, days)
        _err(rng, panel, y, fault, days)
    return Broken(replace(panel, y=y), np.where(panel.closed[:, : panel.n_periods], _SPARE, fault))


def _put(y: FloatArray, fault: StrArray, cells: tuple[Any, Any], values: FloatArray, name: str) -> None:
    """New values where the cell is still whole and changes."""
    rows, columns = np.broadcast_arrays(*cells)
    free = (fault[rows, columns] == _SPARE) & (y[rows, columns] != values)
    y[rows[free], columns[free]] = values[free]
    fault[rows[free], columns[free]] = name


def _close(rng: np.random.Generator, panel: Panel, y: FloatArray, fault: StrArray, days: IntArray) -> None:
    """A shop shut for a day, twice."""
    store = panel.series["store_id"].to_numpy()
    for shop, day in zip(rng.permutation(np.unique(store))[:2], rng.permutation(days)[:2], strict=True):
        rows = np.flatnonzero(store == shop)
        _put(y, fault, (rows, day), np.zeros(len(rows)), "closed")


def _promote(rng: np.random.Generator, panel: Panel, y: FloatArray, fault: StrArray, days: IntArray) -> None:
    """A category of a few shops sells 1.6 to 2.4 times as much for five days."""
    category, store = panel.series["category"].to_numpy(), panel.series["store_id"].to_numpy()
    for _ in range(2):
        wanted = rng.permutation(np.unique(store))[:5]
        rows = np.flatnonzero((category == rng.choice(np.unique(category))) & np.isin(store, wanted))
        start = int(rng.integers(0, len(days) - 5))
        cells = rows[:, None], days[start : start + 5][None, :]
        _put(y, fault, cells, np.round(y[cells] * rng.uniform(1.6, 2.4)), "promotion")


def _empty(rng: np.random.Generator, panel: Panel, y: FloatArray, fault: StrArray, days: IntArray) -> None:
    """Shelves run empty: 0 to 30 % of the sales are left."""
    rows, columns = rng.integers(0, panel.n_series, 40), rng.choice(days, 40)
    _put(y, fault, (rows, columns), np.floor(y[rows, columns] * rng.uniform(0, 0.3, 40)), "stockout")


def _err(rng: np.random.Generator, panel: Panel, y: FloatArray, fault: StrArray, days: IntArray) -> None:
    """Ten or a hundred times too much, a minus, a shop's day copied from the day before."""
    for factor in (10.0, 100.0, -1.0):
        rows, columns = rng.integers(0, panel.n_series, 8), rng.choice(days, 8)
        _put(y, fault, (rows, columns), y[rows, columns] * factor, "data error")
    store = panel.series["store_id"].to_numpy()
    rows, day = np.flatnonzero(store == rng.choice(store)), rng.choice(days[1:])
    _put(y, fault, (rows, day), y[rows, day - 1], "data error")


def tally(broken: Broken, models: Sequence[str] = ("profile", "boosting")) -> Counter[str]:
    """Counts of cells: ``done FAULT``, ``outside FAULT``, ``found FAULT`` (an alarm), ``right FAULT`` (and why).

    Of days to which nothing was done: ``whole``, ``alarms``, and ``false`` alarms.
    """
    panel = broken.panel
    result = backtest(panel, panel.spec.horizon, [Candidate(name) for name in models], levels=LEVELS)
    found = anomalies(panel, result.frame)
    cause = np.full(panel.y.shape, _SPARE, dtype="<U12")
    row = {name: place for place, name in enumerate(panel.unique_ids)}
    column = panel.frequency.to_index(found[DS].to_numpy()) - panel.start
    cause[[row[name] for name in found[UNIQUE_ID]], column] = found[CAUSE].to_list()
    scored = np.zeros(panel.y.shape, dtype=np.bool_)
    scored[:, panel.n_periods - 2 * panel.spec.horizon :] = True
    scored &= ~panel.closed[:, : panel.n_periods] & panel.observed
    return _counted(broken.fault, cause, scored)


def _counted(fault: StrArray, cause: StrArray, scored: npt.NDArray[np.bool_]) -> Counter[str]:
    alarm = scored & (cause != _SPARE) & (cause != CHANCE)
    whole = scored & (fault == _SPARE)
    told = {"whole": whole, "alarms": alarm, "false": alarm & whole}
    for name in FAULTS:
        done = scored & (fault == name)
        told |= {
            f"done {name}": done,
            f"outside {name}": done & (cause != _SPARE),
            f"found {name}": done & alarm,
            f"right {name}": done & (cause == name),
        }
    return Counter({name: int(cells.sum()) for name, cells in told.items()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/anomalies.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anomalies", description=__doc__)
    parser.add_argument("--seeds", default="31,32,33", help="worlds to make, by seed")
    seeds = [int(seed) for seed in parser.parse_args(arguments).seeds.split(",")]
    total: Counter[str] = Counter()
    for seed in seeds:
        total.update(tally(break_world(seed)))
    measures = []
    for name in FAULTS:
        done, outside = total[f"done {name}"], max(total[f"outside {name}"], 1)
        measures += [
            Measure(f"{name}: share of {done} days outside their interval", outside / done, "share"),
            Measure(f"{name}: of these, alarms", total[f"found {name}"] / outside, "share"),
            Measure(f"{name}: of these, with the right cause", total[f"right {name}"] / outside, "share"),
        ]
    measures += [
        Measure(f"alarms that are false, of {total['alarms']}", total["false"] / max(total["alarms"], 1), "share"),
        Measure(f"alarms in {total['whole']} days without a fault", total["false"] / total["whole"], "share"),
    ]
    publish("anomalies", measures)


if __name__ == "__main__":
    main()
