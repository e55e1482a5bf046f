"""The panel: validated sales as dense matrices on one integer time line, and what was known of them at a cutoff."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.frequency import Frequency
from foretail.core.spec import DatasetSpec

__all__ = ["Covariate", "Panel", "Revisions", "Withheld"]

FloatMatrix = npt.NDArray[np.float64]
Float32Matrix = npt.NDArray[np.float32]
BoolMatrix = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Covariate:
    """One covariate of every series.

    Attributes
    ----------
    name : its column in the user's table.
    values : float32 ``[N, T + H]`` for known covariates (H future periods), ``[N, T]`` for past ones; NaN = not given.
        Text is coded 0, 1, … in the order of ``categories``.
    categories : the texts behind the codes; empty for numbers.
    delay : past covariates: periods until a value is published.
    """

    name: str
    values: Float32Matrix
    categories: tuple[str, ...] = ()
    delay: int = 0


@dataclass(frozen=True)
class Revisions:
    """Cells of ``y`` that were restated: what each held, and from when on.

    One entry per version of a restated cell, the final version included. ``known_at`` is a period index like
    ``Panel.start``: the version counts for every cutoff at or after it.
    """

    row: IntArray
    period: IntArray  # absolute period index of the cell
    known_at: IntArray
    y: FloatMatrix  # [entries]


@dataclass(frozen=True)
class Withheld:
    """Cells in which the goods ran out: ``y`` has no value there, for what was sold is less than the demand.

    One entry per cell, by row and period; what was sold is a lower bound.
    """

    row: IntArray
    period: IntArray  # absolute period index of the cell
    sold: FloatMatrix  # [entries]; NaN where not even that was told
    available: FloatMatrix  # [entries] share of the period in which the goods could be bought; NaN where not told

    def where(self, mask: BoolMatrix) -> Withheld:
        """The entries for which ``mask`` holds."""
        return Withheld(self.row[mask], self.period[mask], self.sold[mask], self.available[mask])

    def of_rows(self, index: IntArray, n_series: int) -> Withheld:
        """The entries of some of ``n_series`` rows, which are numbered anew."""
        position = np.full(n_series, -1, dtype=np.int64)
        position[index] = np.arange(len(index))
        kept = self.where(position[self.row] >= 0)
        return replace(kept, row=position[kept.row])


@dataclass(frozen=True)
class Panel:
    """Validated sales of N series over T periods.

    Attributes
    ----------
    spec : the meaning of the columns.
    series : N rows: ``unique_id``, the key columns, the static columns; sorted by the keys. Row i belongs to row i of
        every matrix. Every series has at least one observation (those without are answered by the forecasts room).
    start : period index (see `Frequency`) of column 0.
    y : float64 ``[N, T]`` in the unit of the target; NaN = not observed (before, after and between observations).
    closed : bool ``[N, T + H]``; the shop is known to be shut, sales are 0 whatever the model says.
    known : covariates known for the H future periods too.
    past : covariates known only up to the last period.
    dataset_version : content hash of the snapshot; "" before it is taken.
    revisions : restated cells, so that an earlier cutoff sees what was known then.
    withheld : cells whose sales are no demand because the goods ran out; None where the spec tells of none.
    """

    spec: DatasetSpec
    series: pl.DataFrame
    start: int
    y: FloatMatrix
    closed: BoolMatrix
    known: tuple[Covariate, ...] = ()
    past: tuple[Covariate, ...] = ()
    dataset_version: str = ""
    revisions: Revisions | None = field(default=None, repr=False)
    withheld: Withheld | None = field(default=None, repr=False)

    @property
    def n_series(self) -> int:
        return int(self.y.shape[0])

    @property
    def n_periods(self) -> int:
        return int(self.y.shape[1])

    @property
    def n_future(self) -> int:
        """Future periods for which known covariates reach."""
        return int(self.closed.shape[1]) - self.n_periods

    @property
    def frequency(self) -> Frequency:
        return self.spec.frequency

    @property
    def end(self) -> int:
        """Period index of the last column: the cutoff of a model fitted on this panel."""
        return self.start + self.n_periods - 1

    @property
    def cutoff(self) -> dt.date:
        """Date of the last column."""
        return cast(dt.date, self.frequency.to_date(self.end).item())

    @cached_property
    def unique_ids(self) -> list[str]:
        return self.series[UNIQUE_ID].to_list()

    @cached_property
    def observed(self) -> BoolMatrix:
        """bool ``[N, T]``: a value is there."""
        return np.isfinite(self.y)

    @cached_property
    def idle_share(self) -> float:
        """Share of the open periods without sales; 0 where none is observed."""
        open_y = self.y[self.observed & ~self.closed[:, : self.n_periods]]
        return float(np.count_nonzero(open_y <= 0)) / max(1, len(open_y))

    @cached_property
    def is_withheld(self) -> BoolMatrix:
        """bool ``[N, T]``: the goods ran out, so that ``y`` has no value."""
        if self.withheld is None:
            return np.broadcast_to(np.False_, self.y.shape)
        mask = np.zeros(self.y.shape, dtype=np.bool_)
        row, column = self.withheld.row, self.withheld.period - self.start
        inside = (column >= 0) & (column < self.n_periods)
        mask[row[inside], column[inside]] = True
        return mask

    @cached_property
    def first(self) -> IntArray:
        """int ``[N]``: column of the first observation; T where there is none."""
        return np.where(self.observed.any(1), self.observed.argmax(1), self.n_periods).astype(np.int64)

    @cached_property
    def last(self) -> IntArray:
        """int ``[N]``: column of the last observation; -1 where there is none."""
        reversed_first = self.observed[:, ::-1].argmax(1)
        return np.where(self.observed.any(1), self.n_periods - 1 - reversed_first, -1).astype(np.int64)

    def dates(self, first: int = 0, n: int | None = None) -> npt.NDArray[np.datetime64]:
        """Dates of ``n`` columns from column ``first`` on (future columns count on past T); all T by default."""
        n = self.n_periods - first if n is None else n
        return self.frequency.to_date(self.start + first + np.arange(n))

    def future_dates(self, h: int) -> npt.NDArray[np.datetime64]:
        """The h dates after the cutoff."""
        return self.dates(self.n_periods, h)

    def covariate(self, name: str) -> Covariate:
        """The covariate of that name."""
        return next(item for item in (*self.known, *self.past) if item.name == name)

    def as_of(self, n_periods: int, h: int | None = None) -> Panel:
        """The panel as it was known at the close of its first ``n_periods`` columns.

        Later values are gone, past covariates not yet published are gone, restated values are as first told. Known
        covariates reach ``h`` periods ahead (as far as they are held when None). Rows stay: series that had not begun
        have no observation.
        """
        told = self.withheld
        reach = self.closed.shape[1] if h is None else min(n_periods + h, self.closed.shape[1])
        y = self.y[:, :n_periods]
        if self.revisions is not None:
            y = self._as_told(y.copy(), n_periods)
        return replace(
            self,
            y=y,
            closed=self.closed[:, :reach],
            known=tuple(replace(item, values=item.values[:, :reach]) for item in self.known),
            past=tuple(replace(item, values=_published(item, n_periods)) for item in self.past),
            withheld=None if told is None else told.where(told.period < self.start + n_periods),
        )

    def _as_told(self, y: FloatMatrix, n_periods: int) -> FloatMatrix:
        told = self.revisions
        assert told is not None  # noqa: S101  (only called when there are revisions)
        cutoff = self.start + n_periods - 1
        inside = told.period <= cutoff
        y[told.row[inside], told.period[inside] - self.start] = np.nan
        known = inside & (told.known_at <= cutoff)
        order = np.flatnonzero(known)[np.argsort(told.known_at[known], kind="stable")]
        # later versions overwrite earlier ones: NumPy assigns repeated indices in order
        y[told.row[order], told.period[order] - self.start] = told.y[order]
        return y

    def select(self, rows: npt.NDArray[np.bool_] | IntArray) -> Panel:
        """The panel of some series only, in the order given."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        revisions, told = self.revisions, self.withheld
        if revisions is not None:
            position = np.full(self.n_series, -1, dtype=np.int64)
            position[index] = np.arange(len(index))
            keep = position[revisions.row] >= 0
            revisions = Revisions(
                position[revisions.row[keep]], revisions.period[keep], revisions.known_at[keep], revisions.y[keep]
            )
        return replace(
            self,
            series=self.series[index],
            y=self.y[index],
            closed=self.closed[index],
            known=tuple(replace(item, values=item.values[index]) for item in self.known),
            past=tuple(replace(item, values=item.values[index]) for item in self.past),
            revisions=revisions,
            withheld=None if told is None else told.of_rows(np.asarray(index, dtype=np.int64), self.n_series),
        )


def _published(item: Covariate, n_periods: int) -> Float32Matrix:
    values = item.values[:, :n_periods]
    if item.delay:
        values = values.copy()
        values[:, max(0, n_periods - item.delay) :] = np.nan
    return values
