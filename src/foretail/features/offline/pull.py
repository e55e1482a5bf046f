"""Rows of one source by time, for materialisation: all of them, or the newest of every key in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from foretail.core.errors import UsageError
from foretail.features.offline.entities import EVENT_TIMESTAMP, FrameRows, in_memory
from foretail.features.offline.join import CREATED, TIME
from foretail.features.offline.plan import ViewJoin
from foretail.features.offline.scan import BATCH_ROWS, Columns, Source, Span
from foretail.features.offline.times import zoned

__all__ = ["Pull", "observed_rows", "pull"]


@dataclass(frozen=True)
class Pull:
    """What to read of a source, in its own column names.

    Attributes
    ----------
    keys, features : columns; without features every column.
    timestamp, created : time columns.
    newest : one row per key instead of all.
    """

    keys: list[str]
    features: list[str]
    timestamp: str
    created: str | None
    newest: bool

    @property
    def times(self) -> list[str]:
        """Time columns, which leave in UTC."""
        return [name for name in (self.timestamp, self.created) if name]

    @property
    def columns(self) -> Columns:
        """What to read, `TIME` and `CREATED` beside the columns themselves."""
        names = dict.fromkeys([*self.keys, *self.features, *self.times])
        wanted = tuple((name, name) for name in names) if self.features else None
        return Columns(wanted, self.timestamp, self.created or None)


def pull(source: Source, what: Pull, span: Span) -> pl.DataFrame:
    """Read a source's rows of a span.

    Returns
    -------
    Keys, features and times; with ``newest`` one row per key, in no particular order.

    Raises
    ------
    DataError : a column is missing, or a file is broken or changed while it was read.
    """
    rows = _newest(source.batches(what.columns, span), what) if what.newest else source.read(what.columns, span)
    rows = rows.drop(TIME, CREATED, strict=False)
    return rows.with_columns(zoned(name, rows.schema[name], source.where) for name in what.times)


def observed_rows(views: tuple[ViewJoin, ...], span: Span) -> FrameRows:
    """Entity rows where none are given: every key and time that the views themselves hold in a span.

    Views that lack some of the keys give no rows; they are joined to those of the others.

    Returns
    -------
    ``event_timestamp`` and the keys, in this order, each pair once, sorted.

    Raises
    ------
    UsageError : no view has all of the keys.
    """
    keys = list(dict.fromkeys(key for view in views for key in view.join_keys.left))
    whole = [view for view in views if set(view.join_keys.left) == set(keys)]
    if not whole:
        raise UsageError(
            f"no view holds all of the keys {', '.join(keys)}, so the rows cannot be found."
            f"\n  where: {', '.join(view.source.view for view in views)}\n  fix:   give entity_df"
        )
    found = pl.concat([_observed(view, keys, span) for view in whole], how="vertical_relaxed")
    found = found.unique().drop_nulls().sort(TIME, *keys)
    return in_memory(found.select(pl.col(TIME).cast(pl.Datetime("us", "UTC")).alias(EVENT_TIMESTAMP), *keys))


def _observed(view: ViewJoin, keys: list[str], span: Span) -> pl.DataFrame:
    columns = Columns(view.keys, view.timestamp)
    return pl.concat([batch.unique() for batch in view.source.batches(columns, span)]).select(*keys, TIME)


def _newest(batches: Iterator[pl.DataFrame], what: Pull) -> pl.DataFrame:
    """The newest row of every key, reduced as soon as as many rows have come as there are keys."""
    kept = next(batches)
    waiting, n_waiting = [kept], kept.height
    for batch in batches:
        waiting.append(batch)
        n_waiting += batch.height
        if n_waiting > max(2 * kept.height, 4 * BATCH_ROWS):
            kept = _reduced(pl.concat(waiting), what)
            waiting, n_waiting = [kept], kept.height
    return _reduced(pl.concat(waiting), what)


def _reduced(rows: pl.DataFrame, what: Pull) -> pl.DataFrame:
    """One row per key: the last by time, then by when it was written (unknown first), then by place."""
    order = [TIME, CREATED] if what.created else [TIME]
    small = rows.select(*what.keys, *order).with_row_index("__row")
    small = small.sort(*order, maintain_order=True, nulls_last=False)
    if not what.keys:
        return rows.select(pl.all().gather(small["__row"].tail(1)))
    last = small.unique(what.keys, keep="last")["__row"].sort()
    return rows.select(pl.all().gather(last))
