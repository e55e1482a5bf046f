"""Levels: seconds and memory of making 30,000 series agree, and whether it helps, on Walmart and a synthetic world.

Accuracy: the command runs with levels and a cutoff one horizon before the end; what it forecasts is compared with what
was then sold, level by level, beside sums of the same version's forecasts with reconciliation left out. Speed: base
forecasts of 30,000 series and of their groups are reconciled by the shrunk covariance, 200 joint samples are drawn and
summed, and the table of all levels is made; every parent is compared with the sum of its children.

    python -m benchmarks.hierarchy [--only speed,walmart,synthetic] [--models auto] [--leaves 30000]
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import foretail
from benchmarks.data import layout_folder
from benchmarks.table import Measure, publish
from foretail.backtest.metrics import wape
from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.core.settings import Settings
from foretail.core.spec import DatasetSpec
from foretail.forecasts.heeding import reconciler
from foretail.forecasts.levels import levels_frame, sample_sums
from foretail.forecasts.samples import Sampler, group_codes
from foretail.models.contract import Forecast
from foretail.models.dependence import Dependence
from foretail.models.intervals import Conformal
from foretail.models.reconcile import Covariance, reconcile
from foretail.panel.hierarchy import SERIES, TOTAL, Hierarchy, hierarchy_of
from foretail.panel.panel import Panel
from foretail.pipelines.answer import Wanted, answer
from foretail.pipelines.forecast import open_version
from foretail.registry.bundle import Bundle
from foretail.sources.open import open_table
from foretail.sources.synthetic import SyntheticConfig, generate
from foretail.sources.table import Table

__all__ = ["accuracy", "main", "speed"]

FloatArray = npt.NDArray[np.float64]

PARTS = ("speed", "walmart", "synthetic")
_STEPS, _DRAWS, _ERRORS = 28, 200, 140
_ITEMS = 100  # of each store of the made-up chain
_SECONDS, _GB, _COHERENT = 30.0, 4.0, 1e-6
_SEED = 17


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/hierarchy.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hierarchy", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--models", default="auto", help="families that take part")
    parser.add_argument("--leaves", type=int, default=30_000, help="series of the speed part")
    given = parser.parse_args(arguments)
    measures: list[Measure] = []
    for name in given.only.split(","):
        if name == "speed":
            measures += speed(given.leaves)
            continue
        table = _table(name)
        if table is not None:
            measures += accuracy(name, *table, given.models.split(","))
    publish("hierarchy", measures)


def speed(n_series: int) -> list[Measure]:
    """Time and memory of one forecast of many series with all their levels, and how far parents are from children."""
    series, spec = _chain(n_series)
    hierarchy = hierarchy_of(series, spec)
    groups, points, quantiles, covariance = _base(hierarchy, n_series)
    work = f"{n_series:,} series, {hierarchy.n_groups:,} groups on {len(hierarchy.levels)} levels x {_STEPS} days"
    start = time.perf_counter()
    agreed = reconcile(hierarchy, groups, points, "shrink", covariance)
    reconciled_s = time.perf_counter() - start
    frame = _frame(series, agreed, quantiles * (agreed / points)[..., None])
    start = time.perf_counter()
    dependence = _dependence()
    table = levels_frame(
        frame, series, spec, names=spec.hierarchy, levels=DEFAULT_QUANTILES, sampled=DEFAULT_QUANTILES,
        dependence=dependence, method="shrink",
    )  # fmt: skip
    table_s = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    samples = _incoherence(hierarchy, series, frame, dependence)
    return [
        Measure(f"{work}: points made to agree", reconciled_s, "s"),
        Measure(f"{work}: and {_DRAWS} samples, quantiles, table", reconciled_s + table_s, "s", at_most=_SECONDS),
        Measure(f"{work}: peak memory, base forecasts included", peak, "GB", at_most=_GB),
        Measure(f"{work}: points, parent to sum of children", _apart(table, frame, series), "share", at_most=_COHERENT),
        Measure(f"{work}: samples, parent to sum of children", samples, "share", at_most=_COHERENT),
    ]


def accuracy(name: str, table: Table, levels: Sequence[str], cutoff: dt.date, models: Sequence[str]) -> list[Measure]:
    """Errors per level of what is forecast and of sums of the series, one horizon that nothing has seen."""
    with tempfile.TemporaryDirectory(prefix="foretail-levels-") as scratch:
        place = Path(scratch)
        settings = Settings(home=place / "home")
        spec = table.spec.but(hierarchy=tuple(levels))
        table.frame.write_parquet(place / "sales.parquet")
        (place / "spec.toml").write_text(spec.to_toml(), encoding="utf-8")
        result = foretail.run(
            place / "sales.parquet", spec=place / "spec.toml", cutoff=cutoff, models=tuple(models), name=name,
            out=place / "out", settings=settings,
        )  # fmt: skip
        version = result.summary["model_version"]
        bundle, _, wanted = open_version(version, table=None, future=None, horizon=None, settings=settings)
    used = _answers(bundle, wanted, reconciler(bundle.levels, bundle.panel))
    sums = _answers(bundle, wanted, None)
    actual = table.frame.filter(pl.col(spec.time) > cutoff)
    return _lines(name, actual, spec, result.summary["hierarchy"], used, sums)


def _answers(
    bundle: Bundle, wanted: Wanted, reconciled: Callable[[Panel, Forecast], Forecast] | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Forecasts of the series, and of the levels."""
    levels, spec = bundle.info.levels, wanted.panel.spec
    frame = answer(
        wanted, bundle.model, Conformal.from_arrays(bundle.calibration), label="", model_version="", levels=levels,
        reconciled=reconciled,
    )  # fmt: skip
    sums = levels_frame(
        frame, wanted.series, spec, names=spec.hierarchy, levels=levels, sampled=levels,
        dependence=Dependence.from_arrays(bundle.calibration), method="",
    )  # fmt: skip
    return frame.join(wanted.series, on="unique_id").rename({"ds": spec.time}), sums


