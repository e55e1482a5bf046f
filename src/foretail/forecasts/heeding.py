"""Forecasts of the series of a version that heed the version's own forecasts of the levels above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.forecasts.policy import is_ended
from foretail.models.contract import Forecast
from foretail.models.reconcile import BOTTOM_UP, Covariance, reconcile
from foretail.panel.aggregate import level_panel
from foretail.panel.hierarchy import Hierarchy, hierarchy_of
from foretail.panel.panel import Panel
from foretail.registry.levels import Levels

__all__ = ["Reconciler", "idle", "reconciler"]

BoolArray = npt.NDArray[np.bool_]

Reconciler = Callable[[Panel, Forecast], Forecast]


def reconciler(levels: Levels | None, trained: Panel) -> Reconciler | None:
    """What makes forecasts of a version's series heed its levels; None where nothing does.

    The same version gives the same forecasts of its series, whatever levels are asked to be summed. Levels are forecast
    from the panel that is given: what it knows of the future, a scenario's too, is known to them.

    Parameters
    ----------
    trained : the panel that the version was fitted on.
    """
    if levels is None or levels.method == BOTTOM_UP:
        return None
    return lambda panel, point: _reconciled(levels, trained, panel, point)


def idle(panel: Panel) -> BoolArray:
    """bool ``[N]``: series that are answered with 0: ended, or not begun."""
    return ~panel.observed.any(1) | is_ended(panel)


def _reconciled(levels: Levels, trained: Panel, panel: Panel, point: Forecast) -> Forecast:
    """A forecast of the series of a panel that heeds the version's own forecasts of its levels."""
    hierarchy = hierarchy_of(panel.series, panel.spec, levels.names)
    h = point.y_hat.shape[1]
    groups = np.zeros((hierarchy.n_groups, h))
    for level, part in zip(hierarchy.levels, hierarchy.parts, strict=True):
        if level.name in levels.models:
            groups[part] = levels.models[level.name].predict(level_panel(panel, level), h).y_hat
    y_hat = reconcile(
        hierarchy,
        groups,
        point.y_hat,
        levels.method,
        _placed(levels, trained, panel, hierarchy),
        fixed=_fixed(panel, h),
        non_negative=panel.spec.non_negative,
    )
    return replace(point, y_hat=y_hat)


def _fixed(panel: Panel, h: int) -> BoolArray:
    """bool ``[N, h]``: cells whose answer is 0 whatever a model says."""
    fixed = np.repeat(idle(panel)[:, None], h, axis=1)
    ahead = panel.closed[:, panel.n_periods : panel.n_periods + h]
    fixed[:, : ahead.shape[1]] |= ahead
    return fixed


def _placed(levels: Levels, trained: Panel, panel: Panel, hierarchy: Hierarchy) -> Covariance | None:
    """The covariance for the groups and series of a panel, which may be others than those of the training."""
    if levels.covariance is None or panel.series.equals(trained.series):
        return levels.covariance
    before = hierarchy_of(trained.series, trained.spec, levels.names)
    old = pl.DataFrame(_labels(before, trained)).with_row_index("place")
    joined = pl.DataFrame(_labels(hierarchy, panel)).join(
        old, on=["level", UNIQUE_ID], how="left", maintain_order="left"
    )
    return levels.covariance.placed(joined["place"].cast(pl.Int64).fill_null(-1).to_numpy())


def _labels(hierarchy: Hierarchy, panel: Panel) -> dict[str, list[str]]:
    """Level and name of every group, then of every series."""
    groups = [(level.name, name) for level in hierarchy.levels for name in level.groups[UNIQUE_ID].to_list()]
    every = [*groups, *(("", name) for name in panel.unique_ids)]
    return {"level": [level for level, _ in every], UNIQUE_ID: [name for _, name in every]}
