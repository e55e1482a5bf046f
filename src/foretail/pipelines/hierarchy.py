"""Levels above the series: fitted and judged when a version is trained, heeded and summed whenever it forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.levels import Judged, LevelWindow, judge_levels
from foretail.backtest.run import NAIVE, Backtest, Candidate, WindowResult, backtest
from foretail.core.progress import Progress
from foretail.core.settings import Settings
from foretail.forecasts.heeding import idle
from foretail.forecasts.levels import levels_frame
from foretail.forecasts.output import Writer
from foretail.models.dependence import Dependence
from foretail.models.families import parse
from foretail.models.reconcile import BOTTOM_UP, TOP_DOWN
from foretail.panel.aggregate import level_panel
from foretail.panel.hierarchy import TOTAL, hierarchy_of
from foretail.panel.panel import Panel
from foretail.pipelines.answer import Wanted
from foretail.pipelines.fit import fit_chosen
from foretail.pipelines.prepare import Prepared
from foretail.registry.levels import Levels

__all__ = ["LevelsAsked", "fit_levels", "level_files", "level_notes", "level_summary"]

_BUDGET_SHARE = 0.2  # of the time budget, for the backtests of all levels
_NOT_FOR_LEVELS = ("neural",)  # learns from many series; a level has few
_INSTEAD = ("profile", "boosting")


def fit_levels(prepared: Prepared, result: Backtest, settings: Settings, progress: Progress) -> Levels | None:
    """Compare every level's own model with sums of the series, choose how they are reconciled, and fit what that needs.

    The families are those of the chosen model, each level's own choice among them being made by its own backtest on
    the same windows. None where no level is declared.

    Parameters
    ----------
    result : the backtest of the series.
    """
    panel = prepared.demand
    if not panel.spec.hierarchy:
        return None
    hierarchy = hierarchy_of(panel.series, panel.spec)
    panels = {level.name: level_panel(panel, level) for level in hierarchy.levels}
    with progress.stage("levels", len(panels) + 1) as stage:
        found = {}
        for name, item in panels.items():
            found[name] = _level_backtest(prepared, item, result, settings, len(panels))
            stage.advance(1)
        windows = [
            _window(panel, prepared.h, i, item, result.chosen, panels, found) for i, item in enumerate(result.results)
        ]
        judged = judge_levels(hierarchy, windows, non_negative=panel.spec.non_negative)
        stage.advance(1)
        return _kept(prepared, settings, judged, panels, found)


def level_notes(levels: Levels | None) -> tuple[str, ...]:
    """What came of the levels when a version was trained."""
    if levels is None:
        return ()
    if levels.method == BOTTOM_UP:
        return ("levels are sums of the series' forecasts: no reconciliation helped in the backtest",)
    before, after = (_mean_error(levels, name) for name in (BOTTOM_UP, levels.method))
    return (
        f"forecasts of the series heed those of the levels ({levels.method}): "
        f"mean WAPE over levels {after:.4f}, {before:.4f} by sums of the series",
    )


def level_summary(levels: Levels | None) -> dict[str, Any] | None:
    """What ``run.json`` tells of the levels; None without any."""
    if levels is None:
        return None
    return {
        "levels": list(levels.names),
        "method": levels.method,
        "families": dict(levels.families),
        "accuracy": [dict(row) for row in levels.accuracy],
    }


def level_files(
    levels: Levels | None,
    calibration: Mapping[str, npt.NDArray[Any]],
    wanted: Wanted,
    frame: pl.DataFrame,
    quantiles: Sequence[float],
    sampled: Sequence[float],
) -> Mapping[str, Writer]:
    """The tables of the levels of a run; nothing without levels.

    Parameters
    ----------
    calibration : of the run's intervals and joint samples.
    frame : the forecast table in the house's columns, with the quantiles ``sampled``. quantiles : levels to answer.
    """
    return {} if levels is None else LevelsAsked(levels, calibration, wanted).files(frame, quantiles, sampled)


class LevelsAsked:
    """The levels that a forecast is summed to.

    Parameters
    ----------
    levels : of the version. calibration : of its intervals and joint samples. wanted : what is forecast.
    names : levels asked for; those that the version was trained with when None.

    Attributes
    ----------
    notes : what the reader of the table should know.

    Raises
    ------
    UsageError, DataError : no hierarchy (`foretail.panel.hierarchy.hierarchy_of`), or a version without joint samples.
    """

    def __init__(
        self,
        levels: Levels | None,
        calibration: Mapping[str, npt.NDArray[Any]],
        wanted: Wanted,
        names: Sequence[str] | None = None,
    ):
        self._levels, self._wanted = levels, wanted
        self._names = tuple(names or (levels.names if levels else ()))
        self.notes: tuple[str, ...] = ()
        if self._names:
            hierarchy_of(wanted.series, wanted.panel.spec, self._names, distinct=bool(names))
            # a version with levels whose backtest was too short to say how errors go together takes them as unrelated
            alone = Dependence.independent().to_arrays() if levels else {}
            self._dependence = Dependence.from_arrays({**alone, **calibration})
            self.notes = _untrained(self._names, levels)

    def files(self, frame: pl.DataFrame, levels: Sequence[float], sampled: Sequence[float]) -> Mapping[str, Writer]:
        """``levels.parquet`` and ``levels.csv``; none where no level, or nothing at all, is asked for.

        Parameters
        ----------
        frame : the forecast table in the house's columns, with the quantiles ``sampled``.
        levels : quantile levels to answer.
        """
        if not self._names or frame.is_empty():
            return {}
        table = levels_frame(
            frame,
            self._wanted.series,
            self._wanted.panel.spec,
            names=self._names,
            levels=levels,
            sampled=sampled,
            dependence=self._dependence,
            method=self._levels.method if self._levels else BOTTOM_UP,
        )
        return {"levels.parquet": table.write_parquet, "levels.csv": table.write_csv}


def _untrained(names: tuple[str, ...], levels: Levels | None) -> tuple[str, ...]:
    """That levels were asked for which the version does not heed."""
    if levels is None:
        return ("this version was trained without levels: they are sums of the series' forecasts (bottom-up)",)
    if set(names) - {TOTAL} == set(levels.names) - {TOTAL}:
        return ()
    return (
        f"this version was trained with the levels {', '.join(levels.names)}: those asked for are sums of its "
        "forecasts of the series",
    )


def _level_backtest(prepared: Prepared, panel: Panel, result: Backtest, settings: Settings, n_levels: int) -> Backtest:
    """The families of the chosen model compared on a level's own panel."""
    members = [name for name in result.weights if parse(name)[0] not in _NOT_FOR_LEVELS] or list(_INSTEAD)
    budget = prepared.request.budget_s
    return backtest(
        panel,
        prepared.h,
        [Candidate(name) for name in dict.fromkeys([NAIVE, *members])],
        levels=prepared.request.quantiles,
        seed=prepared.request.seed,
        n_workers=settings.n_workers,
        budget_s=None if budget is None else _BUDGET_SHARE * budget / n_levels,
    )