def _lines(
    name: str,
    actual: pl.DataFrame,
    spec: DatasetSpec,
    told: dict[str, Any],
    used: tuple[pl.DataFrame, pl.DataFrame],
    sums: tuple[pl.DataFrame, pl.DataFrame],
) -> list[Measure]:
    types = sums[0].select(*spec.keys, *spec.static).unique(spec.keys)
    actual = actual.select(*spec.keys, spec.time, spec.target).join(types, on=spec.keys, how="left")
    lines, ratios = [], []
    backtest = {row["level"]: row for row in told["accuracy"]}
    for level in [TOTAL, *(item for item in spec.hierarchy if item != TOTAL), SERIES]:
        if level == SERIES:
            columns, pair = list(spec.keys), (used[0], sums[0])
        else:
            columns = [] if level == TOTAL else level.split("/")
            pair = (used[1].filter(pl.col("level") == level), sums[1].filter(pl.col("level") == level))
        truth = actual.group_by(*columns, spec.time).agg(pl.col(spec.target).sum().alias("__y"))
        own, other = (_error(item, truth, [*columns, spec.time]) for item in pair)
        ratios.append(own / other)
        past = backtest[level]
        lines += [
            Measure(f"{name}, {level}: WAPE as used ({told['method']})", own, "WAPE", "sums of series", other),
            Measure(f"{name}, {level}: WAPE in the backtest", past[told["method"]], "WAPE", "sums of series",
                    past["bottom_up"]),
            Measure(f"{name}, {level}: WAPE in the backtest, by itself", past["own"], "WAPE", "sums of series",
                    past["bottom_up"]),
            Measure(f"{name}, {level}: 80 % interval holds", _covered(pair[0], truth, [*columns, spec.time]), "share",
                    "sums of series", _covered(pair[1], truth, [*columns, spec.time])),
        ]  # fmt: skip
    mean = float(np.mean(ratios))
    return [*lines, Measure(f"{name}: WAPE to that of sums, mean over levels", mean, "share", at_most=1.0)]


def _error(forecast: pl.DataFrame, truth: pl.DataFrame, on: list[str]) -> float:
    both = forecast.join(truth, on=on, how="inner")
    return wape(both["__y"].to_numpy().astype(np.float64)[None], both["y_hat"].to_numpy()[None])


def _covered(forecast: pl.DataFrame, truth: pl.DataFrame, on: list[str]) -> float:
    """Of what was sold, where a day may have sold anything."""
    both = forecast.join(truth, on=on, how="inner").filter(pl.col("q90") > 0)
    return float(both.select(pl.col("__y").is_between("q10", "q90").mean()).item() or 0.0)


def _table(name: str) -> tuple[Table, tuple[str, ...], dt.date] | None:
    """A table with its levels and the cutoff one horizon before its end; None where its files are not here."""
    if name == "walmart":
        folder = layout_folder("walmart")
        if folder is None:
            return None
        table = open_table("walmart", data=folder.parent, horizon=39)
        return table, ("Store", "Dept", "Type"), dt.date(2012, 1, 27)
    world = generate(SyntheticConfig(stores=10, products=30, horizon=28, seed=_SEED, intermittent_share=0.3))
    spec = world.spec
    frame = world.frame.select(*spec.keys, spec.time, spec.target, *spec.static, *spec.known)
    last = frame[spec.time].max()
    assert isinstance(last, dt.date)
    levels = ("store_id", "store_type", "category", "store_id/category")
    return Table(frame, spec.but(past=())), levels, last - dt.timedelta(days=28)


