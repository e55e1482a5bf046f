"""What a training set is joined from, in plain values: entity rows, and per view a source, keys and features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from foretail.core.errors import DataError, Problem, nearest
from foretail.features.offline.entities import EntityRows
from foretail.features.offline.join import Keys, check_keys
from foretail.features.offline.scan import Columns, Source, Span, check_columns

__all__ = ["JoinPlan", "ViewJoin"]

_NOTHING = Span(since=1, until=0)


@dataclass(frozen=True)
class ViewJoin:
    """One view to join.

    Attributes
    ----------
    source : where its rows are.
    timestamp, created : columns of the source.
    keys : pairs (column of the entity rows, column of the source).
    features : pairs (name in the result, column of the source).
    ttl : microseconds that a row stays valid; None = for ever.
    """

    source: Source
    timestamp: str
    created: str | None
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    ttl: int | None

    @property
    def join_keys(self) -> Keys:
        """Keys as they are called on the entity side and in what `columns` reads."""
        return Keys(tuple(ours for ours, _ in self.keys), tuple(f"__key_{i}" for i in range(len(self.keys))))

    @property
    def columns(self) -> Columns:
        """What to read of the source: keys under neutral names, features under their final ones."""
        keys = zip(self.join_keys.right, (theirs for _, theirs in self.keys), strict=True)
        return Columns((*keys, *self.features), self.timestamp, self.created)

    @property
    def index(self) -> Columns:
        """The part of `columns` that finds a row: keys and times."""
        n_keys = len(self.keys)
        return Columns((self.columns.wanted or ())[:n_keys], self.timestamp, self.created)

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that the view adds."""
        return tuple(name for name, _ in self.features)

    def span(self, first: int | None, last: int | None) -> Span:
        """Event times that can be valid for entity rows between two times; None = no entity row has a time."""
        if first is None or last is None:
            return _NOTHING
        return Span(None if self.ttl is None else first - self.ttl, last)


@dataclass(frozen=True)
class JoinPlan:
    """A whole training set.

    Attributes
    ----------
    entities : rows to keep, in number and order.
    views : what is joined to them.
    as_known : leave out rows written after the entity row's time.
    """

    entities: EntityRows
    views: tuple[ViewJoin, ...]
    as_known: bool = False

    def check(self) -> None:
        """Refuse what cannot be joined before anything is read.

        Raises
        ------
        DataError : entity columns that are missing or of another type than the source's, names that are given twice,
            columns that a source lacks.
        """
        problems = [*self._missing_keys(), *self._names_twice()]
        if problems:
            raise DataError(problems)
        for view in self.views:
            schema = view.source.schema()
            check_columns(schema, view.columns.physical(schema), view.columns, view.source.where)
            keys = Keys(tuple(ours for ours, _ in view.keys), tuple(theirs for _, theirs in view.keys))
            check_keys(self.entities.schema, schema, keys, view.source.where)

    def _missing_keys(self) -> Iterator[Problem]:
        known = self.entities.schema
        for view in self.views:
            for ours, _ in view.keys:
                if ours not in known:
                    where = f"{view.source.view} joins on {', '.join(key for key, _ in view.keys)}"
                    yield Problem(f"the entity rows have no column {ours!r}", where, nearest(ours, known))

    def _names_twice(self) -> Iterator[Problem]:
        own = list(self.entities.schema)
        counts = Counter([*own, *(name for view in self.views for name in view.names)])
        for view in self.views:
            for name in view.names:
                if counts[name] > 1:
                    where = f"{view.source.view} and {'the entity rows' if name in own else 'another view'}"
                    fix = "rename or drop it in the entity rows, or ask with full_feature_names=True"
                    yield Problem(f"two columns would be called {name!r}", where, fix)
