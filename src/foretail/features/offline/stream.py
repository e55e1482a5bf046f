"""The join of a whole training set: at once below the row budget, by key partition through spilled files above it."""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from foretail.core.errors import DataError, Problem
from foretail.features.offline.cluster import run_partitions
from foretail.features.offline.entities import with_time
from foretail.features.offline.join import TIME, Keys, Taking, asof_rows, take
from foretail.features.offline.plan import JoinPlan, ViewJoin
from foretail.features.offline.scan import Columns, as_arrow
from foretail.features.offline.scatter import Scattered
from foretail.features.offline.spill import read_rows, spill, spill_folder

__all__ = ["ROW", "PartitionTask", "Streaming", "ViewRows", "historical_to_parquet", "join_partition", "join_plan"]

ROW = "__row"
"""Column of spilled entity rows: their place in the entity frame."""
IntArray = npt.NDArray[np.int64]
Finish = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Sizes:
    """Rows that a join reads: entity rows, and those of each view."""

    entities: int
    views: tuple[int, ...]

    @property
    def largest(self) -> int:
        return max(self.entities, *self.views, 0)

    @classmethod
    def of(cls, plan: JoinPlan) -> Sizes:
        return cls(plan.entities.n_rows(), tuple(view.source.n_rows() for view in plan.views))