def _chain(n_series: int) -> tuple[pl.DataFrame, DatasetSpec]:
    row = np.arange(n_series)
    store, item = row // _ITEMS, row % _ITEMS
    series = pl.DataFrame(
        {"unique_id": [f"{s}/{i}" for s, i in zip(store.tolist(), item.tolist(), strict=True)],
         "store": store, "item": item, "region": store % 10, "category": item % 12}
    )  # fmt: skip
    levels = ("region", "store", "category", "item", "region/category", "store/category")
    spec = DatasetSpec(("store", "item"), "date", "sales", "D", _STEPS, static=("region", "category"), hierarchy=levels)
    return series, spec


def _base(hierarchy: Hierarchy, n_series: int) -> tuple[FloatArray, FloatArray, FloatArray, Covariance]:
    """Forecasts of groups and series, quantiles of the series, the covariance of errors that go together."""
    rng = np.random.default_rng(_SEED)
    points = rng.gamma(1.5, 8.0, (n_series, 1)) * rng.lognormal(0, 0.2, (n_series, _STEPS))
    groups = hierarchy.sums(points) * rng.lognormal(0, 0.05, (hierarchy.n_groups, _STEPS))
    spread = np.array([0.2, 0.5, 0.65, 0.77, 0.88, 1.0, 1.12, 1.26, 1.45, 1.75, 2.4])
    errors = (rng.normal(size=(n_series, _ERRORS)) + 0.5 * rng.normal(size=_ERRORS)) * points[:, :1]
    of_groups = hierarchy.sums(errors) + rng.normal(size=(hierarchy.n_groups, _ERRORS)) * groups[:, :1] * 0.05
    covariance = Covariance.shrunk(np.concatenate([of_groups, errors]))
    return groups, points, points[..., None] * spread, covariance


def _dependence() -> Dependence:
    """Errors of which something is shared over all series, over those of a store, and along the path of a series."""
    shares = np.zeros((3, 6))
    shares[:, 0] = 0.1
    shares[:, 1] = 0.1
    shares[2, -1] = 0.4
    return Dependence(("", "store", "own"), shares, 7)


def _frame(series: pl.DataFrame, points: FloatArray, quantiles: FloatArray) -> pl.DataFrame:
    n, h = points.shape
    cutoff = dt.date(2024, 3, 1)
    dates = np.datetime64(cutoff) + np.arange(1, h + 1).astype("timedelta64[D]")
    return pl.DataFrame(
        {
            "unique_id": series["unique_id"].gather(np.repeat(np.arange(n), h)),
            "ds": np.tile(dates, n),
            "cutoff": pl.repeat(cutoff, n * h, eager=True),
            "step": np.tile(np.arange(1, h + 1, dtype=np.int32), n),
            "y_hat": points.ravel(),
            **{
                quantile_column(level): quantiles[..., i].ravel() for i, level in enumerate(DEFAULT_QUANTILES)
            },
            "model": pl.repeat("profile", n * h, eager=True),
            "model_version": pl.repeat("chain/1", n * h, eager=True),
        }
    )  # fmt: skip


def _apart(table: pl.DataFrame, frame: pl.DataFrame, series: pl.DataFrame) -> float:
    """The largest relative difference of a group's row from the sum of its series' rows, both as written."""
    rows = frame.join(series, on="unique_id")
    worst = 0.0
    for level in table["level"].unique():
        columns = [] if level == TOTAL else level.split("/")
        sums = rows.group_by(*columns, "step").agg(pl.col("y_hat").sum().alias("sum"))
        both = table.filter(pl.col("level") == level).join(sums, on=[*columns, "step"])
        worst = max(worst, float(both.select(((pl.col("y_hat") / pl.col("sum")) - 1).abs().max()).item()))
    return worst


def _incoherence(hierarchy: Hierarchy, series: pl.DataFrame, frame: pl.DataFrame, dependence: Dependence) -> float:
    """The largest relative difference of the total's samples from the sums of each level's, few samples of all."""
    sampler = Sampler(dependence, _STEPS, 20, _SEED, group_codes(series, dependence.columns))
    cells = frame.select(map(quantile_column, DEFAULT_QUANTILES)).to_numpy()
    row = np.arange(len(cells)).reshape(-1, _STEPS)
    sums = sample_sums(hierarchy, sampler, cells, row, DEFAULT_QUANTILES, non_negative=True)
    total = sums[0]
    return max(float(np.abs(sums[part].sum(0) / total - 1).max()) for part in hierarchy.parts)


if __name__ == "__main__":
    main()
