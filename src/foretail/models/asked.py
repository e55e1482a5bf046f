"""Which forecasts are to be explained, and under what future: what a family needs to take its own forecasts apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foretail.features.asof import reaching
from foretail.features.frame import Outlook
from foretail.features.plan import Plan
from foretail.models.contributions import usual_sales
from foretail.panel.panel import Covariate, Panel

__all__ = ["Asked"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """R forecasts, series and step each, that may see another future than the one that is told.

    Attributes
    ----------
    panel : N series that end at the cutoff, with exactly h future periods, as they are told. h : steps.
    rows, steps : ``[R]`` series and step, 1..h, of each forecast.
    ahead : known covariates of another future, float32 ``[S, h]`` for the S series of ``rows``.
    outlooks : of the whole panel as it is told, by plan; filled, and shared by everything asked of one panel.
    """

    panel: Panel
    h: int
    rows: IntArray
    steps: IntArray
    ahead: tuple[Covariate, ...] = ()
    outlooks: list[tuple[Plan, Outlook]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, panel: Panel, h: int, rows: IntArray, steps: IntArray) -> Asked:
        """Ask about the future that is told."""
        return cls(reaching(panel, h), h, rows, steps)

    def with_future(self, ahead: Sequence[Covariate]) -> Asked:
        """The same under another future."""
        return replace(self, ahead=tuple(ahead))

    @cached_property
    def _found(self) -> tuple[IntArray, IntArray]:
        series, place = np.unique(self.rows, return_inverse=True)
        return series.astype(np.int64), place.astype(np.int64)

    @property
    def series(self) -> IntArray:
        """``[S]`` the series asked about, ascending."""
        return self._found[0]

    @property
    def place(self) -> IntArray:
        """``[R]`` position of each forecast's series among the S."""
        return self._found[1]

    @property
    def at(self) -> IntArray:
        """``[R]`` position of each forecast among the S x h, by series and step."""
        return self.place * self.h + self.steps - 1

    @cached_property
    def usual(self) -> FloatArray:
        """``[R]`` usual sales, see `usual_sales`."""
        return usual_sales(self.panel, self.rows)

    @cached_property
    def alone(self) -> Panel:
        """The panel of the S series under this future."""
        part = replace(self.panel, revisions=None).select(self.series)
        return self._changed(part, np.arange(len(self.series)))

    @cached_property
    def whole(self) -> Panel:
        """The panel of all N series under this future."""
        return self._changed(self.panel, self.series)

    def _changed(self, panel: Panel, rows: IntArray) -> Panel:
        other = {item.name: item.values for item in self.ahead}
        known = tuple(
            _placed(item, rows, panel.n_periods, other[item.name]) if item.name in other else item
            for item in panel.known
        )
        return replace(panel, known=known)

    def outlook(self, plan: Plan) -> Outlook:
        """The outlook of the S series under this future."""
        whole = next((made for known, made in self.outlooks if known == plan), None)
        if whole is None:
            whole = Outlook.of(self.panel, plan, self.h)
            self.outlooks.append((plan, whole))
        return whole.only(self.series, self.ahead)


def _placed(item: Covariate, rows: IntArray, first: int, ahead: npt.NDArray[np.float32]) -> Covariate:
    values = item.values.copy()
    values[rows, first:] = ahead
    return replace(item, values=values)
