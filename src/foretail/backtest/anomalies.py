"""Days outside their 95 % interval, with their size and the likely cause, from forecasts beside what was then sold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.backtest.causes import CAUSES, RULES, Watched, rules_of
from foretail.core.columns import CUTOFF, DS, STEP, UNIQUE_ID, Y_HAT, Y
from foretail.core.quantiles import quantile_column
from foretail.panel.panel import Panel

__all__ = ["CAUSE", "HIGH", "LOW", "PREFIX", "SIZE", "WHY", "WIDTHS", "anomalies", "counts", "from_arrays", "to_arrays"]

LOW, HIGH = quantile_column(0.025), quantile_column(0.975)
SIZE, WIDTHS, CAUSE, WHY = "size", "widths", "cause", "why"
PREFIX = "anomalies_"  # of the arrays of a bundle

_NUMBERS = (Y, Y_HAT, LOW, HIGH)
_PLACES = ("row", "period", "cutoff", "rule")


def watched(panel: Panel, frame: pl.DataFrame) -> list[Watched]:
    """The windows of a backtest's frame that have an interval, oldest first.

    Parameters
    ----------
    panel : holds the series and the dates of the frame.
    frame : ``unique_id, cutoff, step, y, y_hat, q2_5, q97_5``, one row per scored cell.
    """
    if not {LOW, HIGH} <= set(frame.columns):
        return []
    rows = pl.DataFrame({UNIQUE_ID: panel.unique_ids, "row": np.arange(panel.n_series)})
    placed = frame.drop_nulls([LOW, HIGH]).join(rows, on=UNIQUE_ID, how="inner", maintain_order="left")
    return [_window(panel, part) for part in placed.sort(CUTOFF).partition_by(CUTOFF, maintain_order=True)]


def anomalies(panel: Panel, windows: Sequence[Watched] | pl.DataFrame) -> pl.DataFrame:
    """Every day outside its interval, the farthest first.

    Parameters
    ----------
    panel : N series; holds the columns of the windows.
    windows : forecasts beside what was sold, or a backtest's frame (see `watched`).

    Returns
    -------
    ``unique_id, ds, cutoff, step, y, y_hat, q2_5, q97_5``; ``size`` = y - y_hat in the unit of the target; ``widths``,
    the distance to the nearer bound in widths of the interval (infinite where that has none: nothing but one value was
    expected); ``cause``, one of `foretail.backtest.causes.CAUSES`; ``why``, a sentence.
    """
    seen = watched(panel, windows) if isinstance(windows, pl.DataFrame) else windows
    return _frame(panel, [_cells(window, rules_of(panel, window)) for window in seen])


def counts(frame: pl.DataFrame) -> dict[str, int]:
    """Anomalies per cause, in the order of `CAUSES`, causes without any left out."""
    found = dict(frame[CAUSE].value_counts().iter_rows())
    return {cause: int(found[cause]) for cause in CAUSES if cause in found}


def to_arrays(panel: Panel, frame: pl.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Anomalies as named arrays, for a bundle that holds the panel."""
    place = {(item.cause, item.why): number for number, item in enumerate(RULES)}
    rows = pl.DataFrame({UNIQUE_ID: panel.unique_ids, "row": np.arange(panel.n_series)})
    cells = frame.join(rows, on=UNIQUE_ID, how="left", maintain_order="left")
    index = panel.frequency.to_index
    places = {
        "row": cells["row"].to_numpy(),
        "period": index(cells[DS].to_numpy()) - panel.start,
        "cutoff": index(cells[CUTOFF].to_numpy()) - panel.start,
        "rule": np.array([place[pair] for pair in cells.select(CAUSE, WHY).iter_rows()], dtype=np.int64),
    }
    numbers = {name: cells[name].to_numpy().astype(np.float64) for name in _NUMBERS}
    return {PREFIX + name: values.astype(np.int32) for name, values in places.items()} | {
        PREFIX + name: values for name, values in numbers.items()
    }


def from_arrays(panel: Panel, arrays: Mapping[str, npt.NDArray[Any]]) -> pl.DataFrame | None:
    """Read what ``to_arrays`` gave; None where a bundle holds none, as one made before they were kept."""
    if PREFIX + "row" not in arrays:
        return None
    return _frame(panel, [{name: arrays[PREFIX + name] for name in (*_PLACES, *_NUMBERS)}])


def _window(panel: Panel, part: pl.DataFrame) -> Watched:
    cutoff = part[CUTOFF].head(1).to_numpy()
    first = int(panel.frequency.to_index(cutoff)[0]) - panel.start + 1
    h = min(int(part[STEP].max()), panel.n_periods - first)  # type: ignore[arg-type]
    row, column = part["row"].to_numpy(), part[STEP].to_numpy().astype(np.int64) - 1
    matrices = []
    for name in _NUMBERS:
        values = np.full((panel.n_series, h), np.nan)
        values[row, column] = part[name].to_numpy()
        matrices.append(values)
    return Watched(first, *matrices)


def _cells(seen: Watched, rules: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """The cells outside, as flat arrays."""
    row, column = np.nonzero(rules >= 0)
    return {
        "row": row,
        "period": seen.first + column,
        "cutoff": np.full(len(row), seen.first - 1),
        "rule": rules[row, column],
        Y: seen.y[row, column],
        Y_HAT: seen.y_hat[row, column],
        LOW: seen.low[row, column],
        HIGH: seen.high[row, column],
    }


def _frame(panel: Panel, parts: Sequence[Mapping[str, npt.NDArray[Any]]]) -> pl.DataFrame:
    cells = {name: np.concatenate([np.empty(0), *(part[name] for part in parts)]) for name in (*_PLACES, *_NUMBERS)}
    row, period, cutoff, rule = (cells[name].astype(np.int64) for name in _PLACES)
    dates = panel.dates(0, panel.closed.shape[1])
    wide = cells[HIGH] - cells[LOW]
    beyond = np.maximum(cells[LOW] - cells[Y], cells[Y] - cells[HIGH])
    frame = pl.DataFrame(
        {
            UNIQUE_ID: panel.series[UNIQUE_ID].gather(row),
            DS: pl.Series(dates[period], dtype=pl.Date),
            CUTOFF: pl.Series(dates[cutoff], dtype=pl.Date),
            STEP: pl.Series(period - cutoff, dtype=pl.Int32),
            **{name: cells[name] for name in _NUMBERS},
            SIZE: cells[Y] - cells[Y_HAT],
            WIDTHS: np.divide(beyond, wide, out=np.full(len(wide), np.inf), where=wide > 0),
            CAUSE: pl.Series([RULES[place].cause for place in rule.tolist()], dtype=pl.String),
            WHY: pl.Series([RULES[place].why for place in rule.tolist()], dtype=pl.String),
        }
    )
    return frame.sort(WIDTHS, pl.col(SIZE).abs(), UNIQUE_ID, DS, descending=[True, True, False, False])
