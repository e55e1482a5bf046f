"""Scores of one forecast on the last block of Walmart or Rossmann, by rules that belong to no library.

Written from the raw files and apart from `foretail.backtest.metrics`, so that each can catch an error of the other:

* every row of ``train.csv`` after the cutoff and inside the horizon is scored; a row without a forecast is an error;
* the scale of MASE and RMSSE is the mean (squared) seasonal difference up to the cutoff, by calendar lag; with fewer
  than 8 pairs that of neighbouring periods, else the median of the department or store type, else of all; at least 1;
* Walmart: WMAE weighs holiday weeks 5. Rossmann: RMSPE and coverage on days with sales;
* WQL5 averages the levels 2.5, 10, 50 (the point forecast), 90 and 97.5 %; WQL9 the deciles.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["SPLITS", "Block", "Split", "read_block", "scores"]

Floats = npt.NDArray[np.float64]

_MIN_PAIRS = 8
_HOLIDAY_WEIGHT = 5.0
_FIVE = {0.025: "q2_5", 0.1: "q10", 0.5: "y_hat", 0.9: "q90", 0.975: "q97_5"}
_NINE = {level / 100: f"q{level}" for level in range(10, 100, 10)}


@dataclass(frozen=True)
class Split:
    """The last block of a data set.

    Attributes
    ----------
    name : of the layout. horizon : steps. cutoff : last day of training. season : periods. days : of a period.
    keys : its key columns. target : its target column. group : the column whose median stands in for a missing scale.
    goal : WAPE that is aimed at.
    """

    name: str
    horizon: int
    cutoff: dt.date
    season: int
    days: int
    keys: tuple[str, ...]
    target: str
    group: str
    goal: float

    @property
    def end(self) -> dt.date:
        """Last day of the block."""
        return self.cutoff + dt.timedelta(days=self.days * self.horizon)


SPLITS: dict[str, Split] = {
    "walmart": Split("walmart", 39, dt.date(2012, 1, 27), 52, 7, ("Store", "Dept"), "Weekly_Sales", "Dept", 0.098),
    "rossmann": Split("rossmann", 42, dt.date(2015, 6, 19), 7, 1, ("Store",), "Sales", "StoreType", 0.088),
}


@dataclass(frozen=True)
class Block:
    """What there is to score.

    Attributes
    ----------
    split : which block. rows : ``unique_id, ds, y, is_holiday, scale, squared_scale``, one row per row of the file.
    """

    split: Split
    rows: pl.DataFrame


def read_block(split: Split, folder: Path) -> Block:
    """Read the original files of a layout and lay out the block with its scales."""
    sales = _sales(split, folder)
    train = sales.filter(pl.col("ds") <= split.cutoff)
    test = sales.filter((pl.col("ds") > split.cutoff) & (pl.col("ds") <= split.end))
    series = test.select("unique_id", "group").unique(maintain_order=True)
    rows = test.join(_scales(train, series, split), on="unique_id", how="left", maintain_order="left")
    return Block(split, rows.drop("group"))


def scores(block: Block, forecast: pl.DataFrame) -> dict[str, float]:
    """Metrics of one forecast of the block.

    Parameters
    ----------
    forecast : the key columns (or ``unique_id``), ``Date`` (or ``ds``) and ``y_hat``; coverage and WQL need the
        quantile columns too. Rows beyond the block are ignored.

    Returns
    -------
    ``WAPE, bias, MAE, RMSE, MASE, RMSSE``, ``WMAE`` or ``RMSPE`` and, where the quantiles are there, ``cov80, cov95,
    WQL5, WQL9``.

    Raises
    ------
    DataError : rows that are answered twice or not at all.
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


