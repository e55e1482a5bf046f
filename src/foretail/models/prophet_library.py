"""The prophet library itself, series by series, on the same values and columns as the batch engine."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from foretail.core.errors import MissingExtraError
from foretail.models.prophet_design import Design, Values
from foretail.models.prophet_layout import Layout

__all__ = ["LibraryError", "check_library", "forecast_series"]

FloatArray = npt.NDArray[np.float64]

_SAMPLES = 1000
_LOGGERS = ("prophet", "prophet.models", "cmdstanpy")


class LibraryError(RuntimeError):
    """The library could not fit a series."""


def check_library() -> None:
    """See that ``prophet`` is installed, without the seconds that loading it takes.

    Raises
    ------
    MissingExtraError : it is not.
    """
    if importlib.util.find_spec("prophet") is None:
        raise MissingExtraError("prophet", "prophet")


def forecast_series(
    row: int,
    values: Values,
    design: Design,
    layout: Layout,
    cap: FloatArray | None,
    levels: tuple[float, ...],
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Fit one series of a block and forecast it.

    Parameters
    ----------
    row : of the block. cap : ``[T + H]`` in the unit of the target, for logistic growth.
    levels : Q quantile levels, taken from the library's own samples. seed : of those.

    Returns
    -------
    (mean ``[H]``, quantiles ``[H, Q]``), scaled.

    Raises
    ------
    LibraryError : the library says why.
    """
    with _quiet(seed):
        try:
            model = _model(row, design, layout)
            frame = _frame(row, values, design, layout, cap)
            history, ahead = frame[: layout.n_periods], frame[layout.n_periods :].drop(columns="y")
            model.fit(history[values.used[row]])
            mean = model.predict(ahead)["yhat"].to_numpy(dtype=np.float64)
            samples = model.predictive_samples(ahead)["yhat"]
        except (ValueError, RuntimeError, ArithmeticError, IndexError, AssertionError) as error:
            raise LibraryError(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from error
    return mean, np.quantile(samples, levels, axis=1).T


def _model(row: int, design: Design, layout: Layout) -> Any:
    """An unfitted model with the seasons as its own and every other column as a regressor."""
    options, n_seasonal = layout.options, 2 * (layout.yearly + layout.weekly)
    has_years, has_weeks = _has_seasons(design.x[row], layout)
    model = importlib.import_module("prophet").Prophet(  # heavy, optional
        growth=options.growth,
        n_changepoints=options.n_changepoints,
        changepoint_range=options.changepoint_range,
        changepoint_prior_scale=options.changepoint_prior_scale,
        seasonality_prior_scale=options.seasonality_prior_scale,
        seasonality_mode=options.seasonality_mode,
        yearly_seasonality=layout.yearly if has_years else False,
        weekly_seasonality=layout.weekly if has_weeks else False,
        daily_seasonality=False,
        uncertainty_samples=0,
    )
    for column in _regressors(row, design, layout):
        prior_scale = float(layout.prior_scales[column])
        model.add_regressor(f"x{column - n_seasonal}", prior_scale=prior_scale, standardize=False)
    model.uncertainty_samples = _SAMPLES  # for predictive_samples; predict alone needs none
    return model


def _has_seasons(x: FloatArray, layout: Layout) -> tuple[bool, bool]:
    split = 2 * layout.yearly
    return bool(x[:split].any()), bool(x[split : split + 2 * layout.weekly].any())


def _regressors(row: int, design: Design, layout: Layout) -> list[int]:
    """Columns behind the seasons that are not 0 throughout."""
    n_seasonal = 2 * (layout.yearly + layout.weekly)
    return [int(column) for column in np.flatnonzero(design.x[row].any(1)) if column >= n_seasonal]


def _frame(row: int, values: Values, design: Design, layout: Layout, cap: FloatArray | None) -> Any:
    """The pandas frame that the library wants, history and horizon."""
    import pandas as pd  # comes with the library

    n_seasonal = 2 * (layout.yearly + layout.weekly)
    y = np.concatenate([values.z[row], np.full(layout.h, np.nan)])
    columns: dict[str, Any] = {"ds": pd.to_datetime(layout.days, unit="D"), "y": y}
    if cap is not None:
        columns["cap"] = cap / values.scale[row]
    columns |= {f"x{column - n_seasonal}": design.x[row, column] for column in _regressors(row, design, layout)}
    return pd.DataFrame(columns)


@contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """No chatter, no warnings of others, and samples from a seed, with the global generator left as it was."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    state = np.random.get_state()  # noqa: NPY002  (the library draws from the global generator)
    np.random.seed(seed)  # noqa: NPY002
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
