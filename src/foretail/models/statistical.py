"""Classical models, one per series: Theta, exponential smoothing, STL with a smoothed trend, means of past seasons."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foretail.core.frequency import Frequency
from foretail.features.cube import mean_of
from foretail.models.contract import Tags
from foretail.models.local import LocalFamily, PerSeries, filled
from foretail.models.parameters import at_least, one_of

__all__ = ["MSTL", "AutoETS", "AutoTheta", "SeasonalWindowAverage", "Theta"]

FloatArray = npt.NDArray[np.float64]

_SEARCHES = ("stages", "full")
_SEASONS = {"D": 8, "W": 2, "M": 3}  # whose mean a window average is
_SMOOTH_DAYS = 15  # width of the mean that takes the noise out of a yearly season of days
_LONG_SEASON = 100  # a season of more periods is a year of days
_TREND_PERIODS = 200  # older periods hardly move a smoothed level


class Theta(PerSeries):
    """Optimised Theta (statsforecast), gaps and shut periods filled with the same place of the season before.

    Source: Fiorucci et al. (2016), *Models for optimising the theta method*.
    """

    name = "theta"
    max_seasons: ClassVar = {"D": 40, "W": 5, "M": 15}  # history beyond this changes no Theta forecast and costs time

    def answer_one(self, history: FloatArray, frequency: Frequency, h: int) -> FloatArray:
        """Deseasonalised, two lines, simple exponential smoothing."""
        from statsforecast import models  # heavy

        return _mean(models.OptimizedTheta(season_length=_season(history, frequency)), history, h)


class AutoTheta(Theta):
    """The best of four Theta models by mean squared error (statsforecast): standard, optimised, and dynamic ones.

    Source: Fiorucci et al. (2016), *Models for optimising the theta method*.
    """

    name = "auto_theta"

    def answer_one(self, history: FloatArray, frequency: Frequency, h: int) -> FloatArray:
        """The four are fitted on the same deseasonalised series."""
        from statsforecast import models  # heavy

        return _mean(models.AutoTheta(season_length=_season(history, frequency)), history, h)


class AutoETS(PerSeries):
    """Exponential smoothing whose error, trend and season are chosen by AICc (statsforecast fits each candidate).

    The search is in two stages: error and season without a trend, then a trend, damped or not, for the best of them.
    It fits 7 candidates where the full search fits 15, and most of those that it leaves out are the slow ones.
    Source: Hyndman et al. (2008), *Forecasting with exponential smoothing*.

    Parameters
    ----------
    search : ``stages``, or ``full`` for every candidate.

    Raises
    ------
    UsageError : another search.
    """

    name = "auto_ets"
    tags = Tags(local=True, min_periods=8)
    max_seasons: ClassVar = {"D": 20, "W": 5, "M": 10}
    settings = ("search",)

    def __init__(self, *, search: str = "stages", random_state: int = 7, n_threads: int = 1):
        super().__init__(random_state=random_state, n_threads=n_threads)
        self.search = one_of(self.name, "search", search, _SEARCHES)

    def answer_one(self, history: FloatArray, frequency: Frequency, h: int) -> FloatArray:
        """The candidate of the lowest AICc."""
        return _smoothed(history, _season(history, frequency), h, self.search == "full")


class MSTL(PerSeries):
    """Seasons by STL, repeated; what is left by exponential smoothing without a season.

    Weeks and months have the season of the year, days that of the week, and from two years of days on the year's too.
    Source: Bandara, Hyndman & Bergmeir (2021), *MSTL: a seasonal-trend decomposition algorithm for time series with
    multiple seasonal patterns*.
    """

    name = "mstl"
    tags = Tags(local=True, min_periods=8)
    max_seasons: ClassVar = {"D": 156, "W": 5, "M": 15}  # three years of days

    def answer_one(self, history: FloatArray, frequency: Frequency, h: int) -> FloatArray:
        """Seasons taken off, the rest smoothed, seasons put on again."""
        lengths = sorted({frequency.season_length, frequency.year_length})
        seasons = [length for length in lengths if len(history) >= 2 * length]
        parts = _seasonal_parts(history, seasons)
        rest = history - sum(parts)
        ahead = np.arange(h)
        repeated = sum(part[-length:][ahead % length] for part, length in zip(parts, seasons, strict=True))
        return repeated + _smoothed(rest[-_TREND_PERIODS:], 1, h)


class SeasonalWindowAverage(LocalFamily):
    """The mean of the last seasons, place by place; of as many seasons as there are where the history is shorter.

    Parameters
    ----------
    seasons : how many; 8 weeks of days, 2 years of weeks, 3 of months when None.

    Raises
    ------
    UsageError : fewer than one.
    """

    name = "seasonal_window_average"
    tags = Tags(local=True)
    max_seasons: ClassVar = {"D": 40, "W": 5, "M": 15}
    settings = ("seasons",)

    def __init__(self, *, seasons: int | None = None, random_state: int = 7, n_threads: int = 1):
        super().__init__(random_state=random_state, n_threads=n_threads)
        self.seasons = None if seasons is None else at_least(self.name, "seasons", seasons, 1)

    def answer(self, history: FloatArray, frequency: Frequency, h: int) -> tuple[FloatArray, dict[int, str]]:
        """All series at once; a place of the season without any value takes the mean of the others."""
        season = frequency.season_length
        y = filled(history, season)
        n_seasons = self.seasons or _SEASONS[frequency.code[0]]
        window = np.full((len(y), n_seasons * season), np.nan)
        used = min(y.shape[1], window.shape[1])
        window[:, window.shape[1] - used :] = y[:, y.shape[1] - used :]
        places = mean_of(window.reshape(len(y), n_seasons, season))
        level = mean_of(places[:, :, None])
        repeated: FloatArray = np.where(np.isfinite(places), places, level)[:, np.arange(h) % season]
        return repeated, {}


def _season(history: FloatArray, frequency: Frequency) -> int:
    """The season that so short a history can tell: the frequency's, or none (1) below two of them."""
    return frequency.season_length if len(history) >= 2 * frequency.season_length else 1


