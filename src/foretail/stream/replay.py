"""A table of daily sales told again as events: its last months as if they ended yesterday, then today as it happens.

Dates are moved by whole weeks, so every weekday keeps its pattern and its own calendar columns. What is told of a day
that is not over is what was sold so far: the sums grow, and the full day is told when it has ended.
"""

from __future__ import annotations

import calendar
import datetime as dt
import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl

from foretail.core.errors import DataError, Problem, UsageError
from foretail.sources.table import Table
from foretail.stream.schema import FIELDS

__all__ = ["Faults", "Replay", "to_messages"]

_CLOSING = dt.time(23, 59, 59)  # when a full day is told
_FROM, _HOURS = 8.0, 12.0  # shops open at 8 and sell evenly for 12 hours
_WEEK = 7
_ONE_PRODUCT = "product_A"  # of a table whose series are stores
_SPREAD = 0.3  # how far behind, as a share of all messages, a late or repeated one comes at most
_CORRECTED_H = 72  # hours within which a wrong statement is corrected
_FACTS = ("store", "productname", "date", "sales", "customers", "open", "promo", "stateholiday", "schoolholiday")


@dataclass(frozen=True)
class Faults:
    """What real streams do to statements, as shares of them.

    Attributes
    ----------
    restated : told wrongly first, and corrected by a later statement.
    late : delivered after statements that were made later.
    duplicated : delivered twice.
    seed : of the draws.
    """

    restated: float = 0.0
    late: float = 0.0
    duplicated: float = 0.0
    seed: int = 7

    def __post_init__(self) -> None:
        for name in ("restated", "late", "duplicated"):
            if not 0 <= getattr(self, name) < 1:
                said = f"{name} = {getattr(self, name)}"
                raise UsageError(f"a share lies between 0 and 1.\n  where: {said}\n  fix:   --{name} 0.01")


