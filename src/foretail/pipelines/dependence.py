"""What a backtest says of joint errors: the dependence a version keeps, and how often totals fell where it said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from foretail.backtest.run import Backtest, errors_of
from foretail.core.columns import UNIQUE_ID
from foretail.forecasts.samples import Sampler, group_codes
from foretail.models.dependence import Dependence
from foretail.models.intervals import Conformal, HeldBack, error_half_life
from foretail.models.marginals import normal_scores
from foretail.panel.panel import Panel

__all__ = ["TotalsCoverage", "calibration_of", "dependence_of", "totals_coverage"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MOST_COLUMNS = 6  # keys and static columns that may be shared; what more of them would say, few windows cannot
_MOST_FITTED = 10_000  # series of which the dependence is pooled
_HALF_LIFE_HORIZONS = 2.0  # age at which a window counts half; what all series share shows once a window
_LOW, _HIGH = 0.1, 0.9
_MOST_TUNED, _FEWEST_TUNED = 300, 60  # series, and totals, on which the ties along a path are set
_TUNING_SAMPLES, _HALVINGS, _FURTHEST_TUNED = 80, 6, 0.5


@dataclass(frozen=True)
class TotalsCoverage:
    """How often the total of a series over a window lay inside its 80 % interval.

    Attributes
    ----------
    joint : share (0-1) with intervals of joint samples. summed : with the sums of the steps' own quantiles.
    independent : with steps drawn independently. group : share of the totals over all series, a key or a static column.
    n : totals that were measured.
    """

    joint: float
    summed: float
    independent: float
    group: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """As ``run.json`` holds it; NaN is None."""
        shares = {"joint": self.joint, "summed": self.summed, "independent": self.independent, "group": self.group}
        return {**{name: value if np.isfinite(value) else None for name, value in shares.items()}, "n": self.n}


def calibration_of(panel: Panel, h: int, result: Backtest) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a bundle: intervals of the chosen model, and the dependence of its errors where there are any."""
    errors = errors_of(panel, h, result.results, result.chosen, panel.n_periods)
    dependence = dependence_of(panel, errors, result.intervals)
    return {**result.intervals.to_arrays(), **({} if dependence is None else dependence.to_arrays())}


def dependence_of(panel: Panel, windows: Sequence[HeldBack], intervals: Conformal) -> Dependence | None:
    """Fitted on the errors of held-back windows under calibrated intervals; None where there are too few.

    Recent windows count more, though less so than for the intervals: each shows once what all series share. Then one
    number is set, how closely a series' own errors are tied along its path, so that totals over these windows lie
    inside their interval as often as it promises: what pooled intervals get wrong of single series shows only there.
    """
    rows = _spread(panel.n_series, _MOST_FITTED)
    sold = panel.y[panel.observed]
    unit = 1.0 if (sold == np.round(sold)).all() else 0.0
    scores, widths = [], []
    for window in (_of_rows(window, rows) for window in windows):
        quantiles = _quantiles(panel, window, intervals)
        widths.append((quantiles[..., -1] - quantiles[..., 0]).mean(1))
        y = np.where(window.closed, np.nan, window.y)
        scores.append(normal_scores(y, quantiles, intervals.levels, unit=unit, non_negative=panel.spec.non_negative))
    season = panel.frequency.season_length if panel.frequency.is_daily else 1
    weights = [window.weight * 0.5 ** (window.age / (_HALF_LIFE_HORIZONS * intervals.h)) for window in windows]
    found = Dependence.fit(scores, _shared_columns(panel, rows), season, weights, widths)
    return None if found is None else _tuned(found, panel, windows, intervals, weights)


def _tuned(
    found: Dependence, panel: Panel, windows: Sequence[HeldBack], intervals: Conformal, weights: Sequence[float]
) -> Dependence:
    """By bisection: the more a path is tied, the wider are totals."""
    rows = _spread(panel.n_series, _MOST_TUNED)
    totals = [_Totals.of(panel, _of_rows(window, rows), rows, intervals) for window in windows]
    weight = np.repeat(weights, [len(item.y) for item in totals])
    if len(weight) < _FEWEST_TUNED:
        return found
    low, high = -_FURTHEST_TUNED, _FURTHEST_TUNED
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = np.concatenate([item.inside(found.tied(middle), _TUNING_SAMPLES, 1) for item in totals])
        low, high = (middle, high) if np.average(inside, weights=weight) < _HIGH - _LOW else (low, middle)
    return found.tied((low + high) / 2)