def _window(
    panel: Panel,
    h: int,
    position: int,
    result: WindowResult,
    chosen: str,
    panels: Mapping[str, Panel],
    found: Mapping[str, Backtest],
) -> LevelWindow:
    window = result.window
    past = panel.as_of(window.n_periods, h)
    is_idle = idle(past)
    columns = slice(window.n_periods, window.n_periods + window.h)
    levels = [item.results[position].forecasts[item.chosen] for item in found.values()]
    return LevelWindow(
        window.role,
        totals=np.concatenate([item.y[:, columns] for item in panels.values()]),
        y=result.y,
        groups=np.nan_to_num(np.concatenate(levels)),
        series=np.where(is_idle[:, None], 0.0, np.nan_to_num(result.forecasts[chosen])),
        fixed=result.closed | is_idle[:, None],
    )


def _kept(
    prepared: Prepared,
    settings: Settings,
    judged: Judged,
    panels: Mapping[str, Panel],
    found: Mapping[str, Backtest],
) -> Levels:
    """What the version keeps: models only of levels that the method asks."""
    names = {BOTTOM_UP: (), TOP_DOWN: (TOTAL,)}.get(judged.method, tuple(panels))
    return Levels(
        names=tuple(prepared.panel.spec.hierarchy),
        method=judged.method,
        families={name: item.chosen for name, item in found.items()},
        models={name: fit_chosen(prepared, found[name], settings, panels[name]) for name in names},
        covariance=judged.covariance,
        accuracy=judged.accuracy,
    )


def _mean_error(levels: Levels, method: str) -> float:
    told = [row[method] for row in levels.accuracy if row[method] is not None]
    return float(np.mean(told)) if told else float("nan")
