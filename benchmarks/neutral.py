"""Scores of one forecast on fixed splits of Walmart and Rossmann, by rules that belong to no library.

Written from the raw files and apart from `foretail.backtest.metrics`, so that each can catch an error of the other:

* every row of ``train.csv`` after the cutoff and inside the horizon is scored; a row without a forecast is an error;
* the scale of MASE and RMSSE is the mean (squared) seasonal difference up to the cutoff, by calendar lag; with fewer
  than 8 pairs that of neighbouring periods, else the median of the department or store type, else of all; at least 1;
* Walmart: WMAE weighs holiday weeks 5. Rossmann: RMSPE and coverage on days with sales;
* WQL5 averages the levels 2.5, 10, 50 (the point forecast), 90 and 97.5 %; WQL9 the deciles;
* ``fev_*`` are the metrics of the public fev-bench on its tasks ``walmart`` and ``rossmann_1D``, of which two splits
  are twins: computed on each window and then averaged over the windows, each row scaled by the mean seasonal difference
  of its own series (rows of series without one are left out of MASE and SQL).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["N_QUARTERS", "SPLITS", "Block", "Split", "read_block", "scores"]

Floats = npt.NDArray[np.float64]

N_QUARTERS = 4
_MIN_PAIRS = 8
_HOLIDAY_WEIGHT = 5.0
_FIVE = {0.025: "q2_5", 0.1: "q10", 0.5: "y_hat", 0.9: "q90", 0.975: "q97_5"}
_NINE = {level / 100: f"q{level}" for level in range(10, 100, 10)}
_BOUNDS = {"cov80": ("q10", "q90"), "cov95": ("q2_5", "q97_5")}
_ROW = ("unique_id", "ds", "cutoff")


@dataclass(frozen=True)
class Split:
    """Windows of a data set that are held back.

    Attributes
    ----------
    name : of the split. layout : of the data set.
    horizon : steps of each window. cutoffs : last day of training of each window.
    season : periods of the scale of MASE. days : of a period.
    keys : the key columns. target : the target column. group : the column whose median stands in for a missing scale.
    twin : the task of the public fev-bench with the same rows; "" for none.
    min_rows : above 0, only series with as many rows take part and each is cut ``horizon`` periods before its *own*
        last row; ``cutoffs`` then holds the one that most of them share.
    """

    name: str
    layout: str
    horizon: int
    cutoffs: tuple[dt.date, ...]
    season: int
    days: int
    keys: tuple[str, ...]
    target: str
    group: str
    twin: str = ""
    min_rows: int = 0

    def end(self, cutoff: dt.date) -> dt.date:
        """Last day of the window that begins after ``cutoff``."""
        return cutoff + dt.timedelta(days=self.days * self.horizon)


def _walmart(
    name: str, horizon: int, cutoffs: Iterable[str], season: int = 52, twin: str = "", min_rows: int = 0
) -> Split:
    days, keys = tuple(map(dt.date.fromisoformat, cutoffs)), ("Store", "Dept")
    return Split(name, "walmart", horizon, days, season, 7, keys, "Weekly_Sales", "Dept", twin, min_rows)


def _rossmann(name: str, horizon: int, cutoffs: Iterable[dt.date], twin: str = "") -> Split:
    return Split(name, "rossmann", horizon, tuple(cutoffs), 7, 1, ("Store",), "Sales", "StoreType", twin)


def _days(last: str, n: int, every: int) -> list[dt.date]:
    """``n`` days, ``every`` days apart, the last one given."""
    return [dt.date.fromisoformat(last) - dt.timedelta(days=every * back) for back in range(n - 1, -1, -1)]


SPLITS: dict[str, Split] = {
    split.name: split
    for split in (
        _walmart("walmart_block39", 39, ["2012-01-27"]),
        _walmart("walmart_rolling", 8, ["2011-11-04", "2012-01-27", "2012-05-04", "2012-08-31"]),
        _walmart("walmart_fev", 39, ["2012-01-27"], season=1, twin="walmart", min_rows=79),
        _rossmann("rossmann_block42", 42, _days("2015-06-19", 1, 42)),
        _rossmann("rossmann_rolling7", 7, _days("2015-07-24", 6, 7)),
        _rossmann("rossmann_fev", 48, _days("2015-06-13", 10, 48), twin="rossmann_1D"),
    )
}


@dataclass(frozen=True)
class Block:
    """What there is to score.

    Attributes
    ----------
    split : which split.
    rows : ``unique_id, ds, cutoff, step, y, is_holiday, scale, squared_scale, own_scale``, one row per row of the file
        and window. ``step`` counts from the series' own cutoff; ``own_scale`` is the one of ``fev_*``, null for none.
    """

    split: Split
    rows: pl.DataFrame

    def window(self, cutoff: dt.date) -> Block:
        """The rows of one window."""
        return Block(self.split, self.rows.filter(pl.col("cutoff") == cutoff))


def read_block(split: Split, folder: Path, n_windows: int | None = None) -> Block:
    """Read the original files of a layout and lay out the windows with their scales.

    Parameters
    ----------
    folder : of the layout's files. n_windows : the first windows only; None for all.
    """
    sales = _sales(split, folder)
    if split.min_rows:
        sales = sales.filter(pl.len().over("unique_id") >= split.min_rows)
    return Block(split, pl.concat([_window(split, sales, cutoff) for cutoff in split.cutoffs[:n_windows]]))


def scores(block: Block, forecast: pl.DataFrame) -> dict[str, float]:
    """Metrics of one forecast of the windows.

    Parameters
    ----------
    forecast : the key columns (or ``unique_id``), ``Date`` (or ``ds``), ``cutoff`` (may be left out of a block of one
        window) and ``y_hat``; coverage, WQL and SQL need the quantile columns too. Rows beyond the block are ignored.

    Returns
    -------
    ``WAPE, bias, MAE, RMSE, MASE, RMSSE``, ``WMAE`` or ``RMSPE``; where the quantiles are there, ``cov80, cov95`` (and
    ``cov80_q1`` to ``cov95_q4``: the quarters of the horizon), ``WQL5, WQL9``; on twins of fev-bench
    ``fev_WAPE, fev_MASE`` and, with the deciles, ``fev_WQL, fev_SQL``.

    Raises
    ------
    DataError : rows without a finite forecast, or answered twice.
    """
    frame = _answers(block, forecast)
    y, y_hat = _column(frame, "y"), _column(frame, "y_hat")
    error, total = np.abs(y - y_hat), np.abs(y).sum()
    result = {
        "WAPE": error.sum() / total,
        "bias": (y_hat - y).sum() / total,
        "MAE": error.mean(),
        "RMSE": np.sqrt(np.mean(error**2)),
        **_scaled(frame, error),
        **_of_the_layout(block.split, frame, error),
        **_calibration(block.split, frame, y),
        **(_fev(frame) if block.split.twin else {}),
    }
    return {name: float(value) for name, value in result.items()}


def _sales(split: Split, folder: Path) -> pl.DataFrame:
    """``unique_id, ds, y, group, is_holiday`` of every row of ``train.csv``."""
    raw = pl.read_csv(folder / "train.csv", schema_overrides={"StateHoliday": pl.String, split.target: pl.Float64})
    if split.group not in raw.columns:
        stores = pl.read_csv(folder / "store.csv", infer_schema_length=None).select("Store", split.group)
        raw = raw.join(stores, on="Store", how="left", maintain_order="left")
    holiday = pl.col("IsHoliday").cast(pl.String).str.to_lowercase() == "true" if "IsHoliday" in raw.columns else False
    return raw.select(
        _unique_id(split.keys),
        pl.col("Date").str.to_date().alias("ds"),
        pl.col(split.target).alias("y"),
        pl.col(split.group).cast(pl.String).alias("group"),
        pl.lit(holiday).alias("is_holiday") if isinstance(holiday, bool) else holiday.alias("is_holiday"),
    )


def _unique_id(keys: tuple[str, ...]) -> pl.Expr:
    return pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator="_").alias("unique_id")


def _window(split: Split, sales: pl.DataFrame, cutoff: dt.date) -> pl.DataFrame:
    """The rows of one window."""
    span = pl.duration(days=split.days * split.horizon)
    own = pl.col("ds").max().over("unique_id") - span if split.min_rows else pl.lit(cutoff)
    parts = sales.with_columns(own.alias("own"), cutoff=pl.lit(cutoff))
    train = parts.filter(pl.col("ds") <= pl.col("own"))
    test = parts.filter((pl.col("ds") > pl.col("own")) & (pl.col("ds") <= pl.col("own") + span))
    series = test.select("unique_id", "group").unique(maintain_order=True)
    step = ((pl.col("ds") - pl.col("own")).dt.total_days() // split.days).alias("step")
    rows = test.join(_scales(train, series, split), on="unique_id", how="left", maintain_order="left")
    return rows.select(*_ROW, step, "y", "is_holiday", "scale", "squared_scale", "own_scale")


def _scales(train: pl.DataFrame, series: pl.DataFrame, split: Split) -> pl.DataFrame:
    """``unique_id, scale, squared_scale, own_scale`` of the series that are scored."""
    seasonal, near = (_differences(train, split.days * lag) for lag in (split.season, 1))
    names = ("scale", "squared_scale")
    found = series
    for differences, suffix in ((seasonal, "_seasonal"), (near, "_near")):
        enough = differences.filter(pl.col("pairs") >= _MIN_PAIRS).select("unique_id", *names)
        found = found.join(enough.rename({name: name + suffix for name in names}), on="unique_id", how="left")
    found = found.with_columns(pl.coalesce(f"{name}_seasonal", f"{name}_near").alias(name) for name in names)
    filled = [
        pl.coalesce(name, pl.col(name).median().over("group"), pl.col(name).median()).clip(lower_bound=1.0).alias(name)
        for name in names
    ]
    own = seasonal.filter(pl.col("scale") > 0).select("unique_id", own_scale="scale")
    return found.with_columns(filled).select("unique_id", *names).join(own, on="unique_id", how="left")


def _differences(train: pl.DataFrame, days: int) -> pl.DataFrame:
    """Mean absolute and squared difference to the value ``days`` before, and from how many pairs."""
    before = train.select("unique_id", pl.col("ds") + pl.duration(days=days), pl.col("y").alias("before"))
    pairs = train.join(before, on=["unique_id", "ds"])
    difference = pl.col("y") - pl.col("before")
    return pairs.group_by("unique_id").agg(
        difference.abs().mean().alias("scale"), (difference**2).mean().alias("squared_scale"), pl.len().alias("pairs")
    )


def _answers(block: Block, forecast: pl.DataFrame) -> pl.DataFrame:
    """The block's rows with their forecasts."""
    if "unique_id" not in forecast.columns:
        forecast = forecast.with_columns(_unique_id(block.split.keys))
    if "ds" not in forecast.columns:
        forecast = forecast.rename({"Date": "ds"})
    on = [name for name in _ROW if name in forecast.columns]
    if "cutoff" not in on and block.rows["cutoff"].n_unique() > 1:
        what = "the forecast does not say of which window its rows are"
        raise DataError(Problem(what, "no column cutoff", "add it: the last day of training of the row's window"))
    values = [name for name in forecast.columns if name == "y_hat" or name.startswith("q")]
    answers = forecast.select("unique_id", *(pl.col(name).cast(pl.Date) for name in on[1:]), *values)
    if answers.select(on).is_duplicated().any():
        raise DataError(Problem("a row is answered twice", "the forecast file", "one row per key, date and cutoff"))
    frame = block.rows.join(answers, on=on, how="left", maintain_order="left")
    without = frame.filter(~pl.col("y_hat").is_finite().fill_null(False))
    if without.height:
        first = ", ".join(f"{name} on {day}" for name, day in without.select("unique_id", "ds").head(3).iter_rows())
        where = f"{without.height} of {frame.height} rows: {first}"
        raise DataError(Problem("rows of the block have no finite forecast", where, "answer every row"))
    return frame


