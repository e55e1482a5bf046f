"""The prophet library fitted on a series of a panel, and the log posterior of what it found by formulas of its own."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.panel.panel import Panel

__all__ = ["Found", "fit_library"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What the library found for one series.

    Attributes
    ----------
    y_hat : ``[h]``. log_posterior : at its parameters, constants dropped. y_lower, y_upper : ``[h]`` its 95 % interval.
    """

    y_hat: Floats
    log_posterior: float
    y_lower: Floats
    y_upper: Floats


def fit_library(panel: Panel, row: int, h: int, *, algorithm: str | None = None, **params: Any) -> Found:
    """Fit the library as its documentation says, with the known covariates as regressors and the spec's holidays.

    Parameters
    ----------
    row : of the panel; closed periods are left out. algorithm : Stan's optimiser; the library's choice when None.
    params : of ``prophet.Prophet``.
    """
    import pandas as pd

    from prophet import Prophet

    columns: dict[str, Any] = {"ds": panel.dates(0, panel.n_periods + h).astype("datetime64[s]")}
    columns |= {item.name: item.values[row, : panel.n_periods + h].astype(np.float64) for item in panel.known}
    frame = pd.DataFrame(columns)
    used = panel.observed[row] & ~panel.closed[row, : panel.n_periods]
    history = frame[: panel.n_periods][used].assign(y=panel.y[row, used])
    with _quiet():
        model = Prophet(interval_width=0.95, holidays=_events(panel), **params)
        if panel.spec.country:
            model.add_country_holidays(panel.spec.country)
        for item in panel.known:
            model.add_regressor(item.name)
        model.fit(history, **({} if algorithm is None else {"algorithm": algorithm}))
        ahead = model.predict(frame[panel.n_periods :])
    y_hat, lower, upper = (ahead[name].to_numpy(dtype=np.float64) for name in ("yhat", "yhat_lower", "yhat_upper"))
    return Found(y_hat, _log_posterior(model), lower, upper)


def _log_posterior(model: Any) -> float:
    """Of the library's parameters on the library's own matrices."""
    k, m, sigma = (float(np.ravel(model.params[name])[0]) for name in ("k", "m", "sigma_obs"))
    beta, delta = (np.ravel(model.params[name]) for name in ("beta", "delta"))
    x, scales, _, _ = model.make_all_seasonality_features(model.history)
    t, y = model.history["t"].to_numpy(), model.history["y_scaled"].to_numpy()
    if model.growth == "flat":
        k, delta = 0.0, np.zeros_like(delta)
    trend = m + k * t + np.maximum(t[:, None] - model.changepoints_t, 0.0) @ delta
    seasons = x.to_numpy() @ beta
    mean = trend * (1 + seasons) if model.seasonality_mode == "multiplicative" else trend + seasons
    fit = -len(y) * np.log(sigma) - ((y - mean) ** 2).sum() / (2 * sigma**2) - 2 * sigma**2
    prior = (k**2 + m**2) / 50 + np.abs(delta).sum() / model.changepoint_prior_scale
    return float(fit - prior - 0.5 * ((beta / np.asarray(scales)) ** 2).sum())


def _events(panel: Panel) -> Any:
    import pandas as pd

    rows = [(event.name, date) for event in panel.spec.events for date in event.dates]
    return pd.DataFrame(rows, columns=["holiday", "ds"]) if rows else None


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("prophet", "prophet.models", "cmdstanpy")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
