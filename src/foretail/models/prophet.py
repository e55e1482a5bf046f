"""The Prophet model for a whole panel: fitted exactly, many series at once, or by the library itself."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from foretail.core.errors import UsageError, nearest
from foretail.core.quantiles import DEFAULT_QUANTILES
from foretail.execution.pool import cut, warm_pool
from foretail.features.groups import covariate_groups
from foretail.models.asked import Asked
from foretail.models.contract import Forecast, Forecaster, Tags
from foretail.models.contributions import Contributions
from foretail.models.fallback import answered
from foretail.models.prophet_engine import MIN_PERIODS, forecast_rows
from foretail.models.prophet_layout import layout_of, regressors_of
from foretail.models.prophet_library import check_library
from foretail.models.prophet_options import YEARLY_DAYS, Options
from foretail.models.prophet_parts import component_terms, components
from foretail.panel.panel import Panel

__all__ = ["Prophet"]

FloatArray = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

_MIN_ROWS = {"batch": 2000, "stan": 8}  # fewer series are done before a worker has started
_CHUNKS_PER_WORKER = 12  # small ones: what waits for a worker is in memory twice


class Prophet(Forecaster):
    """Prophet, one model per series, with holidays and known covariates as regressors.

    The batch engine finds the maximum of the same posterior that the library searches by L-BFGS; where they differ the
    library stopped early. Parameters have the library's names and defaults. What foretail does otherwise:

    * ``transform="auto"`` fits logarithms (over the median) of a series that sells on at least 99 % of its open
      periods, the others left out, as its seasons and promotions multiply; the forecast is then the median. Not with
      multiplicative seasons or logistic growth. Plain Prophet: ``transform="none"``;
    * a 0/1 covariate of daily sales is a regressor of each weekday too, as a promotion on a Monday is not one on a
      Saturday. Plain Prophet: ``flags_by_weekday=False``;
    * closed periods are left out of the fit, and forecast as 0;
    * yearly terms are on under ``auto`` from two years on, as in the library, with no more terms than the periods of a
      year can tell apart (5 for months); asked for explicitly they are refused when no series has two years, and a
      shorter series beside a long one has none;
    * a regressor or holiday that never varies in the history of a series is left out of it; unknown values are the
      series' mean. A text covariate is a 0/1 regressor for each of its values. A weekly or monthly period holds a
      holiday when one of its days does.

    Quantiles are those of the library's simulated future in the limit of infinitely many paths; the library engine
    takes them from 1,000 paths.

    Parameters
    ----------
    growth : ``linear``, ``flat``, or ``logistic`` (which the library fits, whatever the engine).
    cap : of logistic growth: sales per period that cannot be passed, a number or the name of a known covariate.
    n_changepoints, changepoint_range, changepoint_prior_scale : of the trend.
    seasonality_prior_scale : of the Fourier terms. holidays_prior_scale : of holidays and regressors.
    seasonality_mode : ``additive`` or ``multiplicative``, of seasons, holidays and regressors.
    yearly_seasonality, weekly_seasonality : ``auto``, a truth, or a number of Fourier terms.
    engine : ``batch``, or ``stan`` for the library (extra ``prophet``).
    transform : ``auto``, ``log`` or ``none``. ``log`` leaves periods without sales out.
    flags_by_weekday : see above; daily sales only.
    yearly_from_days : history below which a series has no yearly terms, and below which asking for them is refused; 0
        has them from any history, which is a guess about the rest of the year.
    random_state : seed of the library's paths; the batch engine has nothing random.
    n_threads : processes that share the series.

    Raises
    ------
    UsageError : a value that does not exist or does not fit another one.
    MissingExtraError : the library is needed and not installed.
    """

    tags = Tags(local=True, covariates=True, min_periods=MIN_PERIODS)

    def __init__(
        self,
        *,
        growth: str = "linear",
        cap: float | str | None = None,
        n_changepoints: int = 25,
        changepoint_range: float = 0.8,
        changepoint_prior_scale: float = 0.05,
        seasonality_prior_scale: float = 10.0,
        holidays_prior_scale: float = 10.0,
        seasonality_mode: str = "additive",
        yearly_seasonality: str | bool | int = "auto",
        weekly_seasonality: str | bool | int = "auto",
        engine: str = "batch",
        transform: str = "auto",
        flags_by_weekday: bool = True,
        yearly_from_days: int = YEARLY_DAYS,
        random_state: int = 7,
        n_threads: int = 1,
    ):
        self.options = Options(
            growth=growth,
            cap=cap,
            n_changepoints=n_changepoints,
            changepoint_range=changepoint_range,
            changepoint_prior_scale=changepoint_prior_scale,
            seasonality_prior_scale=seasonality_prior_scale,
            holidays_prior_scale=holidays_prior_scale,
            seasonality_mode=seasonality_mode,
            yearly_seasonality=yearly_seasonality,
            weekly_seasonality=weekly_seasonality,
            engine=engine,
            transform=transform,
            flags_by_weekday=flags_by_weekday,
            yearly_from_days=yearly_from_days,
        )
        if self.options.needs_library:
            check_library()
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, panel: Panel, h: int) -> Self:
        """Check that the panel and the parameters fit each other; a local model is fitted where it predicts.

        Raises
        ------
        UsageError : yearly terms on less than two years, weekly ones on weeks or months, a cap that is not there.
        """
        layout_of(panel, h, self.options)
        _caps(panel, h, self.options.cap)
        return self

    def predict(self, panel: Panel, h: int) -> Forecast:
        """One model per series; those it cannot answer get the last season and the reason.

        Raises
        ------
        UsageError : as in `fit`.
        """
        layout = layout_of(panel, h, self.options)
        arrays = self._arrays(panel, h)
        task = partial(forecast_rows, layout=layout, levels=DEFAULT_QUANTILES, seed=self.random_state)
        y_hat = np.zeros((panel.n_series, h))
        quantiles = np.zeros((panel.n_series, h, len(DEFAULT_QUANTILES)))
        reasons: dict[int, str] = {}
        chunks = cut(arrays, self.n_threads, _CHUNKS_PER_WORKER)
        min_rows = _MIN_ROWS["stan" if self.options.needs_library else "batch"]
        for outcome in warm_pool(self.n_threads).map(task, chunks, min_rows=min_rows):
            rows = slice(outcome.start, outcome.start + outcome.n)
            if outcome.value is None:
                reasons[outcome.start] = f"prophet failed: {outcome.reason}"
                continue
            y_hat[rows], quantiles[rows] = outcome.value.y_hat, outcome.value.quantiles
            reasons |= {outcome.start + row: why for row, why in outcome.value.reasons.items()}
        return _with_quantiles(answered(y_hat, panel, reasons), quantiles, panel)

    def _arrays(self, panel: Panel, h: int) -> list[npt.NDArray[Any]]:
        """Sales, closed periods, caps and known covariates, as `forecast_rows` takes them."""
        known = [_reaching(item.values, panel.n_periods + h) for item in regressors_of(panel, self.options)]
        return [panel.y, _reaching(panel.closed, panel.n_periods + h), _caps(panel, h, self.options.cap), *known]

    def contributions(self, asked: Asked) -> Contributions:
        """Trend, seasons, holidays and covariates; level and season where the library fits."""
        if self.options.needs_library:
            return super().contributions(asked)
        panel, layout = asked.alone, layout_of(asked.panel, asked.h, self.options)
        y, closed, cap, *known = self._arrays(panel, asked.h)
        found = forecast_rows(y, closed, cap, *known, layout=layout, levels=(0.5,), seed=self.random_state)
        terms = component_terms(layout, covariate_groups(asked.panel))
        parts = components(y, closed, *known, layout=layout)
        own = parts.contributions(terms, asked.place, asked.steps, asked.usual, panel.spec.non_negative)
        every = answered(found.y_hat, panel, found.reasons)
        return own.unless_fallen(asked.place, asked.steps, every.y_hat, every.reasons)

    def save(self, folder: Path) -> None:
        """Write ``prophet.json``; a local model is its parameters."""
        stored = {**self.options.to_dict(), "random_state": self.random_state, "n_threads": self.n_threads}
        (folder / "prophet.json").write_text(json.dumps(stored), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(**json.loads((folder / "prophet.json").read_text(encoding="utf-8")))


def _with_quantiles(forecast: Forecast, quantiles: FloatArray, panel: Panel) -> Forecast:
    """The forecast with its quantiles; where the last season answered they are that."""
    if forecast.reasons:
        rows = np.array(list(forecast.reasons))
        quantiles[rows] = forecast.y_hat[rows][..., None]
    if panel.spec.non_negative:
        np.maximum(quantiles, 0.0, out=quantiles)
    return replace(forecast, levels=DEFAULT_QUANTILES, quantiles=quantiles)


def _caps(panel: Panel, h: int, cap: float | str | None) -> FloatArray:
    """``[N, T + h]`` of logistic growth, else ``[N, 0]``.

    Raises
    ------
    UsageError : no known covariate of that name, or a cap that is not above 0 everywhere.
    """
    if cap is None:
        return np.zeros((panel.n_series, 0))
    width = panel.n_periods + h
    if not isinstance(cap, str):
        return np.full((panel.n_series, width), float(cap))
    names = [item.name for item in panel.known if not item.categories]
    if cap not in names:
        raise UsageError(f"no known number is called {cap!r}.\n  where: prophet, cap\n  fix:   {nearest(cap, names)}")
    values = _reaching(panel.covariate(cap).values, width).astype(np.float64)
    if not (values > 0).all():
        raise UsageError(
            f"the cap must be known and above 0 in every period.\n  where: prophet, cap = {cap}"
            "\n  fix:   fill the column, or give a number"
        )
    return values


def _reaching(values: npt.NDArray[T], width: int) -> npt.NDArray[T]:
    """The first columns; where they end early, not known (closed periods: open)."""
    lacking = width - values.shape[1]
    if lacking <= 0:
        return values[:, :width]
    fill = np.zeros((len(values), lacking), dtype=values.dtype)
    if values.dtype != np.bool_:
        fill[:] = np.nan
    return np.concatenate([values, fill], axis=1)