@dataclass(frozen=True)
class _Totals:
    """Totals over a window of the n series that can be measured.

    Attributes
    ----------
    y : ``[n]`` actual. quantiles : ``[n, H, Q]`` of the steps that count, 0 elsewhere. codes : ``[n]`` by column.
    """

    y: FloatArray
    quantiles: FloatArray
    levels: tuple[float, ...]
    codes: Mapping[str, IntArray]
    non_negative: bool

    @classmethod
    def of(cls, panel: Panel, window: HeldBack, places: IntArray, intervals: Conformal) -> Self:
        """``places`` are the rows of the panel that the window holds."""
        counted = np.isfinite(window.y) & ~window.closed
        rows = np.flatnonzero(counted.any(1))
        quantiles = np.where(counted[..., None], _quantiles(panel, window, intervals), 0.0)[rows]
        y = np.where(counted, window.y, 0.0).sum(1)[rows]
        codes = _shared_columns(panel, places[rows])
        return cls(y, quantiles, intervals.levels, codes, panel.spec.non_negative)

    def drawn(self, dependence: Dependence, n_samples: int, seed: int) -> FloatArray:
        """``[n, S]``."""
        sampler = Sampler(dependence, self.quantiles.shape[1], n_samples, seed, self.codes)
        return sampler.totals(self.quantiles, self.levels, non_negative=self.non_negative)

    def inside(self, dependence: Dependence, n_samples: int, seed: int) -> BoolArray:
        """``[n]`` whether the total lay inside its 80 % interval."""
        return _inside(self.y, self.drawn(dependence, n_samples, seed))


def _inside(y: FloatArray, drawn: FloatArray) -> BoolArray:
    low, high = np.quantile(drawn, (_LOW, _HIGH), axis=1)
    return np.asarray((low <= y) & (y <= high))


def totals_coverage(
    panel: Panel, h: int, result: Backtest, *, n_series: int = 500, n_samples: int = 200, seed: int = 7
) -> TotalsCoverage:
    """Measured on the outer windows of a backtest, each calibrated on the windows that began before it.

    Parameters
    ----------
    panel, h : those of the backtest. n_series : at most so many, evenly over the table. n_samples : of each total.
    """
    rows = _spread(panel.n_series, n_series)
    inside, groups = [], []
    for window in result.results:
        known = window.window.n_periods
        held = [_of_rows(item, rows) for item in errors_of(panel, h, result.results, result.chosen, known)]
        if window.window.role == "outer" and held:
            new = _of_rows(window.held_back(result.chosen, panel.n_periods, 0), rows)
            intervals = Conformal.fit(held, result.levels, h, error_half_life(panel, h))
            found = _window_coverage(panel.select(rows), held, new, intervals, n_samples, seed)
            inside.append(found[0])
            groups.append(found[1])
    table = np.concatenate(inside) if inside else np.zeros((0, 3), dtype=np.bool_)
    group = np.concatenate(groups) if groups else np.zeros(0, dtype=np.bool_)
    joint, summed, independent = table.mean(0).tolist() if len(table) else (float("nan"),) * 3
    return TotalsCoverage(joint, summed, independent, float(group.mean()) if len(group) else float("nan"), len(table))


def _window_coverage(
    panel: Panel, held: Sequence[HeldBack], new: HeldBack, intervals: Conformal, n_samples: int, seed: int
) -> tuple[BoolArray, BoolArray]:
    """Whether the total of each series lay inside, by joint samples, sums and independent ones; and of each group."""
    dependence = dependence_of(panel, held, intervals)
    totals = _Totals.of(panel, new, np.arange(panel.n_series), intervals)
    if dependence is None or not len(totals.y):
        return np.zeros((0, 3), dtype=np.bool_), np.zeros(0, dtype=np.bool_)
    joint = totals.drawn(dependence, n_samples, seed)
    low, high = (totals.quantiles[..., intervals.levels.index(level)].sum(1) for level in (_LOW, _HIGH))
    summed = (low <= totals.y) & (totals.y <= high)
    alone = totals.inside(Dependence.independent(), n_samples, seed)
    inside = np.stack([_inside(totals.y, joint), summed, alone], axis=1)
    return inside, _groups_inside(joint, totals.y, totals.codes)


def _quantiles(panel: Panel, window: HeldBack, intervals: Conformal) -> FloatArray:
    return intervals.quantiles(window.y_hat, window.size, window.width, non_negative=panel.spec.non_negative)


def _groups_inside(joint: FloatArray, y: FloatArray, codes: Mapping[str, IntArray]) -> BoolArray:
    """Whether the total of all series, and of each group of several that are not all, lay inside."""
    found = []
    for code in (np.zeros(len(y), dtype=np.int64), *codes.values()):
        place = np.unique(code, return_inverse=True)[1]
        several = np.bincount(place) > 1
        if not several.any():
            continue
        totals = np.zeros((len(several), joint.shape[1]))
        np.add.at(totals, place, joint)
        found.append(_inside(np.bincount(place, weights=y)[several].astype(np.float64), totals[several]))
    return np.concatenate(found) if found else np.zeros(0, dtype=np.bool_)


def _shared_columns(panel: Panel, rows: IntArray) -> dict[str, IntArray]:
    names = [name for name in panel.series.columns if name != UNIQUE_ID]
    return group_codes(panel.series[rows], names[:_MOST_COLUMNS])


def _of_rows(window: HeldBack, rows: IntArray) -> HeldBack:
    """A window of some series only."""
    return replace(
        window,
        y=window.y[rows],
        y_hat=window.y_hat[rows],
        closed=window.closed[rows],
        size=window.size.take(rows),
        width=None if window.width is None else window.width[rows],
    )


def _spread(n: int, most: int) -> IntArray:
    """At most so many of n rows, evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
