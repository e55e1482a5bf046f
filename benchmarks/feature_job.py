"""One work of the feature benchmark in a process of its own: joins, materialisations and reads, timed inside it.

    python -m benchmarks.feature_job JOB.json ANSWER.json

What is timed is the work alone: imports, the reading of the entity rows and Feast's `apply` come before it. Memory is
the high-water mark of the whole process, all of that included.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feature_raw import RAW
from benchmarks.feature_world import ROW, Size, World, declaration, week

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

__all__ = ["MANY_ROWS", "Answer", "Job", "checksum", "main", "run"]

_STATUS = Path("/proc/self/status")
MANY_ROWS = 300
_ONE_ROW, _ROWS = 3_000, 100
_SEED = 11
_PLAIN = ("duckdb", "dask")  # stores that want a view to be one file


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes
    ----------
    work : a key of `WORKS`.
    store : the Feast offline or online store, or the library of a raw join.
    world : folder of the data. size : what it was made with.
    is_sorted : entity rows by keys and time instead of shuffled.
    repeats : how many times; the first is never left out.
    url : of a PostgreSQL server, for stores on one.
    frame : the join ends in a pandas frame instead of an Arrow table.
    """

    work: str
    store: str
    world: str
    size: Size
    is_sorted: bool = False
    repeats: int = 1
    url: str = ""
    frame: bool = False

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job as `write` wrote it."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**found, "size": Size(**found["size"])})

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes
    ----------
    seconds : of each repetition. cpu : the same, processor seconds of this process and its threads.
    rows : rows of the result.
    checksum : per feature, a number that differs when a value or its row does; empty where nothing is compared.
    peak_gb : high-water mark of the process's resident memory at the end of what is timed, GiB; 0 where the system
        does not tell.
    """

    seconds: list[float]
    cpu: list[float] = field(default_factory=list)
    rows: int = 0
    checksum: dict[str, float] | None = None
    peak_gb: float = 0.0


def run(job: Job, folder: Path) -> Answer:
    """Do it, with files of its own in ``folder``."""
    return WORKS[job.work](job, folder)


def checksum(table: pa.Table) -> dict[str, float]:
    """Per feature the sum of value x weight of the entity row, whatever the order of the rows.

    Texts count by a number of their own, and a missing value as -1, so that it cannot be taken for 0.
    """
    weight = pl.Series(table[ROW]).cast(pl.Int64) % 1_009 + 1
    names = [item.name for view in declaration().views if not view.on_demand for item in view.features]
    columns = (pl.Series(name, table[name]) for name in names if name in table.column_names)  # one at a time: memory
    return {column.name: float((_number(column) * weight).sum()) for column in columns}


def _number(column: pl.Series) -> pl.Series:
    if column.dtype in (pl.String, pl.Categorical):
        column = column.cast(pl.String).replace_strict({"A": 1.0, "B": 2.0, "C": 3.0}, default=None)
    return column.cast(pl.Float64).fill_nan(None).fill_null(-1.0)


def _timed(work: Callable[[], Any], repeats: int) -> tuple[Answer, Any]:
    """The times of some repetitions, and the last one's result."""
    seconds, cpu, result = [], [], None
    for _ in range(repeats):
        result = None  # the one before must not count into the memory of the next
        begun, spent = time.perf_counter(), time.process_time()
        result = work()
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - spent)
    return Answer(seconds, cpu, peak_gb=_peak_gb()), result


def _historical(job: Job, folder: Path) -> Answer:
    world = World(Path(job.world), job.size)
    store = _feature_store(job, folder)
    service = store.get_feature_service("training_features")
    entities = pl.read_parquet(world.entities(job.is_sorted)).to_pandas()

    def join() -> Any:
        asked = store.get_historical_features(entity_df=entities, features=service)
        return asked.to_df() if job.frame else asked.to_arrow()

    timed, found = _timed(join, job.repeats)
    table = pa.Table.from_pandas(found, preserve_index=False) if job.frame else found
    return replace(timed, rows=table.num_rows, checksum=checksum(table))


def _raw(job: Job, folder: Path) -> Answer:
    del folder
    world = World(Path(job.world), job.size)
    timed, found = _timed(RAW[job.store](world, job.is_sorted), job.repeats)
    return replace(timed, rows=found.num_rows, checksum=checksum(found))


def _stream(job: Job, folder: Path) -> Answer:
    """To Parquet by partition, the entity rows read from a file; the parts are counted."""
    world = World(Path(job.world), job.size)
    store = _feature_store(job, folder)
    service = store.get_feature_service("training_features")
    out = folder / "joined"
    asked = store.get_historical_features(entity_df=str(world.entities(job.is_sorted)), features=service)
    timed, parts = _timed(lambda: asked.to_parquet(out), 1)
    return replace(timed, rows=sum(pq.read_metadata(part).num_rows for part in parts))


