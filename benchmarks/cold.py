"""Series with no or little history: foretail beside the model alone, the last season and the mean of like ones.

In made-up worlds, half of the series are cut to their last periods; a boosting model is fitted on what is left, and
each way to answer is scored by WAPE on the horizon that follows. With no history at all the peer is the mean forecast
of the series that share most attributes. Several seeds; none of them is one that constants were chosen on.

    python -m benchmarks.cold [--seeds 21,22,23]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.table import Measure, publish
from foretail.core.columns import UNIQUE_ID
from foretail.forecasts.cold import Cold, cold_answers
from foretail.forecasts.likeness import attribute_codes, likeness
from foretail.forecasts.policy import with_policies
from foretail.models.contract import Forecast
from foretail.models.fallback import last_season
from foretail.models.families import make
from foretail.models.intervals import Conformal, HeldBack, Size
from foretail.panel.build import build_panel
from foretail.panel.panel import Covariate, Panel
from foretail.sources.synthetic import SyntheticConfig, SyntheticWorld, generate

__all__ = ["Cut", "cut_world", "errors", "main"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WORLDS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "days": ({"stores": 10, "products": 20}, (0, 3, 7, 14, 28)),
    "weeks": ({"stores": 10, "products": 20, "freq": "W-FRI", "periods": 143, "horizon": 8}, (0, 1, 2, 4, 8)),
}
LEVELS = (0.1, 0.9)
COVERED = "share inside the 80 % interval"
_LEAST = 60  # observed periods of a series that may be cut


@dataclass(frozen=True)
class Cut:
    """A world some of whose series have lost their past.

    Attributes
    ----------
    panel : N series. left : int64 ``[N]`` periods left of each that was cut, -1 for the others.
    y : ``[N, H]`` sales of the horizon.
    """

    panel: Panel
    left: IntArray
    y: FloatArray


def cut_world(world: SyntheticWorld, lengths: Sequence[int], seed: int) -> Cut:
    """Cut about half of the series that go on to the end, as many to each length."""
    panel = build_panel(world.table).panel
    y = _horizon(world, panel)
    rng = np.random.default_rng(seed)
    able = rng.permutation(np.flatnonzero(np.isfinite(y).all(1) & (panel.observed.sum(1) > _LEAST)))
    left = np.full(panel.n_series, -1, dtype=np.int64)
    n_each = max(1, len(able) // (2 * len(lengths)))
    sales = panel.y.copy()
    for position, length in enumerate(lengths):
        rows = able[position * n_each : (position + 1) * n_each]
        left[rows] = length
        sales[rows, : panel.n_periods - length] = np.nan
    return Cut(replace(panel, y=sales, revisions=None), left, y)


def _horizon(world: SyntheticWorld, panel: Panel) -> FloatArray:
    ids = pl.concat_str([pl.col(key).cast(pl.String) for key in panel.spec.keys], separator="/")
    later = world.truth.filter(pl.col("date") > panel.cutoff).with_columns(ids.alias(UNIQUE_ID))
    rows = pl.DataFrame({UNIQUE_ID: panel.unique_ids, "row": np.arange(panel.n_series)})
    later = later.join(rows, on=UNIQUE_ID)
    y = np.full((panel.n_series, panel.spec.horizon), np.nan)
    step = panel.frequency.to_index(later["date"].to_numpy()) - panel.end
    y[later["row"].to_numpy(), step - 1] = later["sales"].to_numpy()
    return y


def errors(cut: Cut, *, rounds: int = 200, n_threads: int = 1) -> dict[tuple[int, str], tuple[float, float]]:
    """Sum of absolute errors and of sales by (periods left, way to answer); periods inside intervals, and all."""
    h = cut.panel.spec.horizon
    warm = cut.panel.select(cut.left != 0)
    model = make("boosting", rounds=rounds, max_rows=200_000, n_threads=n_threads).fit(warm, h).predict(warm, h)
    shut = warm.closed[:, warm.n_periods : warm.n_periods + h]
    model = replace(model, levels=LEVELS, quantiles=_quantiles(warm, model, rounds, n_threads))
    policy = with_policies(warm, model)
    answers = {
        "foretail": policy.y_hat,
        "boosting": model.y_hat,
        "seasonal naive": last_season(warm, h),
    }
    left, y = cut.left[cut.left != 0], cut.y[cut.left != 0]
    found = {}
    for n in sorted(set(left.tolist()) - {-1}):
        rows = left == n
        for name, y_hat in answers.items():
            error = np.abs(np.where(shut, 0.0, y_hat)[rows] - y[rows]).sum()
            found[n, name] = (float(error), float(y[rows].sum()))
        found[n, COVERED] = _covered(policy.quantiles, y, ~shut, rows)
    return found | _without_history(cut, warm, model)


def _quantiles(panel: Panel, model: Forecast, rounds: int, n_threads: int) -> FloatArray:
    """Intervals of the model from its errors in the window before."""
    h, n = model.y_hat.shape[1], panel.n_periods - model.y_hat.shape[1]
    past = panel.as_of(n, h)
    seen = past.observed.any(1)
    past = past.select(seen)
    before = make("boosting", rounds=rounds, max_rows=200_000, n_threads=n_threads).fit(past, h).predict(past, h)
    held = HeldBack(panel.y[seen, n:], before.y_hat, panel.closed[seen, n : n + h], Size.of(past), age=h)
    return Conformal.fit([held], LEVELS, h).quantiles(model.y_hat, Size.of(panel), non_negative=True)


def _covered(
    quantiles: FloatArray | None, y: FloatArray, is_open: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Open periods inside the interval, and open periods."""
    assert quantiles is not None
    inside = (quantiles[:, :, 0] <= y) & (y <= quantiles[:, :, 1]) & is_open
    return float(inside[rows].sum()), float(is_open[rows].sum())


