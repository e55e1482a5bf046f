"""The same point-in-time join by hand, without Feast: what a data scientist would write in Polars or in pandas.

Each reads the views' Parquet files (the columns that are asked for) and gives the entity rows back in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks.feature_world import EVENT, ROW, World, declaration
from foretail.features.declaration import View

__all__ = ["RAW", "with_pandas", "with_polars"]

_ORDER = "place"


def with_polars(world: World, is_sorted: bool) -> Callable[[], pa.Table]:
    """The join as Polars' ``join_asof``, which wants the times of each key in order.

    Rows that come by keys and time are not sorted again, unless a view hangs on fewer keys than they came by; then
    its keys and times alone are.
    """
    entities = pl.read_parquet(world.entities(is_sorted))
    return (lambda: _presorted(world, entities)) if is_sorted else (lambda: _shuffled(world, entities))


def _shuffled(world: World, entities: pl.DataFrame) -> pa.Table:
    rows = entities.lazy().with_row_index(_ORDER).sort(EVENT)
    for view in _views():
        rows = _asof(rows, _scan(world, view).sort(EVENT), view)
    return rows.sort(_ORDER).drop(_ORDER).collect().to_arrow()


def _presorted(world: World, entities: pl.DataFrame) -> pa.Table:
    keys = max((view.keys for view in _views()), key=len)
    parts = [entities.lazy()]
    for view in _views():
        asked = entities.lazy().select(*view.keys, EVENT)
        if view.keys == keys:
            joined = _asof(asked, _scan(world, view), view)
        else:
            asked = asked.with_row_index(_ORDER).sort(EVENT)
            joined = _asof(asked, _scan(world, view), view).sort(_ORDER)
        parts.append(joined.select(item.name for item in view.features))
    return pl.concat(parts, how="horizontal").collect().to_arrow()


def _asof(rows: pl.LazyFrame, features: pl.LazyFrame, view: View) -> pl.LazyFrame:
    return rows.join_asof(features, on=EVENT, by=list(view.keys), strategy="backward", check_sortedness=False)


def _scan(world: World, view: View) -> pl.LazyFrame:
    return pl.scan_parquet(world.view(view.name)).select(_columns(view))


def with_pandas(world: World, is_sorted: bool) -> Callable[[], pa.Table]:
    """The join as pandas' ``merge_asof``, which wants both sides sorted by time."""
    import pandas as pd

    entities: Any = pd.read_parquet(world.entities(is_sorted))

    def join() -> pa.Table:
        rows = entities.sort_values(EVENT, kind="stable")
        for view in _views():
            features = pd.read_parquet(world.view(view.name), columns=_columns(view))
            features = features.sort_values(EVENT, kind="stable")
            rows = pd.merge_asof(rows, features, on=EVENT, by=list(view.keys))
        rows = rows.sort_values(ROW) if is_sorted else rows.set_index(ROW).loc[entities[ROW]].reset_index()
        return pa.Table.from_pandas(rows, preserve_index=False)

    return join


def _views() -> list[View]:
    return [view for view in declaration().views if not view.on_demand]


def _columns(view: View) -> list[str]:
    return [*view.keys, EVENT, *(item.name for item in view.features)]


RAW = {"polars": with_polars, "pandas": with_pandas}
