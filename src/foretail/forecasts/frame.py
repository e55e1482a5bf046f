"""The forecast table: every requested series and date answered exactly once, by rules that no model can break.

Closed days are 0, quantiles never cross, nothing is negative where that makes no sense, every row says who answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import CUTOFF, DS, MODEL, MODEL_VERSION, SOURCE, STEP, UNIQUE_ID, Y_HAT
from foretail.core.errors import DataError, ForecastError, Problem
from foretail.core.quantiles import quantile_column
from foretail.core.spec import DatasetSpec
from foretail.forecasts.cold import Cold, cold_answers
from foretail.models.contract import Forecast
from foretail.panel.panel import Panel

__all__ = ["NO_HISTORY", "forecast_frame", "source_of", "user_frame", "within_rules"]

NO_HISTORY = "fallback:no history"  # the source of a series that was never observed

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def forecast_frame(
    panel: Panel,
    forecast: Forecast,
    *,
    requested: pl.DataFrame,
    model: str,
    model_version: str,
    levels: Sequence[float],
    cold: Cold | None = None,
) -> pl.DataFrame:
    """Answer every requested row.

    Parameters
    ----------
    panel : N series that end at the cutoff.
    forecast : its N series over H steps, with at least the quantile ``levels``.
    requested : ``unique_id``, ``ds`` (date), ``step`` (1..H), any other column; one row per answer wanted.
    model, model_version : written into every row.
    levels : quantile levels of the answer.
    cold : requested series that are not in the panel. They borrow from the series most like them, with a wider
        interval (see `foretail.forecasts.cold`).

    Returns
    -------
    One row per row of ``requested``, in its order: ``unique_id, ds, cutoff, step, y_hat, q…, model, model_version,
    source``; values in the unit of the target.

    Raises
    ------
    DataError : a series that nobody knows, a step beyond the horizon, a date that is not that step, a row asked twice.
    ForecastError : the forecast is not finite, has other series than the panel, or lacks a quantile level.
    """
    values = _values(panel, forecast, levels, model)
    unseen = _never_observed(panel, requested, cold)
    _check_requested(panel, requested, unseen.series, n_steps=values.shape[1])
    closed = np.concatenate([_closed(panel, values.shape[1]), unseen.closed(panel, values.shape[1])])
    values = np.concatenate([values, cold_answers(panel, values, levels, unseen)])
    values = within_rules(values, closed, panel.spec)
    sources = pl.Series([*_sources(panel, forecast), *[NO_HISTORY] * unseen.series.height], dtype=pl.String)
    row = _positions(requested, [*panel.unique_ids, *unseen.series[UNIQUE_ID].to_list()])
    answers = values[row, requested[STEP].to_numpy().astype(np.int64) - 1]
    columns = [Y_HAT, *map(quantile_column, levels)]
    cutoff = pl.lit(panel.cutoff).alias(CUTOFF)
    return requested.select(UNIQUE_ID, pl.col(DS).cast(pl.Date), cutoff, pl.col(STEP).cast(pl.Int32)).with_columns(
        *(pl.Series(name, answers[:, i]) for i, name in enumerate(columns)),
        pl.lit(model).alias(MODEL),
        pl.lit(model_version).alias(MODEL_VERSION),
        sources.gather(row).alias(SOURCE),
    )


def user_frame(frame: pl.DataFrame, spec: DatasetSpec, series: pl.DataFrame) -> pl.DataFrame:
    """Give a forecast table its user's own key and time columns back.

    Parameters
    ----------
    frame : what `forecast_frame` returns.
    spec : names the key columns and the time column.
    series : ``unique_id`` and the key columns of every series of ``frame``, those never observed included.

    Returns
    -------
    The keys, the time, then ``cutoff, step, y_hat, q…, model, model_version, source``, in the order of the rows of
    ``frame``. Where the user has a column of the same name, ours is called ``forecast_<name>``.

    Raises
    ------
    DataError : a series of the frame that ``series`` does not hold.
    """
    missing = frame.join(series, on=UNIQUE_ID, how="anti")[UNIQUE_ID].unique(maintain_order=True).to_list()
    if missing:
        raise DataError(_problem("a forecast series has no keys", missing, "pass the series that were requested too"))
    own = [*spec.keys, spec.time]
    ours = [column for column in frame.columns if column not in (UNIQUE_ID, DS)]
    keys = series.select(UNIQUE_ID, *(pl.col(key).alias(f"key {key}") for key in spec.keys))
    joined = frame.join(keys, on=UNIQUE_ID, how="left", maintain_order="left")
    return joined.select(
        *(pl.col(f"key {key}").alias(key) for key in spec.keys),
        pl.col(DS).alias(spec.time),
        *(pl.col(name).alias(f"forecast_{name}" if name in own else name) for name in ours),
    )


def _values(panel: Panel, forecast: Forecast, levels: Sequence[float], model: str) -> FloatArray:
    """The point forecast and the wanted quantiles side by side, ``[N, H, 1 + Q]``."""
    if len(forecast.y_hat) != panel.n_series:
        raise ForecastError(
            f"the forecast is not for these series.\n  where: {model}: {len(forecast.y_hat)} series forecast, "
            f"{panel.n_series} in the panel\n  fix:   forecast from this panel"
        )
    absent = [level for level in levels if level not in forecast.levels]
    if absent:
        held = ", ".join(f"{level:g}" for level in forecast.levels) or "none"
        raise ForecastError(
            f"the forecast has no quantile {absent[0]:g}.\n  where: {model}, which has: {held}\n"
            "  fix:   ask for quantiles that the model was calibrated for, or train it again with --quantiles"
        )
    parts = [forecast.y_hat[:, :, None]]
    if levels and forecast.quantiles is not None:
        parts.append(forecast.quantiles[:, :, [forecast.levels.index(level) for level in levels]])
    values = np.concatenate(parts, axis=2).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values).all((1, 2)))
    if len(bad):
        first = ", ".join(panel.unique_ids[row] for row in bad[:5])
        raise ForecastError(
            f"the model gave no finite forecast.\n  where: {model}, {len(bad)} of {panel.n_series} series: {first}"
            "\n  fix:   forecast with another model (--models); this is a defect of the family"
        )
    return values


def _never_observed(panel: Panel, requested: pl.DataFrame, cold: Cold | None) -> Cold:
    """The described series that are asked for and not in the panel, each once."""
    if cold is None:
        return Cold(requested.select(UNIQUE_ID).clear())
    ids = cold.series[UNIQUE_ID]
    wanted = ids.is_in(requested[UNIQUE_ID].implode()) & ~ids.is_in(panel.unique_ids) & ids.is_first_distinct()
    return cold.select(np.flatnonzero(wanted.to_numpy()))


def _check_requested(panel: Panel, requested: pl.DataFrame, cold: pl.DataFrame, n_steps: int) -> None:
    problems = []
    steps = requested[STEP].cast(pl.Int64)
    outside = requested.filter(((steps < 1) | (steps > n_steps)).fill_null(True))
    if outside.height:
        problems.append(
            _problem(
                f"{outside.height} rows ask for a step outside 1..{n_steps}",
                _rows(outside),
                "ask for dates within the horizon, or train with a longer --horizon",
            )
        )
    else:
        expected = pl.Series(panel.frequency.to_date(panel.end + steps.to_numpy()), dtype=pl.Date)
        wrong = requested.filter((requested[DS].cast(pl.Date) != expected).fill_null(True))
        if wrong.height:
            fix = f"dates are counted in periods of {panel.frequency} from the cutoff {panel.cutoff}"
            problems.append(_problem(f"{wrong.height} dates are not the step they are given with", _rows(wrong), fix))
    twice = requested.filter(requested.select(UNIQUE_ID, DS).is_duplicated())
    if twice.height:
        problems.append(_problem(f"{twice.height} rows ask twice for a series and date", _rows(twice), "ask once"))
    stranger = requested.join(cold, on=UNIQUE_ID, how="anti", maintain_order="left").filter(
        ~pl.col(UNIQUE_ID).is_in(panel.unique_ids)
    )
    if stranger.height:
        names = stranger[UNIQUE_ID].unique(maintain_order=True).to_list()
        what = f"{len(names)} requested series are neither in the history nor described"
        problems.append(_problem(what, names, "correct their keys"))
    if cold.height and not panel.n_series:
        problems.append(_problem("no series has any history", cold[UNIQUE_ID].to_list(), "give a table with sales"))
    if problems:
        raise DataError(problems)


def _problem(what: str, examples: Sequence[str], fix: str) -> Problem:
    more = f", … ({len(examples)})" if len(examples) > 5 else ""
    return Problem(what, ", ".join(map(str, examples[:5])) + more, fix)


def _rows(frame: pl.DataFrame) -> list[str]:
    return frame.select(pl.format("{} on {} (step {})", UNIQUE_ID, DS, STEP)).to_series().to_list()


def _positions(requested: pl.DataFrame, unique_ids: Sequence[str]) -> IntArray:
    ids = pl.Series(UNIQUE_ID, unique_ids, dtype=pl.String)
    index = pl.DataFrame([ids, pl.Series("row", np.arange(len(ids)))])
    rows = requested.select(UNIQUE_ID).join(index, on=UNIQUE_ID, how="left", maintain_order="left")["row"]
    return rows.to_numpy().astype(np.int64)


def _closed(panel: Panel, h: int) -> npt.NDArray[np.bool_]:
    """Known closed periods ``[N, h]``; open where nothing is known."""
    closed = np.zeros((panel.n_series, h), dtype=np.bool_)
    future = panel.closed[:, panel.n_periods : panel.n_periods + h]
    closed[:, : future.shape[1]] = future
    return closed


def within_rules(values: FloatArray, closed: npt.NDArray[np.bool_], spec: DatasetSpec) -> FloatArray:
    """Values ``[N, H, 1 + Q]`` that no model can break, in place: ascending quantiles, nothing below 0, closed is 0."""
    values[:, :, 1:] = np.sort(values[:, :, 1:], axis=2)
    if spec.non_negative:
        np.maximum(values, 0.0, out=values)
    values[closed] = 0.0
    return values


def _sources(panel: Panel, forecast: Forecast) -> list[str]:
    return [source_of(forecast, row) for row in range(panel.n_series)]


def source_of(forecast: Forecast, row: int) -> str:
    """Who answered a series: ``model``, or ``fallback:<why>``."""
    return f"fallback:{forecast.reasons[row]}" if row in forecast.reasons else "model"
