"""What answers when a family cannot: the last season again, with the reason kept per series."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from foretail.models.contract import Forecast
from foretail.panel.panel import Panel

__all__ = ["answered", "last_season"]

FloatArray = npt.NDArray[np.float64]


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
