"""What a request for forecasts asks: a list of stores, products and days; a bad item is told by itself."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import orjson

from foretail.serving.api_ids import Pair, read_pair
from foretail.serving.errors import RequestError, RequestProblem, refuse

__all__ = ["EXAMPLE_REQUEST", "ITEM_SCHEMA", "MOST_DAYS", "Item", "read_item", "read_items"]

MOST_DAYS = 366  # of one item
_NAMES = ("store_id", "product_name", "begin_date", "end_date")
_FIX = '[{"store_id": "1", "product_name": "product_A", "begin_date": "2015-08-01", "end_date": "2015-08-07"}]'

EXAMPLE_REQUEST = [
    {"store_id": "1", "product_name": "product_A", "begin_date": "2015-08-01", "end_date": "2015-08-07"},
    {"store_id": "2", "product_name": "product_A"},
]
ITEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["store_id", "product_name"],
    "additionalProperties": False,
    "properties": {
        "store_id": {"type": ["string", "integer"], "description": "as text or as a number"},
        "product_name": {"type": "string"},
        "begin_date": {"type": ["string", "null"], "format": "date", "description": "first day, inclusive"},
        "end_date": {"type": ["string", "null"], "format": "date", "description": "last day, inclusive"},
    },
}


@dataclass(frozen=True)
class Item:
    """One pair and its days.

    Attributes
    ----------
    request : as it came. pair : store and product; None where `problem` says why not.
    begin, end : days, both inclusive; None where left out.
    """

    request: Any
    pair: Pair | None = None
    begin: dt.date | None = None
    end: dt.date | None = None
    problem: RequestProblem | None = field(default=None)


def read_items(body: bytes, most: int) -> list[Item]:
    """The items of a body.

    Parameters
    ----------
    most : items of one request.

    Raises
    ------
    RequestError : 400, not a list of at least one item in JSON; 413, too many.
    """
    try:
        items = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refuse(400, f"the body is not JSON: {error}", "the request body", f"send {_FIX}") from error
    if not isinstance(items, list) or not items:
        raise refuse(400, "the body is no list of pairs, or an empty one", "the request body", f"send {_FIX}")
    if len(items) > most:
        what = f"{len(items)} pairs; the limit is {most} a request"
        raise refuse(413, what, "the request body", "ask in several requests")
    return [_read(item, i) for i, item in enumerate(items)]


def read_item(values: dict[str, Any], instance: int | None = None) -> Item:
    """One item.

    Raises
    ------
    RequestError : 400, names or dates that cannot be; 422, an end before the begin, or too many days.
    """
    unknown = sorted(set(values) - set(_NAMES))
    if unknown:
        raise refuse(400, f"unknown member {unknown[0][:40]!r}", "the item", f"known: {', '.join(_NAMES)}", instance)
    pair = read_pair(values.get("store_id"), values.get("product_name"), instance)
    begin, end = (_day(name, values.get(name), instance) for name in ("begin_date", "end_date"))
    if begin is not None and end is not None:
        if end < begin:
            raise refuse(422, f"the end {end} is before the begin {begin}", "end_date", "the later day last", instance)
        if (end - begin).days >= MOST_DAYS:
            what = f"{(end - begin).days + 1} days; the limit is {MOST_DAYS} an item"
            raise refuse(422, what, "end_date", "ask for fewer days", instance)
    return Item(values, pair, begin, end)


def _read(values: Any, i: int) -> Item:
    if not isinstance(values, dict):
        problem = RequestProblem(400, "the item is no object", f"item {i}", f"send {_FIX}", i)
        return Item(values, problem=problem)
    try:
        return read_item(values, i)
    except RequestError as error:
        return Item(values, problem=error.problems[0])


def _day(name: str, value: Any, instance: int | None) -> dt.date | None:
    """A day; of a moment the day that it is written with."""
    if value is None:
        return None
    try:
        if not isinstance(value, str) or len(value) > 40:
            raise ValueError
        day = dt.date.fromisoformat(value[:10])
        if len(value) > 10:
            dt.datetime.fromisoformat(value)
    except ValueError:
        fix = "a day such as 2015-08-01, or leave it out"
        raise refuse(400, f"{name} is {repr(value)[:40]}", name, fix, instance) from None
    return day
