"""Stored forecasts of many series and days in one query, each with the version that answers for it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import SQLAlchemyError

from foretail.core.errors import ServiceError
from foretail.serving.api_ids import Pair

__all__ = ["Ask", "ForecastStore", "Found", "Row"]

_COLUMNS = """
    v.unique_id, v.store, v.productname, v.version, v.model_id, v.status, v.reason, f.forecast_date, f.forecast_sale,
    f.lower_ci, f.upper_ci, f.model_version, f.cutoff, f.created_on, f.run_id, f.source
"""
_BETWEEN = "f.forecast_date BETWEEN :first AND :last"
_NEXT = """f.model_version = CAST(v.version AS VARCHAR(100)) AND f.cutoff = (
    SELECT max(g.cutoff) FROM forecast_results g
    WHERE g.dataset = :fleet AND g.unique_id = v.unique_id AND g.model_version = CAST(v.version AS VARCHAR(100)))"""
# the version that answers is the newest that passed its gate, or the newest where none did
_QUERIES = {
    "sqlite": """
SELECT {columns} FROM series_versions v
LEFT JOIN forecast_results f ON f.dataset = :fleet AND f.unique_id = v.unique_id AND {days}
WHERE v.fleet = :fleet AND v.unique_id IN (SELECT value FROM json_each(:ids)) AND v.version = (
    SELECT COALESCE(max(CASE WHEN w.is_champion THEN w.version END), max(w.version)) FROM series_versions w
    WHERE w.fleet = :fleet AND w.unique_id = v.unique_id)
""",
    # from the names to the rows, one index look-up after another, whatever PostgreSQL believes of the tables' sizes
    "postgresql": """
SELECT {columns} FROM jsonb_array_elements_text(CAST(:ids AS jsonb)) AS i(name)
CROSS JOIN LATERAL (
    SELECT * FROM series_versions w WHERE w.fleet = :fleet AND w.unique_id = i.name COLLATE "C"
    ORDER BY w.is_champion DESC, w.version DESC LIMIT 1) v
LEFT JOIN LATERAL (
    SELECT * FROM forecast_results f
    WHERE f.dataset = :fleet AND f.unique_id = v.unique_id AND {days} OFFSET 0) f ON TRUE
""",
}
_NAMED = {
    "sqlite": "(SELECT value FROM json_each(:ids))",
    "postgresql": "(SELECT jsonb_array_elements_text(CAST(:ids AS jsonb)))",
}
_WHY = """
SELECT v.unique_id, v.store, v.productname, v.status, v.reason FROM series_versions v
WHERE v.fleet = :fleet AND v.unique_id IN {ids} ORDER BY v.version
"""


@dataclass(frozen=True)
class Ask:
    """A pair and its days, both inclusive; None for the days that its newest forecast begins with."""

    pair: Pair
    begin: dt.date | None = None
    end: dt.date | None = None


class Row(NamedTuple):
    """One day's forecast, in the unit of the target, and who made it when."""

    day: dt.date
    value: float
    lower: float | None
    upper: float | None
    version: str
    cutoff: dt.date
    created_on: dt.datetime
    run_id: str
    source: str


@dataclass(frozen=True)
class Found:
    """What is stored of one ask.

    Attributes
    ----------
    unique_id, model_id, version : the series and the version that answers for it. rows : by day; days may be missing.
    standing : status of the version, and the reason where it has one.
    warnings : what whoever reads the rows should know.
    """

    unique_id: str
    model_id: str
    version: str
    rows: tuple[Row, ...]
    standing: str = ""
    warnings: tuple[str, ...] = ()


