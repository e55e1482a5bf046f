"""Demand that was not served: the table of periods in which the goods ran out or the shop was shut, with estimates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.features.demand import demand_of
from foretail.forecasts.output import Writer
from foretail.panel.panel import Panel

__all__ = ["DEMAND_HAT", "demand_files", "demand_frame", "demand_notes"]

DEMAND_HAT, SOLD, WHY = "demand_hat", "sold", "why"


def demand_frame(panel: Panel) -> pl.DataFrame:
    """One row per period, between the first and the last that a series told of, whose sales are not its demand.

    Returns
    -------
    The user's own key and time columns, ``sold`` (in the unit of the target), ``demand_hat`` (the estimate of the
    demand; null where nothing is known of such a period) and ``why`` (``stockout`` or ``closed``).
    """
    out = panel.is_withheld
    shut = panel.closed[:, : panel.n_periods] & ~(panel.y > 0)
    column = np.arange(panel.n_periods)
    told = panel.observed | out
    last = panel.n_periods - 1 - told[:, ::-1].argmax(1)
    lived = (column >= told.argmax(1)[:, None]) & (column <= last[:, None])
    row, place = np.nonzero((out | shut) & lived)
    sold = panel.y.copy()
    if panel.withheld is not None:
        kept = panel.withheld.where((panel.withheld.period >= panel.start) & (panel.withheld.period <= panel.end))
        sold[kept.row, kept.period - panel.start] = kept.sold
    keys = panel.series[row].select(panel.spec.keys or UNIQUE_ID)
    return keys.with_columns(
        pl.Series(panel.spec.time, panel.dates()[place]).cast(pl.Date),
        pl.Series(SOLD, sold[row, place]).fill_nan(None),
        pl.Series(DEMAND_HAT, demand_of(panel).demand_hat[row, place]).fill_nan(None),
        pl.Series(WHY, np.where(shut[row, place], "closed", "stockout")),
    )


def demand_files(panel: Panel) -> Mapping[str, Writer]:
    """``demand.parquet`` for the outputs of a run; nothing where the spec tells of no stockouts."""
    if panel.spec.stockout is None:
        return {}
    frame = demand_frame(panel)
    return {"demand.parquet": frame.write_parquet}


def demand_notes(panel: Panel) -> tuple[str, ...]:
    """What a user must know of forecasts of demand."""
    if panel.withheld is None or not len(panel.withheld.row):
        return ()
    n = len(panel.withheld.row)
    return (
        f"the forecasts are of demand, not of sales: the goods ran out in {n} periods, whose sales no model learned "
        "from; demand.parquet estimates what would have been sold there",
    )
