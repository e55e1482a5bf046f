"""Reading feature rows where they are needed: resolved once, on-demand features included, each with its as-of date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import polars as pl
import pyarrow as pa
from feast import FeatureService, FeatureStore
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.type_map import feast_value_type_to_python_type

from foretail.core.errors import DataError, Problem, UsageError
from foretail.features.online.backend import from_micros, micros, table_name
from foretail.features.online.errors import StaleFeatures
from foretail.features.online.resolve import DerivedView, StoredView, resolve
from foretail.features.online.rows import HEADER
from foretail.features.online.stock import entity_keys
from foretail.features.online.store import WideOnlineStore, stored_name

__all__ = ["AS_OF", "OnlineReader"]

AS_OF = "as_of"
Rows = Mapping[bytes, tuple[Sequence[Any], int]]  # per key: values of the wanted features, event time in microseconds
_SHOWN = 5
_POLARS = {
    "INT64": pl.Int64(),
    "INT32": pl.Int32(),
    "DOUBLE": pl.Float64(),
    "FLOAT": pl.Float32(),
    "BOOL": pl.Boolean(),
    "STRING": pl.String(),
    "BYTES": pl.Binary(),
    "UNIX_TIMESTAMP": pl.Datetime("us", "UTC"),
}
_PYTHON: dict[str, Callable[[Any], Any]] = {
    "INT64": int,
    "INT32": int,
    "DOUBLE": float,
    "FLOAT": float,
    "BOOL": bool,
    "STRING": str,
}


class OnlineReader:
    """Reads the rows of one feature service.

    The registry is asked once, here: a change to the service is seen by a new reader. May be shared by threads.

    Parameters
    ----------
    store : Feast's feature store; any online store can be behind it, foretail's own is the fast one.
    service : the feature service or its name.
    full_feature_names : answer with ``view__feature``.

    Attributes
    ----------
    plan : what is read and computed, and under which names.

    Raises
    ------
    UsageError : the service or one of its features does not exist, or two features would share a name.
    """

    def __init__(self, store: FeatureStore, service: FeatureService | str, *, full_feature_names: bool = False):
        self.plan = resolve(store, service, full_feature_names)
        self._config = store.config
        self._online = get_online_store_from_config(store.config.online_store)
        self._sources = [(view, self._source(view)) for view in self.plan.stored]
        ages = [view for view in self.plan.stored if not view.is_static] or list(self.plan.stored)
        self._aged = {view.label for view in ages}
        if AS_OF in self.plan.kinds:
            raise UsageError(
                f"a feature is called {AS_OF!r}.\n  where: the service\n  fix:   ask with full_feature_names"
            )

    @overload
    def read(
        self, keys: pl.DataFrame, *, max_age: dt.timedelta | None = None, now: dt.datetime | None = None
    ) -> pl.DataFrame: ...

    @overload
    def read(
        self,
        keys: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        *,
        max_age: dt.timedelta | None = None,
        now: dt.datetime | None = None,
    ) -> dict[str, list[Any]]: ...

    def read(
        self,
        keys: pl.DataFrame | Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        *,
        max_age: dt.timedelta | None = None,
        now: dt.datetime | None = None,
    ) -> pl.DataFrame | dict[str, list[Any]]:
        """The feature rows of some keys, in the order asked.

        Parameters
        ----------
        keys : rows as dicts, columns, or a frame: the join keys, and what on-demand features take from the request.
        max_age : refuse rows whose as-of date is further back than this from ``now``, and keys without a row.
        now : the moment from which age counts; the clock by default.

        Returns
        -------
        The keys, ``as_of``, and the features in the order of the service: a frame for a frame, else lists by name.
        ``as_of`` is the oldest event time among the row's views (those that are not about time left out); it is null,
        like the features, where one of them holds nothing for the key.

        Raises
        ------
        StaleFeatures : a row is older than ``max_age``, or not there while ``max_age`` is given.
        DataError : a key column is missing, or a key is null or of the wrong type.
        OnlineStoreError : the database does not answer, or its rows were written by an older definition.
        """
        columns, n_rows = self._columns(keys)
        values: dict[tuple[str, str], list[Any]] = {}
        times: list[list[int | None]] = []
        for view, source in self._sources:
            asked, rows = self._read(view, source, columns, n_rows)
            self._spread(view, asked, rows, values, times)
        as_of = _oldest(times, n_rows)
        if max_age is not None:
            self._refuse_stale(as_of, max_age, now or dt.datetime.now(dt.UTC), columns)
        answer = {name: list(columns[name]) for name in self.plan.keys}
        answer[AS_OF] = [from_micros(time) for time in as_of]
        self._fill(answer, values, columns)
        return self._frame(answer) if isinstance(keys, pl.DataFrame) else answer

    # from a request to keys

    def _columns(self, keys: Any) -> tuple[dict[str, Sequence[Any]], int]:
        """What was asked, by column, and how many rows it has."""
        needed = (*self.plan.keys, *self.plan.request)
        if isinstance(keys, pl.DataFrame):
            given: dict[str, Sequence[Any]] = {name: keys[name].to_list() for name in needed if name in keys.columns}
            n_rows = keys.height
        elif isinstance(keys, Mapping):
            given, n_rows = dict(keys), len(next(iter(keys.values()), ()))
        else:
            given = {name: [row[name] for row in keys] for name in needed if all(name in row for row in keys)}
            n_rows = len(keys)
        lacking = [name for name in needed if name not in given]
        uneven = [name for name in needed if name in given and len(given[name]) != n_rows]
        if lacking or uneven:
            raise _not_asked_right(lacking, uneven, needed)
        return given, n_rows

    def _read(
        self, view: StoredView, source: Callable[[list[bytes]], Rows], columns: Mapping[str, Sequence[Any]], n_rows: int
    ) -> tuple[list[bytes], Rows]:
        parts = [[DUMMY_ENTITY_VAL] * n_rows if name == DUMMY_ENTITY_ID else columns[name] for name in view.asked]
        asked = view.codec.encode_rows(parts)
        return asked, source(asked if n_rows == 1 else list(dict.fromkeys(asked)))

    # from the store to values

    def _source(self, view: StoredView) -> Callable[[list[bytes]], Rows]:
        online = self._online
        if not isinstance(online, WideOnlineStore):
            return lambda keys: self._from_feast(view, keys)
        backend = online.backend(self._config)
        name = stored_name(self._config, view.view)
        table = table_name(self._config.project, name)
        header, decode, names = view.schema.header, view.schema.decode, view.schema.names
        places = [names.index(feature) for feature in view.features]

        def read(keys: list[bytes]) -> Rows:
            found = {}
            for key, (row, time) in backend.read(table, keys).items():
                if row[:HEADER] == header:
                    values = decode(row)
                    found[key] = ([values[i] for i in places], time)
                else:
                    found[key] = (self._by_own_schema(online, view, name, row), time)
            return found

        return read

    def _by_own_schema(self, online: WideOnlineStore, view: StoredView, name: str, row: bytes) -> list[Any]:
        """Values of a row that another definition of the view wrote."""
        schema = online.schema_of(self._config, name, row, view.schema, view.features)
        values = dict(zip(schema.names, schema.decode(row), strict=True))
        return [values[feature] for feature in view.features]

    def _from_feast(self, view: StoredView, keys: list[bytes]) -> Rows:
        """The same from one of Feast's own online stores."""
        protos: list[EntityKey] = entity_keys(keys)
        read = self._online.online_read(self._config, view.view, protos, list(view.features))
        return {
            key: ([feast_value_type_to_python_type(values[name]) for name in view.features], micros(time))
            for key, (time, values) in zip(keys, read, strict=True)
            if values is not None and time is not None
        }

    def _spread(
        self,
        view: StoredView,
        asked: Sequence[bytes],
        rows: Rows,
        values: dict[tuple[str, str], list[Any]],
        times: list[list[int | None]],
    ) -> None:
        """Rows by key to columns in the order asked."""
        nothing: tuple[Sequence[Any], int | None] = ([None] * len(view.features), None)
        found = [rows.get(key, nothing) for key in asked]
        columns = zip(*(row for row, _ in found), strict=True) if found else [()] * len(view.features)
        for feature, column in zip(view.features, columns, strict=True):
            values[view.label, feature] = list(column)
        if view.label in self._aged:
            times.append([time for _, time in found])

    # from values to the answer

    def _fill(
        self,
        answer: dict[str, list[Any]],
        values: Mapping[tuple[str, str], list[Any]],
        columns: Mapping[str, Sequence[Any]],
    ) -> None:
        made: dict[str, list[Any]] = {}
        for view in self.plan.derived:
            made |= _derive(view, values, columns, len(answer[AS_OF]))
        for name, place in self.plan.names.items():
            answer[name] = made[name] if name in made else values[place]

    def _frame(self, answer: dict[str, list[Any]]) -> pl.DataFrame:
        kinds = self.plan.kinds | {AS_OF: "UNIX_TIMESTAMP"}
        series = (pl.Series(name, column, _POLARS.get(kinds[name]), strict=False) for name, column in answer.items())
        return pl.DataFrame(list(series))

    def _refuse_stale(
        self,
        as_of: Sequence[int | None],
        max_age: dt.timedelta,
        now: dt.datetime,
        columns: Mapping[str, Sequence[Any]],
    ) -> None:
        oldest = micros(now - max_age)
        stale = tuple(i for i, time in enumerate(as_of) if time is not None and time < oldest)
        missing = tuple(i for i, time in enumerate(as_of) if time is None)
        if not stale and not missing:
            return
        parts = []
        if stale:
            first = min(time for time in as_of if time is not None)
            parts.append(f"{len(stale)} of {len(as_of)} feature rows are older than {max_age}")
            parts.append(f"the oldest is as of {from_micros(first)}")
        if missing:
            parts.append(f"{len(missing)} of {len(as_of)} keys have no feature row")
        shown = ["/".join(str(columns[name][i]) for name in self.plan.keys) for i in (*stale, *missing)[:_SHOWN]]
        where = f"{', '.join(self.plan.keys)}: {', '.join(shown)}"
        raise StaleFeatures(
            Problem("; ".join(parts), where, "`feast materialize`, or allow a greater age"), stale, missing
        )