def _without_history(cut: Cut, warm: Panel, model: Forecast) -> dict[tuple[int, str], tuple[float, float]]:
    rows = np.flatnonzero(cut.left == 0)
    if not len(rows):
        return {}
    known = tuple(Covariate(item.name, item.values[rows], item.categories) for item in cut.panel.known)
    cold = Cold(cut.panel.series[rows], known)
    shut = cold.closed(warm, model.y_hat.shape[1])
    names = [name for name in warm.series.columns if name != UNIQUE_ID]
    codes, wanted = attribute_codes(warm.series, cold.series, names)
    assert model.quantiles is not None
    values = np.concatenate([model.y_hat[:, :, None], model.quantiles], axis=2)
    answer = cold_answers(warm, values, LEVELS, cold)
    ways = {
        "foretail": answer[:, :, 0],
        "mean of like": likeness(wanted, codes, np.ones(len(names)), 1) @ model.y_hat,
    }
    y = cut.y[rows]
    covered = _covered(answer[:, :, 1:], y, ~shut, np.ones(len(y), dtype=np.bool_))
    return {(0, COVERED): covered} | {
        (0, name): (float(np.abs(np.where(shut, 0.0, y_hat) - y).sum()), float(y.sum())) for name, y_hat in ways.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and write ``benchmarks/results/cold.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--seeds", default="21,22,23", help="worlds to make, by seed")
    seeds = [int(seed) for seed in parser.parse_args(arguments).seeds.split(",")]
    measures = []
    for noun, (config, lengths) in WORLDS.items():
        sums: dict[tuple[int, str], FloatArray] = defaultdict(lambda: np.zeros(2))
        for seed in seeds:
            world = generate(SyntheticConfig(seed=seed, **config))
            for key, pair in errors(cut_world(world, lengths, seed)).items():
                sums[key] += pair
        wape = {key: float(error / sold) for key, (error, sold) in sums.items()}
        measures += [
            Measure(f"{n} {noun} of history: WAPE", wape[n, "foretail"], "WAPE", peer, value)
            for (n, peer), value in sorted(wape.items())
            if peer not in ("foretail", COVERED)
        ]
        measures += [
            Measure(f"{n} {noun} of history: {COVERED}", value, "share")
            for (n, name), value in sorted(wape.items())
            if name == COVERED
        ]
    publish("cold", measures)


if __name__ == "__main__":
    main()
