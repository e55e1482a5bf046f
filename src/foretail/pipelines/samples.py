"""forecast --samples: whole futures of all series at once, and the quantiles of their totals over time and series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from foretail.core.columns import CUTOFF, MODEL, MODEL_VERSION, STEP, UNIQUE_ID, Y_HAT
from foretail.core.errors import UsageError, nearest
from foretail.core.quantiles import quantile_column
from foretail.forecasts.output import Writer
from foretail.forecasts.samples import Sampler, group_codes
from foretail.models.dependence import Dependence
from foretail.pipelines.answer import Wanted
from foretail.registry.bundle import Bundle

__all__ = ["SamplesAsked", "Sampling"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SAMPLES, TOTALS = "samples.parquet", "totals.parquet"
_ROWS = 1024  # series written at a time
_FEWEST = 40  # samples below which the 2.5 % quantile of a total is its smallest sample


@dataclass(frozen=True)
class SamplesAsked:
    """What ``--samples`` and the options beside it ask for.

    Attributes
    ----------
    n_samples : S futures. seed : the same one gives the same futures.
    lead_times : numbers of first steps to total, beside the whole horizon.
    by : levels to total over, each a tuple of key or static columns; each series and all of them come unasked.
    """

    n_samples: int = 200
    seed: int = 7
    lead_times: tuple[int, ...] = ()
    by: tuple[tuple[str, ...], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of the totals should know."""
        if self.n_samples >= _FEWEST:
            return ()
        return (f"{self.n_samples} samples are few: outer quantiles of totals need {_FEWEST} or more",)


@dataclass(frozen=True)
class Sampling:
    """A forecast that is sampled.

    Attributes
    ----------
    asked : what for. dependence : how errors go together. wanted : what is forecast. levels : of the quantiles.
    """

    asked: SamplesAsked
    dependence: Dependence
    wanted: Wanted
    levels: tuple[float, ...]

    @classmethod
    def of(cls, bundle: Bundle, wanted: Wanted, asked: SamplesAsked) -> Sampling:
        """Checked against a version before anything is forecast.

        Raises
        ------
        UsageError : the version holds no errors to draw from, a lead time beyond the horizon, a column of no series.
        """
        dependence = Dependence.from_arrays(bundle.calibration)
        _check(asked, wanted)
        return cls(asked, dependence, wanted, bundle.info.levels)

    def files(self, frame: pl.DataFrame, shown: pl.DataFrame) -> Mapping[str, Writer]:
        """The files of the samples and of the totals.

        Parameters
        ----------
        frame : the forecast table in the house's columns. shown : the same rows in the user's.
        """
        drawn = _Drawn(self, frame)
        totals = drawn.totals()
        return {
            SAMPLES: lambda path: drawn.write(path, shown),
            TOTALS: totals.write_parquet,
            "totals.csv": totals.write_csv,
        }