def _oldest(times: Sequence[Sequence[int | None]], n_rows: int) -> list[int | None]:
    """The oldest time of each row; None where one is missing."""
    if len(times) == 1:
        return list(times[0])
    if not times:
        return [None] * n_rows
    return [None if None in row else min(row) for row in zip(*times, strict=True)]


def _derive(
    derived: DerivedView,
    values: Mapping[tuple[str, str], list[Any]],
    columns: Mapping[str, Sequence[Any]],
    n_rows: int,
) -> dict[str, list[Any]]:
    """The wanted features of one on-demand view, by their names in the answer."""
    inputs = {name: list(columns[name]) for name in (*derived.keys, *derived.request)}
    inputs |= {name: values[place] for name, place in derived.inputs.items()}
    found = _transform(derived.view, inputs, n_rows)
    return {
        name: _of_type(found[feature], kind)
        for feature, (name, kind) in derived.outputs.items()
        if _has_rows(derived.view, found, feature, n_rows)
    }


def _transform(view: Any, inputs: dict[str, list[Any]], n_rows: int) -> Mapping[str, Any]:
    """What the view's function makes of columns.

    A Python function is called as Feast's ``transform_dict`` calls it, without its look at every value's type: once for
    all rows, or row by row where the view is a singleton.
    """
    if not n_rows:
        return {feature.name: [] for feature in view.features}
    if view.mode != "python":
        table = view.transform_arrow(pa.table(inputs))
        return {name: table.column(name).to_pylist() for name in table.column_names}
    function = view.feature_transformation
    if not view.singleton:
        made: Mapping[str, Any] = function.transform(inputs)
        return made
    rows = [function.transform_singleton({name: [column[i]] for name, column in inputs.items()}) for i in range(n_rows)]
    return {feature.name: [row[feature.name] for row in rows] for feature in view.features}


def _has_rows(view: Any, found: Mapping[str, Any], feature: str, n_rows: int) -> bool:
    """Refuse a function that does not answer, or not every row."""
    answer = found.get(feature)
    if answer is None or len(answer) != n_rows:
        said = "nothing" if answer is None else f"{len(answer)} values"
        raise DataError(
            Problem(
                f"{feature} of {n_rows} rows came out as {said}",
                f"on-demand view {view.name}",
                "return one list per feature",
            )
        )
    return True


def _of_type(column: Sequence[Any], kind: str) -> list[Any]:
    """Values as the declared type has them, as Feast's own answer would."""
    convert = _PYTHON.get(kind)
    return list(column) if convert is None else [None if value is None else convert(value) for value in column]


def _not_asked_right(lacking: Sequence[str], uneven: Sequence[str], needed: Sequence[str]) -> DataError:
    what = f"the request lacks {', '.join(lacking)}" if lacking else f"columns differ in length: {', '.join(uneven)}"
    return DataError(Problem(what, f"needed: {', '.join(needed)}", "give one value of each per row"))
