"""The feature store beside Feast's own stores and beside the same join by hand: seconds, memory, rows, online reads.

Each measurement is a process of its own. A peer that takes longer than its limit, or more memory, is ended, and the
line says so; every join is compared with the one that Polars makes by hand, value by value.

    python -m benchmarks.features [--only joins,stream,materialize,online] [--sizes s,m,l,xl20,xl40,xl]
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median, quantiles

from benchmarks.feature_ask import LIMIT_S, Asked, ask
from benchmarks.feature_job import MANY_ROWS, Job
from benchmarks.feature_world import SIZES, Size, World, make_world
from benchmarks.job import JobError
from benchmarks.table import RESULTS, Measure, publish

__all__ = ["join_lines", "main", "n_different", "online_lines", "percentile"]

_PARTS = ("joins", "stream", "materialize", "online")
_JOINS, _STREAMS = ("s", "m", "l"), ("xl20", "xl40", "xl")
_DEFAULT_SIZES = ("s", "m", "l", "xl20", "xl40")
_LONG_S, _LARGE_GB = 3_600.0, 16.0  # for what is ours: far beyond any goal
_FOLDER = RESULTS / "features"
_PEERS = {"s": ("duckdb", "dask", "ray"), "m": ("duckdb", "dask"), "l": ("duckdb",)}
_BY_HAND = {"s": ("Polars", "pandas"), "m": ("Polars", "pandas"), "l": ("Polars",)}
_REPEATS = {"s": 7, "m": 3, "l": 2}
_MOST_GB = {"s": None, "m": 1.5, "l": 4.0}
_READS = ("1 row, p50", "1 row, p99", "100 rows, p50")
_MOST_RAW = {"s": None, "m": 2.0, "l": 1.5}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write ``benchmarks/results/features.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("--only", default=",".join(_PARTS), metavar="A,B", help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--sizes", default=",".join(_DEFAULT_SIZES), metavar="A,B", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="for each peer")
    parser.add_argument("--no-peers", action="store_true", help="ours and the joins by hand alone")
    asked = parser.parse_args(arguments)
    parts, sizes = asked.only.split(","), asked.sizes.split(",")
    limit_s = 0.0 if asked.no_peers else asked.limit
    lines: list[Measure] = []
    if "joins" in parts:
        for name in (name for name in _JOINS if name in sizes):
            lines += _joins(name, limit_s)
    if "stream" in parts:
        lines += _streams([name for name in _STREAMS if name in sizes])
    if {"materialize", "online"} & set(parts):
        lines += _serving(parts, limit_s)
    publish("features", lines)


@contextmanager
def _world(size: Size, name: str, entities: bool = True) -> Iterator[World]:
    """The data of a size, for as long as it is needed."""
    folder = _FOLDER / "data" / name
    shutil.rmtree(folder, ignore_errors=True)
    _say(f"{name}: making {size.rows:,} rows")
    try:
        yield make_world(size, folder, entities)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _joins(name: str, limit_s: float) -> list[Measure]:
    """Historical features of one size."""
    with _world(SIZES[name], name) as world:
        job = Job(*("historical", "asof", str(world.folder), world.size), repeats=_REPEATS[name], frame=name == "s")
        lines = []
        for is_sorted in (False, True) if name == "l" else (False,):
            jobs = {"foretail": replace(job, is_sorted=is_sorted)}
            jobs |= {who: replace(job, work="raw", store=who.lower(), is_sorted=is_sorted) for who in _BY_HAND[name]}
            if limit_s and not is_sorted:
                jobs |= {f"Feast {peer}": replace(job, store=peer, repeats=1) for peer in _PEERS[name]}
            found = {who: _ask(who, name, what, limit_s) for who, what in jobs.items()}
            lines += join_lines(name, world.size.rows, found, is_sorted)
        return lines


def _ask(who: str, name: str, job: Job, limit_s: float) -> Asked:
    """Ours and the joins by hand get all the time there is."""
    is_peer = who.startswith("Feast")
    _say(f"{name}: {who}{', presorted' if job.is_sorted else ''}")
    found = ask(job, limit_s) if is_peer else ask(job, _LONG_S, _LARGE_GB)
    seconds = f"{median(found.answer.seconds):.3f} s, {found.peak_gb:.2f} GB" if found.answer else found.why
    _say(f"{name}: {who}: {seconds}")
    return found


def join_lines(name: str, rows: int, found: dict[str, Asked], is_sorted: bool) -> list[Measure]:
    """The lines of one size: ours beside each other way, memory, and whether all values are the same.

    Parameters
    ----------
    found : ``foretail``, ``Polars``, ``pandas`` and ``Feast …`` with what they came to.
    is_sorted : the rows came by keys and time; a goal against the join by hand holds there at size ``l``.

    Raises
    ------
    JobError : ours gave no answer.
    """
    ours = found["foretail"]
    if ours.answer is None:
        raise JobError(f"size {name}: foretail gave no answer: {ours.why}")
    work = f"{name}, {rows:,} rows{' presorted' if is_sorted else ''}"
    seconds = median(ours.answer.seconds)
    lines = [Measure(f"{work}: join", seconds, "s", at_most=0.2 if name == "s" else None)]
    holds = is_sorted or name != "l"
    for who, other in found.items():
        if who != "foretail":
            lines += _beside(work, seconds, who, other, _MOST_RAW[name] if holds else None)
    lines.append(_processor_line(work, ours, found))
    lines.append(Measure(f"{work}: peak memory", ours.peak_gb, "GB", at_most=_MOST_GB[name]))
    different = {who: n_different(ours, other) for who, other in found.items() if other.answer and who != "foretail"}
    lines += [
        Measure(f"{work}: features that differ from {who}", float(count), "", at_most=0 if "Feast" not in who else None)
        for who, count in different.items()
    ]
    return lines


def _processor_line(work: str, ours: Asked, found: dict[str, Asked]) -> Measure:
    """Processor seconds, which other work on the machine moves less than the clock."""
    spent = median(ours.answer.cpu) if ours.answer and ours.answer.cpu else math.nan
    hand = found["Polars"].answer if "Polars" in found else None
    theirs = median(hand.cpu) if hand and hand.cpu else None
    return Measure(f"{work}: processor time", spent, "s", "Polars" if theirs is not None else "", theirs)


def _beside(work: str, seconds: float, who: str, other: Asked, most: float | None) -> list[Measure]:
    if other.answer is None:
        return [Measure(f"{work}: join", seconds, "s", f"{who}: {other.why}")]
    theirs = median(other.answer.seconds)
    lines = [Measure(f"{work}: join", seconds, "s", f"{who}, {other.peak_gb:.1f} GB", theirs)]
    if who == "Feast duckdb":
        lines.append(Measure(f"{work}: times as fast as {who}", theirs / seconds, "x", at_least=10.0))
    elif who == "Polars":
        lines.append(Measure(f"{work}: time over that of {who}", seconds / theirs, "x", at_most=most))
    return lines


def n_different(ours: Asked, other: Asked) -> int:
    """How many features differ by the checksum, or all of them where the number of rows does."""
    if ours.answer is None or other.answer is None:
        raise ValueError("two answers are compared")
    left, right = ours.answer.checksum or {}, other.answer.checksum or {}
    if ours.answer.rows != other.answer.rows:
        return len(left)
    return sum(
        not math.isclose(value, right.get(feature, math.nan), rel_tol=1e-9) for feature, value in left.items()
    ) + len(right.keys() - left.keys())


def _streams(names: Sequence[str]) -> list[Measure]:
    """Results larger than memory, to Parquet by partition."""
    lines, rates = [], []
    for name in names:
        with _world(SIZES[name], name) as world:
            job = Job("stream", "asof", str(world.folder), world.size)
            found = _ask("foretail", name, job, _LONG_S)
            if found.answer is None or found.answer.rows != world.size.rows:
                raise JobError(f"size {name}: {found.why or 'rows were lost'}")
            seconds, work = found.answer.seconds[0], f"{name}, {world.size.rows:,} rows to Parquet"
            rates.append(world.size.rows / seconds)
            lines += [
                Measure(f"{work}: join", seconds, "s"),
                Measure(f"{work}: rate", rates[-1] / 1e6, "million rows/s"),
                Measure(f"{work}: peak memory", found.peak_gb, "GB", at_most=4.0),
            ]
    if len(rates) > 1:
        lines.append(Measure(f"rate, {names[-1]} to {names[0]}", rates[-1] / rates[0], "x", at_least=0.8))
    return lines


def _serving(parts: Sequence[str], limit_s: float) -> list[Measure]:
    """Materialise, then read: SQLite and, where a server can be had, PostgreSQL."""
    lines: list[Measure] = []
    with _world(SIZES["keys"], "keys", entities=False) as world, _postgres() as url:
        for where, goal in (("SQLite", 6.0), ("PostgreSQL", 8.0)):
            if where == "PostgreSQL" and not url:
                continue
            job = Job("materialize", "wide", str(world.folder), world.size, url=url if where != "SQLite" else "")
            lines += _materialize(where, goal, job, parts, limit_s)
    return lines


def _materialize(where: str, goal: float, job: Job, parts: Sequence[str], limit_s: float) -> list[Measure]:
    scratch = _FOLDER / "online" / where
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        _say(f"materialise: foretail, {where}")
        ours = ask(job, _LONG_S, _LARGE_GB, scratch)
        if ours.answer is None:
            raise JobError(f"materialise, {where}: {ours.why}")
        lines = []
        if "materialize" in parts:
            lines += _materialize_lines(where, goal, ours, job, limit_s)
        if "online" in parts:
            stock = _stock_reads(where, job) if limit_s else None
            for store in ("reader", "wide"):
                _say(f"online: {store}, {where}")
                found = ask(replace(job, work="online", store=store), _LONG_S, _LARGE_GB, scratch)
                lines += online_lines(where, store, found, stock)
        return lines
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _materialize_lines(where: str, goal: float, ours: Asked, job: Job, limit_s: float) -> list[Measure]:
    work = f"materialise {job.size.stores * job.size.departments:,} keys, {where}"
    seconds = median(ours.answer.seconds) if ours.answer else math.nan
    lines = [Measure(f"{work}: peak memory", ours.peak_gb, "GB")]
    if not limit_s:
        return [Measure(work, seconds, "s", at_most=goal), *lines]
    _say(f"materialise: Feast's own store, {where}")
    peer = ask(replace(job, store="sqlite" if where == "SQLite" else "postgres"), limit_s)
    theirs = median(peer.answer.seconds) if peer.answer else None
    name = f"Feast {where}" if peer.answer else f"Feast {where}: {peer.why}"
    return [Measure(work, seconds, "s", name, theirs, at_most=goal), *lines]


def _stock_reads(where: str, job: Job) -> Asked:
    """Reads of Feast's own store over fewer keys, since writing all of them takes it a minute."""
    store = "sqlite" if where == "SQLite" else "postgres"
    few = Size(40, 50, 4)
    scratch = _FOLDER / "online" / f"stock {where}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with _world(few, "few", entities=False) as world:
            small = replace(job, store=store, world=str(world.folder), size=few)
            ask(small, _LONG_S, _LARGE_GB, scratch)
            return ask(replace(small, work="online"), _LONG_S, _LARGE_GB, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def online_lines(where: str, store: str, found: Asked, stock: Asked | None) -> list[Measure]:
    """Percentiles of one row and of a hundred, on-demand features included, beside Feast's own store.

    The goals are those of `OnlineReader`; for one row they hold in process alone, on SQLite.

    Raises
    ------
    JobError : there is no answer.
    """
    if found.answer is None:
        raise JobError(f"online, {where}, {store}: {found.why}")
    is_reader = store == "reader"
    who = "OnlineReader" if is_reader else "Feast's call on foretail's store"
    goals = (0.35, 1.5, 5.0) if is_reader and where == "SQLite" else (None, None, 5.0 if is_reader else None)
    ours, theirs = _percentiles(found), _percentiles(stock) if stock and stock.answer else (None,) * 3
    peer = f"Feast {where}" if stock else ""
    return [
        Measure(f"online, {where}, {who}: {what}", value, "ms", peer, other, at_most=most)
        for what, value, other, most in zip(_READS, ours, theirs, goals, strict=True)
    ]


def _percentiles(found: Asked) -> tuple[float, float, float]:
    """Milliseconds of `_READS`."""
    seconds = found.answer.seconds if found.answer else []
    one, many = seconds[:-MANY_ROWS], seconds[-MANY_ROWS:]
    return percentile(one, 50), percentile(one, 99), percentile(many, 50)


def percentile(seconds: Sequence[float], share: int) -> float:
    """Milliseconds below which ``share`` of a hundred calls stay."""
    return quantiles(seconds, n=100, method="inclusive")[share - 1] * 1e3


@contextmanager
def _postgres() -> Iterator[str]:
    """The URL of a private server for as long as it is needed; "" where PostgreSQL is not installed."""
    from scripts.services.postgres import Postgres

    if not Postgres.is_installed():
        _say(f"PostgreSQL is not installed (Debian package {Postgres.package}): its lines are left out")
        yield ""
        return
    server = Postgres(dies_with_parent=True)
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
