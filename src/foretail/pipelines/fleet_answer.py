"""Who answers each series of a fleet, and the forecast that comes of it: seven days are seven rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.result import NAIVE
from foretail.core.columns import MODEL, MODEL_VERSION, UNIQUE_ID
from foretail.forecasts.cold import Cold
from foretail.forecasts.frame import forecast_frame
from foretail.models.contract import Forecast
from foretail.models.intervals import Conformal
from foretail.panel.panel import Panel
from foretail.pipelines.fleet_judge import Judged
from foretail.pipelines.fleet_measure import Ground, calibrate, quantiles_of
from foretail.pipelines.fleet_walk import Walk
from foretail.registry.fleet_gate import ZERO_RECIPE

__all__ = ["Answers", "answer_fleet", "forecast_rows"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Forecasts of the N series of a panel from its end.

    Attributes
    ----------
    recipes : those that answer some series, the fleet's own first. answer : ``[N]`` place among them.
    intervals : of each recipe that has any. forecast : of all series, with the reasons of those no model answers.
    """

    recipes: tuple[str, ...]
    answer: IntArray
    intervals: Mapping[str, Conformal]
    forecast: Forecast


def answer_fleet(
    panel: Panel,
    ground: Ground,
    walks: Mapping[str, Walk],
    judged: Judged,
    levels: tuple[float, ...],
    pooled: Mapping[str, Conformal],
) -> Answers:
    """Put together the forecast of the version that answers each series: the new one, or its champion's recipe.

    Parameters
    ----------
    pooled : intervals by recipe that are taken as they are; others are measured on the windows.
    """
    recipes = (*walks, ZERO_RECIPE)
    answer, reasons = _who(judged, walks, recipes)
    y_hat = np.zeros((panel.n_series, panel.spec.horizon))
    quantiles = np.zeros((*y_hat.shape, len(levels)))
    intervals: dict[str, Conformal] = {}
    for code, name in enumerate(recipes[:-1]):
        rows = np.flatnonzero(answer == code)
        found = pooled.get(name)
        if found is None and (len(rows) or code == 0):
            found = calibrate(ground, walks[name], levels)
        if found is not None:
            intervals[name] = found
        if not len(rows):
            continue
        y_hat[rows] = walks[name].y_hat[rows, -1]
        laid = quantiles_of(found, ground, walks[name], non_negative=panel.spec.non_negative) if found else None
        quantiles[rows] = y_hat[rows][..., None] if laid is None else laid[rows]
    return Answers(recipes, answer, intervals, Forecast(y_hat, levels, quantiles, reasons))


def forecast_rows(
    panel: Panel, requested: pl.DataFrame, answers: Answers, served: pl.DataFrame, cold: Cold | None = None
) -> pl.DataFrame:
    """The forecasts as the warehouse stores them, one row per requested series and date.

    Parameters
    ----------
    requested : ``unique_id, ds, step``. cold : requested series that were never observed.
    served : ``unique_id, store, productname, model_id, version`` of the version that answers each series.
    """
    frame = forecast_frame(
        panel,
        answers.forecast,
        requested=requested,
        model="",
        model_version="",
        levels=answers.forecast.levels,
        cold=cold,
    )
    named = served.select(
        UNIQUE_ID,
        "store",
        "productname",
        pl.col("model_id").alias(MODEL),
        pl.col("version").cast(pl.String).alias(MODEL_VERSION),
    )
    return frame.drop(MODEL, MODEL_VERSION).join(named, on=UNIQUE_ID, how="left", maintain_order="left")


def _who(judged: Judged, walks: Mapping[str, Walk], recipes: tuple[str, ...]) -> tuple[IntArray, dict[int, str]]:
    """Which recipe answers each series, and why where it is none of a model."""
    verdicts = judged.verdicts
    has_champion = np.array([name is not None for name in judged.champion_recipe], dtype=np.bool_)
    chosen = np.where(verdicts.is_champion | ~has_champion, verdicts.recipe, judged.champion_recipe)
    place = {name: code for code, name in enumerate(recipes)}
    naive = place[NAIVE]
    answer = np.array([place.get(name, naive) for name in chosen.tolist()], dtype=np.int64)
    for name, walk in walks.items():  # a champion's recipe that fails on the newest sales leaves the last season
        mine = answer == place[name]
        answer[mine & ~np.isfinite(walk.y_hat[:, -1]).all(1)] = naive
        gave_up = np.fromiter(walk.reasons, dtype=np.int64, count=len(walk.reasons))
        answer[gave_up[answer[gave_up] == place[name]]] = naive
    plain = np.flatnonzero(np.isin(answer, [naive, place[ZERO_RECIPE]]))
    reasons = {int(row): str(verdicts.reason[row] or "the champion's model could not answer") for row in plain}
    return answer, reasons
