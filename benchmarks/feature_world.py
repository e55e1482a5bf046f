"""A feature store of any size, made by formula: the views of reference system A, entity rows in two orders.

Every value follows from its series, its week and its feature, so that nothing is drawn at random and any two machines
join the same rows. Names, dtypes and Feast objects come from the declaration of A's table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from foretail.features.declaration import Declaration, Feature, View, declare
from foretail.sources.synthetic import SyntheticConfig, generate

__all__ = ["CREATED", "EVENT", "ROW", "SIZES", "Size", "World", "declaration", "make_world", "week"]

EVENT, CREATED, ROW = "event_timestamp", "created_timestamp", "row"
_FIRST = dt.datetime(2010, 2, 5, tzinfo=dt.UTC)
_WEEK_US, _DAY_US, _HOUR_US = 604_800_000_000, 86_400_000_000, 3_600_000_000
_CHUNK = 2_000_000  # rows of a view made at once
_SEED = 7

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """How many stores, departments in each, and weeks of each series."""

    stores: int
    departments: int
    weeks: int

    @property
    def rows(self) -> int:
        """Rows of the view that hangs on both keys, and of the entity frame."""
        return self.stores * self.departments * self.weeks


SIZES = {
    "s": Size(45, 14, 104),
    "m": Size(100, 77, 130),
    "l": Size(500, 160, 125),
    "xl20": Size(1_000, 160, 125),
    "xl40": Size(2_000, 160, 125),
    "xl": Size(5_000, 160, 125),
    "keys": Size(1_000, 100, 4),
}


@dataclass(frozen=True)
class World:
    """A feature store on disk.

    Attributes
    ----------
    folder : holds the Parquet file of each view, ``entities.parquet`` and ``sorted.parquet``.
    size : what it was made with.
    """

    folder: Path
    size: Size

    def entities(self, is_sorted: bool = False) -> Path:
        """The entity rows: keys, `EVENT`, and `ROW` that numbers them; shuffled, or by keys and time."""
        return self.folder / ("sorted.parquet" if is_sorted else "entities.parquet")

    def view(self, name: str) -> Path:
        """The Parquet file of a view, where the Feast objects look for it; most stores read a plain file."""
        return self.folder / name

    @property
    def parts(self) -> Path:
        """The same files as folders of parts, as foretail writes them; Feast's Ray store reads nothing else."""
        return self.folder / "parts"


@cache
def declaration() -> Declaration:
    """The declaration of A's table, taken from a small one that the synthetic world made."""
    config = SyntheticConfig.from_dict({"stores": 2, "departments": 2, "weeks": 104})
    return declare(generate(config).table.spec)


def week(number: int) -> dt.datetime:
    """The as-of date of a week, UTC."""
    return _FIRST + dt.timedelta(weeks=number)


def make_world(size: Size, folder: Path, entities: bool = True) -> World:
    """Write the views (sorted by keys, then time) and, unless told not to, the entity rows."""
    world = World(folder, size)
    for view in declaration().views:
        if not view.on_demand:
            _write(_view_frames(view, size), world.view(view.name))
            (world.parts / view.name).mkdir(parents=True)
            (world.parts / view.name / "part-0.parquet").hardlink_to(world.view(view.name))
    if entities:
        _write_entities(world)
    return world


def _write(frames: Iterator[pl.DataFrame], path: Path) -> None:
    """One Parquet file of frames that follow each other, a row group of at most a quarter million rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for frame in frames:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
        writer.write_table(table, row_group_size=250_000)
    if writer is not None:
        writer.close()


def _view_frames(view: View, size: Size) -> Iterator[pl.DataFrame]:
    """The rows of a view, some stores at a time."""
    departments = size.departments if len(view.keys) > 1 else 1
    step = max(1, _CHUNK // (departments * size.weeks))
    for begin in range(0, size.stores, step):
        stores = np.arange(begin, min(begin + step, size.stores))
        key, time = (a.ravel() for a in np.meshgrid(np.arange(departments), np.arange(size.weeks), indexing="ij"))
        store = np.repeat(stores, len(key))
        yield _view_frame(view, store, np.tile(key, len(stores)), np.tile(time, len(stores)))


def _view_frame(view: View, store: Ints, department: Ints, time: Ints) -> pl.DataFrame:
    event = _us(_FIRST) + time * _WEEK_US
    series = store * 1_009 + department
    return pl.DataFrame(
        [
            *(pl.Series(key, ids + 1) for key, ids in zip(view.keys, (store, department), strict=False)),
            _stamps(EVENT, event),
            *(_values(item, number, series, time) for number, item in enumerate(view.features)),
            _stamps(CREATED, event + _HOUR_US),
        ]
    )


def _values(feature: Feature, number: int, series: Ints, time: Ints) -> pl.Series:
    """A feature by formula; a number is missing in the first weeks of some features, as lags are."""
    mixed = series * 7_919 + time * 104_729 + number * 31
    if feature.dtype == "Int64":
        return pl.Series(feature.name, mixed % 53)
    if feature.dtype == "Float64":
        values = pl.Series(feature.name, (mixed % 1_000_003) / 100.0)
        return values.scatter(np.nonzero(time < number % 4)[0], None)
    if feature.dtype == "Bool":
        return pl.Series(feature.name, mixed % 2 == 0)
    return pl.Series(feature.name, np.array(["A", "B", "C"])[mixed % 3])


def _write_entities(world: World) -> None:
    """Each series and week once, asked at noon of one of the six days that follow the as-of date."""
    rows = world.size.rows
    key, time = np.divmod(np.arange(rows), world.size.weeks)
    event = _us(_FIRST) + time * _WEEK_US + np.arange(rows) * 7_919 % 6 * _DAY_US + 12 * _HOUR_US
    store, department = declaration().view("sales_features").keys
    frame = pl.DataFrame(
        {
            store: key // world.size.departments + 1,
            department: key % world.size.departments + 1,
            EVENT: _stamps(EVENT, event),
            ROW: np.arange(rows),
        }
    )
    _write(frame.iter_slices(_CHUNK), world.entities(is_sorted=True))
    order = np.random.default_rng(_SEED).permutation(rows)
    _write(frame[order].iter_slices(_CHUNK), world.entities())


def _stamps(name: str, us: Ints) -> pl.Series:
    return pl.Series(name, us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _us(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
