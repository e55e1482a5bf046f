"""What answers when a family cannot: the last season again, with the reason kept per series."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from foretail.models.contract import Forecast
from foretail.panel.panel import Panel

__all__ = ["EXPLODED", "answered", "believable", "last_season", "unbelievable"]

FloatArray = npt.NDArray[np.float64]

EXPLODED = 20.0  # times the largest value of a series: nobody would believe it


def last_season(panel: Panel, h: int, season_length: int | None = None) -> FloatArray:
    """The last observed value of the same position in the season, for each step.

    Parameters
    ----------
    season_length : periods; that of the frequency when None. Shorter histories repeat what they have.

    Returns
    -------
    ``[N, h]``, finite. Where no value of that position was observed: the mean of the other positions; without any: 0.
    """
    season = min(season_length or panel.frequency.season_length, max(panel.n_periods, 1))
    n, length = panel.y.shape
    n_seasons = -(-length // season)
    padded = np.full((n, n_seasons * season), np.nan)
    padded[:, n_seasons * season - length :] = panel.y
    by_position = padded.reshape(n, n_seasons, season)
    newest = n_seasons - 1 - np.isfinite(by_position)[:, ::-1].argmax(1)
    value = np.take_along_axis(by_position, newest[:, None, :], 1)[:, 0]
    count = np.isfinite(value).sum(1)
    mean = np.where(count > 0, np.nansum(value, 1) / np.maximum(count, 1), 0.0)
    value = np.where(np.isfinite(value), value, mean[:, None])
    repeated: FloatArray = value[:, np.arange(h) % season]
    return repeated


def answered(y_hat: FloatArray, panel: Panel, reasons: Mapping[int, str]) -> Forecast:
    """A family's forecast with the last season in the rows that have a reason; not below 0 where that makes no sense.

    Parameters
    ----------
    y_hat : ``[N, h]``, finite in the other rows. reasons : ``{row: why the family did not answer}``.
    """
    if reasons:
        rows = np.array(sorted(reasons))
        y_hat = y_hat.copy()
        y_hat[rows] = last_season(panel, y_hat.shape[1])[rows]
    return Forecast(np.maximum(y_hat, 0.0) if panel.spec.non_negative else y_hat, reasons=dict(sorted(reasons.items())))


def believable(panel: Panel, scale: FloatArray) -> FloatArray:
    """``[N]`` the most that anybody would believe of each series, by the largest value it ever had.

    Parameters
    ----------
    scale : ``[N]`` size of each series, which the largest value is at least.
    """
    most: FloatArray = EXPLODED * np.maximum(np.where(panel.observed, np.abs(panel.y), 0.0).max(axis=1), scale)
    return most


def unbelievable(
    y_hat: FloatArray, limit: FloatArray, reference: FloatArray, family: str, unknown: str = "no open period observed"
) -> dict[int, str]:
    """Series whose forecast is no number, or beyond what can be believed, with the reason.

    Parameters
    ----------
    y_hat : ``[N, H]``. limit : ``[N]``, see `believable`. reference : ``[N, H]``, not finite where nothing is known.
    family : that exploded. unknown : the reason where nothing is known.
    """
    nothing = ~np.isfinite(reference).all(axis=1)
    sane = np.isfinite(y_hat).all(axis=1) & (np.abs(np.nan_to_num(y_hat)).max(axis=1) <= limit)
    reasons = {int(row): f"{family} exploded" for row in np.flatnonzero(~sane)}
    return reasons | {int(row): unknown for row in np.flatnonzero(nothing)}
