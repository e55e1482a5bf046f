"""Jobs in a real SQLite warehouse: handed in once, taken once, watched, given up."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sales_cases import file_url

from foretail.core.errors import UsageError
from foretail.warehouse.database import open_warehouse
from foretail.warehouse.jobs import Jobs

START = dt.datetime(2024, 3, 1, 12)


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(tmp_path: Path, clock: Clock) -> Jobs:
    return Jobs(open_warehouse(file_url(tmp_path)), clock)


def test_a_job_from_beginning_to_end(jobs: Jobs, clock: Clock) -> None:
    job = jobs.submit("train", 1, "product_A", timeout_s=60)
    assert (job.status, job.subject, job.progress, job.is_finished) == ("PENDING", "1/product_A", 0.0, False)
    assert job.deadline == START + dt.timedelta(seconds=60)
    clock.wait(1)
    taken = jobs.take("w1")
    assert taken is not None
    assert (taken.job_id, taken.status, taken.worker, taken.attempts) == (job.job_id, "RUNNING", "w1", 1)
    assert taken.started == START + dt.timedelta(seconds=1)
    assert jobs.take("w2") is None
    clock.wait(1)
    assert jobs.progress(job.job_id, 0.5, "fitting")
    half = jobs.get(job.job_id)
    assert half is not None
    assert (half.progress, half.message, half.heartbeat) == (0.5, "fitting", START + dt.timedelta(seconds=2))
    assert jobs.finish(job.job_id, {"version": 3})
    done = jobs.get(job.job_id)
    assert done is not None
    assert (done.status, done.result, done.progress, done.is_finished) == ("SUCCEEDED", {"version": 3}, 1.0, True)
    assert not jobs.fail(job.job_id, "too late")
    assert jobs.get("nonsense") is None


def test_one_job_for_a_series_at_a_time(jobs: Jobs, clock: Clock) -> None:
    job = jobs.submit("train", 1, "a")
    clock.wait(1)
    assert jobs.submit("train", 1, "a").job_id == job.job_id
    assert jobs.submit("train", 1, "b").job_id != job.job_id
    assert jobs.submit("forecast", 1, "a").job_id != job.job_id
    whole = jobs.submit("train")
    assert jobs.submit("train").job_id == whole.job_id
    jobs.take("w", ["train"])
    assert jobs.submit("train", 1, "a").job_id == job.job_id, "running counts too"
    jobs.finish(job.job_id)
    assert jobs.submit("train", 1, "a").job_id != job.job_id


def test_a_key_names_its_job_for_ever(jobs: Jobs) -> None:
    job = jobs.submit("train", 1, "a", "key")
    jobs.cancel(job.job_id)
    again = jobs.submit("train", 1, "a", "key")
    assert (again.job_id, again.status, again.reason) == (job.job_id, "STOPPED", "cancelled")
    assert jobs.submit("train", 1, "a", "other").job_id != job.job_id


def test_ten_at_once_hand_in_one_job(jobs: Jobs) -> None:
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda i: jobs.submit("train", 1, "a", "key" if i % 2 else None).job_id, range(10)))
    assert len(set(found)) == 1
    assert len(jobs.list()) == 1


def test_many_workers_take_each_job_once(jobs: Jobs) -> None:
    wanted = {jobs.submit("train", store, "a").job_id for store in range(30)}

    def work(name: str) -> list[str]:
        taken = []
        while (job := jobs.take(name)) is not None:
            taken.append(job.job_id)
        return taken

    with ThreadPoolExecutor(5) as pool:
        taken = [job_id for mine in pool.map(work, [f"w{i}" for i in range(5)]) for job_id in mine]
    assert sorted(taken) == sorted(wanted)


def test_the_oldest_of_a_kind_is_taken_first(jobs: Jobs, clock: Clock) -> None:
    ids = []
    for store in (3, 1, 2):
        ids.append(jobs.submit("train", store, "a").job_id)
        clock.wait(1)
    first = jobs.submit("forecast").job_id
    assert [job.job_id for job in jobs.list()] == [first, *reversed(ids)]
    assert [getattr(jobs.take("w", ["train"]), "job_id", None) for _ in range(4)] == [*ids, None]
    assert jobs.counts() == {"PENDING": 1, "RUNNING": 3, "SUCCEEDED": 0, "STOPPED": 0, "FAILED": 0}
    assert [job.job_id for job in jobs.list(status="PENDING")] == [first]
    assert len(jobs.list(kind="train", limit=2)) == 2


def test_a_stopped_job_is_told_to_its_worker(jobs: Jobs) -> None:
    job = jobs.submit("train", 1, "a")
    jobs.take("w1")
    assert jobs.heartbeat(job.job_id, "w1")
    assert jobs.cancel(job.job_id)
    assert not jobs.cancel(job.job_id)
    assert not jobs.heartbeat(job.job_id, "w1")
    assert not jobs.finish(job.job_id, {}, "w1")
    assert jobs.list()[0].status == "STOPPED"


def test_the_job_of_a_dead_worker_is_another_ones(jobs: Jobs, clock: Clock) -> None:
    job = jobs.submit("train", 1, "a")
    jobs.take("w1")
    clock.wait(20)
    assert jobs.reap() == 0
    clock.wait(20)
    assert jobs.reap() == 1
    taken = jobs.take("w2")
    assert taken is not None
    assert (taken.job_id, taken.attempts, taken.worker) == (job.job_id, 2, "w2")
    assert not jobs.finish(job.job_id, {"of": "w1"}, "w1"), "the first worker was only slow: it is not its job any more"
    assert jobs.finish(job.job_id, {"of": "w2"}, "w2")


def test_what_kills_three_workers_has_failed(jobs: Jobs, clock: Clock) -> None:
    jobs.submit("train", 1, "a")
    for i in range(3):
        assert jobs.take(f"w{i}") is not None
        clock.wait(60)
        assert jobs.reap() == 1
    assert jobs.take("w4") is None
    assert [(job.status, job.reason) for job in jobs.list()] == [("FAILED", "its worker died, 3 times")]


def test_a_time_out_is_a_failure_with_a_reason(jobs: Jobs, clock: Clock) -> None:
    taken = jobs.submit("train", 1, "a", timeout_s=10)
    jobs.take("w1")
    waiting = jobs.submit("train", 2, "a", timeout_s=10)
    clock.wait(10)
    assert jobs.take("w2") is None
    assert jobs.reap() == 2
    reasons = {job.job_id: (job.status, job.reason) for job in jobs.list()}
    assert reasons[taken.job_id] == ("FAILED", "timed out: it was not done before its deadline")
    assert reasons[waiting.job_id] == ("FAILED", "timed out: no worker took it before its deadline")
    assert not jobs.finish(taken.job_id)


def test_what_cannot_be_asked(jobs: Jobs) -> None:
    with pytest.raises(UsageError, match="whole fleet or for one series"):
        jobs.submit("train", 1)
    with pytest.raises(UsageError, match="unknown status 'DONE'"):
        jobs.list(status="DONE")
