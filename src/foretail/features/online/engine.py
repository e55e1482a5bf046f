"""Materialisation in bulk: Arrow straight to encoded rows, one transaction per view, counted afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import BatchFeatureView, Entity, FeatureView, OnDemandFeatureView, StreamFeatureView
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.common.materialization_job import MaterializationJob, MaterializationJobStatus, MaterializationTask
from feast.infra.common.retrieval_task import HistoricalRetrievalTask
from feast.infra.compute_engines.base import ComputeEngine
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel

from foretail.core.errors import DataError, ForetailError, Problem, UsageError
from foretail.features.online.backend import NO_TIME, RowBatch, newest, no_progress
from foretail.features.online.keys import KeyCodec
from foretail.features.online.rows import RowSchema
from foretail.features.online.stock import write_through
from foretail.features.online.store import WideOnlineStore

__all__ = ["BulkEngine", "BulkEngineConfig"]

_CHUNK_ROWS = 50_000


class BulkEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """The block ``batch_engine`` of ``feature_store.yaml``."""

    type: str = "foretail.features.online.BulkEngine"
    chunk_rows: int = _CHUNK_ROWS
    """Rows encoded and handed over at once; bounds the memory of a materialisation."""


@dataclass
class _Job(MaterializationJob):  # type: ignore[misc]
    """A materialisation that has ended."""

    task: MaterializationTask
    failure: BaseException | None = None

    def status(self) -> MaterializationJobStatus:
        return MaterializationJobStatus.ERROR if self.failure else MaterializationJobStatus.SUCCEEDED

    def error(self) -> BaseException | None:
        return self.failure

    def should_be_retried(self) -> bool:
        return False

    def job_id(self) -> str:
        return f"{self.task.feature_view.name}-{self.task.start_time}-{self.task.end_time}"

    def url(self) -> str | None:
        return None


class BulkEngine(ComputeEngine):  # type: ignore[misc]
    """Feast's batch engine for views whose rows are stored ready-made.

    A view with a transformation, aggregations or other views as sources is handed to Feast's local engine, which knows
    how to compute it. Any online store of Feast can be behind it; foretail's own takes encoded rows.

    Parameters
    ----------
    chunk_rows : rows encoded and handed over at once.
    """

    def __init__(self, *, chunk_rows: int = _CHUNK_ROWS, **parts: Any):
        super().__init__(**parts)
        self._chunk_rows = chunk_rows
        self._parts = {name: parts[name] for name in ("repo_config", "offline_store", "online_store")}

    def update(
        self,
        project: str,
        views_to_delete: Sequence[BatchFeatureView | StreamFeatureView | FeatureView],
        views_to_keep: Sequence[BatchFeatureView | StreamFeatureView | FeatureView | OnDemandFeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
    ) -> None:
        """Nothing to prepare."""

    def teardown_infra(
        self,
        project: str,
        fvs: Sequence[BatchFeatureView | StreamFeatureView | FeatureView],
        entities: Sequence[Entity],
    ) -> None:
        """Nothing to take down."""

    def get_historical_features(self, registry: BaseRegistry, task: HistoricalRetrievalTask) -> RetrievalJob | pa.Table:
        """Left to Feast's local engine."""
        return self._local().get_historical_features(registry, task)

    def _local(self) -> LocalComputeEngine:
        return LocalComputeEngine(**self._parts)

    def _materialize_one(self, registry: BaseRegistry, task: MaterializationTask, **options: Any) -> MaterializationJob:
        if not _is_stored(task.feature_view):
            return self._local().materialize(registry, task, **options)[0]
        try:
            self._store(registry, task)
        except Exception as error:
            return _Job(task, error)
        return _Job(task)

    def _store(self, registry: BaseRegistry, task: MaterializationTask) -> None:
        view = task.feature_view
        table = _read(self, registry, task)
        if view.online:
            with _progress(task, table.num_rows) as advance:
                self._write(task, table, advance)
        if view.offline:
            self.offline_store.offline_write_batch(self.repo_config, view, table, no_progress)

    def _write(self, task: MaterializationTask, table: pa.Table, advance: Callable[[int], object]) -> None:
        view = task.feature_view
        rows = _Rows(view, table)
        if isinstance(self.online_store, WideOnlineStore):
            span = (task.start_time, task.end_time)
            batches = rows.batches(self._chunk_rows, advance)
            self.online_store.write_rows(self.repo_config, view, batches, span, advance)
        else:
            for chunk in rows.tables(self._chunk_rows, advance):
                write_through(self.online_store, self.repo_config, view, chunk)
                advance(chunk.num_rows)


