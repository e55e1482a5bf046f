"""One recipe on every series of a panel: its forecast, and the walk-forward before it; series shared out in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.spec import DatasetSpec
from foretail.execution.pool import Chunk, cut, warm_pool
from foretail.models.contract import Forecaster
from foretail.models.fallback import last_season
from foretail.models.families import make
from foretail.models.intervals import Size
from foretail.panel.panel import Covariate, Panel

__all__ = ["Walk", "naive_walk", "origins", "walk", "window_panel", "window_sizes"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SEASONS = 2  # that the first window must have behind it
_CHUNK_ROWS = 500  # at most: a chunk waits in memory twice
_PER_WORKER = 4
_MIN_ROWS = 400  # fewer series are done before a worker has started
_MIN_SLOW_ROWS = 8  # the same for families that fit one series after the other
_BATCHED = ("prophet", "seasonal_naive", "historic_average", "drift", "zero", "seasonal_window_average")


@dataclass(frozen=True)
class Walk:
    """Forecasts of N series over W windows and, last, from the end of the panel.

    Attributes
    ----------
    y_hat : ``[N, W + 1, h]`` in the unit of the target; NaN in windows that the model did not answer itself, and where
        it failed.
    width : ``[N, W + 1, h]`` from the 10 % to the 90 % quantile; None for a family without intervals of its own.
    reasons : ``{row: why}`` of series whose last forecast a fallback answered. failed : ``{row: why}``.
    """

    y_hat: FloatArray
    width: FloatArray | None
    reasons: dict[int, str]
    failed: dict[int, str]


@dataclass(frozen=True)
class _Plan:
    """What the series of a panel share, in a form that travels to a worker."""

    spec: DatasetSpec
    start: int
    ends: tuple[int, ...]
    known: tuple[tuple[str, tuple[str, ...]], ...]
    is_restated: bool
    family: str
    seed: int

    @property
    def h(self) -> int:
        return self.spec.horizon


def origins(panel: Panel, n_windows: int) -> tuple[int, ...]:
    """Columns that the windows of the walk-forward may see, oldest first: one horizon apart, the last h before the end.

    Windows with less than two seasons or one horizon behind them are left out.
    """
    h, season = panel.spec.horizon, panel.frequency.season_length
    least = max(h, min(_SEASONS * season, panel.n_periods // 2))
    ends = (panel.n_periods - h * (i + 1) for i in range(n_windows))
    return tuple(sorted(end for end in ends if end >= least))


def walk(
    panel: Panel,
    family: str,
    ends: Sequence[int],
    *,
    seed: int,
    n_workers: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Walk:
    """Fit and forecast every series at every origin and at the end.

    Parameters
    ----------
    panel : N series; known covariates reach a horizon beyond its end where there are any.
    family : with its parameters. ends : see `origins`.
    advance : told the number of series done.
    """
    plan = _plan(panel, family, (*ends, panel.n_periods), seed)
    shape = (panel.n_series, len(plan.ends), plan.h)
    y_hat, width = np.full(shape, np.nan), np.full(shape, np.nan)
    reasons: dict[int, str] = {}
    failed: dict[int, str] = {}
    has_width = False
    pool = warm_pool(n_workers)
    min_rows = _MIN_ROWS if family.partition("[")[0] in _BATCHED and "stan" not in family else _MIN_SLOW_ROWS
    for outcome in pool.map(partial(_walk_rows, plan=plan), _chunks(panel, plan, n_workers), min_rows=min_rows):
        rows = slice(outcome.start, outcome.start + outcome.n)
        if outcome.value is None:
            failed[outcome.start] = outcome.reason or "failed"
        else:
            y_hat[rows] = outcome.value.y_hat
            reasons |= {outcome.start + row: why for row, why in outcome.value.reasons.items()}
            if outcome.value.width is not None:
                width[rows], has_width = outcome.value.width, True
        advance(outcome.n)
    return Walk(y_hat, width if has_width else None, reasons, failed)


def naive_walk(panel: Panel, ends: Sequence[int]) -> Walk:
    """Seasonal naive at the same origins: ``[N, W + 1, h]``."""
    h = panel.spec.horizon
    y_hat = np.stack([last_season(panel.as_of(end, h), h) for end in (*ends, panel.n_periods)], axis=1)
    return Walk(y_hat, None, {}, {})


def window_sizes(panel: Panel, ends: Sequence[int]) -> list[Size]:
    """How big and noisy each series is at each origin and at the end."""
    return [Size.of(panel.as_of(end, 0)) for end in (*ends, panel.n_periods)]


def window_panel(panel: Panel, n_periods: int | None) -> Panel:
    """The last columns of a panel, its future included; all of it when None or not longer."""
    if n_periods is None or n_periods >= panel.n_periods:
        return panel
    first = panel.n_periods - n_periods
    told = panel.revisions
    if told is not None:
        keep = told.period >= panel.start + first
        told = replace(told, row=told.row[keep], period=told.period[keep], known_at=told.known_at[keep], y=told.y[keep])
    return replace(
        panel,
        start=panel.start + first,
        y=panel.y[:, first:],
        closed=panel.closed[:, first:],
        known=tuple(replace(item, values=item.values[:, first:]) for item in panel.known),
        past=tuple(replace(item, values=item.values[:, first:]) for item in panel.past),
        revisions=told,
    )


def _plan(panel: Panel, family: str, ends: tuple[int, ...], seed: int) -> _Plan:
    # closed periods are left out of a fit, so that the covariate which tells them never varies there
    known = tuple((item.name, item.categories) for item in _regressors(panel))
    spec = panel.spec.but(known=tuple(name for name, _ in known), open=None)
    return _Plan(spec, panel.start, ends, known, panel.revisions is not None, family, seed)


def _regressors(panel: Panel) -> tuple[Covariate, ...]:
    return tuple(item for item in panel.known if item.name != panel.spec.open)


def _chunks(panel: Panel, plan: _Plan, n_workers: int) -> list[Chunk]:
    told = [panel.as_of(end, plan.h).y for end in plan.ends] if plan.is_restated else [panel.y]
    arrays = [panel.closed, *(item.values for item in _regressors(panel)), *told]
    per_worker = max(_PER_WORKER, -(-panel.n_series // (_CHUNK_ROWS * n_workers)))
    return cut(arrays, n_workers, per_worker)


def _walk_rows(closed: BoolArray, *arrays: Any, plan: _Plan) -> Walk:
    """What a worker does with a chunk of B series."""
    known, told = arrays[: len(plan.known)], arrays[len(plan.known) :]
    model = make(plan.family, random_state=plan.seed, n_threads=1)
    parts = []
    for i, end in enumerate(plan.ends):
        y = told[i] if plan.is_restated else told[0][:, :end]
        parts.append(_at(model, _panel(plan, end, y, closed, known), plan.h, is_last=i == len(plan.ends) - 1))
    widths = [width for _, width, _ in parts if width is not None]
    y_hat = np.stack([y_hat for y_hat, _, _ in parts], axis=1)
    return Walk(y_hat, np.stack(widths, axis=1) if len(widths) == len(parts) else None, parts[-1][2], {})


def _at(
    model: Forecaster, panel: Panel, h: int, *, is_last: bool
) -> tuple[FloatArray, FloatArray | None, dict[int, str]]:
    forecast = model.fit(panel, h).predict(panel, h)
    y_hat = forecast.y_hat
    if not is_last and forecast.reasons:
        y_hat = y_hat.copy()
        y_hat[list(forecast.reasons)] = np.nan
    return y_hat, forecast.width, forecast.reasons


def _panel(plan: _Plan, end: int, y: FloatArray, closed: BoolArray, known: Sequence[Any]) -> Panel:
    reach = end + plan.h
    return Panel(
        spec=plan.spec,
        series=pl.DataFrame({UNIQUE_ID: [str(row) for row in range(len(y))]}),
        start=plan.start,
        y=y,
        closed=closed[:, :reach],
        known=tuple(
            Covariate(name, values[:, :reach], texts) for (name, texts), values in zip(plan.known, known, strict=True)
        ),
    )
