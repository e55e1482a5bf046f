"""What a forecast is made of: parts that add up to it, in the unit of the target, from a base that all families share.

Models that add logs multiply sales. Their parts are turned into sales by one rule, the logarithmic mean: with z the sum
of the parts of the logs and L = (y - b) / (ln y - ln b), a part p of z becomes p L. The parts add up to y - b exactly,
their order does not matter, and the same rule on levels is the identity. It is the straight path of Aumann and Shapley
(1974), *Values of non-atomic games*, and the LMDI-I of Ang (2005), *The LMDI approach to decomposition analysis: a
practical guide*, Energy Policy 33.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foretail.features.groups import FALLBACK, LEVEL, OTHER, SEASON
from foretail.features.space import Space
from foretail.panel.panel import Panel

__all__ = [
    "FLOOR",
    "Contributions",
    "Term",
    "answered_by_fallback",
    "averaged",
    "from_logs",
    "from_space",
    "level_and_season",
    "usual_sales",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Term:
    """One part of a forecast.

    Attributes
    ----------
    name : the feature or component. group : one of `foretail.features.groups.GROUPS`.
    source : the columns that it reads, as declared; "" for none.
    """

    name: str
    group: str
    source: str = ""


FLOOR = Term("not below 0", OTHER)  # what lifts a forecast to 0 where less makes no sense


@dataclass(frozen=True)
class Contributions:
    """Parts of R forecasts (series and step each), in the unit of the target.

    Attributes
    ----------
    terms : the P parts. parts : ``[R, P]``. base : ``[R]`` the usual sales of the series, see `usual_sales`.
    fallback : bool ``[R]`` the family did not answer itself; what there is stands in a term of group ``fallback``.
    """

    terms: tuple[Term, ...]
    parts: FloatArray
    base: FloatArray
    fallback: BoolArray

    @property
    def y_hat(self) -> FloatArray:
        """``[R]`` base and parts added up: the forecast."""
        total: FloatArray = self.base + self.parts.sum(axis=1)
        return total

    def replaced(self, rows: BoolArray, other: Contributions) -> Contributions:
        """These, with some rows taken from others of the same R.

        Parameters
        ----------
        rows : bool ``[R]``.
        """
        if not rows.any():
            return self
        chosen = rows.astype(np.float64)
        return averaged([(self, 1.0 - chosen), (other, chosen)])

    def unless_fallen(
        self, place: IntArray, steps: IntArray, y_hat: FloatArray, fallen: Collection[int]
    ) -> Contributions:
        """These, but one part for forecasts that a fallback answered.

        Parameters
        ----------
        place, steps : ``[R]`` series and step. y_hat : ``[S, h]`` of the series. fallen : series with a reason.
        """
        rows = np.isin(place, list(fallen))
        return self.replaced(rows, answered_by_fallback(self.base, y_hat[place, steps - 1])) if rows.any() else self


def usual_sales(panel: Panel, rows: IntArray) -> FloatArray:
    """The base of every explanation: mean sales of a series over its open, observed periods of the last year.

    Of the whole history where it has none in the last year; 0 where it has none at all.

    Parameters
    ----------
    rows : ``[R]`` series.
    """
    closed = panel.closed[:, : panel.n_periods]
    y = np.where(closed[rows], np.nan, panel.y[rows])
    last_year = _mean(y[:, -panel.frequency.year_length :])
    return np.nan_to_num(np.where(np.isfinite(last_year), last_year, _mean(y)))


def _mean(values: FloatArray) -> FloatArray:
    known = np.isfinite(values)
    n = known.sum(axis=1)
    # divided first: huge values have a mean, not a sum
    share = np.where(known, values, 0.0) / np.maximum(n, 1)[:, None]
    return np.where(n > 0, share.sum(axis=1), np.nan)


def from_space(
    space: Space, scale: FloatArray, base: FloatArray, terms: Sequence[Term], z: FloatArray, start: int, floor: bool
) -> Contributions:
    """Contributions from parts in model space.

    Parameters
    ----------
    scale : ``[R]`` size of each series. base : ``[R]`` usual sales. terms : of the P columns of ``z``.
    z : ``[R, P]`` parts that add up to the forecast in model space. start : the column from which the base, in model
        space, is taken off: the one that says where the series stands.
    floor : whether a forecast below 0 is 0.
    """
    usual = space.forward(base, scale)
    z = z.copy()
    with np.errstate(invalid="ignore"):
        z[:, start] -= usual
    if not space.is_log:
        return _floored(tuple(terms), z, base, floor)
    offset = np.exp(usual) - np.maximum(base, 0.0)  # what `Space` adds before it takes logs
    return from_logs(np.exp(usual), offset, base, terms, z, start, floor=True)


def from_logs(
    size: FloatArray,
    offset: FloatArray,
    base: FloatArray,
    terms: Sequence[Term],
    z: FloatArray,
    start: int,
    floor: bool,
) -> Contributions:
    """Contributions from parts of logs, by the logarithmic mean.

    Parameters
    ----------
    size : ``[R]`` positive, what the parts multiply. offset : ``[R]`` taken off afterwards. base : ``[R]``.
    z : ``[R, P]`` parts of the log of the forecast over ``size``. start : the column that gets what lies between
        ``size`` less ``offset`` and the base.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        total = z.sum(axis=1)
        flat = np.abs(total) < np.finfo(np.float64).tiny
        mean = size * np.where(flat, 1.0, np.expm1(np.minimum(total, 700.0)) / np.where(flat, 1.0, total))
        parts = z * mean[:, None]
        parts[:, start] += size - offset - base
    return _floored(tuple(terms), parts, base, floor)


