"""As-of joins by row number: for every left row the right row that was valid then, on keys turned into integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.errors import DataError, Problem

__all__ = ["CREATED", "TIME", "Keys", "Taking", "asof_rows", "check_keys", "take"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

TIME = "__time"
"""Column with the event time, int64 microseconds (see `times`)."""
CREATED = "__created"
"""Column with the time at which a right row was written, int64 microseconds; null = unknown."""

# keys are coded by their distance from the smallest while those codes are at most so many times the rows
_DENSE = 4
_SMALL = 4096


@dataclass(frozen=True)
class Keys:
    """Columns to match, in the same order on both sides; none at all matches every row with every row."""

    left: tuple[str, ...]
    right: tuple[str, ...]


def asof_rows(
    left: pl.DataFrame, right: pl.DataFrame, keys: Keys, *, ttl: int | None = None, as_known: bool = False
) -> IntArray:
    """Row numbers of ``right`` that were valid at each row of ``left``; -1 where none was.

    Valid is the row of the same keys with the newest `TIME` that is not after the left row's; of several with that
    time the one written last (`CREATED`, unknown first), then the one that stands last. Null keys and null left
    times match nothing.

    Parameters
    ----------
    left : key columns and `TIME`.
    right : key columns, `TIME` without nulls, and optionally `CREATED`.
    ttl : microseconds after which a row is no longer valid, the last one included; None = never.
    as_known : leave out rows written after the left row's time, or at an unknown one.

    Returns
    -------
    int64 ``[left.height]``

    Raises
    ------
    DataError : a key is text on one side and a number on the other.
    """
    if not right.height or not left.height:
        return np.full(left.height, -1, dtype=np.int64)
    line = _Line.of(left, right, keys)
    has_created = CREATED in right.columns
    if as_known and has_created:
        rows = line.known_rows(right[CREATED])
    else:
        rows = line.rows(_writing_order(right[CREATED]) if has_created else None)
    return rows if ttl is None else _still_valid(rows, line, ttl)


@dataclass(frozen=True)
class Taking:
    """Rows to take, made ready once for many columns.

    Attributes
    ----------
    index : row numbers, null for no row; None stands for all rows in order.
    n : how many rows that gives.
    """

    index: pl.Series | None
    n: int

    @classmethod
    def of(cls, rows: IntArray, height: int) -> Taking:
        """Rows by number, -1 for none, of frames that are so high."""
        if len(rows) == height and (not height or rows[0] == 0) and np.array_equal(rows, np.arange(height)):
            return cls(None, height)
        index = pl.Series(rows)
        if height and len(rows) and rows.min() < 0:
            index = index.set(index < 0, None)
        return cls(index.cast(pl.get_index_type()) if height else index, len(rows))

    def take(self, column: pl.Series) -> pl.Series:
        """These rows of a column; the column itself if they are all of its rows."""
        if self.index is None:
            return column
        if not len(column):
            return column.extend_constant(None, self.n)
        # in one piece: looking a row up among pieces costs more than joining them
        return column.rechunk().gather(self.index)


def take(frame: pl.DataFrame, rows: IntArray) -> pl.DataFrame:
    """Rows of a frame by number, nulls for -1; the frame itself if those are all of its rows in order."""
    taking = Taking.of(rows, frame.height)
    return frame if taking.index is None else pl.DataFrame([taking.take(column) for column in frame])


def check_keys(left: pl.Schema, right: pl.Schema, keys: Keys, where: str) -> None:
    """Refuse keys that could never match because their types differ.

    Raises
    ------
    DataError : names every such key and ``where`` it came from.
    """
    problems = [
        Problem(
            f"join key {a!r} is {left[a]} in the entity rows and {right[b]} in the source",
            where,
            f"cast {a!r} of the entity rows to {right[b]}",
        )
        for a, b in zip(keys.left, keys.right, strict=True)
        if _family(left[a]) != _family(right[b]) and pl.Null not in (left[a], right[b])
    ]
    if problems:
        raise DataError(problems)


@dataclass(frozen=True)
class _Line:
    """Both sides on one integer line: key code, and the rank of the time among the right side's times.

    ``code`` is -1 for left rows whose key the right side lacks, ``place`` is -1 before the first time.
    """

    left_time: IntArray
    right_time: IntArray
    left_code: IntArray
    right_code: IntArray
    n_codes: int
    has_time: BoolArray

    @classmethod
    def of(cls, left: pl.DataFrame, right: pl.DataFrame, keys: Keys) -> _Line:
        left_code, right_code, n_codes = _codes(left, right, keys)
        time = left[TIME]
        has_time = time.is_not_null().to_numpy()
        filled = time.fill_null(0).to_numpy()
        return cls(filled, right[TIME].to_numpy(), left_code, right_code, n_codes, has_time)

    def rows(self, order: IntArray | None) -> IntArray:
        """The last right row at or before each left row; ``order`` says in which order equal times were written."""
        return self._last(self.right_code, self.right_time, order)

    def known_rows(self, created: pl.Series) -> IntArray:
        """The same among the rows already written: a row counts from the later of its two times.

        Ordered by that, a row that is older than one already there is never the newest again and is left out, so
        that what remains is again one line per key.
        """
        written = created.is_not_null().to_numpy()
        when = created.fill_null(0).to_numpy()
        since = np.maximum(self.right_time, when)
        order = np.lexsort((when, self.right_time, since, self.right_code))
        order = order[written[order]]
        if not len(order):
            return np.full(len(self.left_time), -1, dtype=np.int64)
        rank = np.empty(len(when), dtype=np.int64)
        rank[np.lexsort((when, self.right_time))] = np.arange(len(when))
        newest = rank[order] + self.right_code[order] * np.int64(len(when))
        order = order[newest >= np.maximum.accumulate(newest)]
        rows = self._last(self.right_code[order], since[order], None)
        return np.where(rows >= 0, order[np.maximum(rows, 0)], -1)

    def _last(self, code: IntArray, time: IntArray, order: IntArray | None) -> IntArray:
        times = pl.Series(time).unique().sort().to_numpy()
        right_place = np.searchsorted(times, time)
        left_place = np.searchsorted(times, self.left_time, side="right") - 1
        asked = (self.left_code >= 0) & (left_place >= 0) & self.has_time
        n_cells = self.n_codes * len(times)
        key = code * len(times) + right_place
        wanted = np.where(asked, self.left_code * len(times) + left_place, 0)
        if n_cells <= len(code) + len(wanted) + _SMALL:
            found = _by_table(key, wanted, self.n_codes, len(times), order)
        else:
            found = _by_search(key, wanted, len(times), order)
        return np.where(asked, found, -1)


def _by_table(key: IntArray, wanted: IntArray, n_codes: int, n_times: int, order: IntArray | None) -> IntArray:
    """One cell per (key, time), each filled forward from the last that holds a row."""
    rows = np.arange(len(key), dtype=np.int64) if order is None else order
    table = np.full(n_codes * n_times, -1, dtype=np.int64)
    table[key[rows]] = rows
    if (table >= 0).all():
        return table[wanted]
    filled = np.where(table >= 0, np.arange(len(table)), -1).reshape(n_codes, n_times)
    np.maximum.accumulate(filled, axis=1, out=filled)
    cell = filled.reshape(-1)[wanted]
    return np.where(cell >= 0, table[np.maximum(cell, 0)], -1)


def _by_search(key: IntArray, wanted: IntArray, n_times: int, order: IntArray | None) -> IntArray:
    """Sorted once, then looked up: for keys whose rows are few and far between."""
    rows = _sorted_rows(key, order)
    ordered = key if rows is None else key[rows]
    place = np.searchsorted(ordered, wanted, side="right") - 1
    safe = np.maximum(place, 0)
    is_same = (place >= 0) & (ordered[safe] // n_times == wanted // n_times)
    return np.where(is_same, safe if rows is None else rows[safe], -1)


def _sorted_rows(key: IntArray, order: IntArray | None) -> IntArray | None:
    """Stable order by key, equal keys as in ``order``; None if they stand so already."""
    if order is not None:
        return order[np.argsort(key[order], kind="stable")]
    return None if (key[1:] >= key[:-1]).all() else np.argsort(key, kind="stable")


def _writing_order(created: pl.Series) -> IntArray | None:
    """Rows by the time they were written, unknown ones first; None if they stand so already."""
    when = created.fill_null(np.iinfo(np.int64).min).to_numpy()
    return None if (when[1:] >= when[:-1]).all() else np.argsort(when, kind="stable")


def _still_valid(rows: IntArray, line: _Line, ttl: int) -> IntArray:
    age = line.left_time - line.right_time[np.maximum(rows, 0)]
    return np.where((rows >= 0) & (age <= ttl), rows, -1)


# keys


def _codes(left: pl.DataFrame, right: pl.DataFrame, keys: Keys) -> tuple[IntArray, IntArray, int]:
    """Codes ``0..n-1`` of the composite keys; left rows that the right side lacks get -1."""
    check_keys(left.schema, right.schema, keys, "the join")
    left_code, right_code = np.zeros(left.height, dtype=np.int64), np.zeros(right.height, dtype=np.int64)
    n_codes = 1
    for a, b in zip(keys.left, keys.right, strict=True):
        ours, theirs, n = _key_codes(*_same_type(left[a], right[b]))
        left_code = _combined(left_code, ours, n)
        right_code = _combined(right_code, theirs, n)
        n_codes *= n
        if n_codes > _DENSE * right.height + _SMALL:  # also keeps the product within an int64
            left_code, right_code, n_codes = _compact(left_code, right_code)
    return left_code, right_code, n_codes


def _combined(code: IntArray, more: IntArray, n: int) -> IntArray:
    """Codes of two keys as one; -1 where either has none."""
    both: IntArray = code * n + more
    if len(both) and (code.min() < 0 or more.min() < 0):
        both[(code < 0) | (more < 0)] = -1
    return both


def _key_codes(left: pl.Series, right: pl.Series) -> tuple[IntArray, IntArray, int]:
    """Codes of one key; a null on the right has a code of its own that no left row gets."""
    if right.dtype == pl.Int64 and not right.null_count():
        low = int(right.min())  # type: ignore[arg-type]
        span = int(right.max()) - low + 1  # type: ignore[arg-type]
        if span <= _DENSE * len(right) + _SMALL:
            return _offsets(left, low, span), right.to_numpy() - low, span
    values = right.drop_nulls().unique()
    book = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int64)})

    def coded(series: pl.Series, otherwise: int) -> IntArray:
        found = pl.DataFrame({"value": series}).join(book, on="value", how="left", maintain_order="left")["code"]
        return found.fill_null(otherwise).to_numpy()

    return coded(left, -1), coded(right, len(values)), len(values) + 1


def _offsets(left: pl.Series, low: int, span: int) -> IntArray:
    """Distances from the lowest key, -1 outside the span."""
    if len(left) and not left.null_count() and left.min() >= low and left.max() < low + span:  # type: ignore[operator]
        return left.to_numpy() - low
    inside = left.is_between(low, low + span - 1).fill_null(False).to_numpy()
    return np.where(inside, left.fill_null(low).to_numpy() - low, -1)


def _compact(left: IntArray, right: IntArray) -> tuple[IntArray, IntArray, int]:
    """Codes that only number the keys the right side has."""
    values = pl.Series(right).unique().sort().to_numpy()
    place = np.minimum(np.searchsorted(values, left), len(values) - 1)
    return np.where(values[place] == left, place, -1), np.searchsorted(values, right), len(values)


def _same_type(left: pl.Series, right: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Both sides in one type that keeps equal what is equal; numbers that are whole are whole numbers."""
    if pl.Null in (left.dtype, right.dtype):
        other = right.dtype if left.dtype == pl.Null else left.dtype
        left, right = left.cast(other), right.cast(other)
    family = _family(right.dtype)
    if family == "text":
        return left.cast(pl.String), right.cast(pl.String)
    if family == "number":
        if left.dtype.is_float() and right.dtype.is_float():
            return left.cast(pl.Float64).fill_nan(None), right.cast(pl.Float64).fill_nan(None)
        return _whole(left), _whole(right)
    return left, right.cast(left.dtype)


def _whole(series: pl.Series) -> pl.Series:
    """Numbers as int64; what is no such number is null, which matches nothing."""
    if not series.dtype.is_float():
        return series.cast(pl.Int64, strict=False)
    kept = series.set((series != series.floor()) | (series.abs() >= 2.0**63), None)
    return kept.fill_nan(None).cast(pl.Int64, strict=False)


def _family(dtype: pl.DataType) -> str:
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return str(dtype.base_type())
