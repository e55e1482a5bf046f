"""Rows of a table typed and placed: a series code and a period per row, the rows that cannot be placed set aside."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import DS, STEP, UNIQUE_ID
from foretail.core.errors import DataError, Problem, nearest
from foretail.core.frequency import Frequency
from foretail.core.spec import DatasetSpec
from foretail.sources.files import parse_dates, parse_target

__all__ = [
    "REASON",
    "Rows",
    "as_dates",
    "check_columns",
    "finite_target",
    "last_period",
    "name_series",
    "numeric_target",
    "off_grid",
    "periods_of",
    "place",
    "set_aside",
    "with_reason",
]

REASON = "reason"
_CODE = "__series"
_MAX_CELLS = 4_000_000_000  # series x periods beyond which the dates are wrong rather than the machine too small

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Rows:
    """Rows of the user's table with their place in the panel.

    Attributes
    ----------
    frame : the user's own columns, n rows.
    series : int32 ``[n]``: row of the table of keys.
    period : int32 ``[n]``: period index of the date.
    known_at : int32 ``[n]``: period in which the row was written; None where the spec names no ``recorded`` column.
    """

    frame: pl.DataFrame
    series: Int32Array
    period: Int32Array
    known_at: Int32Array | None = None

    def __len__(self) -> int:
        return len(self.series)

    def where(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """The rows for which ``mask`` ``[n]`` holds."""
        if mask.all():
            return self
        return replace(
            self,
            frame=self.frame.filter(pl.Series(mask)),
            series=self.series[mask],
            period=self.period[mask],
            known_at=None if self.known_at is None else self.known_at[mask],
        )


def check_columns(frame: pl.DataFrame, spec: DatasetSpec, where: str = "the table") -> None:
    """Refuse a table without rows or without the columns of the spec.

    Raises
    ------
    DataError : no rows; columns that are missing, all of them at once; key or static names that the panel needs itself.
    """
    missing = [name for name in dict.fromkeys(spec.columns) if name not in frame.columns]
    problems = [Problem(f"the column {name!r} is missing", where, nearest(name, frame.columns)) for name in missing]
    reserved = {DS, STEP} | ({UNIQUE_ID} if spec.keys != (UNIQUE_ID,) else set())
    problems += [
        Problem(f"a key or static column cannot be called {name!r}", where, "rename the column")
        for name in (*spec.keys, *spec.static)
        if name in reserved
    ]
    if spec.open is not None and spec.open not in spec.known:
        problems.append(
            Problem(f"open = {spec.open!r} is no known covariate", "the spec", f"add it: --known {spec.open}")
        )
    if frame.is_empty():
        problems.append(Problem("the table has no rows", where, "give a table with sales"))
    if problems:
        raise DataError(problems)


def as_dates(frame: pl.DataFrame, column: str) -> pl.Series:
    """The dates of a column: a zoned timestamp counts on its local calendar day.

    Raises
    ------
    DataError : text that is no date, with the first bad rows.
    """
    values = frame[column]
    if values.dtype == pl.Date:
        return values
    if isinstance(values.dtype, pl.Datetime):
        return values.dt.replace_time_zone(None).dt.date()
    parsed = parse_dates(frame.select(column), column)[column]
    return parsed if parsed.dtype == pl.Date else parsed.dt.replace_time_zone(None).dt.date()


def set_aside(
    frame: pl.DataFrame, spec: DatasetSpec, original: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split off the rows that have no place: without a key or without a date.

    Parameters
    ----------
    frame : the table.
    original : the same rows as the user gave them, for the quarantine; ``frame`` by default.

    Returns
    -------
    (kept, quarantine) : kept has its keys and its date normalised; quarantine has the user's columns and ``reason``.

    Raises
    ------
    DataError : no row has a place.
    """
    original = frame if original is None else original
    typed = frame.with_columns(as_dates(frame, spec.time).alias(spec.time), *_key_columns(frame, spec.keys))
    reason = pl.coalesce(
        pl.when(pl.col(spec.time).is_null()).then(pl.lit(f"no date in {spec.time}")),
        *(pl.when(pl.col(key).is_null()).then(pl.lit(f"no value in the key {key}")) for key in spec.keys),
    )
    reasons = typed.select(reason.alias(REASON))[REASON]
    if reasons.null_count() == len(reasons):
        return typed, with_reason(original.clear(), reasons.clear())
    bad = reasons.is_not_null()
    if bad.all():
        counts = reasons.value_counts(sort=True).rows()
        found = "; ".join(f"{why}: {n} rows" for why, n in counts)
        raise DataError(Problem("no row has both a date and its keys", found, "name the right columns: --time, --keys"))
    return typed.filter(~bad), with_reason(original.filter(bad), reasons.filter(bad))