def _scales(train: pl.DataFrame, series: pl.DataFrame, split: Split) -> pl.DataFrame:
    """``unique_id, scale, squared_scale`` of the series that are scored."""
    seasonal, near = (_differences(train, split.days * lag) for lag in (split.season, 1))
    names = ("scale", "squared_scale")
    found = series.join(seasonal, on="unique_id", how="left").join(near, on="unique_id", how="left", suffix="_near")
    found = found.with_columns(pl.coalesce(name, f"{name}_near").alias(name) for name in names)
    filled = [
        pl.coalesce(name, pl.col(name).median().over("group"), pl.col(name).median()).clip(lower_bound=1.0).alias(name)
        for name in names
    ]
    return found.with_columns(filled).select("unique_id", *names)


def _differences(train: pl.DataFrame, days: int) -> pl.DataFrame:
    """Mean absolute and squared difference to the value ``days`` before, of series with enough pairs."""
    before = train.select("unique_id", pl.col("ds") + pl.duration(days=days), pl.col("y").alias("before"))
    pairs = train.join(before, on=["unique_id", "ds"])
    difference = pl.col("y") - pl.col("before")
    found = pairs.group_by("unique_id").agg(
        difference.abs().mean().alias("scale"), (difference**2).mean().alias("squared_scale"), pl.len().alias("pairs")
    )
    return found.filter(pl.col("pairs") >= _MIN_PAIRS).drop("pairs")


def _answers(block: Block, forecast: pl.DataFrame) -> pl.DataFrame:
    """The block's rows with their forecasts."""
    if "unique_id" not in forecast.columns:
        forecast = forecast.with_columns(_unique_id(block.split.keys))
    if "ds" not in forecast.columns:
        forecast = forecast.rename({"Date": "ds"})
    values = [name for name in forecast.columns if name == "y_hat" or name.startswith("q")]
    answers = forecast.select("unique_id", pl.col("ds").cast(pl.Date), *values)
    if answers.select("unique_id", "ds").is_duplicated().any():
        raise DataError(Problem("a row is answered twice", "the forecast file", "one row per key and date"))
    frame = block.rows.join(answers, on=["unique_id", "ds"], how="left", maintain_order="left")
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
        .group_by("unique_id")
        .agg(
            (pl.col("error").mean() / pl.col("scale").first()).alias("MASE"),
            ((pl.col("error") ** 2).mean() / pl.col("squared_scale").first()).sqrt().alias("RMSSE"),
        )
    )
    return {name: float(_column(per_series, name).mean()) for name in ("MASE", "RMSSE")}


def _of_the_layout(split: Split, frame: pl.DataFrame, error: Floats) -> dict[str, float]:
    """WMAE of Walmart, RMSPE of Rossmann."""
    if split.name == "walmart":
        weight = np.where(frame["is_holiday"].to_numpy(), _HOLIDAY_WEIGHT, 1.0)
        return {"WMAE": float((weight * error).sum() / weight.sum())}
    y = _column(frame, "y")
    return {"RMSPE": float(np.sqrt(np.mean((error[y > 0] / y[y > 0]) ** 2)))}


def _calibration(split: Split, frame: pl.DataFrame, y: Floats) -> dict[str, float]:
    found = {}
    scored = np.ones(len(y), dtype=np.bool_) if split.name == "walmart" else y > 0
    for name, low, high in (("cov80", "q10", "q90"), ("cov95", "q2_5", "q97_5")):
        if {low, high} <= set(frame.columns):
            inside = (y >= _column(frame, low)) & (y <= _column(frame, high))
            found[name] = float(inside[scored].mean())
    for name, levels in (("WQL5", _FIVE), ("WQL9", _NINE)):
        if set(levels.values()) <= set(frame.columns):
            losses = [_pinball(y, _column(frame, column), level) for level, column in levels.items()]
            found[name] = float(np.mean(losses) / np.abs(y).sum())
    return found


def _pinball(y: Floats, quantile: Floats, level: float) -> float:
    """Twice the summed pinball loss."""
    over = np.maximum(quantile - y, 0.0)
    under = np.maximum(y - quantile, 0.0)
    return float(2 * (level * under + (1 - level) * over).sum())