def _materialize(job: Job, folder: Path) -> Answer:
    store = _feature_store(job, folder)
    views = [view.name for view in declaration().views if not view.on_demand]
    begin, end = week(0) - dt.timedelta(days=1), week(job.size.weeks)
    timed, _ = _timed(lambda: store.materialize(begin, end, feature_views=views), job.repeats)
    service = store.get_feature_service("inference_features")
    last = {"store_id": job.size.stores, "dept_id": job.size.departments}
    found = store.get_online_features(features=service, entity_rows=[last]).to_dict()
    present = sum(found[name][0] is not None for name in found)
    if present < len(found):
        raise RuntimeError(f"{len(found) - present} of {len(found)} values of the last key are missing afterwards")
    return replace(timed, rows=job.size.stores * job.size.departments)


def _online(job: Job, folder: Path) -> Answer:
    """Seconds of each call: single rows first, then calls of a hundred rows."""
    store = _feature_store(job, folder)
    read = _reader(job, store)
    drawn = np.random.default_rng(_SEED)
    keys = [
        {
            "store_id": int(drawn.integers(1, job.size.stores + 1)),
            "dept_id": int(drawn.integers(1, job.size.departments + 1)),
        }
        for _ in range(_ONE_ROW + MANY_ROWS * _ROWS)
    ]
    single = [[key] for key in keys[:_ONE_ROW]]
    many = [keys[at : at + _ROWS] for at in range(_ONE_ROW, len(keys), _ROWS)]
    for rows in (single[0], many[0]):
        read(rows)
    return Answer([_once(read, rows) for rows in [*single, *many]], rows=1)


def _once(read: Callable[[list[dict[str, int]]], Any], rows: list[dict[str, int]]) -> float:
    begun = time.perf_counter()
    read(rows)
    return time.perf_counter() - begun


def _reader(job: Job, store: FeatureStore) -> Callable[[list[dict[str, int]]], Any]:
    """`OnlineReader` where the job asks for it, else Feast's own call; both with the on-demand features."""
    service = _serving(store)
    if job.store == "reader" or job.store == "reader postgres":
        from foretail.features.online.reader import OnlineReader

        return OnlineReader(store, service).read
    return lambda rows: store.get_online_features(features=service, entity_rows=rows).to_dict()


def _serving(store: FeatureStore) -> FeatureService:
    """What is read online: the features, and those on demand that need no data of the request."""
    return store.get_feature_service("inference_features_derived")


def _feature_store(job: Job, folder: Path) -> FeatureStore:
    """A store of Feast over the world's files, with the declaration applied."""
    from feast import FeatureStore, RepoConfig

    from foretail.features.feast_objects import feast_objects

    settings = {
        "project": "foretail",
        "provider": "local",
        "registry": str(folder / "registry.db"),
        "entity_key_serialization_version": 3,
        **_stores(job, folder),
    }
    store = FeatureStore(config=RepoConfig(**settings))
    world = World(Path(job.world), job.size)
    store.apply(feast_objects(declaration(), str(world.folder if job.store in _PLAIN else world.parts)))
    return store


def _stores(job: Job, folder: Path) -> dict[str, Any]:
    """Offline and online store, and batch engine, by the job's name for them."""
    own = {"type": "foretail.features.offline.AsofOfflineStore"}
    if job.work in ("historical", "stream"):
        return {
            "offline_store": own if job.store == "asof" else {"type": job.store},
            "online_store": {"type": "sqlite", "path": str(folder / "online.db")},
        }
    return {"offline_store": own, **_online_store(job, folder)}


def _online_store(job: Job, folder: Path) -> dict[str, Any]:
    path = {"path": str(folder / "online.db")}
    if job.store == "sqlite":
        return {"online_store": {"type": "sqlite", **path}}
    if job.store == "postgres":
        return {"online_store": {"type": "postgres", **_postgres(job.url)}}
    where = {"url": job.url} if job.url else path
    return {
        "online_store": {"type": "foretail.features.online.WideOnlineStore", **where},
        "batch_engine": {"type": "foretail.features.online.BulkEngine"},
    }


def _postgres(url: str) -> dict[str, Any]:
    """The settings of Feast's own PostgreSQL store from a URL."""
    from sqlalchemy import make_url

    parts = make_url(url)
    return {
        "host": parts.host,
        "port": parts.port,
        "database": parts.database,
        "user": parts.username,
        "password": parts.password or "",
        "sslmode": "disable",
    }


def _peak_gb() -> float:
    """High-water mark of this process (not of one it was forked from), GiB."""
    if not _STATUS.exists():
        return 0.0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024**2


WORKS: dict[str, Callable[[Job, Path], Answer]] = {
    "historical": _historical,
    "raw": _raw,
    "stream": _stream,
    "materialize": _materialize,
    "online": _online,
}


def main() -> None:
    """Read the job, do it, write the answer."""
    job, answer = (Path(argument) for argument in sys.argv[1:3])
    found = run(Job.read(job), answer.parent)
    answer.write_text(json.dumps(asdict(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
