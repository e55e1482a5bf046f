"""Questions that wait together are asked together; none is lost, mixed up, or answered from before it was asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from foretail.serving.api_batches import Batches


def test_what_waits_is_one_batch_and_every_caller_gets_its_own() -> None:
    asked: list[int] = []
    gate = threading.Event()

    def ask(questions: Sequence[int]) -> list[int]:
        asked.append(len(questions))
        gate.wait(20)
        return [10 * question for question in questions]

    async def talk() -> list[Sequence[int]]:
        batches: Batches[int, int] = Batches(ask)
        first = asyncio.create_task(batches.answers([0]))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batches.answers([i, i + 100])) for i in range(1, 20)]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(first, *others)
        batches.close()
        return list(found)

    found = asyncio.run(talk())
    assert found == [[0], *([10 * i, 10 * i + 1000] for i in range(1, 20))]
    assert asked == [1, 38]


def test_a_batch_has_a_most_and_a_caller_is_never_cut() -> None:
    asked: list[list[int]] = []

    def ask(questions: Sequence[int]) -> list[int]:
        asked.append(list(questions))
        return list(questions)

    async def talk() -> None:
        batches: Batches[int, int] = Batches(ask, most=3)
        await asyncio.gather(*(batches.answers([i, i]) for i in range(3)), batches.answers([7] * 9))
        batches.close()

    asyncio.run(talk())
    assert [len(batch) for batch in asked] == [2, 2, 2, 9]


def test_an_answer_is_never_older_than_its_question() -> None:
    state = {"version": 1}
    begun, gate = threading.Event(), threading.Event()

    def ask(questions: Sequence[str]) -> list[int]:
        seen = state["version"]
        begun.set()
        gate.wait(20)
        return [seen] * len(questions)

    async def talk() -> tuple[Sequence[int], Sequence[int]]:
        batches: Batches[str, int] = Batches(ask)
        early = asyncio.create_task(batches.answers(["early"]))
        await asyncio.to_thread(begun.wait, 20)
        state["version"] = 2
        late = asyncio.create_task(batches.answers(["late"]))
        await asyncio.sleep(0.05)
        gate.set()
        both = await early, await late
        batches.close()
        return both

    assert asyncio.run(talk()) == ([1], [2])


def test_a_failure_is_told_to_its_batch_and_the_next_is_asked() -> None:
    def ask(questions: Sequence[int]) -> list[int]:
        if 13 in questions:
            raise ValueError("thirteen")
        return list(questions)

    async def talk() -> Sequence[int]:
        batches: Batches[int, int] = Batches(ask)
        with pytest.raises(ValueError, match="thirteen"):
            await batches.answers([13])
        found = await batches.answers([1])
        batches.close()
        return found

    assert asyncio.run(talk()) == [1]