@dataclass(frozen=True)
class Replay:
    """A table, ready to be told.

    Attributes
    ----------
    facts : one row per store, product and day of the table: ``store, productname, date, sales, customers, open,
        promo, stateholiday, schoolholiday``; the dates are the table's own.
    today : the day that is not over.
    months : how far back the history goes.
    shift : days, a multiple of 7, by which the table is moved.
    print : names the table and the shift in event ids.
    """

    facts: pl.DataFrame
    today: dt.date
    months: int
    shift: int
    print: str

    @classmethod
    def of(cls, table: Table, today: dt.date, months: int = 5) -> Replay:
        """Make a replay of a daily table.

        Raises
        ------
        UsageError : the table is not daily, or months < 1.
        DataError : stores are no whole numbers, more than two key columns, or less than two weeks of days.
        """
        if months < 1:
            raise UsageError(f"months = {months}.\n  where: --months\n  fix:   1 or more")
        facts = _facts(table)
        shift = _shift(facts, today)
        digest = hashlib.sha256(facts.write_csv().encode() + str(shift).encode()).hexdigest()
        return cls(facts, today, months, shift, digest[:8])

    @property
    def yesterday(self) -> dt.date:
        return self.today - dt.timedelta(days=1)

    @property
    def first_day(self) -> dt.date:
        """The day after the one that lies ``months`` before yesterday."""
        count = self.yesterday.year * 12 + self.yesterday.month - 1 - self.months
        year, month = count // 12, count % 12 + 1
        day = min(self.yesterday.day, calendar.monthrange(year, month)[1])
        return dt.date(year, month, day) + dt.timedelta(days=1)

    def history(self) -> pl.DataFrame:
        """What is told of every day up to yesterday, oldest first: an event of `FIELDS` a row."""
        moved = self.facts.with_columns(pl.col("date").dt.offset_by(f"{self.shift}d"))
        days = moved.filter(pl.col("date").is_between(self.first_day, self.yesterday))
        return self._events(days.sort("date", "store", "productname"), self._closing())

    def day(self, date: dt.date) -> pl.DataFrame:
        """The facts of a day from today on; past the table's end the same weekday of its last weeks stands in."""
        source = date - dt.timedelta(days=self.shift)
        last: dt.date = self.facts["date"].max()  # type: ignore[assignment]  # polars types a maximum as anything
        beyond = max(0, (source - last).days)
        source -= dt.timedelta(days=_WEEK * -(-beyond // _WEEK))
        found = self.facts.filter(pl.col("date") == source)
        return found.with_columns(pl.lit(date).alias("date")).sort("store", "productname")

    def so_far(self, facts: pl.DataFrame, at: dt.datetime) -> pl.DataFrame:
        """What is told at a time (aware) of days that are not over: an event of `FIELDS` a row."""
        hour = at.hour + at.minute / 60 + at.second / 3600
        share = min(max((hour - _FROM) / _HOURS, 0.0), 1.0)
        sold = facts.with_columns((pl.col("sales", "customers") * share).floor().cast(pl.Int64))
        return self._events(sold, pl.lit(at.astimezone(dt.UTC).replace(tzinfo=None)))

    def closing(self, date: dt.date) -> pl.DataFrame:
        """What is told of a day that is over: an event of `FIELDS` a row."""
        return self._events(self.day(date), self._closing())

    def with_faults(self, events: pl.DataFrame, faults: Faults, now: dt.datetime) -> pl.DataFrame:
        """Events as they arrive where tills err, lines break and senders repeat themselves.

        Parameters
        ----------
        events : an event of `FIELDS` a row, in order of arrival.
        now : aware; no correction is made after it.

        Returns
        -------
        The events in their new order, with the corrections and the repetitions.
        """
        rng = np.random.default_rng(faults.seed)
        events = events.with_columns(arrival=pl.int_range(pl.len()).cast(pl.Float64))
        events = self._restated(events, faults.restated, now, rng)
        spread = _SPREAD * events.height
        delay = np.where(rng.random(events.height) < faults.late, rng.uniform(0, spread, events.height), 0.0)
        events = events.with_columns(pl.col("arrival") + pl.Series(delay))
        again = events.filter(pl.Series(rng.random(events.height) < faults.duplicated))
        again = again.with_columns(pl.col("arrival") + pl.Series(rng.uniform(0, spread, again.height)))
        return pl.concat([events, again]).sort("arrival", maintain_order=True).select(FIELDS)

    def _restated(self, events: pl.DataFrame, share: float, now: dt.datetime, rng: np.random.Generator) -> pl.DataFrame:
        is_wrong = pl.Series(rng.random(events.height) < share)
        wrong = (events["sales"] * pl.Series(rng.uniform(0.3, 1.7, events.height))).floor().cast(pl.Int64)
        first = events.with_columns(pl.when(is_wrong).then(wrong).otherwise(pl.col("sales")).alias("sales"))
        hours = pl.Series(rng.integers(1, _CORRECTED_H + 1, events.height))
        at = pl.min_horizontal(pl.col("event_time") + hours * pl.duration(hours=1), _naive(now))
        right = events.with_columns(event_time=at, arrival=pl.col("arrival") + 0.5).filter(is_wrong)
        return pl.concat([first, self._named(right)]).sort("arrival")

    def _closing(self) -> pl.Expr:
        """The end of the day; a table told anew with a greater shift goes before an earlier telling."""
        return pl.col("date").dt.combine(_CLOSING) + pl.duration(microseconds=self.shift // _WEEK)

    def _events(self, facts: pl.DataFrame, event_time: pl.Expr) -> pl.DataFrame:
        timed = facts.with_columns(
            pl.col("date").dt.weekday().cast(pl.Int64).alias("dayofweek"),
            event_time.cast(pl.Datetime("us")).alias("event_time"),
        )
        return self._named(timed).select(FIELDS)

    def _named(self, events: pl.DataFrame) -> pl.DataFrame:
        """An id that says what is told of which day and when: telling the same again makes no other event."""
        when = pl.col("event_time").dt.strftime("%Y%m%dT%H%M%S%6f")
        key = pl.format("{}-{}-{}-{}-{}", pl.lit(self.print), when, "date", "store", "productname")
        return events.with_columns(key.str.slice(0, 200).alias("event_id"))


def to_messages(events: pl.DataFrame) -> pl.DataFrame:
    """The key and the value of each event's message: text columns ``key`` and ``value``.

    The key is the business key, so that all statements about one store-day stay in one partition, in their order.

    Parameters
    ----------
    events : columns of `FIELDS`.
    """
    told = events.with_columns(
        pl.col("date").dt.strftime("%Y-%m-%d"), pl.col("event_time").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    )
    return told.select(
        pl.format("{}|{}|{}", "store", "productname", "date").alias("key"),
        pl.struct(FIELDS).struct.json_encode().alias("value"),
    )


def _naive(now: dt.datetime) -> pl.Expr:
    return pl.lit(now.astimezone(dt.UTC).replace(tzinfo=None), dtype=pl.Datetime("us"))


def _shift(facts: pl.DataFrame, today: dt.date) -> int:
    """Whole weeks, in days, that bring the last day that has a successor in the table to yesterday."""
    last: dt.date = facts["date"].max()  # type: ignore[assignment]  # polars types a maximum as anything
    first: dt.date = facts["date"].min()  # type: ignore[assignment]
    if (last - first).days < 2 * _WEEK:
        where = f"{first} to {last}"
        raise DataError(Problem("less than two weeks of sales cannot be replayed", where, "give a longer table"))
    return -(-(today - last).days // _WEEK) * _WEEK


def _facts(table: Table) -> pl.DataFrame:
    """The table in the words of an event, one row per store, product and day."""
    spec = table.spec
    if not spec.frequency.is_daily:
        raise UsageError(f"only daily sales are told day by day.\n  where: {spec.freq}\n  fix:   give a daily table")
    frame = table.frame.sort(spec.recorded, maintain_order=True) if spec.recorded else table.frame
    facts = frame.select(
        _store(frame, spec.keys).alias("store"),
        _product(frame, spec.keys).alias("productname"),
        pl.col(spec.time).cast(pl.Date).alias("date"),
        pl.col(spec.target).round().cast(pl.Int64).alias("sales"),
        _number(frame, "customers", None).alias("customers"),
        _number(frame, spec.open or "open", 1).alias("open"),
        _number(frame, "promo", 0).alias("promo"),
        _holiday(frame).alias("stateholiday"),
        _number(frame, "schoolholiday", 0).alias("schoolholiday"),
    )
    known = facts.drop_nulls(["store", "productname", "date", "sales"])
    return known.unique(["store", "productname", "date"], keep="last", maintain_order=True).select(_FACTS)


def _store(frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.Expr:
    if len(keys) not in (1, 2):
        fix = "give a table with a store column, and a product column if there is one"
        raise DataError(Problem("an event names a store and a product", f"keys: {', '.join(keys) or 'none'}", fix))
    if not frame.schema[keys[0]].is_integer():
        where = f"column {keys[0]!r} holds {frame.schema[keys[0]]}"
        raise DataError(Problem("the store of an event is a whole number", where, "number the stores"))
    return pl.col(keys[0]).cast(pl.Int64)


def _product(frame: pl.DataFrame, keys: tuple[str, ...]) -> pl.Expr:
    if len(keys) == 1:
        return pl.lit(_ONE_PRODUCT)
    if frame.schema[keys[1]].is_integer():
        return pl.format("product_{}", keys[1])
    return pl.col(keys[1]).cast(pl.String)


def _number(frame: pl.DataFrame, name: str, default: int | None) -> pl.Expr:
    column = _find(frame, name)
    missing = pl.lit(default, dtype=pl.Int64)
    return missing if column is None else pl.col(column).cast(pl.Int64).fill_null(missing)


def _holiday(frame: pl.DataFrame) -> pl.Expr:
    """The kind of public holiday: as the table says, or ``a`` where it only knows that there is one; else ``0``."""
    column = _find(frame, "stateholiday", "isholiday", "holiday")
    if column is None:
        return pl.lit("0")
    if frame.schema[column] == pl.String:
        return pl.col(column).fill_null("0")
    return pl.when(pl.col(column).cast(pl.Int64) > 0).then(pl.lit("a")).otherwise(pl.lit("0"))


def _find(frame: pl.DataFrame, *names: str) -> str | None:
    """The column that is called like this, whatever its case and underscores."""
    plain = {column.lower().replace("_", ""): column for column in frame.columns}
    return next((plain[name] for name in (name.lower().replace("_", "") for name in names) if name in plain), None)
