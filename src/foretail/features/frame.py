"""Rows for a model: one per (series, cutoff, step), gathered from `AsOf` in one vectorised pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foretail.features.asof import AsOf
from foretail.features.catalogue import Feature, catalogue
from foretail.features.plan import Plan
from foretail.panel.panel import Covariate, Panel

__all__ = ["Outlook", "Rows", "forecast_rows", "training_cutoffs", "training_rows"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_LEAST_WEEKS = 8  # history before the first training cutoff of a young weekly panel
_FEWEST_CUTOFFS = 8
_MANY_SERIES = 2000  # from so many on a thin sample is taken from some of them at each cutoff, not a little of each
_FEWEST_STEPS = 8  # on average of a series at a cutoff, below which a sample is thin
_MOST_ROWS = 200_000  # of a part of a forecast


@dataclass(frozen=True)
class Rows:
    """Feature rows.

    Attributes
    ----------
    features : the F columns. x : float32 ``[R, F]``, NaN = not known.
    series, step, cutoff : ``[R]`` row of the panel, step ahead, last known column.
    reference : ``[R]`` reference in model space. unit : ``[R]`` unit of differences. scale : ``[R]`` size of series.
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
        """Names of the columns of ``x``."""
        return [feature.name for feature in self.features]

    def __len__(self) -> int:
        return len(self.series)


