"""What foretail stands beside: seasonal naive, Theta, AutoETS (statsforecast) and a default LightGBM (mlforecast).

All peers see the same validated history, get the same closed days set to 0 and are not below 0 where that makes no
sense. Each series may end at a period of its own. Answers are kept under ``benchmarks/results/peers`` by the content of
what they were asked, because they do not change when foretail does.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.table import RESULTS
from foretail.core.columns import DS, UNIQUE_ID, Y
from foretail.core.quantiles import DEFAULT_QUANTILES, quantile_column
from foretail.models.naive import SeasonalNaive
from foretail.panel.panel import Panel

__all__ = ["PEERS", "Answer", "Question", "answer", "kept", "matrix_frame"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_EDITION = "2"  # a peer that is set up in another way is another question
_WEEKLY = (1, 2, 3, 4, 8, 13, 26, 52)
_DAILY = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28, 364)
_MONTHLY = (1, 2, 3, 6, 12)
_DAILY_SEASONS = 56  # weeks of daily history for Theta and ETS: their smoothing has forgotten what lies before
_INTERVALS = {20: (0.4, 0.6), 40: (0.3, 0.7), 60: (0.2, 0.8), 80: (0.1, 0.9), 95: (0.025, 0.975)}
_N_CONFORMAL = 2  # windows, the least that mlforecast takes


@dataclass(frozen=True)
class Question:
    """What a peer is asked.

    Attributes
    ----------
    panel : the history; known covariates reach h periods ahead.
    h : steps.
    ends : int ``[N]``, periods of each series that may be seen; the steps are counted from there.
    intervals : whether quantiles are asked for too.
    """

    panel: Panel
    h: int
    ends: Integers
    intervals: bool = False

    @property
    def ahead(self) -> Integers:
        """int ``[N, H]``: columns of the panel that are asked for."""
        columns: Integers = self.ends[:, None] + np.arange(self.h)
        return columns


@dataclass(frozen=True)
class Answer:
    """A peer's forecast.

    Attributes
    ----------
    y_hat : ``[N, H]``. quantiles : ``[N, H, Q]`` at `DEFAULT_QUANTILES`; None for a point forecast.
    seconds : wall time when it was made. peak_gb : memory of its process; None where it shared ours.
    note : what to say of it, e.g. the models behind it.
    """

    y_hat: Floats
    seconds: float = float("nan")
    quantiles: Floats | None = None
    peak_gb: float | None = None
    note: str = ""


def answer(
    peer: str,
    panel: Panel,
    h: int,
    folder: Path = RESULTS / "peers",
    *,
    ends: Integers | None = None,
    intervals: bool = False,
) -> Answer:
    """The forecast of one of `PEERS` for h steps, from the folder if it is there already.

    Parameters
    ----------
    ends : int ``[N]``, periods of each series that may be seen; all of the panel when None.
    intervals : ask for the quantiles too; peers that cannot give them here leave them None.
    """
    ends = np.full(panel.n_series, panel.n_periods) if ends is None else ends
    return kept(peer, Question(panel, h, ends, intervals), PEERS[peer], folder)


def kept(peer: str, question: Question, ask: Callable[[Question], Answer], folder: Path = RESULTS / "peers") -> Answer:
    """The peer's answer, from the folder if it was asked before; within the rules that hold for all."""
    path = folder / f"{_name(peer, question)}.npz"
    if path.exists():
        return _read(path)
    begun = time.perf_counter()
    found = ask(question)
    seconds = time.perf_counter() - begun if np.isnan(found.seconds) else found.seconds
    found = replace(_within_rules(found, question), seconds=seconds)
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, found)
    return found


def matrix_frame(panel: Panel, found: Floats | Answer, ends: Integers | None = None) -> pl.DataFrame:
    """``[N, H]`` as rows: the user's key columns and time column, then ``y_hat`` and the quantiles that are there."""
    found = found if isinstance(found, Answer) else Answer(found)
    n, h = found.y_hat.shape
    ends = np.full(n, panel.n_periods) if ends is None else ends
    keys = panel.series.select(panel.spec.keys)[np.repeat(np.arange(n), h)]
    dates = panel.frequency.to_date(panel.start + (ends[:, None] + np.arange(h)).ravel())
    columns = [pl.Series("y_hat", found.y_hat.ravel())]
    if found.quantiles is not None:
        columns += [
            pl.Series(quantile_column(level), found.quantiles[..., place].ravel())
            for place, level in enumerate(DEFAULT_QUANTILES)
        ]
    return keys.with_columns(pl.Series(panel.spec.time, dates).cast(pl.Date), *columns)


