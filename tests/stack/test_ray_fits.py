"""Fits as tasks of a real Ray: the same bits as in processes, whatever dies; by client server and as jobs too."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from scripts.services.ray import RayCluster

from foretail.core.errors import UsageError
from foretail.execution.pool import Chunk, Outcome, Pool, cut, warm_pool
from foretail.execution.ray import RayPool, execution_of
from foretail.models.families import FAMILIES, family_class, make

sys.path.insert(0, str(Path(__file__).parent))
import fit_jobs as jobs

LOCAL = [name for name in FAMILIES if family_class(name).tags.local]
N = 12  # series of each family


@pytest.fixture
def pool(ray_cluster: Any) -> Iterator[Pool]:
    with execution_of(ray_cluster.address) as found:
        yield found


def every_family() -> list[Chunk]:
    """Four chunks of three series for every local family, and for Prophet by its library."""
    names = [name for name in [*LOCAL, "prophet[engine=stan]"] for _ in range(N)]
    y = np.tile(jobs.sales(N), (len(names) // N, 1))
    return [Chunk(i, (names[i : i + 3], y[i : i + 3])) for i in range(0, len(names), 3)]


def by_row(outcomes: list[Outcome[np.ndarray]]) -> dict[int, bytes]:
    assert [outcome.reason for outcome in outcomes if outcome.is_failed] == []
    return {outcome.start + i: row.tobytes() for outcome in outcomes for i, row in enumerate(outcome.value)}


def test_every_local_family_gives_the_same_bits_with_a_node_killed_in_the_middle(
    ray_cluster: Any, ray_node: dict[str, Any], pool: Pool
) -> None:
    assert {"prophet", "theta", "auto_ets", "seasonal_naive"} <= set(LOCAL)
    work = every_family()
    with Pool(2) as processes:
        expected = by_row(list(processes.map(jobs.fit_rows, work)))
    node = ray_cluster.add_node(**ray_node)
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    outcomes, was_killed = [], False
    for outcome in pool.map(jobs.fit_rows, work):
        outcomes.append(outcome)
        if not was_killed and any(is_at_work(worker) for worker in raylet.children()):
            ray_cluster.remove_node(node, allow_graceful=False)
            was_killed = True
    assert was_killed
    assert len(outcomes) == len(work)
    assert by_row(outcomes) == expected


def is_at_work(worker: psutil.Process) -> bool:
    try:
        return "ray::_work" in " ".join(worker.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("family", "n"), [("prophet[engine=stan]", 16), ("theta", 240)])
def test_a_forecaster_runs_where_the_execution_says(ray_cluster: Any, family: str, n: int) -> None:
    panel = jobs.panel_of(jobs.sales(n))

    def forecast() -> Any:
        return make(family, random_state=5, n_threads=2).fit(panel, jobs.H).predict(panel, jobs.H)

    here = forecast()
    with execution_of(ray_cluster.address) as pool:
        assert warm_pool(2) is pool
        there = forecast()
    assert warm_pool(2) is not pool
    assert there.reasons == here.reasons
    assert there.y_hat.tobytes() == here.y_hat.tobytes()
    if here.quantiles is not None:
        assert there.quantiles.tobytes() == here.quantiles.tobytes()


def test_a_row_that_fails_costs_itself(pool: Pool) -> None:
    y = np.arange(40.0)
    y[[7, 39]] = [-7, -39]
    outcomes = list(pool.map(jobs.refuse_negative, cut([y], 2)))
    assert sorted(row for outcome in outcomes for row in range(outcome.start, outcome.start + outcome.n)) == [
        *range(40)
    ]
    failed = {outcome.start: outcome.reason for outcome in outcomes if outcome.is_failed}
    assert failed == {7: "ValueError: row -7 is negative", 39: "ValueError: row -39 is negative"}


def test_a_row_that_kills_its_workers_costs_itself(pool: Pool) -> None:
    y = np.arange(8.0)
    y[5] = -5
    outcomes = list(pool.map(jobs.double_unless_deadly, cut([y], 2, 1)))
    failed = {outcome.start: outcome.reason for outcome in outcomes if outcome.is_failed}
    assert set(failed) == {5}
    assert failed[5].startswith("every worker died of it")
    assert sum(outcome.n for outcome in outcomes) == 8


def test_few_chunks_are_cut_for_the_cores_and_workers_start_no_workers(pool: Pool) -> None:
    assert isinstance(pool, RayPool)
    outcomes = list(pool.map(jobs.workers_inside, [Chunk(0, (np.zeros(5),)), Chunk(5, (np.zeros(5),))]))
    assert len(outcomes) == 4  # two cores, two for each
    assert {outcome.value for outcome in outcomes} == {(1, "1")}


def test_what_ray_cannot_import_is_refused_before_it_travels(pool: Pool) -> None:
    with pytest.raises(TypeError, match="a worker cannot import"):
        list(pool.map(partial(lambda y: y), cut([np.zeros(9)], 2)))


def test_a_function_that_a_node_does_not_have_is_the_answer_of_its_rows(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def same(y):\n    return y\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    outcomes = list(pool.map(only_here.same, cut([np.zeros(2)], 2)))
    assert {outcome.reason for outcome in outcomes} == {"ModuleNotFoundError: No module named 'only_here'"}


def test_a_place_that_is_none_is_refused() -> None:
    told = r"nowhere to run\.\n  where: --execution.*\n  fix:   one of processes, ray, "
    with pytest.raises(UsageError, match=told), execution_of("rays://127.0.0.1:1"):
        pass


# the command line, on a cluster of processes of their own


def write_sales(folder: Path) -> None:
    days = np.datetime64("2023-01-02") + np.arange(120).astype("timedelta64[D]")
    with (folder / "shop.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "store", "sales"])
        for row, y in enumerate(jobs.sales(220)):
            writer.writerows([day, f"s{row:03d}", value] for day, value in zip(days, y, strict=True))


Board = list[dict[str, Any]]


def backtest(folder: Path, execution: str, **more: str) -> tuple[subprocess.CompletedProcess[str], Board]:
    """The leaderboard of one backtest, without the seconds it took."""
    out = folder / execution.partition(":")[0]
    command = [sys.executable, "-m", "foretail.cli.main", "backtest", str(folder / "shop.csv"), "--keys", "store"]
    command += ["--target", "sales", "--horizon", "7", "--models", "theta,boosting[rounds=20],seasonal_naive"]
    command += ["--out", str(out), "--home", str(folder / "home"), "--execution", execution]
    # as in a job of Ray: on some processors linear algebra rounds the last digit otherwise on two threads
    environment = {**os.environ, "PYTHONWARNINGS": "default", "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "leaderboard.json").read_text())["rows"]
    return done, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def n_tasks(ray_service: RayCluster) -> int:
    """How many chunks the cluster has worked on."""
    header = {"Authorization": f"Bearer {ray_service.password}"}
    request = urllib.request.Request(f"{ray_service.jobs}/api/v0/tasks?limit=9999&detail=0", headers=header)
    with urllib.request.urlopen(request, timeout=20) as answer:
        tasks = json.load(answer)["data"]["result"]["result"]
    return sum(task["name"] == "_work" and task["state"] == "FINISHED" for task in tasks)


def test_a_backtest_is_the_same_by_client_server_and_as_a_job(ray_service: RayCluster, tmp_path: Path) -> None:
    write_sales(tmp_path)
    _, expected = backtest(tmp_path, "processes")
    before = n_tasks(ray_service)
    assert backtest(tmp_path, ray_service.url, **ray_service.environment)[1] == expected
    between = n_tasks(ray_service)
    assert between > before
    done, found = backtest(tmp_path, f"ray-jobs://{ray_service.jobs}", **ray_service.environment)
    assert found == expected
    assert "next: foretail train" in done.stderr
    assert n_tasks(ray_service) > between


def test_a_fleet_is_the_same_on_ray(ray_service: RayCluster, tmp_path: Path) -> None:
    write_sales(tmp_path)

    def train(execution: str, **more: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "foretail.cli.main", "fleet", "train", "shop.csv", "--keys", "store"]
        command += ["--target", "sales", "--horizon", "7", "--windows", "2", "--family", "theta", "--json"]
        command += ["--home", execution.partition(":")[0], "--execution", execution]
        environment = {**os.environ, "PYTHONWARNINGS": "default", **more}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return {key: value for key, value in json.loads(done.stdout).items() if key not in ("run_id", "seconds")}

    before = n_tasks(ray_service)
    expected = train("processes")
    assert n_tasks(ray_service) == before
    assert train(ray_service.url, **ray_service.environment) == expected
    assert n_tasks(ray_service) > before


JOB = """
import json, sys
from foretail.core.errors import ServiceError
from foretail.execution.ray_jobs import run_as_job
url, folder, environment, *command = json.loads(sys.argv[1])
try:
    print("code", run_as_job(url, command, folder=folder, environment=environment, say=print))
