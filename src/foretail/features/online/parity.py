"""Whether training and serving see the same: online rows beside the offline join at their as-of dates, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from feast import FeatureService, FeatureStore

from foretail.features.online.reader import AS_OF, OnlineReader

__all__ = ["differences", "offline_of", "online_offline_differences"]

_EVENT = "event_timestamp"


def online_offline_differences(store: FeatureStore, service: FeatureService | str, keys: pl.DataFrame) -> pl.DataFrame:
    """Where the online rows of some keys differ from the historical ones at the same as-of date.

    Parameters
    ----------
    keys : the join keys, and what on-demand features take from the request.

    Returns
    -------
    As `differences`; empty when serving is training.
    """
    reader = OnlineReader(store, service)
    online = reader.read(keys)
    known = online[AS_OF].is_not_null()
    online, keys = online.filter(known), keys.filter(known)
    offline = offline_of(store, service, keys.with_columns(online[AS_OF].alias(_EVENT)))
    return differences(online.drop(AS_OF), offline.select(online.drop(AS_OF).columns), reader.plan.keys)


def offline_of(store: FeatureStore, service: FeatureService | str, entities: pl.DataFrame) -> pl.DataFrame:
    """The historical rows of a service through Feast, in the order of ``entities`` (keys and ``event_timestamp``)."""
    found = store.get_feature_service(service) if isinstance(service, str) else service
    numbered = entities.with_row_index("__row")
    table: Any = store.get_historical_features(entity_df=numbered.to_pandas(), features=found).to_arrow()
    joined = pl.from_arrow(table)
    frame = joined if isinstance(joined, pl.DataFrame) else joined.to_frame()
    return frame.sort("__row").drop("__row")


def differences(one: pl.DataFrame, other: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    """Cells in which two frames of the same rows differ; floats are compared by their bits.

    Parameters
    ----------
    one, other : the same columns and rows, in the same order. keys : columns that name a row.

    Returns
    -------
    The keys, ``feature``, ``one``, ``other`` (as text), one line per difference.
    """
    found = []
    for name in one.columns:
        left, right = one[name], other[name].cast(one.schema[name])
        differs = _bits(left).ne_missing(_bits(right))
        if name not in keys and differs.any():
            cells = one.filter(differs).select(*keys, pl.lit(name).alias("feature"))
            text = [_text(left.filter(differs), "one"), _text(right.filter(differs), "other")]
            found.append(cells.with_columns(text))
    empty = one.clear().select(*keys).with_columns(pl.lit("").alias(n) for n in ("feature", "one", "other"))
    return pl.concat([empty, *found])


def _bits(values: pl.Series) -> pl.Series:
    """Floats as the integers of their bits, so that -0.0, 0.0, NaN and null are four things."""
    if not values.dtype.is_float():
        return values
    whole = np.int32 if values.dtype == pl.Float32 else np.int64
    bits = pl.Series(values.fill_null(0.0).to_numpy().view(whole))
    return bits.to_frame("bits").select(pl.when(values.is_not_null()).then("bits")).to_series()


def _text(values: pl.Series, name: str) -> pl.Series:
    return pl.Series(name, [None if value is None else repr(value) for value in values], pl.String)
