"""Delimited text to typed columns, looking at whole columns so that a code never turns into a number by chance."""

from __future__ import annotations

import csv
import io
import re

import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["read_delimited"]

NULLS = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL")
_SEPARATORS = (",", ";", "\t", "|")
_LEADING_ZERO = r"^[+-]?0\d"
_INTEGER = r"^[+-]?\d+$"
# an exponent needs a sign or a decimal point: "10E5" is a stock code, "1e-05" a number
_FLOAT = r"^[+-]?(?:\d+\.?\d*|\.\d+|\d+\.\d*[eE]\d+|(?:\d+\.?\d*|\.\d+)[eE][+-]\d+|[iI]nf(?:inity)?)$"
_COMMA_FLOAT = r"^[+-]?\d+(?:,\d+)?$"
_BOOLEAN = r"^(?i:true|false)$"


def read_delimited(data: bytes, where: str) -> pl.DataFrame:
    """Read CSV or a relative of it (``;``, tab or ``|``; any line end; UTF-8 with or without a byte order mark).

    A column is Int64 when every value is a whole number without leading zeros, Float64 when every value is a number,
    Boolean when every value is true or false, String otherwise (dates too: `foretail.sources.parsing.parse_dates`).
    Empty cells and ``NA`` are null.

    Parameters
    ----------
    data : the file, decompressed.
    where : its name, for messages.

    Raises
    ------
    DataError : empty, header only, no header, repeated column names, not UTF-8, rows of another width, cut off.
    """
    data = _unix_lines(_check_encoding(data, where))
    if not data.strip():
        raise DataError(Problem("the table is empty", where, "give a file with a header line and at least one row"))
    header = data[: data.find(b"\n") if b"\n" in data else len(data)].decode()
    separator = _separator(header)
    names = _header(header, separator, where)
    if not data[len(header.encode()) :].strip():
        raise DataError(Problem("the table has a header and no rows", where, "export it again with its rows"))
    frame = _parse(data, separator, names, where)
    return frame.select(_typed(frame[name], separator) for name in frame.columns)


def _check_encoding(data: bytes, where: str) -> bytes:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            Problem("the table is UTF-16, not UTF-8", where, "convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW.csv")
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as error:
        start = error.start
        line = data.count(b"\n", 0, start) + 1
        raise DataError(
            Problem(
                "the table is not UTF-8",
                f"{where}, line {line}: byte 0x{data[start]:02x} at position {start + 1} "
                f"after {data[max(0, start - 20) : start].decode(errors='replace')!r}",
                "convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW.csv",
            )
        ) from error
    if b"\x00" in data:
        raise DataError(Problem("the table holds zero bytes, so it is no text", where, "give CSV or Parquet"))
    return data


def _unix_lines(data: bytes) -> bytes:
    """Turn bare CR line ends into LF; inside quotes a CR is left alone while LF line ends exist."""
    bare = data.count(b"\r") - data.count(b"\r\n")
    if bare and (b"\n" not in data or b'"' not in data):
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def _separator(header: str) -> str:
    outside = re.sub(r'"[^"]*"', "", header)
    return max(_SEPARATORS, key=outside.count)


def _header(header: str, separator: str, where: str) -> list[str]:
    cells = next(csv.reader(io.StringIO(header), delimiter=separator), [])
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(cells, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            Problem(f"column names repeat: {', '.join(twice)}", f"{where}, line 1", "give each column its own name")
        )
    if all(re.match(r"^[+-]?[\d.,:/ -]+$", name) for name in names):
        raise DataError(
            Problem("the first line holds values, not column names", f"{where}, line 1: {header[:80]}", "add a header")
        )
    return names


def _parse(data: bytes, separator: str, names: list[str], where: str) -> pl.DataFrame:
    problem = _cut_off(data, separator, len(names), where)
    if problem:
        raise DataError(problem)
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            separator=separator,
            has_header=False,
            skip_rows=1,
            infer_schema=False,
            schema=dict.fromkeys(names, pl.String),
            null_values=list(NULLS),
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(_width_problem(data, separator, len(names), where, error)) from error
    return frame.filter(~pl.all_horizontal(pl.all().is_null())) if b"\n\n" in data else frame


def _cut_off(data: bytes, separator: str, width: int, where: str) -> Problem | None:
    """A last line without its line end and with too few cells: the file was cut while it was written."""
    if data.endswith(b"\n"):
        return None
    last = data[data.rfind(b"\n") + 1 :].decode(errors="replace")
    if '"' in last or last.count(separator) + 1 >= width:
        return None
    line = data.count(b"\n") + 1
    return Problem(
        f"the last line has {last.count(separator) + 1} cells instead of {width}: the file was cut off",
        f"{where}, line {line}: {last[:80]}",
        "copy or export it again",
    )


def _width_problem(data: bytes, separator: str, width: int, where: str, error: Exception) -> Problem:
    rows = csv.reader(io.StringIO(data.decode()), delimiter=separator)
    found = next(((rows.line_num, len(row)) for row in rows if len(row) > width), None)
    if found is None:
        return Problem(f"the table cannot be read: {error}", where, "check quotes and separators")
    return Problem(
        f"a row has {found[1]} cells where the header has {width}",
        f"{where}, line {found[0]}",
        f"quote values that contain {separator!r}",
    )


def _typed(column: pl.Series, separator: str) -> pl.Series:
    text = column.drop_nulls()
    if text.is_empty():
        return column
    for pattern, dtype in ((_INTEGER, pl.Int64), (_FLOAT, pl.Float64)):
        stripped = column if _all(text, pattern) else column.str.strip_chars()
        values = stripped.drop_nulls()
        if _all(values, pattern) and not values.str.contains(_LEADING_ZERO).any():
            typed = stripped.cast(dtype, strict=False)
            return typed if typed.null_count() == column.null_count() else column
    if _all(text, _BOOLEAN):
        return (column.str.to_lowercase() == "true").alias(column.name)
    if separator != "," and _is_comma_decimal(text):
        return column.str.replace(",", ".", literal=True).cast(pl.Float64)
    return column


def _all(text: pl.Series, pattern: str) -> bool:
    # the first values settle most columns without a pass over all of them
    return bool(text.head(100).str.contains(pattern).all() and text.str.contains(pattern).all())


def _is_comma_decimal(text: pl.Series) -> bool:
    """Numbers with a decimal comma; "1,234" everywhere may be thousands, so that stays text."""
    if not _all(text, _COMMA_FLOAT) or text.str.contains(_LEADING_ZERO).any():
        return False
    decimals = text.filter(text.str.contains(",", literal=True))
    return not decimals.str.contains(r",\d{3}$").all()
