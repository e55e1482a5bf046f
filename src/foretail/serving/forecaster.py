"""The forecaster: answers pairs of store and product, from what is stored or, for other days, by the model itself."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from foretail.serving.ad_hoc import Lacking
from foretail.serving.api_batches import Batches
from foretail.serving.api_ids import Pair
from foretail.serving.api_items import MOST_DAYS, Item
from foretail.serving.errors import RequestError, RequestProblem, refuse
from foretail.serving.forecast_store import Ask, ForecastStore, Found, Row

__all__ = ["Answer", "Forecaster", "Made", "etag", "plain_answers"]

Made = Callable[[Sequence[Lacking]], Sequence["Found | RequestProblem"]]

_FEW = 16  # pairs of a request that shares its query with others
_DAYS = 7  # that are answered when none are named
_SLOW = 8  # requests that wait for a model at most
MOST_ROWS = 200_000  # of one request


@dataclass(frozen=True)
class Answer:
    """What one item gets: rows of one version, or a problem.

    Attributes
    ----------
    is_stored : every row was in the warehouse.
    """

    item: Item
    found: Found | None = None
    problem: RequestProblem | None = None
    is_stored: bool = True


class Forecaster:
    """Answers items.

    Parameters
    ----------
    store : what is stored. make : asks the models, on a thread; days that are stored are not asked for.
    """

    def __init__(self, store: ForecastStore, make: Made):
        self._store, self._make = store, make
        self._few: Batches[Ask, Found | None] = Batches(store.read)
        self._many: Batches[Ask, Found | None] = Batches(store.read)
        self._models: Batches[Lacking, Found | RequestProblem] = Batches(make)
        self._n_slow = 0

    async def answer(self, items: Sequence[Item]) -> list[Answer]:
        """Answer every item, in one query for those with days and one for those without.

        Raises
        ------
        RequestError : 413, more rows than one request may ask for; 503, too many requests wait for models.
        ServiceError : the warehouse does not answer.
        """
        check_rows(items)
        asked = [i for i, item in enumerate(items) if item.problem is None]
        asks = [_ask(items[i]) for i in asked]
        batches = self._few if len(asks) <= _FEW else self._many
        found = await batches.answers(asks) if asks else []
        answers = [Answer(item, problem=item.problem) for item in items]
        for i, ask, stored in zip(asked, asks, found, strict=True):
            answers[i] = await self._stored(items[i], ask, stored, i)
        return await self._filled(answers)

    def close(self) -> None:
        """Let the threads end."""
        for batches in (self._few, self._many, self._models):
            batches.close()

    async def _stored(self, item: Item, ask: Ask, found: Found | None, i: int) -> Answer:
        """The answer as far as it is stored."""
        if found is None:
            why = await asyncio.to_thread(self._store.why_not, ask.pair)
            return Answer(item, problem=_unknown(ask.pair, why, i))
        if ask.begin is not None or not found.rows:
            return Answer(item, found)
        last = item.end or found.rows[0].day + dt.timedelta(days=_DAYS - 1)
        problem = _end_problem(last, found.rows[0].day, i)
        kept = tuple(row for row in found.rows if row.day <= last)
        item = replace(item, begin=found.rows[0].day, end=last)
        return Answer(item, replace(found, rows=kept), problem)

    async def _filled(self, answers: list[Answer]) -> list[Answer]:
        """Days that are not stored are made by the models, all in one call."""
        lacking = [i for i, answer in enumerate(answers) if answer.problem is None and _n_lacking(answer)]
        if not lacking:
            return answers
        if self._n_slow >= _SLOW:
            raise refuse(503, f"{self._n_slow} requests wait for models", "the server", "ask again in some seconds")
        self._n_slow += 1
        try:
            made = await self._models.answers([_lacking(answers[i]) for i in lacking])
        finally:
            self._n_slow -= 1
        for i, more in zip(lacking, made, strict=True):
            answers[i] = _joined(answers[i], more, i)
        return answers


def check_rows(items: Sequence[Item]) -> None:
    """Refuse what would be too much in one answer.

    Raises
    ------
    RequestError : 413.
    """
    n = sum((item.end - item.begin).days + 1 if item.begin and item.end else _DAYS for item in items)
    if n > MOST_ROWS:
        raise refuse(413, f"{n} days in all; the limit is {MOST_ROWS} a request", "the request body", "ask for fewer")


def plain_answers(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """The answers as JSON holds them: ``request``, and ``forecast`` and ``api``, or ``error``."""
    return [_plain(answer) for answer in answers]


def etag(items: Sequence[Item], answers: Sequence[Answer]) -> str:
    """Names what was answered: another version, or forecasts written anew, give another tag."""
    digest = hashlib.blake2b(digest_size=16)
    for item, answer in zip(items, answers, strict=True):
        rows = answer.found.rows if answer.found and not answer.problem else ()
        parts = [(row.day, row.version, row.cutoff, row.created_on, row.value) for row in rows]
        problem = answer.problem and str(answer.problem)
        digest.update(orjson.dumps([item.request, item.begin, item.end, parts, problem]))
    return f'"{digest.hexdigest()}"'


def _ask(item: Item) -> Ask:
    """Days that are named in full; a begin alone is a week."""
    assert item.pair is not None  # noqa: S101  (its problem was looked at)
    if item.begin is None:
        return Ask(item.pair)
    return Ask(item.pair, item.begin, item.end or item.begin + dt.timedelta(days=_DAYS - 1))


def _end_problem(end: dt.date, begin: dt.date, i: int) -> RequestProblem | None:
    if end < begin:
        what = f"the end {end} is before the first day after the cutoff, {begin}"
        return RequestProblem(422, what, "end_date", "give begin_date too", i)
    if (end - begin).days >= MOST_DAYS:
        what = f"{(end - begin).days + 1} days; the limit is {MOST_DAYS} an item"
        return RequestProblem(422, what, "end_date", "ask for fewer days", i)
    return None


def _unknown(pair: Pair, why: tuple[str, str] | None, i: int) -> RequestProblem:
    name = f"store {pair.store}, product {pair.product}"
    if why is None:
        return RequestProblem(404, "there is no such series", name, "train it, or ask for one that is trained", i)
    status, reason = why
    told = f"no version answers for the series: {status}" + (f" ({reason})" if reason else "")
    return RequestProblem(422, told, name, "train it again when there are sales of it", i)


def _days(answer: Answer) -> tuple[dt.date, dt.date] | None:
    """The days that were asked for; None where they are those of a forecast that is not there."""
    ask = _ask(answer.item)
    return None if ask.begin is None or ask.end is None else (ask.begin, ask.end)


def _n_lacking(answer: Answer) -> int:
    days = _days(answer)
    held = len(answer.found.rows) if answer.found else 0
    return 1 if days is None else (days[1] - days[0]).days + 1 - held


def _lacking(answer: Answer) -> Lacking:
    """What the model is asked: from the first day that is not stored on."""
    ask, found = _ask(answer.item), _found_of(answer)
    days = _days(answer)
    if days is None:
        return Lacking(ask, found)
    held = {row.day for row in found.rows}
    first = next(day for day in _range(*days) if day not in held)
    return Lacking(Ask(ask.pair, first, days[1]), found)


def _found_of(answer: Answer) -> Found:
    assert answer.found is not None  # noqa: S101  (an answer without problem has one)
    return answer.found


def _joined(answer: Answer, more: Found | RequestProblem, i: int) -> Answer:
    """What is stored with what was made beside it."""
    if isinstance(more, RequestProblem):
        return Answer(answer.item, problem=replace(more, instance=i))
    stored, days = _found_of(answer).rows, _days(answer)
    held = {row.day for row in stored}
    new = [row for row in more.rows if row.day not in held and (days is None or days[0] <= row.day <= days[1])]
    rows = sorted([*stored, *new], key=lambda row: row.day)
    if days is None:
        rows = [row for row in rows if answer.item.end is None or row.day <= answer.item.end][: _most(answer.item)]
    if not rows or (days is not None and len(rows) < (days[1] - days[0]).days + 1):
        return Answer(answer.item, problem=_unanswered(answer.item, i))
    return Answer(answer.item, replace(more, rows=tuple(rows)), is_stored=False)


def _most(item: Item) -> int:
    """Rows of an item without a begin."""
    return _DAYS if item.end is None else MOST_DAYS


def _unanswered(item: Item, i: int) -> RequestProblem:
    begin, end = item.begin or "the cutoff", item.end or "then on"
    what = f"not every day from {begin} to {end} can be forecast"
    return RequestProblem(422, what, "begin_date, end_date", "ask for days after the cutoff, or leave them out", i)


def _range(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def _plain(answer: Answer) -> dict[str, Any]:
    if answer.problem is not None:
        problem = answer.problem
        told: Mapping[str, Any] = {
            "status": problem.status,
            "what": problem.what,
            "where": problem.where,
            "fix": problem.fix,
        }
        return {"request": answer.item.request, "error": told}
    found = answer.found
    if found is None:
        raise RequestError(RequestProblem(422, "nothing was answered", "the item", "ask again"))
    newest = max(found.rows, key=lambda row: (row.cutoff, row.created_on))
    return {
        "request": answer.item.request,
        "forecast": [_plain_row(row, found.version) for row in found.rows],
        "api": {
            "model_name": found.model_id,
            "model_version": found.version,
            "cutoff": newest.cutoff,
            "created_on": newest.created_on,
            "run_id": newest.run_id,
            "stored": answer.is_stored,
            **({"warnings": list(found.warnings)} if found.warnings else {}),
        },
    }


def _plain_row(row: Row, version: str) -> dict[str, Any]:
    told: dict[str, Any] = {"timestamp": row.day, "value": row.value, "lower_ci": row.lower, "upper_ci": row.upper}
    if row.source != "model":
        told["source"] = row.source
    if row.version != version:
        told["model_version"] = row.version  # of a day that the version which answers now did not forecast
    return told