class ForecastStore:
    """Reads a fleet's forecasts from the warehouse.

    Parameters
    ----------
    engine : of the warehouse. fleet : its name there.
    """

    def __init__(self, engine: Engine, fleet: str):
        self.fleet = fleet
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")  # one statement is a snapshot by itself
        dialect = engine.dialect.name
        queries = (_QUERIES[dialect].format(columns=_COLUMNS, days=days) for days in (_BETWEEN, _NEXT))
        self._between, self._next = map(text, queries)
        self._why = text(_WHY.format(ids=_NAMED[dialect]))

    def read(self, asks: Sequence[Ask]) -> list[Found | None]:
        """What is stored, in the order of the asks; None where no version answers for a pair.

        Asks with days share one query, those without another one.

        Raises
        ------
        ServiceError : the warehouse does not answer.
        """
        found: list[Found | None] = [None] * len(asks)
        for query, is_ranged in ((self._between, True), (self._next, False)):
            at = [i for i, ask in enumerate(asks) if (ask.begin is not None) == is_ranged]
            if at:
                answers = self._found(query, [asks[i] for i in at])
                for i, answer in zip(at, answers, strict=True):
                    found[i] = answer
        return found

    def why_not(self, pair: Pair) -> tuple[str, str] | None:
        """Status and reason of the newest version of a pair; None for one without any."""
        rows = [row for row in self._rows(self._why, [Ask(pair)]) if is_of(pair, row[0], row[1], row[2])]
        return (rows[-1][3], rows[-1][4] or "") if rows else None

    def _found(self, query: TextClause, asks: Sequence[Ask]) -> list[Found | None]:
        by_id: dict[str, list[tuple[Any, ...]]] = {}
        for row in self._rows(query, asks):
            by_id.setdefault(row[0], []).append(row)
        return [_of_ask(ask, by_id) for ask in asks]

    def _rows(self, query: TextClause, asks: Sequence[Ask]) -> Sequence[tuple[Any, ...]]:
        ids = sorted({name for ask in asks for name in _names(ask.pair)})
        given: dict[str, Any] = {"fleet": self.fleet, "ids": json.dumps(ids)}
        days = [day for ask in asks for day in (ask.begin, ask.end) if day is not None]
        if days:
            given |= {"first": _day(self._engine, min(days)), "last": _day(self._engine, max(days))}
        try:
            with self._engine.connect() as connection:
                return [tuple(row) for row in connection.execute(query, given)]
        except SQLAlchemyError as error:
            raise unanswered(self._engine, error) from error


def unanswered(engine: Engine, error: SQLAlchemyError) -> ServiceError:
    """The error of a warehouse that does not answer."""
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return ServiceError(
        f"the warehouse does not answer: {said}\n  where: {engine.url.render_as_string(hide_password=True)}\n"
        "  fix:   check that the database runs and FORETAIL_WAREHOUSE names it"
    )


def is_of(pair: Pair, unique_id: str, store: int | None, product: str | None) -> bool:
    """Whether a series is the pair's: by its columns, or by its name where it has no such columns."""
    if product is None:
        return unique_id in _names(pair)[:1]
    return (store is None or str(store) == pair.store) and product == pair.product


def _names(pair: Pair) -> tuple[str, str]:
    """What its series may be called: by both, or by the store alone in a table of shops."""
    return f"{pair.store}/{pair.product}", pair.store


def _of_ask(ask: Ask, by_id: dict[str, list[tuple[Any, ...]]]) -> Found | None:
    for name in _names(ask.pair):
        rows = by_id.get(name)
        if rows and is_of(ask.pair, *rows[0][:3]):
            unique_id, _, _, version, model_id, status, reason = rows[0][:7]
            standing = f"{status} ({reason})" if reason else status
            return Found(unique_id, model_id, str(version), _best(rows, str(version), ask), standing)
    return None


def _best(rows: Sequence[tuple[Any, ...]], version: str, ask: Ask) -> tuple[Row, ...]:
    """One row a day: the answering version's, else that of the newest cutoff, else the one written last."""
    best: dict[dt.date, Row] = {}
    for raw in rows:
        row = _row(raw)
        if row is None or (ask.begin is not None and ask.end is not None and not ask.begin <= row.day <= ask.end):
            continue
        held = best.get(row.day)
        if held is None or _rank(row, version) > _rank(held, version):
            best[row.day] = row
    return tuple(best[day] for day in sorted(best))


def _rank(row: Row, version: str) -> tuple[bool, dt.date, dt.datetime]:
    return row.version == version, row.cutoff, row.created_on


def _row(raw: tuple[Any, ...]) -> Row | None:
    if raw[7] is None:
        return None
    day, value, lower, upper, version, cutoff, created_on, run_id, source = raw[7:]
    return Row(_date(day), value, lower, upper, version, _date(cutoff), _moment(created_on), run_id, source)


def _day(engine: Engine, day: dt.date) -> Any:
    """A day as the driver takes it in a text of SQL."""
    return day.isoformat() if engine.dialect.name == "sqlite" else day


def _date(value: Any) -> dt.date:
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def _moment(value: Any) -> dt.datetime:
    return value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
