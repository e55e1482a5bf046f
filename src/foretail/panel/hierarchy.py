"""The levels above the series: which series make up which group, sums over groups, and what cannot be a hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.core.columns import UNIQUE_ID
from foretail.core.errors import DataError, Problem, UsageError, nearest
from foretail.core.spec import DatasetSpec
from foretail.panel.quality import QualityReport

__all__ = ["SERIES", "TOTAL", "Hierarchy", "Level", "check_hierarchy", "hierarchy_of", "level_columns"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

TOTAL = "total"  # the level of all series together, always there
SERIES = "series"  # what the level of the series themselves is called
_EXAMPLES = 5


@dataclass(frozen=True)
class Level:
    """One way to group N series into G groups.

    Attributes
    ----------
    name : ``total``, or its columns joined by "/". columns : among the keys and static columns; none for the total.
    groups : G rows: ``unique_id`` (the values joined by "/"), then the columns; sorted by the columns.
    member : int64 ``[N]``, the group of each series.
    """

    name: str
    columns: tuple[str, ...]
    groups: pl.DataFrame
    member: IntArray

    @property
    def n_groups(self) -> int:
        return self.groups.height

    @cached_property
    def sizes(self) -> IntArray:
        """int64 ``[G]``: series in each group."""
        return np.bincount(self.member, minlength=self.n_groups).astype(np.int64)

    def sums(self, values: npt.NDArray[Any]) -> FloatArray:
        """Sums over the series of each group, float64: ``[N, …]`` becomes ``[G, …]``."""
        return np.add.reduceat(values[self._order], self._starts, axis=0, dtype=np.float64)

    def reduced(self, values: npt.NDArray[Any], by: np.ufunc) -> npt.NDArray[Any]:
        """Another reduction over the series of each group, such as `numpy.fmin`: ``[N, …]`` becomes ``[G, …]``."""
        found: npt.NDArray[Any] = by.reduceat(values[self._order], self._starts, axis=0)
        return found

    @cached_property
    def _order(self) -> IntArray:
        return np.argsort(self.member, kind="stable")

    @cached_property
    def _starts(self) -> IntArray:
        return np.cumsum(self.sizes) - self.sizes


@dataclass(frozen=True)
class Hierarchy:
    """Levels over the same N series, U groups in all, the total first.

    Groups are counted through the levels: those of the first, then those of the second, and so on.
    """

    levels: tuple[Level, ...]

    @property
    def n_groups(self) -> int:
        """U, over all levels."""
        return sum(level.n_groups for level in self.levels)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(level.name for level in self.levels)

    @cached_property
    def sizes(self) -> IntArray:
        """int64 ``[U]``: series in each group."""
        return np.concatenate([level.sizes for level in self.levels])

    @property
    def parts(self) -> tuple[slice, ...]:
        """Where each level lies among the U groups."""
        ends = np.cumsum([level.n_groups for level in self.levels]).tolist()
        return tuple(slice(end - level.n_groups, end) for level, end in zip(self.levels, ends, strict=True))

    def sums(self, values: npt.NDArray[Any]) -> FloatArray:
        """Sums of every group, float64: ``[N, …]`` becomes ``[U, …]``."""
        return np.concatenate([level.sums(values) for level in self.levels])

    def shared(self, values: FloatArray) -> FloatArray:
        """What the groups of each series hold, added up (the transpose of `sums`): ``[U, …]`` becomes ``[N, …]``."""
        first, *others = zip(self.levels, self.parts, strict=True)
        found = values[first[1]][first[0].member]
        for level, part in others:
            found += values[part][level.member]
        return found


def level_columns(spec: DatasetSpec, names: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The columns of each level by its name, the total first; empty where no level is asked for.

    Parameters
    ----------
    names : levels as in ``spec.hierarchy``, which is taken when None.

    Raises
    ------
    UsageError : a column that is neither a key nor static, a level or a column named twice.
    """
    asked = spec.hierarchy if names is None else tuple(names)
    if not asked:
        return {}
    found: dict[str, tuple[str, ...]] = {TOTAL: ()}
    for name in asked:
        columns = tuple(item.strip() for item in name.split("/"))
        if columns == (TOTAL,) and TOTAL not in (*spec.keys, *spec.static):
            continue
        _check_columns(name, columns, spec)
        if any(set(columns) == set(other) for other in found.values()):
            raise _wrong_level(f"the level {name!r} is named twice", name, "name it once")
        found["/".join(columns)] = columns
    return found


def hierarchy_of(
    series: pl.DataFrame, spec: DatasetSpec, names: Sequence[str] | None = None, *, distinct: bool = False
) -> Hierarchy:
    """Sort series into the groups of every level.

    Parameters
    ----------
    series : N rows: ``unique_id``, the key columns, the static columns. names : levels, those of the spec when None.
    distinct : refuse levels that say nothing new, which are right where only some series of a table are asked for.

    Raises
    ------
    UsageError : see `level_columns`, or no level at all.
    DataError : series without a value in a column of a level; with ``distinct``, a level with the groups of another
        level, or whose groups are single series.
    """
    wanted = level_columns(spec, names)
    if not wanted:
        fix = 'hierarchy = ["store", "store/type"] in the spec, or --hierarchy store,store/type'
        raise UsageError(f"no level is declared.\n  where: hierarchy\n  fix:   {fix}")
    problems = _without_value(series, wanted)
    if problems:
        raise DataError(problems)
    hierarchy = Hierarchy(tuple(_level(series, name, columns) for name, columns in wanted.items()))
    problems = _same_groups(hierarchy, series.height) if distinct else []
    if problems:
        raise DataError(problems)
    return hierarchy