def _mean(model: Any, history: FloatArray, h: int) -> FloatArray:
    found: FloatArray = np.asarray(model.forecast(history, h=h)["mean"], dtype=np.float64)
    return found


def _smoothed(history: FloatArray, season: int, h: int, full: bool = False) -> FloatArray:
    """The forecast ``[h]`` of the exponential smoothing model with the lowest AICc."""
    from statsforecast import models  # heavy

    if full:
        return _mean(models.AutoETS(season_length=season), history, h)
    positive = bool(history.min() > 0)
    simple = ["ANN"] + ["MNN"] * positive
    if season > 1:
        simple += ["ANA"] + ["MNA", "MNM"] * positive
    kind, best = _lowest(history, season, [(kind, False) for kind in simple])
    trended = f"{kind[0]}A{kind[2]}"
    _, other = _lowest(history, season, [(trended, False), (trended, True)], kind, best)
    found: FloatArray = np.asarray(other.predict(h)["mean"], dtype=np.float64)
    return found


def _lowest(
    history: FloatArray, season: int, candidates: list[tuple[str, bool]], kind: str = "", best: Any = None
) -> tuple[str, Any]:
    """The candidate ``(model, damped)`` of the lowest AICc, if it is lower than the best known so far.

    Raises
    ------
    ValueError : no candidate could be fitted, and none was known before.
    """
    from statsforecast import models  # heavy

    lowest = np.inf if best is None else float(best.model_["aicc"])
    for model, damped in candidates:
        fitted = models.AutoETS(season_length=season, model=model, damped=damped)
        try:
            fitted.fit(history)
        except Exception:  # noqa: S112  (a candidate that cannot be fitted is none)
            continue
        if fitted.model_["aicc"] < lowest:
            lowest, kind, best = float(fitted.model_["aicc"]), model, fitted
    if best is None:
        raise ValueError("no exponential smoothing model could be fitted")
    return kind, best


def _seasonal_parts(history: FloatArray, seasons: list[int]) -> list[FloatArray]:
    """The seasonal component ``[T]`` of each season length, shortest first.

    Each is estimated on the series without the others, twice over where there are several, as the MSTL paper does.
    """
    parts = [np.zeros_like(history) for _ in seasons]
    for _ in range(min(2, len(seasons))):
        for i, length in enumerate(seasons):
            others = sum(part for j, part in enumerate(parts) if j != i)
            parts[i] = _seasonal_part(history - others, length, window=11 + 4 * i)
            if length > _LONG_SEASON:
                parts[i] = _smooth_year(parts[i], length)
    return parts


def _smooth_year(part: FloatArray, length: int) -> FloatArray:
    """Centred means over days of a yearly component, which goes on at both ends as it did a year from there.

    Two or three years leave the noise of single days in the component: on synthetic worlds the error fell by about a
    tenth, and nearly alike for means over 7 to 43 days.
    """
    half = _SMOOTH_DAYS // 2
    longer = np.concatenate([part[length - half : length], part, part[-length : half - length]])
    return np.convolve(longer, np.full(_SMOOTH_DAYS, 1 / _SMOOTH_DAYS), mode="valid")


def _seasonal_part(values: FloatArray, length: int, window: int) -> FloatArray:
    """The season by STL; local regressions are interpolated between every tenth of their window, as R does."""
    from statsmodels.tsa.seasonal import STL  # heavy

    trend = _next_odd(1.5 * length / (1 - 1.5 / window))
    low_pass = _next_odd(length)
    stl = STL(
        values,
        period=length,
        seasonal=window,
        trend=trend,
        low_pass=low_pass,
        seasonal_deg=0,
        trend_jump=-(-trend // 10),
        low_pass_jump=-(-low_pass // 10),
    )
    found: FloatArray = np.asarray(stl.fit().seasonal, dtype=np.float64)
    return found


def _next_odd(value: float) -> int:
    """The smallest odd number above ``value``."""
    above = int(value) + 1
    return above + 1 - above % 2