def training_cutoffs(panel: Panel, h: int, stride: int, max_rows: int) -> IntArray:
    """Columns of past cutoffs, newest first: one step before the end, then every ``stride`` back while history is left.

    History is left while half a year (daily) or a year (weekly, monthly) lies before the cutoff. A younger panel gives
    up as much of that as it must, down to one season; a weekly one of less than three years keeps a third of what it
    has, eight weeks at least, unless there are rows enough that know a year. Cutoffs lie closer together where there
    would be fewer than eight of them, so that not only the first steps are learned, and weekly ones while all their
    rows are wanted.

    Parameters
    ----------
    max_rows : about how many rows are wanted at most, as in `training_rows`.
    """
    year, season, length = panel.frequency.year_length, panel.frequency.season_length, panel.n_periods
    wanted = min(year // 2 if panel.frequency.is_daily else year, length - h - 1)
    least = max(wanted, season)
    if panel.frequency.is_weekly:
        knowing = np.arange(length - 2, year - 2, -max(stride, 1))  # cutoffs with a year behind them
        n_knowing = panel.n_series * int(np.minimum(h, length - 1 - knowing).sum())
        if n_knowing < max_rows or len(knowing) < _FEWEST_CUTOFFS:
            least = max(min(wanted, length // 3), _LEAST_WEEKS)
        stride = min(stride, -(-panel.n_series * h * (length - least) // max_rows))
    return np.arange(length - 2, least - 2, -int(np.clip((length - least) // _FEWEST_CUTOFFS, 1, max(stride, 1))))


def training_rows(panel: Panel, plan: Plan, h: int, cutoffs: IntArray, max_rows: int, seed: int) -> Rows:
    """Rows at past cutoffs whose target is observed, open and not after the panel's end; a seeded sample when too many.

    Parameters
    ----------
    cutoffs : columns of the panel, see `training_cutoffs`. max_rows : about how many rows to return at most; where
        that leaves few of each of many series, they come from fewer cutoffs and from other series at each of them.

    Returns
    -------
    Rows by cutoff, then series, then step; none when no cutoff has an observed target and an observed past.
    """
    rng = np.random.default_rng(seed)
    is_open = panel.observed & ~panel.closed[:, : panel.n_periods]
    share = _share(is_open, h, cutoffs, max_rows)
    of_series = 1.0
    if panel.n_series >= _MANY_SERIES and share * h < _FEWEST_STEPS:
        cutoffs = _further_apart(cutoffs, h, _FEWEST_STEPS / (share * h))
        share = _share(is_open, h, cutoffs, max_rows)
        of_series = min(1.0, share * h / min(h, _FEWEST_STEPS))
    parts = []
    for cutoff in cutoffs.tolist():
        wanted = is_open[:, cutoff + 1 : cutoff + 1 + h]
        if of_series < 1.0:
            wanted = wanted & (rng.random((panel.n_series, 1)) < of_series)
        if share < of_series:
            wanted = wanted & (rng.random(wanted.shape) < share / of_series)
        seen = panel.as_of(cutoff + 1, h)
        wanted = wanted & np.any(seen.observed & ~seen.closed[:, : cutoff + 1], axis=1, keepdims=True)
        if wanted.any():
            # the same reach ahead as a real forecast has, although only observed targets become rows
            parts.append(_of_some(AsOf(seen, plan, h), wanted, panel.y[:, cutoff + 1 : cutoff + 1 + h]))
    return _concatenate(parts) if parts else _no_rows(panel, plan, h)


def _share(is_open: BoolArray, h: int, cutoffs: IntArray, max_rows: int) -> float:
    """Of all rows at these cutoffs, that are wanted."""
    return min(1.0, max_rows / max(sum(int(is_open[:, c + 1 : c + 1 + h].sum()) for c in cutoffs), 1))


def _further_apart(cutoffs: IntArray, h: int, times: float) -> IntArray:
    """Some of the cutoffs, so many times fewer at most, but not so few that a date is nobody's target.

    What is known at a cutoff is computed for all series, so a thin sample is much cheaper from few cutoffs.
    """
    stride = int(cutoffs[0] - cutoffs[1]) if len(cutoffs) > 1 else h
    return cutoffs[:: max(1, min(int(times), h // stride))]


def _of_some(asof: AsOf, wanted: BoolArray, y: FloatArray) -> Rows:
    """Rows of the cells wanted; what hangs on the future is computed for their series alone."""
    series = np.flatnonzero(wanted.any(axis=1))
    if len(series) == len(wanted):
        return _gather(asof, wanted, y)
    rows = _gather(asof.only(series), wanted[series], y[series])
    return replace(rows, series=series[rows.series])


def forecast_rows(panel: Panel, plan: Plan, h: int) -> Rows:
    """Rows of every series and step from the end of the panel, closed days included (R = N x H)."""
    return Outlook.of(panel, plan, h).rows()


@dataclass(frozen=True)
class Outlook:
    """What a forecast rests on, kept so that single series can be asked again under another future.

    Attributes
    ----------
    asof : the state at the end of the panel. features : of the rows, in their order.
    lasting : by name, ``[N]`` the features that rest on the history alone.
    """

    asof: AsOf
    features: tuple[Feature, ...]
    lasting: Mapping[str, npt.NDArray[np.floating]]

    @classmethod
    def of(cls, panel: Panel, plan: Plan, h: int) -> Outlook:
        """At the end of a panel, h steps ahead."""
        asof = AsOf(panel, plan, h)
        features = catalogue(asof.panel, plan)
        lasting = [feature for feature in features if feature.kind in ("as_of", "static")]
        return cls(asof, features, {feature.name: np.asarray(feature.compute(asof)) for feature in lasting})

    @property
    def panel(self) -> Panel:
        """The panel, with exactly h future periods."""
        return self.asof.panel

    @property
    def h(self) -> int:
        """Steps ahead."""
        return self.asof.h

    def rows(self) -> Rows:
        """Rows of every series and step, closed days included (R = N x H)."""
        wanted = np.ones((self.panel.n_series, self.h), dtype=np.bool_)
        return _gather(self.asof, wanted, None, self.features, self.lasting)

    def parts(self) -> Iterator[Outlook]:
        """Consecutive series of it, so many at a time that their rows need little memory."""
        n_parts = -(-self.panel.n_series * self.h // _MOST_ROWS)
        if n_parts < 2:
            yield self
            return
        for series in np.array_split(np.arange(self.panel.n_series), n_parts):
            yield self.only(series)

    def only(
        self, rows: IntArray, ahead: Sequence[Covariate] = (), closed: npt.NDArray[np.bool_] | None = None
    ) -> Outlook:
        """The outlook of some series, for which something else is known of the future (see `AsOf.only`)."""
        lasting = {name: values[rows] for name, values in self.lasting.items()}
        return Outlook(self.asof.only(rows, ahead, closed), self.features, lasting)


def _no_rows(panel: Panel, plan: Plan, h: int) -> Rows:
    return _gather(AsOf(panel, plan, h), np.zeros((panel.n_series, h), dtype=np.bool_), None)


def _gather(
    asof: AsOf,
    wanted: BoolArray,
    y: FloatArray | None,
    features: tuple[Feature, ...] = (),
    lasting: Mapping[str, npt.NDArray[np.floating]] | None = None,
) -> Rows:
    series, position = np.nonzero(wanted)
    features = features or catalogue(asof.panel, asof.plan)
    reference = asof.reference[series, position]
    unit, scale = asof.unit[series], asof.cube.scale[series]
    target = np.full(len(series), np.nan)
    if y is not None:
        target = (asof.cube.space.forward(y[series, position], scale) - reference) / unit
    return Rows(
        features=features,
        x=_matrix(asof, features, series, position, lasting or {}),
        series=series,
        step=asof.steps[position],
        cutoff=np.full(len(series), asof.known - 1),
        reference=reference,
        unit=unit,
        scale=scale,
        target=target,
    )


def _matrix(
    asof: AsOf,
    features: Sequence[Feature],
    series: IntArray,
    position: IntArray,
    made: Mapping[str, npt.NDArray[np.floating]],
) -> Float32Array:
    """The features of the chosen cells, float32 ``[R, F]``; what float32 cannot hold is infinite.

    Parameters
    ----------
    made : features that need not be computed, by name.
    """
    x = np.empty((len(series), len(features)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for column, feature in enumerate(features):
            value = made[feature.name] if feature.name in made else np.asarray(feature.compute(asof))
            if value.ndim == 1:
                x[:, column] = value[series]
            elif value.shape[0] == 1:
                x[:, column] = value[0, position]
            else:
                x[:, column] = value[series, position]
    return x


def _concatenate(parts: Sequence[Rows]) -> Rows:
    return Rows(
        features=parts[0].features,
        x=np.concatenate([part.x for part in parts]),
        series=np.concatenate([part.series for part in parts]),
        step=np.concatenate([part.step for part in parts]),
        cutoff=np.concatenate([part.cutoff for part in parts]),
        reference=np.concatenate([part.reference for part in parts]),
        unit=np.concatenate([part.unit for part in parts]),
        scale=np.concatenate([part.scale for part in parts]),
        target=np.concatenate([part.target for part in parts]),
    )
