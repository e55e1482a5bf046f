"""Messages become events: a block is read and checked at once, and what cannot be used is set aside with its reason.

A block that cannot be read whole is looked at message by message, so a poison message costs its own block some time
and nothing else. Whether a message is an event depends on it alone and the moment, never on the messages beside it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace

import polars as pl

from foretail.stream.reading import decoded, read_fields, unreadable
from foretail.stream.schema import EVENT_SCHEMA, MESSAGE_SCHEMA, TEXTS, WHOLE_NUMBERS, Text, WholeNumber

__all__ = ["Parsed", "Rules", "parse"]

_BLOCK = 32_768  # messages that are read together
_CLOCK_SKEW = dt.timedelta(minutes=10)  # how far the clock of a till may be ahead
_TIME_ZONES = dt.timedelta(days=1)  # a shop's day begins up to 14 hours before the day in UTC
_TIME = "%Y-%m-%dT%H:%M:%S%.f%#z"
_CONTROL = r"[\x00-\x1f\x7f]"  # a database refuses the first of them, a log all
_SHOWN = 60  # characters of a value that a reason repeats
_day, _at = pl.col("_day"), pl.col("_at")  # date and event_time as read; null where they are none

Check = tuple[pl.Expr, pl.Expr]  # what must be true, and what is said of a row where it is not


@dataclass(frozen=True)
class Rules:
    """What an event is held against beside its schema.

    Attributes
    ----------
    now : when the messages were read, aware; an event may not be told after it.
    today : the shops' date, a day after which has no sales yet; None for the date of ``now`` in UTC.
    stores : ids that exist; None for any.
    late_after : days that a statement may come after the day it is about.
    """

    now: dt.datetime
    today: dt.date | None = None
    stores: frozenset[int] | None = field(default=None, repr=False)
    late_after: int = 3_660

    @property
    def last_day(self) -> dt.date:
        return self.today or self.now.astimezone(dt.UTC).date()

    def at(self, now: dt.datetime, today: dt.date) -> Rules:
        """The same rules at another moment."""
        return replace(self, now=now, today=today)


@dataclass(frozen=True)
class Parsed:
    """What came of messages.

    Attributes
    ----------
    events : the valid ones in the order of the messages, columns of `EVENT_SCHEMA`.
    dead : the others, columns of `MESSAGE_SCHEMA` and ``reason``.
    """

    events: pl.DataFrame
    dead: pl.DataFrame


def parse(messages: pl.DataFrame, rules: Rules) -> Parsed:
    """Read and check messages.

    Parameters
    ----------
    messages : columns of `MESSAGE_SCHEMA`.
    rules : what they are held against.
    """
    told = messages.with_columns(text=decoded(messages["value"]))
    blocks = [_parse_block(block, rules) for block in told.iter_slices(_BLOCK)]
    dead_schema = {**MESSAGE_SCHEMA, "reason": pl.String}
    return Parsed(
        events=pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *(block.events for block in blocks)]),
        dead=pl.concat([pl.DataFrame(schema=dead_schema), *(block.dead for block in blocks)]),
    )


def _parse_block(block: pl.DataFrame, rules: Rules) -> Parsed:
    told = block.with_columns(reason=unreadable(block))
    unread, readable = _split(told)
    refused, fields = _split(readable.drop("reason").hstack(read_fields(readable["text"])))
    wrong, events = _checked(fields, rules)
    columns = [*MESSAGE_SCHEMA, "reason"]
    dead = pl.concat([unread.select(columns), refused.select(columns), wrong.select(columns)])
    return Parsed(events, dead.sort("topic", "partition", "offset"))


def _split(told: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with a reason, and rows without."""
    return told.filter(pl.col("reason").is_not_null()), told.filter(pl.col("reason").is_null())


