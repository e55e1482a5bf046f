"""Text to dates and to numbers, all or nothing: what cannot be read is shown with its line, never guessed."""

from __future__ import annotations

import datetime as dt

import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["looks_like_dates", "parse_dates", "parse_target"]

_SHOWN = 5
_MONTH = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
# shape of the text -> formats it may be; two formats mean that the text alone cannot always tell
_SHAPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"^\d{4}-\d{1,2}-\d{1,2}$", ("%Y-%m-%d",)),
    (r"^\d{4}/\d{1,2}/\d{1,2}$", ("%Y/%m/%d",)),
    (r"^\d{4}\.\d{1,2}\.\d{1,2}$", ("%Y.%m.%d",)),
    (r"^(?:19|20)\d{6}$", ("%Y%m%d",)),
    (r"^\d{1,2}\.\d{1,2}\.\d{4}$", ("%d.%m.%Y",)),
    (r"^\d{1,2}\.\d{1,2}\.\d{2}$", ("%d.%m.%y",)),
    (r"^\d{1,2}/\d{1,2}/\d{4}$", ("%d/%m/%Y", "%m/%d/%Y")),
    (r"^\d{1,2}/\d{1,2}/\d{2}$", ("%d/%m/%y", "%m/%d/%y")),
    (r"^\d{1,2}-\d{1,2}-\d{4}$", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"^\d{1,2}-\d{1,2}-\d{2}$", ("%d-%m-%y", "%m-%d-%y")),
    (rf"^\d{{1,2}}[ -]{_MONTH}[ -]\d{{4}}$", ("%d %B %Y",)),
    (rf"^\d{{1,2}}[ -]{_MONTH}[ -]\d{{2}}$", ("%d %B %y",)),
    (rf"^{_MONTH}[ -]\d{{1,2}}[ -]\d{{4}}$", ("%B %d %Y",)),
    (r"^\d{4}-\d{2}$", ("%Y-%m",)),
)
# a time of day and a zone after the date; the sales day is the date as written
_CLOCK = r"[T ]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?i:[ap]m)?\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?$"
_READABLE = "write every date as YYYY-MM-DD"