except ServiceError as error:
    print("error", error)
"""


def run_job(given: list[Any], environment: dict[str, str]) -> str:
    """What is said of a job, from a process that knows this token and no other: Ray reads it once."""
    command = [sys.executable, "-c", JOB, json.dumps(given)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_job_keeps_its_words_and_its_exit_code(ray_service: RayCluster, tmp_path: Path) -> None:
    word = "a b; touch $HOME 'c' \"d\""
    program = "import os, sys; print(sys.argv[1], os.getcwd(), os.environ['TOLD']); sys.exit(3)"
    given = [ray_service.jobs, str(tmp_path), {"TOLD": "x y"}, sys.executable, "-c", program, word]
    lines = run_job(given, ray_service.environment).splitlines()
    assert f"{word} {tmp_path} x y" in lines
    assert lines[-1] == "code 3"


def test_a_jobs_api_that_does_not_answer_or_let_us_in_is_told(ray_service: RayCluster, tmp_path: Path) -> None:
    silent = run_job(["http://127.0.0.1:9", str(tmp_path), {}, "true"], ray_service.environment)
    assert silent.startswith("error the Jobs API of Ray does not do it: ConnectionError: ")
    assert "\n  where: http://127.0.0.1:9\n  fix: " in silent
    stranger = {**ray_service.environment, "RAY_AUTH_TOKEN": "wrong"}
    strange = run_job([ray_service.jobs, str(tmp_path), {}, "true"], stranger)
    assert strange.startswith("error the Jobs API of Ray does not do it: AuthenticationError: ")
