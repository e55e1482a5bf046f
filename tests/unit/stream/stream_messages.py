"""Messages for the tests of the stream, as a broker would give them."""

import json

import polars as pl

from foretail.stream.schema import MESSAGE_SCHEMA

GOOD = {
    "store": 1,
    "dayofweek": 1,
    "date": "2024-03-18",
    "sales": 5263,
    "customers": 555,
    "open": 1,
    "promo": 1,
    "stateholiday": "0",
    "schoolholiday": 1,
    "productname": "product_A",
    "event_id": "e-1",
    "event_time": "2024-03-18T22:00:00Z",
}


def event(**changes):
    """The bytes of a good event with some fields changed; None leaves a field out."""
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value is not None}).encode()


def messages(*values, version=None, first=0):
    """A frame of messages with these values, one partition, offsets from ``first``."""
    columns = {
        "topic": ["sales"] * len(values),
        "partition": [0] * len(values),
        "offset": list(range(first, first + len(values))),
        "key": [b"k"] * len(values),
        "value": list(values),
        "schema_version": [version] * len(values),
    }
    return pl.DataFrame(columns, schema=MESSAGE_SCHEMA)