def _column(frame: pl.DataFrame, name: str) -> Floats:
    return frame[name].cast(pl.Float64).to_numpy()


def _scaled(frame: pl.DataFrame, error: Floats) -> dict[str, float]:
    per_series = (
        frame.with_columns(pl.Series("error", error))
        .group_by("unique_id", "cutoff")
        .agg(
            (pl.col("error").mean() / pl.col("scale").first()).alias("MASE"),
            ((pl.col("error") ** 2).mean() / pl.col("squared_scale").first()).sqrt().alias("RMSSE"),
        )
    )
    return {name: float(_column(per_series, name).mean()) for name in ("MASE", "RMSSE")}


def _of_the_layout(split: Split, frame: pl.DataFrame, error: Floats) -> dict[str, float]:
    """WMAE of Walmart, RMSPE of Rossmann."""
    if split.layout == "walmart":
        weight = np.where(frame["is_holiday"].to_numpy(), _HOLIDAY_WEIGHT, 1.0)
        return {"WMAE": float((weight * error).sum() / weight.sum())}
    y = _column(frame, "y")
    return {"RMSPE": float(np.sqrt(np.mean((error[y > 0] / y[y > 0]) ** 2)))}


def _calibration(split: Split, frame: pl.DataFrame, y: Floats) -> dict[str, float]:
    found = {}
    scored = np.ones(len(y), dtype=np.bool_) if split.layout == "walmart" else y > 0
    quarter = (frame["step"].to_numpy() - 1) * N_QUARTERS // split.horizon + 1
    for name, (low, high) in _BOUNDS.items():
        if _given(frame, (low, high)):
            inside = (y >= _column(frame, low)) & (y <= _column(frame, high))
            found[name] = _mean(inside[scored])
            for number in range(1, N_QUARTERS + 1):
                found[f"{name}_q{number}"] = _mean(inside[scored & (quarter == number)])
    for name, levels in (("WQL5", _FIVE), ("WQL9", _NINE)):
        if _given(frame, levels.values()):
            losses = [_pinball(y, _column(frame, column), level).sum() for level, column in levels.items()]
            found[name] = float(np.mean(losses) / np.abs(y).sum())
    return found


