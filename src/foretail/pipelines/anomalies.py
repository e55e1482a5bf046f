"""anomalies: days outside their interval, in the backtest of a version or in sales told after it was made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from foretail.backtest.anomalies import CAUSE, HIGH, LOW, anomalies, counts, from_arrays
from foretail.backtest.causes import CAUSES, Watched
from foretail.core.columns import DS
from foretail.core.errors import DataError, Problem, UsageError
from foretail.core.progress import Progress
from foretail.core.quantiles import quantile_level
from foretail.core.settings import Settings
from foretail.core.spec import DatasetSpec
from foretail.features.demand import as_demanded
from foretail.forecasts.frame import user_frame
from foretail.forecasts.output import write_outputs
from foretail.forecasts.policy import calibrated
from foretail.models.intervals import Conformal
from foretail.panel.build import build_panel
from foretail.panel.panel import Panel
from foretail.panel.rows import as_dates
from foretail.pipelines.forecast import open_version
from foretail.pipelines.newer import newer_sales
from foretail.registry.bundle import Bundle
from foretail.sources.table import Table

__all__ = ["AnomaliesFound", "anomalies_version"]

_LEVELS = (quantile_level(LOW), quantile_level(HIGH))


@dataclass(frozen=True)
class AnomaliesFound:
    """What `anomalies_version` found.

    Attributes
    ----------
    frame : the user's key and time columns, then ``cutoff, step, y, y_hat, q2_5, q97_5, size, widths, cause, why``.
    cause : of each of its rows. counts : days per cause.
    n_days : days that were looked at; None where only those outside were kept.
    first, last : ISO dates between which the days found lie; "" without any.
    """

    frame: pl.DataFrame
    cause: pl.Series
    counts: dict[str, int]
    n_days: int | None
    first: str
    last: str

    def of(self, causes: Collection[str]) -> pl.DataFrame:
        """The days of some causes."""
        return self.frame.filter(self.cause.is_in(list(causes)))

    def to_dict(self, causes: Collection[str] = CAUSES) -> dict[str, Any]:
        """As JSON holds it, with the days of some causes."""
        days = {"n_days": self.n_days, "first": self.first, "last": self.last}
        return {"n_outside": self.frame.height, **days, "counts": self.counts, "anomalies": self.of(causes).to_dicts()}


def anomalies_version(
    model: str, *, table: str | None, out: Path, settings: Settings, progress: Progress
) -> AnomaliesFound:
    """Days outside the 95 % interval of a version, with their size and the likely cause; nothing is fitted.

    Parameters
    ----------
    model : ``name`` (its champion), ``name@alias``, ``name/version``, or the folder of a bundle.
    table : sales told after the version was made, with their history and the columns of its spec: every day after the
        version's cutoff is compared with what it forecasts from the last cutoff a horizon or less before. None: the
        days of the backtest that the version keeps.

    Returns
    -------
    The days, also ``anomalies.parquet`` and ``anomalies.csv`` in ``out``.

    Raises
    ------
    UsageError : the version keeps no backtest. DataError : a table with nothing newer, or without its history.
    """
    with progress.stage("load"):
        bundle, label, _ = open_version(model, table=None, future=None, horizon=None, settings=settings)
    with progress.stage("anomalies"):
        if table is None:
            panel, found, n_days = bundle.panel, _kept(bundle, label), None
        else:
            panel = _newer(bundle, table, settings)
            windows = _watched(bundle, panel)
            found, n_days = anomalies(panel, windows), sum(int(np.isfinite(window.y).sum()) for window in windows)
        shown = user_frame(found, panel.spec, panel.series)
        write_outputs(out, {"anomalies.parquet": shown.write_parquet, "anomalies.csv": shown.write_csv})
    first, last = (str(found[DS].min()), str(found[DS].max())) if found.height else ("", "")
    return AnomaliesFound(shown, found[CAUSE], counts(found), n_days, first, last)


def _kept(bundle: Bundle, label: str) -> pl.DataFrame:
    found = from_arrays(bundle.panel, bundle.calibration)
    if found is None:
        raise UsageError(
            f"the version keeps no days of its backtest.\n  where: {label}\n"
            "  fix:   train again with this foretail, or give the sales that came after it with --table"
        )
    return found


def _newer(bundle: Bundle, table: str, settings: Settings) -> Panel:
    """The panel of a table that goes on after the version's cutoff and holds its history."""
    spec, old = bundle.info.spec, bundle.panel
    panel = build_panel(_ended(newer_sales(table, settings)[0], spec), horizon=1).panel
    problems = []
    if panel.end <= old.end:
        problems.append(
            Problem(
                f"the table has nothing newer than the version, which saw everything up to {old.cutoff}",
                f"{spec.time} ends on {panel.cutoff}",
                "give a table with later sales, or leave --table out to see the days of the backtest",
            )
        )
    if panel.start > max(old.start, old.end - panel.frequency.season_length):
        problems.append(
            Problem(
                "the table lacks the history before the version's cutoff, which forecasts start from",
                f"{spec.time} begins on {panel.dates(0, 1)[0]}, the version's cutoff is {old.cutoff}",
                "give the sales from before the cutoff too, all of them if they are at hand",
            )
        )
    if problems:
        raise DataError(problems)
    return panel


def _watched(bundle: Bundle, panel: Panel) -> list[Watched]:
    """Forecasts of every day after the version's cutoff, a horizon at a time, beside what was sold."""
    h = bundle.info.horizon
    intervals = Conformal.from_arrays(bundle.calibration)
    first = bundle.panel.end - panel.start + 1
    return [_window(bundle, panel, origin, h, intervals) for origin in range(first, panel.n_periods, h)]


def _window(bundle: Bundle, panel: Panel, origin: int, h: int, intervals: Conformal) -> Watched:
    h = min(h, panel.n_periods - origin)
    past = as_demanded(panel.as_of(origin, h))
    begun = np.asarray(past.observed.any(axis=1))
    seen = past.select(begun)
    answer = calibrated(seen, bundle.model.predict(seen, h), intervals, _LEVELS)
    closed = panel.closed[:, origin : origin + h]
    parts = [answer.y_hat, *np.moveaxis(np.asarray(answer.quantiles), 2, 0)]
    placed = [np.full((panel.n_series, h), np.nan) for _ in parts]
    for whole, part in zip(placed, parts, strict=True):
        whole[begun] = np.where(closed[begun], 0.0, part)
    y = panel.y[:, origin : origin + h].copy()
    y[~begun] = np.nan
    return Watched(origin, y, *placed)


def _ended(frame: pl.DataFrame, spec: DatasetSpec) -> Table:
    """A table of sales alone, with one made-up row per series after its end: nothing beyond the end is looked at."""
    if not spec.known or not {spec.time, spec.target} <= set(frame.columns):
        return Table(frame, spec, None)
    dates = as_dates(frame, spec.time)
    last, told = dates.max(), dates.filter(frame[spec.target].is_not_null()).max()
    if last is None or last != told:  # the table itself goes on, or build_panel says what is wrong with it
        return Table(frame, spec, None)
    index = spec.frequency.to_index(np.array([last], dtype="datetime64[D]")) + 1
    following = frame.filter(dates == last).select(
        *spec.keys, pl.lit(spec.frequency.to_date(index)[0].astype(object)).alias(spec.time), *spec.known
    )
    return Table(frame, spec, following)
