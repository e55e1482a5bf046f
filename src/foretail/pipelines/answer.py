"""Turns a fitted model into the forecast table: predict, lay intervals, answer every requested row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from foretail.forecasts.frame import forecast_frame
from foretail.models.contract import Forecaster
from foretail.models.intervals import Conformal, Size
from foretail.panel.build import PanelBuild

__all__ = ["answer"]


def answer(
    build: PanelBuild,
    model: Forecaster,
    intervals: Conformal,
    *,
    label: str,
    model_version: str,
    levels: tuple[float, ...],
) -> pl.DataFrame:
    """One row per requested series and date, in the house's own columns.

    Parameters
    ----------
    build : the panel to forecast from and the rows to answer. label : the model's name in the rows.
    levels : quantile levels of the answer, a subset of those calibrated.
    """
    panel = build.panel
    h = panel.spec.horizon
    point = model.predict(panel, h)
    every = intervals.quantiles(point.y_hat, Size.of(panel), non_negative=panel.spec.non_negative)
    index = [int(np.argmin(np.abs(np.array(intervals.levels) - level))) for level in levels]
    forecast = replace(point, levels=tuple(levels), quantiles=every[..., index])
    return forecast_frame(
        panel,
        forecast,
        requested=build.requested,
        model=label,
        model_version=model_version,
        levels=levels,
        cold=build.cold,
    )