def seasonal_naive(question: Question) -> Answer:
    """The last season again; normal quantiles from the seasonal differences, wider by the root of the seasons passed.

    Source: Hyndman and Athanasopoulos, *Forecasting: principles and practice*, prediction intervals of benchmarks.
    """
    panel, h = _ended_together(question), question.h
    y_hat = SeasonalNaive().fit(panel, h).predict(panel, h).y_hat
    if not question.intervals:
        return Answer(y_hat)
    season = panel.frequency.season_length
    difference = panel.y[:, season:] - panel.y[:, :-season]
    n_pairs = np.isfinite(difference).sum(1)
    spread = np.sqrt(np.nansum(difference**2, axis=1) / np.maximum(n_pairs, 1))
    typical = float(np.median(spread[n_pairs > 0])) if (n_pairs > 0).any() else 0.0
    spread = np.where(n_pairs > 0, spread, typical)
    wider = np.sqrt(np.arange(h) // season + 1)
    normal = np.array([NormalDist().inv_cdf(level) for level in DEFAULT_QUANTILES])
    return Answer(y_hat, quantiles=y_hat[..., None] + spread[:, None, None] * wider[None, :, None] * normal)


def theta(question: Question) -> Answer:
    """statsforecast's optimised Theta with the season of the frequency, series by series."""
    from statsforecast.models import OptimizedTheta

    return _statsforecast(question, lambda season: OptimizedTheta(season_length=season, alias="model"))


def ets(question: Question) -> Answer:
    """statsforecast's AutoETS with the season of the frequency, series by series."""
    from statsforecast.models import AutoETS

    return _statsforecast(question, lambda season: AutoETS(season_length=season, alias="model"))


def lightgbm(question: Question) -> Answer:
    """mlforecast with LightGBM as it comes, each series scaled by its mean and spread.

    Lags of the season and a few more, two rolling means, the calendar; the static columns and whatever is known in
    advance as given. Steps are forecast one after the other (the library's default) where covariates are known, by one
    model a step where there are none. Intervals are the library's conformal ones, which need two horizons of history
    from every series: without, there are none.
    """
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean
    from mlforecast.target_transforms import LocalStandardScaler
    from mlforecast.utils import PredictionIntervals

    panel, h = question.panel, question.h
    frequency = panel.frequency
    lags = _DAILY if frequency.is_daily else _WEEKLY if frequency.is_weekly else _MONTHLY
    windows = (7, 28) if frequency.is_daily else (4, 13) if frequency.is_weekly else (3, 12)
    long = _history(question)
    dynamic = [name for name in long.columns if name.startswith(("known_", "calendar_"))]
    static = [name for name in long.columns if name.startswith("static_")]
    shortest = int(long.group_by(UNIQUE_ID).len()["len"].min())  # type: ignore[arg-type]
    intervals = question.intervals and shortest > _N_CONFORMAL * h + 1
    library = MLForecast(
        {"model": LGBMRegressor(random_state=7, n_jobs=2, verbosity=-1)},
        freq=1,
        lags=[lag for lag in lags if lag < panel.n_periods - (_N_CONFORMAL + 1 if intervals else 1) * h],
        lag_transforms={1: [RollingMean(window, min_samples=1) for window in windows]},
        target_transforms=[LocalStandardScaler()],
    )
    direct = {} if panel.known else {"max_horizon": h}
    conformal = {"prediction_intervals": PredictionIntervals(_N_CONFORMAL, h)} if intervals else {}
    level = {"level": list(_INTERVALS)} if intervals else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.fit(long, static_features=static, dropna=False, **direct, **conformal)
        found = library.predict(h, X_df=_ahead(question).select(UNIQUE_ID, DS, *dynamic), **level)
    basis = seasonal_naive(replace(question, intervals=intervals))
    return _placed(basis, found.sort(UNIQUE_ID, DS), h)


PEERS: dict[str, Callable[[Question], Answer]] = {
    "seasonal naive": seasonal_naive,
    "theta": theta,
    "ets": ets,
    "lightgbm": lightgbm,
}


def _statsforecast(question: Question, model: Callable[[int], object]) -> Answer:
    """One model per series; those shorter than two seasons without a season; what fails is seasonal naive."""
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive as Fallback

    season, h = question.panel.frequency.season_length, question.h
    long = _history(question).select(UNIQUE_ID, DS, Y)
    if question.panel.frequency.is_daily:
        long = long.group_by(UNIQUE_ID, maintain_order=True).tail(_DAILY_SEASONS * season)
    found = seasonal_naive(question)
    is_short = pl.len().over(UNIQUE_ID) < 2 * season
    for length, part in ((season, ~is_short), (1, is_short)):
        rows = long.filter(part)
        if rows.height:
            library = StatsForecast([model(length)], freq=1, n_jobs=2, fallback_model=Fallback(season_length=length))
            level = {"level": list(_INTERVALS)} if question.intervals else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                frame = library.forecast(df=rows, h=h, **level)
            found = _placed(found, frame.sort(UNIQUE_ID, DS), h)
    return found


def _placed(basis: Answer, frame: pl.DataFrame, h: int) -> Answer:
    """A library's answer in the rows it is about; what is not finite stays as in ``basis``."""
    rows = frame[UNIQUE_ID].to_numpy()[::h]

    def over(before: Floats, column: str) -> Floats:
        values = frame[column].cast(pl.Float64).to_numpy().reshape(-1, h)
        after = before.copy()
        after[rows] = np.where(np.isfinite(values), values, before[rows])
        return after

    y_hat = over(basis.y_hat, "model")
    if basis.quantiles is None:
        return Answer(y_hat)
    quantiles = basis.quantiles.copy()
    quantiles[..., DEFAULT_QUANTILES.index(0.5)] = y_hat
    for width, levels in _INTERVALS.items():
        for side, level in zip(("lo", "hi"), levels, strict=True):
            place = DEFAULT_QUANTILES.index(level)
            quantiles[..., place] = over(quantiles[..., place], f"model-{side}-{width}")
    return Answer(y_hat, quantiles=np.sort(quantiles, axis=-1))


def _ended_together(question: Question) -> Panel:
    """The panel with every series moved so that all end in its last column (their dates are then no longer true)."""
    panel = question.panel
    length = panel.n_periods
    column = np.arange(length)[None, :] - (length - question.ends[:, None])
    moved = np.take_along_axis(panel.y, np.maximum(column, 0), axis=1)
    return replace(panel, y=np.where(column >= 0, moved, np.nan), revisions=None)


def _history(question: Question) -> pl.DataFrame:
    """Rows from each series' first observation to its end (see `_rows`) with ``y``, holes filled.

    A hole takes the value a season before, else the one before it.
    """
    panel = question.panel
    season = panel.frequency.season_length
    y = panel.y.copy()
    column = np.arange(panel.n_periods)[None, :]
    inside = (column >= panel.first[:, None]) & (column < question.ends[:, None])
    for t in range(panel.n_periods):
        hole = inside[:, t] & ~np.isfinite(y[:, t])
        if hole.any():
            before = y[:, t - season] if t >= season else np.full(panel.n_series, np.nan)
            y[hole, t] = np.where(np.isfinite(before), before, y[:, t - 1])[hole]
    row, place = np.nonzero(inside)
    return _rows(panel, row, place).with_columns(pl.Series(Y, y[row, place]))


def _ahead(question: Question) -> pl.DataFrame:
    """Rows of the periods to forecast."""
    row = np.repeat(np.arange(question.panel.n_series), question.h)
    return _rows(question.panel, row, question.ahead.ravel())


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


def _within_rules(found: Answer, question: Question) -> Answer:
    """Closed days are 0; nothing below 0 where that makes no sense."""
    panel, least = question.panel, 0.0 if question.panel.spec.non_negative else -np.inf
    closed = np.zeros(found.y_hat.shape, dtype=np.bool_)
    if panel.n_future >= question.h:
        closed = np.take_along_axis(panel.closed, question.ahead, axis=1)
    y_hat = np.maximum(np.where(closed, 0.0, found.y_hat), least)
    if found.quantiles is None:
        return replace(found, y_hat=y_hat)
    quantiles = np.maximum(np.where(closed[..., None], 0.0, found.quantiles), least)
    return replace(found, y_hat=y_hat, quantiles=quantiles)


def _name(peer: str, question: Question) -> str:
    """Name of what is asked: the peer and everything it may look at."""
    panel = question.panel
    head = f"{_EDITION} {peer} {question.h} {panel.start} {panel.spec.freq} {question.intervals}"
    content = hashlib.sha256(head.encode())
    covariates = (item.values for item in (*panel.known, *panel.past))
    for values in (panel.y, panel.closed, question.ends, *covariates):
        content.update(np.ascontiguousarray(values).tobytes())
    content.update(panel.series.write_csv().encode())
    return f"{peer.replace(' ', '_')}-{content.hexdigest()[:20]}"


def _write(path: Path, found: Answer) -> None:
    values = {
        "y_hat": found.y_hat,
        "seconds": np.array(found.seconds),
        "peak_gb": np.array(np.nan if found.peak_gb is None else found.peak_gb),
        "note": np.array(found.note),
    }
    if found.quantiles is not None:
        values["quantiles"] = found.quantiles.astype(np.float32)
    np.savez_compressed(path, allow_pickle=False, **values)


def _read(path: Path) -> Answer:
    with np.load(path, allow_pickle=False) as file:
        peak_gb = float(file["peak_gb"])
        return Answer(
            file["y_hat"],
            float(file["seconds"]),
            file["quantiles"].astype(np.float64) if "quantiles" in file else None,
            None if np.isnan(peak_gb) else peak_gb,
            str(file["note"]),
        )