def _checked(fields: pl.DataFrame, rules: Rules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that break a rule with every reason, and the others as events."""
    checks = _checks(rules)
    rows = fields.rechunk().with_columns(  # polars panics where the first piece of a column of times is empty
        pl.col("date").str.to_date("%Y-%m-%d", strict=False).alias("_day"),
        pl.col("event_time")
        .str.to_datetime(_TIME, strict=False, time_unit="us", time_zone="UTC")
        .dt.replace_time_zone(None)
        .alias("_at"),
    )
    held = pl.all_horizontal(*(holds.fill_null(False) for holds, _ in checks))
    is_valid = rows.select(held.alias("held"))["held"]
    wrong = rows.filter(~is_valid).with_columns(reason=_reasons(checks))
    events = rows.filter(is_valid).with_columns(_day.alias("date"), _at.alias("event_time"), _weekday())
    return wrong, events.select(pl.col(name).cast(kind) for name, kind in EVENT_SCHEMA.items())


def _reasons(checks: list[Check]) -> pl.Expr:
    said = [pl.when(~holds.fill_null(False)).then(words) for holds, words in checks]
    return pl.concat_str(said, separator="; ", ignore_nulls=True)


def _weekday() -> pl.Expr:
    """Of the date, 1 on Monday: a producer that shifts dates may have forgotten it, and a date has but one."""
    return _day.dt.weekday().alias("dayofweek")


def _checks(rules: Rules) -> list[Check]:
    checks = [check for name, number in WHOLE_NUMBERS.items() for check in _number_checks(name, number)]
    checks += [check for name, text in TEXTS.items() for check in _text_checks(name, text)]
    return [*checks, *_day_checks(rules), *_time_checks(rules), *_store_checks(rules)]


def _number_checks(name: str, number: WholeNumber) -> list[Check]:
    value = pl.col(name)
    bounds = pl.format("{} = {} lies outside {} to {}", pl.lit(name), value, pl.lit(number.low), pl.lit(number.high))
    negative = pl.format("{} is negative: {}", pl.lit(name), value)
    said = pl.when((value < 0) & (number.low == 0)).then(negative).otherwise(bounds)
    inside = (value.is_null() | value.is_between(number.low, number.high), said)
    return [inside] if number.is_optional else [_given(name), inside]


def _text_checks(name: str, text: Text) -> list[Check]:
    value = pl.col(name)
    length = pl.format("{} has {} characters, not 1 to {}", pl.lit(name), value.str.len_chars(), pl.lit(text.longest))
    return [
        _given(name),
        (value.is_null() | value.str.len_chars().is_between(1, text.longest), length),
        (~value.str.contains(_CONTROL).fill_null(False), pl.lit(f"{name} holds control characters")),
    ]


def _day_checks(rules: Rules) -> list[Check]:
    last, first = rules.last_day, rules.last_day - dt.timedelta(days=rules.late_after)
    late = pl.format("late: {} was more than {} days ago", _day, pl.lit(rules.late_after))
    return [
        _given("date"),
        (pl.col("date").is_null() | _day.is_not_null(), _unread("date", "a date such as 2024-03-18")),
        (_day.is_null() | (_day <= last), pl.format("the date {} lies in the future", _day)),
        (_day.is_null() | (_day >= first), late),
    ]


def _time_checks(rules: Rules) -> list[Check]:
    latest = rules.now.astimezone(dt.UTC).replace(tzinfo=None) + _CLOCK_SKEW
    example = "a time with its offset such as 2024-03-18T21:00:00Z"
    early = pl.format("told at {}, before the day {} had begun", pl.col("event_time"), _day)
    return [
        _given("event_time"),
        (pl.col("event_time").is_null() | _at.is_not_null(), _unread("event_time", example)),
        (_at.is_null() | (_at <= latest), pl.format("event_time lies in the future: {}", pl.col("event_time"))),
        (_at.is_null() | _day.is_null() | (_at >= _day.cast(pl.Datetime("us")) - _TIME_ZONES), early),
    ]


def _store_checks(rules: Rules) -> list[Check]:
    if rules.stores is None:
        return []
    known = pl.Series(sorted(rules.stores), dtype=pl.Int64).implode()
    return [(pl.col("store").is_null() | pl.col("store").is_in(known), pl.format("unknown store {}", "store"))]


def _given(name: str) -> Check:
    return pl.col(name).is_not_null(), pl.lit(f"{name} is missing")


def _unread(name: str, wanted: str) -> pl.Expr:
    return pl.format("{} is not {}: '{}'", pl.lit(name), pl.lit(wanted), pl.col(name).str.slice(0, _SHOWN))