def _given(frame: pl.DataFrame, columns: Iterable[str]) -> bool:
    """Whether every row has these quantiles."""
    return all(name in frame.columns and not frame[name].null_count() for name in columns)


def _mean(inside: npt.NDArray[np.bool_]) -> float:
    return float(inside.mean()) if len(inside) else float("nan")


def _pinball(y: Floats, quantile: Floats, level: float) -> Floats:
    """Twice the pinball loss of each row."""
    doubled: Floats = 2 * (level * np.maximum(y - quantile, 0.0) + (1 - level) * np.maximum(quantile - y, 0.0))
    return doubled


def _fev(frame: pl.DataFrame) -> dict[str, float]:
    """The metrics of fev-bench: each on a window, then their mean over the windows."""
    windows = [_fev_window(part) for part in frame.partition_by("cutoff", maintain_order=True)]
    return {name: float(np.mean([window[name] for window in windows])) for name in windows[0]}


def _fev_window(frame: pl.DataFrame) -> dict[str, float]:
    y, total = _column(frame, "y"), np.abs(_column(frame, "y")).sum()
    error, scale = np.abs(y - _column(frame, "y_hat")), _column(frame, "own_scale")
    found = {"fev_WAPE": error.sum() / total, "fev_MASE": np.nanmean(error / scale)}
    if _given(frame, _NINE.values()):
        losses = [_pinball(y, _column(frame, column), level) for level, column in _NINE.items()]
        found["fev_WQL"] = np.mean([loss.sum() for loss in losses]) / total
        found["fev_SQL"] = np.mean([np.nanmean(loss / scale) for loss in losses])
    return {name: float(value) for name, value in found.items()}