def parse_dates(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Read the dates of a column.

    Text becomes pl.Date, the calendar day as written (a time of day and a zone behind it are dropped). Whole numbers
    are read as YYYYMMDD. Date and Datetime columns come back as they are. Nulls stay null.

    Parameters
    ----------
    frame : any table that has the column.
    column : the column to read.

    Returns
    -------
    The frame with that column replaced.

    Raises
    ------
    DataError : unparsable dates (the first rows are shown), several formats in one column, day and month that cannot
        be told apart, a column that holds no dates at all.
    """
    values = frame[column]
    if values.dtype in (pl.Date, pl.Datetime):
        return frame
    if values.dtype == pl.Null:
        return frame.with_columns(pl.col(column).cast(pl.Date))
    if values.dtype.is_integer():
        values = values.cast(pl.String)
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        raise DataError(Problem("the time column holds no dates", f"column {column!r}, {values.dtype}", _READABLE))
    return frame.with_columns(_parse_text(values, column).alias(column))


def parse_target(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Read the values of the target as Float64; nulls stay null.

    Raises
    ------
    DataError : text (the first rows are shown), dates or truth values.
    """
    values = frame[column]
    if values.dtype.is_numeric() or values.dtype == pl.Null:
        return frame.with_columns(pl.col(column).cast(pl.Float64))
    if values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        raise DataError(
            Problem("the target is not a number", f"column {column!r}, {values.dtype}", "name another with --target")
        )
    numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
    bad = numbers.is_null() & values.is_not_null()
    if bad.any():
        raise DataError(
            Problem(
                f"text in the target: {bad.sum()} of {len(values)} values are no numbers",
                f"column {column!r}, {_rows(values, bad)}",
                "write plain numbers (1234.5: no thousands separators, no currency), leave unknown values empty",
            )
        )
    return frame.with_columns(numbers.alias(column))


def looks_like_dates(values: pl.Series) -> bool:
    """Whether the first values of a column are dates, for guessing."""
    if values.dtype in (pl.Date, pl.Datetime):
        return True
    text = values.drop_nulls().head(200)
    if text.dtype.is_integer():
        text = text.cast(pl.String)
    if text.dtype != pl.String or text.is_empty():
        return False
    tidy = _tidy(text)
    known = pl.Series([False] * len(tidy))
    for shape, forms in _SHAPES:
        known = known | (tidy.str.contains(shape) & _read(tidy, forms[0]).is_not_null())
        known = known | (tidy.str.contains(shape) & _read(tidy, forms[-1]).is_not_null())
    return int(known.sum()) > 0.9 * len(known)


def _parse_text(values: pl.Series, column: str) -> pl.Series:
    text = values.str.strip_chars()
    unique = text.drop_nulls().unique(maintain_order=True)
    tidy = _tidy(unique)
    read = {
        form: _read(tidy.set(~matches, None), form)
        for shape, forms in _SHAPES
        if (matches := tidy.str.contains(shape)).any()
        for form in forms
    }
    whole = [form for form, dates in read.items() if not dates.has_nulls()]
    if len(whole) > 1 and not read[whole[0]].equals(read[whole[1]], check_names=False):
        raise DataError(_ambiguous(column, unique, read[whole[0]], read[whole[1]]))
    if whole or unique.is_empty():
        dates = read[whole[0]] if whole else unique.cast(pl.Date)
        return text.replace_strict(unique, dates, return_dtype=pl.Date, default=None)
    raise DataError(_unread(values, text, unique, read, column))


def _tidy(text: pl.Series) -> pl.Series:
    """Only the date: no clock, no commas, one blank between words."""
    return text.str.strip_chars().str.replace(_CLOCK, "").str.replace(",", "").str.replace_all(r"\s+", " ")


def _read(tidy: pl.Series, form: str) -> pl.Series:
    if "%B" in form:
        # "Sept", "March", "MAR": three letters say it
        short = tidy.str.replace(r"(?i)([a-z]{3})[a-z]*", "$1").str.replace_all(r"(\w)-", "$1 ")
        return short.str.to_titlecase().str.to_date(form.replace("%B", "%b"), strict=False)
    if form == "%Y-%m":
        return (tidy + "-01").str.to_date("%Y-%m-%d", strict=False)
    return tidy.str.to_date(form, strict=False)


def _ambiguous(column: str, unique: pl.Series, first: pl.Series, second: pl.Series) -> Problem:
    i = int((first != second).arg_true().item(0))
    return Problem(
        "day and month cannot be told apart",
        f"column {column!r}: {unique[i]!r} may be {first[i]} or {second[i]}",
        _READABLE,
    )


def _unread(values: pl.Series, text: pl.Series, unique: pl.Series, read: dict[str, pl.Series], column: str) -> Problem:
    known = pl.Series([False] * len(unique))
    for dates in read.values():
        known = known | dates.is_not_null()
    bad = text.is_in(unique.filter(~known).implode()) & text.is_not_null()
    if bad.any():
        return Problem(
            f"unparsable dates: {bad.sum()} of {len(values)} values",
            f"column {column!r}, {_rows(values, bad)}",
            f"{_READABLE}; remove lines that are no sales (totals, comments)",
        )
    return Problem("dates in several formats", f"column {column!r}, {_formats(text, unique, read)}", _READABLE)


def _formats(text: pl.Series, unique: pl.Series, read: dict[str, pl.Series]) -> str:
    """One example with its line for every format found."""
    parts = []
    left = pl.Series([True] * len(unique))
    for form, dates in sorted(read.items(), key=lambda item: item[1].null_count()):
        mine = dates.is_not_null() & left
        if mine.any():
            left = left & ~mine
            rows = text.is_in(unique.filter(mine).implode())
            parts.append(f"{rows.sum()} like {form} ({_rows(text, rows, shown=1)})")
    return "; ".join(parts)


def _rows(values: pl.Series, which: pl.Series, shown: int = _SHOWN) -> str:
    """The first rows concerned, numbered as lines of a CSV file with a header."""
    index = which.fill_null(False).arg_true().head(shown)
    cells = ", ".join(f"line {i + 2}: {values[int(i)]!r}" for i in index)
    return cells + (", …" if which.sum() > shown > 1 else "")


def as_days(values: pl.Series) -> pl.Series:
    """The calendar days (pl.Date) of a Date or Datetime column, in the zone it is written in."""
    return values.dt.date() if isinstance(values.dtype, pl.Datetime) else values


def format_day(day: dt.date) -> str:
    """A day for a message: 2012-10-26 (Fri)."""
    return f"{day:%Y-%m-%d (%a)}"
