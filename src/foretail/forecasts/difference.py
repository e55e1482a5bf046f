"""How far two forecasts of the same series and dates may lie apart: intervals of their difference and of its totals.

With the dependence of errors that a version keeps, both futures are drawn under the same chance: what would have been
sold more or less on a day for reasons that nobody plans, would have been so either way. Without it (a version trained
before) the calibrated widths of both are laid on top of each other as if they had nothing in common, which is wider.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.forecasts.samples import Sampler
from foretail.models.dependence import Dependence

__all__ = ["SAMPLES", "WIDTHS", "Difference", "difference_of", "mirrored"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SAMPLES = "joint samples: both futures meet the same chance"
WIDTHS = "the calibrated widths of both forecasts: each future meets a chance of its own"

_SERIES_AT_ONCE = 2000
_N_SAMPLES = 400


@dataclass(frozen=True)
class Difference:
    """What a scenario adds, with L levels.

    Attributes
    ----------
    levels : ascending, in mirrored pairs. cells : ``[n, H, L]``. steps : ``[H, L]`` of the sum over series.
    series : ``[n, L]`` of the sum over steps. total : ``[L]`` of everything. by : `SAMPLES` or `WIDTHS`.
    """

    levels: tuple[float, ...]
    cells: FloatArray
    steps: FloatArray
    series: FloatArray
    total: FloatArray
    by: str


def mirrored(levels: Sequence[float]) -> tuple[float, ...]:
    """The levels whose mirror image is there too, without the median."""
    held = {round(level, 8) for level in levels}
    return tuple(level for level in levels if level != 0.5 and round(1 - level, 8) in held)


def difference_of(
    base: FloatArray,
    other: FloatArray,
    levels: Sequence[float],
    dependence: Dependence | None,
    groups: Mapping[str, IntArray],
    *,
    seed: int = 7,
    non_negative: bool = True,
) -> Difference:
    """Quantiles of the difference of two forecasts.

    Parameters
    ----------
    base, other : ``[n, H, 1 + Q]`` point forecast and calibrated quantiles. levels : the Q levels, ascending.
    dependence : how errors go together; None for a version that does not know.
    groups : codes ``[n]`` of the series by shared column. seed : of the draws.
    """
    wanted = mirrored(levels)
    if dependence is None:
        found = _by_widths(base, other, levels, wanted)
    else:
        found = _by_samples(base, other, levels, wanted, dependence, groups, seed, non_negative)
    return _around(found, other[..., 0] - base[..., 0])


def _around(found: Difference, point: FloatArray) -> Difference:
    """The same with every interval around its own point forecast of the difference, which is no median."""
    upper = np.array(found.levels) > 0.5

    def with_point(values: FloatArray, middle: FloatArray) -> FloatArray:
        middle = middle[..., None]
        return np.where(upper, np.maximum(values, middle), np.minimum(values, middle))

    return Difference(
        found.levels,
        with_point(found.cells, point),
        with_point(found.steps, point.sum(0)),
        with_point(found.series, point.sum(1)),
        with_point(found.total, point.sum()),
        found.by,
    )


# under the same chance


def _by_samples(
    base: FloatArray,
    other: FloatArray,
    levels: Sequence[float],
    wanted: tuple[float, ...],
    dependence: Dependence,
    groups: Mapping[str, IntArray],
    seed: int,
    non_negative: bool,
) -> Difference:
    n, h = base.shape[:2]
    sampler = Sampler(dependence, h, _N_SAMPLES, seed, groups)
    cells, series = np.zeros((n, h, len(wanted))), np.zeros((n, len(wanted)))
    steps = np.zeros((h, _N_SAMPLES))
    for part in _parts(n):
        paths = [
            sampler.paths(values[part, :, 1:], levels, first=part.start, non_negative=non_negative)
            for values in (other, base)
        ]
        drawn = (paths[0] - paths[1]).astype(np.float64)
        cells[part] = np.moveaxis(np.quantile(drawn, wanted, axis=2), 0, -1)
        series[part] = np.quantile(drawn.sum(1), wanted, axis=1).T
        steps += drawn.sum(0)
    return Difference(
        wanted,
        cells,
        np.quantile(steps, wanted, axis=1).T,
        series,
        np.quantile(steps.sum(0), wanted),
        SAMPLES,
    )


def _parts(n: int) -> Iterator[slice]:
    for first in range(0, n, _SERIES_AT_ONCE):
        yield slice(first, min(n, first + _SERIES_AT_ONCE))


# without anything in common


def _by_widths(base: FloatArray, other: FloatArray, levels: Sequence[float], wanted: tuple[float, ...]) -> Difference:
    """Offsets of both in quadrature; totals as if every cell erred the same way, as nobody knows better."""
    at = [1 + list(levels).index(level) for level in wanted]
    sign = np.sign(np.array(wanted) - 0.5)
    of_other = np.maximum(sign * (other[..., at] - other[..., :1]), 0.0)
    of_base = np.maximum(-sign * (base[..., at[::-1]] - base[..., :1]), 0.0)
    is_same = np.isclose(base, other, rtol=1e-9, atol=1e-12).all(-1, keepdims=True)
    offset = np.where(is_same, 0.0, sign * np.hypot(of_other, of_base))
    cells = (other - base)[..., :1] + offset
    return Difference(wanted, cells, cells.sum(0), cells.sum(1), cells.sum((0, 1)), WIDTHS)