def _floored(terms: tuple[Term, ...], parts: FloatArray, base: FloatArray, floor: bool) -> Contributions:
    """With what lifts a forecast to 0 as a term of its own."""
    nobody = np.zeros(len(base), dtype=np.bool_)
    if not floor:
        return Contributions(terms, parts, base, nobody)
    with np.errstate(over="ignore", invalid="ignore"):
        lifted = np.maximum(-(base + parts.sum(axis=1)), 0.0)
    return Contributions((*terms, FLOOR), np.column_stack([parts, lifted]), base, nobody)


def level_and_season(base: FloatArray, level: FloatArray, y_hat: FloatArray) -> Contributions:
    """A forecast as its level and what the place in the season makes of that; all ``[R]``."""
    parts = np.column_stack([level - base, y_hat - level])
    terms = (Term("level of the forecast", LEVEL), Term("place in the season", SEASON))
    return Contributions(terms, parts, base, np.zeros(len(base), dtype=np.bool_))


def answered_by_fallback(base: FloatArray, y_hat: FloatArray) -> Contributions:
    """Rows that a fallback answered: one part; both ``[R]``."""
    return Contributions(
        (Term("fallback", FALLBACK),), (y_hat - base)[:, None], base, np.ones(len(base), dtype=np.bool_)
    )


def averaged(weighted: Sequence[tuple[Contributions, FloatArray]]) -> Contributions:
    """Contributions mixed row by row; terms that are the same are added up.

    Parameters
    ----------
    weighted : at least one, each with its weights ``[R]``, which add up to 1 in every row. A row of weight 0 counts for
        nothing, whatever it holds.
    """
    columns: dict[Term, FloatArray] = {}
    for item, weight in weighted:
        held = weight[:, None] * np.where(weight[:, None] > 0, item.parts, 0.0)
        for column, term in enumerate(item.terms):
            columns[term] = columns.get(term, 0.0) + held[:, column]
    base = sum(weight * np.where(weight > 0, item.base, 0.0) for item, weight in weighted)
    fallback = np.logical_and.reduce([item.fallback | (weight <= 0) for item, weight in weighted])
    return Contributions(tuple(columns), np.column_stack([*columns.values()]), np.asarray(base), fallback)
