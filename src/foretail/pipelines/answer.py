"""Turns a fitted model into the forecast table: predict, lay intervals, apply the policies, answer every row asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from foretail.forecasts.cold import Cold
from foretail.forecasts.frame import forecast_frame
from foretail.forecasts.policy import calibrated
from foretail.models.contract import Forecast, Forecaster
from foretail.models.intervals import Conformal
from foretail.panel.panel import Covariate, Panel

__all__ = ["Wanted", "answer"]


@dataclass(frozen=True)
class Wanted:
    """What to forecast.

    Attributes
    ----------
    panel : ends at the cutoff. requested : ``unique_id, ds, step``, one row per answer.
    cold : requested series that were never observed: ``unique_id``, the key and the static columns.
    cold_known : what is known in advance of them, float32 ``[C, T + H]`` per covariate.
    """

    panel: Panel
    requested: pl.DataFrame
    cold: pl.DataFrame
    cold_known: tuple[Covariate, ...] = ()

    @property
    def series(self) -> pl.DataFrame:
        """Key and static columns of every series that is answered."""
        return pl.concat([self.panel.series, self.cold], how="diagonal_relaxed")


def answer(
    wanted: Wanted,
    model: Forecaster,
    intervals: Conformal,
    *,
    label: str,
    model_version: str,
    levels: tuple[float, ...],
    reconciled: Callable[[Panel, Forecast], Forecast] | None = None,
) -> pl.DataFrame:
    """One row per requested series and date, in the house's own columns.

    Parameters
    ----------
    wanted : the panel to forecast from and the rows to answer. label : the model's name in the rows.
    levels : quantile levels of the answer, a subset of those calibrated.
    reconciled : makes the forecasts of the series agree with those of the levels above them.
    """
    panel = wanted.panel
    point = model.predict(panel, panel.spec.horizon)
    point = point if reconciled is None else reconciled(panel, point)
    forecast = calibrated(panel, point, intervals, levels)
    return forecast_frame(
        panel,
        forecast,
        requested=wanted.requested,
        model=label,
        model_version=model_version,
        levels=levels,
        cold=Cold(wanted.cold, wanted.cold_known),
    )
