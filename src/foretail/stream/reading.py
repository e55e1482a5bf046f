"""The fields of JSON messages, read by Arrow a block at a time; a message that it refuses is found and told why.

Arrow alone decides what can be read. Python's own parser only finds the refused messages of a block quickly and puts
the reason into words.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.json as pj

from foretail.stream.schema import FIELDS, MAX_BYTES, VERSION, WHOLE_NUMBERS

__all__ = ["decoded", "read_fields", "unreadable"]

_JSON = pa.schema([(name, pa.int64() if name in WHOLE_NUMBERS else pa.string()) for name in FIELDS])
_KINDS = {**dict.fromkeys(FIELDS, str), **dict.fromkeys(WHOLE_NUMBERS, int)}
_DIGITS = 20  # of the longest whole number that 64 bits hold, with its sign
_SHOWN = 60  # characters of a value that a reason repeats
_BREAKS = r"[\r\n]"


def decoded(values: pl.Series) -> pl.Series:
    """Bytes as text; null where they are not UTF-8."""
    try:
        return values.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series(values.name, [_utf8(value) for value in values], dtype=pl.String)


def unreadable(messages: pl.DataFrame) -> pl.Series:
    """Why a message is not looked into: text ``[n]``, null where it can be.

    Parameters
    ----------
    messages : columns of `MESSAGE_SCHEMA`, and ``text``: the value in UTF-8, null where it is none.
    """
    version, size, text = pl.col("schema_version"), pl.col("value").bin.size(), pl.col("text")
    bare = text.str.strip_chars(" \t\r\n")
    is_object = bare.str.starts_with("{") & bare.str.ends_with("}")
    reason = (
        pl.when(version.is_not_null() & (version != VERSION))
        .then(pl.format("unknown schema version {}, known: {}", version.str.slice(0, _SHOWN), pl.lit(VERSION)))
        .when(pl.col("value").is_null())
        .then(pl.lit("no value"))
        .when(size > MAX_BYTES)
        .then(pl.format("too large: {} bytes, the limit is {}", size, pl.lit(MAX_BYTES)))
        .when(text.is_null())
        .then(pl.lit("not UTF-8"))
        .when(text.str.contains("\x00", literal=True))
        .then(pl.lit("malformed JSON: a NUL byte"))
        .when(~is_object)
        .then(pl.lit("malformed JSON: not an object"))
    )
    return _with_broken_lines(messages.select(reason.alias("reason"))["reason"], messages["text"])


def read_fields(texts: pl.Series) -> pl.DataFrame:
    """Read one JSON object a text.

    Parameters
    ----------
    texts : for which `unreadable` has no reason.

    Returns
    -------
    In the order of the texts: ``line`` (0, 1, …), `FIELDS` (whole numbers as Int64, the others as text; null where a
    field is missing or null), and ``reason``, null where the text was read.
    """
    lines = pl.DataFrame({"text": texts.str.replace_all(_BREAKS, " ")}).with_row_index("line")
    try:
        return _read_together(lines)
    except pa.ArrowInvalid:
        told = lines.with_columns(reason=pl.Series([_refusal(text) for text in lines["text"]], dtype=pl.String))
    refused = told.filter(pl.col("reason").is_not_null()).drop("text")
    pieces = _read_in_halves(told.filter(pl.col("reason").is_null()).drop("reason"))
    return pl.concat([_no_lines(), refused, *pieces], how="diagonal").sort("line")


def _no_lines() -> pl.DataFrame:
    fields = {name: pl.Int64 if kind is int else pl.String for name, kind in _KINDS.items()}
    return pl.DataFrame(schema={"line": pl.UInt32, **fields, "reason": pl.String})


def _read_together(lines: pl.DataFrame) -> pl.DataFrame:
    """Read all texts at once.

    Raises
    ------
    pa.ArrowInvalid : one of them cannot be read.
    """
    if lines.is_empty():
        return _no_lines()
    joined = lines["text"].str.join("\n").item().encode()
    table = pj.read_json(
        pa.BufferReader(joined),
        pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),
        pj.ParseOptions(explicit_schema=_JSON, unexpected_field_behavior="ignore"),
    )
    if table.num_rows != lines.height:  # several objects in one message
        raise pa.ArrowInvalid("more than one value")
    fields = pl.DataFrame(pl.from_arrow(table))
    return lines.select("line").hstack(fields).with_columns(reason=pl.lit(None, pl.String))


def _read_in_halves(lines: pl.DataFrame) -> list[pl.DataFrame]:
    """Read what can be read, and find what cannot by halving."""
    try:
        return [_read_together(lines)]
    except pa.ArrowInvalid as error:
        if lines.height == 1:
            said = str(error).removeprefix("JSON parse error: ")
            return [lines.select("line").with_columns(reason=pl.lit(f"malformed JSON: {said}"))]
    half = lines.height // 2
    return [*_read_in_halves(lines[:half]), *_read_in_halves(lines[half:])]


def _with_broken_lines(reasons: pl.Series, texts: pl.Series) -> pl.Series:
    """A line break between tokens is fine, one inside a text is not; both would look alike once they are replaced."""
    broken = (texts.str.contains(_BREAKS) & reasons.is_null()).fill_null(False).arg_true()
    if broken.is_empty():
        return reasons
    found = pl.Series([_malformed(text) for text in texts.gather(broken)], dtype=pl.String)
    return reasons.scatter(broken, found)


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _malformed(text: str) -> str | None:
    found = _parsed(text)
    return found if isinstance(found, str) else None


def _refusal(text: str) -> str | None:
    """Why a text is no event as far as its syntax and its types go; None where Arrow has to say."""
    found = _parsed(text)
    if found is None or isinstance(found, str):
        return found
    names = [name for name, _ in found]
    values = dict(found)
    said = [f"{name} is given more than once" for name in FIELDS if names.count(name) > 1]
    wrong = [name for name, kind in _KINDS.items() if not _is(kind, values.get(name))]
    return "; ".join([*said, *(_misfit(name, values[name]) for name in wrong)]) or None


def _parsed(text: str) -> tuple[tuple[str, Any], ...] | str | None:
    """The members of an object, or why it is none; None when that cannot be said here."""
    try:
        found = json.loads(text, parse_int=_whole, object_pairs_hook=tuple)
    except RecursionError:
        return None
    except ValueError as error:
        return f"malformed JSON: {error}"
    return found if isinstance(found, tuple) else "malformed JSON: not an object"


def _is(kind: type, value: Any) -> bool:
    if isinstance(value, str) and kind is str:
        return _is_unicode(value)
    return value is None or (isinstance(value, kind) and not isinstance(value, bool))


def _is_unicode(text: str) -> bool:
    """No half of a surrogate pair, which JSON can write and nothing can keep."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _misfit(name: str, value: Any) -> str:
    wanted = "whole number" if name in WHOLE_NUMBERS else "text"
    return f"{name} is no {wanted}: {json.dumps(value)[:_SHOWN]}"


def _whole(digits: str) -> int | float:
    """A whole number, or infinity for one that no column holds: Python itself refuses very long ones."""
    return int(digits) if len(digits) <= _DIGITS and abs(int(digits)) < 2**63 else float("inf")
