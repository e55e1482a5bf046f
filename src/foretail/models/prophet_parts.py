"""The components of Prophet's forecasts: trend, seasons, holidays and covariates, as the batch engine fits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from foretail.features.groups import CALENDAR, LEVEL, OTHER, SEASON
from foretail.features.space import Space
from foretail.models.contributions import Contributions, Term, from_logs, from_space
from foretail.models.prophet_design import Design, values_of
from foretail.models.prophet_engine import MIN_PERIODS, constant_series, fit_rows, groups, trend_of
from foretail.models.prophet_layout import WEEKDAYS, Layout
from foretail.models.prophet_map import Fit, joined

__all__ = ["Components", "component_terms", "components"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """Components of B series over H steps.

    Attributes
    ----------
    z : ``[B, P, H]``, one per term of `component_terms`; added up they are the forecast over ``unit``, or its log.
    is_log : bool ``[B]``. unit : ``[B]``.
    """

    z: FloatArray
    is_log: BoolArray
    unit: FloatArray

    def contributions(
        self, terms: tuple[Term, ...], place: IntArray, steps: IntArray, usual: FloatArray, floor: bool
    ) -> Contributions:
        """As parts of sales.

        Parameters
        ----------
        place, steps : ``[R]`` position among the B series, and step. usual : ``[R]``, see `usual_sales`.
        """
        z = self.z[place, :, steps - 1]
        unit, is_log = self.unit[place], self.is_log[place]
        size = np.where(usual > 0, usual, unit)
        logs = z.copy()
        logs[:, 0] -= np.log(np.where(is_log, size / unit, 1.0))
        logs = np.where(is_log[:, None], logs, 0.0)
        multiplied = from_logs(size, np.zeros_like(size), usual, terms, logs, 0, floor)
        added = from_space(Space("level"), unit, usual, terms, np.where(is_log[:, None], 0.0, z), 0, floor)
        return added.replaced(is_log, multiplied)


def component_terms(layout: Layout, groups: Mapping[str, str]) -> tuple[Term, ...]:
    """The P terms: the trend, the two seasons, every holiday and every covariate.

    Parameters
    ----------
    groups : of each covariate, see `covariate_groups`.
    """
    return (
        Term("trend", LEVEL),
        Term("year", SEASON),
        Term("week", SEASON),
        *(Term(f"holiday {name}", CALENDAR) for name in layout.holiday_names),
        *(Term(name, groups.get(name, OTHER), name) for name, _ in layout.covariates),
    )


def components(y: FloatArray, closed: BoolArray, *known: Float32Array, layout: Layout) -> Components:
    """Fit series again, a group at a time, and keep the components apart.

    Parameters
    ----------
    y : ``[B, T]``. closed : bool ``[B, T + H]``. known : float32 ``[B, T + H]`` for each of ``layout.covariates``.
    """
    blocks = [_block(y[part], closed[part], tuple(item[part] for item in known), layout) for part in groups(len(y))]
    return joined(blocks)


def _block(y: FloatArray, closed: BoolArray, known: tuple[Float32Array, ...], layout: Layout) -> Components:
    """Constant series have a trend only, and series that are too short nothing."""
    values = values_of(y, closed[:, : layout.n_periods], layout.options)
    z = np.zeros((len(y), len(_widths(layout)) + 1, layout.h))
    constant, first = constant_series(values)
    z[constant, 0] = first[constant, None]
    rows = np.flatnonzero((values.n >= MIN_PERIODS) & ~constant)
    if len(rows):
        z[rows] = _fitted(*fit_rows(values.take(rows), tuple(item[rows] for item in known), layout), layout)
    return Components(z * values.scale[:, None, None], values.is_log, values.unit)


def _fitted(fit: Fit, ahead: Design, layout: Layout) -> FloatArray:
    """``[B, P, H]`` scaled components of the horizon."""
    trend = trend_of(fit, ahead)
    each = fit.beta[:, :, None] * ahead.x
    bounds = np.cumsum([0, *_widths(layout)])
    sums = [each[:, a:b].sum(axis=1) for a, b in pairwise(bounds)]
    factor = trend if layout.options.is_multiplicative else np.ones_like(trend)
    return np.stack([trend, *(item * factor for item in sums)], axis=1)


def _widths(layout: Layout) -> list[int]:
    """Columns of each term but the trend, in the order of `component_terms`."""
    per_number = 1 + (WEEKDAYS if len(layout.weekday) else 0)
    holidays = [1] * len(layout.holiday_names)
    return [2 * layout.yearly, 2 * layout.weekly, *holidays, *(n or per_number for _, n in layout.covariates)]
