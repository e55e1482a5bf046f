"""What foretail stands beside: seasonal naive, Theta (statsforecast) and a default LightGBM (mlforecast), on one panel.

All peers see the same validated history, get the same closed days set to 0 and are not below 0 where that makes no
sense. Answers are kept under ``benchmarks/results/peers`` by the content of what they were asked, because they do not
change when foretail does.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.table import RESULTS
from foretail.core.columns import DS, UNIQUE_ID, Y
from foretail.models.naive import SeasonalNaive
from foretail.panel.panel import Panel

__all__ = ["PEERS", "Answer", "answer", "matrix_frame"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_EDITION = "1"  # a peer that is set up in another way is another question
_WEEKLY = (1, 2, 3, 4, 8, 13, 26, 52)
_DAILY = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28, 364)
_MONTHLY = (1, 2, 3, 6, 12)


@dataclass(frozen=True)
class Answer:
    """A peer's forecast: ``y_hat [N, H]`` and the seconds it took when it was made."""

    y_hat: Floats
    seconds: float


def answer(peer: str, panel: Panel, h: int, folder: Path = RESULTS / "peers") -> Answer:
    """The forecast of one of `PEERS` for h steps, from the folder if it is there already."""
    path = folder / f"{_question(peer, panel, h)}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return Answer(kept["y_hat"], float(kept["seconds"]))
    begun = time.perf_counter()
    y_hat = _within_rules(PEERS[peer](panel, h), panel, h)
    found = Answer(y_hat, time.perf_counter() - begun)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, y_hat=found.y_hat, seconds=found.seconds)
    return found


def matrix_frame(panel: Panel, y_hat: Floats) -> pl.DataFrame:
    """``[N, H]`` as rows: the user's key columns and time column, then ``y_hat``."""
    n, h = y_hat.shape
    keys = panel.series.select(panel.spec.keys)[np.repeat(np.arange(n), h)]
    dates = pl.Series(panel.spec.time, np.tile(panel.future_dates(h), n)).cast(pl.Date)
    return keys.with_columns(dates, pl.Series("y_hat", y_hat.ravel()))


def seasonal_naive(panel: Panel, h: int) -> Floats:
    """The last season again."""
    return SeasonalNaive().fit(panel, h).predict(panel, h).y_hat


def theta(panel: Panel, h: int) -> Floats:
    """statsforecast's optimised Theta with the season of the frequency, series by series."""
    from statsforecast import StatsForecast
    from statsforecast.models import OptimizedTheta, SeasonalNaive

    season = panel.frequency.season_length
    fallback = SeasonalNaive(season_length=season)
    long = _history(panel).select(UNIQUE_ID, DS, Y)
    counts = long.group_by(UNIQUE_ID).len()
    short = counts.filter(pl.col("len") < 2 * season)[UNIQUE_ID].to_list()
    y_hat = seasonal_naive(panel, h)
    for length, part in ((season, ~pl.col(UNIQUE_ID).is_in(short)), (1, pl.col(UNIQUE_ID).is_in(short))):
        rows = long.filter(part)
        if rows.height:
            model = OptimizedTheta(season_length=length, alias="theta")
            library = StatsForecast([model], freq=1, n_jobs=2, fallback_model=fallback)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = library.forecast(df=rows, h=h)
            _place(y_hat, found.sort(UNIQUE_ID, DS), "theta", h)
    return y_hat


def lightgbm(panel: Panel, h: int) -> Floats:
    """mlforecast with LightGBM as it comes, each series scaled by its mean and spread.

    Lags of the season and a few more, two rolling means, the calendar; the static columns and whatever is known in
    advance as given. Steps are forecast one after the other (the library's default) where covariates are known, by one
    model a step where there are none.
    """
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean
    from mlforecast.target_transforms import LocalStandardScaler

    frequency = panel.frequency
    lags = _DAILY if frequency.is_daily else _WEEKLY if frequency.is_weekly else _MONTHLY
    windows = (7, 28) if frequency.is_daily else (4, 13) if frequency.is_weekly else (3, 12)
    long = _history(panel)
    dynamic = [name for name in long.columns if name.startswith(("known_", "calendar_"))]
    static = [name for name in long.columns if name.startswith("static_")]
    library = MLForecast(
        {"lightgbm": LGBMRegressor(random_state=7, n_jobs=2, verbosity=-1)},
        freq=1,
        lags=[lag for lag in lags if lag < panel.n_periods - h],
        lag_transforms={1: [RollingMean(window, min_samples=1) for window in windows]},
        target_transforms=[LocalStandardScaler()],
    )
    direct = {} if panel.known else {"max_horizon": h}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.fit(long, static_features=static, dropna=False, **direct)
        found = library.predict(h, X_df=_ahead(panel, h).select(UNIQUE_ID, DS, *dynamic))
    y_hat = seasonal_naive(panel, h)
    _place(y_hat, found.sort(UNIQUE_ID, DS), "lightgbm", h)
    return y_hat