class _Rows:
    """What was read from a source, cut into chunks of the newest row per key."""

    def __init__(self, view: FeatureView, table: pa.Table):
        self._view, self._table, self._codec = view, table, KeyCodec.of(view)
        event, created = _source_of(view).timestamp_field, _source_of(view).created_timestamp_column
        try:
            self._event = _times(table, event)
            self._created = _times(table, created) if created else np.full(table.num_rows, NO_TIME)
            self._keys = self._codec.encode_batch(_one_batch(table.select(list(self._codec.names))))
        except (DataError, KeyError) as error:
            raise _named(view, error) from error
        self._order = newest(self._keys, self._event, self._created)

    def tables(self, n: int, advance: Callable[[int], object]) -> Iterator[pa.Table]:
        """The source's own columns, n rows at a time."""
        advance(self._table.num_rows - len(self._order))  # rows that a newer one of their key stands for
        for start in range(0, len(self._order), n):
            yield self._table.take(pa.array(self._order[start : start + n]))

    def batches(self, n: int, advance: Callable[[int], object]) -> Iterator[RowBatch]:
        """Encoded rows, n at a time."""
        schema = RowSchema.of(self._view)
        features = self._table.select([name for name in schema.names if name in self._table.column_names])
        advance(self._table.num_rows - len(self._order))
        for start in range(0, len(self._order), n):
            order = self._order[start : start + n]
            chunk = _one_batch(features.take(pa.array(order)))
            yield RowBatch(
                self._keys.take(pa.array(order)), self._encode(schema, chunk), self._event[order], self._created[order]
            )

    def _encode(self, schema: RowSchema, chunk: pa.RecordBatch) -> pa.LargeBinaryArray:
        try:
            return schema.encode_batch(chunk)
        except DataError as error:
            raise _named(self._view, error) from error


def _is_stored(view: Any) -> bool:
    """Whether the rows of a view lie ready-made in its source."""
    computed = ("feature_transformation", "aggregations", "source_views")
    return view.batch_source is not None and not any(getattr(view, name, None) for name in computed)


def _source_of(view: FeatureView) -> DataSource:
    """The source of a view whose rows are stored ready-made."""
    if view.batch_source is None:
        raise UsageError(f"view {view.name} has no source.\n  where: its definition\n  fix:   give it a batch source")
    return view.batch_source


def _read(engine: BulkEngine, registry: BaseRegistry, task: MaterializationTask) -> pa.Table:
    """The newest row per key in the range of the task, under the names of the view."""
    view = task.feature_view
    source = _source_of(view)
    mapped = dict(source.field_mapping or {})
    original = {after: before for before, after in mapped.items()}
    keys = [registry.get_entity(name, task.project).join_key for name in view.entities]
    keys = [key for key in keys if key != DUMMY_ENTITY_ID]
    job = engine.offline_store.pull_latest_from_table_or_query(
        config=engine.repo_config,
        data_source=source,
        join_key_columns=[original.get(key, key) for key in keys],
        feature_name_columns=[original.get(field.name, field.name) for field in view.features],
        timestamp_field=original.get(source.timestamp_field, source.timestamp_field),
        created_timestamp_column=original.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        start_date=task.start_time,
        end_date=task.end_time,
    )
    table = job.to_arrow()
    table = table.rename_columns([mapped.get(name, name) for name in table.column_names])
    if not keys and DUMMY_ENTITY_ID not in table.column_names:
        return table.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * table.num_rows, pa.string()))
    return table


@contextmanager
def _progress(task: MaterializationTask, n_rows: int) -> Iterator[Callable[[int], object]]:
    """Feast's progress bar for the length of the block."""
    if task.tqdm_builder is None:
        yield no_progress
        return
    with task.tqdm_builder(n_rows) as bar:
        yield bar.update


def _times(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column of times as microseconds in UTC; dates are midnights."""
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise DataError(
            Problem("a row has no time", f"{name}, {column.null_count} rows", "remove these rows from the source")
        )
    if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        raise DataError(
            Problem("a column of times holds something else", f"{name} is {column.type}", "store timestamps")
        )
    moments = pc.cast(column, pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
    whole = moments.combine_chunks() if isinstance(moments, pa.ChunkedArray) else moments
    return np.asarray(whole.view(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    if len(batches) == 1:
        return batches[0]
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)


def _named(view: FeatureView, error: DataError | KeyError) -> ForetailError:
    """The same problems, with the view and its source in their place."""
    source = _source_of(view).name or type(view.batch_source).__name__
    if isinstance(error, KeyError):
        problem = Problem(f"a column is missing: {error.args[0]}", "the rows read", "add it to the source")
        return _named(view, DataError(problem))
    return DataError([Problem(p.what, f"view {view.name}, source {source}: {p.where}", p.fix) for p in error.problems])
