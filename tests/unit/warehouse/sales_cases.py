"""Sales events to write, and a plain account of what must come of them."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from hypothesis import strategies as st

from foretail.warehouse.sales import EVENT_SCHEMA, SalesSink
from foretail.warehouse.tables import EVENT_COLUMNS, rossman_sales, rossman_sales_history

TOLD = tuple(name for name in EVENT_COLUMNS if name != "ingested_at")
NOON = dt.datetime(2024, 3, 1, 12)


@dataclass(frozen=True)
class Event:
    """One statement about a store-day."""

    store: int = 1
    day: int = 1  # of March 2024, 32 is the 1st of April
    sales: int = 100
    hour: int = 0  # after noon of the 1st of March
    number: int = 0
    product: str = "product_A"

    @property
    def key(self) -> tuple[int, str, dt.date]:
        return self.store, self.product, dt.date(2024, 3, 1) + dt.timedelta(self.day - 1)

    @property
    def order(self) -> tuple[dt.datetime, str]:
        return NOON + dt.timedelta(hours=self.hour), f"e{self.number}"

    def row(self) -> dict[str, Any]:
        store, product, day = self.key
        time, name = self.order
        return {
            "store": store,
            "productname": product,
            "date": day,
            "dayofweek": day.isoweekday(),
            "sales": self.sales,
            "customers": self.sales // 10,
            "open": 1,
            "promo": 0,
            "stateholiday": "0",
            "schoolholiday": None,
            "event_id": name,
            "event_time": time,
        }


def frame(events: Iterable[Event]) -> pl.DataFrame:
    return pl.DataFrame([event.row() for event in events], schema=EVENT_SCHEMA)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[Event]], list[list[Event]]]:
    """The same statements twice: each time in an order of its own, some of them repeated, cut into batches."""
    keys = draw(st.lists(st.tuples(st.integers(1, 2), st.sampled_from([1, 2, 33])), min_size=1, max_size=10))
    events = [
        Event(store, day, sales=100 + number, hour=draw(st.integers(0, 3)), number=number)
        for number, (store, day) in enumerate(keys)
    ]
    return draw(_deliveries(events)), draw(_deliveries(events))


@st.composite
def _deliveries(draw: st.DrawFn, events: Sequence[Event]) -> list[list[Event]]:
    again = draw(st.lists(st.sampled_from(list(events)), max_size=6))
    order = draw(st.permutations([*events, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(order) - 1)), max_size=5)))
    return [list(order[a:b]) for a, b in itertools.pairwise([0, *cuts, len(order)]) if a < b]


def expected(events: Iterable[Event]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What the table and the history must hold, found by a plain loop over the statements."""
    current, told = [], []
    distinct = sorted(set(events), key=lambda event: (event.key, event.order))
    for _, group in itertools.groupby(distinct, key=lambda event: event.key):
        chain = list(group)
        for event, following in itertools.zip_longest(chain, chain[1:]):
            row = tuple({**event.row(), "source": "stream"}[name] for name in TOLD)
            told.append((*row, following.order[0] if following else None))
        current.append(told[-1][:-1])
    return sorted(current, key=str), sorted(told, key=str)


def held(engine: sa.Engine) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What the table and the history hold."""
    columns = [rossman_sales.c[name] for name in TOLD]
    history = [rossman_sales_history.c[name] for name in (*TOLD, "replaced_at")]
    with engine.connect() as connection:
        current = [tuple(row) for row in connection.execute(sa.select(*columns))]
        told = [tuple(row) for row in connection.execute(sa.select(*history))]
    return sorted(current, key=str), sorted(told, key=str)


def write_all(engine: sa.Engine, batches: Iterable[Sequence[Event]]) -> None:
    sink = SalesSink(engine)
    for batch in batches:
        sink.write(frame(batch))


def clear(engine: sa.Engine) -> None:
    """Forget all sales."""
    with engine.begin() as connection:
        for table in ("rossman_sales", "rossman_sales_replaced"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def file_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'warehouse.db'}"
