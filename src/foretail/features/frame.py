"""Rows for a model: one per (series, cutoff, step), gathered from `AsOf` in one vectorised pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.features.asof import AsOf, Plan
from foretail.features.catalogue import Feature, catalogue
from foretail.panel.panel import Panel

__all__ = ["Rows", "forecast_rows", "training_cutoffs", "training_rows"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Feature rows.

    Attributes
    ----------
    features : the F columns. x : float32 ``[R, F]``, NaN = not known.
    series, step, cutoff : ``[R]`` row of the panel, step ahead, last known column.
    reference : ``[R]`` reference value in model space. unit : ``[R]`` unit of differences. scale : ``[R]`` size of the series.
    target : ``[R]`` (z of the sales - reference) / unit; NaN when the future is asked for.
    """

    features: tuple[Feature, ...]
    x: Float32Array
    series: IntArray
    step: IntArray
    cutoff: IntArray
    reference: FloatArray
    unit: FloatArray
    scale: FloatArray
    target: FloatArray

    @property
    def names(self) -> list[str]:
        return [feature.name for feature in self.features]


def training_cutoffs(panel: Panel, h: int, stride: int) -> IntArray:
    """Columns of past cutoffs, newest first: one step before the end, then every ``stride`` back while history is left."""
    season = panel.frequency.season_length
    year = panel.frequency.year_length
    least = max(min(year // 2 if panel.frequency.is_daily else year, panel.n_periods - h - 1), season if season < 52 else 8, 2)
    return np.arange(panel.n_periods - 2, least - 2, -stride)


def training_rows(panel: Panel, plan: Plan, h: int, cutoffs: IntArray, max_rows: int, seed: int) -> Rows:
    """Rows at past cutoffs whose target is observed, open and not after the panel's end; a seeded sample when too many."""
    rng = np.random.default_rng(seed)
    length = panel.n_periods
    open_cells = panel.observed & ~panel.closed[:, :length]
    n_open = [int(open_cells[:, c + 1 : c + 1 + h].sum()) for c in cutoffs]
    share = min(1.0, max_rows / max(sum(n_open), 1))
    parts = []
    for cutoff in cutoffs:
        reach = min(h, length - 1 - int(cutoff))
        wanted = open_cells[:, cutoff + 1 : cutoff + 1 + reach]
        if share < 1.0:
            wanted = wanted & (rng.random(wanted.shape) < share)
        seen = panel.as_of(int(cutoff) + 1, h)
        wanted = wanted & (seen.observed & ~seen.closed[:, : int(cutoff) + 1]).any(1)[:, None]
        if wanted.any():
            # the same reach ahead as a real forecast has, although only observed targets become rows
            parts.append(_gather(AsOf(seen, plan, h), wanted, panel.y[:, cutoff + 1 : cutoff + 1 + reach]))
    return _concatenate(parts)


def forecast_rows(panel: Panel, plan: Plan, h: int) -> Rows:
    """Rows of every series and step from the end of the panel, closed days included (R = N x H)."""
    wanted = np.ones((panel.n_series, h), dtype=np.bool_)
    return _gather(AsOf(panel, plan, h), wanted, None)


def _gather(asof: AsOf, wanted: npt.NDArray[np.bool_], y: FloatArray | None) -> Rows:
    series, position = np.nonzero(wanted)
    features = catalogue(asof.panel, asof.plan)
    x = np.empty((len(series), len(features)), dtype=np.float32)
    for column, feature in enumerate(features):
        value = np.asarray(feature.compute(asof))
        if value.ndim == 1:
            x[:, column] = value[series]
        elif value.shape[0] == 1:
            x[:, column] = value[0, position]
        else:
            x[:, column] = value[series, position]
    reference = asof.reference[series, position]
    unit, scale = asof.unit[series], asof.cube.scale[series]
    target = np.full(len(series), np.nan)
    if y is not None:
        z = asof.cube.space.forward(y[series, position], scale)
        target = (z - reference) / unit
    cutoff = np.full(len(series), asof.known - 1)
    return Rows(features, x, series, asof.steps[position], cutoff, reference, unit, scale, target)


def _concatenate(parts: list[Rows]) -> Rows:
    def join(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    names = ("x", "series", "step", "cutoff", "reference", "unit", "scale", "target")
    return Rows(parts[0].features, *(join(name) for name in names))  # type: ignore[arg-type]