def with_reason(frame: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
    """Rows with why they were set aside; a column of that name of the user's own is renamed."""
    if REASON in frame.columns:
        frame = frame.rename({REASON: f"{REASON} (yours)"})
    return frame.with_columns(reasons.cast(pl.String).alias(REASON))


def _key_columns(frame: pl.DataFrame, keys: tuple[str, ...]) -> list[pl.Series]:
    return [_as_key(frame[key]) for key in keys]


def _as_key(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    if values.dtype.is_float():
        values = values.fill_nan(None)
        whole = bool((values.drop_nulls() == values.drop_nulls().round(0)).all())
        return values.cast(pl.Int64 if whole else pl.String, strict=False)
    return values


def place(kept: pl.DataFrame, spec: DatasetSpec, extra_keys: pl.DataFrame | None = None) -> tuple[Rows, pl.DataFrame]:
    """Give each row its series and period.

    Parameters
    ----------
    kept : what `set_aside` kept.
    extra_keys : key columns of further series (those of a table of the future).

    Returns
    -------
    (rows, keys) : ``keys`` holds ``unique_id`` and the key columns, sorted by the keys; ``rows.series`` points into it.

    Raises
    ------
    DataError : two series get the same ``unique_id``; dates so far apart that the panel cannot be held.
    """
    found = kept.select(spec.keys)
    every = found if extra_keys is None else pl.concat([found, extra_keys.select(spec.keys)])
    keys = _table_of_keys(every, spec)
    period = periods_of(kept[spec.time], spec.frequency)
    _check_size(keys.height, period, kept[spec.time])
    known_at = None
    if spec.recorded is not None:
        written = periods_of(as_dates(kept, spec.recorded).fill_null(kept[spec.time]), spec.frequency)
        known_at = np.where(kept[spec.recorded].is_null().to_numpy(), period, written).astype(np.int32)
    return Rows(kept, name_series(kept, keys, spec.keys), period, known_at), keys


def _table_of_keys(frame: pl.DataFrame, spec: DatasetSpec) -> pl.DataFrame:
    if not spec.keys:
        return pl.DataFrame({UNIQUE_ID: ["all"]})
    keys = frame.unique().sort(spec.keys)
    name = pl.concat_str([pl.col(key).cast(pl.String) for key in spec.keys], separator="/").alias(UNIQUE_ID)
    names = keys.select(name)[UNIQUE_ID]
    if names.n_unique() < len(names):
        twice = names.filter(names.is_duplicated()).unique().sort().head(3).to_list()
        raise DataError(
            Problem(
                "two series get the same name when their keys are joined by '/'",
                f"{', '.join(spec.keys)}: {', '.join(twice)}",
                "take '/' out of the key values",
            )
        )
    return keys.select(names, *(key for key in spec.keys if key != UNIQUE_ID)).with_columns(
        *([] if UNIQUE_ID not in spec.keys else [names])
    )


def name_series(frame: pl.DataFrame, keys: pl.DataFrame, columns: tuple[str, ...]) -> Int32Array:
    """Row of ``keys`` of each row of ``frame``; -1 where a series is not among them."""
    if not columns:
        return np.zeros(frame.height, dtype=np.int32)
    left = frame.lazy().select(columns)
    if columns == (UNIQUE_ID,):
        left = left.with_columns(pl.col(UNIQUE_ID).cast(pl.String))
    right = keys.lazy().select(columns).with_row_index(_CODE)
    codes = left.join(right, on=list(columns), how="left", maintain_order="left").select(_CODE).collect()[_CODE]
    return codes.cast(pl.Int32).fill_null(-1).to_numpy()


def periods_of(dates: pl.Series, frequency: Frequency) -> Int32Array:
    """Period index of each date; int32 ``[n]``. Dates without a value are not allowed."""
    day = dates.to_physical().to_numpy()
    if not len(day):
        return np.empty(0, dtype=np.int32)
    low, high = int(day.min()), int(day.max())
    calendar = frequency.to_index(np.arange(low, high + 1).astype("datetime64[D]")).astype(np.int32)
    placed: Int32Array = calendar[day - low]
    return placed


def _check_size(n_series: int, period: Int32Array, dates: pl.Series) -> None:
    span = int(period.max()) - int(period.min()) + 1
    if n_series * span > _MAX_CELLS:
        low, high = dates.min(), dates.max()
        raise DataError(
            Problem(
                "the dates are too far apart for this many series",
                f"{dates.name}: {low!s} to {high!s}, {span} periods x {n_series} series",
                "correct or remove the outlying dates",
            )
        )


def off_grid(dates: pl.Series, frequency: Frequency) -> Problem | None:
    """What is wrong with dates that are not labels of the frequency, and which frequency would fit; None if nothing."""
    days = dates.unique().sort().to_numpy().astype("datetime64[D]")
    wrong = days[~frequency.is_on_grid(days)]
    if not len(wrong):
        return None
    first = ", ".join(str(day) for day in wrong[:3])
    fitting = next((code for code in _CANDIDATES if Frequency(code).is_on_grid(days).all()), None)
    if fitting is not None:
        fix = f"--freq {fitting} fits every date"
    else:
        fix = f"correct these dates{_mostly(days)}, or use --freq D"
    return Problem(
        f"{len(wrong)} of {len(days)} dates are not on the time line {frequency} ({_meaning(frequency)})",
        f"{dates.name}: {first}",
        fix,
    )


_CANDIDATES = ("MS", "ME", "W-MON", "W-TUE", "W-WED", "W-THU", "W-FRI", "W-SAT", "W-SUN")


def _mostly(days: npt.NDArray[np.datetime64]) -> str:
    shares = {code: float(Frequency(code).is_on_grid(days).mean()) for code in _CANDIDATES}
    best = max(shares, key=lambda code: shares[code])
    return f" ({best} fits {shares[best]:.0%} of them)" if shares[best] >= 0.8 else ""


def _meaning(frequency: Frequency) -> str:
    if frequency.is_weekly:
        return f"weeks labelled by {frequency.code[2:].title()}"
    return {"MS": "months labelled by their first day", "ME": "months labelled by their last day"}.get(
        frequency.code, "days"
    )


def numeric_target(frame: pl.DataFrame, spec: DatasetSpec, cutoff: dt.date | None) -> pl.DataFrame:
    """The table with its target as numbers; text after the cutoff is not looked at.

    Raises
    ------
    DataError : text that is no number, with its lines.
    """
    if frame[spec.target].dtype.is_numeric():
        return frame
    if cutoff is not None:
        seen = as_dates(frame, spec.time) <= cutoff
        frame = frame.with_columns(pl.when(seen).then(pl.col(spec.target)).alias(spec.target))
    return parse_target(frame, spec.target)


def finite_target(rows: Rows, spec: DatasetSpec) -> tuple[Rows, npt.NDArray[np.float64], Rows]:
    """Read the target: a missing value is a missing observation, an infinite one sets its row aside.

    Returns
    -------
    (rows, y, infinite) : the rows kept, their target as float64 ``[n]`` with NaN where none was told, the rows to set
        aside.
    """
    y = rows.frame[spec.target].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    infinite = np.isinf(y)
    return (
        (rows, y, rows.where(infinite))
        if not infinite.any()
        else (rows.where(~infinite), y[~infinite], rows.where(infinite))
    )


def last_period(cutoff: dt.date, frequency: Frequency) -> int:
    """Index of the last period whose label is at or before the cutoff."""
    day = np.asarray(np.datetime64(cutoff, "D"))
    index = int(frequency.to_index(day))
    return index if frequency.to_date(index) <= day else index - 1