PEERS: dict[str, Callable[[Panel, int], Floats]] = {
    "seasonal naive": seasonal_naive,
    "theta": theta,
    "lightgbm": lightgbm,
}


def _history(panel: Panel) -> pl.DataFrame:
    """Rows from each series' first observation on (see `_rows`) with ``y``, holes filled.

    A hole takes the value a season before, else the one before it.
    """
    season = panel.frequency.season_length
    y = panel.y.copy()
    inside = np.arange(panel.n_periods)[None, :] >= panel.first[:, None]
    for t in range(panel.n_periods):
        hole = inside[:, t] & ~np.isfinite(y[:, t])
        if hole.any():
            before = y[:, t - season] if t >= season else np.full(panel.n_series, np.nan)
            y[hole, t] = np.where(np.isfinite(before), before, y[:, t - 1])[hole]
    row, column = np.nonzero(inside)
    return _rows(panel, row, column).with_columns(pl.Series(Y, y[row, column]))


def _ahead(panel: Panel, h: int) -> pl.DataFrame:
    """Rows of the h periods to forecast."""
    row = np.repeat(np.arange(panel.n_series), h)
    return _rows(panel, row, np.tile(panel.n_periods + np.arange(h), panel.n_series))


def _rows(panel: Panel, row: Integers, column: Integers) -> pl.DataFrame:
    """``unique_id`` (row of the panel), ``ds`` (column of the panel), the calendar, known and static columns.

    The libraries take no nulls, so what is not given is -1.
    """
    dates = panel.frequency.to_date(panel.start + column)
    known = [pl.Series(f"known_{item.name}", np.nan_to_num(item.values[row, column], nan=-1.0)) for item in panel.known]
    static = [
        pl.Series(f"static_{name}", _coded(panel.series[name])[row]) for name in (*panel.spec.keys, *panel.spec.static)
    ]
    return pl.DataFrame({UNIQUE_ID: row, DS: column}).with_columns(*_calendar(dates), *known, *static)


def _coded(column: pl.Series) -> Floats:
    number = column if column.dtype.is_numeric() else column.rank("dense")
    return number.cast(pl.Float64).fill_null(-1.0).to_numpy()


def _calendar(dates: npt.NDArray[np.datetime64]) -> list[pl.Series]:
    """The usual date features."""
    day = pl.Series(dates).cast(pl.Date).dt
    parts = {"weekday": day.weekday(), "week": day.week(), "month": day.month(), "day": day.day()}
    return [part.cast(pl.Int32).alias(f"calendar_{name}") for name, part in parts.items()]


def _place(y_hat: Floats, found: pl.DataFrame, column: str, h: int) -> None:
    """Write a library's answer into the rows it is about; what is not finite stays as it was."""
    values = found[column].cast(pl.Float64).to_numpy().reshape(-1, h)
    rows = found[UNIQUE_ID].to_numpy()[::h]
    y_hat[rows] = np.where(np.isfinite(values), values, y_hat[rows])


def _within_rules(y_hat: Floats, panel: Panel, h: int) -> Floats:
    """Closed days are 0; nothing below 0 where that makes no sense."""
    closed = panel.closed[:, panel.n_periods : panel.n_periods + h]
    y_hat = np.where(closed, 0.0, y_hat) if closed.shape[1] == h else y_hat
    return np.maximum(y_hat, 0.0) if panel.spec.non_negative else y_hat


def _question(peer: str, panel: Panel, h: int) -> str:
    """Name of what is asked: the peer and everything it may look at."""
    content = hashlib.sha256(f"{_EDITION} {peer} {h} {panel.start} {panel.spec.freq}".encode())
    for values in (panel.y, panel.closed, *(item.values for item in panel.known)):
        content.update(np.ascontiguousarray(values).tobytes())
    content.update(panel.series.write_csv().encode())
    return f"{peer.replace(' ', '_')}-{content.hexdigest()[:20]}"