@dataclass(frozen=True)
class _Drawn:
    """The samples of a forecast table, drawn when asked for and never all at once."""

    sampling: Sampling
    frame: pl.DataFrame

    @cached_property
    def series(self) -> pl.DataFrame:
        """Keys and static columns of the n series asked for, in the order of all series."""
        return self.sampling.wanted.series.join(self.frame.select(UNIQUE_ID).unique(), on=UNIQUE_ID, how="semi",
                                                maintain_order="left")  # fmt: skip

    @cached_property
    def row(self) -> IntArray:
        """``[n, H]`` the row of the forecast table; -1 where nothing was asked."""
        place = self.series.select(UNIQUE_ID).with_row_index("place")
        places = self.frame.select(UNIQUE_ID).join(place, on=UNIQUE_ID, how="left", maintain_order="left")["place"]
        row = np.full((self.series.height, self.sampling.wanted.panel.spec.horizon), -1, dtype=np.int64)
        row[places.to_numpy(), self.frame[STEP].to_numpy() - 1] = np.arange(self.frame.height)
        return row

    def totals(self) -> pl.DataFrame:
        """One row per level's group and span, quantiles of the samples' totals."""
        asked = self.sampling.asked
        h = self.row.shape[1]
        spans = sorted({h, *asked.lead_times}, reverse=True)
        keys = tuple(self.sampling.wanted.panel.spec.keys)
        levels = [*([keys] if keys else []), *(level for level in asked.by if set(level) != set(keys)), ()]
        groups = [_Group.of(self.series, level) for level in dict.fromkeys(levels)]
        sums = [np.zeros((len(spans), group.n, asked.n_samples)) for group in groups]
        for low, high, paths in self.blocks():
            for i, end in enumerate(spans):
                part = paths[:, :end].sum(1, dtype=np.float64)
                for group, total in zip(groups, sums, strict=True):
                    np.add.at(total[i], group.code[low:high], part)
        parts = [
            self._rows(group, end, total[i])
            for group, total in zip(groups, sums, strict=True)
            for i, end in enumerate(spans)
        ]
        return self._named(pl.concat(parts, how="diagonal"), [*keys, *(name for level in asked.by for name in level)])

    def write(self, path: Path, shown: pl.DataFrame) -> None:
        """One row per series and date, its samples as a list of S float32."""
        spec = self.sampling.wanted.panel.spec
        step = STEP if STEP in shown.columns and STEP not in (*spec.keys, spec.time) else f"forecast_{STEP}"
        names = [*spec.keys, spec.time, step]
        writer: pq.ParquetWriter | None = None
        try:
            for rows, samples in self._asked_rows():
                table = shown[rows].select(names).to_arrow()
                values = pa.FixedSizeListArray.from_arrays(pa.array(samples.ravel()), samples.shape[1])
                table = table.append_column("forecast_samples" if "samples" in names else "samples", values)
                writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()

    def blocks(self) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
        """Some series at a time: their places and samples ``[rows, H, S]``, 0 where nothing was asked."""
        asked, dependence = self.sampling.asked, self.sampling.dependence
        codes = group_codes(self.series, dependence.columns)
        sampler = Sampler(dependence, self.row.shape[1], asked.n_samples, asked.seed, codes)
        non_negative = self.sampling.wanted.panel.spec.non_negative
        for first in range(0, len(self.row), _ROWS):
            quantiles = self._quantiles(self.row[first : first + _ROWS])
            for low, high, paths in sampler.blocks(
                quantiles, self.sampling.levels, first=first, non_negative=non_negative
            ):
                yield first + low, first + high, paths

    def _quantiles(self, row: IntArray) -> FloatArray:
        """``[n, H, Q]``; 0 where nothing was asked."""
        flat = row.ravel()
        table = self.frame.select(map(quantile_column, self.sampling.levels))[np.maximum(flat, 0)].to_numpy()
        return np.where((flat >= 0)[:, None], table, 0.0).reshape(*row.shape, -1)

    def _asked_rows(self) -> Iterator[tuple[IntArray, npt.NDArray[np.float32]]]:
        """Rows of the forecast table and their samples ``[rows, S]``, by series and step."""
        for low, high, paths in self.blocks():
            row = self.row[low:high]
            yield row[row >= 0], paths[row >= 0]

    def _rows(self, group: _Group, end: int, totals: FloatArray) -> pl.DataFrame:
        is_asked = self.row[:, :end] >= 0
        y_hat = np.where(is_asked, self.frame[Y_HAT].to_numpy()[np.maximum(self.row[:, :end], 0)], 0.0).sum(1)
        n_series = np.bincount(group.code, weights=is_asked.any(1), minlength=group.n).astype(np.int64)
        dates = self.sampling.wanted.panel.future_dates(end)
        levels = self.sampling.levels
        quantiles = np.quantile(totals, levels, axis=1)
        return group.names.with_columns(
            pl.lit(dates[0].item()).alias("first"),
            pl.lit(dates[-1].item()).alias("last"),
            pl.lit(end, dtype=pl.Int32).alias("steps"),
            pl.Series("n_series", n_series),
            pl.Series(Y_HAT, np.bincount(group.code, weights=y_hat, minlength=group.n)),
            *(pl.Series(quantile_column(level), quantiles[i]) for i, level in enumerate(levels)),
        ).filter(pl.col("n_series") > 0)

    def _named(self, totals: pl.DataFrame, own: Sequence[str]) -> pl.DataFrame:
        """Columns of the user first, ours after, renamed where the user has the name."""
        own = list(dict.fromkeys(own))
        made = self.frame.select(CUTOFF, MODEL, MODEL_VERSION).row(0, named=True)
        totals = totals.with_columns(pl.lit(value).alias(f"made {name}") for name, value in made.items())
        ours = [name for name in totals.columns if not name.startswith(("made ", "own "))]
        told = [*((name, name) for name in ours), *((f"made {name}", name) for name in made)]
        return totals.select(
            *(pl.col(f"own {name}").alias(name) if f"own {name}" in totals.columns else pl.lit(None).alias(name)
              for name in own),
            *(pl.col(source).alias(f"forecast_{name}" if name in own else name) for source, name in told),
        )  # fmt: skip


@dataclass(frozen=True)
class _Group:
    """A level: which group each series is of.

    Attributes
    ----------
    names : the columns of the level, ``own`` before their names, one row per group. code : ``[N]`` row of ``names``.
    """

    names: pl.DataFrame
    code: IntArray

    @property
    def n(self) -> int:
        return self.names.height

    @classmethod
    def of(cls, series: pl.DataFrame, level: tuple[str, ...]) -> _Group:
        """All series in one group where the level has no column."""
        if not level:
            return cls(pl.DataFrame({"own ": [0]}), np.zeros(series.height, dtype=np.int64))
        columns = series.select(pl.col(name).alias(f"own {name}") for name in level)
        names = columns.unique(maintain_order=True)
        placed = columns.join(names.with_row_index("place"), on=names.columns, how="left", nulls_equal=True,
                              maintain_order="left")  # fmt: skip
        return cls(names, placed["place"].to_numpy().astype(np.int64))


def _check(asked: SamplesAsked, wanted: Wanted) -> None:
    h = wanted.panel.spec.horizon
    late = [steps for steps in asked.lead_times if not 1 <= steps <= h]
    if late:
        raise UsageError(
            f"a lead time of {late[0]} {wanted.panel.frequency.noun}s does not lie in the horizon.\n"
            f"  where: --lead-time {late[0]}\n  fix:   1 to {h}, or a longer --horizon where the version has one"
        )
    known = [name for name in wanted.series.columns if name != UNIQUE_ID]
    for name in (name for level in asked.by for name in level):
        if name not in known:
            raise UsageError(
                f"{name!r} is no key and no static column of the series.\n  where: --total-by\n"
                f"  fix:   {nearest(name, known)}"
            )