@dataclass(frozen=True)
class Streaming:
    """How a join is carried out.

    Attributes
    ----------
    row_budget : entity rows, or rows of one source, up to which everything is joined at once; larger joins run in
        partitions of about half of it. One key's rows stay together: a partition holds at least those of its largest.
    partitions : number of key partitions above the budget; None = as many as the budget asks for.
    execution : where partitions run, see `cluster.run_partitions`.
    spill : folder for temporary files, one that every worker sees; None = the system's.
    """

    row_budget: int
    partitions: int | None = None
    execution: str = "local"
    spill: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a result that memory has to hold anyway is made without partitions: a column of it at a time."""
        return self.execution == "local" and self.partitions is None

    def n_partitions(self, sizes: Sizes) -> int:
        """Partitions for so many rows; 1 = at once."""
        if sizes.largest <= self.row_budget or not sizes.entities:
            return 1
        return self.partitions or math.ceil(2 * sizes.largest / self.row_budget)


@dataclass(frozen=True)
class ViewRows:
    """Rows of one view that a partition joins.

    Attributes
    ----------
    path : Arrow IPC file with the key columns, `TIME`, perhaps `CREATED`, and the features under their final names.
    keys : join keys, entity side and source side.
    features : columns to hand on.
    ttl : microseconds, None = for ever.
    is_own : whether no other partition reads the file.
    """

    path: str
    keys: Keys
    features: tuple[str, ...]
    ttl: int | None
    is_own: bool = True


@dataclass(frozen=True)
class PartitionTask:
    """One key partition of a join; plain values, so that any worker that sees the files can do it, and do it again.

    Attributes
    ----------
    number : 0, 1, …
    entities : Arrow IPC file with `ROW`, `TIME` and the key columns; with ``target`` every column of the entity rows.
    views : see `ViewRows`.
    as_known : leave out rows written after the entity row's time.
    target : Parquet file to write; None hands the table back.
    """

    number: int
    entities: str
    views: tuple[ViewRows, ...]
    as_known: bool
    target: str | None


def join_partition(task: PartitionTask) -> pa.Table | str:
    """Join one partition.

    Returns
    -------
    `ROW` and the features, one row per entity row; with a target, its path: the entity rows' own columns and the
    features are in it. The target is complete or not there.
    """
    entities = read_rows(task.entities)
    joined = []
    for view in task.views:
        rows = read_rows(view.path)
        joined.append(_joined(entities, rows, view.keys, view.features, view.ttl, task.as_known))
    if task.target is None:
        return pl.concat([entities.select(ROW), *joined], how="horizontal").to_arrow()
    write_part(pl.concat([entities.drop(ROW, TIME), *joined], how="horizontal").to_arrow(), Path(task.target))
    return task.target


def join_plan(plan: JoinPlan, streaming: Streaming) -> pa.Table:
    """The entity rows with the features of every view beside them.

    Returns
    -------
    One row per entity row, in their order.

    Raises
    ------
    DataError : a source that lacks something, is broken or changed while it was read.
    """
    sizes = Sizes.of(plan)
    if streaming.n_partitions(sizes) == 1 or streaming.is_whole:
        return _at_once(plan)
    entities = plan.entities.frame()
    result = Scattered(entities.height)
    for part in _partitions(plan, streaming, sizes, None):
        frame = pl.from_arrow(part)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101  (a table never becomes a series)
        result.add(frame[ROW].to_numpy(), frame.drop(ROW))
    table = entities.to_arrow()
    columns = result.columns()
    for view in plan.views:
        for name in view.names:
            table = table.append_column(name, columns[name])
    return table


def historical_to_parquet(
    plan: JoinPlan, streaming: Streaming, folder: Path, finish: Finish | None = None, *, overwrite: bool = False
) -> list[Path]:
    """Write a training set of any size as a folder of Parquet parts, one per key partition.

    Rows keep their order within a part; which part a row is in follows from its keys. The folder appears when every
    part is whole, and not before.

    Parameters
    ----------
    finish : applied to the rows of each part before it is final.
    overwrite : replace a folder that is there.

    Returns
    -------
    Paths of the parts.

    Raises
    ------
    DataError : the folder is there already; otherwise as `join_plan`.
    """
    if folder.exists() and not overwrite:
        raise DataError(Problem("there is something already", str(folder), "name another folder, or allow overwriting"))
    staging = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        staging.mkdir(parents=True)
        names = [path.name for path in _written(plan, streaming, staging, finish)]
        _put_in_place(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [folder / name for name in names]


def write_part(table: pa.Table, path: Path) -> None:
    """Write a Parquet file that is complete or not there."""
    staging = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        pq.write_table(table, staging)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _at_once(plan: JoinPlan) -> pa.Table:
    entities = plan.entities.frame()
    timed = with_time(entities, plan.entities.time)
    first, last = timed[TIME].min(), timed[TIME].max()
    table, found = entities.to_arrow(), []
    # all rows are found before any feature is read: finding takes most memory where the result does not yet take any
    for view in plan.views:
        span = view.span(first, last)  # type: ignore[arg-type]
        index, features = view.source.read_split(view.index, Columns(view.features), span)
        found.append((Taking.of(_rows(timed, index, view.join_keys, view.ttl, plan.as_known), index.height), features))
    for taking, features in found:
        for frame in features:
            # column by column: a frame of differently chunked columns would be copied
            for column in frame:
                table = table.append_column(column.name, as_arrow(taking.take(column)))
    return table


def _joined(
    entities: pl.DataFrame, rows: pl.DataFrame, keys: Keys, features: tuple[str, ...], ttl: int | None, as_known: bool
) -> pl.DataFrame:
    """The features of one view, one row per entity row."""
    return take(rows.select(features), _rows(entities, rows.drop(features), keys, ttl, as_known))


def _rows(entities: pl.DataFrame, index: pl.DataFrame, keys: Keys, ttl: int | None, as_known: bool) -> IntArray:
    """Row numbers in the index, whose rows without a time are passed over."""
    if not index[TIME].null_count():
        return asof_rows(entities, index, keys, ttl=ttl, as_known=as_known)
    timed = np.flatnonzero(index[TIME].is_not_null().to_numpy())
    rows = asof_rows(entities, index.filter(pl.col(TIME).is_not_null()), keys, ttl=ttl, as_known=as_known)
    return np.where(rows >= 0, timed[np.maximum(rows, 0)], -1) if len(timed) else rows


# by partition


def _written(plan: JoinPlan, streaming: Streaming, folder: Path, finish: Finish | None) -> Iterator[Path]:
    sizes = Sizes.of(plan)
    if streaming.n_partitions(sizes) == 1:
        path = folder / "part-00000.parquet"
        table = _at_once(plan)
        write_part(finish(table) if finish else table, path)
        yield path
        return
    for part in _partitions(plan, streaming, sizes, folder):
        path = Path(str(part))
        if finish:
            write_part(finish(pq.read_table(path)), path)
        yield path


def _partitions(plan: JoinPlan, streaming: Streaming, sizes: Sizes, folder: Path | None) -> Iterator[pa.Table | str]:
    """Results of all partitions, in their order."""
    with spill_folder(streaming.spill) as spilled:
        shared, n = _shared_keys(plan, sizes, streaming.row_budget), streaming.n_partitions(sizes)
        tasks = _tasks(plan, shared, n, spilled, folder)
        results = run_partitions(tasks, join_partition, streaming.execution)
        for task, result in zip(tasks, results, strict=True):
            _discard(task)
            yield result


def _discard(task: PartitionTask) -> None:
    """Give the disk space of a finished partition back; what other partitions read, too, stays."""
    for path in (task.entities, *(view.path for view in task.views if view.is_own)):
        Path(path).unlink()


def _tasks(plan: JoinPlan, shared: tuple[str, ...], n: int, spilled: Path, folder: Path | None) -> list[PartitionTask]:
    entities = spill(_numbered(plan, whole=folder is not None), shared, n, spilled / "entities")
    span = plan.entities.span()
    views = [_spilled_view(view, span, shared, n, spilled / f"view-{i}") for i, view in enumerate(plan.views)]
    return [
        PartitionTask(
            number,
            rows.path,
            tuple(view[number] for view in views),
            plan.as_known,
            None if folder is None else str(folder / f"part-{number:05d}.parquet"),
        )
        for number, rows in enumerate(entities)
        if rows.n_rows
    ]


def _shared_keys(plan: JoinPlan, sizes: Sizes, row_budget: int) -> tuple[str, ...]:
    """Entity columns that decide the partition: keys of the largest view that every view above the budget has, too.

    A view that lacks one of them is not partitioned; all of its rows go to every partition.
    """
    by_size = sorted(zip(sizes.views, plan.views, strict=True), key=lambda pair: -pair[0])
    keys = by_size[0][1].join_keys.left
    large = [set(view.join_keys.left) for size, view in by_size if size > row_budget]
    common = tuple(key for key in keys if all(key in view for view in large))
    return common or keys


def _numbered(plan: JoinPlan, whole: bool) -> Iterator[pl.DataFrame]:
    """Entity rows with `ROW` and `TIME`; of their own columns all, or only those that are join keys."""
    keys = list(dict.fromkeys(key for view in plan.views for key in view.join_keys.left))
    start = 0
    for batch in plan.entities.batches():
        timed = with_time(batch, plan.entities.time)
        kept = timed if whole else timed.select(*keys, TIME)
        yield kept.with_row_index(ROW, start).with_columns(pl.col(ROW).cast(pl.Int64))
        start += batch.height


def _spilled_view(
    view: ViewJoin, span: tuple[int | None, int | None], shared: tuple[str, ...], n: int, stem: Path
) -> list[ViewRows]:
    """Where each partition finds the rows of one view."""
    theirs = dict(zip(view.join_keys.left, view.join_keys.right, strict=True))
    batches = view.source.batches(view.columns, view.span(*span))
    is_own = set(shared) <= set(theirs) and bool(shared)
    keys = tuple(theirs[key] for key in shared) if is_own else ()
    files = spill(batches, keys, n if is_own else 1, stem) * (1 if is_own else n)
    return [ViewRows(file.path, view.join_keys, view.names, view.ttl, is_own) for file in files]


def _put_in_place(staging: Path, folder: Path) -> None:
    """Rename the finished folder; one that was there is moved aside first and deleted last."""
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
    if folder.exists():
        folder.replace(old)
    staging.replace(folder)
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)
