"""Requests that wait for the same version are scored together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading

import pytest

from foretail.serving.asks import Ask
from foretail.serving.errors import RequestError, RequestProblem
from foretail.serving.slow_lane import SlowLane

BAD = -1


class Doubling:
    """Answers twice the key, step by step; the first batch waits for a sign, so that others can gather."""

    def __init__(self, status: int = 422):
        self.batches: list[int] = []
        self.go = threading.Event()
        self._status = status

    def score(self, asks):
        self.batches.append(len(asks))
        self.go.wait(10)
        if any(ask.keys[0] == BAD for ask in asks):
            raise RequestError([RequestProblem(self._status, "bad", "here", "not that")])
        return [2 * ask.keys[0] for ask in asks for _ in range(ask.horizon)]


def _ask(key: int, horizon: int = 1) -> Ask:
    return Ask((key,), None, {}, horizon)


async def _all(lane: SlowLane, scorer: Doubling, requests: list[list[Ask]]):
    first, *others = requests
    tasks = [asyncio.create_task(lane.score(scorer, first))]
    while not scorer.batches:  # the first is on its thread
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(lane.score(scorer, asks)) for asks in others]
    await asyncio.sleep(0)
    scorer.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def lane():
    lane = SlowLane(waiting=40)
    yield lane
    lane.close()


def test_what_waits_is_scored_in_one_go_and_each_gets_its_own(lane) -> None:
    scorer = Doubling()
    found = asyncio.run(_all(lane, scorer, [[_ask(1)], [_ask(2), _ask(3, horizon=2)], [_ask(4)], []]))
    assert found == [[2], [4, 6, 6], [8], []]
    assert scorer.batches == [1, 3]


def test_a_refused_request_takes_no_other_with_it(lane) -> None:
    found = asyncio.run(_all(lane, Doubling(), [[_ask(1)], [_ask(2)], [_ask(BAD)], [_ask(4)]]))
    assert [found[0], found[1], found[3]] == [[2], [4], [8]]
    assert isinstance(found[2], RequestError)


def test_a_store_that_does_not_answer_is_asked_once_for_all(lane) -> None:
    scorer = Doubling(status=503)
    found = asyncio.run(_all(lane, scorer, [[_ask(1)], [_ask(2)], [_ask(BAD)]]))
    assert [type(item) for item in found[1:]] == [RequestError, RequestError]
    assert scorer.batches == [1, 2]


def test_a_batch_has_an_end(lane) -> None:
    scorer = Doubling()
    asyncio.run(_all(lane, scorer, [[_ask(1)], *([_ask(key, horizon=100)] for key in range(5))]))
    assert scorer.batches == [1, 2, 2, 1]


def test_too_many_that_wait_are_refused(lane) -> None:
    found = asyncio.run(_all(lane, Doubling(), [[_ask(key)] for key in range(42)]))
    refused = [item for item in found if isinstance(item, RequestError)]
    assert [item.status for item in refused] == [503, 503]


def test_who_hangs_up_takes_nobody_elses_answer_away(lane) -> None:
    async def _hang_up() -> tuple[list[int], list[int]]:
        scorer = Doubling()
        first = asyncio.create_task(lane.score(scorer, [_ask(1)]))
        while not scorer.batches:
            await asyncio.sleep(0)
        gone, stays = (asyncio.create_task(lane.score(scorer, [_ask(key)])) for key in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        scorer.go.set()
        return await first, await stays

    assert asyncio.run(_hang_up()) == ([2], [6])
