"""Segments of series: how much they sell (A, B, C), how steadily (X, Y, Z), and the pattern of their demand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.panel.panel import Panel
from foretail.panel.segments import LARGEST_VARIATION, LONGEST_INTERVAL
from foretail.panel.segments import segments as demand_segments

__all__ = ["CLASSES", "DEMAND", "PATTERNS", "segments"]

CLASSES = {"A": "the series that make the first 80 % of sales", "B": "the next 15 %", "C": "the last 5 %"}
PATTERNS = {"X": "steady", "Y": "variable", "Z": "intermittent"}

DEMAND = {
    "smooth": "sells in most periods, no strong season",
    "seasonal": "the season explains most of what moves it",
    "intermittent": "now and then, about as much each time",
    "lumpy": "now and then, in very different amounts",
    "new": "first sold less than half a year ago",
    "ended": "nothing sold for longer than its rhythm makes likely",
}

FloatArray = npt.NDArray[np.float64]


def segments(panel: Panel) -> pl.DataFrame:
    """Sort every series of a panel into a segment.

    Volume is what was sold in the last year of the panel. A demand interval is the number of open, observed periods per
    period with sales; variation is the squared coefficient of variation of the periods with sales. X: interval under
    1.32 and variation under 0.49; Y: the same interval, more variation; Z: a longer interval, or nothing sold at all.
    The pattern of demand is that of `foretail.panel.segments`.

    Returns
    -------
    DataFrame ``unique_id, volume, share, interval, variation, abc, xyz, demand``, one row per series in the panel's
        order. ``interval`` and ``variation`` are null where nothing was sold.
    """
    interval, variation = _pattern(panel)
    volume = np.nansum(panel.y[:, -panel.frequency.year_length :], axis=1)
    share, abc = _classes(volume)
    steady = interval < LONGEST_INTERVAL
    xyz = np.select([steady & (variation < LARGEST_VARIATION), steady], ["X", "Y"], "Z")
    return pl.DataFrame(
        {
            "unique_id": panel.series["unique_id"],
            "volume": volume,
            "share": share,
            "interval": interval,
            "variation": variation,
            "abc": abc,
            "xyz": xyz,
            "demand": demand_segments(panel).labels,
        }
    ).with_columns(pl.col("interval", "variation").fill_nan(None))


def _classes(volume: FloatArray) -> tuple[FloatArray, npt.NDArray[np.str_]]:
    positive = np.maximum(volume, 0.0)
    share = positive / (positive.sum() or 1.0)
    order = np.argsort(-positive, kind="stable")
    before = np.empty_like(share)
    before[order] = np.cumsum(share[order]) - share[order]
    return share, np.select([(share > 0) & (before < 0.8), (share > 0) & (before < 0.95)], ["A", "B"], "C")


def _pattern(panel: Panel) -> tuple[FloatArray, FloatArray]:
    y = np.where(panel.closed[:, : panel.n_periods], np.nan, panel.y)
    sold = y > 0
    n_sold = sold.sum(1)
    some = np.maximum(n_sold, 1)
    mean = np.where(sold, y, 0.0).sum(1) / some
    spread = np.where(sold, y - mean[:, None], 0.0)
    variance = (spread**2).sum(1) / some
    interval = np.where(n_sold > 0, np.isfinite(y).sum(1) / some, np.nan)
    variation = np.where(n_sold > 0, variance / np.where(mean > 0, mean, 1.0) ** 2, np.nan)
    return interval, variation
