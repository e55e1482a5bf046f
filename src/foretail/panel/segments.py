"""The demand pattern of every series as of the end of a panel: smooth, seasonal, intermittent, lumpy, new or ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.panel.panel import Panel

__all__ = ["NAMES", "Segments", "open_sales", "segments", "silence", "strength"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

NAMES = ("smooth", "seasonal", "intermittent", "lumpy", "new", "ended")

# Syntetos, Boylan & Croston (2005), "On the categorization of demand patterns"
LONGEST_INTERVAL = 1.32
LARGEST_VARIATION = 0.49
# Hyndman & Athanasopoulos, "Forecasting: principles and practice", call a season of this strength worth differencing
STRONG = 0.64
_UNLIKELY = 1e-3  # chance of a silence as long as this one, below which a series has ended
_GAPS = 1.5  # times its own longest gap before: sales come in clumps, and seasons come back
_LEAST_SILENCE = {"D": 56, "W": 8, "M": 3}  # eight weeks: shorter ones are holidays, repairs and empty shelves
_SEASONS = {"D": 26, "W": 3, "M": 4}  # the last seasons that are looked at: half a year of weeks, some years
_SWEEPS = 3  # of level and shape in turn, which incomplete seasons need
_YEARS = 3  # the last years looked at for the season of a daily panel's weeks


@dataclass(frozen=True)
class Segments:
    """One segment per series.

    Attributes
    ----------
    codes : int64 ``[N]``, places in ``names``.
    names : the segments.
    """

    codes: IntArray
    names: tuple[str, ...] = NAMES

    @property
    def labels(self) -> list[str]:
        """The segment of each series by name."""
        return [self.names[code] for code in self.codes.tolist()]

    def of(self, name: str) -> BoolArray:
        """Which series are in a segment, bool ``[N]``."""
        inside: BoolArray = self.codes == self.names.index(name)
        return inside

    def counts(self) -> dict[str, int]:
        """Series per segment, empty segments included."""
        return dict(zip(self.names, np.bincount(self.codes, minlength=len(self.names)).tolist(), strict=True))


def segments(panel: Panel) -> Segments:
    """Sort every series of a panel into a segment, by what its columns say and nothing later.

    Closed periods and periods without an observation count for nothing, except that a series without a row at the end
    is silent there. The first of these that holds names the segment:

    - *ended*: nothing sold at the end for longer than its rhythm makes likely (see `silence`), or never at all;
    - *new*: the first sale lies less than half a year back, or less than half the panel where that is younger;
    - *lumpy*, *intermittent*: 1.32 or more periods per period with sales, and the squared coefficient of variation of
      the periods with sales is at least 0.49, or less (Syntetos, Boylan & Croston 2005);
    - *seasonal*: the season explains more than 0.64 of what moves the series (see `strength`);
    - *smooth*: the rest. What sells in every period but erratically is here too: the same families fit it.

    A series that never sold and was first observed as recently as a new one is new, not ended.
    """
    y = open_sales(panel)
    is_sold = np.abs(y) > 0
    interval, variation = _pattern(y, is_sold)
    silent, longest = silence(panel)
    first = np.where(is_sold.any(1), is_sold.argmax(1), panel.first)
    is_new = panel.n_periods - first < min(panel.frequency.year_length, panel.n_periods) // 2
    is_often = interval < LONGEST_INTERVAL
    is_even = variation < LARGEST_VARIATION
    choices = [(silent > longest) & (is_sold.any(1) | ~is_new), is_new, ~is_often & ~is_even, ~is_often]
    codes = [NAMES.index(name) for name in ("ended", "new", "lumpy", "intermittent", "seasonal")]
    return Segments(np.select([*choices, strength(panel) > STRONG], codes, NAMES.index("smooth")).astype(np.int64))


def open_sales(panel: Panel) -> FloatArray:
    """Sales ``[N, T]`` with NaN where the shop was closed, unless it sold all the same."""
    return np.where(panel.closed[:, : panel.n_periods] & (panel.y == 0), np.nan, panel.y)


def silence(panel: Panel) -> tuple[IntArray, FloatArray]:
    """How long nothing has been sold, and how long that may go on before the series counts as ended.

    With a share p of open periods with sales between the first and the last sale, n periods without any have the
    probability (1 - p)^n. The bound is the n at which that falls below 1 in 1,000, at least 1.5 times the longest
    silence that the series came back from, and at least eight weeks (three months in a monthly panel).

    Returns
    -------
    (silent, bound) : ``[N]``, open periods since the last sale; those without a row count as open, those in
        which the goods ran out do not. A series that never sold is silent since its first row, and has the least bound.
    """
    is_open = ~(panel.closed[:, : panel.n_periods] | panel.is_withheld)
    is_sold = np.abs(open_sales(panel)) > 0
    least = _LEAST_SILENCE[panel.frequency.code[0]]
    clock = np.cumsum(is_open | is_sold, axis=1, dtype=np.int32)  # counts open periods
    now = clock[:, -1].astype(np.int64)
    previous = np.maximum.accumulate(np.where(is_sold, clock, 0), axis=1)
    last = previous[:, -1].astype(np.int64)
    gap = np.where(is_sold[:, 1:] & (previous[:, :-1] > 0), clock[:, 1:] - previous[:, :-1], 0).max(1, initial=0)
    first = np.take_along_axis(clock, is_sold.argmax(1)[:, None], 1)[:, 0]
    share = (is_sold.sum(1) - 1) / np.maximum(last - first, 1)  # the last sale ends the span, so it says nothing
    with np.errstate(divide="ignore"):
        likely = np.log(_UNLIKELY) / np.log1p(-np.clip(share, 1e-9, 1.0))
    is_known = is_sold.sum(1) > 1
    bound = np.maximum(least, np.maximum(np.where(is_known, likely, least), _GAPS * gap))
    begun = np.take_along_axis(clock, np.minimum(panel.first, panel.n_periods - 1)[:, None], 1)[:, 0]
    has_sold = is_sold.any(1)
    return now - np.where(has_sold, last, begun - 1), np.where(has_sold, bound, float(least))


def strength(panel: Panel) -> FloatArray:
    """How much of what moves a series its season explains, 0 to 1, ``[N]``.

    1 - Var(rest) / Var(season + rest) (Wang, Smith & Hyndman 2006), on what is left when the mean of each season is
    taken away; the season is the mean by place in it over the last seasons, and both variances are divided by their
    degrees of freedom, so that a place seen two or three times does not explain its own noise. A daily panel has two
    seasons, the weekday and, with two years of history, the week of the year: the stronger one counts.
    """
    y = open_sales(panel)
    frequency = panel.frequency
    found = _explained(y, frequency.season_length, _SEASONS[frequency.code[0]])
    if not frequency.is_daily:
        return found
    weeks = y[:, panel.n_periods % 7 :].reshape(panel.n_series, -1, 7)
    return np.maximum(found, _explained(_mean(weeks, 2), frequency.year_length // 7, _YEARS))


def _explained(y: FloatArray, season: int, n_seasons: int) -> FloatArray:
    n_seasons = min(n_seasons, -(-y.shape[1] // season))
    if y.shape[1] < 1.5 * season:
        return np.zeros(len(y))
    width = min(y.shape[1], n_seasons * season)
    padded = np.full((len(y), n_seasons * season), np.nan)
    padded[:, n_seasons * season - width :] = y[:, y.shape[1] - width :]
    blocks = padded.reshape(len(y), n_seasons, season)
    level, shape = _two_way(blocks)
    moved = blocks - level
    is_told = np.isfinite(blocks)
    free = is_told.sum((1, 2)) - is_told.any(2).sum(1)
    free_rest = free - is_told.any(1).sum(1) + 1
    total, left = (np.nansum(part**2, axis=(1, 2)) for part in (moved, moved - shape))
    is_measured = (free_rest >= season // 2) & (total > 0)
    ratio = left * free / np.where(is_measured, total * free_rest, 1.0)
    return np.where(is_measured, np.clip(1.0 - ratio, 0.0, 1.0), 0.0)


def _two_way(blocks: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Level per season ``[N, seasons, 1]`` and shape by place in it ``[N, 1, season]``; seasons may be incomplete."""
    shape = np.zeros((len(blocks), 1, blocks.shape[2]))
    for _ in range(_SWEEPS):
        level = _mean(blocks - shape, 2)[:, :, None]
        shape = _mean(blocks - level, 1)[:, None, :]
        shape = shape - _mean(shape, 2)[:, :, None]
    return level, shape


def _mean(values: FloatArray, axis: int) -> FloatArray:
    """Mean of what is finite; NaN where nothing is."""
    n = np.isfinite(values).sum(axis)
    mean: FloatArray = np.nansum(values, axis=axis) / np.where(n > 0, n, np.nan)
    return mean


def _pattern(y: FloatArray, is_sold: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Open periods per period with sales since the first one, and squared variation of those with sales, ``[N]``."""
    n_sold = is_sold.sum(1)
    since = np.arange(y.shape[1]) >= is_sold.argmax(1)[:, None]
    some = np.maximum(n_sold, 1)
    size = np.where(is_sold, np.abs(y), 0.0)
    mean = size.sum(1) / some
    relative = np.where(is_sold, size / np.where(mean > 0, mean, 1.0)[:, None] - 1.0, 0.0)
    interval = np.where(n_sold > 0, (np.isfinite(y) & since).sum(1) / some, np.inf)
    return interval, (relative**2).sum(1) / some
