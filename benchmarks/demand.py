"""True demand: what is gained by telling stockouts, on made-up worlds whose mean demand is known.

In each world the goods run out in a tenth of the periods. Forecasts of the horizon are scored by WAPE against the mean
demand that the world was drawn from, on open days: trained on sales as if they were demand, trained as foretail does
when it is told of the stockouts, with these periods left out, and with the whole demand (which nobody has). Goods run
out *at random* (part of the demand is sold, whatever it was), or *of demand*: the shelf held so much, and more was
asked for. Several seeds; none of them is one that constants were chosen on.

    python -m benchmarks.demand [--seeds 31,32,33] [--families boosting,profile]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.table import Measure, publish
from foretail.core.columns import UNIQUE_ID
from foretail.features.demand import as_demanded, demand_of
from foretail.models.families import make
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate
from foretail.sources.table import Table

__all__ = ["WAYS", "Sums", "estimates", "forecasts", "main", "panels_of", "shelves"]

FloatArray = npt.NDArray[np.float64]

WORLDS: dict[str, dict[str, Any]] = {
    "days": {"stores": 5, "products": 8},
    "weeks": {"stores": 5, "products": 8, "freq": "W-FRI", "periods": 143, "horizon": 8},
}
SHARE = 0.1
GOAL, WORSE = 0.30, 1.01
SALES, TOLD, LEFT_OUT, WHOLE = "sales", "stockouts told", "stockouts left out", "whole demand"
WAYS = (SALES, TOLD, LEFT_OUT, WHOLE)
_FLAG, _AVAILABLE = "ran_out", "on_shelf"
_SPREAD = 0.15  # of the shelf around what is usually asked for, in logs


@dataclass(frozen=True)
class Sums:
    """Sums of absolute errors, of errors, and of what they are measured by."""

    absolute: float = 0.0
    signed: float = 0.0
    size: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.absolute + other.absolute, self.signed + other.signed, self.size + other.size)

    @property
    def wape(self) -> float:
        """Share of the size that is wrong."""
        return self.absolute / self.size

    @property
    def bias(self) -> float:
        """Share of the size that is too much."""
        return self.signed / self.size

    @classmethod
    def of(cls, estimate: FloatArray, truth: FloatArray) -> Sums:
        """Over the cells of which the truth is known."""
        known = np.isfinite(truth) & np.isfinite(estimate)
        error = (estimate - truth)[known]
        return cls(float(np.abs(error).sum()), float(error.sum()), float(np.abs(truth[known]).sum()))


def shelves(world: SyntheticWorld, share: float, seed: int) -> SyntheticWorld:
    """The world with shelves that hold so much that a share of the periods with demand asks for more."""
    truth, spec = world.truth, world.spec
    demand = truth["demand"].to_numpy()
    usual = truth["expected"].to_numpy() * np.exp(np.random.default_rng(seed).normal(0.0, _SPREAD, len(demand)))
    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        is_short = demand > _held(middle * usual, world)
        low, high = (middle, high) if is_short.sum() > share * (demand > 0).sum() else (low, middle)
    shelf = _held(high * usual, world)
    told = pl.Series("stockout", demand > shelf), pl.Series("sales", np.minimum(demand, shelf))
    truth = truth.with_columns(*told)
    sold = truth.select(*spec.keys, "date", pl.col("sales").alias(spec.target))
    frame = world.frame.drop(spec.target).join(sold, on=[*spec.keys, "date"], maintain_order="left")
    return replace(world, frame=frame, truth=truth)


def _held(amount: FloatArray, world: SyntheticWorld) -> FloatArray:
    """What a shelf holds: whole pieces, one at least, or money."""
    return np.maximum(np.ceil(amount), 1.0) if world.config.is_daily else np.round(amount, 2)


def panels_of(world: SyntheticWorld) -> dict[str, Panel]:
    """The panel that a model learns from, by way; all of the same series and periods."""
    spec, on = world.spec, [*world.spec.keys, "date"]
    share = pl.when(pl.col("stockout") & (pl.col("demand") > 0)).then(pl.col("sales") / pl.col("demand")).otherwise(1.0)
    told = world.truth.select(*on, pl.col("stockout").cast(pl.Int64).alias(_FLAG), share.alias(_AVAILABLE), "demand")
    frame = world.frame.join(told, on=on, maintain_order="left")
    sales = build_panel(Table(frame, spec, world.future)).panel
    holes = build_panel(Table(frame, spec.but(stockout=_FLAG), world.future)).panel
    whole = build_panel(Table(frame.with_columns(pl.col("demand").alias(spec.target)), spec, world.future)).panel
    return {SALES: sales, TOLD: as_demanded(holes), LEFT_OUT: holes, WHOLE: whole}


def forecasts(
    world: SyntheticWorld, panels: Mapping[str, Panel], families: Iterable[str], **options: Any
) -> dict[tuple[str, str], Sums]:
    """Errors against the mean demand of the horizon by (family, way)."""
    found = {}
    for way, panel in panels.items():
        h = panel.spec.horizon
        shut = panel.closed[:, panel.n_periods : panel.n_periods + h]
        truth = np.where(shut, np.nan, _ahead(world, panel, "expected"))
        for family in families:
            given = options if family == "boosting" else {}
            y_hat = make(family, n_threads=1, **given).fit(panel, h).predict(panel, h).y_hat
            found[family, way] = Sums.of(y_hat, truth)
    return found


def estimates(world: SyntheticWorld, panels: Mapping[str, Panel]) -> dict[str, Sums]:
    """Errors against what was asked for in the periods in which the goods ran out: as sold, and as estimated."""
    holes, demand = panels[LEFT_OUT], panels[WHOLE].y
    truth = np.where(holes.is_withheld, demand, np.nan)
    frame = world.frame.join(
        world.truth.select(*world.spec.keys, "date", "stockout", "demand"),
        on=[*world.spec.keys, "date"],
        maintain_order="left",
    )
    share = pl.when(pl.col("stockout") & (pl.col("demand") > 0)).then(pl.col(world.spec.target) / pl.col("demand"))
    told = frame.with_columns(share.fill_null(1.0).alias(_AVAILABLE))
    shares = build_panel(Table(told, world.spec.but(stockout=f"{_AVAILABLE}:available"), world.future)).panel
    return {
        SALES: Sums.of(panels[SALES].y, truth),
        "demand_hat": Sums.of(panels[TOLD].y, truth),
        "demand_hat, share of the period told": Sums.of(demand_of(shares).demand_hat, truth),
    }


def _ahead(world: SyntheticWorld, panel: Panel, column: str) -> FloatArray:
    """A column of the truth on the horizon, ``[N, H]``; NaN for series that have ended."""
    ids = pl.concat_str([pl.col(key).cast(pl.String) for key in panel.spec.keys], separator="/")
    later = world.truth.filter(pl.col("date") > panel.cutoff).with_columns(ids.alias(UNIQUE_ID))
    rows = pl.DataFrame({UNIQUE_ID: panel.unique_ids, "row": np.arange(panel.n_series)})
    later = later.join(rows, on=UNIQUE_ID)
    values = np.full((panel.n_series, panel.spec.horizon), np.nan)
    step = panel.frequency.to_index(later["date"].to_numpy()) - panel.end
    values[later["row"].to_numpy(), step - 1] = later[column].cast(pl.Float64).to_numpy()
    return values


def measures_of(work: str, found: Mapping[tuple[str, str], Sums], goal: float | None) -> list[Measure]:
    """Lines of one world: the fall of the error, and the ways side by side."""
    lines = []
    for family in dict.fromkeys(family for family, _ in found):
        wape = {way: found[family, way].wape for way in WAYS}
        fall = 1.0 - wape[TOLD] / wape[SALES]
        lines.append(
            Measure(f"{work}, {family}: fall of the error against training on sales", fall, "share", at_least=goal)
        )
        lines += [
            Measure(f"{work}, {family}: error against the mean demand", wape[TOLD], "WAPE", way, wape[way])
            for way in WAYS
            if way != TOLD
        ]
        bias = {way: found[family, way].bias for way in (TOLD, SALES)}
        lines.append(Measure(f"{work}, {family}: bias", bias[TOLD], "share", SALES, bias[SALES]))
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/demand.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demand", description=__doc__)
    parser.add_argument("--seeds", default="31,32,33", help="worlds to make, by seed")
    parser.add_argument("--families", default="boosting", help="families to fit")
    given = parser.parse_args(arguments)
    seeds, families = [int(seed) for seed in given.seeds.split(",")], given.families.split(",")
    publish("demand", [line for noun in WORLDS for line in lines_of(noun, seeds, families)])


def lines_of(noun: str, seeds: Sequence[int], families: Sequence[str]) -> list[Measure]:
    """The lines of one kind of world over several seeds."""
    sums: dict[tuple[str, str, str], Sums] = defaultdict(Sums)
    guessed: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for seed in seeds:
        world = generate(SyntheticConfig(seed=seed, stockout_share=SHARE, **WORLDS[noun]))
        done: dict[tuple[str, str], Sums] = {}
        for kind, shown in (("at random", world), ("of demand", shelves(world, SHARE, seed))):
            panels = panels_of(shown)
            for way, found in estimates(shown, panels).items():
                guessed[kind, way] += found
            # the whole demand is the same whyever the goods ran out
            kept = {key: item for key, item in done.items() if key[1] == WHOLE}
            ways = {way: panel for way, panel in panels.items() if way != WHOLE or not kept}
            done = forecasts(shown, ways, families) | kept
            for (family, way), found in done.items():
                sums[kind, family, way] += found
    full = generate(SyntheticConfig(seed=seeds[0], stockout_share=0.0, **WORLDS[noun]))
    panels = {way: panel for way, panel in panels_of(full).items() if way in (SALES, TOLD)}
    for (family, way), found in forecasts(full, panels, families).items():
        sums["never", family, way] += found
    return _lines(noun, sums, guessed, families)


def _lines(
    noun: str,
    sums: Mapping[tuple[str, str, str], Sums],
    guessed: Mapping[tuple[str, str], Sums],
    families: Sequence[str],
) -> list[Measure]:
    lines = []
    for kind in ("at random", "of demand"):
        work = f"{noun}, goods run out {kind}"
        found = {(family, way): item for (other, family, way), item in sums.items() if other == kind}
        lines += measures_of(work, found, GOAL if kind == "at random" else None)
        sold = guessed[kind, SALES].wape
        lines += [
            Measure(f"{work}: error of {way} in these periods", item.wape, "WAPE", "what was sold", sold)
            for (other, way), item in guessed.items()
            if other == kind and way != SALES
        ]
    for family in families:
        with_column, without = sums["never", family, TOLD].wape, sums["never", family, SALES].wape
        work = f"{noun}, goods never run out, {family}: error with the column to that without"
        lines.append(Measure(work, with_column / without, "ratio", at_most=WORSE))
    return lines


if __name__ == "__main__":
    main()