def check_hierarchy(series: pl.DataFrame, spec: DatasetSpec, quality: QualityReport) -> tuple[str, ...]:
    """Refuse what cannot be a hierarchy before any work is done; nothing to say where no level is declared.

    Parameters
    ----------
    series : see `hierarchy_of`. quality : of the table, which tells static columns that change.

    Returns
    -------
    One sentence per level that has groups of a single series.

    Raises
    ------
    UsageError, DataError : see `hierarchy_of`; besides, a column of a level that changes within a series, which would
        be in two groups.
    """
    wanted = level_columns(spec)
    if not wanted:
        return ()
    problems = _in_two_groups(wanted, quality)
    if problems:
        raise DataError(problems)
    return tuple(filter(None, map(_lonely, hierarchy_of(series, spec, distinct=True).levels)))


def _check_columns(name: str, columns: tuple[str, ...], spec: DatasetSpec) -> None:
    able = (*spec.keys, *spec.static)
    unknown = next((column for column in columns if column not in able), None)
    if unknown is not None:
        fix = f"levels are made of keys and static columns (--keys, --static); {nearest(unknown, able)}"
        raise _wrong_level(f"a level of the hierarchy names {unknown!r}, which is no key and not static", name, fix)
    if len(set(columns)) < len(columns):
        raise _wrong_level("a level names a column twice", name, "name each column once")


def _wrong_level(what: str, name: str, fix: str) -> UsageError:
    return UsageError(f"{what}.\n  where: hierarchy, level {name!r}\n  fix:   {fix}")


def _without_value(series: pl.DataFrame, wanted: dict[str, tuple[str, ...]]) -> list[Problem]:
    """Columns of levels that some series have no value in."""
    problems = []
    for column in dict.fromkeys(column for columns in wanted.values() for column in columns):
        lost = series.filter(pl.col(column).is_null())[UNIQUE_ID]
        if len(lost):
            problems.append(
                Problem(
                    f"{len(lost)} series belong to no group of a level: they have no {column}",
                    f"column {column!r}: {_listed(lost.to_list())}",
                    f"give their {column} in the table (and in --future, if they begin there), or leave the level out",
                )
            )
    return problems


def _level(series: pl.DataFrame, name: str, columns: tuple[str, ...]) -> Level:
    if not columns:
        groups = pl.DataFrame({UNIQUE_ID: [TOTAL]})
        return Level(name, columns, groups, np.zeros(series.height, dtype=np.int64))
    found = series.select(columns).unique().sort(columns)
    label = pl.concat_str([pl.col(column).cast(pl.String) for column in columns], separator="/").alias(UNIQUE_ID)
    index = found.with_columns(pl.int_range(pl.len()).alias("__group"))
    joined = series.select(columns).join(index, on=list(columns), how="left", maintain_order="left")
    return Level(name, columns, found.select(label, *columns), joined["__group"].to_numpy().astype(np.int64))


def _same_groups(hierarchy: Hierarchy, n_series: int) -> list[Problem]:
    """Levels that sort the series as another level, or as the series themselves, does."""
    problems = []
    for position, level in enumerate(hierarchy.levels):
        if level.n_groups == n_series:
            problems.append(_alone(level))
            continue
        twin = next((other for other in hierarchy.levels[:position] if _is_same(other, level)), None)
        if twin is not None:
            problems.append(
                Problem(
                    f"the level {level.name!r} has the same groups as {twin.name!r}",
                    f"hierarchy: {level.n_groups} group{'s' * (level.n_groups > 1)} of the same series in both",
                    f"leave {level.name!r} out",
                )
            )
    return problems


def _alone(level: Level) -> Problem:
    return Problem(
        f"every group of the level {level.name!r} is a single series",
        f"hierarchy: {level.n_groups} groups of one, first {_listed(level.groups[UNIQUE_ID].to_list())}",
        "leave the level out: the forecasts of the series are its totals",
    )


def _is_same(first: Level, second: Level) -> bool:
    pairs = first.member * second.n_groups + second.member
    return len(np.unique(pairs)) == first.n_groups == second.n_groups


def _in_two_groups(wanted: dict[str, tuple[str, ...]], quality: QualityReport) -> list[Problem]:
    """Columns of levels that change within a series."""
    used = {column for columns in wanted.values() for column in columns}
    return [
        Problem(
            f"{finding.n} series would belong to two groups of a level: {finding.examples[0]} changes within them",
            f"column {finding.examples[0]!r}: {finding.text}",
            f"correct {finding.examples[0]} to one value per series, or leave the level out of the hierarchy",
        )
        for finding in quality.findings
        if finding.name == "static_changes" and finding.examples and finding.examples[0] in used
    ]


def _lonely(level: Level) -> str:
    """What to say of groups of one series; "" where there is none."""
    lonely = level.groups[UNIQUE_ID].filter(pl.Series(level.sizes == 1)).to_list()
    if not lonely:
        return ""
    return f"{len(lonely)} of {level.n_groups} groups of {level.name} are a single series: {_listed(lonely)}"


def _listed(names: Sequence[str]) -> str:
    more = f", … ({len(names)})" if len(names) > _EXAMPLES else ""
    return ", ".join(map(str, names[:_EXAMPLES])) + more
