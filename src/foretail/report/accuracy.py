"""The backtest of the chosen model, summed up by step, segment, series and promised coverage, in Polars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from foretail.core.quantiles import quantile_column, quantile_level
from foretail.panel.panel import Panel

__all__ = ["Interval", "calibration", "intervals", "score", "scored_rows", "total_errors"]

Interval = tuple[float, str, str]


def intervals(columns: Sequence[str]) -> list[Interval]:
    """The central intervals that a frame's quantile columns hold.

    Returns
    -------
    ``(nominal share, low column, high column)``, narrowest first.
    """
    low = [name for name in columns if _is_quantile(name) and quantile_level(name) < 0.5]
    pairs = [(1 - 2 * quantile_level(name), name, quantile_column(1 - quantile_level(name))) for name in low]
    return sorted((round(nominal, 6), a, b) for nominal, a, b in pairs if b in columns)


def scored_rows(backtest: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """The rows with an observed ``y``, scored as the leaderboard scores them: known closed days are forecast as 0.

    Returns
    -------
    The backtest with ``closed``, ``error`` (forecast minus observed), and ``inside_80``, ``inside_95``: whether the
        interval held ``y``; null on closed days, and where the backtest has no such interval.
    """
    found = {nominal: (low, high) for nominal, low, high in intervals(backtest.columns)}
    rows = backtest.filter(pl.col("y").is_not_null() & pl.col("y").is_finite())
    rows = rows.join(_closed_cells(panel, rows["ds"]), on=["unique_id", "ds"], how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("closed").fill_null(value=False))
    rows = rows.with_columns(pl.when(pl.col("closed")).then(0.0).otherwise("y_hat").alias("y_hat"))
    return rows.with_columns(
        (pl.col("y_hat") - pl.col("y")).alias("error"),
        _inside(found.get(0.8)).alias("inside_80"),
        _inside(found.get(0.95)).alias("inside_95"),
    )


def score(rows: pl.DataFrame, by: Sequence[str] = ()) -> pl.DataFrame:
    """Sum up scored rows by some of their columns.

    Parameters
    ----------
    rows : from `scored_rows`.
    by : columns; none for one row over everything.

    Returns
    -------
    DataFrame of ``by`` (sorted) and ``n`` rows, ``n_series``, ``sales`` (sum of y), ``wape`` (sum of |error| / sum of
        |y|), ``bias`` (sum of error / sum of |y|, positive when the forecast is too high), ``coverage_80`` and
        ``coverage_95``. Null where nothing was sold, or where there is no interval.
    """
    size = pl.col("y").abs().sum()
    metrics = [
        pl.len().alias("n"),
        pl.col("unique_id").n_unique().alias("n_series"),
        pl.col("y").sum().alias("sales"),
        pl.when(size > 0).then(pl.col("error").abs().sum() / size).alias("wape"),
        pl.when(size > 0).then(pl.col("error").sum() / size).alias("bias"),
        pl.col("inside_80").mean().alias("coverage_80"),
        pl.col("inside_95").mean().alias("coverage_95"),
    ]
    return rows.group_by(by).agg(metrics).sort(by) if by else rows.select(metrics)


def calibration(rows: pl.DataFrame, h: int) -> pl.DataFrame:
    """How often the truth lay inside each central interval on open days, overall and by quarter of the horizon.

    Parameters
    ----------
    rows : from `scored_rows`.
    h : steps of the horizon.

    Returns
    -------
    DataFrame ``quarter`` (0 overall, 1..4), ``first``, ``last`` (steps), ``nominal``, ``measured`` (shares 0-1), ``n``.
    """
    found = intervals(rows.columns)
    schema = {"quarter": pl.Int64, "first": pl.Int64, "last": pl.Int64}
    rows = rows.filter(~pl.col("closed"))
    if not found or rows.is_empty():
        return pl.DataFrame(schema=schema | {"nominal": pl.Float64, "measured": pl.Float64, "n": pl.Int64})
    quarter = ((pl.col("step").cast(pl.Int64) * 4 - 1) // h + 1).clip(1, 4).alias("quarter")
    hits = [_inside((low, high)).alias(str(nominal)) for nominal, low, high in found]
    flags = rows.select("step", quarter, *hits)
    whole = flags.with_columns(pl.lit(0, dtype=pl.Int64).alias("quarter"))
    steps = [pl.col("step").min().alias("first"), pl.col("step").max().alias("last"), pl.len().alias("n")]
    wide = pl.concat([part.group_by("quarter").agg(*steps, pl.exclude("step").mean()) for part in (whole, flags)])
    long = wide.unpivot(index=["quarter", "first", "last", "n"], variable_name="nominal", value_name="measured")
    columns = [pl.col("first", "last", "n").cast(pl.Int64), pl.col("nominal").cast(pl.Float64)]
    return long.with_columns(columns).select(*schema, "nominal", "measured", "n").sort("quarter", "nominal")


def total_errors(rows: pl.DataFrame) -> pl.DataFrame:
    """The backtest of the total: per window and step the sums over series of what was observed and forecast.

    Returns
    -------
    DataFrame ``cutoff, step, ds, y, y_hat, ratio``; ``ratio`` = y / y_hat, null where y_hat is not positive.
    """
    sums = rows.group_by("cutoff", "step", "ds").agg(pl.col("y", "y_hat").sum())
    ratio = pl.when(pl.col("y_hat") > 0).then(pl.col("y") / pl.col("y_hat"))
    return sums.with_columns(ratio.alias("ratio")).sort("cutoff", "step")


def _is_quantile(name: str) -> bool:
    return name[:1] == "q" and name[1:].replace("_", "", 1).isdigit()


def _inside(bounds: tuple[str, str] | None) -> pl.Expr:
    if bounds is None:
        return pl.lit(None, dtype=pl.Boolean)
    inside = pl.col("y").is_between(pl.col(bounds[0]), pl.col(bounds[1]))
    return pl.when(~pl.col("closed")).then(inside)


def _closed_cells(panel: Panel, ds: pl.Series) -> pl.DataFrame:
    """Known closed cells at or after the first of some dates."""
    dates = panel.dates(0, panel.closed.shape[1])
    first = int(np.searchsorted(dates, ds.to_numpy().min())) if len(ds) else len(dates)
    row, column = np.nonzero(panel.closed[:, first:])
    cells = {"unique_id": panel.series["unique_id"].gather(row), "ds": dates[first + column]}
    return pl.DataFrame(cells, schema_overrides={"ds": pl.Date}).with_columns(pl.lit(value=True).alias("closed"))
