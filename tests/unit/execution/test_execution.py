"""Where fits run, without a Ray: what is in use, what is refused, what a job is told; the rest is in tests/stack."""

from __future__ import annotations

import subprocess
import sys
from collections import deque

import numpy as np
import pytest

from foretail.cli.execution import _without_execution
from foretail.core.errors import ServiceError, UsageError
from foretail.execution import attach
from foretail.execution.pool import Chunk, Pool, Task, using, warm_pool
from foretail.execution.ray import _cut_for, execution_of
from foretail.execution.ray_jobs import told


def test_a_pool_is_in_use_below_its_block_only() -> None:
    outer, inner = Pool(3), Pool(1)
    before = warm_pool(2)
    with using(outer):
        assert warm_pool(2) is outer
        with using(inner):
            assert warm_pool(2) is inner
        assert warm_pool(2) is outer
    assert warm_pool(2) is before


def test_processes_are_the_pool_that_everyone_shares() -> None:
    with execution_of("processes", 3) as pool:
        assert pool is warm_pool(3)
        assert warm_pool(2) is not pool


@pytest.mark.parametrize("execution", ["local", "process", "ray:/host:1", "ray-jobs://http://host:8265", ""])
def test_a_place_that_is_none_is_refused_and_the_places_named(execution: str) -> None:
    told = r"nowhere to run\.\n  where: --execution, .*\n  fix:   one of processes, ray, ray://HOST:PORT, HOST:PORT"
    with pytest.raises(UsageError, match=told), execution_of(execution):
        pass


def test_a_cluster_that_does_not_answer_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "_ANSWER_S", 0.3)
    with pytest.raises(ServiceError, match="Ray does not answer"), execution_of("ray://127.0.0.1:9"):
        pass


@pytest.mark.parametrize(("sizes", "wanted", "n"), [((8,), 4, 4), ((3, 3), 100, 6), ((1, 1), 5, 2), ((5, 5, 5), 2, 3)])
def test_chunks_are_cut_until_they_are_enough_and_hold_every_row(sizes: tuple[int, ...], wanted: int, n: int) -> None:
    starts = np.cumsum([0, *sizes])
    tasks = deque(Task(Chunk(int(i), (np.arange(i, i + k),))) for i, k in zip(starts, sizes, strict=False))
    found = _cut_for(tasks, wanted)
    assert len(found) == n
    assert np.concatenate([task.chunk.arrays[0] for task in found]).tolist() == list(range(sum(sizes)))
    assert all(task.chunk.arrays[0][0] == task.chunk.start for task in found)


def test_a_job_is_told_settings_but_no_secret() -> None:
    environ = {
        "FORETAIL_HOME": "s3://shop/home",
        "FORETAIL_WAREHOUSE": "postgresql://writer:secret@db/sales",
        "FORETAIL_READER": "postgresql://reader@db:5432/sales",
        "FORETAIL_API_TOKEN": "abc",
        "MLFLOW_TRACKING_PASSWORD": "abc",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "PATH": "/bin",
    }
    passed, kept = told(environ)
    assert sorted(passed) == ["FORETAIL_HOME", "FORETAIL_READER", "MLFLOW_TRACKING_URI"]
    assert kept == ["FORETAIL_API_TOKEN", "FORETAIL_WAREHOUSE", "MLFLOW_TRACKING_PASSWORD"]


def test_a_job_says_the_same_words_but_where() -> None:
    words = ["--debug", "run", "a b.csv", "--execution", "ray-jobs://http://h:1", "--out", "x"]
    assert _without_execution(words) == ["--debug", "run", "a b.csv", "--out", "x"]
    assert _without_execution(["run", "t", "--execution=ray-jobs://http://h:1", "--json"]) == ["run", "t", "--json"]


def test_no_ray_is_loaded_for_processes() -> None:
    program = (
        "import sys\nfrom foretail.execution.ray import execution_of\nfrom foretail.execution.ray_jobs import told\n"
        "with execution_of('processes'):\n    pass\nassert 'ray' not in sys.modules and 'grpc' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
