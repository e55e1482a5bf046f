"""forecast --scenario: the forecasts of a version under other prices, promotions and opening days, beside its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import STEP, UNIQUE_ID, Y_HAT
from foretail.core.progress import Progress
from foretail.core.quantiles import quantile_column
from foretail.core.settings import Settings
from foretail.forecasts.cold import Cold
from foretail.forecasts.difference import Difference, difference_of
from foretail.forecasts.frame import forecast_frame, user_frame
from foretail.forecasts.heeding import reconciler
from foretail.forecasts.known_values import known_covariates
from foretail.forecasts.output import Writer, write_outputs
from foretail.forecasts.range_seen import beyond_the_range, opened_anew
from foretail.forecasts.samples import group_codes
from foretail.forecasts.scenario import Told, lay_scenario
from foretail.forecasts.whatif import WhatIf
from foretail.models.contract import Forecast
from foretail.models.dependence import PREFIX, Dependence
from foretail.models.intervals import Conformal
from foretail.panel.panel import Covariate, Panel
from foretail.pipelines.answer import Wanted
from foretail.pipelines.forecast import keep_forecasts, open_version
from foretail.registry.bundle import Bundle
from foretail.sources.files import read_frame

__all__ = ["BASE", "DIFFERENCE", "Outcome", "ScenarioResult", "compare", "forecast_scenario"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

BASE, DIFFERENCE = "y_hat_base", "difference"
_ROUNDING = 1e-9  # share of a forecast that is no difference


@dataclass(frozen=True)
class Outcome:
    """A scenario beside what is known.

    Attributes
    ----------
    base, other : forecast tables in the house's columns, the same rows: as it is known, and in the scenario.
    kept : bool, the rows of series that the scenario names or moves. ids : those series, in order.
    difference : its intervals, ``[n, H, L]`` for them. warnings : one sentence each.
    columns : what is added to the rows kept: the columns that the scenario changes, before and after.
    """

    base: pl.DataFrame
    other: pl.DataFrame
    kept: BoolArray
    ids: tuple[str, ...]
    difference: Difference
    warnings: tuple[str, ...]
    columns: pl.DataFrame

    def frame(self) -> pl.DataFrame:
        """The rows kept: the scenario's forecast, what it is without, the difference and its interval."""
        row, step = _places(self.other.filter(pl.Series(self.kept)), self.ids)
        cells = self.difference.cells[row, step]
        other, base = (item.filter(pl.Series(self.kept)) for item in (self.other, self.base))
        told = [
            pl.Series(f"{DIFFERENCE}_{quantile_column(level)}", cells[:, i])
            for i, level in enumerate(self.difference.levels)
        ]
        before = base[Y_HAT].alias(BASE)
        return other.with_columns(before, (other[Y_HAT] - before).alias(DIFFERENCE), *told).hstack(self.columns)

    def summary(self) -> dict[str, Any]:
        """Totals over the rows kept, with the interval of their difference, and the warnings."""
        base, other = (float(item.filter(pl.Series(self.kept))[Y_HAT].sum()) for item in (self.base, self.other))
        bounds = {
            f"{DIFFERENCE}_{quantile_column(level)}": float(bound)
            for level, bound in zip(self.difference.levels, self.difference.total, strict=True)
        }
        return {
            "n_series": len(self.ids),
            "n_rows": int(self.kept.sum()),
            BASE: base,
            Y_HAT: other,
            DIFFERENCE: other - base,
            **bounds,
            "interval": self.difference.by,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class ScenarioResult:
    """What `forecast_scenario` made.

    Attributes
    ----------
    frame : the rows of ``scenario.parquet``. summary : totals, the way of the interval, and the warnings.
    """

    frame: pl.DataFrame
    summary: dict[str, Any]


def forecast_scenario(
    model: str,
    scenario: str,
    *,
    table: str | None,
    future: str | None,
    horizon: int | None,
    out: Path,
    settings: Settings,
    progress: Progress,
) -> ScenarioResult:
    """Forecast under a scenario without fitting anything.

    Parameters
    ----------
    model, table, future, horizon : as for `forecast_version`. scenario : a CSV or Parquet file, see `lay_scenario`.

    Returns
    -------
    The rows of every series that the scenario names or moves: the user's own key and time columns, the forecast
    contract under the scenario, ``y_hat_base``, ``difference`` and its quantiles, the changed columns before and after.
    They are written to ``scenario.parquet``, ``.csv`` and, as a picture, ``.html`` beside the forecasts as they are
    without it.

    Raises
    ------
    DataError : see `lay_scenario`.
    """
    with progress.stage("load"):
        bundle, label, wanted = open_version(model, table=table, future=future, horizon=horizon, settings=settings)
        told = read_frame(scenario)
    with progress.stage("forecast"):
        outcome = compare(bundle, label, wanted, told, where=scenario)
        spec = wanted.panel.spec
        shown = user_frame(outcome.frame(), spec, wanted.series)
        _, plain = keep_forecasts(outcome.base, wanted, settings)
    with progress.stage("report"):
        summary = {"scenario": scenario, "model_version": label, **outcome.summary()}
        write_outputs(out, {**plain, **_files(shown, outcome, wanted.panel, summary)})
    return ScenarioResult(shown, summary)


def compare(bundle: Bundle, label: str, wanted: Wanted, scenario: pl.DataFrame, where: str = "--scenario") -> Outcome:
    """Lay a scenario on what is asked, and forecast with and without it.

    Raises
    ------
    DataError : see `lay_scenario`.
    """
    h, levels = wanted.panel.spec.horizon, bundle.info.levels
    values = known_covariates(wanted.panel)
    known = {item.name: _known(item, wanted, h) for item in wanted.panel.known}
    told = lay_scenario(scenario, wanted.panel, wanted.series, known, values, where)
    intervals, heeds = Conformal.from_arrays(bundle.calibration), reconciler(bundle.levels, bundle.panel)
    whatif = WhatIf(wanted.panel, bundle.model, h, intervals, levels, heeds)
    n = wanted.panel.n_series
    rows = np.flatnonzero(told.touched[:n].any(axis=1))
    change = whatif.change_to(rows, {name: item[rows] for name, item in told.ahead.items()})
    panel, forecast = whatif.together(change)
    cold_known = tuple(_changed(item, told, wanted.panel.n_periods, n) for item in wanted.cold_known)
    base = _table(whatif.panel, whatif.forecast, wanted, wanted.cold_known, bundle, label)
    other = _unborrowed(base, _table(panel, forecast, wanted, cold_known, bundle, label), told, wanted)
    kept, ids = _kept(base, other, told, wanted)
    difference = _difference(base, other, ids, levels, bundle, wanted)
    closed = whatif.panel.closed[:, panel.n_periods :], panel.closed[:, panel.n_periods :]
    warnings = [
        *told.notes,
        *beyond_the_range(whatif.panel, told, values, wanted.series[UNIQUE_ID].to_list()),
        *opened_anew(whatif.panel, *closed),
        *_nothing_moved(base, other, kept, bundle),
    ]
    columns = _columns(other.filter(pl.Series(kept)), told, known, wanted)
    return Outcome(base, other, kept, ids, difference, tuple(warnings), columns)


def _files(shown: pl.DataFrame, outcome: Outcome, panel: Panel, summary: dict[str, Any]) -> Mapping[str, Writer]:
    def page(path: Path) -> None:
        from foretail.report.scenario import ScenarioData, write_scenario

        write_scenario(path, ScenarioData(panel, outcome.frame(), outcome.difference, summary))

    return {
        "scenario.parquet": shown.write_parquet,
        "scenario.csv": shown.write_csv,
        "scenario.html": page,
    }


# what is known


def _known(item: Covariate, wanted: Wanted, h: int) -> Float32Array:
    """``[M, H]`` of every series that is answered, those of the panel first."""
    t = wanted.panel.n_periods
    cold = next((other for other in wanted.cold_known if other.name == item.name), None)
    parts = [_ahead(item.values, t, h)]
    if wanted.cold.height:
        nothing = np.full((wanted.cold.height, h), np.nan, dtype=np.float32)
        parts.append(nothing if cold is None else _ahead(cold.values, t, h))
    return np.concatenate(parts)


def _ahead(values: Float32Array, t: int, h: int) -> Float32Array:
    """The h columns after the first t; NaN where they are not told."""
    found = np.full((len(values), h), np.nan, dtype=np.float32)
    told = values[:, t : t + h]
    found[:, : told.shape[1]] = told
    return found


def _changed(item: Covariate, told: Told, t: int, first: int) -> Covariate:
    """What is known of the series without a past, under the scenario."""
    if item.name not in told.ahead:
        return item
    return replace(item, values=np.concatenate([item.values[:, :t], told.ahead[item.name][first:]], axis=1))


def _table(
    panel: Panel, forecast: Forecast, wanted: Wanted, cold_known: tuple[Covariate, ...], bundle: Bundle, label: str
) -> pl.DataFrame:
    return forecast_frame(
        panel,
        forecast,
        requested=wanted.requested,
        model=bundle.info.model,
        model_version=label,
        levels=bundle.info.levels,
        cold=Cold(wanted.cold, cold_known),
    )


def _unborrowed(base: pl.DataFrame, other: pl.DataFrame, told: Told, wanted: Wanted) -> pl.DataFrame:
    """The scenario's table; series that only borrow from those of a plan are not moved by it."""
    named = wanted.series[UNIQUE_ID].filter(pl.Series(told.touched.any(axis=1)))
    stays = pl.col("source").str.starts_with("fallback") & ~pl.col(UNIQUE_ID).is_in(named.implode())
    numbers = [name for name, kind in base.schema.items() if kind.is_float()]
    return other.with_columns(pl.when(stays).then(base[name]).otherwise(pl.col(name)).alias(name) for name in numbers)


# what came of it


def _kept(base: pl.DataFrame, other: pl.DataFrame, told: Told, wanted: Wanted) -> tuple[BoolArray, tuple[str, ...]]:
    """Rows of series that the scenario names or moves, and these series."""
    ids = wanted.series[UNIQUE_ID]
    named = ids.filter(pl.Series(told.touched.any(axis=1)))
    moved = other.filter(pl.Series(_is_moved(base, other)))[UNIQUE_ID].unique()
    wanted_ids = pl.concat([named, moved.cast(named.dtype)]).unique()
    kept = other[UNIQUE_ID].is_in(wanted_ids.implode())
    present = other.filter(kept)[UNIQUE_ID].unique(maintain_order=True)
    return kept.to_numpy(), tuple(present.to_list())


def _is_moved(base: pl.DataFrame, other: pl.DataFrame) -> BoolArray:
    before, after = base[Y_HAT].to_numpy(), other[Y_HAT].to_numpy()
    moved: BoolArray = np.abs(after - before) > _ROUNDING * np.maximum(np.abs(before), np.abs(after))
    return moved


def _places(frame: pl.DataFrame, ids: tuple[str, ...]) -> tuple[IntArray, IntArray]:
    """Position of the series and the step, from 0, of each row."""
    index = pl.DataFrame({UNIQUE_ID: ids, "row": np.arange(len(ids))}, schema_overrides={UNIQUE_ID: pl.String})
    row = frame.select(UNIQUE_ID).join(index, on=UNIQUE_ID, how="left", maintain_order="left")["row"]
    return row.to_numpy().astype(np.int64), frame[STEP].to_numpy().astype(np.int64) - 1


def _difference(
    base: pl.DataFrame,
    other: pl.DataFrame,
    ids: tuple[str, ...],
    levels: tuple[float, ...],
    bundle: Bundle,
    wanted: Wanted,
) -> Difference:
    names = [Y_HAT, *map(quantile_column, levels)]
    mine = pl.col(UNIQUE_ID).is_in(ids)
    h = wanted.panel.spec.horizon
    dense = []
    for frame in (base.filter(mine), other.filter(mine)):
        values = np.zeros((len(ids), h, len(names)))
        values[_places(frame, ids)] = frame.select(names).to_numpy()
        dense.append(values)
    arrays = bundle.calibration
    dependence = Dependence.from_arrays(arrays) if f"{PREFIX}shares" in arrays else None
    order = pl.DataFrame({UNIQUE_ID: ids}, schema={UNIQUE_ID: pl.String})
    series = order.join(wanted.series, on=UNIQUE_ID, how="left", maintain_order="left")
    groups = group_codes(series, dependence.columns) if dependence is not None else {}
    spec = wanted.panel.spec
    return difference_of(dense[0], dense[1], levels, dependence, groups, non_negative=spec.non_negative)


def _nothing_moved(base: pl.DataFrame, other: pl.DataFrame, kept: BoolArray, bundle: Bundle) -> list[str]:
    found = []
    if not _is_moved(base, other).any():
        why = (
            "it does not look at columns known in advance"
            if not bundle.model.tags.covariates
            else "the values are those known already, or it has learned nothing from these columns"
        )
        found.append(f"the scenario moves no forecast of {bundle.info.model}: {why}")
    fallen = other.filter(pl.Series(kept) & pl.col("source").str.starts_with("fallback"))[UNIQUE_ID].n_unique()
    if fallen:
        found.append(
            f"{fallen} series of the scenario are answered by a fallback, which knows little of plans or nothing"
        )
    return found


def _columns(rows: pl.DataFrame, told: Told, known: Mapping[str, Float32Array], wanted: Wanted) -> pl.DataFrame:
    """The columns that the scenario changes, as known and as in the scenario, for rows of the forecast table."""
    row, step = _places(rows, tuple(wanted.series[UNIQUE_ID].to_list()))
    found = []
    for name, ahead in told.ahead.items():
        item = wanted.panel.covariate(name)
        found += [
            _decoded(f"{name}_{what}", values[row, step], item.categories)
            for what, values in (("base", known[name]), ("scenario", ahead))
        ]
    return pl.DataFrame(found)


def _decoded(name: str, values: Float32Array, categories: tuple[str, ...]) -> pl.Series:
    """Texts, whole numbers or numbers; null where nothing is known."""
    if categories:
        texts = np.array([*categories, None], dtype=object)
        code = np.where(np.isfinite(values), values, len(categories)).astype(np.int64)
        return pl.Series(name, texts[code].tolist(), dtype=pl.String)
    # float32 is what is kept: the shortest number that is the same there reads like the user's own
    series = pl.Series(name, values).fill_nan(None)
    if bool((series.drop_nulls() == series.drop_nulls().round(0)).all()):
        return series.cast(pl.Int64)
    return series.cast(pl.String).cast(pl.Float64)
